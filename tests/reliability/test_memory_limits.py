#!/usr/bin/env python3
"""Less memory than a run takes: refused before any work, with figures, or exit 6; the next prompt of a batch works.

    python3 test_memory_limits.py --bin build/t2v [--runs 4]

Limits are shares of the measured peak: of the address space (ulimit -v), and of resident memory by a control group where
this user may make one.
"""
import os
import re
import resource
import subprocess
import sys
import time

from runs import FAILED, MEMORY, OK, Judge, end_problems, environment, listing, parser_of, program_of, result_lines, run, scratch_folder, videos

LARGE = ["-s", "256x256", "-f", "17", "--steps", "1"]
GROUP_ROOTS = (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max"))
FIGURES = re.compile(r"\d[\d.]* ?(GB|MB|MiB|GiB)")


def command(program, output, *more):
    return [program, "generate", "-p", "a red circle", "--seed", "7", "-o", str(output), "--threads", "1", "--progress", "plain", *more]


def peaks(arguments, folder):
    """(address space, resident), in kB, of a whole run."""
    process = subprocess.Popen(arguments, cwd=folder, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    most = {"VmPeak": 0, "VmHWM": 0}
    while process.poll() is None:
        with open(f"/proc/{process.pid}/status") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name in most:
                    most[name] = max(most[name], int(value.split()[0]))
        time.sleep(0.002)
    assert process.returncode == OK
    return most["VmPeak"], most["VmHWM"]


class Limits:
    def __init__(self, program, scratch, judge):
        self.program, self.scratch, self.judge, self.count = program, scratch, judge, 0
        folder = self.folder()
        self.mapped_kb, self.resident_kb = peaks(command(program, "v.mp4", *LARGE), folder)
        self.whole = (folder / "v.mp4").read_bytes()
        print(f"{' '.join(LARGE)}: {self.mapped_kb // 1024} MiB mapped, {self.resident_kb // 1024} MiB resident at most", flush=True)

    def folder(self):
        self.count += 1
        path = self.scratch / f"case{self.count}"
        path.mkdir()
        return path

    def case(self, name, folder, result):
        problems = end_problems(result)
        if result.code == OK:
            if listing(folder) != {"v.mp4"} or (folder / "v.mp4").read_bytes() != self.whole:
                problems.append("exit 0, and the video is not that of an undisturbed run")
        elif result.code != MEMORY:
            problems.append(f"exit {result.code}, expected {MEMORY}")
        elif len(result.errors()) != 1 or "try" not in result.errors()[0] or not FIGURES.search(result.errors()[0]) and "denoise" not in result.err:
            problems.append("refused before any work, and without figures")
        elif not listing(folder) <= {"v.mp4.latents.safetensors"}:
            problems.append(f"left behind: {listing(folder)}")
        self.judge.case(name, problems, result.told())
        return result.code

    def address_space(self, share, *more):
        folder = self.folder()
        limit = int(self.mapped_kb * share) * 1024
        result = run(command(self.program, "v.mp4", *LARGE, *more), folder, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
        return self.case(f"ulimit -v at {100 * share:.0f} % {' '.join(more)}", folder, result)

    def control_group(self, share):
        """None where no group can be made."""
        for root, name in GROUP_ROOTS:
            path = os.path.join(root, f"t2v-limits-{os.getpid()}-{self.count}")
            try:
                os.mkdir(path)
                with open(os.path.join(path, name), "w") as file:
                    file.write(str(int(self.resident_kb * share) * 1024))
            except OSError:
                if os.path.isdir(path):
                    os.rmdir(path)
                continue
            folder = self.folder()
            enter = ["sh", "-c", f'echo $$ > {path}/cgroup.procs && exec "$@"', "sh"]
            result = run([*enter, *command(self.program, "v.mp4", *LARGE)], folder)
            os.rmdir(path)
            return self.case(f"a control group at {100 * share:.0f} %", folder, result)
        return None

    def batch(self):
        """The second of three is too large for the limit; the others are made."""
        folder, limit = self.folder(), self.mapped_kb * 1024
        lines = ["{\"prompt\": \"one\", \"seed\": 1, \"output\": \"1.mp4\"}", "{\"prompt\": \"two\", \"seed\": 2, \"size\": \"1024x1024\", \"frames\": 81, \"output\": \"2.mp4\"}",
                 "{\"prompt\": \"three\", \"seed\": 3, \"output\": \"3.mp4\"}"]
        (folder / "three.jsonl").write_text("\n".join(lines) + "\n")
        result = run([self.program, "generate", "--prompts", "three.jsonl", "-o", "out", "-s", "16x16", "-f", "1", "--steps", "1", "--threads", "1",
                      "--ram-budget", "64GiB"], folder, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
        problems = end_problems(result)
        if result.code != FAILED or set(videos(folder / "out")) != {"1.mp4", "3.mp4"}:
            problems.append("the others are not made")
        found = {x["index"]: x for x in result_lines(folder / "out/results.jsonl")}
        if found.get(2, {}).get("error", {}).get("exit_code") != MEMORY:
            problems.append(f"the reason is {found.get(2)}")
        self.judge.case("a video that is too large, in the middle of a batch", problems, result.told())


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--runs", type=int, default=4, help="limits of the address space")
    arguments = parser.parse_args()
    judge = Judge("memory limits")
    with scratch_folder("memory") as scratch:
        limits = Limits(program_of(arguments), scratch, judge)
        shares = [0.5, 0.75, 0.9] + [0.2 + 1.6 * i / arguments.runs for i in range(arguments.runs - 4)]
        codes = [limits.address_space(share) for share in shares]
        codes += [limits.address_space(share, "--ram-budget", "4GiB") for share in shares[2:]]  # past the plan: exit 6 while it works
        judge.check("some are refused", MEMORY in codes, str(codes))
        groups = [limits.control_group(share) for share in ((0.5, 0.75, 0.9) if arguments.runs > 4 else (0.5, 0.9))]
        if None in groups:
            print("left out: no memory control group can be made here")
        limits.batch()
    return judge.end()


if __name__ == "__main__":
    sys.exit(main())
