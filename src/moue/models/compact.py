"""`compact`: a small residual network for 48×48 gray faces, shaped for today's processors.

The shapes of the convolutions matter as much as the number of operations: 3×3 convolutions over 32 to 256 channels at
24×24 and 12×12 run near a processor's peak, while convolutions of one channel at full resolution and wide ones on 3×3
maps do not. So the stem turns 2×2 pixels into channels, each stage widens before it pools, and no map is smaller than
6×6.

For fast learning in few epochs there are max-pooling between and after the stages, residual branches that are active
from the first step, and logits that start small.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from moue.errors import UsageError, quoted
from moue.models.base import InputSpec, Network, last_maps


class ConvNorm(nn.Sequential):
    """3×3 convolution, batch norm, ReLU: ``(N, C_in, h, w)`` to ``(N, C_out, h, w)``."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
        )


class Residual(nn.Module):
    """Two 3×3 convolutions, added to their input (He et al., "Deep residual learning", 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(ConvNorm(width, width), ConvNorm(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """``(N, width, h, w)`` to the same."""
        y: Tensor = x + self.branch(x)
        return y


class Compact(Network):
    """The network.

    Args:
        num_classes: number of logits.
        widths: channels of the stem, and of each stage after it; a stage widens, halves the side by max-pooling, and
            refines with residual blocks.
        blocks: residual blocks of each stage, one number fewer than ``widths``; by default one in each.
        dropout: before the classifier.
        space_to_depth: side of the squares of pixels that the stem turns into channels: with 2 it runs at 24×24, which
            is faster, with 1 at 48×48.

    Raises:
        UsageError: for widths without a stage, another ``space_to_depth``, or not as many ``blocks`` as stages.
    """

    def __init__(
        self,
        num_classes: int,
        widths: tuple[int, ...] = (32, 96, 192),
        blocks: tuple[int, ...] | None = None,
        dropout: float = 0.1,
        space_to_depth: int = 2,
    ) -> None:
        # FER-2013's mean and deviation over Training are 0.51 and 0.25.
        super().__init__(InputSpec(size=48, mean=(0.5,), std=(0.25,)), num_classes)
        blocks = (1,) * (len(widths) - 1) if blocks is None else blocks
        if len(widths) < 2 or min(widths) < 1:
            raise UsageError(
                f"widths must be two or more numbers of at least 1 channel. Got {quoted(list(widths))} instead."
            )
        if len(blocks) != len(widths) - 1 or min(blocks) < 0:
            raise UsageError(
                f"blocks must be {len(widths) - 1} numbers, one a stage. Got {quoted(list(blocks))} instead."
            )
        if space_to_depth not in (1, 2):
            raise UsageError(f"space_to_depth must be 1 or 2 pixels. Got {quoted(space_to_depth)} instead.")
        layers: list[nn.Module] = [nn.PixelUnshuffle(2)] if space_to_depth == 2 else []
        layers.append(ConvNorm(space_to_depth * space_to_depth, widths[0]))
        for inputs, outputs, depth in zip(widths, widths[1:], blocks, strict=False):
            layers += [ConvNorm(inputs, outputs), nn.MaxPool2d(2), *(Residual(outputs) for _ in range(depth))]
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(widths[-1], num_classes, bias=False)

    def forward_features(self, x: Tensor) -> Tensor:
        """Prepared input ``(N, 1, S, S)`` to a map ``(N, widths[-1], s, s)``, where s is S / ``space_to_depth``,
        halved by each stage.
        """
        return self.forward_maps(x, 1)[-1]

    def forward_maps(self, x: Tensor, count: int) -> list[Tensor]:
        """Prepared input ``(N, 1, S, S)`` to the maps of the last ``count`` layers, pooling among them."""
        return last_maps(self.features, x, count)

    def forward_head(self, features: Tensor) -> Tensor:
        """Global max-pooling, dropout, linear."""
        # Maxima over a map are several deviations large: a quarter keeps the first logits near zero.
        logits: Tensor = self.classifier(self.dropout(F.adaptive_max_pool2d(features, 1).flatten(1)) * 0.25)
        return logits
