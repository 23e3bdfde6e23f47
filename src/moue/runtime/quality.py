"""How good the image of a face is: whether there is enough in it to read an expression from.

Sharpness, contrast and brightness are those of the crop that the model gets, as gray on 48 × 48 pixels, so that they
compare between photos and between models. The limits are where models that read 64 % of clean validation faces read
fewer than half, and those of the pose where hardly any of these faces is turned further: see ``benchmarks/quality.py``
and ``results/quality-2026-11-26-epyc-2cores.json``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.errors import UsageError
from moue.runtime.array_equality import ArrayEquality

#: Side, in pixels, of the gray crop that is measured.
SIDE = 48
#: The least of each figure with which a face is read.
MIN_SIZE, MIN_SHARPNESS, MIN_CONTRAST, MIN_BRIGHTNESS, MIN_VISIBLE = 20.0, 0.2, 0.04, 0.09, 0.5
#: The most that a face may be turned aside, or up or down, in degrees.
MAX_YAW, MAX_PITCH = 50.0, 30.0
#: A face that is turned in the image's plane by more than this, in degrees, is tilted.
TILT = 10.0

#: Eyes, nose and corners of the mouth of a frontal head: x to the right of the image, y down, z away from the camera,
#: in distances of the eyes, about the middle of the four that are nearly in a plane.
_HEAD = np.array([[-0.5, -0.46, 0.0], [0.5, -0.46, 0.0], [0.0, 0.07, -0.45], [-0.43, 0.46, -0.05], [0.43, 0.46, -0.05]])
#: Which landmarks' positions make the rows of the camera that fits them best: ``(3, 5)``.
_FIT = np.linalg.pinv(_HEAD - _HEAD.mean(0))


@dataclass(frozen=True, eq=False)
class Quality(ArrayEquality):
    """The quality of the images of F faces.

    Raises:
        UsageError: when the arrays disagree in length.
    """

    size: NDArray[np.float32]
    """float32 ``(F,)``: the longer side of the face's box, in pixels of the image as given."""
    sharpness: NDArray[np.float32]
    """float32 ``(F,)``: standard deviation of the Laplacian, in standard deviations of the gray values; 0 for a face of
    one color."""
    contrast: NDArray[np.float32]
    """float32 ``(F,)``: standard deviation of the gray values, 0 to 0.5."""
    brightness: NDArray[np.float32]
    """float32 ``(F,)``: mean of the gray values, 0 to 1."""
    visible: NDArray[np.float32]
    """float32 ``(F,)``: the part of the box that is inside the image, 0 to 1."""
    pose: NDArray[np.float32]
    """float32 ``(F, 3)``: yaw (positive: turned to the right of the image), pitch (positive: down) and roll (positive:
    clockwise) in degrees; NaN where there are no landmarks, or they form no face."""
    has_landmarks: bool = True
    """Whether the detector gives landmarks."""

    def __post_init__(self) -> None:
        lengths = {len(getattr(self, name)) for name in _PER_FACE}
        if len(lengths) > 1:
            raise UsageError(f"quality must have a row a face in each array. Got {sorted(lengths)} rows instead.")

    def __len__(self) -> int:
        return len(self.size)

    def __getitem__(self, rows: Any) -> Quality:
        """Some of the faces, by slice, mask or list."""
        return replace(self, **{name: getattr(self, name)[rows] for name in _PER_FACE})

    def to_dict(self, i: int) -> dict[str, Any]:
        """The figures of one face as ``moue predict --format json`` has them, in plain types."""
        yaw, pitch, roll = (round(float(angle), 1) for angle in self.pose[i])
        return {
            "size": round(float(self.size[i]), 1),
            **{name: round(float(getattr(self, name)[i]), 4) for name in _PER_FACE[1:5]},
            "pose": None if np.isnan(roll) else {"yaw": yaw, "pitch": pitch, "roll": roll},
            "flaws": [name for name, has in self.flaws.items() if has[i]],
        }

    @cached_property
    def flaws(self) -> dict[str, NDArray[np.bool_]]:
        """By name of a flaw, bool ``(F,)``: which faces have it."""
        yaw, pitch, roll = self.pose.T
        return {
            "small": self.size < MIN_SIZE,
            "blurred": self.sharpness < MIN_SHARPNESS,
            "low_contrast": self.contrast < MIN_CONTRAST,
            "dark": self.brightness < MIN_BRIGHTNESS,
            "cut_off": self.visible < MIN_VISIBLE,
            "turned_aside": (np.abs(yaw) > MAX_YAW) | (np.abs(pitch) > MAX_PITCH),
            "orientation_unknown": np.isnan(roll) & self.has_landmarks,
        }

    @property
    def tilted(self) -> NDArray[np.bool_]:
        """bool ``(F,)``: which faces are turned in the image's plane by more than heads usually are."""
        return np.asarray(np.abs(self.pose[:, 2]) > TILT)

    @property
    def poor(self) -> NDArray[np.bool_]:
        """bool ``(F,)``: which faces have any flaw; their predictions are uncertain, however probable."""
        return np.asarray(np.any(list(self.flaws.values()), axis=0))


_PER_FACE = ("size", "sharpness", "contrast", "brightness", "visible", "pose")


def measure(
    crops: Sequence[NDArray[np.uint8]],
    boxes: NDArray[np.float32],
    landmarks: NDArray[np.float32] | None,
    reliable: NDArray[np.bool_] | None,
    *,
    width: int,
    height: int,
) -> Quality:
    """The quality of the faces of an image.

    Args:
        crops: uint8 ``(C, S, S)`` a face, as the model gets it.
        boxes: float32 ``(F, 4)``: x, y, width, height in pixels.
        landmarks: float32 ``(F, 5, 2)``, or None.
        reliable: bool ``(F,)``: which of them form a face.
        width: of the image, in pixels.
        height: of the image, in pixels.
    """
    top_left, bottom_right = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    inside = np.clip(np.minimum(bottom_right, (width, height)) - np.maximum(top_left, 0), 0, None).prod(1)
    pose = np.full((len(boxes), 3), np.nan, np.float32)
    if landmarks is not None and reliable is not None:
        pose[reliable] = poses(landmarks[reliable])
    sharpness, contrast, brightness = content_of(crops)
    return Quality(
        size=boxes[:, 2:].max(axis=1, initial=0),
        sharpness=sharpness,
        contrast=contrast,
        brightness=brightness,
        visible=(inside / np.maximum(boxes[:, 2:].prod(1), 1e-9)).astype(np.float32),
        pose=pose,
        has_landmarks=landmarks is not None,
    )


def content_of(crops: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
    """Sharpness, contrast and brightness, float32 ``(F,)`` each, of uint8 crops ``(C, S, S)``; see :class:`Quality`."""
    if not len(crops):
        return (np.zeros(0, np.float32),) * 3
    # Here, so that a model for finished crops opens without Pillow.
    from moue.preprocess import to_inputs

    gray = to_inputs(np.asarray(crops, np.uint8), SIDE, "gray")[:, 0].astype(np.float32) / 255
    vertical, horizontal = np.diff(gray, 2, axis=1)[:, :, 1:-1], np.diff(gray, 2, axis=2)[:, 1:-1]
    contrast = gray.std(axis=(1, 2))
    sharpness = (vertical + horizontal).std(axis=(1, 2)) / np.maximum(contrast, 1 / 255)
    return sharpness, contrast, gray.mean(axis=(1, 2))


def poses(landmarks: NDArray[np.floating]) -> NDArray[np.float32]:
    """How heads are turned, from five landmarks each.

    The scaled orthographic projection of an average head is fitted to the landmarks by least squares (the first step of
    DeMenthon and Davis, "Model-based object pose in 25 lines of code", 1995). Faces differ: expect errors of 10
    degrees.

    Args:
        landmarks: ``(F, 5, 2)`` x, y in pixels, as the detector gives them.

    Returns:
        float32 ``(F, 3)``: yaw, pitch and roll, as :class:`Quality` has them.
    """
    points = np.asarray(landmarks, np.float64)
    # Roll is that of the eyes, by which crops are aligned; the rest is of the leveled face.
    across = points[:, 1] - points[:, 0]
    roll = np.arctan2(across[:, 1], across[:, 0])
    cos, sin = np.cos(roll), np.sin(roll)
    level = points @ np.stack([np.stack([cos, -sin], 1), np.stack([sin, cos], 1)], 1)
    level = level - level.mean(1, keepdims=True)
    # Rows of the camera: (F, 2, 3), scaled; their directions are the first two rows of a rotation.
    camera = np.einsum("hp,fpc->fch", _FIT, level)
    scale = np.linalg.norm(camera, axis=2).mean(1)
    forward = np.cross(camera[:, 0], camera[:, 1]) / np.maximum(scale, 1e-9)[:, None] ** 2
    forward /= np.maximum(np.linalg.norm(forward, axis=1), 1e-9)[:, None]
    yaw, pitch = np.arctan2(forward[:, 0], forward[:, 2]), np.arcsin(np.clip(forward[:, 1], -1, 1))
    return np.asarray(np.degrees(np.stack([yaw, pitch, roll], 1)), np.float32)
