"""A synthetic set: drawn faces at 48×48 with FER-2013's seven expressions, for trials and tests without a download.

A face is some forty numbers (pose, build, light, and how far brows, lids and mouth are from rest) and is drawn from
soft-edged curves. Expressions have strengths from faint to full, so that, as with real faces, no model reaches an
accuracy of 1. Which muscles move in which expression follows Ekman and Friesen, "Facial action coding system", 1978.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moue.data.table import ImageTable
from moue.errors import UsageError, quoted
from moue.labels import FER2013

Array = NDArray[np.floating]

#: Shares of FER-2013's classes in Training, in its order.
SHARES = (0.139, 0.015, 0.143, 0.251, 0.168, 0.110, 0.173)

#: Each expression at full strength, in units of the moves in :data:`_MOVES`.
_EXPRESSIONS: dict[str, tuple[float, ...]] = {
    # brow in, brow out, lids, mouth corners, jaw, mouth width, upper lip, nose wrinkle
    "angry": (-1.0, 0.1, -0.15, -0.35, 0.10, -0.15, 0.0, 0.35),
    "disgust": (-0.7, -0.3, -0.55, -0.45, 0.12, -0.05, 0.9, 1.0),
    "fear": (0.9, 0.35, 0.65, -0.25, 0.40, 0.20, 0.0, 0.0),
    "happy": (0.1, 0.1, -0.30, 1.00, 0.35, 0.40, 0.15, 0.0),
    "sad": (0.75, -0.45, -0.40, -0.85, 0.0, -0.10, 0.0, 0.0),
    "surprise": (0.9, 1.0, 0.75, 0.0, 1.00, -0.35, 0.0, 0.0),
    "neutral": (0.0,) * 8,
}
_MOVES = ("inner", "outer", "lids", "corners", "jaw", "width", "lip", "wrinkle")

_SIDE = 48
# A batch's arrays stay in the cache of one core.
_BATCH = 16


def synthetic(n: int = 7000, seed: int = 0) -> ImageTable:
    """Draw a set of faces.

    Args:
        n: number of faces, at least 10.
        seed: the same seed and number give the same pixels, on one machine.

    Returns:
        gray 48×48; every tenth row "public_test", every tenth "private_test", the others "train"; classes about as
        unequal as FER-2013's, with each in each split where ``n`` allows it (200 and more).

    Raises:
        UsageError: for fewer faces, or a seed below 0.
    """
    if seed < 0:
        raise UsageError(f"a seed must be at least 0. Got {seed} instead.")
    if n < 10:
        raise UsageError(f"a synthetic set needs at least 10 faces. Got {n} instead.")
    rng = np.random.default_rng(seed)
    split = np.array(["train"] * 8 + ["public_test", "private_test"])[np.arange(n) % 10]
    labels = np.zeros(n, np.int64)
    for part in ("train", "public_test", "private_test"):
        rows = np.flatnonzero(split == part)
        labels[rows] = rng.permutation(_shares(len(rows)))
    images = np.concatenate([_draw(labels[i : i + _BATCH], rng) for i in range(0, n, _BATCH)])
    return ImageTable(
        images=images[:, None],
        labels=labels,
        split=split,
        source=[f"face {i + 1}" for i in range(n)],
        label_set=FER2013,
        name=f"synth:{n}:{seed}",
    )


def is_synthetic(source: object) -> bool:
    """Whether a data source names the synthetic set: "synth", "synth:N" or "synth:N:SEED"."""
    return str(source) == "synth" or str(source).startswith("synth:")


def read(source: str) -> ImageTable:
    """The set of a source such as "synth:7000:0".

    Raises:
        UsageError: for another form, fewer than 10 faces, or a seed below 0.
    """
    parts = source.split(":")[1:]
    if len(parts) > 2 or not all(p.isdecimal() for p in parts):
        raise UsageError(f"the synthetic set is synth, synth:N or synth:N:SEED. Got {quoted(source)} instead.")
    return synthetic(*(int(p) for p in parts))


def _shares(n: int) -> NDArray[np.int64]:
    """``n`` labels in FER-2013's shares, each class at least once where there is room."""
    counts = np.maximum(1, np.floor(np.array(SHARES) * n)).astype(np.int64)
    while counts.sum() > n:
        counts[counts.argmax()] -= 1
    counts[FER2013.index("happy")] += n - counts.sum()
    return np.repeat(np.arange(len(counts)), counts)


def _draw(labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.uint8]:
    """One batch of faces, uint8 ``(B, 48, 48)``."""
    count = len(labels)

    def normal(scale: float, mean: float = 0.0) -> Array:
        return (mean + scale * rng.standard_normal((count, 1, 1))).astype(np.float32)

    def uniform(low: float, high: float) -> Array:
        return rng.uniform(low, high, (count, 1, 1)).astype(np.float32)

    def some(share: float) -> Array:
        return (rng.random((count, 1, 1)) < share).astype(np.float32)

    table = np.array([_EXPRESSIONS[name] for name in FER2013.labels], np.float32)
    strength = np.sqrt(uniform(0.12, 1.0))
    move = {
        name: strength * table[labels, i][:, None, None] * uniform(0.75, 1.25) + normal(0.1)
        for i, name in enumerate(_MOVES)
    }
    jaw, lids = np.maximum(move["jaw"], 0), np.clip(1 + 0.8 * move["lids"], 0.12, 2.0)

    # Head coordinates: u to the right, v down, 1 = half the face's width; the features slide with the turn of the head.
    scale = uniform(16.5, 20.5)
    roll, yaw, nod = normal(0.12), np.clip(normal(0.13), -0.3, 0.3), normal(0.05)
    grid = (np.arange(_SIDE, dtype=np.float32) - (_SIDE - 1) / 2)[None]
    x, y = grid[:, None, :] - normal(1.2), grid[:, :, None] - normal(1.2) - 1.0
    u = (np.cos(roll) * x + np.sin(roll) * y) / scale
    v = (np.cos(roll) * y - np.sin(roll) * x) / scale
    plane = _Plane(uniform(20, 235) + uniform(-40, 40) * x / 24 + uniform(-40, 40) * y / 24, u, v, x, scale)
    skin, hair, height = uniform(95, 215), uniform(15, 150), uniform(1.2, 1.4)
    plane.paint(plane.ellipse(u, v + 0.18, uniform(1.08, 1.3), height + 0.1), hair)
    plane.paint(plane.ellipse(u, v - 1.35, uniform(0.45, 0.6), 0.7), skin * 0.8)
    # The jaw drops with the mouth and lengthens the face.
    chin = height + 0.1 * jaw
    face = plane.ellipse(u, np.where(v > 0, v * height / chin, v), uniform(0.92, 1.02), height)
    light, steep = uniform(0, 2 * np.pi), uniform(0.0, 0.32)
    shade = 1 + steep * (np.cos(light) * u + np.sin(light) * v) - 0.16 * (u * u + 0.5 * v * v)
    plane.paint(face, skin * shade)
    plane.paint((face > 0) * plane.step(-0.72 + 0.35 * (u - uniform(-0.5, 0.5)) ** 2 - uniform(-0.1, 0.22) - v), hair)
    canvas = plane.canvas

    # Features follow the head's turn: they shift, and the far side narrows.
    u, v = (u - 0.9 * yaw) * (1 + 0.25 * yaw * np.sign(u)) / uniform(0.94, 1.06), v - nod
    plane = _Plane(canvas, u, v, skin * shade, scale)
    tones = _Tones(skin, hair, uniform(0.25, 0.55))
    _nose(plane.window((np.abs(u) < 0.35) & (np.abs(v) < 0.4)), tones, move["wrinkle"], yaw)
    eyes = _Eyes(uniform(0.38, 0.44), uniform(-0.24, -0.14), uniform(0.17, 0.215), lids, normal(0.025))
    brows = _Brows(uniform(0.24, 0.31), uniform(0.035, 0.07), move["inner"], move["outer"])
    for side in (-1.0, 1.0):
        part = plane.window((side * u > -0.05) & (side * u < 0.85) & (v > -0.85) & (v < 0.7))
        _eye(part, side, tones, eyes, brows, normal(0.06))
        # Cheek folds deepen with a smile and with a raised lip.
        depth = 0.5 * np.clip(np.abs(move["corners"]) * 0.5 + move["lip"] * 0.6, 0, 1)
        crease = side * part.u - (0.32 + 0.3 * (part.v - 0.25))
        part.paint(depth * part.band(crease, 0.035) * part.band(part.v - 0.42, 0.2), part.skin * 0.6)
    brow = plane.window((np.abs(u) < 0.15) & (v > -0.6) & (v < 0.1))
    lines = brow.band(np.abs(brow.u) - 0.07, 0.022) * brow.band(brow.v - eyes.height + 0.2, 0.12)
    brow.paint(np.clip(-move["inner"], 0, 1) * 0.6 * lines, brow.skin * 0.5)
    mouth = plane.window((np.abs(u) < 0.65) & (v > 0.2) & (v < 1.3))
    _mouth(mouth, move, jaw, uniform(0.55, 0.78), uniform(0.3, 0.36), some(0.35))
    _glasses(plane, some(0.12), eyes, skin)
    jawline = face * plane.step(v - 0.42 - 0.5 * (1 - np.minimum(u * u, 1)), 3.0)
    plane.paint(0.6 * some(0.15) * jawline, np.minimum(hair, skin * 0.7))

    canvas = (canvas - 128) * uniform(0.65, 1.15) + 128 + normal(12)
    canvas += rng.standard_normal(canvas.shape, np.float32) * uniform(2, 13)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class _Tones:
    skin: Array
    hair: Array
    dark: Array


@dataclass(frozen=True)
class _Eyes:
    spread: Array
    height: Array
    width: Array
    lids: Array
    gaze: Array


@dataclass(frozen=True)
class _Brows:
    level: Array
    thick: Array
    inner: Array
    outer: Array


@dataclass(frozen=True)
class _Plane:
    """Pixels to paint on, their head coordinates, and the color of bare skin there.

    Shapes are coverages from 0 to 1 whose edge is a pixel wide.
    """

    canvas: Array
    u: Array
    v: Array
    skin: Array
    scale: Array

    def window(self, inside: NDArray[np.bool_]) -> _Plane:
        """A view of the smallest rectangle that holds all of ``inside``: most features cover a small part of a face."""
        rows, columns = (np.flatnonzero(inside.any(axis=axes)) for axes in ((0, 2), (0, 1)))
        cut = (slice(None), slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        return _Plane(self.canvas[cut], self.u[cut], self.v[cut], self.skin[cut], self.scale)

    def faces(self, which: NDArray[np.bool_]) -> _Plane:
        """A copy of some faces of the batch."""
        return _Plane(self.canvas[which], self.u[which], self.v[which], self.skin[which], self.scale[which])

    def paint(self, cover: Array, ink: Array) -> None:
        """Lay ink over the canvas, in place."""
        self.canvas[...] += cover * (ink - self.canvas)

    def step(self, inside: Array, soft: float = 1.0) -> Array:
        """1 where ``inside``, in head coordinates, is positive."""
        return np.clip(0.5 + inside * (self.scale / soft), 0, 1)

    def band(self, distance: Array, half: Array | float) -> Array:
        """1 within ``half`` of a line."""
        return self.step(half - np.abs(distance))

    def ellipse(self, x: Array, y: Array, a: Array | float, b: Array | float, soft: float = 1.0) -> Array:
        """1 inside of an ellipse around the origin."""
        return self.step((1 - np.sqrt((x / a) ** 2 + (y / b) ** 2)) * np.minimum(a, b), soft)


def _nose(p: _Plane, tones: _Tones, wrinkle: Array, yaw: Array) -> None:
    tip = p.v - 0.2 + 0.05 * np.clip(wrinkle, 0, 1)
    p.paint(0.35 * p.band(p.u - 0.1 - 0.6 * yaw, 0.03) * p.band(p.v, 0.16), p.skin * 0.6)
    p.paint((0.4 + tones.dark * 0.5) * p.ellipse(np.abs(p.u) - 0.1, tip, 0.065, 0.035), p.skin * 0.3)
    p.paint(0.4 * p.ellipse(np.abs(p.u) - 0.19, tip + 0.05, 0.03, 0.09), p.skin * 0.5)
    lines = p.band((p.v + 0.08 - 0.15 * np.abs(p.u)) % 0.1 - 0.05, 0.018) * p.band(p.v + 0.06, 0.1) * p.band(p.u, 0.13)
    p.paint(np.clip(wrinkle, 0, 1) * 0.75 * lines, p.skin * 0.5)


def _eye(p: _Plane, side: float, tones: _Tones, eyes: _Eyes, brows: _Brows, lopsided: Array) -> None:
    across, above = side * p.u - eyes.spread, p.v - eyes.height
    p.paint(0.35 * p.ellipse(across, above, eyes.width * 1.35, 0.2, 4.0), p.skin * 0.6)
    # An almond: the lids meet at both corners.
    lid = 0.1 * np.maximum(eyes.lids + lopsided, 0.1) * np.maximum(1 - (across / eyes.width) ** 2, 0)
    ball = p.step(lid - np.abs(above)) * (lid > 0)
    p.paint(ball, np.minimum(tones.skin * 0.3 + 165, 240))
    p.paint(ball * p.ellipse(across - side * eyes.gaze, above, 0.085, 0.085), tones.skin * 0.12 + 12)
    width = p.band(across, eyes.width * 1.05)
    p.paint(width * p.band(above + lid, 0.028), p.skin * 0.35)
    p.paint(0.5 * width * p.band(above - lid, 0.015), p.skin * 0.5)
    # The inner and the outer end of a brow move by themselves.
    along = np.clip((across + 0.24) / 0.5, 0, 1)
    raised = 0.15 * (brows.inner * (1 - along) + (brows.outer + lopsided) * along)
    line = above + brows.level + raised - 0.16 * (along - 0.6) ** 2
    ink = np.minimum(tones.hair, tones.skin * 0.6)
    p.paint(p.band(line, brows.thick * (1.2 - 0.6 * along)) * p.band(across - 0.01, 0.25), ink)


def _mouth(p: _Plane, move: dict[str, Array], jaw: Array, level: Array, base: Array, teeth: Array) -> None:
    half = base * (1 + 0.45 * move["width"])
    t = np.clip(p.u / half, -1.15, 1.15)
    bend = np.maximum(1 - t * t, 0)
    line = p.v - (level - 0.02) + move["corners"] * (0.16 * t * t - 0.05)
    lip = np.clip(move["lip"], 0, 1.2)
    top = line + (0.09 * jaw + 0.13 * lip) * bend
    bottom = line - (0.34 * jaw + 0.03 * lip) * bend
    within = p.band(p.u, half)
    # Lips, then what they leave open, then the teeth behind the upper one.
    p.paint(0.8 * within * p.step(top + 0.075 * bend) * p.step(0.085 * bend - bottom), p.skin * 0.68)
    gape = within * p.step(top + 0.008) * p.step(0.008 - bottom)
    p.paint(gape, p.skin * 0.22)
    shown = np.maximum(teeth, np.clip(move["corners"], 0, 1)) * np.clip(4 * (jaw + lip), 0, 1)
    p.paint(gape * shown * p.step(0.11 - top) * p.step(top - 0.01), np.minimum(p.skin + 60, 245))
    p.paint(0.3 * p.band(line - 0.34 * jaw - 0.17, 0.03) * p.band(p.u, half * 0.6), p.skin * 0.7)


def _glasses(plane: _Plane, worn: Array, eyes: _Eyes, skin: Array) -> None:
    """On a few faces, whatever their expression."""
    which = worn[:, 0, 0] > 0
    if which.any():
        p, spread, height = plane.faces(which), eyes.spread[which], eyes.height[which]
        ring = np.sqrt(((np.abs(p.u) - spread) / 1.15) ** 2 + (p.v - height) ** 2) - 0.24
        bridge = p.band(p.v - height + 0.03, 0.02) * p.band(p.u, spread - 0.27)
        p.paint(np.maximum(p.band(ring, 0.025), bridge), skin[which] * 0.2)
        plane.canvas[which] = p.canvas
