"""The base class of all networks: a module from raw pixels to logits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moue.errors import UsageError
from moue.spec import Color, ModelSpec


@dataclass(frozen=True)
class InputSpec:
    """How a network turns raw pixels into its own input; all of it happens inside :meth:`Network.prepare`."""

    size: int = 48
    """Height and width that the network is fed, in pixels (its uint8 input)."""
    color: Color = "gray"
    """Color that the network is fed: "gray" (one channel) or "rgb" (three)."""
    upsample: int | None = None
    """Side to which pixels are scaled inside (bilinear), e.g. 224; None keeps them."""
    channels: int = 1
    """Channels of the first layer; a gray input is repeated to three where this is 3."""
    mean: tuple[float, ...] = (0.0,)
    """Subtracted after division by 255; one value for all channels, or one each."""
    std: tuple[float, ...] = (1.0,)
    """Divided by after that."""


class Network(nn.Module):
    """Base class: ``forward`` is ``prepare`` → ``forward_features`` → ``forward_head``.

    Subclasses implement the two halves.

    Args:
        input: how raw pixels become the first layer's input.
        num_classes: number of logits.
    """

    input: InputSpec
    rebuild: dict[str, Any]
    """Options that build this architecture again without published weights ("pretrained": False); saved with the
    weights."""
    spec: ModelSpec | None
    """Labels, input and temperature of a trained network; None before it is trained."""
    fresh: tuple[str, ...] = ()
    """Children that are initialized at random beside pretrained ones, besides the last layer: trained while those are
    frozen, and at the full rate."""
    _mean: Tensor
    _scale: Tensor

    def __init__(self, input: InputSpec, num_classes: int) -> None:
        super().__init__()
        self.input = input
        self.num_classes = num_classes
        self.rebuild = {}
        self.spec = None
        self.register_buffer("_mean", torch.tensor(input.mean).view(1, -1, 1, 1) * 255, persistent=False)
        self.register_buffer("_scale", 1 / (torch.tensor(input.std).view(1, -1, 1, 1) * 255), persistent=False)

    def prepare(self, pixels: Tensor) -> Tensor:
        """Raw pixels to the first layer's input.

        Args:
            pixels: uint8 or float ``(N, C, H, W)`` in 0..255, C = 1 gray or 3 RGB.

        Returns:
            float ``(N, input.channels, S, S)``, scaled to ``input.upsample`` where it is set, normalized.
        """
        # To the weights' type: whole numbers up to 256 are exact even in bfloat16.
        x = pixels.to(self._mean.dtype)
        if self.input.upsample is not None and x.shape[-1] != self.input.upsample:
            x = F.interpolate(x, size=(self.input.upsample, self.input.upsample), mode="bilinear", align_corners=False)
        if self.input.channels == 3 and x.shape[1] == 1:
            x = x.expand(-1, 3, -1, -1)
        return (x - self._mean) * self._scale

    def forward_features(self, x: Tensor) -> Tensor:
        """Prepared input to features: a map ``(N, D, h, w)`` or tokens ``(N, T, D)``."""
        raise NotImplementedError

    def forward_maps(self, x: Tensor, count: int) -> list[Tensor]:
        """Prepared input to the maps of the last blocks, ``(N, D, h, w)`` each; the last one is ``forward_features``'.

        Args:
            x: as of ``forward_features``.
            count: how many, from 1.

        Raises:
            UsageError: where it has fewer, or is not a chain of blocks.
        """
        if count == 1:
            return [self.forward_features(x)]
        raise UsageError(f"{type(self).__name__} gives the map of its last block alone, not of {count}.")

    def forward_head(self, features: Tensor) -> Tensor:
        """Features to logits ``(N, num_classes)``."""
        raise NotImplementedError

    def forward(self, pixels: Tensor) -> Tensor:
        """Raw pixels ``(N, C, H, W)`` in 0..255 to logits ``(N, num_classes)``."""
        return self.forward_head(self.forward_features(self.prepare(pixels)))

    def forward_with_aux(self, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits, and those of the auxiliary classifiers that training adds with weight 0.3 (none by default)."""
        return self(pixels), []

    def start_from(self, pixels: Tensor) -> None:
        """Look at some training images ``(N, C, H, W)``, in 0..255, before the first step of a training that does not
        start from another's weights (nothing by default).
        """

    @property
    def frozen_shape(self) -> tuple[int, int] | None:
        """Tokens and width of what the frozen layers give for an image; None where no layer from the input up is
        frozen (the default).
        """
        return None

    def forward_frozen(self, pixels: Tensor) -> Tensor:
        """Raw pixels to what the frozen layers give, ``(N, T, D)``, where there is a ``frozen_shape``; ``forward`` and
        ``forward_with_aux`` then take that, too.
        """
        raise NotImplementedError

    def hidden_matrices(self) -> Iterator[nn.Parameter]:
        """Weight matrices between hidden layers, which Muon orthogonalizes like filters (none by default)."""
        return iter(())

    def inference_parameters(self) -> Iterator[nn.Parameter]:
        """The weights that inference uses, hence an exported graph has: all but those of auxiliary classifiers."""
        return self.parameters()


def last_maps(blocks: nn.Sequential, x: Tensor, count: int) -> list[Tensor]:
    """What the last ``count`` blocks of a chain give.

    Raises:
        UsageError: when it has fewer.
    """
    if count > len(blocks):
        raise UsageError(f"there are {len(blocks)} blocks, of which {count} cannot give their maps.")
    maps = []
    for i, block in enumerate(blocks):
        x = block(x)
        if i >= len(blocks) - count:
            maps.append(x)
    return maps


def in_color(images: Tensor, color: Color) -> Tensor:
    """Float images ``(N, 1 or 3, H, W)`` in another network's color; gray is ITU-R 601 luma, as in preprocessing."""
    if color == "rgb":
        return images.expand(-1, 3, -1, -1)
    if images.shape[1] == 1:
        return images
    # Without a tensor made of numbers, which a captured step could not hold.
    return 0.299 * images[:, :1] + 0.587 * images[:, 1:2] + 0.114 * images[:, 2:]
