"""Runs under strace: which system calls a run makes, and runs in which the k-th of them fails or kills.

strace counts calls by thread: 'the third write' is the third of every thread that gets so far.
"""
import os
import re
import shutil
import subprocess

LINE = re.compile(r"^(\d+) +(\w+)\((.*)")
LIBRARY = re.compile(r'"[^"]*(\.so[.\d]*|ld\.so\.cache)"')


class Calls:
    """What the threads of an undisturbed run have called: of_thread[(thread, call)] = their arguments in order."""

    def __init__(self, path):
        self.of_thread = {}
        with open(path, errors="replace") as file:
            for line in file:
                found = LINE.match(line)
                if found:
                    thread, call, text = found.groups()
                    self.of_thread.setdefault((thread, call), []).append(text)

    def most(self, call):
        """Of one thread."""
        return max((len(texts) for (_, name), texts in self.of_thread.items() if name == call), default=0)

    def places(self, call):
        """Every k worth trying; of libraries that the system loads, the first and the last two."""
        texts = max((texts for (_, name), texts in self.of_thread.items() if name == call), key=len, default=[])
        opened = max((texts for (_, name), texts in self.of_thread.items() if name == "openat"), key=len, default=[])
        loaded = [k for k, text in enumerate(opened, 1) if LIBRARY.search(text)]
        if call == "close":
            return list(range(len(loaded), self.most(call) + 1))
        if call != "openat":
            return list(range(1, self.most(call) + 1))
        few = set(loaded[:1] + loaded[-2:])
        return [k for k, text in enumerate(texts, 1) if k in few or not LIBRARY.search(text)]


def usable():
    """strace is there and may trace."""
    if not shutil.which("strace"):
        return False
    tried = subprocess.run(["strace", "-f", "-o", os.devnull, "true"], capture_output=True)
    return tried.returncode == 0


def recorded(calls, file, command):
    return ["strace", "-f", "--seccomp-bpf", "-o", str(file), "-e", "trace=" + ",".join(calls), *command]


def injected(call, fault, k, command, file=os.devnull):
    """fault: error=EIO, signal=KILL, ... (signals are lost with --seccomp-bpf)"""
    filtered = [] if fault.startswith("signal") else ["--seccomp-bpf"]
    return ["strace", "-f", *filtered, "-o", str(file), "-e", "trace=" + call, "-e", f"inject={call}:{fault}:when={k}", *command]


def hits(file):
    """The calls of an injected run that failed by injection."""
    with open(file, errors="replace") as lines:
        return [line for line in lines if "(INJECTED)" in line]
