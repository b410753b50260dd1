#!/usr/bin/env python3
"""Writes the handcrafted broken models, one folder each, beside an index of what is wrong with them.

broken_models.py --base models/shapes --out DIR [--list]
"""

import argparse
import pathlib
import re
import sys

import broken_configs
import broken_containers
import broken_folders
import broken_weights
from model_copy import TEXT_ENCODER, Case, ModelCopy


def whole_cases() -> list[Case]:
    """Unusual but right: these must work, or the others prove nothing."""
    rename = lambda parts: [parts.update({"module." + name: parts.pop(name)}) for name in list(parts)]
    return [
        Case("whole", lambda model: None),
        Case("whole: more files than needed", lambda model: model.write("README.md", b"hello")),
        Case("whole: in shards", lambda model: model.split_into_shards(TEXT_ENCODER)),
        Case("whole: with a prefix", lambda model: model.rebuild_tensors(TEXT_ENCODER, rename)),
        Case("whole: without its own defaults", lambda model: model.remove("t2v.json")),
        *broken_containers.whole_cases(),
    ]


FAMILIES = {
    "whole": whole_cases,
    "configs": broken_configs.cases,
    "folders": broken_folders.cases,
    "weights": broken_weights.cases,
    "containers": broken_containers.cases,
}


def cases_of(families: list[str]) -> list[Case]:
    return [case for family in families for case in FAMILIES[family]()]


def folder_name(number: int, case: Case) -> str:
    return f"case{number:03d}-" + re.sub(r"[^A-Za-z0-9]+", "-", case.name).strip("-")[:60]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=pathlib.Path, required=True, help="a whole model folder, left as it is")
    parser.add_argument("--out", type=pathlib.Path, help="a new folder")
    parser.add_argument("--list", action="store_true", help="print the names of the cases only")
    arguments = parser.parse_args()
    cases = cases_of([family for family in FAMILIES if family != "whole"])
    for number, case in enumerate(cases):
        print(folder_name(number, case), "|", case.name, "|", ", ".join(case.mentions))
        if not arguments.list:
            case.build(ModelCopy(arguments.base, arguments.out / folder_name(number, case)))
    print(len(cases), "broken models")
    return 0


if __name__ == "__main__":
    sys.exit(main())
