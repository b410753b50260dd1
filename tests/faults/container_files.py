"""Small writers of GGUF files and torch archives, right unless asked otherwise. Standard library only."""

import io
import math
import struct
import zipfile

Parts = dict[str, tuple[str, list[int], bytes]]  # tensor: dtype, shape, bytes

GGML_TYPES = {"F32": 0, "F16": 1, "BF16": 30}
STORAGES = {"F32": "FloatStorage", "F16": "HalfStorage", "BF16": "BFloat16Storage"}
ELEMENT_BYTES = {"F32": 4, "F16": 2, "BF16": 2}


def gguf_text(text: bytes | str) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def gguf_file(parts: Parts, pairs: list[bytes] = [], version: int = 3, counts: tuple = (None, None), tensors={}) -> bytes:
    """tensors: fields of single entries to replace: {name: {"dims", "rank", "type", "offset", "name"}}."""
    entries, body = b"", b""
    for name, (dtype, shape, blob) in parts.items():
        fields = {"name": name, "dims": shape[::-1], "type": GGML_TYPES[dtype], "offset": len(body)}
        fields |= tensors.get(name, {})
        entries += gguf_text(fields["name"]) + struct.pack("<I", fields.get("rank", len(fields["dims"])))
        entries += b"".join(struct.pack("<Q", dim) for dim in fields["dims"])
        entries += struct.pack("<IQ", fields["type"], fields["offset"])
        body += blob + bytes(-len(blob) % 32)
    num_tensors = len(parts) if counts[0] is None else counts[0]
    num_pairs = len(pairs) if counts[1] is None else counts[1]
    head = b"GGUF" + struct.pack("<IQQ", version, num_tensors, num_pairs) + b"".join(pairs) + entries
    return head + bytes(-len(head) % 32) + body


def pickle_text(text: str) -> bytes:
    raw = text.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def pickle_whole(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)


def pickle_tuple(values: list[int]) -> bytes:
    return b"(" + b"".join(map(pickle_whole, values)) + b"t"


def pickle_tensor(key: str, dtype: str, shape: list[int], fields: dict = {}) -> bytes:
    """fields: storage (class), numel, offset, shape, stride to replace."""
    stride, step = [], 1
    for extent in reversed(shape):
        stride.insert(0, step)
        step *= extent
    storage = fields.get("storage", STORAGES[dtype])
    numel = fields.get("numel", math.prod(shape))
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(("
        + pickle_text("storage")
        + f"ctorch\n{storage}\n".encode()
        + pickle_text(key)
        + pickle_text("cpu")
        + pickle_whole(numel)
        + b"tQ"
        + pickle_whole(fields.get("offset", 0))
        + pickle_tuple(fields.get("shape", shape))
        + pickle_tuple(fields.get("stride", stride))
        + b"\x89ccollections\nOrderedDict\n)RtR"
    )


def pickle_dict(items: dict[str, bytes]) -> bytes:
    return b"}(" + b"".join(pickle_text(key) + value for key, value in items.items()) + b"u"


def state_dict(parts: Parts, tensors={}) -> bytes:
    """tensors: arguments of pickle_tensor to replace, by name."""
    numbered = enumerate(parts.items())
    return pickle_dict(
        {name: pickle_tensor(str(i), dtype, shape, tensors.get(name, {})) for i, (name, (dtype, shape, _)) in numbered}
    )


def torch_file(parts: Parts, value: bytes | None = None, members: dict[str, bytes] = {}, compression=zipfile.ZIP_STORED):
    """value: the pickle without protocol and stop. members: more of them, or others in their place."""
    content = {"archive/data.pkl": b"\x80\x02" + (state_dict(parts) if value is None else value) + b"."}
    content["archive/byteorder"] = b"little"
    content |= {f"archive/data/{i}": blob for i, (_, _, blob) in enumerate(parts.values())}
    content |= members
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, blob in content.items():
            if blob is not None:
                archive.writestr(zipfile.ZipInfo(name), blob, compression)
    return file.getvalue()
