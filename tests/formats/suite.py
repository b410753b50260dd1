"""A list of named cases, run one after the other: one failure does not hide the next."""

import re
import subprocess


class Failure(Exception):
    pass


def require(condition: bool, what: str) -> None:
    if not condition:
        raise Failure(what)


def run_cases(cases, pattern: str) -> tuple[int, int]:
    """cases: (name, function) pairs; those whose names match run. How many there were, and how many failed."""
    failed = count = 0
    for name, check in cases:
        if not re.search(pattern, name):
            continue
        count += 1
        try:
            check()
            print(f"ok {name}", flush=True)
        except (Failure, OSError, KeyError, subprocess.TimeoutExpired) as error:
            failed += 1
            print(f"FAILED {name}: {error}", flush=True)
    return count, failed
