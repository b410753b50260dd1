#!/usr/bin/env python3
"""The layers (docs/style.md): which folder may include which, and which target may link which. With a
build folder as argument it also looks at the real compiler commands: kernels see no LibTorch."""

import json
import os
import re
import sys

import source_tree

# folder: the folders of ours that it may include, besides itself
LAYERS = {
    "include/t2v": set(),
    "kernels": set(),
    "src/core": {"include/t2v"},
    "src/text": {"include/t2v", "src/core"},
    "src/weights": {"include/t2v", "src/core"},
    "src/ops": {"include/t2v", "src/core", "kernels"},
    "src/sched": {"include/t2v", "src/core", "src/ops"},
    "src/models": {"include/t2v", "src/core", "src/ops", "src/weights"},
    "src/pipeline": {"include/t2v", "src/core", "src/text", "src/weights", "src/ops", "src/sched",
                     "src/models"},
    "src/media": {"include/t2v", "src/core"},
    "src/cli": {"include/t2v", "src/core", "src/media"},
}

# Headers of others: a pattern, and where it may be included.
OUTSIDE = [
    (r"torch/(torch|extension|all)\.h$", []),
    (r"(ATen|c10|torch|caffe2)/", ["src/weights", "src/ops", "src/sched", "src/models", "src/pipeline",
                                   "src/pch.h", "tests", "tools"]),
    (r"fmt/", []),
    (r"spdlog/", ["src/core/log.cpp"]),
    (r"CLI/", ["src/cli"]),
    (r"nlohmann/", ["src/weights", "src/pipeline", "src/models", "src/text", "src/media", "src/cli",
                    "tests", "tools"]),
    (r"sentencepiece", ["src/text", "tests/text"]),
    (r"utf8proc", ["src/text", "tests/text", "src/cli", "src/media"]),
    (r"arrow/", ["src/weights/remote"]),
    (r"curl/", ["src/weights/remote"]),
    (r"openssl/", ["src/weights/sha256.cpp"]),
    (r"liburing", ["src/weights/uring_file.cpp"]),
    (r"xxhash", ["src/weights/cache_block.cpp", "src/weights/byte_hash.cpp"]),
    (r"lib(av|sw)\w+/", ["src/media", "tests/media"]),
    (r"(cuda|cublas|cudnn|cutlass|cute|nvtx)", ["kernels", "src/ops/launch.h", "src/ops/cuda",
                                                "tests/kernels", "tools"]),
]

# Words of the code: a pattern, where it may stand, why.
WORDS = [
    (r"\b(secure_)?getenv\s*\(", ["src/cli/options.cpp", "tests", "tools"],
     "only src/cli/options.cpp reads the environment"),
    (r"\bstd::(cout|cerr)\b|(?<![\w.>])(f?printf|f?puts)\s*\(",
     ["src/cli", "tests", "tools"], "a library does not print"),
    (r"(?<![\w.>])(::|std::)?(_?exit|abort|quick_exit)\s*\(", ["src/cli", "src/media", "tests", "tools",
                                                               "include/t2v"],
     "a library does not end the program"),
]
KERNEL_WORDS = (r"\bthrow\b|\bnew\b|\b(cudaM|m|c|re)alloc\w*\s*\(|\bcudaFree|#\s*include\s*<(iostream|fstream|"
                r"cstdio|vector|string|memory)>")

# Our targets: the ones each may link.
TARGETS = {
    "t2v_flags": set(),
    "t2v_core": {"t2v_flags"},
    "t2v_text": {"t2v_core", "t2v_flags"},
    "t2v_kernels": {"t2v_flags"},
    "t2v_engine": {"t2v_core", "t2v_text", "t2v::torch_cpu", "t2v::c10", "t2v_flags"},
    "t2v_engine_module": {"t2v_engine", "t2v_flags"},
    "t2v_cuda": {"t2v_core", "t2v_kernels", "t2v::torch_cuda", "t2v::c10_cuda", "t2v_flags"},
    "t2v_s3": {"t2v_core", "t2v::arrow", "t2v_flags"},
    "t2v_http": {"t2v_core", "t2v_flags"},
    "t2v_media_objects": {"t2v_core", "t2v_flags"},
    "t2v_media": {"t2v_media_objects", "t2v_flags"},
    "t2v_cli": {"t2v_core", "t2v_flags"},
    "t2v": {"t2v_cli", "t2v_core", "t2v_flags"},
}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^">]+)[">]', re.MULTILINE)


def within(path, places):
    return any(path == place or path.startswith(place + "/") for place in places)


def folder_of(path):
    return next((folder for folder in LAYERS if within(path, [folder])), None)


def target_of_include(name):
    """The folder of ours that an include belongs to, or None."""
    if name.startswith("t2v/kernels/") or name.startswith("device/"):
        return "kernels"
    if name.startswith("t2v/"):
        return "include/t2v"
    first = "src/" + name.split("/")[0]
    return first if first in LAYERS else None


def check_include(path, line, mark, name):
    where = f"{path}:{line}: #include {mark}{name}"
    if name.startswith(".") or "/../" in name:
        yield f"{where}: includes are rooted at src/, include/ or tests/"
    for pattern, places in OUTSIDE:
        if mark == "<" and re.match(pattern, name):
            if not within(path, places):
                yield f"{where}: allowed in {', '.join(places) or 'no file'} only"
            break
    folder, target = folder_of(path), target_of_include(name)
    if folder is None or target is None or target == folder:
        return
    if target not in LAYERS[folder]:
        yield f"{where}: {folder} may not include {target}"
    elif target == "kernels" and not within(path, ["src/ops/launch.h", "src/ops/cuda"]):
        yield f"{where}: only src/ops/launch.h and src/ops/cuda see kernels"
    if name == "core/log.h" and (path.endswith(".h") or folder == "src/ops"):
        yield f"{where}: no logging in headers and ops"


def check_file(path):
    text = source_tree.read(path)
    for found in INCLUDE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield from check_include(path, line, found.group(1), found.group(2))
    code = source_tree.without_comments_and_strings(text)
    rules = [(pattern, reason) for pattern, places, reason in WORDS if not within(path, places)]
    if within(path, ["kernels"]):
        rules.append((KERNEL_WORDS, "kernels do not throw, allocate or print"))
    for pattern, reason in rules:
        for found in re.finditer(pattern, code):
            line = code.count("\n", 0, found.start()) + 1
            yield f"{path}:{line}: '{found.group().strip()}': {reason}"


def check_links(path):
    text = re.sub(r"#[^\n]*", "", source_tree.read(path))
    for name, words in re.findall(r"target_link_libraries\(\s*([\w:]+)([^)]*)\)", text):
        for linked in re.findall(r"\bt2v(?:_\w+|::\w+)?", words):
            if name in TARGETS and linked not in TARGETS[name]:
                yield f"{path}: {name} may not link {linked}"


def check_commands(build):
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        for entry in json.load(file):
            path = os.path.relpath(entry["file"], source_tree.ROOT)
            command = entry["command"]
            if within(path, ["kernels", "src/core", "src/text", "src/media", "src/cli"]):
                if "/torch_include" in command or "/torch/include" in command:
                    yield f"{path}: LibTorch is on its include path"
            if re.search(r"-ffast-math|-Ofast|use_fast_math|-funsafe-math", command):
                yield f"{path}: is compiled with fast-math"


def self_test():
    wrong = [("src/text/a.cpp", '"', "weights/checkpoint.h"), ("src/ops/a.cpp", "<", "torch/torch.h"),
             ("src/cli/a.cpp", '"', "pipeline/run.h"), ("include/t2v/a.h", '"', "core/check.h"),
             ("kernels/a.cu", "<", "ATen/ATen.h"), ("src/ops/norm.cpp", '"', "t2v/kernels/rms_norm.h"),
             ("src/core/error.cpp", "<", "spdlog/spdlog.h")]
    for path, mark, name in wrong:
        assert list(check_include(path, 1, mark, name)), (path, name)
    assert not list(check_include("src/models/a.cpp", 1, '"', "weights/checkpoint.h"))


def main():
    self_test()
    paths = source_tree.files()
    lists = source_tree.files(("CMakeLists.txt",))
    problems = [problem for path in paths for problem in check_file(path)]
    problems += [problem for path in lists for problem in check_links(path)]
    if len(sys.argv) > 1:
        problems += list(check_commands(sys.argv[1]))
    return source_tree.report("layers", problems, len(paths) + len(lists))


if __name__ == "__main__":
    sys.exit(main())
