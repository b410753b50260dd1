"""All rows of all parts that were run: one JSON file and one table."""
import json
import platform
import shutil
import subprocess

PARTS = ["build", "test", "parity", "sanitise", "bench", "more"]
# Figures that the table shows, in this order, where a row has them.
SHOWN = ["op_ms", "gb_per_s", "share_of_copy", "times_reference", "attention_ms", "tflop_per_s", "times_cudnn", "linear_ms", "top_per_s", "int_mm_ms", "gemm_16_ms", "times_gemm_16", "forward_ms", "share_of_roofline",
         "elementwise_share", "gemm_peak_tflops", "sdpa_peak_tflops", "decode_ms", "times_faster", "roofline_ms", "first_ms", "peak_bytes_with_weights", "predicted_gb", "measured_gb",
         "predicted_over_measured", "backend", "heads", "queries", "keys", "rows", "columns", "depth", "size", "blocks", "tokens", "implementation", "model"]


def command_output(command: list) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def machine() -> dict:
    query = "name,driver_version,memory.total,clocks.sm,clocks.mem,clocks.max.sm,power.limit"
    return {"gpu": command_output(["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]), "system": platform.platform(),
            "nvcc": command_output(["nvcc", "--version"]).splitlines()[-1:], "python": platform.python_version(),
            "torch": command_output(["python3", "-c", "import torch; print(torch.__version__)"])}


def shown(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def table(rows: list) -> str:
    lines = ["| part | what | status | figures |", "|---|---|---|---|"]
    for row in rows:
        figures = row.get("figures", {})
        words = [f"{key} {shown(figures[key])}" for key in SHOWN if key in figures and not isinstance(figures[key], dict)]
        note = str(row.get("note", "")) if row["status"] != "measured" else ""
        text = ", ".join(words) + (" " + note.replace("\n", " ").replace("|", "/")[-160:] if note else "")
        seconds = f" ({row['seconds']} s)" if "seconds" in row else ""
        lines.append(f"| {row['part']} | {row['name']} | {row['status']}{seconds} | {text.strip()} |")
    return "\n".join(lines) + "\n"


def write_summary(runner, revision: str) -> None:
    rows = []
    for part in PARTS:
        path = runner.state / f"{part}.jsonl"
        if path.exists():
            rows += [json.loads(line) for line in path.read_text().splitlines()]
        if (runner.state / f"{part}.log").exists():
            shutil.copy(runner.state / f"{part}.log", runner.out / f"{part}.log")
    found = machine()
    state = "dry run: no GPU was used" if runner.dry else found["gpu"]
    (runner.out / "gpu_check.json").write_text(json.dumps({"revision": revision, "dry": runner.dry, "machine": found, "rows": rows}, indent=1) + "\n")
    (runner.out / "gpu_check.md").write_text(f"# gpu_check: {state}\n\nRevision {revision or '-'}, torch {found['torch']}\n\n{table(rows)}")
