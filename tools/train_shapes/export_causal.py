"""Writes the causal model: transformer and VAE of its own, the rest as links into the shapes model beside it."""
import json
import os
import shutil
from pathlib import Path

import torch

import card_causal
from runtime import config_hash

WEIGHTS, GALLERY = "diffusion_pytorch_model.safetensors", "gallery.png"
SHARED = ("text_encoder", "tokenizer")


def defaults(config: dict) -> dict:
    """The content of t2v.json."""
    sampling = config["causal"]["sampling"]
    return {"name": "shapes-causal", "causal": "shapes-causal", "text_len": config["text_len"],
            "size": f"{config['side']}x{config['side']}", "frames": sampling["frames"],
            "fps": config["sampling"]["fps"], "shift": config["shift"],
            "guidance_scale": sampling["guidance_scale"], "negative_prompt": ""}


def _write_weights(weights: dict[str, torch.Tensor], folder: Path, start: Path, metadata: dict[str, str]) -> None:
    from safetensors.torch import save_file
    folder.mkdir(parents=True)
    tensors = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in sorted(weights.items())}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"} | metadata)
    (folder / WEIGHTS).chmod(0o644)  # safetensors makes it private
    shutil.copy(start / folder.name / "config.json", folder)


def write_model(parts: dict, config: dict, start: Path, facts: dict, target: Path) -> None:
    """parts: weights of transformer and vae; `start`: the shapes model; facts: what the model card reports."""
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    _write_weights(parts["transformer"], partial / "transformer", start, {"t2v.causal": "shapes-causal"})
    _write_weights(parts["vae"], partial / "vae", start, {})
    shutil.copytree(start / "scheduler", partial / "scheduler")
    index = json.loads((start / "model_index.json").read_text())
    index |= {"boundary_ratio": None, "transformer_2": [None, None]}
    (partial / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    for name in SHARED:
        (partial / name).symlink_to(Path(os.path.relpath(start, target)) / name)
    (partial / "t2v.json").write_text(json.dumps(defaults(config), indent=2) + "\n")
    (partial / "README.md").write_text(card_causal.write_card(config, facts | {"config_hash": config_hash(config)}))
    if (target / GALLERY).exists():  # made from the weights, afterwards
        shutil.copy(target / GALLERY, partial)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    print(f"export: {target}")
