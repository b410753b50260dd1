#!/usr/bin/env python3
"""A model larger than its memory budget: the video is that of the resident run, byte for byte, and the
process stays within the budget + 256 MiB, measured by the kernel and, where this user may make memory
control groups, enforced by one. A budget that cannot work is refused at once with one that does."""

import argparse
import os
import re
import subprocess
import sys
import tempfile

import wide_model

SLACK = 256 << 20
FAILURES = []


def check(condition, what):
    print(("ok   " if condition else "FAIL ") + what, flush=True)
    if not condition:
        FAILURES.append(what)


def run(command):
    """(exit code, peak resident bytes, stderr)"""
    with tempfile.TemporaryFile("w+") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)
        _, status, usage = os.wait4(process.pid, 0)
        stderr.seek(0)
        return os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024, stderr.read()


class ControlGroup:
    """A memory limit of both versions of control groups; `usable` is False where none can be made."""

    def __init__(self, limit):
        self.path, self.usable = None, False
        for root, limits in (("/sys/fs/cgroup/memory", ["memory.limit_in_bytes"]), ("/sys/fs/cgroup", ["memory.max"])):
            path = os.path.join(root, f"t2v-test-{os.getpid()}")
            try:
                os.mkdir(path)
                self.path = path
                for name in limits:
                    with open(os.path.join(path, name), "w") as file:
                        file.write(str(limit))
                self.usable = True
                return
            except OSError:
                self.close()

    def command(self, command):
        enter = f'echo $$ > {self.path}/cgroup.procs && exec "$@"'
        return ["sh", "-c", enter, "sh"] + command

    def close(self):
        if self.path:
            try:
                os.rmdir(self.path)
            except OSError:
                pass
        self.path = None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True)
    parser.add_argument("--base", required=True, help="a small model in the diffusers layout")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = os.path.join(folder, "wide")
        os.mkdir(model)
        size = wide_model.write_model(arguments.base, model)

        def generate(output, *flags, wrap=lambda command: command):
            path = os.path.join(folder, output)
            code, peak, errors = run(wrap([
                arguments.bin, "generate", "-m", model, "-p", "a red circle", "-s", "64x64", "-f", "5", "--steps", "3",
                "--seed", "5", "--dtype", "bf16", "-q", "--no-metadata", "--save-latents", path, "-o",
                os.path.join(folder, output + ".gif"), *flags]))
            content = b""
            if os.path.exists(path):
                with open(path, "rb") as file:
                    data = file.read()
                content = data[8 + int.from_bytes(data[:8], "little"):]  # the header holds the recipe
            return code, peak, errors, content

        code, resident_peak, errors, resident = generate("resident")
        check(code == 0 and resident, f"resident run: exit {code} {errors}")
        check(resident_peak > size, f"the resident run holds the model: {resident_peak >> 20} of {size >> 20} MiB")
        code, _, errors, _ = generate("none", "--ram-budget", "100MiB")
        smallest = re.search(r"--ram-budget (\d+)MiB", errors)
        check(code == 6 and smallest, f"100 MiB are refused with what is needed: exit {code} {errors.strip()}")
        if not smallest:
            return 1
        smallest = int(smallest.group(1))
        check((smallest << 20) < size, f"the smallest budget is below the model: {smallest} of {size >> 20} MiB")
        code, _, errors, _ = generate("less", "--ram-budget", f"{smallest - 2}MiB")
        check(code == 6, f"2 MiB less than that are refused: exit {code}")
        for budget in (smallest, (smallest + (size >> 20)) // 2):
            code, peak, errors, streamed = generate(f"streamed{budget}", "--ram-budget", f"{budget}MiB")
            check(code == 0, f"budget {budget} MiB: exit {code} {errors.strip()}")
            check(streamed == resident, f"budget {budget} MiB: the latents of the resident run")
            check(peak <= (budget << 20) + SLACK, f"budget {budget} MiB: peak {peak >> 20} MiB, at most {budget + 256}")
        group = ControlGroup((smallest << 20) + SLACK)
        if group.usable:
            code, peak, errors, streamed = generate("grouped", "--ram-budget", f"{smallest}MiB", wrap=group.command)
            check(code == 0 and streamed == resident,
                  f"in a control group of {smallest + 256} MiB: exit {code} {errors.strip()}")
            group.close()
        else:
            print("no memory control group can be made here: that part was left out", flush=True)
    print(f"{len(FAILURES)} failures")
    return 1 if FAILURES else 0


if __name__ == "__main__":
    sys.exit(main())
