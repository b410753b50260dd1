"""Makes the README's pictures with the t2v binary: a contact sheet (PNG) and two GIFs.

    gallery.py --binary build/t2v --model models/shapes --output docs/gallery
"""
import argparse
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

from runtime import HERE

SHEET = [  # prompt, seed
    ("a big red circle moves right on a black background", 1),
    ("a big blue triangle moves up on a white background", 2),
    ("a big yellow ring grows on a navy background", 3),
    ("a big orange star moves left on a gradient background", 4),
    ("a big cyan square falls on a gray background", 5),
    ("a small purple circle bouncing on a gray background", 6),
    ("一个红色的圆形向右移动，黑色背景", 7),
    ("一个大的绿色方块变小，白色背景", 8),
]
GIFS = {"circle.gif": ("a big red circle moves right on a black background", 1),
        "ring.gif": ("一个大的黄色圆环变大，藏青色背景", 2)}
FRAMES = 6  # of each video on the sheet
SCALE, GAP = 2, 4


def generate(options: argparse.Namespace, prompt: str, seed: int, output: Path) -> None:
    subprocess.run([options.binary, "generate", "--model", options.model, "--prompt", prompt, "--seed", str(seed),
                    "-q", "-o", str(output)], check=True, stdout=subprocess.DEVNULL)


def strip(folder: Path) -> Image.Image:
    """FRAMES pictures of a folder of frames, side by side."""
    paths = sorted(folder.glob("*.png"))
    if len(paths) < FRAMES:
        raise SystemExit(f"gallery: {len(paths)} frames in {folder}, expected at least {FRAMES}")
    picked = [Image.open(paths[i * (len(paths) - 1) // (FRAMES - 1)]).convert("RGB") for i in range(FRAMES)]
    width, height = picked[0].width * SCALE, picked[0].height * SCALE
    row = Image.new("RGB", (FRAMES * (width + GAP) - GAP, height), "white")
    for column, picture in enumerate(picked):
        row.paste(picture.resize((width, height), Image.Resampling.LANCZOS), (column * (width + GAP), 0))
    return row


def make_sheet(options: argparse.Namespace) -> Image.Image:
    """One row a prompt."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for index, (prompt, seed) in enumerate(SHEET):
            frames = Path(folder) / f"{index}.png"
            generate(options, prompt, seed, frames)
            rows.append(strip(frames))
    height = rows[0].height + GAP
    sheet = Image.new("RGB", (rows[0].width, height * len(rows) - GAP), "white")
    for index, row in enumerate(rows):
        sheet.paste(row, (0, index * height))
    return sheet


def main() -> None:
    root = HERE.parents[1]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=str(root / "build" / "t2v"))
    parser.add_argument("--model", default=str(root / "models" / "shapes"))
    parser.add_argument("--output", type=Path, default=root / "docs" / "gallery")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    make_sheet(options).save(options.output / "contact.png", optimize=True)
    for name, (prompt, seed) in GIFS.items():
        generate(options, prompt, seed, options.output / name)


if __name__ == "__main__":
    main()
