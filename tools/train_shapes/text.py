"""Trains the UMT5 text encoder: every token must linearly predict all attributes, or that one is not said."""
import random
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import UMT5Config, UMT5EncoderModel

import domain
import grammar
from optim import Muon, schedule
from runtime import Log

ROWS = 32
EMPTY_SHARE = 0.05
ADAM_NAMES = ("shared", "embed_tokens", "relative")  # matrices that Muon does not suit


def make_text_encoder(spec: dict, vocab_size: int) -> UMT5EncoderModel:
    config = UMT5Config(**spec, vocab_size=vocab_size, is_encoder_decoder=False, use_cache=False, pad_token_id=0,
                        eos_token_id=1, decoder_start_token_id=0)
    encoder = UMT5EncoderModel(config)
    torch.nn.init.normal_(encoder.shared.weight)
    return encoder


def make_batch(rng: random.Random, tokenizer, count: int, held: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids [B, ROWS], mask [B, ROWS], and classes [B, 5] where the last class means 'not said'."""
    ids = torch.zeros(count, ROWS, dtype=torch.long)
    mask = torch.zeros(count, ROWS, dtype=torch.long)
    classes = torch.zeros(count, len(domain.ATTRIBUTES), dtype=torch.long)
    for row, attributes in enumerate(domain.sample(rng, count, held=held)):
        text, said = grammar.prompt(rng, attributes) if rng.random() > EMPTY_SHARE else ("", set())
        tokens = (tokenizer.encode(text) + [1])[:ROWS]
        ids[row, :len(tokens)] = torch.tensor(tokens)
        mask[row, :len(tokens)] = 1
        for column, (name, values) in enumerate(domain.ATTRIBUTES.items()):
            classes[row, column] = attributes[column] if name in said else len(values)
    return ids, mask, classes


def judge(encoder, head: torch.nn.Linear, batch: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, float]:
    """Summed cross-entropy over the attributes, and the mean share of right tokens."""
    ids, mask, classes = batch
    with torch.autocast("cpu", torch.bfloat16):
        hidden = encoder(ids, mask).last_hidden_state.float()
    scores = head(hidden[mask.bool()]).split([len(v) + 1 for v in domain.ATTRIBUTES.values()], -1)
    wanted = classes.unsqueeze(1).expand(-1, ROWS, -1)[mask.bool()]
    loss = sum(F.cross_entropy(s, wanted[:, k]) for k, s in enumerate(scores))
    right = [(s.argmax(-1) == wanted[:, k]).float().mean().item() for k, s in enumerate(scores)]
    return loss, sum(right) / len(right)


def train_text_encoder(config: dict, tokenizer, work: Path) -> UMT5EncoderModel:
    """One process; returns the trained encoder."""
    stage, seed = config["text"], config["seeds"]["text"]
    torch.manual_seed(seed)
    rng = random.Random(seed)
    encoder = make_text_encoder(config["text_encoder"], tokenizer.get_piece_size())
    head = torch.nn.Linear(encoder.config.d_model, sum(len(v) + 1 for v in domain.ATTRIBUTES.values()))
    matrices = [p for n, p in encoder.named_parameters() if p.ndim == 2 and not any(k in n for k in ADAM_NAMES)]
    chosen = {id(p) for p in matrices}
    others = [p for p in encoder.parameters() if id(p) not in chosen] + list(head.parameters())
    optimizer = Muon(matrices, others, lr=stage["lr"], adam_lr=stage["lr"] * 0.2)
    log = Log(work / "text.csv", config["log_every"], stage["steps"])
    for step in range(1, stage["steps"] + 1):
        loss, right = judge(encoder, head, make_batch(rng, tokenizer, stage["batch"], held=False))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step(schedule(step - 1, stage["steps"], stage["warmup"], stage["hold"]))
        log.add(step, loss=loss.item(), right=right)
    with torch.no_grad():
        _, right = judge(encoder, head, make_batch(rng, tokenizer, 4 * stage["batch"], held=True))
    print(f"text: {100 * right:.1f} % of the tokens of held-out prompts are right", flush=True)
    return encoder
