#!/usr/bin/env python3
"""Writes tests/fixtures/text/golden.jsonl: strings, their clean form and their ids in three ways.

    python3 tools/text/make_golden.py tests/fixtures/text HF_NFKC_FOLDER HF_FOLD_FOLDER

`nfkc` are the Hugging Face T5 tokenizer's ids of the first folder, `fold` of the second (only where
no character is unknown: there the two libraries differ by design), both without the few strings with
stray combining marks that the tokenizers library normalizes differently; `umt5` SentencePiece's own ids
of the real model (only where no special token is spelled out). Needs ftfy 6.3.1, transformers
5.23.0, sentencepiece.
"""

import html
import json
import os
import re
import sys

import ftfy
import sentencepiece
from transformers import AutoTokenizer

import prompts

TEXT_LEN = 48
SHAPES = ["A small red circle moves right on a black background.", "A LARGE Blue Star", "一个红色的小圆形在黑色背景上向右移动。",
          "a Ｇreen  ring — spins", "A yellow triangle bouncing on a white background", ""]


def clean_of(text):
    text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    return re.sub(r"\s+", " ", text).strip()


def cut(ids):
    return ids if len(ids) <= TEXT_LEN else ids[:TEXT_LEN - 1] + ids[-1:]


def main():
    folder, nfkc_folder, fold_folder = sys.argv[1:]
    nfkc, fold = (AutoTokenizer.from_pretrained(x) for x in (nfkc_folder, fold_folder))
    umt5 = sentencepiece.SentencePieceProcessor(model_file=os.path.join(folder, "umt5", "spiece.model"))
    small = sentencepiece.SentencePieceProcessor(model_file=os.path.join(nfkc_folder, "spiece.model"))
    fixed = len(prompts.SENTENCES)
    texts = prompts.strings(12000, 5)
    chosen = texts[:fixed] + texts[fixed:6000:37] + texts[6000:6700] + SHAPES
    with open(os.path.join(folder, "golden.jsonl"), "w", encoding="utf-8") as out:
        for text in chosen:
            text = text.encode("utf-8", "replace").decode()
            row = {"text": text, "clean": clean_of(text)}
            special = re.search(r"</?(s|pad|unk|extra_id_\d+)>", row["clean"])
            ids = nfkc(row["clean"], max_length=TEXT_LEN, truncation=True).input_ids
            if special or ids == cut(small.encode(row["clean"]) + [1]):
                row["nfkc"] = ids
            if not special:
                row["umt5"] = cut(umt5.encode(row["clean"]) + [1])
            ids = fold(row["clean"], max_length=TEXT_LEN, truncation=True).input_ids
            if 2 not in ids:
                row["fold"] = ids
            out.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")


main()
