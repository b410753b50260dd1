"""Makes the contact sheet of the causal model from the PyTorch rollout: a row a prompt, every fourth frame.

    gallery_causal.py --work WORK --output models/shapes-causal/gallery.png
"""
import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from eval_causal import videos_of_rollout
from gallery import GAP
from runtime import HERE, load_config

SHEET = ["a big red circle moves right on a black background", "a big blue star moves up on a white background",
         "a big yellow ring grows on a navy background", "a small cyan square bouncing on a gray background",
         "a big green square spins on a black background", "一个大的橙色三角形向下移动，灰色背景",
         "一个紫色的圆环变小，渐变色背景", "a white triangle moves left on a navy background"]
FIRST_SEED, EVERY = 1, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, default=HERE.parents[1] / "models" / "shapes")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    sampling = load_config()["causal"]["sampling"]
    options.frames, options.steps, options.guidance = (sampling[k] for k in ("frames", "steps", "guidance_scale"))
    options.decoder, options.batch = options.work / "long_decoder.pt", len(SHEET)
    cases = [{"prompt": prompt, "seed": seed} for seed, prompt in enumerate(SHEET, FIRST_SEED)]
    rows = [np.concatenate([np.pad(frame, ((0, GAP), (0, GAP), (0, 0)), constant_values=1) for frame in video[::EVERY]],
                           1) for video in videos_of_rollout(cases, options)]
    sheet = Image.fromarray((np.concatenate(rows)[:-GAP, :-GAP] * 255).round().astype(np.uint8))
    sheet.quantize(128, dither=Image.Dither.NONE).save(options.output, optimize=True)


if __name__ == "__main__":
    main()
