#!/usr/bin/env python3
"""What the step cache does to videos of the shipped model: attribute accuracy and PSNR against steps left out.

    step_cache_quality.py --binary build/t2v [--count 200] [--seed 777] [--json FILE] [--svg FILE]
    step_cache_quality.py --from FILE --svg FILE          (draws an earlier --json again)

The same prompts from the same seeds with --step-cache off, a sweep of `easy` and of `mag`, and, to compare with, runs
that simply have fewer steps. Videos are judged by the model's own evaluation (tools/train_shapes) as they come out of
the MP4 files; PSNR is against the videos of `off`. Needs PyAV, NumPy and torch.
"""

import argparse
import json
import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
EASY = [0.02, 0.05, 0.1, 0.2, 0.4]
MAG = [0.03, 0.06, 0.12, 0.24, 0.48]
FEWER = [16, 13, 10, 7]
COLOURS = {"easy": "#1b6ca8", "mag": "#c8553d", "fewer steps": "#6b7280"}


def variants() -> list[tuple[str, float, str]]:
    rows = [("off", 0, "")]
    rows += [("easy", tau, f"--step-cache easy:{tau}") for tau in EASY]
    rows += [("mag", threshold, f"--step-cache mag:{threshold}") for threshold in MAG]
    return rows + [("fewer steps", steps, f"--steps {steps}") for steps in FEWER]


def measure(options: argparse.Namespace) -> dict:
    sys.path.insert(0, str(HERE))
    import quant_quality as quality

    cases = quality.shapes_eval.make_cases(options.count, options.seed, True)
    rows, first = [], None
    for kind, value, flags in variants():
        with tempfile.TemporaryDirectory() as folder:
            profile = pathlib.Path(folder) / "profile.json"
            videos = quality.make_videos(options.binary, options.model, cases, f"{flags} --profile {profile}")
            reports = json.loads(profile.read_text())
        reports = reports if isinstance(reports, list) else [reports]
        steps = [step for report in reports for step in report["steps"]]
        computed = sum(not step["predicted"] for step in steps) / len(reports)
        # Steps that videos take together stand in the report of each: their time counts once.
        seconds = sum(sum(step["wall_ms"] for step in r["steps"]) / r.get("together", 1) for r in reports) / 1000
        row = {"kind": kind, "value": value, "computed": computed, "steps": len(steps) / len(reports),
               "denoise_s": seconds, "accuracy": quality.judge(cases, videos)}
        if first is None:
            first = videos
        else:
            row["psnr"] = quality.compare(videos, first)
        rows.append(row)
        tail = f"{row['psnr']['median']:8.1f}{row['psnr']['p10']:8.1f}" if "psnr" in row else ""
        print(f"{kind:12}{value:<8}{computed:6.1f}{seconds:8.1f} s{row['accuracy']['everything']:8}{tail}", flush=True)
    return {"count": options.count, "seed": options.seed, "rows": rows}


class Panel:
    """One plot of an SVG: share of the steps computed to the right, something measured upwards."""

    WIDTH, HEIGHT = 360, 250

    def __init__(self, left: int, title: str, low: float, high: float, ticks: list[float]):
        self.left, self.low, self.high = left, low, high
        self.parts = [f'<text x="{left}" y="26" font-weight="600">{title}</text>']
        for tick in ticks:
            y = self.y(tick)
            self.parts.append(f'<path d="M{left} {y:.1f}h{self.WIDTH}" stroke="#e5e7eb"/>'
                              f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#6b7280">{tick:g}</text>')
        for share in (20, 40, 60, 80, 100):
            x = self.x(share)
            self.parts.append(f'<text x="{x:.1f}" y="{self.HEIGHT + 60}" text-anchor="middle" fill="#6b7280">{share}</text>')
        self.parts.append(f'<text x="{left + self.WIDTH / 2}" y="{self.HEIGHT + 80}" text-anchor="middle" fill="#6b7280">'
                          "steps computed, %</text>")

    def x(self, share: float) -> float:
        return self.left + (share - 20) / 80 * self.WIDTH

    def y(self, value: float) -> float:
        return 42 + (1 - (value - self.low) / (self.high - self.low)) * self.HEIGHT

    def line(self, points: list[tuple[float, float]], colour: str) -> None:
        places = [(self.x(share), self.y(value)) for share, value in sorted(points)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        self.parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in places]


def draw(report: dict) -> str:
    rows = report["rows"]
    whole = rows[0]["steps"]
    right = [row["accuracy"]["everything"] for row in rows]
    low, high = int(min(right) // 5 * 5), int(-(-max(right) // 5) * 5)
    accuracy = Panel(60, "all attributes right, %", low, high, list(range(low, high + 1, 5)))
    psnr = Panel(500, "PSNR against off, dB (median)", 20, 50, [20, 30, 40, 50])
    legend = []
    for index, (kind, colour) in enumerate(COLOURS.items()):
        own = [row for row in rows if row["kind"] == kind]
        share = [100 * row["computed"] / whole for row in own]
        off = (100.0, rows[0]["accuracy"]["everything"])
        accuracy.line([off, *((s, row["accuracy"]["everything"]) for s, row in zip(share, own, strict=True))], colour)
        psnr.line([(s, min(50.0, row["psnr"]["median"])) for s, row in zip(share, own, strict=True)], colour)
        legend.append(f'<circle cx="{66 + 110 * index}" cy="362" r="4" fill="{colour}"/>'
                      f'<text x="{76 + 110 * index}" y="366">{kind}</text>')
    note = f"{report['count']} prompts, {whole:g} steps"
    return ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 380" font-family="sans-serif" font-size="13" '
            'fill="#111827"><rect width="900" height="380" fill="#ffffff"/>'
            + "".join(accuracy.parts + psnr.parts + legend)
            + f'<text x="860" y="366" text-anchor="end" fill="#6b7280">{note}</text></svg>\n')


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary")
    parser.add_argument("--model", default=str(HERE.parents[1] / "models/shapes"))
    parser.add_argument("--count", type=int, default=200, help="prompts")
    parser.add_argument("--seed", type=int, default=777, help="of prompts and noise")
    parser.add_argument("--from", dest="before", type=pathlib.Path, help="an earlier --json, instead of measuring")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--svg", type=pathlib.Path)
    options = parser.parse_args()
    if not options.before and not options.binary:
        parser.error("--binary is missing")
    report = json.loads(options.before.read_text()) if options.before else measure(options)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    if options.svg:
        options.svg.write_text(draw(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
