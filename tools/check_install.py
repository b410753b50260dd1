#!/usr/bin/env python3
"""Installs a build into a fresh folder, moves that folder, and runs the program from there with an
empty environment.  check_install.py BUILD [CMAKE]"""

import os
import shutil
import subprocess
import sys
import tempfile


def run(command, folder):
    print("$", " ".join(command), flush=True)
    done = subprocess.run(command, cwd=folder, env={}, capture_output=True, text=True, check=False, timeout=240)
    if done.returncode:
        sys.exit(f"exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def loaded_from_outside(library, prefix, forbidden):
    """Libraries of the build or of the LibTorch it was built with that the installed tree still uses."""
    listing = run(["/usr/bin/ldd", library], prefix).stdout
    return [line.strip() for line in listing.splitlines()
            if "not found" in line or any(f" {folder}/" in line for folder in forbidden)]


def main():
    build = os.path.abspath(sys.argv[1])
    cmake = sys.argv[2] if len(sys.argv) > 2 else "cmake"
    source = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    with tempfile.TemporaryDirectory(dir=build) as folder:
        first, moved = os.path.join(folder, "first"), os.path.join(folder, "moved here")
        subprocess.run([cmake, "--install", build, "--prefix", first], check=True, stdout=subprocess.DEVNULL)
        shutil.move(first, moved)
        parts = ["libt2v_core.so", "libt2v_engine.so", "libt2v_media.so", "libt2v_http.so"]
        parts += ["libt2v_s3.so"] if os.path.exists(os.path.join(build, "libt2v_s3.so")) else []
        for library in parts:
            outside = loaded_from_outside(os.path.join(moved, "lib/t2v", library), moved,
                                          [build + "/cmake", first, os.path.join(source, ".deps")])
            if outside:
                sys.exit(f"{library} is not self-contained: {outside}")
        program = os.path.join(moved, "bin/t2v")
        print(run([program, "--version"], moved).stdout.strip())
        run([program, "generate", "--prompt", "a small red circle moves right on a black background",
             "--size", "64x64", "--frames", "5", "--steps", "2", "--seed", "1", "-o", "frames.png"], moved)
        if not os.path.isdir(os.path.join(moved, "frames.png")) and not os.listdir(moved):
            sys.exit("no frames were written")
        print(sorted(os.listdir(moved)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
