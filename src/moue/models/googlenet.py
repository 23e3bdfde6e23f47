"""GoogLeNet for small gray images.

Szegedy et al., "Going deeper with convolutions", 2015, with the channel numbers of its Table 1, batch normalization
(Ioffe and Szegedy, 2015) in place of its local response normalization, and a stem that reduces by 4 instead of 8.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moue.errors import UsageError, quoted
from moue.models.base import InputSpec, Network
from moue.spec import Color, channels_of

#: Table 1: output channels of 1×1, reduction before 3×3, 3×3, reduction before 5×5, 5×5, projection after the pool.
INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


class GoogLeNet(Network):
    """Inception v1 with two auxiliary classifiers for training alone.

    A 48×48 input runs modules 3a and 3b at 12×12, 4a to 4e at 6×6, 5a and 5b at 3×3. ``forward`` never computes the
    auxiliary classifiers, so evaluation and exported graphs are free of them. Pixels are divided by 255.

    Args:
        num_classes: number of logits.
        size: side of the input in pixels, at least 32.
        color: "gray" or "rgb".
        width: factor on all channel numbers of the trunk.
        dropout: before the classifier (the paper's 0.4).
        aux: whether to have auxiliary classifiers, after 4a and 4d.
        aux_dropout: inside them (the paper's 0.7).

    Raises:
        UsageError: for a size below 32, or a width of 0 or less.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        size: int = 48,
        color: Color = "gray",
        width: float = 1.0,
        dropout: float = 0.4,
        aux: bool = True,
        aux_dropout: float = 0.7,
    ) -> None:
        channels = channels_of(color)
        super().__init__(InputSpec(size=size, color=color, channels=channels), num_classes)
        if size < 32:
            raise UsageError(f"googlenet's size must be at least 32 pixels. Got {quoted(size)} instead.")
        if width <= 0:
            raise UsageError(f"width must be above 0. Got {quoted(width)} instead.")
        first, second = _scaled(width, 64, 192)
        # The paper's 7×7 convolution with stride 2, without the max-pool behind it: the map is small enough.
        self.stem = nn.Sequential(
            ConvNorm(channels, first, 7, stride=2),
            ConvNorm(first, first, 1),
            ConvNorm(first, second, 3),
        )
        self.inceptions = nn.ModuleDict()
        incoming = second
        for name, table in INCEPTIONS.items():
            module = Inception(incoming, *_scaled(width, *table))
            self.inceptions[name] = module
            incoming = module.channels
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(incoming, num_classes)
        # Strides of the stem's convolution, the pool before 3a and the one before 4a.
        side = (size - 1) // 8 + 1
        self.aux = nn.ModuleDict()
        for name in ("4a", "4d") if aux else ():
            trunk = self.inceptions[name]
            assert isinstance(trunk, Inception)
            self.aux[name] = AuxClassifier(trunk.channels, num_classes, side, aux_dropout)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, x: Tensor) -> Tensor:
        """Prepared input to the map ``(N, 1024 × width, h, w)`` of module 5b."""
        return self._trunk(x)[0]

    def forward_head(self, features: Tensor) -> Tensor:
        """Global average, dropout, classifier."""
        out: Tensor = self.classifier(self.dropout(features.mean((2, 3))))
        return out

    def forward_with_aux(self, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits and, in training, those of the two auxiliary classifiers."""
        features, taps = self._trunk(self.prepare(pixels))
        aux = [classifier(taps[name]) for name, classifier in self.aux.items()] if self.training else []
        return self.forward_head(features), aux

    def inference_parameters(self) -> Iterator[nn.Parameter]:
        """All weights but those of the two auxiliary classifiers."""
        return (p for name, p in self.named_parameters() if not name.startswith("aux."))

    def _trunk(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        x = self.stem(x)
        taps = {}
        for name, module in self.inceptions.items():
            if name in ("3a", "4a", "5a"):
                x = F.max_pool2d(x, 3, stride=2, padding=1)
            x = taps[name] = module(x)
        return x, taps


class Inception(nn.Module):
    """Four branches over one map, joined by channel: 1×1, 3×3 and 5×5 behind 1×1 reductions, and a 3×3 max-pool."""

    def __init__(self, incoming: int, one: int, reduce3: int, three: int, reduce5: int, five: int, pool: int) -> None:
        super().__init__()
        # The 1×1 convolutions that read the same map run as one; batch normalization is by channel, so nothing changes.
        self.parts = [one, reduce3, reduce5]
        self.ones = ConvNorm(incoming, sum(self.parts), 1)
        self.threes = ConvNorm(reduce3, three, 3)
        self.fives = ConvNorm(reduce5, five, 5)
        self.pooled = ConvNorm(incoming, pool, 1)
        self.channels = one + three + five + pool

    def forward(self, x: Tensor) -> Tensor:
        """``(N, incoming, h, w)`` to ``(N, channels, h, w)``."""
        one, three, five = self.ones(x).split(self.parts, dim=1)
        pooled = self.pooled(F.max_pool2d(x, 3, stride=1, padding=1))
        return torch.cat([one, self.threes(three), self.fives(five), pooled], dim=1)


class AuxClassifier(nn.Module):
    """5×5 average pool with stride 3, 1×1 convolution to 128, fully connected 1024, dropout, fully connected classes.

    Where that pool would leave less than 2×2 values, or the map has another size than at construction, an adaptive
    one is used instead.
    """

    def __init__(self, incoming: int, num_classes: int, side: int, dropout: float) -> None:
        super().__init__()
        self.pooled_side = max(2, (side - 5) // 3 + 1)
        self.conv = ConvNorm(incoming, 128, 1)
        self.hidden = nn.Linear(128 * self.pooled_side**2, 1024)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(1024, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, incoming, h, w)`` to logits ``(N, num_classes)``."""
        exact = all((side - 5) // 3 + 1 == self.pooled_side for side in x.shape[2:])
        x = F.avg_pool2d(x, 5, 3) if exact else F.adaptive_avg_pool2d(x, self.pooled_side)
        out: Tensor = self.classifier(self.dropout(F.relu(self.hidden(self.conv(x).flatten(1)))))
        return out


class ConvNorm(nn.Sequential):
    """Convolution that keeps the map's size (but for its stride), batch normalization, ReLU."""

    def __init__(self, incoming: int, outgoing: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(incoming, outgoing, kernel, stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(outgoing),
            nn.ReLU(inplace=True),
        )


def _scaled(width: float, *channels: int) -> list[int]:
    return [max(8, round(c * width / 8) * 8) for c in channels] if width != 1 else list(channels)
