"""Writes a trained model in diffusers layout (bfloat16) with t2v.json and its model card."""
import json
import shutil
from pathlib import Path

import torch
from diffusers import UniPCMultistepScheduler, WanPipeline
from transformers import T5Tokenizer

import card
from runtime import config_hash


def make_scheduler(shift: float) -> UniPCMultistepScheduler:
    return UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift,
                                   num_train_timesteps=1000, solver_order=2)


def make_tokenizer(piece_model: Path, text_len: int, work: Path) -> T5Tokenizer:
    folder = work / "tokenizer"
    folder.mkdir(exist_ok=True)
    shutil.copy(piece_model, folder / "spiece.model")
    return T5Tokenizer.from_pretrained(folder, extra_ids=0, model_max_length=text_len)


def defaults(config: dict) -> dict:
    """The content of t2v.json: what `t2v generate` uses for this model unless told otherwise."""
    sampling = config["sampling"]
    return {"name": "shapes", "text_len": config["text_len"], "size": f"{config['side']}x{config['side']}",
            "frames": config["frames"], "fps": sampling["fps"], "steps": sampling["steps"], "solver": "unipc",
            "sigma_table": "diffusers", "shift": config["shift"], "guidance_scale_high": sampling["guidance_scale"],
            "guidance_scale_low": sampling["guidance_scale"], "boundary": config["boundary"], "negative_prompt": ""}


def write_model(parts: dict, config: dict, facts: dict, work: Path, target: Path) -> None:
    """parts: tokenizer (path of spiece.model), text_encoder, vae, high, low; facts: what the model card reports."""
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    modules = {name: parts[name].to(torch.bfloat16) for name in ("text_encoder", "vae")}
    pipeline = WanPipeline(tokenizer=make_tokenizer(parts["tokenizer"], config["text_len"], work),
                           scheduler=make_scheduler(config["shift"]), transformer=parts["high"].to(torch.bfloat16),
                           transformer_2=parts["low"].to(torch.bfloat16), boundary_ratio=config["boundary"], **modules)
    pipeline.save_pretrained(partial, safe_serialization=True)
    shutil.copy(parts["tokenizer"], partial / "tokenizer" / "spiece.model")
    (partial / "t2v.json").write_text(json.dumps(defaults(config), indent=2) + "\n")
    (partial / "README.md").write_text(card.write_card(config, facts | {"config_hash": config_hash(config)}))
    files = [path for path in partial.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    for path in files:
        path.chmod(0o644)  # safetensors makes them private
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    print(f"export: {target}, {size / 1e6:.1f} MB")
