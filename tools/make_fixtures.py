#!/usr/bin/env python3
"""Makes tests/fixtures/tiny: a seeded transformer and text encoder with odd widths, and what the diffusers and
transformers libraries compute with them in float32.

    python3 tools/make_fixtures.py        (needs torch, diffusers, transformers, safetensors)

Every norm weight, bias and modulation table is random, so that a forgotten one shows.
"""
import json
import pathlib

import diffusers
import torch
import transformers
from diffusers import WanTransformer3DModel
from safetensors.torch import save_file
from transformers import UMT5Config, UMT5EncoderModel

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests/fixtures/tiny"
SEED = 20261121
TRANSFORMER = dict(patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=22, in_channels=16, out_channels=16,
                   text_dim=20, freq_dim=34, ffn_dim=70, num_layers=2, cross_attn_norm=True,
                   qk_norm="rms_norm_across_heads", eps=1e-6, rope_max_seq_len=64)
TEXT = dict(vocab_size=120, d_model=20, d_kv=6, d_ff=44, num_layers=2, num_heads=3, relative_attention_num_buckets=32,
            relative_attention_max_distance=128, dropout_rate=0.0, feed_forward_proj="gated-gelu",
            layer_norm_epsilon=1e-6)
TEXT_LEN = 40


def randomise(module: torch.nn.Module) -> None:
    """Values of useful size everywhere; norms around 1."""
    for name, p in module.named_parameters():
        if "norm" in name and name.endswith("weight") or "layer_norm" in name:
            p.data.normal_(1.0, 0.3)
        elif p.ndim >= 2 and "scale_shift" not in name:
            p.data.normal_(0.0, p[0].numel() ** -0.5)
        else:
            p.data.normal_(0.0, 0.3)


def write_config(folder: pathlib.Path, values: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(values, indent=1) + "\n")


def to_file(tensors: dict, path: pathlib.Path) -> None:
    meta = {"seed": str(SEED), "dtype": "float32", "source": f"diffusers {diffusers.__version__}, "
            f"transformers {transformers.__version__}, torch {torch.__version__}"}
    save_file({k: v.detach().contiguous() for k, v in tensors.items()}, path, metadata=meta)


@torch.no_grad()
def main() -> None:
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    dit = WanTransformer3DModel(**TRANSFORMER).eval()
    randomise(dit)
    text = UMT5EncoderModel(UMT5Config(**TEXT, is_encoder_decoder=False, use_cache=False, pad_token_id=0,
                                       eos_token_id=1, decoder_start_token_id=0)).eval()
    randomise(text)
    write_config(OUT / "transformer", TRANSFORMER)
    to_file(dit.state_dict(), OUT / "transformer/diffusion_pytorch_model.safetensors")
    write_config(OUT / "text_encoder", {"model_type": "umt5", **TEXT})
    state = {k: v for k, v in text.state_dict().items() if k != "encoder.embed_tokens.weight"}
    to_file(state, OUT / "text_encoder/model.safetensors")

    n = 29
    ids = torch.randint(2, TEXT["vocab_size"], (1, n))
    ids[0, -1] = 1
    padded = torch.nn.functional.pad(ids, (0, TEXT_LEN - n))
    mask = (torch.arange(TEXT_LEN)[None] < n).long()
    rows = text(padded, attention_mask=mask).last_hidden_state[:, :n]
    embeds = torch.nn.functional.pad(rows, (0, 0, 0, TEXT_LEN - n))
    latents = torch.randn(1, 16, 3, 6, 10)
    reference = {"ids": ids[0], "text_rows": rows[0], "latents": latents[0]}
    for t in (999, 500, 3):
        reference[f"output_{t}"] = dit(latents, torch.tensor([t]), embeds).sample[0]
    # A first latent frame that is given: its tokens have timestep 0 (TI2V-5B).
    per_token = torch.full((1, 3 * 3 * 5), 500)
    per_token[:, : 3 * 5] = 0
    reference["output_held_500"] = dit(latents, per_token, embeds).sample[0]
    distances = torch.arange(-600, 601)[None]
    attention = text.encoder.block[0].layer[0].SelfAttention
    reference["buckets"] = attention._relative_position_bucket(distances)[0]
    to_file(reference, OUT / "reference.safetensors")


if __name__ == "__main__":
    main()
