#!/usr/bin/env python3
"""Hostile prompt files, block lists and configs; names that try to climb out of the output folder.

    python3 test_prompt_files.py --bin build/.../fake/t2v [--runs 60]

Besides handcrafted files (large ones, bytes that are no text, names), `--runs` random mutations of good ones. A file is
taken or refused with exit 2 or 4 and one clean line within seconds, before any work; nothing is written outside the folder.
"""
import json
import os
import random
import re
import sys

from runs import FAILED, INPUT, OK, OUTPUT, USAGE, Judge, end_problems, listing, parser_of, program_of, result_lines, run, scratch_folder

HOSTILE_PROMPTS = ["../../x", "/etc/passwd", "..", ".", "...", "~/x", "a/b/c", "x" * 5000, "\u202egpm.exe", "a\tb", "CON", "-rf", "$(touch x)",
                   "`touch x`", "; rm -rf .", "%s%n%x", "{seed}/{slug}", "{index}/../..", "\u2028\u2029", "\U0001F600" * 300, "\u0000"[:0] + "\u0085", "'\"\\"]
HOSTILE_OUTPUTS = ["../x.mp4", "/etc/x.mp4", "a/../../x.mp4", "..", ".", "./..", "../out/x.mp4", "a/", "x\u0007.mp4", "x\n.mp4", "{slug}/../../x.mp4",
                   "//x.mp4", "link/x.mp4", "linkfile/../../x.mp4", "\u001b[2J.mp4", "a\u0000.mp4"]
SEEDS = {
    "a.txt": "\ufeff# list\r\nfirst prompt\r\n\r\n  second prompt\n{slug}\n".encode(),
    "a.jsonl": b'{"prompt": "a", "seed": 5, "output": "x.mp4"}\n\n{"prompt": "b", "size": "32x32", "negative_prompt": "", "steps": 3}\n',
    "a.csv": b'prompt,seed,output,steps\r\n"two\r\nlines, ""q""",5,x.mp4,2\r\nplain,,,\r\n',
    "list.txt": "\ufeff# words\r\ngun\r\n/na+ked/\n\u043e\u0440\u0443\u0436\u0438\u0435\n".encode(),
    "a.cfg": b'# comment\nsteps = 7\nsize = "32x32"  # small\nprompt = "from \\"config\\""\nseed = 9\nno_metadata = true\n',
}


class Files:
    def __init__(self, program, scratch, judge):
        self.program, self.scratch, self.judge, self.count = program, scratch, judge, 0

    def folder(self):
        self.count += 1
        path = self.scratch / f"case{self.count}"
        (path / "inside").mkdir(parents=True)
        return path

    def run(self, name, content, *more, patience=20):
        """Runs `generate` with this file; (folder, result)."""
        folder = self.folder() / "inside"
        path = name
        if content is not None:
            (folder / name).write_bytes(content)
        source = ["--prompts", path]
        if name == "list.txt":
            source = ["-p", "a red circle", "--block-list", path]
        elif name.endswith(".cfg"):
            source = ["--config", path, *([] if b"prompt" in (content or b"") else ["-p", "a red circle"])]
        return folder, run([self.program, "generate", *source, "-o", "out/", "--progress", "none", *more], folder, patience=patience)

    def judged(self, name, folder, result, codes, words=()):
        problems = end_problems(result)
        if codes and result.code not in codes:
            problems.append(f"exit {result.code}, expected {codes}")
        if result.code in (USAGE, INPUT, OUTPUT) and len(result.errors()) != 1:
            problems.append(f"{len(result.errors())} error lines")
        if len(result.err) > 20_000 and result.code != OK:
            problems.append(f"{len(result.err)} bytes of messages")
        if re.search(r"[\x00-\x09\x0b-\x1f\x7f]", result.err):
            problems.append("control bytes in the message")
        problems += [f"not told: {word}" for word in words if word not in result.err]
        outside = listing(folder.parent) - {"inside/" + name for name in listing(folder)}
        if outside:
            problems.append(f"written outside: {outside}")
        made = {x for x in listing(folder) if x.startswith("out/") and not (folder / x).is_symlink()}
        if result.code in (USAGE, INPUT) and made:
            problems.append(f"refused, and there are {sorted(made)[:5]}")
        self.judge.case(name, problems, result.told()[:900])

    def refused(self, name, file, content, *words, codes=(INPUT,)):
        self.judged(name, *self.run(file, content), codes, words)

    def taken(self, name, file, content, *more):
        self.judged(name, *self.run(file, content, "--dry-run", *more), (OK,))


def large_files(files):
    lines = "".join(f"prompt number {i}\n" for i in range(100_000)).encode()
    folder, result = files.run("a.txt", lines, "--shard", "99999/100000", "--seed", "1", patience=60)
    done = result_lines(folder / "out/results-99999-of-100000.jsonl")
    files.judged("100,000 lines, the last one is made", folder, result, (OK,))
    files.judge.check("it is the last line", [x["prompt"] for x in done] == ["prompt number 99999"], str(done)[:300])
    files.taken("10 MB of long prompts", "a.txt", b"\n".join([b"%d" % i + b"x" * 999_000 for i in range(10)]), "-q")
    files.taken("10 MB of JSON", "a.jsonl", b"".join(b'{"prompt": "%d%s"}\n' % (i, b"y" * 99_000) for i in range(100)), "-q")
    files.taken("10 MB of CSV", "a.csv", b"prompt,seed\n" + b"".join(b'"%d\n%s",%d\n' % (i, b"z" * 99_000, i) for i in range(100)), "-q")
    files.refused("a line of 2 MB", "a.txt", b"x" * 2_000_000, "too long", "line 1")
    files.refused("70 MB", "a.txt", b"some words\n" * 6_400_000, "too long")
    files.refused("endless zeros", "/dev/zero", None, codes=(INPUT, USAGE))
    files.refused("a folder", "/", None, codes=(INPUT, USAGE))
    files.refused("100,000 bad lines", "a.jsonl", b'{"prompt": 1, "stpes": 2}\n' * 100_000, "line 1", "more")
    files.refused("100,000 bad values", "a.jsonl", b'{"prompt": "a", "steps": "many"}\n' * 100_000, "line 1", "more", codes=(INPUT, USAGE))
    files.refused("100,000 fields", "a.csv", b"prompt" + b",x" * 100_000, "line 1")
    files.refused("the same name 50,000 times", "a.jsonl", b'{"prompt": "a", "output": "x.mp4"}\n' * 50_000, "x.mp4", codes=(USAGE, INPUT))
    files.refused("a JSON key of 1 MB", "a.jsonl", b'{"prompt": "a", "' + b"k" * 1_000_000 + b'": 1}', "line 1")
    files.refused("a number of 1 MB", "a.jsonl", b'{"prompt": "a", "seed": ' + b"9" * 1_000_000 + b"}", "line 1")


def other_lists(files):
    """--block-list and --config."""
    files.taken("a block list of 100,000 words", "list.txt", "".join(f"word{i}\n" for i in range(100_000)).encode())
    files.taken("a block list of one word of 900 kB", "list.txt", b"w" * 900_000)
    files.refused("a block list with NUL", "list.txt", b"gun\nbl\0ue\n", "NUL")
    files.refused("a block list of bytes", "list.txt", b"gun\n\xff\xfe\xfd\n", "UTF-8")
    files.refused("a block list in UTF-16", "list.txt", "gun".encode("utf-16"), "UTF-16")
    files.refused("a bad expression", "list.txt", b"/(/\n", "line 1")
    files.taken("an expression that others take for ever for", "list.txt", b"/(a+)+$/\n/(a|a)*b/\n")
    files.refused("a block list without end", "/dev/zero", None, codes=(INPUT, USAGE))
    files.taken("a config with BOM and CRLF", "a.cfg", "\ufeffsteps = 3\r\nprompt = \"red\"\r\n".encode())
    for name, content in {"NUL": b"steps = 3\nse\0ed = 1\n", "bytes": b"steps = \xff\n", "UTF-16": "steps = 3".encode("utf-16"), "a line of 2 MB": b"prompt = " + b"x" * 2_000_000,
                          "an open quote": b'prompt = "red\n', "no value": b"steps\n", "a value twice": b"steps = 3\nsteps = x\n", "itself": b"config = a.cfg\n",
                          "100,000 bad lines": b"stpes = 3\n" * 100_000, "a wrong number": b"seed = 1e400\n", "another command's flag": b"write_manifest = true\n"}.items():
        files.refused(f"a config with {name}", "a.cfg", content, codes=(INPUT, USAGE))


def names(files):
    for prompt in HOSTILE_PROMPTS:
        for pattern in ("out/", "out/{slug}.mp4", "out/{index}-{slug}-{seed}.mp4"):
            folder = files.folder() / "inside"
            (folder / "out").mkdir()
            (folder / "a.jsonl").write_text(json.dumps({"prompt": prompt, "seed": 1}) + "\n")
            result = run([files.program, "generate", "--prompts", "a.jsonl", "-o", pattern, "--progress", "none"], folder)
            # What became of -o out/... lies right in out/.
            deep = [x for x in listing(folder) if x.startswith("out/") and x.count("/") > 1]
            files.judged(f"prompt {prompt[:30]!r} to {pattern}", folder, result, (OK, INPUT))
            files.judge.check("no folders of its own", not deep and (result.code != OK or len(listing(folder)) == 2), str(listing(folder)))
    for name in HOSTILE_OUTPUTS:
        for format_of in ("jsonl", "csv"):
            folder = files.folder() / "inside"
            (folder / "out").mkdir()
            os.symlink("/tmp", folder / "out/link")
            os.symlink("../../x", folder / "out/linkfile")
            quoted = name.replace('"', '""')
            text = json.dumps({"prompt": "a", "output": name}) if format_of == "jsonl" else f'prompt,output\na,"{quoted}"\n'
            (folder / f"a.{format_of}").write_bytes(text.encode())
            result = run([files.program, "generate", "--prompts", f"a.{format_of}", "-o", "out", "--progress", "none"], folder)
            files.judged(f"output {name!r} in {format_of}", folder, result, (INPUT, USAGE), ("line 1",) if format_of == "jsonl" and "\0" not in name else ())
            files.judge.check("nothing at the end of the link", not os.path.lexists("/tmp/x.mp4") and not os.path.lexists("/etc/x.mp4"))


def mutated(data, draw):
    data = bytearray(data)
    for _ in range(draw.randint(1, 6)):
        at = draw.randrange(len(data) + 1)
        kind = draw.randrange(5)
        if kind == 0 and at < len(data):
            data[at] = draw.randrange(256)
        elif kind == 1:
            data[at:at] = draw.choice([b"\0", b"\xff", b'"', b"\r", b"\n", b",", b"{", b"}", b"\\u0000", b"\xed\xa0\x80", b"../", b"[" * 2000, b"9" * 400, b"=", b"#", b"/"])
        elif kind == 2:
            del data[at:at + draw.randint(1, 8)]
        elif kind == 3:
            data += data[at:]
        else:
            other = draw.randrange(len(data) + 1)
            data[at:at] = data[min(at, other):max(at, other)]
    return bytes(data)


def mutations(files, runs, draw):
    codes = {}
    for number in range(runs):
        file = draw.choice(sorted(SEEDS))
        content = mutated(SEEDS[file], draw)
        folder, result = files.run(file, content, *draw.choice([["--dry-run"], []]))
        codes[result.code] = codes.get(result.code, 0) + 1
        files.judged(f"mutation {number} of {file}: {content[:80]!r}", folder, result, (OK, USAGE, INPUT, FAILED, OUTPUT))
    print(f"mutations: exit codes {codes}")


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--runs", type=int, default=60)
    arguments = parser.parse_args()
    judge = Judge("prompt files")
    with scratch_folder("files") as scratch:
        files = Files(program_of(arguments), scratch, judge)
        large_files(files)
        other_lists(files)
        names(files)
        mutations(files, arguments.runs, random.Random(arguments.seed))
    return judge.end()


if __name__ == "__main__":
    sys.exit(main())
