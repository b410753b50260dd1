#!/usr/bin/env python3
"""Completion scripts and the man page, by the shells and the linter that read them (those that are
here; bash always).  test_completion.py --bin PROGRAM"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile

failures = []


def run(command, **more):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **more)


def check(name, condition, detail=""):
    print(("ok   " if condition else "FAIL ") + name)
    if not condition:
        failures.append(name)
        print(f"     {str(detail)[:2000]}")


def bash_words(script, words):
    quoted = " ".join(f"'{word}'" for word in words)
    program = (f"source {script}; COMP_WORDS=({quoted}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _t2v; "
               "printf '%s\\n' \"${COMPREPLY[@]}\"")
    done = run(["bash", "--norc", "-c", program], cwd=os.path.dirname(script))
    return done.stderr or done.stdout.split()


def check_bash(script, commands):
    check("bash reads it", run(["bash", "-n", script]).returncode == 0)
    check("bash: all commands", set(commands) <= set(bash_words(script, ["t2v", ""])))
    check("bash: one command", bash_words(script, ["t2v", "gen"]) == ["generate"], bash_words(script, ["t2v", "gen"]))
    flags = bash_words(script, ["t2v", "generate", "--guidance"])
    check("bash: flags of the command",
          flags == ["--guidance-scale", "--guidance-scale-high", "--guidance-scale-low"], flags)
    check("bash: no flags of others", bash_words(script, ["t2v", "verify", "--prom"]) == [])
    check("bash: presets", "draft" in bash_words(script, ["t2v", "generate", "--preset", "dr"]))
    file = bash_words(script, ["t2v", "inspect", "t2v.ba"])
    check("bash: files", file == ["t2v.bash"], file)


def check_zsh(script):
    if not shutil.which("zsh"):
        return print("skip zsh is not here")
    done = run(["zsh", "-n", script])
    check("zsh reads it", done.returncode == 0 and not done.stderr, done.stderr)
    done = run(["zsh", "-f", "-c", f"autoload -U compinit; compinit -D -u; source {script}; print $_comps[t2v]"])
    check("zsh: the function is registered", done.stdout.strip() == "_t2v", done.stdout + done.stderr)


def check_fish(script):
    if not shutil.which("fish"):
        return print("skip fish is not here")
    done = run(["fish", "--no-execute", script])
    check("fish reads it", done.returncode == 0 and not done.stderr, done.stderr)
    home = {**os.environ, "HOME": os.path.dirname(script)}
    done = run(["fish", "-N", "-c", f"source {script}; complete -C 't2v generate --prese'"], env=home)
    check("fish: flags", done.stdout.startswith("--preset\t"), done.stdout + done.stderr)
    return None


def check_man(page, text, flags):
    for flag in flags:
        check(f"man has {flag}", "\\-\\-" + flag.replace("-", "\\-") + "\\fR" in text)
    if shutil.which("mandoc"):
        done = run(["mandoc", "-Tlint", "-Wwarning", page])
        check("mandoc finds nothing", done.returncode == 0 and not done.stdout, done.stdout)
        shown = run(["mandoc", "-Tascii", page]).stdout
        check("mandoc shows the sections", "EXIT STATUS" in shown.replace("\b", "") or "E\bEX" in shown, shown[:300])
    else:
        print("skip mandoc is not here")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    program = parser.parse_args().bin
    with tempfile.TemporaryDirectory() as folder:
        texts, paths = {}, {}
        for shell in ("bash", "zsh", "fish", "man"):
            done = run([program, "completion", shell])
            check(f"{shell} is printed", done.returncode == 0 and done.stdout and not done.stderr, done.stderr)
            texts[shell], paths[shell] = done.stdout, os.path.join(folder, f"t2v.{shell}")
            with open(paths[shell], "w", encoding="utf-8") as file:
                file.write(done.stdout)
        check_bash(paths["bash"], ("generate", "decode", "completion"))
        check_zsh(paths["zsh"])
        check_fish(paths["fish"])
        check_man(paths["man"], texts["man"], ("prompt", "block-list", "c2pa-cert", "step-cache"))
    for arguments, words in ((["completion", "csh"], "try bash, zsh, fish or man"), (["completion"], "missing"),
                             (["completion", "bash", "zsh"], "unexpected")):
        done = run([program, *arguments])
        check(f"{arguments} is refused", done.returncode == 2 and words in done.stderr, done.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
