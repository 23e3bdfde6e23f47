"""A hybrid of convolutions and self-attention for 48×48 images: convolutional stages, then transformer stages.

After Dai et al., "CoAtNet: marrying convolution and attention for all data sizes", 2021: convolutions where maps are
large, as they learn local detail from few images, and self-attention where maps are small, as its cost grows with the
square of their area. The convolutional stages are those of `compact`; the transformer stages have the layers and the
fixed positions of `vit-compact`, and end in a map, whose mean the classifier reads.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from torch import Tensor, nn

from moue.errors import UsageError, quoted
from moue.models.base import InputSpec, Network
from moue.models.compact import ConvNorm, Residual
from moue.models.vit_compact import Layer, positional_encoding
from moue.spec import Color, channels_of


class ConvViT(Network):
    """A stem at half of the image's side, and stages that each halve it: at 48 pixels 24×24 and 12×12 for convolutions,
    6×6 and 3×3 for transformers.

    Pixels are normalized with mean 0.5 and standard deviation 0.25.

    Args:
        num_classes: number of logits.
        size: side of the input in pixels, an even number.
        color: "gray" or "rgb".
        widths: channels of the stem and of each convolutional stage after it.
        blocks: residual blocks of each convolutional stage.
        dims: widths of the tokens of each transformer stage, multiples of 4 and of ``head_dim``.
        depths: layers of each transformer stage, one number for each of ``dims``.
        head_dim: width of an attention head.
        mlp_ratio: hidden width of a layer's MLP over its tokens' width.
        drop_path: probability that the last layer's branches are skipped for an image in training; earlier layers have
            proportionally less (Huang et al., "Deep networks with stochastic depth", 2016).
        dropout: before the classifier.

    Raises:
        UsageError: for a size that leaves no map, widths that do not divide, a stage without layers, or a ``drop_path``
            that is no probability.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        size: int = 48,
        color: Color = "gray",
        widths: tuple[int, ...] = (32, 96),
        blocks: int = 1,
        dims: tuple[int, ...] = (192, 256),
        depths: tuple[int, ...] = (3, 2),
        head_dim: int = 32,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.1,
        dropout: float = 0.1,
    ) -> None:
        channels = channels_of(color)
        super().__init__(InputSpec(size=size, color=color, channels=channels, mean=(0.5,), std=(0.25,)), num_classes)
        smallest = 2 ** (len(widths) + len(dims))
        if size % 2 or size < smallest:
            raise UsageError(f"size must be an even number of at least {smallest} pixels. Got {quoted(size)} instead.")
        if not widths or min(widths) < 1 or blocks < 0:
            raise UsageError(
                f"widths must be one or more numbers of at least 1 channel, and blocks 0 or more. "
                f"Got widths={quoted(list(widths))}, blocks={quoted(blocks)} instead."
            )
        if not dims or head_dim < 1 or any(dim < 4 or dim % 4 or dim % head_dim for dim in dims):
            raise UsageError(
                f"dims must be multiples of 4 and of head_dim. "
                f"Got dims={quoted(list(dims))}, head_dim={quoted(head_dim)} instead."
            )
        if len(depths) != len(dims) or min(depths) < 1:
            raise UsageError(
                f"depths must be {len(dims)} numbers of at least 1 layer, one a transformer stage. "
                f"Got {quoted(list(depths))} instead."
            )
        if not 0 <= drop_path < 1:
            raise UsageError(f"drop_path must be at least 0 and below 1. Got {quoted(drop_path)} instead.")
        layers: list[nn.Module] = [nn.PixelUnshuffle(2), ConvNorm(4 * channels, widths[0])]
        for inputs, outputs in itertools.pairwise(widths):
            layers += [ConvNorm(inputs, outputs), nn.MaxPool2d(2), *(Residual(outputs) for _ in range(blocks))]
        self.convolutions = nn.Sequential(*layers)
        last = sum(depths) - 1
        rates = iter([drop_path * i / max(1, last) for i in range(last + 1)])
        self.stages = nn.ModuleList(
            TransformerStage(inputs, dim, dim // head_dim, round(dim * mlp_ratio), [next(rates) for _ in range(depth)])
            for inputs, dim, depth in zip((widths[-1], *dims), dims, depths, strict=False)
        )
        self.norm = nn.LayerNorm(dims[-1], eps=1e-6)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(dims[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward_features(self, x: Tensor) -> Tensor:
        """Prepared input ``(N, C, S, S)`` to a normalized map ``(N, dims[-1], s, s)``, where s is S / 2, halved by each
        stage.
        """
        x = self.convolutions(x)
        for stage in self.stages:
            x = stage(x)
        out: Tensor = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return out

    def forward_head(self, features: Tensor) -> Tensor:
        """The mean of the map to logits."""
        out: Tensor = self.classifier(self.dropout(features.mean((2, 3))))
        return out

    def hidden_matrices(self) -> Iterator[nn.Parameter]:
        """Those of attention and MLPs."""
        return (p for p in self.stages.parameters() if p.ndim == 2)


class TransformerStage(nn.Module):
    """A convolution that widens, max-pooling, fixed positions, and pre-norm layers of self-attention."""

    def __init__(self, inputs: int, dim: int, heads: int, hidden: int, drop_paths: list[float]) -> None:
        super().__init__()
        self.reduce = nn.Sequential(ConvNorm(inputs, dim), nn.MaxPool2d(2))
        self.layers = nn.ModuleList(Layer(dim, heads, hidden, rate) for rate in drop_paths)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, 2s, 2s)`` to ``(N, dim, s, s)``."""
        x = self.reduce(x)
        n, dim, side, _ = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + positional_encoding(side, dim, tokens.device).to(tokens.dtype)
        for layer in self.layers:
            tokens = layer(tokens)
        return tokens.transpose(1, 2).reshape(n, dim, side, side)
