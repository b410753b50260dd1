"""Runs t2v and checks how it ended."""

import dataclasses
import os
import pathlib
import subprocess
import time

BASE_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "OMP_NUM_THREADS": "2",
}


@dataclasses.dataclass
class Ended:
    code: int
    out: str
    errors: str
    seconds: float


class Program:
    def __init__(self, path: pathlib.Path, scratch: pathlib.Path):
        self.path = path.resolve()
        self.scratch = scratch
        self.count = 0
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "T2V_")) and "proxy" not in k.lower()}
        self.environment = {**clean, **BASE_ENVIRONMENT, "XDG_CACHE_HOME": str(scratch / "user-cache")}

    def run(self, *arguments: str, **environment: str) -> Ended:
        start = time.monotonic()
        done = subprocess.run(
            [str(self.path), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**self.environment, **environment},
            timeout=120,
            check=False,
        )
        seconds = time.monotonic() - start
        return Ended(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"), seconds)

    def generate_arguments(self, model: str, *more: str) -> tuple[list[str], pathlib.Path]:
        self.count += 1
        output = self.scratch / f"video{self.count}.gif"
        # Without the recipe, which names the model: the same bytes from any place.
        fixed = "-s 32x32 -f 5 --steps 1 --device cpu --seed 5 --progress none --no-metadata".split()
        return ["generate", "-m", model, "-p", "a small red circle", *fixed, "-o", str(output), *more], output

    def generate(self, model: str, *more: str, **environment: str) -> tuple[Ended, bytes]:
        """How it ended, and the video; b"" when there is none."""
        arguments, output = self.generate_arguments(model, *more)
        ended = self.run(*arguments, **environment)
        video = output.read_bytes() if output.exists() else b""
        output.unlink(missing_ok=True)
        return ended, video


class Checks:
    """Collects what went wrong, so that one failure does not hide the next."""

    def __init__(self) -> None:
        self.failed = self.passed = 0

    def expect(self, true: bool, name: str, ended: Ended | None = None) -> None:
        if true:
            self.passed += 1
            return
        self.failed += 1
        print(f"FAILED {name}")
        if ended:
            print(f"    exit {ended.code} after {ended.seconds:.1f} s: {ended.errors.strip()[-600:]}", flush=True)

    def expect_failure(self, name: str, ended: Ended, code: int, within: float, mentions: str = "") -> None:
        lines = [line for line in ended.errors.splitlines() if line.startswith("t2v: error:")]
        self.expect(ended.code == code, f"{name}: exit {code}", ended)
        self.expect(len(lines) == 1 and mentions in lines[0], f"{name}: one line with '{mentions}'", ended)
        self.expect(ended.seconds < within, f"{name}: within {within} s", ended)

    def finish(self, title: str) -> int:
        print(f"{title}: {self.passed} checks passed, {self.failed} failed")
        return 1 if self.failed or not self.passed else 0
