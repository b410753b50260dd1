"""The project's own source files, for the check_*.py tools."""

import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDERS = ("include", "kernels", "src", "tests", "tools")
CODE = (".h", ".cpp", ".cu", ".cuh")
NOT_OURS = {"fixtures", "__pycache__"}


def files(suffixes=CODE, folders=FOLDERS):
    """Paths relative to the root, sorted."""
    found = []
    for folder in folders:
        for parent, children, names in os.walk(os.path.join(ROOT, folder)):
            children[:] = [c for c in children if c not in NOT_OURS and not c.startswith(".")]
            found += [os.path.relpath(os.path.join(parent, n), ROOT) for n in names if n.endswith(suffixes)]
    return sorted(found)


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


_NOISE = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"([^(\s]{0,16})\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|'
    r"(?<![0-9A-Za-z_])'(?:\\.|[^'\\\n])+'",
    re.DOTALL)


def without_comments_and_strings(text):
    """The same text with comments and literals blanked: lines and columns stay."""
    return _NOISE.sub(lambda found: re.sub(r"[^\n]", " ", found.group()), text)


def without_preprocessor(text):
    """The same text with directives (and their continued lines) blanked."""
    blank = lambda found: re.sub(r"[^\n]", " ", found.group())
    return re.sub(r"^[ \t]*#(?:[^\n\\]|\\\n|\\[^\n])*", blank, text, flags=re.MULTILINE)


def report(name, problems, checked):
    """Prints the problems and returns the exit status."""
    for problem in problems:
        print(problem)
    print(f"{name}: {checked} files, {len(problems)} problems")
    return 1 if problems else 0
