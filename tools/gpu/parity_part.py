"""The GPU against reference tensors (models in .gpu-deps, where they were packed), the CPU, and itself."""
import importlib.util
import json
import pathlib
import tempfile

import numpy as np

PROMPT = "a small red circle moves right on a black background"


def load_check(folder: pathlib.Path):
    """check.py of the parity models as a module."""
    spec = importlib.util.spec_from_file_location("check", folder / "check.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def references(runner, folder: pathlib.Path) -> None:
    """What check.py does, but for the container: without FFmpeg the video is a GIF."""
    check = load_check(folder)
    types = ["fp32", "bf16"] if runner.dry else ["fp32", "bf16", "fp16"]
    for dtype in types:
        for ref in sorted(folder.glob("*-ref/reference*.json")):
            one_reference(runner, check, ref, dtype)


def one_reference(runner, check, ref: pathlib.Path, dtype: str) -> None:
    d = json.loads(ref.read_text())
    model = ref.parent.with_name(ref.parent.name[:-4])
    want = check.load(ref.with_suffix(".safetensors"))
    tolerances = json.loads((ref.parent / "tolerances.json").read_text()) if (ref.parent / "tolerances.json").exists() else {}
    name = f"reference {model.name} {dtype}"
    with tempfile.TemporaryDirectory() as temporary:
        t = pathlib.Path(temporary)
        check.save(t / "noise.safetensors", "latents", want["init_latents"])
        high = d["guidance_scale"]
        command = [runner.build / "t2v", "generate", "--model", model, "--prompt", d["prompt"], "--negative-prompt", d["negative_prompt"],
                   "--size", f"{d['width']}x{d['height']}", "--frames", d["num_frames"], "--steps", d["num_inference_steps"],
                   "--guidance-scale-high", high, "--guidance-scale-low", d["guidance_scale_2"] or high, "--shift", d["flow_shift"],
                   "--sigma-table", "diffusers", "--latents", t / "noise.safetensors", "--dtype", dtype, "--device", runner.device,
                   "--dump", t / "dump.safetensors", "-o", t / "out.gif", "--progress", "none"]
        if d.get("boundary_ratio"):
            command += ["--boundary", d["boundary_ratio"]]
        code, output = runner.run(name, command, 60, quiet=True)
        if code != 0:
            if output or code is not None:
                runner.row(name, "failed", note=output[-300:])
            return
        rows = check.compare(check.load(t / "dump.safetensors"), want, dtype == "fp32", tolerances, 3.0)
    bad = [row for row in rows if row[1] != "ok"]
    worst = max((row for row in rows if row[2] is not None and row[3]), key=lambda row: row[2] / row[3])
    note = f"{len(rows)} tensors; nearest to its bound: {worst[0]} {worst[2]:.2e} of {worst[3]:.2e}"
    if bad:
        note = f"{len(bad)} of {len(rows)} tensors off: " + ", ".join(f"{row[0]} {row[1]} {row[2]}" for row in bad[:5])
    runner.row(name, "failed" if bad or not rows else "passed", note=note)


def frames_of(load, path: pathlib.Path) -> np.ndarray:
    return load(path)["frames_u8"].astype(np.float64)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = float(np.mean((a - b) ** 2))
    return 99.0 if error == 0 else 10 * np.log10(255**2 / error)


# PSNR in dB against the CPU in fp32: of whole videos of the shipped model, 20 steps. An fp32 GPU run differs by the order
# of sums only; bf16 and fp16 are held to what a bf16 run on the CPU keeps (64 dB was seen), less a margin: both err by
# rounding, but in other places.
FP32_DB = 45.0
MARGIN_DB = 10.0


def whole_videos(runner, load) -> None:
    """The shipped model: GPU and CPU make the same video within the tolerance, and the same seed the same bytes."""
    with tempfile.TemporaryDirectory() as temporary:
        t = pathlib.Path(temporary)

        def make(name: str, device: str, dtype: str):
            code, output = runner.run(f"video {name}", [runner.build / "t2v", "generate", "-p", PROMPT, "--seed", 7, "--device", device, "--dtype", dtype,
                                                        "--dump", t / f"{name}.st", "-o", t / f"{name}.gif", "--progress", "none"], 60, quiet=True)
            if code == 0:
                return frames_of(load, t / f"{name}.st")
            if output or code is not None:
                runner.row(f"video {name}", "failed", note=output[-300:])
            return None

        truth, low = make("cpu fp32", "cpu", "fp32"), make("cpu bf16", "cpu", "bf16")
        if truth is None or low is None:
            return
        floor = psnr(truth, low) - MARGIN_DB
        for dtype in ["fp32", "bf16"] if runner.dry else ["fp32", "bf16", "fp16"]:
            got = make(f"device {dtype}", runner.device, dtype)
            if got is None:
                continue
            bound = FP32_DB if dtype == "fp32" else floor
            value = psnr(truth, got)
            runner.row(f"video {dtype} against the CPU in fp32", "passed" if value >= bound else "failed", note=f"{value:.1f} dB, at least {bound:.1f}")
        again = make("device bf16 again", runner.device, "bf16")
        if again is not None and (t / "device bf16.st").exists():
            same = (t / "device bf16.st").read_bytes() == (t / "device bf16 again.st").read_bytes()
            runner.row("same seed, same bytes", "passed" if same else "failed", note="all tensors of two runs in bf16")


def load_safetensors(path: pathlib.Path) -> dict:
    """Only frames_u8."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    entry = json.loads(data[8:8 + size])["frames_u8"]
    begin, end = entry["data_offsets"]
    return {"frames_u8": np.frombuffer(data[8 + size + begin:8 + size + end], np.uint8).reshape(entry["shape"])}


def parity(runner) -> None:
    whole_videos(runner, load_safetensors)
    folder = runner.build / "deps/parity"
    if (folder / "check.py").exists():
        references(runner, folder)
    else:
        runner.row("references", "skipped", note="no parity models were packed")
