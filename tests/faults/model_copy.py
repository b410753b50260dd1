"""A model folder made of links to a whole one, in which single files are broken. Standard library only."""

import dataclasses
import json
import os
import pathlib
import shutil
import struct
from typing import Callable

TEXT_ENCODER = "text_encoder/model.safetensors"
TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"


@dataclasses.dataclass(frozen=True)
class Case:
    """build(model) breaks the copy; the error line must hold every word of `mentions`."""

    name: str
    build: Callable[["ModelCopy"], None]
    mentions: tuple[str, ...] = ()
    commands: tuple[str, ...] = ("generate", "inspect")


class ModelCopy:
    """Folders are real, files are links to the base until they are replaced."""

    def __init__(self, base: pathlib.Path, folder: pathlib.Path):
        self.base = base.resolve()
        self.folder = folder
        folder.mkdir(parents=True)
        for source in sorted(self.base.rglob("*")):
            target = folder / source.relative_to(self.base)
            if source.is_dir():
                target.mkdir()
            else:
                target.symlink_to(source)

    def path(self, name: str) -> pathlib.Path:
        return self.folder / name

    def original(self, name: str) -> bytes:
        return (self.base / name).read_bytes()

    def remove(self, name: str = "") -> None:
        path = self.path(name)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.is_symlink() or path.exists():
            path.unlink()

    def write(self, name: str, content: bytes) -> None:
        self.remove(name)
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_bytes(content)

    def link(self, name: str, target: str) -> None:
        self.remove(name)
        os.symlink(target, self.path(name))

    def pipe(self, name: str) -> None:
        self.remove(name)
        os.mkfifo(self.path(name))

    def make_folder(self, name: str) -> None:
        self.remove(name)
        self.path(name).mkdir(parents=True)

    def edit_json(self, name: str, change: Callable[[dict], None]) -> None:
        value = json.loads(self.original(name)) if (self.base / name).exists() else {}
        change(value)
        self.write(name, json.dumps(value).encode())

    def read_tensors(self, name: str) -> tuple[dict, bytes]:
        content = self.original(name)
        (length,) = struct.unpack("<Q", content[:8])
        return json.loads(content[8 : 8 + length]), content[8 + length :]

    def write_tensors(self, name: str, header: dict | str | bytes, data: bytes, length: int | None = None) -> None:
        text = json.dumps(header) if isinstance(header, dict) else header
        raw = text.encode() if isinstance(text, str) else text
        self.write(name, struct.pack("<Q", len(raw) if length is None else length) + raw + data)

    def edit_tensors(self, name: str, change: Callable[[dict], None]) -> None:
        """Changes the header only; the data stays."""
        header, data = self.read_tensors(name)
        change(header)
        self.write_tensors(name, header, data)

    def rebuild_tensors(self, name: str, change: Callable[[dict], None]) -> None:
        """Changes {name: (dtype, shape, bytes)} and writes a file that is whole in itself."""
        header, data = self.read_tensors(name)
        header.pop("__metadata__", None)
        parts = {}
        for tensor, entry in header.items():
            begin, end = entry["data_offsets"]
            parts[tensor] = (entry["dtype"], entry["shape"], data[begin:end])
        change(parts)
        self.write_parts(name, parts)

    def write_parts(self, name: str, parts: dict) -> None:
        header, blobs, offset = {}, [], 0
        for tensor, (dtype, shape, blob) in parts.items():
            header[tensor] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(blob)]}
            offset += len(blob)
            blobs.append(blob)
        self.write_tensors(name, header, b"".join(blobs))

    def split_into_shards(self, name: str) -> tuple[str, list[str], dict]:
        """Replaces one file by two shards and an index; gives index name, shard names, weight map."""
        header, data = self.read_tensors(name)
        header.pop("__metadata__", None)
        stem = name.removesuffix(".safetensors")
        shards = [f"{stem}-0000{i + 1}-of-00002.safetensors" for i in range(2)]
        names = sorted(header)
        weight_map = {}
        for shard, members in zip(shards, (names[: len(names) // 2], names[len(names) // 2 :])):
            parts = {}
            for tensor in members:
                begin, end = header[tensor]["data_offsets"]
                parts[tensor] = (header[tensor]["dtype"], header[tensor]["shape"], data[begin:end])
                weight_map[tensor] = shard.rsplit("/", 1)[-1]
            self.write_parts(shard, parts)
        index = name + ".index.json"
        self.write(index, json.dumps({"metadata": {"total_size": len(data)}, "weight_map": weight_map}).encode())
        self.remove(name)
        return index, shards, weight_map
