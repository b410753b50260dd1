"""Trains the SentencePiece tokenizer on the grammar: unigram, single Chinese characters, byte fallback, lower-casing."""
import random
import re
from pathlib import Path

import sentencepiece

import domain
import grammar

DELIMITER = "||||"  # cut before and after every Chinese character
WIDE = r"[\u3000-\u9fff\uff00-\uffef]"
CUT = re.compile(rf"(?<={WIDE})(?=.)|(?<=.)(?={WIDE})")
EXTRA_WORDS = """a an the of on in at with and or to from that which is are be video animation clip showing shows scene
screen background object shape thing color colour slowly quickly smoothly fast across around over under above below
left right up down upward downward leftward rightward top bottom center middle corner please make generate create draw
moving move moves rotate spin bounce grow shrink stays still pink brown gold silver bright light dark 请 生成 一个 视频
画 移动 的 在 上 下 左 右 背景 颜色 物体 慢慢 快速 中间 屏幕 粉色 棕色 明亮 动画 显示""".split()


def train_tokenizer(settings: dict, seed: int, work: Path) -> Path:
    """Writes WORK/spiece.model. Ids: pad 0, eos 1, unk 2, no bos."""
    rng = random.Random(seed)
    lines = [grammar.prompt(rng, a)[0] for a in domain.sample(rng, settings["lines"])]
    lines += EXTRA_WORDS * 20
    corpus = work / "corpus.txt"
    corpus.write_text("\n".join(CUT.sub(DELIMITER, line) for line in lines))
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(work / "spiece"), vocab_size=settings["vocab_size"],
        hard_vocab_limit=False, model_type="unigram", pretokenization_delimiter=DELIMITER, byte_fallback=True,
        character_coverage=1.0, normalization_rule_name="nmt_nfkc_cf", pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
        pad_piece="<pad>", eos_piece="</s>", unk_piece="<unk>", num_threads=1, minloglevel=1)
    return work / "spiece.model"


def load_tokenizer(path: Path) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=str(path))
