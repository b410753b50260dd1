#!/usr/bin/env python3
"""Runs t2v on every broken model: exit 3, one line that names what is wrong, nothing left behind.

test_broken_models.py --bin build/t2v [--base models/shapes] [--family NAME] [--filter REGEX]
                      [--commands inspect,generate] [--inspect-every N] [--jobs N] [--verbose]
"""

import argparse
import concurrent.futures
import dataclasses
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading

from broken_models import FAMILIES, cases_of, folder_name
from model_copy import Case, ModelCopy

TIMEOUT_SECONDS = 120
ADDRESS_SPACE_BYTES = 16 << 30  # LibTorch alone maps several GB
PEAK_BYTES = 1 << 30  # of memory really used, while a broken model is refused


def command_line(program: pathlib.Path, command: str, model: pathlib.Path, output: pathlib.Path) -> list[str]:
    if command == "inspect":
        return [str(program), "inspect", str(model)]
    return [
        str(program),
        "generate",
        "-m",
        str(model),
        "-p",
        "a small red circle",
        "-s",
        "32x32",
        "-f",
        "5",
        "--steps",
        "1",
        "--device",
        "cpu",
        "--seed",
        "1",
        "--progress",
        "none",
        "-o",
        str(output / "x.gif"),
    ]


def run(arguments: list[str]) -> tuple[int, str, int]:
    """Exit code (negative: signal), standard error, peak memory in bytes."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, preexec_fn=limit
        )
        timer = threading.Timer(TIMEOUT_SECONDS, process.kill)
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        return process.returncode, errors.read().decode("utf-8", "replace"), usage.ru_maxrss * 1024


def problems_of_failure(case: Case, code: int, errors: str, peak: int) -> list[str]:
    found = []
    if code != 3:
        found.append(f"exit code {code}, expected 3")
    lines = [line for line in errors.splitlines() if line.startswith("t2v: error:")]
    if len(lines) != 1:
        found.append(f"{len(lines)} error lines, expected 1")
    if any(ord(c) < 32 and c != "\n" for c in errors):
        found.append("control bytes on standard error")
    if len(errors) > 8000:
        found.append(f"{len(errors)} characters on standard error")
    for word in case.mentions:
        if not any(word in line for line in lines):
            found.append(f"the line does not name {word}")
    if peak > PEAK_BYTES:
        found.append(f"{peak >> 20} MiB used to refuse it")
    return found


def check(case: Case, number: int, program: pathlib.Path, base: pathlib.Path, root: pathlib.Path) -> list[str]:
    """Lines to report; [] when all is well."""
    folder = root / folder_name(number, case)
    output = root / f"out{number}"
    output.mkdir()
    whole = case.name.startswith("whole")
    report = []
    case.build(ModelCopy(base, folder))
    for command in case.commands:
        code, errors, peak = run(command_line(program, command, folder, output))
        left = sorted(entry.name for entry in output.iterdir())
        if whole:
            found = [] if code == 0 else [f"exit code {code}, expected 0"]
            expected = ["x.gif"] if "generate" in case.commands[: case.commands.index(command) + 1] else []
            if left != expected:
                found.append(f"output holds {left}")
        else:
            found = problems_of_failure(case, code, errors, peak)
            if left:
                found.append(f"left behind: {left}")
        report += [f"FAILED {case.name} ({command}): {problem}\n    {errors.strip()[-600:]}" for problem in found]
    shutil.rmtree(output)
    if folder.is_symlink() or folder.is_file() or folder.is_fifo():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return report


def chosen(case: Case, number: int, arguments: argparse.Namespace) -> Case:
    commands = [command for command in case.commands if command in arguments.commands.split(",")]
    if number % arguments.inspect_every != 0 and len(commands) > 1:
        commands.remove("inspect")
    return dataclasses.replace(case, commands=tuple(commands))


def main() -> int:
    repository = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--base", type=pathlib.Path, default=repository / "models/shapes")
    parser.add_argument("--family", action="append", choices=FAMILIES, help="repeatable (all)")
    parser.add_argument("--filter", default="", help="only cases whose name matches")
    parser.add_argument("--commands", default="generate,inspect", help="which commands to run")
    parser.add_argument("--inspect-every", type=int, default=1, metavar="N", help="inspect only every Nth model")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    cases = [case for case in cases_of(arguments.family or list(FAMILIES)) if re.search(arguments.filter, case.name)]
    cases = [chosen(case, number, arguments) for number, case in enumerate(cases)]
    program = arguments.bin.resolve()
    failed = 0
    with (
        tempfile.TemporaryDirectory(prefix="t2v-broken-") as scratch,
        concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool,
    ):
        jobs = [
            pool.submit(check, case, number, program, arguments.base, pathlib.Path(scratch))
            for number, case in enumerate(cases)
        ]
        for case, job in zip(cases, jobs):
            report = job.result()
            failed += 1 if report else 0
            if report or arguments.verbose:
                print("\n".join(report) if report else f"ok {case.name}", flush=True)
    runs = sum(len(case.commands) for case in cases)
    print(f"broken models: {len(cases)} cases, {runs} runs, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
