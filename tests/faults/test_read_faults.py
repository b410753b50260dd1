#!/usr/bin/env python3
"""Failing and short reads of model files: an I/O error ends with exit 3 and one line that names the file,
interrupted and short reads change nothing.

test_read_faults.py --bin build/t2v --shim build/tests/libpread_shim.so
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
FILES = (
    "model_index.json",
    "transformer/config.json",
    "tokenizer/spiece.model",
    "text_encoder/model.safetensors",
    "transformer/diffusion_pytorch_model.safetensors",
    "transformer_2/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
)


class Runner:
    def __init__(self, program: pathlib.Path, shim: pathlib.Path, scratch: pathlib.Path):
        self.program = program.resolve()
        self.shim = shim.resolve()
        self.output = scratch / "video.gif"
        self.failed = self.runs = 0

    def run(self, **plan: str) -> tuple[int, str, bytes]:
        """Exit code, standard error, the video."""
        fixed = "-s 32x32 -f 5 --steps 2 --device cpu --seed 5 --progress none --io pread".split()
        model = str(REPOSITORY / "models/shapes")
        done = subprocess.run(
            [str(self.program), "generate", "-m", model, "-p", "a small red circle", *fixed, "-o", str(self.output)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**os.environ, **plan, **({"LD_PRELOAD": str(self.shim)} if plan else {})},
            timeout=120,
            check=False,
        )
        video = self.output.read_bytes() if self.output.exists() else b""
        self.output.unlink(missing_ok=True)
        self.runs += 1
        return done.returncode, done.stderr.decode("utf-8", "replace"), video

    def expect(self, true: bool, name: str, code: int, errors: str) -> None:
        if not true:
            self.failed += 1
            print(f"FAILED {name}: exit {code}: {errors.strip()[-500:]}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--shim", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="t2v-reads-") as scratch:
        runner = Runner(arguments.bin, arguments.shim, pathlib.Path(scratch))
        code, errors, whole = runner.run()
        runner.expect(code == 0 and bool(whole), "no fault", code, errors)
        for file in FILES:
            path = "shapes/" + file
            for nth in (1, 2, 4) if file.endswith(".safetensors") else (1,):
                code, errors, video = runner.run(T2V_FAULT_PATH=path, T2V_FAULT_KIND="eio", T2V_FAULT_NTH=str(nth))
                lines = [line for line in errors.splitlines() if line.startswith("t2v: error:")]
                named = len(lines) == 1 and file in lines[0] and "Input/output error" in lines[0]
                runner.expect(code == 3 and named and not video, f"EIO at read {nth} of {file}", code, errors)
        for kind in ("short", "eintr"):
            for nth, times in ((1, 50), (3, 1)):
                plan = {"T2V_FAULT_NTH": str(nth), "T2V_FAULT_TIMES": str(times)}
                code, errors, video = runner.run(T2V_FAULT_PATH="models/shapes/", T2V_FAULT_KIND=kind, **plan)
                runner.expect(code == 0 and video == whole, f"{kind} from read {nth} on, {times} times", code, errors)
    print(f"read faults: {runner.runs} runs, {runner.failed} failed")
    return 1 if runner.failed else 0


if __name__ == "__main__":
    sys.exit(main())
