"""A vision transformer for 48×48 images that trains from scratch.

Dosovitskiy et al., "An image is worth 16×16 words", 2021, with what lets it learn from few images in few epochs: a
convolutional stem in place of one large patch convolution (Xiao et al., "Early convolutions help transformers see
better", 2021), a fixed sine-cosine positional encoding, and the mean of all tokens in place of a class token (Beyer et
al., "Better plain ViT baselines for ImageNet-1k", 2022).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moue.errors import UsageError, quoted
from moue.models.base import InputSpec, Network
from moue.spec import Color, channels_of

#: Side of the square of pixels that becomes one token.
PATCH = 6


class ViTCompact(Network):
    """Patches of 6×6 pixels (8×8 tokens at 48 pixels), fixed positional encoding, pre-norm layers, mean of the tokens.

    Pixels are normalized to [-1, 1].

    Args:
        num_classes: number of logits.
        size: side of the input in pixels, a multiple of 6.
        color: "gray" or "rgb".
        dim: width of a token, a multiple of 4 and of ``heads``.
        depth: number of layers.
        heads: attention heads of each layer.
        mlp_ratio: hidden width of a layer's MLP over ``dim``.
        drop_path: probability that the last layer's branches are skipped for an image in training; earlier layers
            have proportionally less (Huang et al., "Deep networks with stochastic depth", 2016).
        dropout: before the classifier.

    Raises:
        UsageError: for a size or width that does not divide, no layer, or a ``drop_path`` that is no probability.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        size: int = 48,
        color: Color = "gray",
        dim: int = 192,
        depth: int = 6,
        heads: int = 6,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.1,
        dropout: float = 0.0,
    ) -> None:
        channels = channels_of(color)
        super().__init__(InputSpec(size=size, color=color, channels=channels, mean=(0.5,), std=(0.5,)), num_classes)
        if size < PATCH or size % PATCH:
            raise UsageError(f"size must be a multiple of {PATCH} pixels. Got {quoted(size)} instead.")
        if dim < 4 or heads < 1 or dim % 4 or dim % heads:
            raise UsageError(
                f"dim must be a multiple of 4 and of heads. Got dim={quoted(dim)}, heads={quoted(heads)} instead."
            )
        if depth < 1:
            raise UsageError(f"depth must be at least 1 layer. Got {quoted(depth)} instead.")
        if not 0 <= drop_path < 1:
            raise UsageError(f"drop_path must be at least 0 and below 1. Got {quoted(drop_path)} instead.")
        # Most FLOPs run at half of the image's side, as in `compact`; a patch is then reduced to its maxima.
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(2),
            *_conv_norm(4 * channels, dim // 4),
            *_conv_norm(dim // 4, dim // 2),
            *_conv_norm(dim // 2, dim // 2),
            nn.MaxPool2d(PATCH // 2),
            *_conv_norm(dim // 2, dim),
            nn.Conv2d(dim, dim, 1),
        )
        # The first layer never drops, the last one with the full probability.
        rates = [drop_path * i / max(1, depth - 1) for i in range(depth)]
        self.layers = nn.ModuleList(Layer(dim, heads, round(dim * mlp_ratio), rate) for rate in rates)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(dim, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, x: Tensor) -> Tensor:
        """Prepared input to normalized tokens ``(N, tokens, dim)``, row by row."""
        x = self.stem(x)
        x = x.flatten(2).transpose(1, 2) + positional_encoding(x.shape[-1], x.shape[1], x.device).to(x.dtype)
        for layer in self.layers:
            x = layer(x)
        out: Tensor = self.norm(x)
        return out

    def forward_head(self, features: Tensor) -> Tensor:
        """The mean of the tokens to logits."""
        out: Tensor = self.classifier(self.dropout(features.mean(1)))
        return out

    def hidden_matrices(self) -> Iterator[nn.Parameter]:
        """Those of attention and MLPs."""
        return (p for layer in self.layers for p in layer.parameters() if p.ndim == 2)


class Layer(nn.Module):
    """Self-attention and an MLP, each behind a layer norm, with a residual connection."""

    def __init__(self, dim: int, heads: int, hidden: int, drop_path: float) -> None:
        super().__init__()
        self.heads = heads
        self.drop_path = DropPath(drop_path)
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``(N, T, dim)`` to tokens."""
        x = x + cast(Tensor, self.drop_path(self._attend(self.norm1(x))))
        return x + cast(Tensor, self.drop_path(self.mlp(self.norm2(x))))

    def _attend(self, x: Tensor) -> Tensor:
        # (N, T, 3·dim) to three of (N, heads, T, dim / heads).
        n, tokens, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        out: Tensor = self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return out


class DropPath(nn.Module):
    """Skips a branch for some images in training (Huang et al., 2016).

    Args:
        rate: the probability.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """Tokens ``(N, T, dim)``, zero for the images that skip the branch."""
        if not self.training or self.rate == 0:
            return branch
        keep = self.draw(len(branch), branch.device) >= self.rate
        return branch * keep.to(branch.dtype) / (1 - self.rate)

    def draw(self, n: int, device: torch.device) -> Tensor:
        """A number an image, ``(N, 1, 1)``, uniform in 0..1."""
        return torch.rand(n, 1, 1, device=device)


def positional_encoding(side: int, dim: int, device: torch.device | None = None) -> Tensor:
    """Sines and cosines of x and y at dim / 4 wavelengths, for the tokens of a ``side`` × ``side`` grid.

    The grid spans the image whatever its ``side``, so positions mean the same at smaller sizes (progressive training).

    Returns:
        float32 ``(side · side, dim)``, -1 to 1.
    """
    centers = (torch.arange(side, device=device) + 0.5) * (8 / side)
    y, x = torch.meshgrid(centers, centers, indexing="ij")
    waves = 100.0 ** -torch.linspace(0, 1, dim // 4, device=device)
    angles = [axis.reshape(-1, 1) * waves for axis in (x, y)]
    return torch.cat([f(angle) for angle in angles for f in (torch.sin, torch.cos)], dim=1)


def _conv_norm(incoming: int, outgoing: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(incoming, outgoing, 3, padding=1, bias=False),
        nn.BatchNorm2d(outgoing),
        nn.ReLU(inplace=True),
    )
