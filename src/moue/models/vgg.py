"""`vgg`: stages of two 3×3 convolutions for 48×48 gray faces (Simonyan and Zisserman, "Very deep convolutional networks
for large-scale image recognition", 2015), with batch norm and global average pooling in place of large dense layers."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from moue.models.base import InputSpec, Network, last_maps
from moue.models.compact import ConvNorm
from moue.spec import Color, channels_of


class VGG(Network):
    """The network.

    Args:
        num_classes: number of logits.
        widths: channels of each stage; every stage but the last ends in max-pooling.
        size: side of the input in pixels.
        color: "gray" or "rgb".
        dropout: before the classifier.
    """

    def __init__(
        self,
        num_classes: int,
        widths: tuple[int, ...] = (64, 128, 256, 512),
        size: int = 48,
        color: Color = "gray",
        dropout: float = 0.3,
    ) -> None:
        channels = channels_of(color)
        super().__init__(InputSpec(size, color, channels=channels, mean=(0.5,), std=(0.25,)), num_classes)
        layers: list[nn.Module] = []
        for inputs, outputs in zip((channels, *widths), widths, strict=False):
            layers += [ConvNorm(inputs, outputs), ConvNorm(outputs, outputs), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers[:-1])
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(widths[-1], num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """Prepared input ``(N, 1, S, S)`` to a map ``(N, widths[-1], s, s)``: S is halved after each stage but the
        last.
        """
        return self.forward_maps(x, 1)[-1]

    def forward_maps(self, x: Tensor, count: int) -> list[Tensor]:
        """Prepared input ``(N, 1, S, S)`` to the maps of the last ``count`` layers, pooling among them."""
        return last_maps(self.features, x, count)

    def forward_head(self, features: Tensor) -> Tensor:
        """Global average pooling, dropout, linear."""
        logits: Tensor = self.classifier(self.dropout(F.adaptive_avg_pool2d(features, 1).flatten(1)))
        return logits
