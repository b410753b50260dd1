#!/usr/bin/env python3
"""Draws what --profile FILE has recorded: bars of stages, times of steps, the curve of memory. Writes SVG with
Python alone; PNG is the same drawing, by rsvg-convert (Debian's librsvg2-bin).
  tools/plot_profile.py profile.json [-o profile.svg|profile.png] [--index N]"""

import argparse
import json
import math
import pathlib
import subprocess
import sys
from xml.sax.saxutils import escape

COLOURS = {"load_text_encoder": "#b8c4d6", "text_encode": "#4c78a8", "vae_encode": "#9d755d", "load_transformer": "#d6c4b8",
           "denoise": "#f58518", "load_vae": "#c9d6b8", "vae_decode": "#54a24b", "video_encode": "#b279a2",
           "high_noise": "#e45756", "low_noise": "#4c78a8", "": "#f58518", "predicted": "#cccccc",
           "host": "#4c78a8", "device": "#e45756"}
WIDTH, LEFT, RIGHT = 900, 150, 30  # pixels
PNG_ZOOM = 2
INK, PALE = "#222222", "#dddddd"


def fail(message):
    sys.exit(f"plot_profile: {message}")


def read_video(path, index):
    try:
        profile = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        fail(f"cannot read {path}: {error.strerror}")
    except ValueError as error:
        fail(f"{path} is no JSON: {error}")
    videos = profile if isinstance(profile, list) else [profile]
    if not 0 <= index < len(videos):
        fail(f"{path} has {len(videos)} videos, numbers 0 to {len(videos) - 1} (--index)")
    video = videos[index]
    if not isinstance(video, dict) or "stages" not in video or "memory" not in video:
        fail(f"{path} is not what --profile writes")
    return video


def nice_ticks(high, count=5):
    """Round numbers from 0 to at least `high`."""
    if high <= 0:
        return [0.0, 1.0]
    raw = high / count
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(step for step in (size, 2 * size, 2.5 * size, 5 * size, 10 * size) if step >= raw * 0.999)
    ticks = [0.0]
    while ticks[-1] < high * 0.999:
        ticks.append(ticks[-1] + step)
    return ticks


def number(value):
    return f"{value:.10g}" if abs(value) < 1e6 else f"{value:.3g}"


class Svg:
    def __init__(self):
        self.parts = []
        self.height = 20

    def text(self, x, y, words, anchor="start", size=12, colour=INK):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}">'
                          f"{escape(words)}</text>")

    def rect(self, x, y, width, height, colour, hint=""):
        title = f"<title>{escape(hint)}</title>" if hint else ""
        self.parts.append(f'<rect x="{x:.2f}" y="{y:.2f}" width="{max(width, 0.3):.2f}" height="{height:.2f}" '
                          f'fill="{colour}">{title}</rect>')

    def line(self, x1, y1, x2, y2, colour=PALE):
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>')

    def path(self, points, colour):
        words = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{words}" fill="none" stroke="{colour}" stroke-width="1.5"/>')

    def document(self):
        return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{self.height}" '
                f'viewBox="0 0 {WIDTH} {self.height}" font-family="sans-serif">\n'
                f'<rect width="{WIDTH}" height="{self.height}" fill="white"/>\n' + "\n".join(self.parts) + "\n</svg>\n")


def axis_x(svg, top, bottom, ticks, unit):
    scale = (WIDTH - LEFT - RIGHT) / ticks[-1]
    for tick in ticks:
        svg.line(LEFT + tick * scale, top, LEFT + tick * scale, bottom)
        svg.text(LEFT + tick * scale, bottom + 15, number(tick), "middle", 11)
    svg.text(WIDTH - RIGHT, bottom + 30, unit, "end", 11)
    return lambda value: LEFT + value * scale


def axis_y(svg, top, bottom, ticks, unit):
    scale = (bottom - top) / ticks[-1]
    for tick in ticks:
        svg.line(LEFT, bottom - tick * scale, WIDTH - RIGHT, bottom - tick * scale)
        svg.text(LEFT - 6, bottom - tick * scale + 4, number(tick), "end", 11)
    svg.text(LEFT - 6, top - 8, unit, "end", 11)
    return lambda value: bottom - value * scale


def heading(video):
    request = video.get("request") or {}
    size = f"{request['size']}, {request.get('frames')} frames, {request.get('steps')} steps, " if "size" in request else ""
    words = f"{video['model']} on {video['device']}: {size}{video['total_ms'] / 1000:.2f} s"
    if video.get("share_of_peak"):
        words += f", denoising at {video['share_of_peak']:.1%} of the matrix peak"
    return words


def duration(ms):
    return f"{ms:.1f} ms" if ms < 100 else f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.2f} s"


def size(num_bytes):
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes < 1e9 else f"{num_bytes / 1e9:.2f} GB"


def loaded_inside_ms(video):
    """Experts are read in the middle of denoising, whose own time is without that."""
    starts = {stage["name"]: stage for stage in video["stages"]}
    denoise, load = starts.get("denoise"), starts.get("load_transformer")
    return load["wall_ms"] if denoise and load and load["start_ms"] >= denoise["start_ms"] else 0


def draw_stages(svg, video):
    """Each stage a row: from its first begin, as long as its own time; pale behind it what it spent on a stage inside of it."""
    top = svg.height + 30
    svg.text(10, svg.height + 18, "stages", size=14)
    bottom = top + 24 * len(video["stages"])
    x = axis_x(svg, top, bottom, nice_ticks(video["total_ms"] / 1000), "s since the request")
    for row, stage in enumerate(video["stages"]):
        y = top + 24 * row
        start, end = stage["start_ms"] / 1000, (stage["start_ms"] + stage["wall_ms"]) / 1000
        words = duration(stage["wall_ms"]) + (f", {size(stage['bytes_read'])} read" if stage["bytes_read"] else "")
        svg.text(LEFT - 6, y + 16, stage["name"].replace("_", " "), "end")
        svg.rect(x(start), y + 4, x(end) - x(start), 16, COLOURS.get(stage["name"], "#888888"), words)
        if stage["name"] == "denoise" and loaded_inside_ms(video):
            inside = min(loaded_inside_ms(video), video["total_ms"] - 1000 * end) / 1000
            svg.rect(x(end), y + 4, x(end + inside) - x(end), 16, COLOURS["load_transformer"], "loading inside of it")
            end += inside
        right, room = x(end) + 5, 6.5 * len(words)
        if right + room < WIDTH:
            svg.text(right, y + 16, words, size=11)
        elif x(start) - 5 - room > LEFT:
            svg.text(x(start) - 5, y + 16, words, "end", 11)
        else:
            svg.text(right - 10, y + 16, words, "end", 11)
    svg.height = bottom + 40


def draw_steps(svg, video):
    steps = video["steps"]
    if not steps:
        return
    svg.text(10, svg.height + 18, "steps", size=14)
    top, bottom = svg.height + 40, svg.height + 190
    y = axis_y(svg, top, bottom, nice_ticks(max(step["wall_ms"] for step in steps)), "ms")
    each = (WIDTH - LEFT - RIGHT) / len(steps)
    for place, step in enumerate(steps):
        colour = COLOURS["predicted"] if step.get("predicted") else COLOURS.get(step["expert"], "#888888")
        tall = max(bottom - y(step["wall_ms"]), 3)  # a predicted step takes next to no time and is to be seen
        svg.rect(LEFT + place * each + each * 0.1, bottom - tall, each * 0.8, tall, colour,
                 f"step {step['index']}, timestep {step['timestep']:g}: {step['wall_ms']:.1f} ms")
        if len(steps) <= 25 or place % 10 == 0:
            svg.text(LEFT + (place + 0.5) * each, bottom + 15, str(step["index"]), "middle", 11)
    x = LEFT
    for name in dict.fromkeys("predicted" if step.get("predicted") else step["expert"] for step in steps):
        if name:
            svg.rect(x, svg.height + 8, 12, 12, COLOURS[name])
            svg.text(x + 18, svg.height + 18, name.replace("_", " "))
            x += 130
    svg.height = bottom + 30


def draw_memory(svg, video):
    curve = video["memory"].get("curve", [])
    if len(curve) < 2:
        return
    svg.text(10, svg.height + 18, "memory", size=14)
    top, bottom = svg.height + 40, svg.height + 200
    series = [("host", 2)] + ([("device", 1)] if any(point[1] for point in curve) else [])
    high = max(point[place] for point in curve for _, place in series) / 1e9
    y = axis_y(svg, top, bottom, nice_ticks(high), "GB")
    x = axis_x(svg, top, bottom, nice_ticks(curve[-1][0] / 1000), "s since the request")
    for shift, (name, place) in enumerate(series):
        svg.path([(x(point[0] / 1000), y(point[place] / 1e9)) for point in curve], COLOURS[name])
        svg.rect(LEFT + 180 * shift, svg.height + 8, 12, 12, COLOURS[name])
        peak = max(point[place] for point in curve) / 1e9
        svg.text(LEFT + 180 * shift + 18, svg.height + 18, f"{name}, at most {peak:.2f} GB")
    svg.height = bottom + 40


def draw_svg(video):
    svg = Svg()
    svg.text(10, 20, heading(video), size=13)
    svg.height = 30
    draw_stages(svg, video)
    draw_steps(svg, video)
    draw_memory(svg, video)
    return svg.document()


def as_png(svg, path):
    """The same drawing in pixels, two of them for each of the SVG's, so that small words stay sharp."""
    try:
        done = subprocess.run(["rsvg-convert", "--format=png", f"--zoom={PNG_ZOOM}"], input=svg.encode(), capture_output=True)
    except FileNotFoundError:
        fail(f"{path}: rsvg-convert is needed for PNG and is not there; try -o FILE.svg, or install librsvg2-bin")
    if done.returncode != 0:
        fail(f"{path}: rsvg-convert failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("profile", help="what --profile FILE has written")
    parser.add_argument("-o", "--output", help="FILE.svg or FILE.png (the profile's name with .svg)")
    parser.add_argument("--index", type=int, default=0, help="of several videos, which one (0)")
    arguments = parser.parse_args()
    video = read_video(arguments.profile, arguments.index)
    output = pathlib.Path(arguments.output or pathlib.Path(arguments.profile).with_suffix(".svg"))
    if output.suffix.lower() not in (".svg", ".png"):
        fail(f"{output}: .svg and .png are drawn, not '{output.suffix}'")
    svg = draw_svg(video)
    picture = svg.encode() if output.suffix.lower() == ".svg" else as_png(svg, output)
    try:
        output.write_bytes(picture)
    except OSError as error:
        fail(f"cannot write {output}: {error.strerror}")
    print(output)


if __name__ == "__main__":
    main()
