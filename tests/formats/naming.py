"""Canonical names of tensors -> the names of each kind of file, from the specification alone."""

import re

TRANSFORMER_TOP = [
    ("text_embedding.0", "condition_embedder.text_embedder.linear_1"),
    ("text_embedding.2", "condition_embedder.text_embedder.linear_2"),
    ("time_embedding.0", "condition_embedder.time_embedder.linear_1"),
    ("time_embedding.2", "condition_embedder.time_embedder.linear_2"),
    ("time_projection.1", "condition_embedder.time_proj"),
    ("head.modulation", "scale_shift_table"),
    ("head.head", "proj_out"),
]
TRANSFORMER_BLOCK = [
    ("self_attn.norm_", "attn1.norm_"),
    ("cross_attn.norm_", "attn2.norm_"),
    ("self_attn.o", "attn1.to_out.0"),
    ("cross_attn.o", "attn2.to_out.0"),
    ("self_attn.", "attn1.to_"),
    ("cross_attn.", "attn2.to_"),
    ("norm3", "norm2"),
    ("ffn.0", "ffn.net.0.proj"),
    ("ffn.2", "ffn.net.2"),
    ("modulation", "scale_shift_table"),
]
TEXT_BLOCK = [
    ("attn.", "layer.0.SelfAttention."),
    ("pos_embedding.embedding", "layer.0.SelfAttention.relative_attention_bias"),
    ("norm1", "layer.0.layer_norm"),
    ("norm2", "layer.1.layer_norm"),
    ("ffn.gate.0", "layer.1.DenseReluDense.wi_0"),
    ("ffn.fc1", "layer.1.DenseReluDense.wi_1"),
    ("ffn.fc2", "layer.1.DenseReluDense.wo"),
]
TEXT_GGUF = [
    ("attn.", "attn_"),
    ("pos_embedding.embedding", "attn_rel_b"),
    ("norm1", "attn_norm"),
    ("norm2", "ffn_norm"),
    ("ffn.gate.0", "ffn_gate"),
    ("ffn.fc1", "ffn_up"),
    ("ffn.fc2", "ffn_down"),
]


def _replaced(name: str, pairs: list[tuple[str, str]]) -> str:
    for start, other in pairs:
        if name.startswith(start):
            return other + name[len(start) :]
    return name


def _in_blocks(name: str, blocks: str, inner: list[tuple[str, str]], top: list[tuple[str, str]]) -> str:
    found = re.match(r"blocks\.(\d+)\.(.*)", name)
    if not found:
        return _replaced(name, top)
    return f"{blocks}{found[1]}." + _replaced(found[2], inner)


def diffusers_transformer(name: str) -> str:
    return _in_blocks(name, "blocks.", TRANSFORMER_BLOCK, TRANSFORMER_TOP)


def transformers_text(name: str) -> str:
    top = [("token_embedding", "shared"), ("norm.", "encoder.final_layer_norm.")]
    return _in_blocks(name, "encoder.block.", TEXT_BLOCK, top)


def gguf_text(name: str) -> str:
    top = [("token_embedding", "token_embd"), ("norm.", "enc.output_norm.")]
    return _in_blocks(name, "enc.blk.", TEXT_GGUF, top)


def native_vae(name: str, resnets: int) -> str:
    """resnets: of an up block (one more than the configuration's num_res_blocks)."""
    name = re.sub(r"^quant_conv\.", "conv1.", name)
    name = re.sub(r"^post_quant_conv\.", "conv2.", name)
    name = re.sub(r"coder\.conv_in\.", "coder.conv1.", name)
    name = re.sub(r"coder\.norm_out\.", "coder.head.0.", name)
    name = re.sub(r"coder\.conv_out\.", "coder.head.2.", name)
    name = name.replace("mid_block.resnets.0.", "middle.0.").replace("mid_block.attentions.0.", "middle.1.")
    name = name.replace("mid_block.resnets.1.", "middle.2.")
    name = name.replace("encoder.down_blocks.", "encoder.downsamples.")
    flat = lambda block, layer: f"decoder.upsamples.{int(block) * (resnets + 1) + layer}."
    name = re.sub(r"decoder\.up_blocks\.(\d+)\.resnets\.(\d+)\.", lambda m: flat(m[1], int(m[2])), name)
    name = re.sub(r"decoder\.up_blocks\.(\d+)\.upsamplers\.0\.", lambda m: flat(m[1], resnets), name)
    for here, there in (("norm1.", "residual.0."), ("conv1.", "residual.2."), ("norm2.", "residual.3."),
                        ("conv2.", "residual.6."), ("conv_shortcut.", "shortcut.")):  # fmt: skip
        name = re.sub(rf"(samples\.\d+|middle\.\d)\.{re.escape(here)}", rf"\1.{there}", name)
    return name
