"""A vision transformer for 48×48 pictures that trains from scratch.

Dosovitskiy et al., "An image is worth 16×16 words", 2021, with the convolutional stem of Xiao et al., "Early
convolutions help transformers see better", 2021, in place of one large patch convolution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moue.errors import UsageError
from moue.models.base import InputSpec, Network
from moue.spec import Colour, channels_of

#: Side of the square of pixels that becomes one token.
PATCH = 6


class ViTCompact(Network):
    """Patches of 6×6 pixels (8×8 tokens at 48 pixels), a class token, learned positions, pre-norm layers.

    Pixels are normalised to [-1, 1].

    Args:
        num_classes: number of logits.
        size: side of the input in pixels, a multiple of 6.
        colour: "grey" or "rgb".
        dim: width of a token, a multiple of 8 and of ``heads``.
        depth: number of layers.
        heads: attention heads of each layer.
        mlp_ratio: hidden width of a layer's MLP over ``dim``.
        drop_path: probability that the last layer's branches are skipped for a picture in training; earlier layers
            have proportionally less (Huang et al., "Deep networks with stochastic depth", 2016).
        dropout: before the classifier.

    Raises:
        UsageError: for a size or width that does not divide.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        size: int = 48,
        colour: Colour = "grey",
        dim: int = 192,
        depth: int = 6,
        heads: int = 6,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.1,
        dropout: float = 0.0,
    ) -> None:
        channels = channels_of(colour)
        super().__init__(InputSpec(size=size, colour=colour, channels=channels, mean=(0.5,), std=(0.5,)), num_classes)
        if size < PATCH or size % PATCH:
            raise UsageError(f"size must be a multiple of {PATCH} pixels. Got {size!r} instead.")
        if dim % 8 or dim % heads:
            raise UsageError(f"dim must be a multiple of 8 and of heads. Got dim={dim!r}, heads={heads!r} instead.")
        side = size // PATCH
        self.stem = nn.Sequential(
            *_conv_norm(channels, dim // 8, stride=2),
            *_conv_norm(dim // 8, dim // 4, stride=1),
            *_conv_norm(dim // 4, dim // 2, stride=3),
            nn.Conv2d(dim // 2, dim, 1),
        )
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.positions = nn.Parameter(torch.empty(1, 1 + side * side, dim))
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
        nn.init.trunc_normal_(self.positions, std=0.02)
        nn.init.trunc_normal_(self.class_token, std=0.02)

    def forward_features(self, x: Tensor) -> Tensor:
        """Prepared input to normalised tokens ``(N, 1 + places, dim)``, the class token first."""
        x = self.stem(x)
        positions = self._positions(x.shape[-1])
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1) + positions
        for layer in self.layers:
            x = layer(x)
        out: Tensor = self.norm(x)
        return out

    def forward_head(self, features: Tensor) -> Tensor:
        """The class token to logits."""
        out: Tensor = self.classifier(self.dropout(features[:, 0]))
        return out

    def _positions(self, side: int) -> Tensor:
        """The learned positions, interpolated where a picture of another size comes (progressive training)."""
        grid = round((self.positions.shape[1] - 1) ** 0.5)
        if side == grid:
            return self.positions
        places = self.positions[:, 1:].transpose(1, 2).reshape(1, -1, grid, grid)
        places = F.interpolate(places, size=(side, side), mode="bicubic", align_corners=False)
        return torch.cat([self.positions[:, :1], places.flatten(2).transpose(1, 2)], dim=1)


class Layer(nn.Module):
    """Self-attention and an MLP, each behind a layer norm and added to what came."""

    def __init__(self, dim: int, heads: int, hidden: int, drop_path: float) -> None:
        super().__init__()
        self.heads = heads
        self.drop_path = drop_path
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``(N, T, dim)`` to tokens."""
        x = x + self._drop(self._attend(self.norm1(x)))
        return x + self._drop(self.mlp(self.norm2(x)))

    def _attend(self, x: Tensor) -> Tensor:
        # (N, T, 3·dim) to three of (N, heads, T, dim / heads).
        n, tokens, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        out: Tensor = self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return out

    def _drop(self, branch: Tensor) -> Tensor:
        if not self.training or self.drop_path == 0:
            return branch
        keep = torch.rand(branch.shape[0], 1, 1, device=branch.device) >= self.drop_path
        return branch * keep.to(branch.dtype) / (1 - self.drop_path)


def _conv_norm(incoming: int, outgoing: int, stride: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(incoming, outgoing, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(outgoing),
        nn.ReLU(inplace=True),
    )
