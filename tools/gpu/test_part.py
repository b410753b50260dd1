"""The GPU tests, plain and under compute-sanitizer."""
import json
import os
import shutil


def gpu_tests(runner) -> list:
    """[(name, command)] of every test with the label gpu."""
    _, output = runner.run("list tests", ["ctest", "--test-dir", runner.build, "-L", "gpu", "--show-only=json-v1"], 30, quiet=True)
    tests = json.loads(output[output.index("{"):])["tests"]
    return [(test["name"], test["command"]) for test in tests if test.get("command") and os.path.exists(test["command"][0])]


def status_of(code, output: str) -> str:
    if code is None:
        return "timeout"
    if code != 0:
        return "failed"
    return "skipped" if "SKIPPED: no CUDA device" in output else "passed"


def last_lines(output: str) -> str:
    return "\n".join(output.strip().splitlines()[-3:])


def choose_allocator(runner) -> None:
    """Growing segments of LibTorch's allocator, which t2v asks for, need driver functions that not every machine has: where
    a small program fails with them and runs without, all that follows does without."""
    if runner.dry or "PYTORCH_CUDA_ALLOC_CONF" in os.environ:
        return
    command = [runner.build / "tests/kernels_gpu_test", "the same input gives the same bits"]
    env = {"T2V_REQUIRE_GPU": "1", "T2V_TINY": "1"}
    code, output = runner.run("allocator", command, 60, env, quiet=True)
    if code in (0, None):
        return
    plain = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:False"}
    code, _ = runner.run("allocator, plain segments", command, 60, {**env, **plain}, quiet=True)
    if code == 0:
        os.environ.update(plain)
        runner.row("allocator", "note", note="expandable segments do not work here, switched off: " + last_lines(output))


def test(runner) -> None:
    choose_allocator(runner)
    env = {} if runner.dry else {"T2V_REQUIRE_GPU": "1"}
    found = gpu_tests(runner)
    for name, command in [("kernels_host_test", [runner.build / "tests/kernels_host_test"]), *found]:
        code, output = runner.run(name, command, 80, env, quiet=True)
        if output or code is not None:
            runner.row(name, status_of(code, output), note=last_lines(output))
    if not found:
        runner.row("gpu tests", "failed", note="no test with the label gpu was built")


# Tool and the seconds of each program under it.
TOOLS = ["memcheck", "racecheck", "initcheck", "synccheck"]


def sanitise(runner) -> None:
    if not runner.dry and not shutil.which("compute-sanitizer"):
        runner.row("compute-sanitizer", "skipped", note="not on this machine")
        return
    choose_allocator(runner)
    env = {"T2V_TINY": "1", **({} if runner.dry else {"T2V_REQUIRE_GPU": "1"})}
    for tool in TOOLS:
        for name, command in gpu_tests(runner):
            # racecheck and synccheck look at our kernels only: the libraries' have hazards by design.
            prefix = [] if runner.dry else ["compute-sanitizer", "--tool", tool, "--error-exitcode", "99", "--print-limit", "10"]
            only = ["--kernel-name", "kernel_substring=t2v"] if prefix and tool in ("racecheck", "synccheck") else []
            code, output = runner.run(f"{tool} {name}", [*prefix, *only, *command], 40, env, quiet=True)
            if only and code not in (0, 99, None) and "ERROR SUMMARY" not in output and "test cases" not in output:
                code, output = runner.run(f"{tool} {name}", [*prefix, *command], 40, env, quiet=True)
            if output or code is not None:
                runner.row(f"{tool} {name}", status_of(code, output), note=last_lines(output))
