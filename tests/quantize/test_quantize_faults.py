#!/usr/bin/env python3
"""`t2v quantize` that is killed, runs out of disk, meets changed sources, and its memory.

    test_quantize_faults.py --bin build/.../t2v [--kills N] [--filter REGEX]

A run that is finished by others gives the bytes of one that was never disturbed. Standard library only; the last
line counts the cases.
"""

import argparse
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

from quantize_runs import REPOSITORY, TRANSFORMER, Program, folder_bytes, require

import layouts
from suite import Failure, run_cases

sys.path.insert(0, str(REPOSITORY / "tests/memory"))
import wide_model  # noqa: E402


# bf16 numbers between 0.002 and 0.03 of both signs, over and over.
POOL = b"".join(struct.pack("<H", (sign << 15) | bits) for bits in range(0x3B00, 0x3D00) for sign in (0, 1)) * 256
JOURNAL = ".t2v-quantize.journal"
MIB = 1 << 20


def wide_transformer(size: int, ffn: int, blocks: int) -> dict[str, tuple[int, ...]]:
    """Canonical names and shapes."""
    return {name: tuple(shape) for name, shape in wide_model.tensors(size, ffn, blocks, 64, 16, 64)}


def write_wide(path: pathlib.Path, shapes: dict[str, tuple[int, ...]], sparse: bool = False) -> None:
    """bf16; sparse: zeros that take no disk."""
    header, offset = {}, 0
    for name, shape in shapes.items():
        count = 2
        for extent in shape:
            count *= extent
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + count]}
        offset += count
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for number, (begin, end) in enumerate(entry["data_offsets"] for entry in header.values()):
            at = 977 * 2 * number % 4096
            while not sparse and begin < end:
                piece = POOL[at : at + min(len(POOL) - at, end - begin)]
                file.write(piece)
                begin, at = begin + len(piece), 0
        file.truncate(8 + len(text) + offset)


class Suite:
    def __init__(self, program: Program, scratch: pathlib.Path, kills: int):
        self.program, self.scratch, self.kills = program, scratch, kills
        self.random = random.Random(6)
        model = layouts.make_tiny(REPOSITORY / "models/shapes/tokenizer/spiece.model")
        self.source = scratch / "source"
        layouts.write_wan(model, self.source, configs=False)
        for path in self.source.glob("diffusion_pytorch_model*"):
            path.unlink()
        self.shapes = wide_transformer(512, 2048, 8)  # 67 MB of layers
        self.transformer = self.source / "wide.safetensors"
        write_wide(self.transformer, self.shapes)
        start = time.monotonic()
        program.quantise(self.source, scratch / "whole")
        self.seconds = time.monotonic() - start
        self.whole = folder_bytes(scratch / "whole")
        self.layers = json.loads((scratch / "whole.json").read_text())["layers"]

    # --- killed runs

    def start(self, target: pathlib.Path) -> subprocess.Popen:
        return subprocess.Popen(
            self.program.command("quantize", self.source, "-o", target, "--progress", "none"),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self.program.environment,
        )  # fmt: skip

    def check_begun(self, target: pathlib.Path) -> None:
        """Nothing in the folder looks whole but is not."""
        if not target.exists():
            return
        for name, data in folder_bytes(target).items():
            if name.endswith(".partial") or pathlib.Path(name).name.startswith("."):
                continue
            require(self.whole.get(name) == data, f"{name} looks whole but is not")
        if (target / TRANSFORMER).exists():
            return
        result = self.program.run("inspect", target)
        require(result.returncode == 3, f"inspect takes a part for a model: exit code {result.returncode}")

    def check_finished(self, target: pathlib.Path) -> dict:
        report = self.program.quantise(self.source, target)
        got = folder_bytes(target)
        require(set(got) == set(self.whole), f"other files: {sorted(set(got) ^ set(self.whole))}")
        for name, data in got.items():
            require(data == self.whole[name], f"{name} differs from an undisturbed run")
        require(report["layers"] == self.layers, "the report differs from that of an undisturbed run")
        return report

    def check_kills(self) -> None:
        again = 0
        for number in range(self.kills):
            target = self.scratch / f"killed-{number}"
            for _ in range(1 + number % 3):  # some are killed more than once
                child = self.start(target)
                time.sleep(self.random.random() * self.seconds)
                child.send_signal(signal.SIGKILL)
                if child.wait() == 0:
                    break
                self.check_begun(target)
            if (target / TRANSFORMER).exists() and not (target / JOURNAL).exists():
                require(folder_bytes(target) == self.whole, "a finished run differs")
            else:
                again += self.check_finished(target)["run"]["bytes_of_earlier_runs"] > 0
            shutil.rmtree(target)
        print(f"{again} of {self.kills} runs went on where another had been killed")

    def check_continues(self) -> None:
        """Killed as soon as the journal names a tensor of the transformer: that is not done again."""
        target = self.scratch / "continues"
        child = self.start(target)
        while child.poll() is None and b'"blocks.' not in self.transformer_lines(target):
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
        child.wait()
        self.check_begun(target)
        done = self.transformer_lines(target).count(b"\n")
        require(done > 0 or not (target / JOURNAL).exists(), "the journal has no tensor of the transformer")
        if not (target / JOURNAL).exists():
            return  # it was done before the signal came
        with (target / JOURNAL).open("ab") as file:
            file.write(b'{"file":"diffusion_pytorch')  # a line that the crash has cut
        report = self.check_finished(target)
        require(report["run"]["bytes_of_earlier_runs"] > 0, "everything was done again")

    def transformer_lines(self, target: pathlib.Path) -> bytes:
        path = target / JOURNAL
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        return b"".join(line for line in lines if TRANSFORMER.encode() in line)

    def check_signal(self) -> None:
        target = self.scratch / "interrupted"
        child = subprocess.Popen(
            self.program.command("quantize", self.source, "-o", target, "--progress", "none"),
            stderr=subprocess.PIPE, text=True, env=self.program.environment,
        )  # fmt: skip
        while child.poll() is None and not list(target.glob("*.partial")):
            time.sleep(0.002)
        child.send_signal(signal.SIGTERM)
        _, err = child.communicate(timeout=60)
        require(child.returncode in (0, 143), f"exit code {child.returncode}: {err}")
        if child.returncode == 143:
            require("goes on where it stopped" in err and err.count("t2v: error:") == 1, err)
            self.check_finished(target)

    # --- other disks and sources

    def begun(self, name: str) -> pathlib.Path:
        """A folder whose run has ended in the middle: no file may be longer than 8 MiB."""
        target = self.scratch / name
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8 * MIB, 8 * MIB))
        self.program.refused(
            5, ["cannot", ".partial"], "quantize", self.source, "-o", target, "--progress", "none", preexec_fn=limit
        )
        self.check_begun(target)
        return target

    def check_full_disk(self) -> None:
        self.check_finished(self.begun("full"))

    def check_changed(self) -> None:
        target = self.begun("changed")
        again = ["quantize", self.source, "-o", target, "--progress", "none"]
        self.program.refused(2, ["other options", "rotation 64", "delete the folder"], *again, "--int8-rotate", "64")
        before = self.transformer.stat()
        os.utime(self.transformer, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))
        self.program.refused(2, ["have changed", "delete the folder"], *again)
        os.utime(self.transformer, ns=(before.st_atime_ns, before.st_mtime_ns))
        self.check_finished(target)

    def check_replaced(self) -> None:
        """Another file under the old name, size and time, behind a run that stopped in the middle of it."""
        target = self.scratch / "replaced"
        source = self.scratch / "replaced-source"
        shutil.copytree(self.source, source)
        path = source / self.transformer.name
        data = bytearray(path.read_bytes())
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
        last = max((entry["data_offsets"][1], name) for name, entry in header.items() if name.endswith("ffn.2.weight"))
        data[8 + length + last[0] - 2 : 8 + length + last[0]] = struct.pack("<H", 0x7FC0)  # NaN
        path.write_bytes(data)
        command = ("quantize", source, "-o", target, "--progress", "none")
        self.program.refused(3, [last[1], "NaN"], *command)
        require(b'"blocks.' in self.transformer_lines(target), "no tensor was finished before the broken one")
        before = path.stat()
        path.write_bytes(data[: 8 + length] + data[8 + length :][::-1])
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        self.program.refused(2, ["have changed", "is another"], *command)

    def has_begun(self, target: pathlib.Path) -> bool:
        """Whether a run is between the lock, behind which it writes its first line, and the end."""
        try:
            return (target / JOURNAL).stat().st_size > 0
        except FileNotFoundError:
            return False

    def check_locked(self) -> None:
        for attempt in range(20):
            target = self.scratch / f"locked{attempt}"
            child = self.start(target)
            while child.poll() is None and not self.has_begun(target):
                time.sleep(0.002)
            child.send_signal(signal.SIGSTOP)
            # It stops a moment later; or it had finished already.
            ended = os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            stopped_in_time = ended.si_code == os.CLD_STOPPED and self.has_begun(target)
            try:
                if stopped_in_time:
                    self.program.refused(
                        2, ["another t2v quantize"], "quantize", self.source, "-o", target, "--progress", "none"
                    )
            finally:
                child.send_signal(signal.SIGCONT)
            require(child.wait() == 0, f"exit code {child.returncode}")
            require(folder_bytes(target) == self.whole, "the first run was disturbed")
            if stopped_in_time:
                return
        raise Failure("20 runs were too quick to be stopped")

    def check_read_only(self) -> None:
        if os.geteuid() == 0:
            print("read-only folders: skipped, root may write anywhere")
            return
        folder = self.scratch / "read-only"
        folder.mkdir(mode=0o555)
        self.program.refused(5, ["cannot"], "quantize", self.source, "-o", folder / "x", "--progress", "none")

    # --- memory

    def peak_bytes(self, source: pathlib.Path, target: pathlib.Path) -> int:
        child = subprocess.Popen(self.program.command("quantize", source, "-o", target, "--progress", "none"),
                                 stderr=subprocess.DEVNULL, env=self.program.environment)  # fmt: skip
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        require(child.returncode == 0, f"exit code {child.returncode}")
        return usage.ru_maxrss * 1024

    def check_memory(self) -> None:
        """One block of 654 MB takes no more than 200 MB above what the program takes for a small model."""
        source = self.scratch / "large-source"
        shutil.copytree(self.source, source)
        write_wide(source / self.transformer.name, wide_transformer(4096, 16384, 1), sparse=True)
        small = self.peak_bytes(self.source, self.scratch / "small")
        large = self.peak_bytes(source, self.scratch / "large")
        shutil.rmtree(self.scratch / "large")
        print(f"peak memory: {small / 1e6:.0f} MB of the small model, {large / 1e6:.0f} MB of the large one")
        require(large - small < 200e6, f"{(large - small) / 1e6:.0f} MB more for the large model")

    def cases(self):
        yield "killed at any moment", self.check_kills
        yield "goes on where it stopped", self.check_continues
        yield "SIGTERM", self.check_signal
        yield "a full disk", self.check_full_disk
        yield "other options, changed source", self.check_changed
        yield "a source replaced behind its name", self.check_replaced
        yield "two at once", self.check_locked
        yield "a read-only folder", self.check_read_only
        yield "memory", self.check_memory


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--filter", default="", help="only cases whose name matches")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="t2v-quantize-") as temporary:
        suite = Suite(Program(arguments.bin), pathlib.Path(temporary), arguments.kills)
        count, failed = run_cases(suite.cases(), arguments.filter)
    print(f"quantize faults: {count} cases, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
