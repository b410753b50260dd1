#!/usr/bin/env python3
"""Writes the small inputs that fuzzing starts from: tests/fuzz/seeds/<target>/. Same bytes every time."""

import json
import pathlib
import struct
import zlib

SEEDS = pathlib.Path(__file__).resolve().parent / "seeds"


def write(target: str, name: str, content: bytes) -> None:
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def safetensors(header: dict, body: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def gguf(version: int = 3) -> bytes:
    pairs = [
        text("general.architecture") + struct.pack("<I", 8) + text("wan"),
        text("general.alignment") + struct.pack("<II", 4, 32),
        text("wan.block_count") + struct.pack("<II", 4, 30),
        text("comfy.gguf.orig_shape.a") + struct.pack("<IIQ3i", 9, 5, 3, 1, 2, 3),
        text("tokens") + struct.pack("<IIQ", 9, 8, 2) + text("x") + text("y"),
        text("scores") + struct.pack("<IIQ2f", 9, 6, 2, 0.5, 1.5),
        text("f64") + struct.pack("<Id", 12, 0.5),
    ]
    tensors = [
        text("a") + struct.pack("<I2QIQ", 2, 2, 3, 0, 0),
        text("q") + struct.pack("<I2QIQ", 2, 64, 2, 8, 32),
        text("k") + struct.pack("<IQIQ", 1, 256, 12, 192),
    ]
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs)) + b"".join(pairs + tensors)
    return head + bytes(-len(head) % 32) + bytes(192 + 144)


def unicode(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def tensor(key: str, storage: bytes = b"FloatStorage") -> bytes:
    persistent = b"(" + unicode("storage") + b"ctorch\n" + storage + b"\n" + unicode(key) + unicode("cpu") + b"K\x06tQ"
    rest = b"K\x00K\x02K\x03\x86K\x03K\x01\x86\x89ccollections\nOrderedDict\n)RtR"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + persistent + rest


def state_dict() -> bytes:
    items = unicode("w") + b"q\x00" + tensor("0") + unicode("step") + b"M\xe8\x03" + unicode("lr") + b"G" + bytes(8)
    parameter = b"ctorch._utils\n_rebuild_parameter\n(" + tensor("0") + b"\x88ccollections\nOrderedDict\n)RtR"
    inner = b"ccollections\nOrderedDict\n)R(" + items + unicode("b") + parameter + b"u}" + unicode("_metadata") + b"}sb"
    return b"\x80\x02}" + unicode("model") + inner + b"s."


def short_opcodes() -> bytes:
    name = lambda value: b"\x8c" + bytes([len(value)]) + value.encode()
    frame = name("torch._utils") + name("_rebuild_tensor_v2") + b"\x93\x94" + b"](NK\x01\x88\x8a\x02\x00\x01e0" + b"h\x00."
    return b"\x80\x04\x95" + struct.pack("<Q", len(frame)) + frame


def archive(entries: dict[str, bytes], wide: bool = False) -> bytes:
    out, directory = b"", b""
    for name, content in entries.items():
        offset, size, crc = len(out), len(content), zlib.crc32(content)
        shown = 0xFFFFFFFF if wide else size
        extra = struct.pack("<HHQQ", 1, 16, size, size) if wide else b""
        common = struct.pack("<HHIIII", 0, 0, 0, crc, shown, shown) + struct.pack("<H", len(name))
        out += b"PK\3\4" + struct.pack("<H", 20) + common + struct.pack("<H", len(extra)) + name.encode() + extra + content
        extra = struct.pack("<HHQQQ", 1, 24, size, size, offset) if wide else b""
        directory += b"PK\1\2" + struct.pack("<HH", 20, 20) + common + struct.pack("<H", len(extra)) + bytes(10)
        directory += struct.pack("<I", 0xFFFFFFFF if wide else offset) + name.encode() + extra
    count, start, size = len(entries), len(out), len(directory)
    end = b""
    if wide:
        end = b"PK\6\6" + struct.pack("<QIIIQQQQ", 44, 20, 0, 0, count, count, size, start)
        end += b"PK\6\7" + struct.pack("<IQI", 0, start + size, 1)
        count, start, size = 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF
    return out + directory + end + b"PK\5\6" + struct.pack("<IHHIIH", 0, count, count, size, start, 0)


def main() -> None:
    one = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    small = safetensors({"__metadata__": {"format": "pt"}, "a": one}, bytes(4))
    two = safetensors(
        {
            "b": {"dtype": "F8_E4M3", "shape": [2, 2], "data_offsets": [4, 8]},
            "a": one,
            "e": {"dtype": "BF16", "shape": [0, 7], "data_offsets": [8, 8]},
        },
        bytes(8),
    )
    write("safetensors", "small", small)
    write("safetensors", "two", two)
    write("gguf", "version3", gguf())
    write("gguf", "version2", gguf(2))
    write("pickle", "state_dict", state_dict())
    write("pickle", "bare", b"\x80\x02" + tensor("0", b"BFloat16Storage") + b".")
    write("pickle", "short", short_opcodes())
    entries = {"a/data.pkl": state_dict(), "a/byteorder": b"little", "a/data/0": bytes(24), "a/version": b"3\n"}
    write("torch_archive", "short", archive(entries))
    write("torch_archive", "wide", archive(entries, wide=True))
    for name, content in (("safetensors", small), ("gguf", gguf()), ("archive", archive(entries))):
        write("container", name, content)
    index = {"metadata": {"total_size": 8}, "weight_map": {"a": "s1.safetensors", "b": "s2.safetensors"}}
    write("json", "index", json.dumps(index).encode())
    config = {"_class_name": "X", "dim": 5120, "eps": 1e-6, "patch": [1, 2, 2], "flags": [True, None], "o": {"p": "q"}}
    write("json", "config", json.dumps(config).encode())
    write("key_map", "wan", b"\0model.diffusion_model.blocks.0.self_attn.q.weight\nmodel.diffusion_model.head.head.bias")
    write("key_map", "framework", b"\0blocks.0.attn1.to_out.0.weight\ncondition_embedder.time_proj.bias\nproj_out.weight")
    write("key_map", "umt5", b"\1encoder.block.0.layer.0.SelfAttention.q.weight\nshared.weight")
    write("key_map", "gguf", b"\1enc.blk.0.attn_q.weight\ntoken_embd.weight")
    write("key_map", "vae", b"\2decoder.upsamples.0.residual.0.gamma\ndecoder.middle.1.to_qkv.weight\nconv2.weight")


if __name__ == "__main__":
    main()
