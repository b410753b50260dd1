"""Cases with a broken JSON file: every config of a model folder."""

import json

from model_copy import Case, ModelCopy

MISSING = object()
HUGE = 10**18

# file -> key -> values that no model can have (or that disagree with the weights)
BAD_VALUES = {
    "transformer/config.json": {
        "num_layers": [MISSING, None, 0, -1, 2.5, "three", HUGE, [5], True],
        "num_attention_heads": [MISSING, 0, -6, 6.0, HUGE, 2**31],
        "attention_head_dim": [MISSING, 0, 31, -32, HUGE],
        "ffn_dim": [MISSING, 0, -512, "512", HUGE],
        "text_dim": [MISSING, None, 0, 64, HUGE],
        "freq_dim": [MISSING, 0, 127, {}],
        "patch_size": [MISSING, [], [1, 2], [2, 2, 2], [1, 0, 2], [1, 2, -2], [1, 2.5, 2], "1,2,2", [1, 2, 2, 2], HUGE],
        "in_channels": [MISSING, 0, 36, -16, "16"],
        "out_channels": [MISSING, 0, 8],
        "eps": ["small", -1, 10],
        "qk_norm": ["layer_norm", 3],
        "cross_attn_norm": ["yes"],
        "_class_name": ["UNet2DConditionModel"],
    },
    "text_encoder/config.json": {
        "d_model": [MISSING, 0, -128, 64, HUGE, "128", 128.5],
        "d_kv": [MISSING, 0, -1, HUGE],
        "num_heads": [MISSING, 0, -4, HUGE, None],
        "num_layers": [MISSING, 0, -3, HUGE],
        "d_ff": [MISSING, 0, HUGE],
        "vocab_size": [MISSING, 0, 100, HUGE],
        "relative_attention_num_buckets": [0, -32, HUGE],
        "feed_forward_proj": ["relu", 1],
        "model_type": ["bert"],
    },
    "vae/config.json": {
        "z_dim": [MISSING, 0, -16, 48, HUGE],
        "base_dim": [MISSING, 0, -8, "8"],
        "decoder_base_dim": [0, -8, HUGE],
        "dim_mult": [MISSING, [], [1, 2], [1, 2, 4, -4], [1, 2, 4, HUGE], "1,2,4,4", [[1]]],
        "num_res_blocks": [MISSING, 0, -1, HUGE],
        "temperal_downsample": [MISSING, [True], [0, 1, 1], "true"],
        "latents_mean": [MISSING, [], [0.0] * 15, ["x"] * 16, 0.5],
        "latents_std": [MISSING, [0.0] * 16, [-1.0] * 16, [1.0] * 17, None],
        "is_residual": [True, "no"],
        "_class_name": ["AutoencoderKL"],
    },
    "scheduler/scheduler_config.json": {
        "flow_shift": ["x", -3, 0, HUGE],
        "prediction_type": ["epsilon"],
    },
    "t2v.json": {
        "size": [64, "big", "0x0", "64x"],
        "steps": [0, -1, "20", 2.5],
        "frames": ["17", -1],
        "fps": [0, -8, "8"],
        "shift": [0, -1, "3"],
        "boundary": [2, -0.5, "x"],
        "solver": ["magic", 3],
        "sigma_table": ["other"],
        "text_len": [0, -1, HUGE, "64"],
    },
    "model_index.json": {
        "_class_name": [MISSING, None, 3, "StableDiffusionPipeline"],
        "boundary_ratio": ["x", 2, -1],
        "expand_timesteps": ["yes", 1],
        "transformer": [MISSING, None, [], [None, None], ["diffusers"], "WanTransformer3DModel", ["diffusers", "UNet"]],
        "transformer_2": [["diffusers", "UNet"], ["diffusers"], 3],
        "text_encoder": [MISSING, ["transformers", "CLIPTextModel"]],
        "vae": [MISSING, ["diffusers", "AutoencoderKL"]],
    },
}

# Values whose contradiction shows in another key or file: what the line names then.
NAMED_ELSEWHERE = {
    ("vae/config.json", "z_dim", "48"): ("vae/config.json", "z_dim"),
    ("vae/config.json", "dim_mult", "[1, 2]"): ("vae/config.json", "dim_mult"),
}

REQUIRED = [
    "model_index.json",
    "transformer/config.json",
    "transformer_2/config.json",
    "text_encoder/config.json",
    "vae/config.json",
    "scheduler/scheduler_config.json",
]
OPTIONAL = ["t2v.json", "tokenizer/tokenizer_config.json"]


def _set(file: str, key: str, value):
    def build(model: ModelCopy) -> None:
        def change(config: dict) -> None:
            config[key] = value
            if value is MISSING:
                del config[key]

        # Both experts alike, so that the value itself is at fault.
        for name in (file, file.replace("transformer/", "transformer_2/")):
            model.edit_json(name, change)

    return build


def _value_cases() -> list[Case]:
    cases = []
    for file, keys in BAD_VALUES.items():
        for key, values in keys.items():
            for value in values:
                shown = "missing" if value is MISSING else json.dumps(value)[:24]
                mentions = NAMED_ELSEWHERE.get((file, key, shown), (file, f"'{key}'"))
                cases.append(Case(f"{file}: {key} = {shown}", _set(file, key, value), mentions))
    return cases


def _content(file: str, content: bytes):
    return lambda model: model.write(file, content)


def _duplicate(file: str):
    def build(model: ModelCopy) -> None:
        text = model.original(file).decode().rstrip()
        model.write(file, (text[:-1] + ', "_twice": 1, "_twice": 2}').encode())

    return build


def _file_cases(file: str, thorough: bool) -> list[Case]:
    def case(name: str, build, *words: str) -> Case:
        return Case(f"{file}: {name}", build, (file, *words))

    cases = [
        case("empty", _content(file, b"")),
        case("not JSON", _content(file, b"this is no JSON\n")),
        case("an array", _content(file, b"[1, 2]")),
        case("cut", lambda model: model.write(file, model.original(file).rstrip()[:-20])),
        case("a pipe", lambda model: model.pipe(file)),
    ]
    if not thorough:
        return cases
    nul = lambda model: model.write(file, model.original(file) + b"\0{}")
    return cases + [
        case("null", _content(file, b"null")),
        case("a bomb of arrays", _content(file, b'{"a": ' + b"[" * 100_000)),
        case("a bomb of objects", _content(file, b'{"a": ' * 100_000)),
        case("duplicate keys", _duplicate(file), "_twice"),
        case("17 MB", lambda model: model.write(file, model.original(file) + b" " * 17_000_000)),
        case("NUL", nul),
        case("invalid UTF-8", _content(file, b'{"_class_name": "Wan\xff\xfePipeline"}')),
        case("1e400", _content(file, b'{"num_layers": 1e400}')),
        case("a folder", lambda model: model.make_folder(file)),
        case("a link to itself", lambda model: model.link(file, file.rsplit("/", 1)[-1])),
        case("a link to /dev/zero", lambda model: model.link(file, "/dev/zero")),
        case("a link to nothing", lambda model: model.link(file, "nothing")),
    ]


def cases() -> list[Case]:
    found = _value_cases()
    for file in REQUIRED + OPTIONAL:
        found += _file_cases(file, thorough=file in ("model_index.json", "transformer/config.json"))
    for file in REQUIRED[1:]:
        found.append(Case(f"{file}: missing", lambda model, file=file: model.remove(file), (file.split("/")[0], file)))
    experts = lambda model: model.edit_json("transformer_2/config.json", lambda config: config.update(ffn_dim=256))
    found.append(Case("the experts differ", experts, ("transformer_2",)))
    return found
