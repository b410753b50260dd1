#!/usr/bin/env python3
"""What a real run of the shipped model records: --profile follows docs/profile.schema.json, tools/plot_profile.py draws
it, --trace loads, --metrics-file counts. Python's standard library and python3-jsonschema."""

import argparse
import copy
import json
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import xml.etree.ElementTree
import zlib

import jsonschema

ROOT = pathlib.Path(__file__).resolve().parents[2]
STAGES = ["load_text_encoder", "text_encode", "load_transformer", "denoise", "load_vae", "vae_decode", "video_encode"]
failures = []


def check(name, condition, shown=""):
    if not condition:
        failures.append(name)
        print(f"FAILED {name}: {str(shown)[:500]}")


def run(program, folder, *arguments, progress="none"):
    return subprocess.run([program, "generate", "--device", "cpu", "--progress", progress, "-p", "a red circle moves right", "--steps", "3",
                           "--frames", "9", *arguments], cwd=folder, capture_output=True, timeout=280)


def plot(folder, *arguments):
    return subprocess.run([sys.executable, str(ROOT / "tools" / "plot_profile.py"), *arguments], cwd=folder, capture_output=True, text=True)


def check_profile(name, profile, schema):
    errors = sorted(schema.iter_errors(profile), key=str)
    check(f"{name}: schema", not errors, [error.message for error in errors[:3]])


def check_schema_refuses(profile, schema):
    """The schema can fail: what cli.md names is needed, and odd values are refused."""
    for key in ("t2v", "device", "model", "request", "stages", "steps", "weights", "kernels", "flop", "flop_per_s", "memory",
                "first_step_ms", "total_ms"):
        broken = copy.deepcopy(profile)
        del broken[key]
        check(f"schema needs {key}", not schema.is_valid(broken))
    for key, part in (("device_ms", "stages"), ("bytes_h2d", "stages"), ("device_ms", "steps"), ("device_ms", "kernels")):
        broken = copy.deepcopy(profile)
        del broken[part][0][key]
        check(f"schema needs {part}.{key}", not schema.is_valid(broken))
    for change in (lambda p: p.update(total_ms=-1), lambda p: p.update(total_ms="1"), lambda p: p["memory"]["curve"].append([1, 2]),
                   lambda p: p["stages"][0].update(name="lunch"), lambda p: p["memory"].pop("curve")):
        broken = copy.deepcopy(profile)
        change(broken)
        check("schema refuses odd values", not schema.is_valid(broken))


def check_values(profile):
    names = [stage["name"] for stage in profile["stages"]]
    check("stages", set(STAGES) <= set(names), names)
    check("steps", [step["index"] for step in profile["steps"]] == [0, 1, 2], profile["steps"])
    check("steps have device times", all(step["device_ms"] > 0 for step in profile["steps"]))
    check("first step", 0 < profile["first_step_ms"] < profile["total_ms"])
    check("kernels", {"linear", "self_attention"} <= {kernel["name"] for kernel in profile["kernels"]})
    check("flop is that of the kernels", abs(sum(kernel["flop"] for kernel in profile["kernels"]) - profile["flop"]) <= 1e-6 * profile["flop"])
    denoise = next(stage for stage in profile["stages"] if stage["name"] == "denoise")
    check("flop/s", 0 < profile["flop_per_s"] <= profile["flop"] / denoise["wall_ms"] * 1000 * 1.001, profile["flop_per_s"])
    check("share of peak", abs(profile["share_of_peak"] - profile["flop_per_s"] / profile["peak_flop_per_s"]) < 1e-6)
    curve = profile["memory"]["curve"]
    check("curve", 2 <= len(curve) <= 2000 and all(a[0] <= b[0] for a, b in zip(curve, curve[1:])))
    check("curve below peak", max(point[2] for point in curve) <= 1.02 * profile["memory"]["host_peak"])
    check("request", profile["request"]["steps"] == 3 and profile["request"]["frames"] == 9, profile["request"])


def check_plots(folder, profile):
    result = plot(folder, "one.json", "-o", "one.svg")
    check("plot runs", result.returncode == 0, result.stderr)
    tree = xml.etree.ElementTree.parse(folder / "one.svg")
    words = " ".join(text.text or "" for text in tree.iter("{http://www.w3.org/2000/svg}text"))
    for name in [stage.replace("_", " ") for stage in STAGES] + ["steps", "memory", profile["model"]]:
        check(f"plot shows {name}", name in words, words)
    rects = list(tree.iter("{http://www.w3.org/2000/svg}rect"))
    check("plot has bars", len(rects) > len(profile["stages"]) + len(profile["steps"]), len(rects))
    lines = list(tree.iter("{http://www.w3.org/2000/svg}polyline"))
    check("plot has the curve", len(lines) == 1 and len(lines[0].get("points").split()) == len(profile["memory"]["curve"]), len(lines))
    width = float(tree.getroot().get("width"))
    check("bars inside", all(0 <= float(rect.get("x", 0)) and float(rect.get("x", 0)) + float(rect.get("width")) <= width for rect in rects))
    second = plot(folder, "three.json", "--index", "2")
    check("plot of the third", second.returncode == 0 and (folder / "three.svg").exists(), second.stderr)
    check_png(folder, width, float(tree.getroot().get("height")))
    for arguments in (["absent.json"], ["three.json", "--index", "3"], ["metrics.prom"], ["one.json", "-o", "no/where.svg"],
                      ["one.json", "-o", "one.bmp"]):
        refused = plot(folder, *arguments)
        check(f"plot refuses {arguments}", refused.returncode == 1 and refused.stderr.startswith("plot_profile: ")
              and "Traceback" not in refused.stderr, refused.stderr)
    odd = dict(profile, steps=[], model="<&>\"", memory=dict(profile["memory"], curve=[]))
    (folder / "odd.json").write_text(json.dumps(odd))
    check("plot without steps", plot(folder, "odd.json").returncode == 0)
    xml.etree.ElementTree.parse(folder / "odd.svg")


def png_rows(data):
    """(width, height, rows with something on them) of a PNG with 3 bytes a pixel whose checksums are right."""
    check("PNG begins as one", data[:8] == b"\x89PNG\r\n\x1a\n", data[:8])
    place, packed = 8, b""
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place:place + 8])
        body = data[place + 8:place + 8 + length]
        check("checksum in PNG", struct.unpack(">I", data[place + 8 + length:place + 12 + length])[0] == zlib.crc32(kind + body), kind)
        if kind == b"IHDR":
            width, height, bits, colour = struct.unpack(">IIBB", body[:10])
            check("PNG is RGB", (bits, colour) == (8, 2), (bits, colour))
        packed += body if kind == b"IDAT" else b""
        place += 12 + length
    raw, row = zlib.decompress(packed), 3 * width + 1
    check("PNG is whole", len(raw) == height * row, len(raw))
    # Whatever a row's filter, one that is blank or repeats the row above holds few different bytes.
    return width, height, sum(len(set(raw[start + 1:start + row])) > 4 for start in range(0, len(raw), row))


def check_png(folder, width, height):
    """The drawing in pixels: twice as large as the SVG, and not blank."""
    if not shutil.which("rsvg-convert"):
        print("SKIPPED: PNG of a profile: no rsvg-convert (librsvg2-bin)")
        return
    result = plot(folder, "one.json", "-o", "one.png")
    check("PNG runs", result.returncode == 0, result.stderr)
    wide, tall, drawn = png_rows((folder / "one.png").read_bytes())
    check("size of the PNG", (wide, tall) == (2 * width, 2 * height), (wide, tall))
    check("PNG is drawn on", drawn > tall / 5, drawn)
    blank = subprocess.run(["rsvg-convert", "--format=png"], capture_output=True, check=True,
                           input=b'<svg xmlns="http://www.w3.org/2000/svg" width="90" height="60"><rect width="90" height="60" fill="white"/></svg>')
    check("a blank PNG would be seen", png_rows(blank.stdout)[1:] == (60, 0), png_rows(blank.stdout))
    without = subprocess.run([sys.executable, str(ROOT / "tools" / "plot_profile.py"), "one.json", "-o", "two.png"], cwd=folder,
                             capture_output=True, text=True, env={"PATH": str(folder)})
    check("without rsvg-convert it says what to install", without.returncode == 1 and "librsvg2-bin" in without.stderr
          and not (folder / "two.png").exists(), without.stderr)


def check_trace(folder):
    trace = json.loads((folder / "trace.json").read_text())
    events = trace["traceEvents"]
    categories = {event.get("cat") for event in events}
    check("trace categories", {"stage", "step", "block", "read", "op", "video", "prompt", "aten"} <= categories, categories)
    stages = {event["name"] for event in events if event.get("cat") == "stage"}
    check("trace has every stage", set(STAGES) <= stages, stages)
    begun = [event for event in events if event["ph"] == "b"]
    check("trace has every video", {event["name"] for event in begun} == {"video 0", "video 1", "video 2"}, begun)
    check("trace: what begins ends", len(begun) == sum(event["ph"] == "e" for event in events))
    check("trace is small", (folder / "trace.json").stat().st_size < 100 << 20)


def check_metrics(folder):
    text = (folder / "metrics.prom").read_text()
    samples = dict(re.findall(r"^([a-z]\S*) (\S+)$", text, re.MULTILINE))
    check("metrics: done", float(samples['t2v_videos_total{status="done"}']) == 3, text)
    check("metrics: queue", float(samples["t2v_queue_videos"]) == 0)
    check("metrics: latency", float(samples["t2v_video_seconds_count"]) == 3)
    check("metrics: stages", float(samples['t2v_stage_seconds_count{stage="denoise"}']) == 3)
    check("metrics: build", re.search(r'^t2v_build_info\{.*version="', text, re.MULTILINE))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    program = str(pathlib.Path(parser.parse_args().bin).resolve())
    schema_text = json.loads((ROOT / "docs" / "profile.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema_text)
    schema = jsonschema.Draft202012Validator(schema_text)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        one = run(program, folder, "--seed", "1", "-o", "a.gif", "--profile", "one.json")
        check("run", one.returncode == 0, one.stderr)
        profile = json.loads((folder / "one.json").read_text())
        check_profile("one video", profile, schema)
        check_schema_refuses(profile, schema)
        check_values(profile)
        three = run(program, folder, "--seed", "1", "--count", "3", "-o", "v{index}.gif", "--profile", "three.json", "--trace", "trace.json",
                    "--metrics-file", "metrics.prom", progress="bar")
        check("batch runs", three.returncode == 0, three.stderr)
        lines = three.stderr.decode().split("\r\x1b[K")
        check("bar of a batch", all(any(f"video {number} of 3" in line for line in lines) for number in (1, 2, 3)), lines)
        profiles = json.loads((folder / "three.json").read_text())
        check("three profiles", isinstance(profiles, list) and len(profiles) == 3)
        check_profile("three videos", profiles, schema)
        check("the same bytes with and without", (folder / "a.gif").read_bytes() == (folder / "v1.gif").read_bytes()
              if (folder / "v1.gif").exists() else any(p.suffix == ".gif" for p in folder.iterdir()))
        check_plots(folder, profile)
        check_trace(folder)
        check_metrics(folder)
        table = run(program, folder, "--seed", "1", "-o", "b.gif", "--profile")
        check("the table names operations", b"GFLOP/s" in table.stderr and b"self_attention" in table.stderr, table.stderr)
        refused = run(program, folder, "-o", "c.gif", "--trace", "no/such/folder/t.json")
        check("a trace that cannot be written is told at once", refused.returncode == 5 and not (folder / "c.gif").exists(), refused.stderr)
    print(f"{len(failures)} failures")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
