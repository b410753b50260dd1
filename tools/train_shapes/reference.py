"""Records reference tensors of an exported shapes model with diffusers in float32: few steps, small files.

    reference.py --model models/shapes --output tests/fixtures/shapes-ref

Tensor names as in `t2v generate --dump`. Of the transformer's calls the first and the last are kept, of the video
every fourth frame (`frames_u8_every4`).
"""
import argparse
import json
from pathlib import Path

import torch
from diffusers import WanPipeline
from safetensors.torch import save_file

from runtime import HERE

PROMPT = "a small red circle moves right on a black background"
NUM_STEPS = 4
SEED = 42
FRAME_STRIDE = 4


def record_calls(transformers: list, names: list[str], record: dict, called: list[str]) -> None:
    """Hooks that note every transformer call's timestep, output and model name."""
    def hook(name: str):
        def note(module, positional, keywords, output):
            index = len(called)
            called.append(name)
            record[f"call{index:02d}_timestep"] = keywords["timestep"].reshape(1).long()
            record[f"call{index:02d}_output"] = output[0].float().clone()
        return note

    for transformer, name in zip(transformers, names):
        transformer.register_forward_hook(hook(name), with_kwargs=True)


def encode_text(pipeline: WanPipeline, text: str, prefix: str, text_len: int, record: dict) -> None:
    tokens = pipeline.tokenizer([text], padding="max_length", max_length=text_len, truncation=True,
                                return_attention_mask=True, return_tensors="pt")
    mask = tokens.attention_mask
    raw = pipeline.text_encoder(tokens.input_ids, mask).last_hidden_state
    record |= {f"{prefix}_ids": tokens.input_ids, f"{prefix}_mask": mask,
               f"{prefix}_embeds": raw * mask.unsqueeze(-1)}


@torch.no_grad()
def make_reference(model: str) -> tuple[dict[str, torch.Tensor], dict]:
    defaults = json.loads((Path(model) / "t2v.json").read_text())
    width, height = map(int, defaults["size"].split("x"))
    pipeline = WanPipeline.from_pretrained(model, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    record: dict[str, torch.Tensor] = {}
    called: list[str] = []
    encode_text(pipeline, PROMPT, "prompt", defaults["text_len"], record)
    encode_text(pipeline, defaults["negative_prompt"], "negative", defaults["text_len"], record)
    record_calls([pipeline.transformer, pipeline.transformer_2], ["transformer", "transformer_2"], record, called)
    shape = (1, pipeline.vae.config.z_dim, (defaults["frames"] - 1) // 4 + 1, height // 8, width // 8)
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(SEED))
    record["init_latents"] = latents.clone()

    def note_step(_, step: int, timestep, values: dict) -> dict:
        record[f"latents_step{step:02d}"] = values["latents"].clone()
        return values

    out = pipeline(prompt=PROMPT, negative_prompt=defaults["negative_prompt"], height=height, width=width,
                   num_frames=defaults["frames"], num_inference_steps=NUM_STEPS,
                   guidance_scale=defaults["guidance_scale_high"], guidance_scale_2=defaults["guidance_scale_low"],
                   latents=latents, max_sequence_length=defaults["text_len"], output_type="latent",
                   callback_on_step_end=note_step, callback_on_step_end_tensor_inputs=["latents"])
    record["latents_final"] = out.frames.clone()
    mean, std = (torch.tensor(v).view(1, -1, 1, 1, 1)
                 for v in (pipeline.vae.config.latents_mean, pipeline.vae.config.latents_std))
    video = pipeline.vae.decode(record["latents_final"] * std + mean).sample
    frames = ((video / 2 + 0.5).clamp(0, 1) * 255).round().byte()[0].permute(1, 2, 3, 0)
    record["frames_u8_every4"] = frames[::FRAME_STRIDE]
    record["sigmas"], record["timesteps"] = pipeline.scheduler.sigmas.float(), pipeline.scheduler.timesteps.long()
    about = {"name": "shapes", "pipeline": "WanPipeline", "prompt": PROMPT, "height": height, "width": width,
             "negative_prompt": defaults["negative_prompt"], "num_frames": defaults["frames"],
             "num_inference_steps": NUM_STEPS, "guidance_scale": defaults["guidance_scale_high"],
             "guidance_scale_2": defaults["guidance_scale_low"], "flow_shift": pipeline.scheduler.config.flow_shift,
             "boundary_ratio": pipeline.config.boundary_ratio, "timesteps": record["timesteps"].tolist(),
             "model_per_step": called[::2], "latents_seed": SEED, "text_len": defaults["text_len"],
             "frame_stride": FRAME_STRIDE}
    return record, about


def keep_small(record: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Drops the outputs of all calls but the first pair and the last pair."""
    calls = sorted(name for name in record if name.startswith("call") and name.endswith("_output"))
    return {name: tensor.clone().contiguous() for name, tensor in record.items() if name not in calls[2:-2]}


def main() -> None:
    root = HERE.parents[1]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(root / "models" / "shapes"))
    parser.add_argument("--output", type=Path, default=root / "tests" / "fixtures" / "shapes-ref")
    options = parser.parse_args()
    torch.set_num_threads(1)
    record, about = make_reference(options.model)
    options.output.mkdir(parents=True, exist_ok=True)
    versions = {"torch": torch.__version__, "dtype": "float32", "seed": str(SEED)}
    tensors = options.output / "reference.safetensors"
    save_file(keep_small(record), tensors, metadata=versions)
    tensors.chmod(0o644)  # safetensors makes it private
    (options.output / "reference.json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
