#!/usr/bin/env python3
"""clang-tidy (version 14, .clang-tidy) over our sources, in parallel. Results are kept in BUILD/tidy by
a hash of the source, our headers, the flags and the settings, so that only what changed is looked at again.

    check_tidy.py BUILD [--jobs N] [FILE...]     exit status 77: clang-tidy 14 is not installed
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import source_tree

FOLDERS = ("src/",)
DROPPED = re.compile(r"^(-fpch-preprocess|-Winvalid-pch|-W.*|-O\d|-m(tune|arch)=.*)$")


def find_program():
    for name in ("clang-tidy-14", "clang-tidy"):
        path = shutil.which(name)
        if path and re.search(r"version 14\.", subprocess.run([path, "--version"], capture_output=True, text=True,
                                                             check=False).stdout):
            return path
    return None


def flags_of(entry):
    """The compiler's flags that matter to clang: no output, no warnings, no precompiled header."""
    words = shlex.split(entry["command"])
    start = next(i for i, word in enumerate(words) if re.search(r"(\+\+|cc|clang)(-\d+)?$", word) and "ccache" not in word)
    flags, skip = [], False
    for word, following in zip(words[start + 1:], words[start + 2:] + [""]):
        if skip:
            skip = False
        elif word in ("-o", "-c") or (word == "-include" and "cmake_pch" in following):
            skip = True
        elif not DROPPED.match(word):
            flags.append(word)
    return flags


def entries(build, wanted):
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        seen = {}
        for entry in json.load(file):
            path = os.path.relpath(entry["file"], source_tree.ROOT)
            if path.endswith(".cpp") and path.startswith(FOLDERS) and (not wanted or path in wanted):
                seen.setdefault(path, flags_of(entry))
    return seen


def common_hash():
    state = hashlib.sha256(source_tree.read(".clang-tidy").encode())
    for path in source_tree.files((".h",), ("include", "src")):
        state.update(source_tree.read(path).encode())
    return state


def tidy(program, build, path, flags, common):
    state = common.copy()
    state.update(source_tree.read(path).encode() + "\0".join(flags).encode())
    kept = os.path.join(build, "tidy", state.hexdigest())
    if os.path.exists(kept):
        return []
    found = subprocess.run([program, "--quiet", path, "--", *flags], capture_output=True, text=True, check=False,
                           cwd=source_tree.ROOT)
    lines = [line for line in found.stdout.splitlines() if re.search(r": (error|warning): ", line)]
    if found.returncode and not lines:
        lines = [f"{path}: clang-tidy failed: {found.stderr.strip()[-500:]}"]
    if not lines:
        with open(kept, "w", encoding="utf-8"):
            pass
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("files", nargs="*")
    arguments = parser.parse_intermixed_args()
    program = find_program()
    if program is None:
        print("SKIPPED: clang-tidy 14 is not installed")
        return 77
    os.makedirs(os.path.join(arguments.build, "tidy"), exist_ok=True)
    work, common = entries(arguments.build, arguments.files), common_hash()
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        results = pool.map(lambda item: tidy(program, arguments.build, *item, common), sorted(work.items()))
        problems = sorted({line for lines in results for line in lines})
    return source_tree.report("tidy", [line.replace(source_tree.ROOT + "/", "") for line in problems], len(work))


if __name__ == "__main__":
    sys.exit(main())
