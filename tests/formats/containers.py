"""Writers of the three containers, from the specification alone. Standard library only."""

import array
import dataclasses
import io
import json
import math
import pathlib
import pickle
import struct
import subprocess
import zipfile

from tiny_model import Tensor

ELEMENT_BYTES = {"F32": 4, "F16": 2, "BF16": 2, "I8": 1, "U8": 1, "F8_E4M3": 1, "F8_E5M2": 1}


@dataclasses.dataclass(frozen=True)
class Stored:
    """As it lies in a file. dtype: a word of safetensors, or the name of a GGML block type."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


def store(tensor: Tensor, dtype: str) -> Stored:
    if dtype == "F32":
        data = tensor.values.tobytes()
    elif dtype == "F16":
        data = struct.pack(f"<{len(tensor.values)}e", *tensor.values)
    elif dtype == "BF16":
        raw = tensor.values.tobytes()
        data = bytearray(len(raw) // 2)
        data[0::2], data[1::2] = raw[2::4], raw[3::4]
        assert not any(raw[0::4]) and not any(raw[1::4]), "not exact in bf16"
        data = bytes(data)
    else:
        raise ValueError(dtype)
    return Stored(dtype, tensor.shape, data)


def load(stored: Stored) -> Tensor:
    values = array.array("f")
    if stored.dtype == "F32":
        values.frombytes(stored.data)
    elif stored.dtype == "F16":
        values.extend(struct.unpack(f"<{len(stored.data) // 2}e", stored.data))
    elif stored.dtype == "BF16":
        raw = bytearray(2 * len(stored.data))
        raw[2::4], raw[3::4] = stored.data[0::2], stored.data[1::2]
        values.frombytes(raw)
    else:
        raise ValueError(stored.dtype)
    return Tensor(stored.shape, values)


# --- safetensors


def write_safetensors(path: pathlib.Path, tensors: dict[str, Stored], metadata: dict[str, str] | None = None) -> None:
    header, offset = {}, 0
    if metadata:
        header["__metadata__"] = metadata
    for name, tensor in tensors.items():
        header[name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + len(tensor.data)],
        }
        offset += len(tensor.data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            file.write(tensor.data)


def write_sharded(folder: pathlib.Path, stem: str, tensors: dict[str, Stored], count: int) -> None:
    names = list(tensors)
    weight_map = {}
    for i in range(count):
        part = names[i * len(names) // count : (i + 1) * len(names) // count]
        shard = f"{stem}-{i + 1:05}-of-{count:05}.safetensors"
        write_safetensors(folder / shard, {name: tensors[name] for name in part}, {"format": "pt"})
        weight_map.update({name: shard for name in part})
    total = sum(len(tensor.data) for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index))


def read_safetensors(path: pathlib.Path) -> dict[str, Stored]:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        data = file.read()
    return {
        name: Stored(entry["dtype"], tuple(entry["shape"]), data[slice(*entry["data_offsets"])])
        for name, entry in header.items()
    }


# --- GGUF

GGML_TYPES = {
    "F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8,
    "Q2_K": 10, "Q3_K": 11, "Q4_K": 12, "Q5_K": 13, "Q6_K": 14, "BF16": 30,
}  # fmt: skip


def _gguf_string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _gguf_value(value: str | int | list[int]) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", 8) + _gguf_string(value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    return struct.pack("<IIQ", 9, 5, len(value)) + struct.pack(f"<{len(value)}i", *value)


def write_gguf(path: pathlib.Path, architecture: str, tensors: dict[str, Stored], alignment: int = 32) -> None:
    """Tensors of more than four dimensions lose them and keep their shape beside, as the format wants."""
    values: dict[str, str | int | list[int]] = {"general.architecture": architecture}
    if alignment != 32:
        values["general.alignment"] = alignment
    shapes = {}
    for name, tensor in tensors.items():
        shapes[name] = tensor.shape
        if len(tensor.shape) > 4:
            values["comfy.gguf.orig_shape." + name] = list(tensor.shape)
            shapes[name] = (tensor.shape[0], math.prod(tensor.shape[1:]))
    out = io.BytesIO()
    out.write(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values)))
    for key, value in values.items():
        out.write(_gguf_string(key) + _gguf_value(value))
    offset = 0
    for name, tensor in tensors.items():
        shape = shapes[name]
        out.write(_gguf_string(name) + struct.pack("<I", len(shape)))
        out.write(struct.pack(f"<{len(shape)}Q", *reversed(shape)))
        out.write(struct.pack("<IQ", GGML_TYPES[tensor.dtype], offset))
        offset += len(tensor.data) + -len(tensor.data) % alignment
    out.write(b"\0" * (-out.tell() % alignment))
    for tensor in tensors.values():
        out.write(tensor.data + b"\0" * (-len(tensor.data) % alignment))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(out.getvalue())


# --- torch archives: a stored ZIP with a pickle that names torch's own functions, as torch.save writes it


class _Global:
    """Stands for a function or class of torch in the pickle."""

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name


class _Storage:
    def __init__(self, key: str, kind: str, count: int):
        self.key, self.kind, self.count = key, kind, count


STORAGE_CLASSES = {
    "F32": "FloatStorage", "F16": "HalfStorage", "BF16": "BFloat16Storage", "I8": "CharStorage", "U8": "ByteStorage",
}  # fmt: skip


class _TensorRef:
    def __init__(self, storage: _Storage, shape: tuple[int, ...]):
        self.storage, self.shape = storage, shape


class _Pickler(pickle._Pickler):  # the Python one: it lets a global be written by its name
    def persistent_id(self, obj):
        if isinstance(obj, _Storage):
            return ("storage", _Global("torch", obj.kind), obj.key, "cpu", obj.count)
        return None

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, _Global):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
            return
        if isinstance(obj, _TensorRef):
            strides, step = [], 1
            for extent in reversed(obj.shape):
                strides.insert(0, step)
                step *= extent
            self.save(_Global("torch._utils", "_rebuild_tensor_v2"))
            hooks = _OrderedDict()
            self.save((obj.storage, 0, obj.shape, tuple(strides), False, hooks))
            self.write(pickle.REDUCE)
            return
        if isinstance(obj, _OrderedDict):
            self.save(_Global("collections", "OrderedDict"))
            self.write(pickle.EMPTY_TUPLE + pickle.REDUCE)
            return
        super().save(obj, save_persistent_id)


class _OrderedDict:
    pass


# An interpreter with torch; then torch.save itself writes the archives.
torch_python: str | None = None


def _write_by_torch(path: pathlib.Path, tensors: dict[str, Stored], inside: str) -> None:
    source = path.with_name(path.name + ".tmp")
    write_safetensors(source, tensors)
    script = pathlib.Path(__file__).with_name("torch_save.py")
    subprocess.run([torch_python, script, source, path, inside], check=True)
    source.unlink()


def write_torch_archive(path: pathlib.Path, tensors: dict[str, Stored], inside: str = "") -> None:
    """inside: the key of a dictionary around the tensors ("state_dict"), "" for none."""
    if torch_python:
        return _write_by_torch(path, tensors, inside)
    refs, blobs = {}, []
    for index, (name, tensor) in enumerate(tensors.items()):
        count = len(tensor.data) // ELEMENT_BYTES[tensor.dtype]
        storage = _Storage(str(index), STORAGE_CLASSES[tensor.dtype], count)
        refs[name] = _TensorRef(storage, tensor.shape)
        blobs.append(tensor.data)
    root = path.stem
    text = io.BytesIO()
    _Pickler(text, protocol=2).dump({inside: refs, "epoch": 3} if inside else refs)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:

        def add(name: str, data: bytes) -> None:
            entry = zipfile.ZipInfo(f"{root}/{name}", (1980, 1, 1, 0, 0, 0))
            header = file.tell() + 30 + len(entry.filename)
            padding = -(header + 4) % 64  # the payload starts at a multiple of 64 bytes
            entry.extra = b"FB" + struct.pack("<H", padding) + b"Z" * padding
            archive.writestr(entry, data)

        add("data.pkl", text.getvalue())
        add("byteorder", b"little")
        for index, blob in enumerate(blobs):
            add(f"data/{index}", blob)
        add("version", b"3\n")
