#!/usr/bin/env python3
"""clang-format over all our sources, with the one version whose output the repository has (14, as in
Debian 12). --fix rewrites the files. Exit status 77: that version is not installed."""

import shutil
import subprocess
import sys

import source_tree

VERSION = "14"


def find_program():
    for name in (f"clang-format-{VERSION}", "clang-format"):
        path = shutil.which(name)
        if path and f" version {VERSION}." in subprocess.run([path, "--version"], capture_output=True,
                                                             text=True, check=False).stdout:
            return path
    return None


def main():
    program = find_program()
    if program is None:
        print(f"SKIPPED: clang-format {VERSION} is not installed")
        return 77
    paths = source_tree.files()
    if sys.argv[1:] == ["--fix"]:
        return subprocess.call([program, "-i", *paths], cwd=source_tree.ROOT)
    found = subprocess.run([program, "--dry-run", "-Werror", "--ferror-limit=1", *paths], capture_output=True,
                           text=True, check=False, cwd=source_tree.ROOT)
    problems = [line for line in found.stderr.splitlines() if " error: " in line]
    if problems:
        print("`make format` repairs this:")
    return source_tree.report("format", problems, len(paths)) or found.returncode


if __name__ == "__main__":
    sys.exit(main())
