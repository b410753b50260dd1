#!/usr/bin/env python3
"""Many prompts in one process: resident memory, file descriptors and threads after each video.

    python3 soak.py --bin build/t2v [--prompts 500] [--texts 4] [--limit-kb 1] [--csv FILE]

The slope is that of a least-squares line through the resident memory after the warm-up, in kB a prompt (= MB per 1,000).
A batch holds the embeddings of the texts it still has to do (some 8 kB each on the small model) and gives them back as it goes:
among many different texts a leak of that size would not show. `--texts 4` lets four texts take turns and leaves that out.
"""
import os
import subprocess
import sys
from statistics import median

from runs import Judge, environment, parser_of, program_of, scratch_folder, write_prompts

WARM_UP = 180  # prompts: the condition cache (64) is full, and malloc has found its pools, seen over 10 runs
PAGE_KB = os.sysconf("SC_PAGE_SIZE") / 1024


def sample(process):
    """(resident kB, descriptors, threads)"""
    proc = f"/proc/{process.pid}"
    with open(f"{proc}/statm") as file:
        resident = int(file.read().split()[1]) * PAGE_KB
    return resident, len(os.listdir(f"{proc}/fd")), len(os.listdir(f"{proc}/task"))


def slope_of(values):
    """Of the least-squares line through (0, values[0]), (1, values[1]), ..."""
    middle, mean = (len(values) - 1) / 2, sum(values) / len(values)
    above = sum((x - middle) * (y - mean) for x, y in enumerate(values))
    return above / sum((x - middle) ** 2 for x in range(len(values)))


def soak(program, folder, prompts, texts, flags):
    """The samples after each video, and the exit code."""
    write_prompts(folder / "many.jsonl", prompts, texts)
    command = [program, "generate", "--prompts", "many.jsonl", "-o", "out", "-s", "32x32", "-f", "5", "--steps", "2", "--threads", "1",
               "--progress", "none", *flags]
    with open(folder / "errors", "wb") as errors:
        process = subprocess.Popen(command, cwd=folder, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
        samples = [sample(process) for line in process.stdout if line.strip()]
        return samples, process.wait()


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("--texts", type=int, help="as many different ones (without: all differ)")
    parser.add_argument("--limit-kb", type=float, default=1.0, help="of growth a prompt")
    parser.add_argument("--csv", help="where the samples go")
    parser.add_argument("flags", nargs="*", help="behind --: more flags for the program")
    arguments = parser.parse_args()
    judge = Judge("soak")
    with scratch_folder("soak") as folder:
        samples, code = soak(program_of(arguments), folder, arguments.prompts, arguments.texts, arguments.flags)
        judge.check("every prompt has its video", code == 0 and len(samples) == arguments.prompts,
                    f"exit {code}, {len(samples)} videos: {(folder / 'errors').read_text()[-500:]}")
    if arguments.csv:
        with open(arguments.csv, "w") as file:
            file.write("resident_kb,descriptors,threads\n" + "".join(f"{r:.0f},{f},{t}\n" for r, f, t in samples))
    # Until then the caches of prompts fill; the last samples are taken while the batch ends and its threads go.
    steady = samples[max(WARM_UP, len(samples) // 5):-2]
    if len(steady) < 10:
        judge.check("enough samples", False, f"{len(steady)}")
        return judge.end()
    resident, descriptors, threads = zip(*steady)
    slope = slope_of(resident)
    print(f"{len(samples)} prompts, slope over the last {len(steady)}: {slope:.3f} kB a prompt (MB per 1,000); resident "
          f"{resident[0] / 1024:.1f} to {resident[-1] / 1024:.1f} MiB; descriptors {min(descriptors)} to {max(descriptors)}, "
          f"threads {min(threads)} to {max(threads)}", flush=True)
    judge.check(f"slope below {arguments.limit_kb} kB a prompt", slope < arguments.limit_kb, f"{slope:.3f}")
    half = len(steady) // 2
    for name, counts in (("descriptors", descriptors), ("threads", threads)):
        # A sample may fall into the making of a file, and threads of the encoder come and go.
        before, behind = median(counts[:half]), median(counts[half:])
        judge.check(f"no more {name} at the end", behind <= before, f"{before} -> {behind}")
    return judge.end()


if __name__ == "__main__":
    sys.exit(main())
