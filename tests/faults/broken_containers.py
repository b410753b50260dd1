"""Cases with weights in other containers than safetensors, and with quantised ones: GGUF, torch archives, schemes.
The text encoder's file gets their content: what a file is called does not matter."""

import struct
import zipfile

from container_files import (
    Parts,
    gguf_file,
    gguf_text,
    pickle_dict,
    pickle_tensor,
    pickle_text,
    state_dict,
    torch_file,
)
from model_copy import TEXT_ENCODER, TRANSFORMER, Case, ModelCopy

W = TEXT_ENCODER
NORM = "encoder.final_layer_norm.weight"  # [128] BF16
GRID = "encoder.block.0.layer.1.DenseReluDense.wi_0.weight"  # [256, 128] BF16


def parts_of(model: ModelCopy, name: str = W) -> Parts:
    header, data = model.read_tensors(name)
    header.pop("__metadata__", None)
    ranges = {tensor: entry["data_offsets"] for tensor, entry in header.items()}
    return {
        tensor: (entry["dtype"], entry["shape"], data[slice(*ranges[tensor])]) for tensor, entry in header.items()
    }


def _gguf(**arguments):
    return lambda model: model.write(W, gguf_file(parts_of(model), **arguments))


def _gguf_tensor(tensor: str, **fields):
    return _gguf(tensors={tensor: fields})


def _torch(**arguments):
    return lambda model: model.write(W, torch_file(parts_of(model), **arguments))


def _torch_tensor(tensor: str, **fields):
    return lambda model: model.write(W, torch_file(parts_of(model), state_dict(parts_of(model), {tensor: fields})))


def _patch(make, change):
    """The whole file with some bytes changed: change(content) gives the new content."""

    def build(model: ModelCopy) -> None:
        make(model)
        model.write(W, change(model.path(W).read_bytes()))

    return build


def _int8_rows(model: ModelCopy, change=lambda parts: None, name: str = TRANSFORMER) -> None:
    """One linear layer of the transformer as int8 with a scale for each row; change(parts) breaks it."""
    parts = parts_of(model, name)
    weight = "blocks.0.attn1.to_q.weight"
    _, (rows, columns), _ = parts[weight]
    parts[weight] = ("I8", [rows, columns], bytes(rows * columns))
    parts[weight + "_scale"] = ("F32", [rows, 1], struct.pack("<f", 0.01) * rows)
    change(parts)
    model.write_parts(name, parts)


def whole_cases() -> list[Case]:
    in_model = lambda model: torch_file(parts_of(model), pickle_dict({"model": state_dict(parts_of(model))}))
    return [
        Case("whole: GGUF", _gguf()),
        Case("whole: GGUF version 2", _gguf(version=2)),
        Case("whole: torch archive", _torch()),
        Case("whole: torch archive with a dict around", lambda model: model.write(W, in_model(model))),
        Case("whole: int8 rows", _int8_rows),
    ]


def _gguf_cases() -> list[Case]:
    pair = lambda key, kind, value: gguf_text(key) + struct.pack("<I", kind) + value
    whole = lambda change: _patch(_gguf(), change)
    found = [
        Case(f"gguf: cut at {size}", whole(lambda content, size=size: content[:size]), (W,))
        for size in (4, 8, 20, 24, 40, 100, 1000, 100_000)
    ]
    found += [Case(f"gguf: version {v}", _gguf(version=v), (W, "version")) for v in (0, 1, 4, 2**32 - 1)]
    found += [Case("gguf: big-endian", _gguf(version=3 << 24), (W, "big-endian"))]
    for count in (34, 10**6, 2**40, 2**63, 2**64 - 1):
        found.append(Case(f"gguf: {count} tensors claimed", _gguf(counts=(count, None)), (W,)))
        found.append(Case(f"gguf: {count} keys claimed", _gguf(counts=(None, count)), (W,)))
    keys = {
        "an unknown type": pair("k", 13, b"1234"),
        "a truth value of 2": pair("k", 7, b"\2"),
        "an empty name": pair("", 4, b"1234"),
        "control bytes": pair("k\n\x1b[2J", 4, b"1234"),
        "a string of 2^63": pair("k", 8, struct.pack("<Q", 2**63)),
        "an array of 2^61": pair("k", 9, struct.pack("<IQ", 10, 2**61)),
        "an array of arrays": pair("k", 9, struct.pack("<IQ", 9, 1)),
        "alignment 0": pair("general.alignment", 4, struct.pack("<I", 0)),
        "alignment 33": pair("general.alignment", 4, struct.pack("<I", 33)),
        "another shape": pair(f"comfy.gguf.orig_shape.{NORM}", 9, struct.pack("<IQi", 5, 1, 127)),
    }
    found += [Case(f"gguf: a key with {name}", _gguf(pairs=[content]), (W,)) for name, content in keys.items()]
    fields = {
        "no name": {"name": ""},
        "control bytes": {"name": "a\x07b"},
        "a name of a megabyte": {"name": "n" * 10**6},
        "the name of another": {"name": GRID},
        "9 dimensions": {"dims": [1] * 9},
        "2^31 dimensions": {"rank": 2**31},
        "2^63 elements": {"dims": [2**63]},
        "2^80 elements": {"dims": [2**40, 2**40]},
        "no elements of 2^80": {"dims": [0, 2**40, 2**40]},
        "more than the file": {"dims": [2**30]},
        "type 4": {"type": 4},
        "type 2^32 - 1": {"type": 2**32 - 1},
        "type IQ4_XS": {"type": 23},
        "type Q4_K in rows of 128": {"type": 12},
        "a crooked offset": {"offset": 1},
        "an offset over the end": {"offset": 2**40},
        "an offset of 2^64 - 32": {"offset": 2**64 - 32},
        "the place of another": {"offset": 0},
    }
    found += [Case(f"gguf: a tensor with {name}", _gguf_tensor(NORM, **field), (W,)) for name, field in fields.items()]
    found.append(Case("gguf: a tensor of another shape", _gguf_tensor(NORM, dims=[64]), ("text_encoder", NORM)))
    return found


def _pickle_cases() -> list[Case]:
    call = lambda module, name: f"c{module}\n{name}\n".encode() + b"(" + pickle_text("touch t2v-was-here") + b"tR"
    found = [
        Case(f"pickle: calls {module}.{name}", _torch(value=call(module, name)), (W, f"{module}.{name}"))
        for module, name in (
            ("os", "system"),
            ("posix", "system"),
            ("builtins", "eval"),
            ("builtins", "__import__"),
            ("subprocess", "Popen"),
            ("torch", "load"),
            ("torch._utils", "_rebuild_tensor_v3"),
        )
    ]
    found.append(
        Case(
            "pickle: names a function by the stack",
            _torch(value=pickle_text("os") + pickle_text("system") + b"\x93(" + pickle_text("true") + b"tR"),
            (W, "os.system"),
        )
    )
    hidden = lambda model: state_dict(parts_of(model)) + call("os", "system") + b"0"
    found.append(Case("pickle: calls behind a whole dict", lambda m: m.write(W, torch_file(parts_of(m), hidden(m))), (W,)))
    values = {
        "nothing": b"",
        "two values": b"NN",
        "a mark": b"(",
        "None": b"N",
        "an empty dict": b"}",
        "an instance": b"(ios\nsystem\n",
        "an object": b"(cos\nsystem\no",
        "an extension": b"\x82\x01",
        "a text of 4 GB": b"X\xff\xff\xff\xff",
        "a frame of 2^63": b"\x95" + b"\xff" * 8,
        "an unset memo": b"h\x05",
        "marks without end": b"(" * 1000,
        "a dict that holds itself": b"}q\x01" + pickle_text("model") + b"h\x01s",
        "a list of a million": b"](" + b"N" * 10**6 + b"e",
        "five million lists": b"]" * 5_000_000,
        "tensors in a list": b"](" + pickle_tensor("0", "BF16", [128]) + b"e",
    }
    found += [Case(f"pickle: {name}", _torch(value=value), (W,)) for name, value in values.items()]
    fields = {
        "too many elements": {"shape": [129]},
        "an offset": {"offset": 1},
        "an offset of 2^62": {"offset": 2**62},
        "a negative offset": {"offset": -1},
        "2^80 elements": {"shape": [2**40, 2**40], "stride": [2**40, 1]},
        "a negative extent": {"shape": [-128]},
        "a stride of 2": {"stride": [2], "shape": [64]},
        "two strides": {"stride": [1, 1]},
        "a storage of another size": {"numel": 127},
        "a storage of 2^62": {"numel": 2**62},
        "another type of storage": {"storage": "FloatStorage"},
        "an unknown type of storage": {"storage": "QInt8Storage"},
    }
    found += [Case(f"pickle: a tensor with {name}", _torch_tensor(NORM, **field), (W,)) for name, field in fields.items()]
    found.append(Case("pickle: a tensor is missing", lambda model: _without(model, NORM), ("text_encoder", NORM)))
    return found


def _without(model: ModelCopy, tensor: str) -> None:
    parts = parts_of(model)
    del parts[tensor]
    model.write(W, torch_file(parts))


def _zip_cases() -> list[Case]:
    whole = lambda change: _patch(_torch(), change)
    end = lambda content: content.rindex(b"PK\5\6")
    last = lambda content: content.rindex(b"PK\1\2")

    def put(place, at: int, raw: bytes):
        def change(content: bytes) -> bytes:
            start = place(content) + at
            return content[:start] + raw + content[start + len(raw) :]

        return whole(change)

    found = [
        Case(f"zip: cut at {size}", whole(lambda content, size=size: content[:size]), (W,))
        for size in (4, 22, 100, 100_000, -1, -22, -100)
    ]
    found += [
        Case("zip: a byte before", whole(lambda content: b"PK\3\4" + content), (W,)),
        Case("zip: a byte behind", whole(lambda content: content + b"\0"), (W,)),
        Case("zip: compressed", _torch(compression=zipfile.ZIP_DEFLATED), (W, "compressed")),
        Case("zip: no pickle", _torch(members={"archive/data.pkl": None}), (W, "data.pkl")),
        Case("zip: two pickles", _torch(members={"b/data.pkl": b"N."}), (W, "two pickles")),
        Case("zip: a storage is missing", _torch(members={"archive/data/3": None}), (W, "data/3")),
        Case("zip: a storage is short", _torch(members={"archive/data/3": b"1234"}), (W, "data/3")),
        Case("zip: big-endian", _torch(members={"archive/byteorder": b"big"}), (W, "big")),
        Case("zip: a member above the folder", _torch(members={"../../x": b"x"}), (W, "../../x")),
        Case("zip: an absolute member", _torch(members={"/etc/x": b"x"}), (W, "/etc/x")),
        Case("zip: a member with control bytes", _torch(members={"a\x1b[2J": b"x"}), (W,)),
        Case("zip: 65535 members claimed", put(end, 8, b"\xff\xff\xff\xff"), (W,)),
        Case("zip: one member fewer", put(end, 8, b"\x01\0\x01\0"), (W,)),
        Case("zip: another disk", put(end, 4, b"\x01\0"), (W, "disks")),
        Case("zip: the directory lies elsewhere", put(end, 16, b"\0\0\0\0"), (W,)),
        Case("zip: an encrypted member", put(last, 8, b"\x01\0"), (W, "encrypted")),
        Case("zip: a member of 4 GB", put(last, 20, b"\xfe\xff\xff\xff" * 2), (W,)),
        Case("zip: a member without its ZIP64 field", put(last, 20, b"\xff\xff\xff\xff" * 2), (W, "ZIP64")),
        Case("zip: a member at the place of another", put(last, 42, b"\0\0\0\0"), (W,)),
        Case("zip: a member beyond the directory", put(last, 42, b"\xfe\xff\xff\xff"), (W,)),
        Case("zip: a wrong checksum of the pickle", whole(lambda c: c.replace(b"BFloat16", b"BFloat61", 1)), (W,)),
    ]
    legacy = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
    found += [
        Case("zip: a torch file of before 1.6", lambda model: model.write(W, legacy + bytes(100)), (W, "1.6")),
        Case("zip: a bare pickle", lambda model: model.write(W, b"\x80\x04\x95" + b"x" * 100), (W, "pickle")),
    ]
    return found


def _scheme_cases() -> list[Case]:
    q = "blocks.0.attn1.to_q"
    one = struct.pack("<f", 1.0)

    def case(name: str, change, *mentions: str) -> Case:
        return Case(f"scheme: {name}", lambda model: _int8_rows(model, change), (TRANSFORMER, *mentions))

    def set_part(name: str, dtype: str, shape: list[int], raw: bytes):
        return lambda parts: parts.update({name: (dtype, shape, raw)})

    def quant(text: bytes):
        return set_part(q + ".comfy_quant", "U8", [len(text)], text)

    def e5m2_and_int8(parts: Parts) -> None:
        quant(b'{"format":"float8_e5m2"}')(parts)

    return [
        case("no scale", lambda parts: parts.pop(q + ".weight_scale"), q),
        case("a scale too short", set_part(q + ".weight_scale", "F32", [3, 1], one * 3), q + ".weight_scale"),
        case("a scale of other axes", set_part(q + ".weight_scale", "F32", [1, 3], one * 3), q + ".weight_scale"),
        case("a scale of integers", set_part(q + ".weight_scale", "I32", [1], one), q + ".weight_scale"),
        case("an empty scale", set_part(q + ".weight_scale", "F32", [0], b""), q + ".weight_scale"),
        case("a scale without a weight", set_part("x.weight_scale", "F32", [1], one), "x.weight_scale"),
        case("two scales", set_part(q + ".scale_weight", "F32", [1], one), q),
        case("mxfp8", quant(b'{"format":"mxfp8"}'), "mxfp8"),
        case("nvfp4", quant(b'{"format":"nvfp4"}'), "nvfp4"),
        case("nvfp4 by its tensors", set_part(q + ".weight_scale_2", "F32", [1], one), "nvfp4"),
        case("bitsandbytes", set_part(q + ".weight.absmax", "F32", [1], one), "bitsandbytes"),
        case("GPTQ", set_part(q + ".qweight", "I32", [1], one), "GPTQ"),
        case("comfy_quant is no JSON", quant(b"{"), "comfy_quant"),
        case("comfy_quant is deep", quant(b'{"format":' + b"[" * 5000), "comfy_quant"),
        case("comfy_quant is empty", quant(b""), "comfy_quant"),
        case("comfy_quant says another type", e5m2_and_int8, "float8_e5m2"),
        case("a group that is no power", quant(b'{"format":"int8_tensorwise","convrot":true,"convrot_groupsize":100}')),
        case("a group that does not fit", quant(b'{"format":"int8_tensorwise","convrot":true,"convrot_groupsize":4096}')),
        case("int8 beside int8", set_part(q + ".int8_weight", "I8", [1, 1], b"\0"), "int8_weight"),
    ]


def cases() -> list[Case]:
    return _gguf_cases() + _pickle_cases() + _zip_cases() + _scheme_cases()
