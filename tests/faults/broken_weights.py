"""Cases with broken weights: safetensors headers, shards and their index, tensors that do not fit."""

import json
import os
import struct

from model_copy import TEXT_ENCODER, TRANSFORMER, VAE, Case, ModelCopy

W = TEXT_ENCODER  # the header cases: the smallest file
NORM = "encoder.final_layer_norm.weight"
GRID = "encoder.block.0.layer.1.DenseReluDense.wi_0.weight"


def _raw(header, data: bytes = b"", length: int | None = None):
    return lambda model: model.write_tensors(W, header, data, length)


def _bytes(content: bytes):
    return lambda model: model.write(W, content)


def _entry(tensor: str, **fields):
    """Overwrites fields of one tensor's entry in an otherwise whole header."""
    return lambda model: model.edit_tensors(W, lambda header: header[tensor].update(fields))


def _length_cases() -> list[Case]:
    whole = lambda model: model.original(W)
    return [
        Case("weights: empty file", _bytes(b""), (W,)),
        Case("weights: 7 bytes", _bytes(b"\0" * 7), (W,)),
        Case("weights: 8 zero bytes", _bytes(b"\0" * 8), (W,)),
        Case("weights: text", _bytes(b"hello, world\n" * 100), (W,)),
        Case(
            "weights: a Git LFS pointer", _bytes(b"version https://git-lfs.github.com/spec/v1\n"), (W, "git lfs pull")
        ),
        Case("weights: a GGUF file", _bytes(b"GGUF\3" + b"\0" * 100), (W, "GGUF")),
        Case("weights: a torch archive", _bytes(b"PK\3\4" + b"\0" * 100), (W, "torch")),
        *[
            Case(f"weights: header length {length}", _raw("{}", b"", length), (W,))
            for length in (0, 1, 3, 100_000_001, 2**31, 2**63, 2**64 - 1)
        ],
        Case("weights: no data", lambda model: model.write(W, whole(model)[:20000]), (W,)),
        Case("weights: last byte cut", lambda model: model.write(W, whole(model)[:-1]), (W,)),
        Case("weights: cut in half", lambda model: model.write(W, whole(model)[: len(whole(model)) // 2]), (W,)),
        Case("weights: one byte more", lambda model: model.write(W, whole(model) + b"\0"), (W,)),
        Case("weights: first byte lost", lambda model: model.write(W, whole(model)[1:]), (W,)),
    ]


def _grammar_cases() -> list[Case]:
    one = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    tensor = json.dumps(one)
    return [
        Case("header: nothing", _raw("{}"), ("text_encoder", "missing")),
        Case("header: not JSON", _raw("{this is no JSON}"), (W,)),
        Case("header: an array", _raw("[1, 2, 3]"), (W,)),
        Case("header: blanks first", _raw(" " * 8 + "{}"), (W,)),
        Case("header: cut", _raw('{"a": {"dtype": "F32", "sha'), (W,)),
        Case("header: NUL and more", _raw(b'{}\0{"a": 1}'), (W,)),
        Case("header: a bomb of arrays", _raw('{"a": ' + "[" * 100_000), (W, "'a'")),
        Case("header: a bomb of objects", _raw('{"a": ' * 100_000), (W, "'a'")),
        Case("header: tensor is a number", _raw('{"a": 1}'), (W, "'a'")),
        Case("header: tensor is null", _raw('{"a": null}'), (W, "'a'")),
        Case("header: tensor is empty", _raw('{"a": {}}'), (W, "'a'")),
        Case("header: duplicate tensor", _raw(f'{{"a": {tensor}, "a": {tensor}}}', b"1234"), (W, "'a'")),
        Case(
            "header: duplicate key", _raw('{"a": ' + tensor[:-1] + ', "dtype": "F32"}}', b"1234"), (W, "'a'", "dtype")
        ),
        Case("header: control bytes in a name", _raw(f'{{"a\\u001b[31m": {tensor}}}', b"1234"), (W, "\\x1b")),
        Case("header: raw control byte in a name", _raw(f'{{"a\x07": {tensor}}}', b"1234"), (W,)),
        Case("header: empty name", _raw(f'{{"": {tensor}}}', b"1234"), (W,)),
        Case("header: invalid UTF-8 in a name", _raw(b'{"a\xff": ' + tensor.encode() + b"}", b"1234"), (W,)),
        Case("header: a name of a megabyte", _raw(f'{{"{"n" * 1_000_000}": {tensor}}}', b"1234"), ("text_encoder",)),
        Case("header: metadata is a list", _raw('{"__metadata__": []}'), (W,)),
        Case("header: metadata of numbers", _raw('{"__metadata__": {"a": 1}}'), (W,)),
        Case("header: many tensors", lambda model: _many_tensors(model, 200_000), ("text_encoder",)),
    ]


def _many_tensors(model: ModelCopy, count: int) -> None:
    header = {f"t.{i}": {"dtype": "U8", "shape": [1], "data_offsets": [i, i + 1]} for i in range(count)}
    model.write_tensors(W, header, b"x" * count)


def _range_cases() -> list[Case]:
    found = []
    bad_fields = {
        "dtype": ["F31", "", "f32", None, 4, ["F32"]],
        "shape": [
            [],
            [-1],
            [128.0],
            ["128"],
            [2**63],
            [2**64],
            [2**62, 4],
            [2**62, 4, 0],
            [127],
            128,
            None,
            [[128]],
            [1] * 40,
        ],
        "data_offsets": [
            [0],
            [],
            [4, 0],
            [-4, 4],
            ["0", "4"],
            [0.0, 4.0],
            [2**63, 2**63 + 4],
            [0, 2**64],
            None,
            "0,4",
            [0, 4, 8],
            [0, 0],
        ],
    }
    for field, values in bad_fields.items():
        for value in values:
            found.append(
                Case(f"entry: {field} = {json.dumps(value)[:40]}", _entry(NORM, **{field: value}), (W, f"'{NORM}'"))
            )

    def overlap(header: dict) -> None:
        header[NORM]["data_offsets"] = header[GRID]["data_offsets"][:1] * 2
        header[NORM]["data_offsets"][1] += 256

    found.append(Case("entry: overlap", lambda model: model.edit_tensors(W, overlap), (W,)))
    found.append(Case("entry: hole", lambda model: model.edit_tensors(W, lambda header: header.pop(GRID)), (W,)))
    return found


def _sparse(model: ModelCopy) -> None:
    """A terabyte by its size, a page on the disk."""
    size = 10**12
    header = {"shared.weight": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}
    model.write_tensors(W, header, b"")
    os.truncate(model.path(W), model.path(W).stat().st_size + size)


def _transposed(parts: dict) -> None:
    dtype, shape, blob = parts[GRID]
    parts[GRID] = (dtype, shape[::-1], blob)


def _quantised(parts: dict) -> None:
    _, shape, blob = parts[GRID]
    parts[GRID] = ("I8", shape, blob[: shape[0] * shape[1]])


def _not_a_number(file: str, tensor: str):
    def change(parts: dict) -> None:
        _, shape, blob = parts[tensor]
        count = 1
        for extent in shape:
            count *= extent
        parts[tensor] = ("F32", shape, struct.pack("<f", float("nan")) * count)

    return lambda model: model.rebuild_tensors(file, change)


def _fit_cases() -> list[Case]:
    change = lambda how: lambda model: model.rebuild_tensors(W, how)
    rename = lambda parts: parts.update({"encoder.nonsense.weight": parts.pop(GRID)})
    extra = lambda parts: parts.update({"encoder.more.weight": ("F32", [1], b"\0" * 4)})
    block = "blocks.0.attn1.to_q.weight"
    both = lambda parts: parts.update({"blocks.0.self_attn.q.weight": parts[block]})
    all_gone = lambda model: model.write(TRANSFORMER, model.original(VAE))
    swapped = lambda model: model.write(VAE, model.original(TRANSFORMER))
    norm = "blocks.0.norm2.weight"
    return [
        Case("tensors: one missing", change(lambda parts: parts.pop(GRID)), (W, f"'{GRID}'", "missing")),
        Case("tensors: one renamed", change(rename), (f"'{GRID}'", "'encoder.nonsense.weight'")),
        Case("tensors: one more", change(extra), (W, "'encoder.more.weight'")),
        Case("tensors: transposed", change(_transposed), (W, f"'{GRID}'", "expected [")),
        Case("tensors: int8 without a scale", change(_quantised), (W, f"'{GRID}'", "I8")),
        Case("tensors: sparse terabyte", _sparse, ("shared.weight",)),
        Case("tensors: under two names", lambda model: model.rebuild_tensors(TRANSFORMER, both), (block,)),
        Case("tensors: another component's", all_gone, ("transformer", "do not fit")),
        Case("tensors: the VAE is a transformer", swapped, ("vae", "do not fit")),
        Case(
            "tensors: NaN in a norm of the transformer",
            _not_a_number(TRANSFORMER, norm),
            (TRANSFORMER, f"'{norm}'"),
            ("generate",),
        ),
        Case("tensors: NaN in a norm of the text encoder", _not_a_number(W, NORM), (W, f"'{NORM}'"), ("generate",)),
        Case(
            "tensors: fewer blocks in one expert",
            lambda model: model.rebuild_tensors("transformer_2/diffusion_pytorch_model.safetensors", _without_block_0),
            ("low_noise", "do not fit"),
        ),
    ]


def _without_block_0(parts: dict) -> None:
    for name in [name for name in parts if name.startswith("blocks.0.")]:
        del parts[name]


def _with_index(change):
    """change(model, index name, shard names, index content) after a split; returns new content or None."""

    def build(model: ModelCopy) -> None:
        index, shards, weight_map = model.split_into_shards(W)
        content = change(model, shards, weight_map)
        if content is not None:
            model.write(index, content if isinstance(content, bytes) else json.dumps(content).encode())

    return build


def _everything_in(shard) -> dict:
    return _with_index(lambda model, shards, weight_map: {"weight_map": {name: shard for name in weight_map}})


def _shard_cases() -> list[Case]:
    index = W + ".index.json"
    found = []
    for shard in (
        "../model.safetensors",
        "/etc/passwd",
        "sub/x.safetensors",
        "..",
        ".",
        "",
        "a\0b",
        "a\nb",
        "a\\b",
        "x" * 300,
        7,
        None,
        ["x"],
        {},
    ):
        found.append(Case(f"index: shard {json.dumps(shard)[:30]}", _everything_in(shard), (index,)))

    def put(place, make):
        return _with_index(lambda model, shards, weight_map: make(model, shards[place]))

    def change(how):
        def edited(model, shards, weight_map):
            how(weight_map)
            return {"weight_map": weight_map}

        return _with_index(edited)

    def truncate(model, shard):
        model.write(shard, model.path(shard).read_bytes()[:-5])

    def lose_both(model, shards, weight_map):
        model.remove(index)
        model.remove(shards[1])

    shards_of = "model-00001-of-00002.safetensors"
    shard_2 = "model-00002-of-00002.safetensors"
    content = lambda text: _with_index(lambda model, shards, weight_map: text)
    return found + [
        Case("index: shard missing", put(1, lambda model, shard: model.remove(shard)), (shard_2,)),
        Case("index: shard is a pipe", put(1, lambda model, shard: model.pipe(shard)), (shard_2,)),
        Case("index: shard is a folder", put(1, lambda model, shard: model.make_folder(shard)), (shard_2,)),
        Case("index: shard links to itself", put(1, lambda model, shard: model.link(shard, shard_2)), (shard_2,)),
        Case(
            "index: shard links to /dev/zero", put(1, lambda model, shard: model.link(shard, "/dev/zero")), (shard_2,)
        ),
        Case("index: shard is empty", put(1, lambda model, shard: model.write(shard, b"")), (shard_2,)),
        Case("index: shard is cut", put(1, truncate), (shard_2,)),
        Case(
            "index: tensor not in its shard",
            change(lambda tensors: tensors.update(ghost=shard_2)),
            (shard_2, "'ghost'"),
        ),
        Case(
            "index: tensor in the other shard",
            change(
                lambda tensors: (
                    tensors.update({NORM: shard_2.replace("2-", "1-", 1)})
                    if tensors[NORM] == shard_2
                    else tensors.update({NORM: shard_2})
                )
            ),
            (f"'{NORM}'",),
        ),
        Case("index: tensor not listed", change(lambda tensors: tensors.pop(NORM)), (f"'{NORM}'",)),
        Case("index: no weight_map", content({"metadata": {}}), (index, "'weight_map'")),
        Case("index: weight_map is empty", content({"weight_map": {}}), (index, "weight_map")),
        Case("index: weight_map is a list", content({"weight_map": []}), (index, "'weight_map'")),
        Case("index: empty", content(b""), (index,)),
        Case("index: not JSON", content(b"shard 1, shard 2"), (index,)),
        Case("index: a bomb", content(b'{"weight_map": ' + b"[" * 100_000), (index,)),
        Case("index: duplicate tensor", content(b'{"weight_map": {"a": "x", "a": "y"}}'), (index, "'a'")),
        Case("index: lost, and a shard", _with_index(lose_both), (shards_of,)),
    ]


def cases() -> list[Case]:
    return _length_cases() + _grammar_cases() + _range_cases() + _fit_cases() + _shard_cases()
