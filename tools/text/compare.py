#!/usr/bin/env python3
"""Compares text_probe with ftfy + diffusers' cleaning and, for --hf, with a Hugging Face tokenizer.

    python3 tools/text/compare.py PROBE MODEL [--hf FOLDER] [--count N] [--seed N]

Needs ftfy 6.3.1, sentencepiece, transformers (--hf). Prints the differences; exit 1 if there are any.
"""

import argparse
import html
import re
import subprocess
import sys

import ftfy

import prompts


def reference_clean(text):
    text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    return re.sub(r"\s+", " ", text).strip()


def probe(args, lines, *more):
    data = "\n".join(x.encode("utf-8", "replace").hex() for x in lines) + "\n"
    done = subprocess.run([args.probe, args.model, "64", *more], input=data, capture_output=True, text=True, check=True)
    rows = [x.split() for x in done.stdout.splitlines()]
    return [(bytes.fromhex(r[0][1:]).decode(), [int(i) for i in r[1:]]) for r in rows]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("probe")
    parser.add_argument("model")
    parser.add_argument("--hf")
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    texts = [x.encode("utf-8", "replace").decode() for x in prompts.strings(args.count, args.seed)]
    ours = probe(args, texts)
    expected = [reference_clean(x) for x in texts]
    bad = [(t, e, o[0]) for t, e, o in zip(texts, expected, ours) if e != o[0]]
    print(f"clean: {len(texts)} strings, {len(bad)} differ")
    for t, e, o in bad[:12]:
        print(f"  {t!r}\n    want {e!r}\n    got  {o!r}")
    ids_bad = []
    if args.hf:
        from transformers import AutoTokenizer
        tokenizer = AutoTokenizer.from_pretrained(args.hf)
        got = probe(args, expected, "clean")
        want = [tokenizer(x, max_length=64, truncation=True).input_ids for x in expected]
        ids_bad = [(e, w, g[1]) for e, w, g in zip(expected, want, got) if w != g[1]]
        print(f"ids: {len(texts)} strings, {len(ids_bad)} differ")
        for e, w, g in ids_bad[:12]:
            print(f"  {e!r}\n    want {w}\n    got  {g}")
    sys.exit(bool(bad or ids_bad))


main()
