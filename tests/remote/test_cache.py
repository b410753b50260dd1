#!/usr/bin/env python3
"""The block cache of remote models under the program itself: harmed blocks, several processes, kill -9 while
it fills, its limit, a folder that cannot be written to. The video is always the same.

test_cache.py --bin build/t2v
"""

import argparse
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from fault_proxy import Fault, FaultProxy
from program import Checks, Program
from servers import REPOSITORY, WebServer


class Bench:
    def __init__(self, program: Program, server: FaultProxy, local: bytes, checks: Checks):
        self.program = program
        self.server = server
        self.local = local
        self.checks = checks
        self.model = f"http://127.0.0.1:{server.port}/shapes"

    def folder(self, name: str) -> pathlib.Path:
        return self.program.scratch / name

    def expect_video(self, name: str, cache: pathlib.Path, *more: str) -> str:
        ended, video = self.program.generate(self.model, "--cache-dir", str(cache), *more)
        self.checks.expect(ended.code == 0 and video == self.local, name, ended)
        return ended.errors


def blocks_of(cache: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in (cache / "blocks").rglob("*") if path.is_file())


def check_harm(bench: Bench) -> None:
    whole = bench.folder("whole")
    bench.expect_video("filling the cache", whole)
    generator = random.Random(3)
    for number, harm in enumerate(("flip", "swap", "all at once")):
        cache = bench.folder(f"harm{number}")
        shutil.copytree(whole, cache)
        blocks = blocks_of(cache)
        for i, block in enumerate(blocks):
            content = bytearray(block.read_bytes())
            how = ("flip", "cut", "swap", "empty")[i % 4] if harm == "all at once" else harm
            if how == "flip":
                content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
            elif how == "cut":
                del content[generator.randrange(len(content)) :]
            elif how == "swap":
                content = bytearray((whole / blocks[i - 1].relative_to(cache)).read_bytes())
            else:
                content = bytearray()
            block.write_bytes(content)
        bench.expect_video(f"harmed blocks ({harm}) are misses", cache)
    ended, video = bench.program.generate("http://127.0.0.1:9/shapes", "--cache-dir", str(whole))
    bench.checks.expect_failure("a full cache does not hide that the store is away", ended, 8, 30)


def check_processes(bench: Bench) -> None:
    """Four that share one folder, then some that are killed while they fill it."""
    cache = bench.folder("shared")
    runs = []
    for _ in range(4):
        arguments, output = bench.program.generate_arguments(bench.model, "--cache-dir", str(cache))
        process = subprocess.Popen(
            [str(bench.program.path), *arguments], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=bench.program.environment
        )
        runs.append((process, output))
    for number, (process, output) in enumerate(runs):
        process.communicate(timeout=120)
        same = process.returncode == 0 and output.read_bytes() == bench.local
        bench.checks.expect(same, f"four processes share a cache: {number}")
    cache = bench.folder("killed")
    for number in range(4):
        arguments, output = bench.program.generate_arguments(bench.model, "--cache-dir", str(cache))
        process = subprocess.Popen(
            [str(bench.program.path), *arguments], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=bench.program.environment
        )
        end = time.monotonic() + 30
        while len(blocks_of(cache)) <= number and time.monotonic() < end and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    bench.expect_video("a cache that four killed processes filled", cache)


def check_limit(bench: Bench) -> None:
    cache = bench.folder("small")
    limit, block = 7 << 20, 6 << 20
    for number in range(2):
        bench.expect_video(f"a cache smaller than the model ({number})", cache, "--cache-limit", "7MiB")
        used = sum(path.stat().st_size for path in blocks_of(cache))
        bench.checks.expect(0 < used <= limit + block, f"its limit is kept: {used} bytes")
    text = bench.expect_video("a folder that cannot be made", pathlib.Path("/proc/nothing/cache"))
    bench.checks.expect(text.count("cannot make the cache") == 1, "it says so once")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    checks = Checks()
    with tempfile.TemporaryDirectory(prefix="t2v-cache-") as scratch:
        program = Program(arguments.bin, pathlib.Path(scratch))
        ended, local = program.generate(str(REPOSITORY / "models/shapes"))
        checks.expect(ended.code == 0 and bool(local), "the model works locally", ended)
        server = FaultProxy(WebServer(REPOSITORY / "models").port)
        server.arm(Fault("slow", path="."))
        bench = Bench(program, server, local, checks)
        check_harm(bench)
        check_processes(bench)
        check_limit(bench)
    return checks.finish("remote cache")


if __name__ == "__main__":
    sys.exit(main())
