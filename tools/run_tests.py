#!/usr/bin/env python3
"""Runs the tests of a build folder and counts them: a Catch2 case is one test, any other ctest entry
is one test. The last line is the count; the exit status is 1 when anything failed."""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

ALL_PASSED = re.compile(r"All tests passed \(.* in (\d+) test cases?\)")
SOME_FAILED = re.compile(r"^test cases:\s*(\d+)(.*)$", re.MULTILINE)
SKIPPED = re.compile(r"^SKIPPED: ", re.MULTILINE)


def count_entry(entry):
    """(passed, failed, skipped) of one ctest entry, from its status and its output."""
    output = entry.findtext("system-out") or ""
    status = entry.get("status")
    if status in ("notrun", "disabled"):
        return 0, 0, 1
    skipped = len(SKIPPED.findall(output))
    cases = sum(int(number) for number in ALL_PASSED.findall(output))
    failed = 0
    for total, rest in SOME_FAILED.findall(output):
        cases += int(total)
        failed += sum(int(number) for number in re.findall(r"(\d+) failed", rest))
    if status == "fail":
        failed = max(failed, 1)
    cases = max(cases, failed, 1)
    skipped = min(skipped, cases - failed)
    return cases - failed - skipped, failed, skipped


def run_ctest(arguments, report):
    command = ["ctest", "--test-dir", arguments.build, "--output-on-failure", "--output-junit", report,
               "--test-output-size-passed", "10000000", "--test-output-size-failed", "10000000",
               "-j", str(arguments.jobs)]
    if arguments.exclude:
        command += ["--label-exclude", arguments.exclude]
    if arguments.label:
        command += ["--label-regex", arguments.label]
    if arguments.name:
        command += ["--tests-regex", arguments.name]
    return subprocess.call(command)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", help="the build folder")
    parser.add_argument("--label", default="", help="only tests with a label that matches")
    parser.add_argument("--exclude", default="slow|tidy", help="no tests with a label that matches")
    parser.add_argument("--name", default="", help="only tests with a name that matches")
    parser.add_argument("--jobs", type=int, default=max(1, len(os.sched_getaffinity(0))))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = os.path.join(folder, "junit.xml")
        status = run_ctest(arguments, report)
        if not os.path.exists(report):
            print("0 tests passed, 1 failed, 0 skipped (ctest did not run)")
            return 1
        entries = ElementTree.parse(report).getroot().iter("testcase")
        counts = [count_entry(entry) for entry in entries]
    passed, failed, skipped = (sum(column) for column in zip(*counts)) if counts else (0, 0, 0)
    print(f"{passed} tests passed, {failed} failed, {skipped} skipped")
    return 1 if status or failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
