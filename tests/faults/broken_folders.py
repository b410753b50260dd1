"""Cases with a broken layout: folders, links, pipes, other kinds of models, tokenizers."""

import os

from model_copy import TEXT_ENCODER, TRANSFORMER, VAE, Case, ModelCopy

GENERATE = ("generate",)  # `inspect` of what is no folder looks for a video
COMPONENTS = ["transformer", "transformer_2", "text_encoder", "vae", "tokenizer", "scheduler"]


def _only(*files: tuple[str, bytes]):
    def build(model: ModelCopy) -> None:
        for entry in list(model.folder.iterdir()):
            model.remove(entry.name)
        for name, content in files:
            model.write(name, content)

    return build


def _replace_root(make):
    def build(model: ModelCopy) -> None:
        model.remove()
        make(model.folder)

    return build


def _layout_cases() -> list[Case]:
    found = [
        Case("model: empty folder", _only(), ("empty",)),
        Case("whole: no index, but all components", lambda model: model.remove("model_index.json")),
        Case("model: a file", _replace_root(lambda path: path.write_bytes(b"hello")), ("case",), GENERATE),
        Case("model: an empty file", _replace_root(lambda path: path.write_bytes(b"")), ("case",), GENERATE),
        Case("model: absent", _replace_root(lambda path: None), ("case",), GENERATE),
        Case("model: a pipe", _replace_root(os.mkfifo), ("case",), GENERATE),
        Case("model: a link to itself", _replace_root(lambda path: path.symlink_to(path.name)), ("case",), GENERATE),
        Case("model: /dev/zero", _replace_root(lambda path: path.symlink_to("/dev/zero")), ("case",), GENERATE),
        Case(
            "model: a GGUF file",
            _replace_root(lambda path: path.write_bytes(b"GGUF\3" + b"\0" * 60)),
            ("GGUF",),
            GENERATE,
        ),
        Case(
            "model: a torch archive",
            _replace_root(lambda path: path.write_bytes(b"PK\3\4" + b"\0" * 60)),
            ("torch",),
            GENERATE,
        ),
        Case("model: GGUF folder", _only(("wan.gguf", b"GGUF")), ("GGUF",)),
        Case(
            "model: Wan's own layout",
            _only(("Wan2.1_VAE.pth", b"PK\3\4"), ("high_noise_model/config.json", b"{}")),
            ("original Wan layout",),
        ),
        Case("model: a ComfyUI folder", _only(("diffusion_models/wan.safetensors", b"x")), ("ComfyUI", "wan.safetensors")),
        Case("model: one component", lambda model: _as_component(model), ("component",)),
    ]
    return found


def _as_component(model: ModelCopy) -> None:
    for entry in list(model.folder.iterdir()):
        if entry.name != "vae":
            model.remove(entry.name)
    for entry in list(model.path("vae").iterdir()):
        entry.rename(model.folder / entry.name)
    model.remove("vae")


def _component_cases() -> list[Case]:
    found = []
    for name in COMPONENTS:
        found.append(Case(f"{name}: missing", lambda model, name=name: model.remove(name), (name,)))
        found.append(Case(f"{name}: a file", lambda model, name=name: model.write(name, b"x"), (name,)))
    found += [
        Case("transformer: a pipe", lambda model: model.pipe("transformer"), ("transformer",)),
        Case("vae: a link to itself", lambda model: model.link("vae", "vae"), ("vae",)),
        Case("vae: a link to nothing", lambda model: model.link("vae", "nothing"), ("vae",)),
        Case("text_encoder: empty", lambda model: model.make_folder("text_encoder"), ("text_encoder",)),
    ]
    for name in (TRANSFORMER, TEXT_ENCODER, VAE):
        found.append(Case(f"{name}: missing", lambda model, name=name: model.remove(name), (name.split("/")[0],)))
    other = lambda model: (model.remove(VAE), model.write("vae/diffusion_pytorch_model.bin", b"x"))
    found.append(Case("vae: pickled weights only", other, ("diffusion_pytorch_model.bin",)))
    return found


def _unreadable(name: str):
    def build(model: ModelCopy) -> None:
        if not model.path(name).is_dir():
            model.write(name, model.original(name))
        model.path(name).chmod(0)

    return build


def _permission_cases() -> list[Case]:
    if os.geteuid() == 0:  # root may read everything
        return []
    return [
        Case("vae: unreadable folder", _unreadable("vae"), ("vae",)),
        Case("vae: unreadable weights", _unreadable(VAE), (VAE,)),
        Case("transformer: unreadable config", _unreadable("transformer/config.json"), ("transformer/config.json",)),
    ]


def _tokenizer_cases() -> list[Case]:
    file = "tokenizer/spiece.model"

    def flipped(model: ModelCopy) -> None:
        content = bytearray(model.original(file))
        for at in range(10, 4000, 7):
            content[at] ^= 0xFF
        model.write(file, bytes(content))

    whole = lambda model: model.original(file)
    return [
        Case("tokenizer: no spiece.model", lambda model: model.remove(file), ("spiece.model",)),
        Case("tokenizer: empty", lambda model: model.write(file, b""), (file,)),
        Case("tokenizer: text", lambda model: model.write(file, b"not a tokenizer\n" * 50), (file,)),
        Case("tokenizer: zeros", lambda model: model.write(file, b"\0" * 5000), (file,)),
        Case("tokenizer: cut", lambda model: model.write(file, whole(model)[:3001]), (file,)),
        Case("tokenizer: flipped bytes", flipped, (file,)),
        Case("tokenizer: a pipe", lambda model: model.pipe(file), (file,)),
        Case("tokenizer: a folder", lambda model: model.make_folder(file), (file,)),
        Case("tokenizer: a link to itself", lambda model: model.link(file, "spiece.model"), (file,)),
        Case("tokenizer: a link to /dev/zero", lambda model: model.link(file, "/dev/zero"), (file,)),
    ]


def cases() -> list[Case]:
    return _layout_cases() + _component_cases() + _permission_cases() + _tokenizer_cases()
