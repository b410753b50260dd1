"""The independent twin of causal generation in PyTorch, written from the specification (kv-cache, part B): linear
caches of un-rotated keys, no ring, no fused operations, float64 angles. Makes reference.safetensors:

    python3 tests/causal_twin/twin.py --bin build/t2v --base models/shapes       (needs torch)

The program is asked once for the text embeddings of the prompts, which the twin takes as given.
"""
import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

import cases
import causal_model as m

HERE = pathlib.Path(__file__).resolve().parent


def angles(frame, rows, columns):
    """[rows * columns, HEAD_SIZE / 2] angles of one latent frame; frame may be None: temporal angles are 0."""
    side = 2 * (m.HEAD_SIZE // 6)
    axis = lambda size: 10000.0 ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    grid = torch.zeros(rows, columns, m.HEAD_SIZE // 2, dtype=torch.float64)
    temporal = (m.HEAD_SIZE - 2 * side) // 2
    grid[..., :temporal] = (frame or 0) * axis(m.HEAD_SIZE - 2 * side)
    grid[..., temporal:temporal + side // 2] = torch.arange(rows)[:, None, None] * axis(side)
    grid[..., temporal + side // 2:] = torch.arange(columns)[None, :, None] * axis(side)
    return grid.view(rows * columns, -1)


def rotate(x, angle):
    """x [n, heads, HEAD_SIZE] by angle [n, HEAD_SIZE / 2], pairs side by side."""
    turned = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)).contiguous())
    turned = turned * torch.polar(torch.ones_like(angle), angle)[:, None]
    return torch.view_as_real(turned).flatten(-2).float()


def rms(x, weight):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + m.EPS) * weight


def norm(x):
    return F.layer_norm(x, x.shape[-1:], eps=m.EPS)


class Past:
    """Un-rotated keys and values of frames: {frame: (k, v)} per layer."""

    def __init__(self):
        self.layers = [{} for _ in range(m.BLOCKS)]

    def keep_only(self, frames):
        for layer in self.layers:
            for frame in list(layer):
                if frame not in frames:
                    del layer[frame]


class Model:
    def __init__(self, weights):
        self.w = weights

    def linear(self, name, x):
        return F.linear(x, self.w[name + ".weight"], self.w[name + ".bias"])

    def text(self, rows, text_len=64):
        rows = F.pad(rows, (0, 0, 0, text_len - len(rows)))
        return self.linear("text_embedding.2", F.gelu(self.linear("text_embedding.0", rows), approximate="tanh"))

    def velocity(self, x, first, t, text, attend):
        """x [C, B, h, w] from latent frame `first` on. attend(layer, q, k, v): [L, heads, size] each, un-rotated."""
        channels, frames, height, width = x.shape
        rows, columns = height // 2, width // 2
        w = self.w
        half = m.FREQ // 2
        wave = t * 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
        wave = torch.cat([wave.cos(), wave.sin()]).float()
        time = self.linear("time_embedding.2", F.silu(self.linear("time_embedding.0", wave)))
        modulation = self.linear("time_projection.1", F.silu(time)).view(6, -1)
        patches = x.view(channels, frames, rows, 2, columns, 2).permute(1, 2, 4, 0, 3, 5).flatten(3).flatten(0, 2)
        h = F.linear(patches, w["patch_embedding.weight"].flatten(1), w["patch_embedding.bias"])
        split = lambda y: y.unflatten(-1, (m.HEADS, m.HEAD_SIZE))
        for i in range(m.BLOCKS):
            p = f"blocks.{i}."
            s1, c1, g1, s2, c2, g2 = (w[p + "modulation"][0] + modulation).unbind(0)
            y = norm(h) * (1 + c1) + s1
            q = split(rms(self.linear(p + "self_attn.q", y), w[p + "self_attn.norm_q.weight"]))
            k = split(rms(self.linear(p + "self_attn.k", y), w[p + "self_attn.norm_k.weight"]))
            v = split(self.linear(p + "self_attn.v", y))
            h = h + g1 * self.linear(p + "self_attn.o", attend(i, q, k, v).flatten(1))
            y = norm(h) * w[p + "norm3.weight"] + w[p + "norm3.bias"]
            q = split(rms(self.linear(p + "cross_attn.q", y), w[p + "cross_attn.norm_q.weight"]))
            k = split(rms(self.linear(p + "cross_attn.k", text), w[p + "cross_attn.norm_k.weight"]))
            v = split(self.linear(p + "cross_attn.v", text))
            h = h + self.linear(p + "cross_attn.o", softmax_sum(q, k, v).flatten(1))
            y = norm(h) * (1 + c2) + s2
            h = h + g2 * self.linear(p + "ffn.2", F.gelu(self.linear(p + "ffn.0", y), approximate="tanh"))
        shift, scale = (w["head.modulation"][0] + time).unbind(0)
        out = self.linear("head.head", norm(h) * (1 + scale) + shift)
        out = out.view(frames, rows, columns, 2, 2, channels).permute(5, 0, 1, 3, 2, 4)
        return out.reshape(x.shape)


def softmax_sum(q, k, v, mask=None):
    """[L, heads, size] over [S, heads, size]; mask [L, S] of what is seen."""
    scores = torch.einsum("lhd,shd->hls", q, k) / math.sqrt(m.HEAD_SIZE)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return torch.einsum("hls,shd->lhd", scores.softmax(-1), v)


class Generator:
    def __init__(self, model, profile, rows, columns):
        self.model, self.p, self.rows, self.columns = model, profile, rows, columns
        self.n = rows * columns
        self.noise = torch.Generator().manual_seed(cases.SEED)

    def attend_over(self, past, first, count, keep):
        p, end = self.p, first + count
        oldest = end - (p["window"] - p["sinks"])  # of what is no sink

        def attend(layer, q, k, v):
            seen = dict(past.layers[layer])
            own = {first + i: (k[i * self.n:(i + 1) * self.n], v[i * self.n:(i + 1) * self.n]) for i in range(count)}
            seen.update(own)
            if keep:
                past.layers[layer].update(own)
            seen = {f: kv for f, kv in seen.items() if f < p["sinks"] or f >= oldest}
            window = [f for f in seen if f >= p["sinks"]]
            begin = min(window) if window else p["sinks"]
            place = lambda f: begin - p["sinks"] + f if p["sink_rope"] == "relative" and f < p["sinks"] else f
            keys = torch.cat([rotate(seen[f][0], angles(place(f), self.rows, self.columns)) for f in sorted(seen)])
            values = torch.cat([seen[f][1] for f in sorted(seen)])
            turn = torch.cat([angles(first + i, self.rows, self.columns) for i in range(count)])
            return softmax_sum(rotate(q, turn), keys, values)
        return attend

    def velocity(self, x, first, t, texts, pasts, keep=False):
        each = [self.model.velocity(x, first, t, text, self.attend_over(past, first, x.shape[1], keep))
                for text, past in zip(texts, pasts)]
        return each[0] if len(each) == 1 else each[1] + self.p["guidance_scale"] * (each[0] - each[1])

    def timesteps(self):
        s = self.p["shift"]
        warp = lambda u: 1000 * s * u / (1 + (s - 1) * u)
        return [warp(t / 1000) if self.p["warp"] else t for t in self.p["timesteps"]]

    def draw(self, count):
        return torch.randn(1, m.CHANNELS, count, 2 * self.rows, 2 * self.columns, generator=self.noise)[0]

    def denoise(self, first, count, texts, pasts):
        x, ts = self.draw(count), self.timesteps()
        sigmas = [t / 1000 for t in ts] + [0.0]
        solver = UniPC(sigmas)
        for i, t in enumerate(ts):
            v = self.velocity(x, first, t, texts, pasts)
            if self.p["sampler"] == "unipc":
                x = solver.step(i, x, v)
                continue
            if self.p["sampler"] == "euler":
                x = x + (sigmas[i + 1] - sigmas[i]) * v
                continue
            x0 = x - sigmas[i] * v
            x = x0 if i + 1 == len(ts) else (1 - sigmas[i + 1]) * x0 + sigmas[i + 1] * self.draw(count)
        return x

    def run(self, frames, texts, change=None, other=None):
        """texts: of the prompt and, when guided, the negative one. change: what a new prompt does to the past."""
        p, pasts = self.p, [Past() for _ in texts]
        done, bounds, pos = [], [], 0
        while pos < frames:
            count = p["first_chunk"] if pos == 0 else p["chunk"]
            if change and pos == cases.CHANGE_FRAME:
                texts = [other] + texts[1:]
                self.change(change, pos, done, bounds, texts, pasts)
            x = self.denoise(pos, count, texts, pasts)
            self.velocity(x, pos, p["context_timestep"], texts, pasts, keep=True)
            done.append(x)
            bounds.append((pos, count))
            pos += count
        return torch.cat(done, 1), pasts

    def change(self, mode, pos, done, bounds, texts, pasts):
        sinks = set(range(self.p["sinks"]))
        if mode == "flush":
            for past in pasts:
                past.keep_only(sinks | {pos - 1})
        if mode == "recache":
            begin = max(self.p["sinks"], pos - (self.p["window"] - self.p["sinks"]))
            for past in pasts:
                past.keep_only(sinks)
            for (first, count), x in zip(bounds, done):
                skip = max(0, begin - first)
                if skip < count:
                    self.velocity(x[:, skip:], first + skip, self.p["context_timestep"], texts, pasts, keep=True)


class UniPC:
    """Order 2, bh2, predicting x0 (specs: schedulers, section 3), in float64 scalars."""

    def __init__(self, sigmas):
        self.s, self.x0s, self.last = sigmas, [], None

    def lam(self, i):
        s = self.s[i]
        return -math.inf if s == 1 else math.inf if s == 0 else math.log(1 - s) - math.log(s)

    def move(self, x, i, j, x0, slope):
        """From sigma i to j with the x0 estimate and a slope term already weighted."""
        if self.s[j] == 0:
            return x0
        h = self.lam(j) - self.lam(i)
        e = math.expm1(-h)
        return self.s[j] / self.s[i] * x - (1 - self.s[j]) * e * (x0 + slope)

    def step(self, i, x, v):
        x0 = x - self.s[i] * v
        n = len(self.s) - 1
        if i > 0:  # corrector
            h = self.lam(i) - self.lam(i - 1)
            before = self.x0s[-1]
            order = min(2, n - (i - 1), i)
            if order == 1:
                slope = 0.5 * (x0 - before)
            else:
                r = (self.lam(i - 2) - self.lam(i - 1)) / h
                hh, e = -h, math.expm1(-h)
                k1 = e / hh - 1
                b1, b2 = k1 / e, (k1 / hh - 0.5) * 2 / e
                p0 = 0.0 if math.isinf(r) else (b1 - b2) / (1 - r)
                p1 = b1 - p0
                slope = p1 * (x0 - before)
                if not math.isinf(r):
                    slope = slope + p0 / r * (self.x0s[-2] - before)
            x = self.move(self.last, i - 1, i, before, slope)
        order = min(2, n - i, i + 1)
        slope = 0.0
        if order == 2:
            h = self.lam(i + 1) - self.lam(i)
            r = (self.lam(i - 1) - self.lam(i)) / h
            slope = 0.0 if math.isinf(r) else 0.5 * (self.x0s[-1] - x0) / r
        self.x0s.append(x0)
        self.last = x
        return self.move(x, i, i + 1, x0, slope)


def check_mask(model, generator, latents, text):
    """One forward over all frames with the block-causal mask equals the chunks over the cache (test 1)."""
    p, frames = generator.p, latents.shape[1]
    assert p["window"] >= frames and p["context_timestep"] == 0
    chunk = torch.tensor([0 if f < p["first_chunk"] else 1 + (f - p["first_chunk"]) // p["chunk"]
                          for f in range(frames)]).repeat_interleave(generator.n)
    turn = torch.cat([angles(f, generator.rows, generator.columns) for f in range(frames)])
    whole = model.velocity(latents, 0, 0.0, text, lambda _, q, k, v: softmax_sum(
        rotate(q, turn), rotate(k, turn), v, chunk[:, None] >= chunk[None, :]))
    past, parts, pos = Past(), [], 0
    while pos < frames:
        count = p["first_chunk"] if pos == 0 else p["chunk"]
        parts.append(generator.velocity(latents[:, pos:pos + count], pos, 0.0, [text], [past], keep=True))
        pos += count
    error = (torch.cat(parts, 1) - whole).abs().max().item()
    print(f"one forward with the block-causal mask and chunks over a cache differ by {error:.2e}")
    assert error < 1e-4


def embeddings(arguments, folder):
    """What the program's text encoder says to the prompts."""
    profile = folder / "profile.json"
    profile.write_text(json.dumps({**cases.BASE, "guidance_scale": 2}))
    found = {}
    for prompt, negative in ((cases.PROMPT, cases.NEGATIVE), (cases.OTHER, cases.NEGATIVE)):
        subprocess.run([arguments.bin, "generate", "-m", str(folder / "model"), "--causal", str(profile), "--dtype", "fp32",
                        "--device", "cpu", "--frames", "1", "--size", f"{cases.WIDTH}x{cases.HEIGHT}", "--seed", "1",
                        "--negative-prompt", negative, "--dump", str(folder / "dump.safetensors"), "-o",
                        str(folder / "x.rgb"), "-p", prompt], check=True, stdout=subprocess.DEVNULL)
        dump = load_file(folder / "dump.safetensors")
        for name, text in (("prompt", prompt), ("negative", negative)):
            rows = dump[name + "_embeds"][0]
            found[text] = rows[:int(dump[name + "_mask"].sum())].clone()
    return found


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--base", required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    weights = {name: torch.tensor(values).view(shape) for name, shape, values in m.tensors()}
    model = Model(weights)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        (folder / "model").mkdir()
        m.write_model(arguments.base, folder / "model")
        rows = embeddings(arguments, folder)
    texts = {prompt: model.text(x) for prompt, x in rows.items()}
    reference = {"rows_prompt": rows[cases.PROMPT], "rows_other": rows[cases.OTHER],
                 "rows_negative": rows[cases.NEGATIVE]}
    for name, (_, frames, more) in cases.CASES.items():
        generator = Generator(model, cases.profile(name), cases.HEIGHT // 16, cases.WIDTH // 16)
        guided = cases.profile(name)["guidance_scale"] != 1
        start = [texts[cases.PROMPT]] + ([texts[cases.NEGATIVE]] if guided else [])
        latents, _ = generator.run(frames, start, more.get("change"), texts[cases.OTHER])
        print(f"{name}: {tuple(latents.shape)}, std {latents.std():.3f}")
        reference[name] = latents
        if name == "whole":
            check_mask(model, generator, latents, texts[cases.PROMPT])
    save_file({k: v.contiguous() for k, v in reference.items()}, HERE / "reference.safetensors",
              metadata={"seed": str(cases.SEED), "dtype": "float32", "source": f"torch {torch.__version__}"})


if __name__ == "__main__":
    sys.exit(main())
