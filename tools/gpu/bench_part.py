"""Measurements: ops, attention, a step, the VAE, plain PyTorch, memory, the whole program."""
import json
import pathlib
import re
import tempfile

BENCH = pathlib.Path("tools/bench")


def bench_core(runner) -> None:
    small = ["--small", 1] if runner.dry else []
    at = ["--device", runner.device]
    runner.run("bench_ops", [runner.build / "bench_ops", *at, *small], 45, rows=True)
    model = ["--model", "tiny", "--size", "128x96,96x64", "--frames", 9] if runner.dry else ["--model", "a14b", "--size", "832x480,1280x720"]
    runner.run("bench_step", [runner.build / "bench_step", *at, *model], 110, rows=True)
    for quant, attention in [("int8", "auto"), ("int8", "own-int8")]:  # beside the 16-bit step above
        runner.run(f"bench_step {quant} {attention}", [runner.build / "bench_step", *at, *model, "--quant", quant, "--attention", attention, "--peaks", 0], 90, rows=True)
    runner.run("bench_int8", [runner.build / "bench_int8", *at, *small], 60, rows=True)
    runner.run("bench_attention", [runner.build / "bench_attention", *at, *small], 70, rows=True)


def bench_more(runner) -> None:
    vae(runner)
    eager(runner)
    memory(runner)
    program(runner)


def vae(runner) -> None:
    """A decoder of the real shape with random weights; the whole program times it in its stage vae_decode."""
    size, frames, model = ("64x64", 9, "tiny") if runner.dry else ("1280x720", 81, "1.3b")
    with tempfile.TemporaryDirectory() as temporary:
        result = pathlib.Path(temporary) / "b.json"
        code, _ = runner.run("vae", [runner.build / "t2v", "bench", "-m", f"random:{model}", "--size", size, "--frames", frames, "--steps", 1,
                                     "--guidance-scale", 1, "--repeats", 2, "--warmup", 1, "--device", runner.device, "--dtype", "bf16",
                                     "--progress", "none", "--json", result], 90)
        if code == 0:
            data = json.loads(result.read_text())
            runner.measured({"name": "vae_decode", "size": size, "frames": frames, "decode_ms": data["stages_ms"]["vae_decode"]["median"],
                             "decode_ms_low": data["stages_ms"]["vae_decode"]["low"], "decode_ms_high": data["stages_ms"]["vae_decode"]["high"],
                             "device_peak": data["memory"]["device_peak"]}, "t2v bench")


def eager(runner) -> None:
    """A few blocks of the 14B model in t2v and in diffusers, or in plain PyTorch where diffusers is missing."""
    blocks, sizes = (1, ["96x64"]) if runner.dry else (8, ["832x480", "1280x720"])
    model = "tiny" if runner.dry else "a14b"
    for size in sizes:
        at = ["--device", runner.device, "--size", size, "--frames", 9 if runner.dry else 81]
        runner.run(f"t2v {blocks} blocks {size}", [runner.build / "bench_step", *at, "--model", model, "--blocks", blocks, "--peaks", 0], 40, rows=True)
        runner.run(f"eager {blocks} blocks {size}", ["python3", BENCH / "eager_wan.py", *at, "--model", model, "--blocks", blocks], 60, rows=True)
        ours, theirs = last_figures(runner, "step", size), last_figures(runner, "eager", size)
        if ours and theirs:
            runner.measured({"name": "eager against t2v", "size": size, "blocks": blocks, "implementation": theirs["implementation"],
                             "times_faster": theirs["forward_ms"] / ours["forward_ms"]}, "eager_wan.py")


def last_figures(runner, name: str, size: str):
    found = [row["figures"] for row in runner.rows if row["name"] == name and row.get("figures", {}).get("size") == size]
    return found[-1] if found else None


SHAPES = [("320x192", 9), ("480x320", 33), ("832x480", 17), ("832x480", 81), ("1280x720", 17), ("1280x720", 81)]
BYTES = {"GB": 1e9, "MB": 1e6}


def predicted_peak(text: str) -> float:
    """The largest device peak of the stages in the plan of --dry-run; of the host on the CPU."""
    word = "device" if re.search("(GB|MB) device", text) else "host"
    found = re.findall(rf"# peak of [^:]+: .*?([0-9.]+) (GB|MB) {word}", text)
    return max(float(number) * BYTES[unit] for number, unit in found)


def memory(runner) -> None:
    """The planner's prediction against the allocator's peak."""
    shapes, model = ([("64x64", 9), ("96x64", 5)], "tiny") if runner.dry else (SHAPES, "1.3b")
    for size, frames in shapes:
        common = ["-m", f"random:{model}", "--size", size, "--frames", frames, "--steps", 1, "--device", runner.device, "--dtype", "bf16", "--progress", "none"]
        name = f"memory {size}x{frames}"
        code, plan = runner.run(name, [runner.build / "t2v", "generate", *common, "-p", "a cat", "--dry-run", "-o", "unused.gif"], 30, quiet=True)
        if code != 0:
            runner.row(name, "failed" if plan else "skipped", note=plan[-200:])
            continue
        code, output = runner.run(name, [runner.build / "t2v", "bench", *common, "--repeats", 1, "--warmup", 0, "--json"], 60, quiet=True)
        if code != 0:
            runner.row(name, "failed" if output else "skipped", note=output[-200:])
            continue
        result = json.loads(output[output.index("{"):])
        measured = result["memory"]["host_peak" if runner.dry else "device_peak"]
        predicted = predicted_peak(plan)
        runner.measured({"name": name, "predicted_gb": predicted / 1e9, "measured_gb": measured / 1e9, "predicted_over_measured": predicted / max(measured, 1)}, "t2v")


def program(runner) -> None:
    preset = "tiny" if runner.dry else "a14b-480p"
    with tempfile.TemporaryDirectory() as temporary:
        result = pathlib.Path(temporary) / "b.json"
        code, _ = runner.run("t2v bench", [runner.build / "t2v", "bench", "--preset", preset, "--random-weights", "--repeats", 1, "--warmup", 1,
                                           "--device", runner.device, "--progress", "none", "--json", result], 200)
        if code == 0:
            runner.measured({"name": "t2v_bench", **json.loads(result.read_text())}, "t2v bench")
