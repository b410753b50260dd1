"""Writes one model in the layouts and namings that are published."""

import array
import dataclasses
import json
import pathlib
import shutil
from collections.abc import Callable

import naming
import tiny_model
from containers import (
    Stored,
    load,
    read_safetensors,
    store,
    write_gguf,
    write_safetensors,
    write_sharded,
    write_torch_archive,
)
from tiny_model import Tensor

Tensors = dict[str, Tensor]
PREFIX = "model.diffusion_model."


@dataclasses.dataclass(frozen=True)
class Model:
    """Canonical names (those of diffusers for the VAE)."""

    transformer: Tensors
    transformer_2: Tensors | None
    text_encoder: Tensors
    vae: Tensors
    tokenizer: bytes
    configs: dict[str, dict]  # by component
    wan_config: dict
    up_resnets: int


def make_tiny(tokenizer: pathlib.Path, vocab_size: int = 704, experts: int = 1) -> Model:
    return Model(
        transformer=tiny_model.transformer(1),
        transformer_2=tiny_model.transformer(2) if experts == 2 else None,
        text_encoder=tiny_model.text_encoder(3, vocab_size),
        vae=tiny_model.vae(4),
        tokenizer=tokenizer.read_bytes(),
        configs={
            "transformer": tiny_model.TRANSFORMER_CONFIG,
            "text_encoder": tiny_model.text_encoder_config(vocab_size),
            "vae": tiny_model.VAE_CONFIG,
        },
        wan_config=tiny_model.WAN_CONFIG,
        up_resnets=tiny_model.RES_BLOCKS + 1,
    )


def _canonical(tensors: dict[str, Stored], blocks: int, name_of: Callable[[str], str], known: Tensors) -> Tensors:
    """Found by naming every canonical tensor, so that the same table serves both ways."""
    names = {}
    for name in known:
        for i in range(blocks) if name.startswith("blocks.0.") else [None]:
            canonical = name if i is None else name.replace("blocks.0.", f"blocks.{i}.")
            names[name_of(canonical)] = canonical
    return {names[name]: _exact(load(tensor)) for name, tensor in tensors.items() if name in names}


def _exact(tensor: Tensor) -> Tensor:
    """Cut to what fp32, bf16 and fp16 all hold."""
    raw = bytearray(tensor.values.tobytes())
    raw[0::4] = raw[1::4] = bytes(len(raw) // 4)
    values = array.array("f")
    values.frombytes(raw)
    return Tensor(tensor.shape, array.array("f", [v if abs(v) >= 2.0**-17 else 0.0 for v in values]))


def read_diffusers(folder: pathlib.Path) -> Model:
    """A model of the diffusers layout, as those of a parity set."""
    configs = {name: json.loads((folder / name / "config.json").read_text())
               for name in ("transformer", "text_encoder", "vae")}  # fmt: skip

    def tensors(component: str) -> dict[str, Stored]:
        found = {}
        for path in sorted((folder / component).glob("*.safetensors")):
            found.update(read_safetensors(path))
        return found

    def expert(component: str) -> Tensors:
        blocks = configs["transformer"]["num_layers"]
        return _canonical(tensors(component), blocks, naming.diffusers_transformer, tiny_model.transformer(0))

    config = configs["transformer"]
    wan_config = {
        "_class_name": "WanModel", "dim": config["num_attention_heads"] * config["attention_head_dim"],
        "eps": config["eps"], "ffn_dim": config["ffn_dim"], "freq_dim": config["freq_dim"],
        "in_dim": config["in_channels"], "model_type": "t2v", "num_heads": config["num_attention_heads"],
        "num_layers": config["num_layers"], "out_dim": config["out_channels"], "text_len": 512,
    }  # fmt: skip
    text_blocks = configs["text_encoder"]["num_layers"]
    return Model(
        transformer=expert("transformer"),
        transformer_2=expert("transformer_2") if (folder / "transformer_2").is_dir() else None,
        text_encoder=_canonical(tensors("text_encoder"), text_blocks, naming.transformers_text,
                                tiny_model.text_encoder(0, 8)),  # fmt: skip
        vae={name: _exact(load(tensor)) for name, tensor in tensors("vae").items()},
        tokenizer=(folder / "tokenizer/spiece.model").read_bytes(),
        configs=configs,
        wan_config=wan_config,
        up_resnets=configs["vae"]["num_res_blocks"] + 1,
    )


def named(tensors: Tensors, name_of: Callable[[str], str], dtype: str, prefix: str = "") -> dict[str, Stored]:
    return {prefix + name_of(name): store(tensor, dtype) for name, tensor in tensors.items()}


def same(name: str) -> str:
    return name


def _write_json(path: pathlib.Path, value: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2))


def _write_bytes(path: pathlib.Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def write_diffusers(model: Model, folder: pathlib.Path, dtype: str = "F32", shards: int = 1) -> None:
    entry = ["diffusers", "WanTransformer3DModel"]
    index = {
        "_class_name": "WanPipeline", "boundary_ratio": 0.875 if model.transformer_2 else None,
        "scheduler": ["diffusers", "UniPCMultistepScheduler"], "text_encoder": ["transformers", "UMT5EncoderModel"],
        "tokenizer": ["transformers", "T5Tokenizer"], "transformer": entry,
        "transformer_2": entry if model.transformer_2 else [None, None], "vae": ["diffusers", "AutoencoderKLWan"],
    }  # fmt: skip
    _write_json(folder / "model_index.json", index)
    _write_json(folder / "scheduler/scheduler_config.json", {"prediction_type": "flow_prediction"})
    _write_bytes(folder / "tokenizer/spiece.model", model.tokenizer)
    parts = [("transformer", model.transformer), ("transformer_2", model.transformer_2)]
    for component, tensors in parts:
        if tensors is None:
            continue
        _write_json(folder / component / "config.json", model.configs["transformer"])
        stored = named(tensors, naming.diffusers_transformer, dtype)
        stem = "diffusion_pytorch_model"
        if shards > 1:
            write_sharded(folder / component, stem, stored, shards)
        else:
            write_safetensors(folder / component / (stem + ".safetensors"), stored)
    _write_json(folder / "text_encoder/config.json", model.configs["text_encoder"])
    text = named(model.text_encoder, naming.transformers_text, dtype)
    write_safetensors(folder / "text_encoder/model.safetensors", text)
    _write_json(folder / "vae/config.json", model.configs["vae"])
    write_safetensors(folder / "vae/diffusion_pytorch_model.safetensors", named(model.vae, same, dtype))


def write_twin(base: pathlib.Path, folder: pathlib.Path, transformer: Tensors, text_encoder: Tensors) -> None:
    """As `base`, a diffusers folder, with other values in fp32."""
    shutil.copytree(base, folder, symlinks=True, ignore=shutil.ignore_patterns("transformer_2"))
    index = json.loads((folder / "model_index.json").read_text())
    index["transformer_2"] = [None, None]
    _write_json(folder / "model_index.json", index)
    path = folder / "transformer/diffusion_pytorch_model.safetensors"
    write_safetensors(path, named(transformer, naming.diffusers_transformer, "F32"))
    text = named(text_encoder, naming.transformers_text, "F32")
    write_safetensors(folder / "text_encoder/model.safetensors", text)


def write_wan(model: Model, folder: pathlib.Path, configs: bool = True) -> None:
    """The original layout: native names, torch archives for text encoder and VAE."""
    experts = [("", model.transformer)]
    if model.transformer_2:
        experts = [("high_noise_model", model.transformer), ("low_noise_model", model.transformer_2)]
    for name, tensors in experts:
        write_sharded_folder = folder / name if name else folder
        write_sharded_folder.mkdir(parents=True, exist_ok=True)
        write_sharded(write_sharded_folder, "diffusion_pytorch_model", named(tensors, same, "BF16"), 3)
        if configs:
            _write_json(write_sharded_folder / "config.json", model.wan_config)
    text = named(model.text_encoder, same, "BF16")
    write_torch_archive(folder / "models_t5_umt5-xxl-enc-bf16.pth", text)
    write_torch_archive(folder / "Wan2.1_VAE.pth", native_vae(model, "F32"))
    _write_bytes(folder / "google/umt5-xxl/spiece.model", model.tokenizer)


def native_vae(model: Model, dtype: str) -> dict[str, Stored]:
    return named(model.vae, lambda name: naming.native_vae(name, model.up_resnets), dtype)


def comfy_text(model: Model, dtype: str) -> dict[str, Stored]:
    text = named(model.text_encoder, naming.transformers_text, dtype)
    text["spiece_model"] = Stored("U8", (len(model.tokenizer),), model.tokenizer)
    return text


def write_comfy(model: Model, folder: pathlib.Path, split: bool = False) -> None:
    root = folder / "split_files" if split else folder
    experts = {"wan2.1_t2v": model.transformer}
    if model.transformer_2:
        experts = {"wan2.2_t2v_high_noise": model.transformer, "wan2.2_t2v_low_noise": model.transformer_2}
    for name, tensors in experts.items():
        path = root / f"diffusion_models/{name}_14B_fp16.safetensors"
        write_safetensors(path, named(tensors, same, "F16", PREFIX))
    write_safetensors(root / "text_encoders/umt5_xxl_fp16.safetensors", comfy_text(model, "F16"))
    write_safetensors(root / "vae/wan_2.1_vae.safetensors", native_vae(model, "BF16"))


def write_gguf_folder(model: Model, folder: pathlib.Path, dtype: str, prefix: str = "") -> None:
    """Float types only; 1-D tensors stay F32, as those programs do."""

    def stored(tensors: Tensors, name_of: Callable[[str], str]) -> dict[str, Stored]:
        return {
            prefix + name_of(name): store(tensor, "F32" if len(tensor.shape) == 1 else dtype)
            for name, tensor in tensors.items()
        }

    experts = {"": model.transformer}
    if model.transformer_2:
        experts = {"HighNoise": model.transformer, "LowNoise": model.transformer_2}
    for name, tensors in experts.items():
        write_gguf(folder / name / f"Wan2.2-{name}-{dtype}.gguf", "wan", stored(tensors, same), 64 if prefix else 32)
    prefix = ""
    write_gguf(folder / f"umt5-xxl-encoder-{dtype}.gguf", "t5encoder", stored(model.text_encoder, naming.gguf_text))
    write_torch_archive(folder / "vae.pth", native_vae(model, "BF16"), "state_dict")
    _write_bytes(folder / "spiece.model", model.tokenizer)


def write_torch_folder(model: Model, folder: pathlib.Path) -> None:
    experts = {"wan": model.transformer}
    if model.transformer_2:
        experts = {"wan-high": model.transformer, "wan-low": model.transformer_2}
    for name, tensors in experts.items():
        write_torch_archive(folder / f"{name}.pt", named(tensors, same, "BF16", "module."), "model")
    text = named(model.text_encoder, naming.transformers_text, "F16")
    write_torch_archive(folder / "t5.pt", text, "module")
    write_torch_archive(folder / "vae.pth", named(model.vae, same, "F32"))
    _write_bytes(folder / "tokenizer/spiece.model", model.tokenizer)
