"""Runs commands with time limits, keeps their output and one row of result for each."""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time


class Runner:
    """Rows and logs of each part lie in <build>/gpu_check, so that parts can be run one by one, and are copied to `out`."""

    def __init__(self, build: pathlib.Path, out: pathlib.Path, dry: bool, deadline: float):
        self.build, self.out, self.dry, self.deadline = build, out, dry, deadline
        self.state = build / "gpu_check"
        self.state.mkdir(parents=True, exist_ok=True)
        out.mkdir(parents=True, exist_ok=True)
        self.name, self.part_deadline, self.rows = "", deadline, []

    @property
    def device(self) -> str:
        return "cpu" if self.dry else "cuda"

    @contextlib.contextmanager
    def part(self, name: str, seconds: float):
        self.name, self.rows = name, []
        begin = time.monotonic()
        self.part_deadline = min(self.deadline, begin + seconds)
        for suffix in ("log", "jsonl"):
            (self.state / f"{name}.{suffix}").unlink(missing_ok=True)
        print(f"gpu_check: {name}", flush=True)
        yield
        self.row("all", "failed" if self.part_failed() else "passed", seconds=round(time.monotonic() - begin, 1))
        log = self.state / f"{name}.log"
        if log.exists():
            shutil.copy(log, self.out / f"{name}.log")

    def part_failed(self) -> bool:
        return any(row["status"] in ("failed", "timeout") for row in self.rows)

    def row(self, name: str, status: str, **fields) -> None:
        row = {"part": self.name, "name": name, "status": status, **fields}
        self.rows.append(row)
        with (self.state / f"{self.name}.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        note = str(fields.get("note", "")).strip().replace("\n", " ")[:200]
        print(f"  {status:8} {name} {fields.get('seconds', '')} {note}".rstrip(), flush=True)

    def run(self, name: str, command: list, seconds: float = 600, env: dict | None = None, rows: bool = False, quiet: bool = False):
        """Returns (exit code, output); None for a command that was stopped. rows: each line of JSON on stdout becomes
        a row of its own. Adds a row for the command unless quiet."""
        left = self.part_deadline - time.monotonic()
        if left < 3:
            self.row(name, "skipped", note="no time left")
            return None, ""
        begin = time.monotonic()
        with subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                              env={**os.environ, **(env or {})}, start_new_session=True) as process:
            try:
                output, _ = process.communicate(timeout=min(seconds, left))
                code = process.returncode
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                output, _ = process.communicate()
                code = None
        took = round(time.monotonic() - begin, 1)
        with (self.state / f"{self.name}.log").open("a") as file:
            file.write(f"$ {' '.join(str(c) for c in command)}\n{output}\n[exit {code}, {took} s]\n\n")
        if rows:
            for line in output.splitlines():
                if line.startswith("{"):
                    with contextlib.suppress(ValueError):
                        self.measured(json.loads(line), name)
        if not quiet:
            status = "timeout" if code is None else "passed" if code == 0 else "failed"
            self.row(name, status, seconds=took, note="" if code == 0 else "\n".join(output.splitlines()[-5:]))
        return code, output

    def measured(self, row: dict, program: str) -> None:
        """A row of figures as a program printed it."""
        name = row.pop("name", program)
        self.row(name, "not run" if "error" in row else "measured", program=program, figures=row, note=row.get("error", ""))
