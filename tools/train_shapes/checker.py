"""Reads the attributes off a video by rule: nearest colours, centroid path, outline templates.

It sees pixels only, never the prompt. `compare` then says which of the asked-for attributes were met.
"""
import math

import numpy as np
import torch

import domain
from domain import BOUNCE, DOWN, GROW, LEFT, RIGHT, ROUND, SHRINK, SPIN, UP, Attributes

STATIC = len(domain.MOTIONS)  # a polygon that neither moves nor turns
NOTHING = -1
AREAS = (3.14, 2.96, 2.0, 1.75, 2.42)  # area / radius^2 of every shape
PERIODS = (0, 90, 120, 72, 0)  # degrees after which a shape looks the same
FOREGROUND = 0.16  # mean absolute colour distance from the background
TRAVEL, BREATHING = 0.15, 0.35  # least path in frame sides, least |log size ratio|
TURN_DEGREES = 12
BIG_RADIUS = 0.178
MIN_AREA_PX = 12
TEMPLATE_FRAMES = 6
ANGLE_STEP = 7.5


def _background(video: np.ndarray) -> tuple[int, np.ndarray]:
    """Index of the nearest background and its picture [1, H, 1, 3], from the top and bottom rows."""
    palette = domain.BACKGROUND_RGB.numpy()
    top, bottom = (np.median(rows.reshape(-1, 3), 0) for rows in (video[:, :2], video[:, -2:]))
    which = int(np.argmin([np.abs(top - b[0]).mean() + np.abs(bottom - b[1]).mean() for b in palette]))
    if which == len(palette) - 1:  # the gradient: follow the actual ends
        ends = (top, bottom)
    else:
        ends = palette[which]
    ramp = np.linspace(0, 1, video.shape[1])[None, :, None, None]
    return which, ends[0] * (1 - ramp) + ends[1] * ramp


def _color(video: np.ndarray, mask: np.ndarray) -> int:
    """Nearest palette colour of the foreground's median, edges left out where enough remains."""
    inner = (mask[:, 1:-1, 1:-1] & mask[:, :-2, 1:-1] & mask[:, 2:, 1:-1] & mask[:, 1:-1, :-2] & mask[:, 1:-1, 2:])
    pixels = video[:, 1:-1, 1:-1][inner]
    median = np.median(pixels if len(pixels) >= 20 else video[mask], 0)
    return int(np.argmin(np.abs(domain.COLOR_RGB.numpy() - median).mean(-1)))


def _motion(center_x: np.ndarray, center_y: np.ndarray, area: np.ndarray, side: int) -> int:
    """From the first and last two frames; SPIN stands for everything that stays in place."""
    def change(values: np.ndarray) -> float:
        return float(np.nanmean(values[-2:]) - np.nanmean(values[:2]))

    dx, dy = change(center_x) / side, change(center_y) / side
    size = np.sqrt(np.maximum(area, 1))
    breath = math.log(np.mean(size[-2:]) / np.mean(size[:2]))
    if abs(dx) > TRAVEL and abs(dx) > abs(dy):
        return LEFT if dx < 0 else RIGHT
    if abs(dy) > TRAVEL:
        return UP if dy < 0 else DOWN
    if abs(breath) > BREATHING:
        return GROW if breath > 0 else SHRINK
    return BOUNCE if (np.nanmax(center_y) - np.nanmin(center_y)) / side > TRAVEL else SPIN


def _templates(shape: int, x: np.ndarray, y: np.ndarray, area: float, turns: bool):
    """(angle, soft mask) of the shape at the measured place and size, in a few sizes and angles."""
    angles = np.arange(0, PERIODS[shape], ANGLE_STEP) if turns and PERIODS[shape] else [0.0]
    x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)
    for scale in (0.9, 1.0, 1.1):
        radius = math.sqrt(area / AREAS[shape]) * scale
        for angle in angles:
            cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            distance = domain.signed_distance(shape, cos * x + sin * y, -sin * x + cos * y, radius)
            yield float(angle), (0.5 - distance / domain.EDGE_PX).clamp(0, 1).numpy()


def _best_template(shape: int, soft: np.ndarray, center: tuple[float, float], area: float,
                   turns: bool) -> tuple[float, float]:
    """Smallest relative difference to the shape's templates, and its angle."""
    rows, columns = np.mgrid[0:soft.shape[0], 0:soft.shape[1]]
    fits = [(np.abs(mask - soft).sum() / (mask.sum() + soft.sum()), angle)
            for angle, mask in _templates(shape, columns - center[0], rows - center[1], area, turns)]
    return min(fits)


def _turned(angles: list[float], period: int) -> bool:
    gaps = [abs(a - b) % period for a in angles for b in angles]
    return max(min(gap, period - gap) for gap in gaps) >= TURN_DEGREES


def read_attributes(video: np.ndarray) -> dict[str, int]:
    """Attribute indices seen in a video [T, H, W, 3] with values in 0...1."""
    video = np.asarray(video, dtype=np.float64) * 2 - 1
    side = video.shape[1]
    background, picture = _background(video)
    distance = np.abs(video - picture).mean(-1)
    mask = distance > FOREGROUND
    area = mask.sum((1, 2))
    if np.median(area) < MIN_AREA_PX:
        return {"background": background} | dict.fromkeys(("color", "shape", "size", "motion"), NOTHING)
    rows, columns = np.mgrid[0:side, 0:video.shape[2]]
    center_x = np.array([columns[m].mean() if m.any() else np.nan for m in mask])
    center_y = np.array([rows[m].mean() if m.any() else np.nan for m in mask])
    motion = _motion(center_x, center_y, area, side)
    fits: list[list[tuple[float, float]]] = []
    for frame in np.argsort(-area)[:TEMPLATE_FRAMES]:
        level = max(0.2, float(np.percentile(distance[frame][mask[frame]], 80)))
        soft = np.clip(distance[frame] / level, 0, 1)
        center = (center_x[frame], center_y[frame])
        fits.append([_best_template(k, soft, center, area[frame], motion == SPIN) for k in range(len(AREAS))])
    shape = int(np.argmin([np.mean([fit[k][0] for fit in fits]) for k in range(len(AREAS))]))
    if motion == SPIN and shape not in ROUND and not _turned([fit[shape][1] for fit in fits], PERIODS[shape]):
        motion = STATIC
    radius = math.sqrt(np.median(area) / AREAS[shape]) / side
    return {"color": _color(video, mask), "background": background, "shape": shape, "motion": motion,
            "size": int(radius > BIG_RADIUS)}


def compare(seen: dict[str, int], asked: Attributes, said: set[str]) -> dict[str, bool]:
    """Which attributes are right. Size counts only where the prompt names it and the clip has one size."""
    color, shape, size, motion, background = asked
    still_round = motion == SPIN and shape in ROUND and seen["motion"] in (SPIN, STATIC)
    right = {"color": seen["color"] == color, "background": seen["background"] == background,
             "shape": seen["shape"] == shape, "motion": seen["motion"] == motion or still_round}
    if "size" in said and motion not in (GROW, SHRINK):
        right["size"] = seen["size"] == size
    return right
