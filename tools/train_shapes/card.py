"""The model card (README.md) of an exported model, from the configuration and the measured accuracy."""
import json

import domain
from runtime import HERE

HEADER = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-video
language: [en, zh]
---
# shapes

A tiny text-to-video model in the layout of Wan2.2 (umT5 text encoder, two Wan transformers, Wan VAE). It exists so that
`t2v` can be tried, tested and measured without a download. It was trained by this project with `tools/train_shapes`.

**It is** a complete Wan pipeline with really trained weights: prompts in English and Chinese make matching videos.
**It is not** a general model. It knows
{colors} colours ({color_names}),
{shapes} shapes ({shape_names}), two sizes,
{motions} motions ({motion_names}) and
{backgrounds} backgrounds ({background_names}), one shape a video.
Other words change the picture in meaningless ways. It was trained at {side}x{side} pixels and {frames} frames only.

Defaults (`t2v.json`): {side}x{side}, {frames} frames, {fps} a second, {steps} UniPC steps, shift {shift},
guidance {guidance_scale}.

## Training data
Rendered by `tools/train_shapes/domain.py`, captions by `grammar.py`. No picture, video or text of others was used.
Colour-shape-motion triples with crc32("color/shape/motion") % 13 = 0 are held out of all text and transformer
training; the VAE saw them.
"""


def _stage_rows(config: dict) -> list[str]:
    rows = []
    for name in ("text", "vae", "decoder", "joint", "low", "high", "high_more"):
        stage = config[name]
        for phase in stage.get("phases", [stage]):
            ranks = 1 if name in ("text", "low", "high", "high_more") else 2
            batch = ranks * phase.get("batch", config["dit"]["batch"])
            rows.append(f"| {name} | {phase['steps']} | {batch} | {stage['lr']} |")
    return rows


def _training(config: dict, facts: dict) -> str:
    lines = ["## Training", f"Configuration `tools/train_shapes/config.json`, hash `{facts['config_hash']}`, seeds "
             f"`{json.dumps(config['seeds'])}`; AMD EPYC, two single-thread ranks, bfloat16 autocast.", ""]
    if facts["is_continued"]:
        first = json.loads((HERE / "first_version.json").read_text())
        lines += ["The weights were **continued from a first version** (`train.py continue`), not trained from nothing "
                  "by the present configuration. " + first["note"], "", "| stage of the first version | steps | batch | |",
                  "|---|---|---|---|"]
        lines += [f"| {s['name']} | {s['steps']} | {s['batch']} | {s['how']} |" for s in first["stages"]]
        lines += ["", "Then, with the text encoder and the VAE encoder kept:", ""]
    rows = _stage_rows(config)
    if facts["is_continued"]:
        rows = [row for row in rows if row.split()[1] in ("decoder", "low", "high", "high_more")]
    table = ["| stage | steps | batch | Muon rate |", "|---|---|---|---|", *rows]
    return "\n".join([*lines, *table, "", facts["remarks"]])


def _accuracy(report: dict | None) -> str:
    if report is None:
        return "## Accuracy\nNot measured yet: run `tools/train_shapes/eval.py`."
    columns = list(report["table"]["all"]["all"])
    lines = ["## Accuracy", f"Measured with `tools/train_shapes/eval.py --engine {report['engine']}` on "
             f"{'held-out' if report['held_out'] else 'seen'} triples, prompt seed {report['seed']}; per cent, "
             "n prompts a row. The checker reads the pixels by rule. A spinning circle or ring passes where nothing "
             "moves; size counts where the prompt names it and the shape does not grow or shrink.", "",
             "| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for kind in ("all", "language", "shape", "motion"):
        for name, row in report["table"][kind].items():
            lines.append(f"| {name} | " + " | ".join("-" if row[c] is None else str(row[c]) for c in columns) + " |")
    return "\n".join(lines)


def write_card(config: dict, facts: dict) -> str:
    names = domain.ATTRIBUTES
    header = HEADER.format(
        colors=len(names["color"]), color_names=", ".join(names["color"]), shapes=len(names["shape"]),
        shape_names=", ".join(names["shape"]), motions=len(names["motion"]), motion_names=", ".join(names["motion"]),
        backgrounds=len(names["background"]), background_names=", ".join(names["background"]), side=config["side"],
        frames=config["frames"], shift=config["shift"], **config["sampling"])
    weak = "## Measurements and weak spots\n" + facts["weak_spots"]
    licence = "## Licence\nApache-2.0, weights and data generator alike."
    return "\n\n".join([header.rstrip(), _training(config, facts), _accuracy(facts["eval"]), weak, licence]) + "\n"
