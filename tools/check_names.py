#!/usr/bin/env python3
"""Names and headers of files (docs/style.md): snake_case, no empty words, `#pragma once`, a first
comment line that says what a header owns."""

import os
import re
import sys

import source_tree

EMPTY_WORDS = {"util", "utils", "helper", "helpers", "manager", "data", "info", "misc", "common"}
NAME = re.compile(r"^[a-z0-9]+(_[a-z0-9]+)*\.(h|cpp|cu|cuh|py|sh)$")


def check_file(path):
    name = os.path.basename(path)
    if not NAME.match(name) and name != "__init__.py":
        yield f"{path}: file names are snake_case"
    words = set(re.split(r"[/_.]", path))
    if words & EMPTY_WORDS:
        yield f"{path}: '{', '.join(sorted(words & EMPTY_WORDS))}' says nothing; name what it owns"
    if path.endswith((".h", ".cuh")):
        text = source_tree.read(path)
        if "#pragma once" not in text:
            yield f"{path}: #pragma once is missing"
        if not text.startswith("//"):
            yield f"{path}: the first line is a comment that says what this file owns"
        if re.search(r"^\s*using namespace\b", text, re.MULTILINE):
            yield f"{path}: no `using namespace` in a header"


def main():
    paths = source_tree.files(source_tree.CODE + (".py", ".sh"))
    problems = [problem for path in paths for problem in check_file(path)]
    return source_tree.report("names", problems, len(paths))


if __name__ == "__main__":
    sys.exit(main())
