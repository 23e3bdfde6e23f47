"""Augmentation of whole batches, on the device that trains.

All geometry (flip, rotation, scale, shift) is one affine map an image and one bilinear sampling; light and erasing are
elementwise. Every random number comes from the generator that is passed in, on the CPU, so a seed gives the same
images on every device.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from moue.models.devices import put
from moue.training.config import DataConfig
from moue.training.degrade import NOISY, degrade
from moue.training.processes import Part

#: The settings of :meth:`Augment.damage`.
DAMAGE = ("gamma", "degradation", "degradation_from", "random_erasing", "random_erasing_size")


class Augment:
    """Random views of a batch.

    Args:
        config: which changes, and how strong; see :class:`moue.training.config.DataConfig`.
    """

    def __init__(self, config: DataConfig) -> None:
        self.config = config
        self.geometric = config.augment and any(
            (config.rotation, config.scale, config.scale_up, config.shift, config.random_crop)
        )

    def __call__(
        self, images: Tensor, generator: torch.Generator, flips: Tensor | None = None, part: Part | None = None
    ) -> Tensor:
        """Augment a batch.

        Args:
            images: uint8 or float ``(N, C, H, W)``, 0..255.
            generator: a CPU generator; the only source of randomness.
            flips: bool ``(N,)``: which images to mirror; drawn with probability ½ each when None.
            part: which rows of a larger batch these are; each looks as it does within the whole batch.

        Returns:
            float32 ``(N, C, H, W)``, 0..255 (values are clipped); H and W are ``random_crop`` where that is set.
        """
        return self.damage(self.view(images, generator, flips, part), generator, part)

    def view(
        self, images: Tensor, generator: torch.Generator, flips: Tensor | None = None, part: Part | None = None
    ) -> Tensor:
        """The first half of :meth:`__call__`: geometry and light, which leave a face as easy to read as it was."""
        x, c = images.float(), self.config
        if not c.augment:
            return x
        n, draw = len(x), _Draw(generator, part, x)
        if c.flip:
            # Always drawn, so that passing flips does not shift the later random numbers.
            drawn = draw(0, 1) < 0.5
            flips = drawn if flips is None else put(flips, x.device)
        else:
            flips = None
        if self.geometric:
            angle = draw(-1, 1) * math.radians(c.rotation)
            change = draw(-1, 1)
            growth = c.scale if c.scale_up is None else c.scale_up
            scale = 1 / (1 + torch.where(change < 0, change * c.scale, change * growth))
            dx, dy = draw(-1, 1) * 2 * c.shift, draw(-1, 1) * 2 * c.shift
            cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
            mirror = 1.0 if flips is None else 1 - 2 * flips.float()
            theta = torch.stack([cos * mirror, -sin, dx, sin * mirror, cos, dy], dim=1).view(n, 2, 3)
            shape = list(x.shape)
            if c.random_crop:
                theta = self._crop(theta, c.random_crop / shape[-1], draw)
                shape[-2:] = c.random_crop, c.random_crop
            grid = F.affine_grid(theta, shape, align_corners=False)
            # Edges are repeated rather than filled with black: a black wedge would tell the angle.
            x = F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
        elif flips is not None:
            x = torch.where(flips.view(-1, 1, 1, 1), x.flip(3), x)
        if c.contrast > 0 or c.brightness > 0:
            gain = 1 + draw(-1, 1).view(-1, 1, 1, 1) * c.contrast
            bias = draw(-1, 1).view(-1, 1, 1, 1) * c.brightness * 255
            mean = x.mean(dim=(1, 2, 3), keepdim=True)
            x = ((x - mean) * gain + (mean + bias)).clamp_(0, 255)
        return x

    @property
    def damages(self) -> bool:
        """Whether :meth:`damage` changes anything."""
        c = self.config
        return c.augment and any((c.gamma, c.degradation, c.random_erasing))

    def damage(self, views: Tensor, generator: torch.Generator, part: Part | None = None) -> Tensor:
        """The second half of :meth:`__call__`: gray-level curves, bad cameras, covered places. What teachers say is of
        the view before it.
        """
        x, c = views, self.config
        if not self.damages:
            return x
        draw = _Draw(generator, part, x)
        if c.gamma > 0:
            x = 255 * (x / 255).clamp(0, 1) ** (2 ** (draw(-1, 1) * c.gamma)).view(-1, 1, 1, 1)
        if c.degradation > 0:
            kinds = torch.where(draw.all(0, 1) < c.degradation, draw.all(1, 5).long(), 0)
            strengths, noisy, rows = draw(0, 1), kinds == NOISY, draw.part.rows
            noise = torch.randn((int(noisy.sum()), *x.shape[1:]), generator=generator)
            own = (noisy.cumsum(0) - 1)[rows][noisy[rows]]
            x = degrade(x, put(kinds[rows], x.device), strengths, lambda _: put(noise[own], x.device))
        if c.random_erasing > 0:
            x = self._erase(x, draw)
        return x

    def _crop(self, theta: Tensor, share: float, draw: Callable[[float, float], Tensor]) -> Tensor:
        """The maps ``(N, 2, 3)`` of a random part of each image, whose side is that share of the image's."""
        offset = torch.stack([draw(-1, 1), draw(-1, 1)], dim=1)[:, :, None] * (1 - share)
        return torch.cat([theta[:, :, :2] * share, theta[:, :, 2:] + theta[:, :, :2] @ offset], dim=2)

    def _erase(self, x: Tensor, draw: Callable[[float, float], Tensor]) -> Tensor:
        """Overwrite a square of some images with mid-gray; it may reach over the border: edges go as often."""
        n, _, h, w = x.shape
        side = self.config.random_erasing_size
        erased = draw(0, 1) < self.config.random_erasing
        cx, cy = draw(0, 1) * w, draw(0, 1) * h
        columns = (torch.arange(w, device=x.device)[None] + 0.5 - cx[:, None]).abs() < side * w / 2
        rows = (torch.arange(h, device=x.device)[None] + 0.5 - cy[:, None]).abs() < side * h / 2
        hole = rows[:, None, :, None] & columns[:, None, None, :] & erased.view(n, 1, 1, 1)
        return x.masked_fill(hole, 127.5)


class _Draw:
    """Uniform random numbers, one for each of some images: those that each has in its whole batch."""

    def __init__(self, generator: torch.Generator, part: Part | None, images: Tensor) -> None:
        self.generator, self.device = generator, images.device
        self.part = part or Part(len(images), torch.arange(len(images)))

    def all(self, low: float, high: float) -> Tensor:
        """Those of the whole batch, on the CPU."""
        return torch.empty(self.part.total).uniform_(low, high, generator=self.generator)

    def __call__(self, low: float, high: float) -> Tensor:
        return put(self.all(low, high)[self.part.rows], self.device)


def preview(images: NDArray[np.uint8], seed: int = 0) -> NDArray[np.uint8]:
    """How training changes some images by default, for people to look at.

    Args:
        images: uint8 ``(N, C, H, W)``, 0..255.
        seed: of the changes.

    Returns:
        uint8 of the same shape.
    """
    changed = Augment(DataConfig())(torch.from_numpy(images), torch.Generator().manual_seed(seed))
    return changed.round().clamp(0, 255).to(torch.uint8).numpy()


def scaled(images: Tensor, size: int | None) -> Tensor:
    """Float images ``(N, C, H, W)`` at ``size`` × ``size``, smoothed before they shrink, as they are at that size or
    for None; laid out channels last, as the networks are. Tokens ``(N, T, D)`` stay as they are.
    """
    if images.ndim == 3:
        return images
    if size is not None and images.shape[-1] != size:
        images = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    return images.contiguous(memory_format=torch.channels_last)
