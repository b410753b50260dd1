"""The shapes domain: attributes, held-out rule, trajectories and a vectorised renderer.

A clip is named by five attribute indices (color, shape, size, motion, background). Positions are in units of the
frame side with y down; colours are in [-1, 1].
"""
import math
import random
import zlib

import torch
from torch import Tensor

COLORS = {"red": (225, 35, 35), "green": (35, 170, 60), "blue": (40, 90, 235), "yellow": (245, 220, 40),
          "orange": (250, 140, 25), "purple": (150, 50, 190), "cyan": (40, 210, 220), "white": (250, 250, 250)}
BACKGROUNDS = {  # top colour, bottom colour
    "black": ((8, 8, 8), (8, 8, 8)), "white": ((245, 245, 245), (245, 245, 245)),
    "gray": ((128, 128, 128), (128, 128, 128)), "navy": ((12, 18, 70), (12, 18, 70)),
    "gradient": ((30, 30, 110), (235, 150, 130))}
SHAPES = ["circle", "square", "triangle", "star", "ring"]
SIZES = ["small", "big"]
MOTIONS = ["left", "right", "up", "down", "spin", "grow", "shrink", "bounce"]
ATTRIBUTES = {"color": list(COLORS), "shape": SHAPES, "size": SIZES, "motion": MOTIONS,
              "background": list(BACKGROUNDS)}
COLOR_RGB = torch.tensor(list(COLORS.values()), dtype=torch.float32) / 127.5 - 1  # [8, 3]
BACKGROUND_RGB = torch.tensor(list(BACKGROUNDS.values()), dtype=torch.float32) / 127.5 - 1  # [5, 2, 3]

CIRCLE, SQUARE, TRIANGLE, STAR, RING = range(5)
SMALL, BIG = range(2)
LEFT, RIGHT, UP, DOWN, SPIN, GROW, SHRINK, BOUNCE = range(8)
ROUND = (CIRCLE, RING)  # their spin cannot be seen
EDGE_PX = 1.6  # width of the anti-aliased edge
PASS_FRAMES = 17  # frames of one pass of a motion; longer clips go to and fro, spin and bounce on

Attributes = tuple[int, int, int, int, int]


def held_out(color: int, shape: int, motion: int) -> bool:
    """True for the triples that no text or transformer training sees (about one in thirteen)."""
    name = f"{ATTRIBUTES['color'][color]}/{SHAPES[shape]}/{MOTIONS[motion]}"
    return zlib.crc32(name.encode()) % 13 == 0


def sample(rng: random.Random, count: int, held: bool | None = None) -> list[Attributes]:
    """Random attributes; held None: any triple, False: only training triples, True: only held-out ones."""
    picked: list[Attributes] = []
    white, white_background = ATTRIBUTES["color"].index("white"), ATTRIBUTES["background"].index("white")
    while len(picked) < count:
        color, shape, size, motion, background = (rng.randrange(len(names)) for names in ATTRIBUTES.values())
        if color == white and background == white_background:
            continue
        if motion == SPIN and shape in ROUND and rng.random() < 0.7:
            continue
        if held is None or held_out(color, shape, motion) == held:
            picked.append((color, shape, size, motion, background))
    return picked


def is_weak(attributes: Attributes) -> bool:
    """Combinations that are hard for the autoencoder or the transformer; the pool holds more of them."""
    _, shape, size, motion, _ = attributes
    return motion == BOUNCE or (motion == SPIN and shape not in ROUND) or (shape == RING and size == SMALL)


def sample_weak(rng: random.Random, count: int, weak_share: float) -> list[Attributes]:
    """Training triples only, of which `weak_share` are weak combinations (at least)."""
    picked: list[Attributes] = []
    while len(picked) < count:
        candidates = sample(rng, 64, held=False)
        weak = [a for a in candidates if is_weak(a)]
        picked += [rng.choice(weak) if weak and rng.random() < weak_share else rng.choice(candidates)
                   for _ in range(16)]
    return picked[:count]


def trajectories(generator: torch.Generator, attributes: Tensor, frames: int, spread: float) -> tuple[Tensor, ...]:
    """Centre x, centre y, radius and angle, each [B, frames]. `spread` in 0...1 scales the free variation."""
    count = attributes.shape[0]

    def uniform(low: float, high: float) -> Tensor:
        return (low + high) / 2 + (high - low) * (torch.rand(count, generator=generator) - 0.5) * spread

    time = torch.linspace(0, (frames - 1) / (PASS_FRAMES - 1), frames)[None]
    phase = time - 2 * torch.floor(time / 2)
    swing = torch.where(phase <= 1, phase, 2 - phase)
    motion, big = attributes[:, 3], attributes[:, 2] == BIG
    smallest = 0.135 if spread < 1 else 0.095
    radius = torch.where(big, uniform(0.20, 0.24), uniform(smallest, 0.15))
    center_x, center_y = uniform(0.38, 0.62), uniform(0.38, 0.62)
    span = torch.where(big, uniform(0.36, 0.44), uniform(0.45, 0.55))
    start = 0.5 - span / 2 + uniform(-0.04, 0.04)
    end = start + span
    first_scale = uniform(0.35, 0.45)
    floor = torch.where(big, uniform(0.70, 0.74), uniform(0.76, 0.82))
    height = torch.where(big, uniform(0.34, 0.42), uniform(0.45, 0.55))

    forward = start[:, None] + span[:, None] * swing
    backward = end[:, None] - span[:, None] * swing
    growing, shrinking = (radius[:, None] * 1.4 * (first_scale[:, None] + (1 - first_scale)[:, None] * part)
                          for part in (swing, 1 - swing))
    bouncing = floor[:, None] - height[:, None] * torch.sin(2 * math.pi * time).abs()

    def choose(base: Tensor, cases: dict[int, Tensor]) -> Tensor:
        for which, value in cases.items():
            base = torch.where((motion == which)[:, None], value, base)
        return base

    still = torch.ones(1, frames)
    return (choose(center_x[:, None] * still, {LEFT: backward, RIGHT: forward}),
            choose(center_y[:, None] * still, {UP: backward, DOWN: forward, BOUNCE: bouncing}),
            choose(radius[:, None] * still, {GROW: growing, SHRINK: shrinking}),
            choose(torch.zeros(count, frames), {SPIN: math.pi * time.expand(count, frames)}))


def signed_distance(shape: int, x: Tensor, y: Tensor, radius: Tensor | float) -> Tensor:
    """Distance to the outline, negative inside, in the unit of x, y and radius."""
    if shape == SQUARE:
        return torch.maximum(x.abs(), y.abs()) - 0.86 * radius
    if shape == TRIANGLE:
        y = y - 0.15 * radius
        slope = math.sqrt(3) / 2
        return torch.maximum(torch.maximum(y, slope * x - 0.5 * y), -slope * x - 0.5 * y) - 0.62 * radius
    distance = torch.sqrt(x * x + y * y + 1e-9)
    if shape == STAR:
        fifth = 2 * math.pi / 5
        angle = torch.atan2(x, -y)
        angle = (angle - fifth * torch.round(angle / fifth)).abs()
        tip, dent = 1.25, 0.54
        edge_x, edge_y = dent * math.cos(fifth / 2) - tip, dent * math.sin(fifth / 2)
        length = math.hypot(edge_x, edge_y)
        normal_x, normal_y = edge_y / length, -edge_x / length
        return distance * (normal_x * torch.cos(angle) + normal_y * torch.sin(angle)) - tip * normal_x * radius
    if shape == RING:
        return (distance - 0.74 * radius).abs() - 0.26 * radius
    return distance - radius


def _window(generator, track, frames: int, side: int, crop: tuple[int, int]):
    """A random square window near the object and a run of frames: (track, frames, size, left, top)."""
    size, length = crop
    count = track[0].shape[0]
    first = int(torch.randint(0, frames - length + 1, (1,), generator=generator))
    track = tuple(t[:, first:first + length] for t in track)
    anchor = int(torch.randint(0, length, (1,), generator=generator))
    corner = [((t[:, anchor] * side + (torch.rand(count, generator=generator) - 0.5) * size * 0.9 - size / 2)
               .clamp(0, side - size)).round() for t in track[:2]]
    return track, length, size, *corner


def render(generator: torch.Generator, attributes: Tensor, frames: int = 17, side: int = 64, spread: float = 0.35,
           crop: tuple[int, int] | None = None) -> Tensor:
    """Video [B, 3, frames, side, side] in [-1, 1]; crop (size, frames) renders a random window near the object."""
    count = attributes.shape[0]
    track = trajectories(generator, attributes, frames, spread)
    size, left, top = side, torch.zeros(count), torch.zeros(count)
    if crop:
        track, frames, size, left, top = _window(generator, track, frames, side, crop)
    rows = torch.arange(size) + top[:, None]
    columns = torch.arange(size) + left[:, None]
    ramp = (rows / (side - 1)).view(count, 1, 1, size, 1)
    ends = BACKGROUND_RGB[attributes[:, 4]].view(count, 2, 3, 1, 1, 1)
    video = (ends[:, 0] * (1 - ramp) + ends[:, 1] * ramp).expand(count, 3, frames, size, size).contiguous()
    y = ((rows + 0.5) / side).view(count, 1, size, 1)
    x = ((columns + 0.5) / side).view(count, 1, 1, size)
    for shape in range(len(SHAPES)):
        index = (attributes[:, 1] == shape).nonzero().flatten()
        if index.numel() == 0:
            continue
        center_x, center_y, radius, angle = (t[index].view(-1, frames, 1, 1) for t in track)
        dx, dy = x[index] - center_x, y[index] - center_y
        cos, sin = torch.cos(angle), torch.sin(angle)
        distance = signed_distance(shape, cos * dx + sin * dy, -sin * dx + cos * dy, radius) * side / EDGE_PX
        alpha = (0.5 - distance).clamp(0, 1)
        alpha = (alpha * alpha * (3 - 2 * alpha)).unsqueeze(1)
        color = COLOR_RGB[attributes[index, 0]].view(-1, 3, 1, 1, 1)
        video[index] = video[index] + alpha * (color - video[index])
    return video
