"""Images as bad cameras, compression and small faces leave them: augmentation for faces unlike the training set's."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

#: JPEG's quantization of gray levels at quality 50, by frequency (ITU-T T.81, table K.1).
LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)

#: The worst that each degradation does: share of the side that is left, standard deviation of the blur as a share of
#: the side, standard deviation of the noise of 255, JPEG quality.
SMALLEST, BLUR, NOISE, QUALITY = 0.33, 0.04, 30.0, 8.0

#: The kind of degradation that is noise.
NOISY = 3


def degrade(images: Tensor, kinds: Tensor, strengths: Tensor, noise: Callable[[Tensor], Tensor]) -> Tensor:
    """Degrade each image in one way.

    Args:
        images: float ``(N, C, H, W)``, 0..255.
        kinds: integers ``(N,)``: 0 leaves an image as it is; 1 low resolution, 2 blur, 3 noise, 4 JPEG compression.
        strengths: ``(N,)``, 0 (hardly) to 1.
        noise: gives standard normal numbers in the shape of a tensor.

    Returns:
        float ``(N, C, H, W)``, 0..255.
    """
    out = images.clone()
    for kind, change in enumerate((_low_resolution, _blur, None, _jpeg), 1):
        rows = kinds == kind
        if not rows.any():
            continue
        part, strength = images[rows], strengths[rows].view(-1, 1, 1, 1)
        changed = part + noise(part) * NOISE * strength if change is None else change(part, strength)
        out[rows] = changed.clamp(0, 255)
    return out


def _low_resolution(images: Tensor, strength: Tensor) -> Tensor:
    """Scaled down and up again; sides are rounded to eighths, so that images of one side go together."""
    side, out = images.shape[-1], torch.empty_like(images)
    eighths = (8 * (1 - strength.flatten() * (1 - SMALLEST))).round().clamp(1, 8)
    for share in eighths.unique(sorted=True):  # type: ignore[no-untyped-call]
        rows = eighths == share
        small = max(1, round(side * float(share) / 8))
        shrunk = F.interpolate(images[rows], size=(small, small), mode="bilinear", antialias=True, align_corners=False)
        out[rows] = F.interpolate(shrunk, size=images.shape[-2:], mode="bilinear", align_corners=False)
    return out


def _blur(images: Tensor, strength: Tensor) -> Tensor:
    """Gaussian, each image with its own deviation; edges are repeated."""
    n, channels, _, side = images.shape
    sigma = (strength.flatten() * BLUR * side).clamp_min(0.05)
    reach = max(1, math.ceil(2.5 * BLUR * side))
    offsets = torch.arange(-reach, reach + 1, device=images.device)
    kernel = torch.exp(-(offsets**2) / (2 * sigma[:, None] ** 2))
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, dim=0)[:, None, None]
    rows = F.pad(images, (reach,) * 4, mode="replicate").reshape(1, n * channels, *(2 * [side + 2 * reach]))
    blurred = F.conv2d(F.conv2d(rows, kernel, groups=n * channels), kernel.transpose(2, 3), groups=n * channels)
    return blurred.view_as(images)


def _jpeg(images: Tensor, strength: Tensor) -> Tensor:
    """Baseline JPEG of each channel: the cosine transform of 8×8 blocks, rounded to the quantization table's steps."""
    n, channels, height, width = images.shape
    quality = 50 - strength * (50 - QUALITY)
    steps = (torch.tensor(LUMA, device=images.device) * 50 / quality).clamp(1, 255).view(n, 1, 1, 1, 8, 8)
    padded = F.pad(images, (0, -width % 8, 0, -height % 8), mode="replicate")
    down, across = padded.shape[2] // 8, padded.shape[3] // 8
    blocks = padded.reshape(n, channels, down, 8, across, 8).transpose(3, 4) - 128
    cosine = _cosine_transform(images.device)
    frequencies = cosine @ blocks @ cosine.T
    restored = cosine.T @ ((frequencies / steps).round() * steps) @ cosine + 128
    return restored.transpose(3, 4).reshape_as(padded)[:, :, :height, :width]


def _cosine_transform(device: torch.device) -> Tensor:
    """The orthonormal 8×8 matrix of the discrete cosine transform (type II)."""
    k = torch.arange(8, device=device)
    matrix = torch.cos(math.pi * (2 * k[None] + 1) * k[:, None] / 16) / 2
    matrix[0] /= math.sqrt(2)
    return matrix
