#!/usr/bin/env python3
"""How long a run waits for weights before its first denoising step: times the events of
`t2v generate --progress json` of a streamed model from a cold or warm page cache.

    first_step.py build/t2v MODEL [--budget 1900MiB] [--size 320x192] [--frames 9] [--repeats 3]

Prints one JSON line: medians of text encoding, of the first block's coming (from the end of the text
encoding until the block is ready), and (text + first block) / text."""

import argparse
import json
import statistics
import subprocess
import time


def one_run(arguments):
    command = [arguments.bin, "generate", "-m", arguments.model, "-p", "a cat walks on the grass", "-s", arguments.size,
               "-f", str(arguments.frames), "--steps", "1", "--seed", "1", "-o", "/tmp/first_step.gif",
               "--progress", "json", "--offload", "block"]
    if arguments.budget:
        command += ["--ram-budget", arguments.budget]
    begin = time.monotonic()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    text = block = None
    for line in process.stderr:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        now = time.monotonic() - begin
        if event.get("stage") == "text_encode" and event.get("done") == event.get("total"):
            text = now
        if event.get("stage") == "load_transformer" and event.get("done", 0) >= 1 and block is None:
            block = now
            break
    process.kill()
    process.wait()
    return text, block - text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bin")
    parser.add_argument("model")
    parser.add_argument("--budget")
    parser.add_argument("--size", default="320x192")
    parser.add_argument("--frames", type=int, default=9)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    runs = [one_run(arguments) for _ in range(arguments.repeats)]
    text, block = (statistics.median(column) for column in zip(*runs))
    print(json.dumps({"text_s": round(text, 3), "first_block_s": round(block, 3), "ratio": round((text + block) / text, 3)}))


if __name__ == "__main__":
    main()
