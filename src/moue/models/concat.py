"""`concat`: the features of several networks side by side, and one classifier of all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moue.errors import UsageError, quoted
from moue.models.base import InputSpec, Network, in_color
from moue.spec import Color, channels_of


class Concat(Network):
    """Several networks without their last layers, joined by a classifier.

    Each member gets the image in its own size and color, and prepares it as it was trained to; what it computes before
    its last layer is one part of the features. The last blocks keep little but what the member was trained for: with
    ``levels`` the means of the maps before them are features, too.

    Args:
        num_classes: number of logits.
        members: two or more networks; :func:`moue.models.create` builds them from names of ``moue networks``, or from
            mappings with ``network`` and its ``options``. Their last layers are removed.
        frozen: whether the members' weights and the statistics of their batch norms stay as they are in training.
        levels: of how many of each member's last blocks the features are; 1 is what its own last layer sees. More are
            for `face-mobilenet`, `face-resnet`, `compact` and `vgg`.
        hidden: width of a hidden layer before the classifier; 0 is none.
        dropout: before the classifier, and before the hidden layer.
        size: side of the input in pixels.
        color: "gray" or "rgb".

    Raises:
        UsageError: for fewer than two members, one that does not end in a linear layer, more
            ``levels`` than it has, or a hidden width below 0.
    """

    fresh = ("norm", "hidden", "classifier")

    def __init__(
        self,
        num_classes: int,
        *,
        members: Sequence[Any] = ("compact", "googlenet"),
        frozen: bool = False,
        levels: int = 1,
        hidden: int = 0,
        dropout: float = 0.2,
        size: int = 48,
        color: Color = "gray",
    ) -> None:
        super().__init__(InputSpec(size=size, color=color, channels=channels_of(color)), num_classes)
        if len(members) < 2:
            raise UsageError(f"concat joins two networks or more. Got {len(members)} instead.")
        if hidden < 0:
            raise UsageError(f"hidden must be 0 or more. Got {quoted(hidden)} instead.")
        if levels < 1:
            raise UsageError(f"levels must be 1 or more. Got {quoted(levels)} instead.")
        self.frozen, self.levels = frozen, levels
        self.members = nn.ModuleList(members)
        for member in self.networks:
            _remove_head(member)
        for side in {member.input.size for member in self.networks} - {size}:
            self.register_buffer(f"_to{side}", _resampling(size, side), persistent=False)
        if frozen:
            self.members.requires_grad_(False)
        self.width = width = self._count_features()
        # The members' features are of different scales. Channels of earlier maps may be all but constant over faces:
        # what little they say, or a rounded weight makes of it, must not be blown up.
        self.norm: nn.Module = nn.BatchNorm1d(width, eps=1e-5 if levels == 1 else 1e-2, affine=False)
        self.hidden = (
            nn.Sequential(nn.Dropout(dropout), nn.Linear(width, hidden), nn.ReLU()) if hidden else nn.Identity()
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(hidden or width, num_classes)

    @property
    def networks(self) -> list[Network]:
        """The members."""
        return cast(list[Network], list(self.members))

    def train(self, mode: bool = True) -> Concat:
        """Training or evaluation mode; frozen members stay in the latter."""
        super().train(mode)
        if self.frozen:
            self.members.eval()
        return self

    def prepare(self, pixels: Tensor) -> Tensor:
        """Pixels as they are, in 0..255: each member prepares its own."""
        return pixels.to(self._mean.dtype)

    def forward(self, pixels: Tensor) -> Tensor:
        """Raw pixels ``(N, C, H, W)``, or what :meth:`forward_frozen` gives, to logits ``(N, num_classes)``."""
        kept = pixels.ndim == 3
        return self.forward_head(self.norm(pixels[:, 0]) if kept else self.forward_features(self.prepare(pixels)))

    def forward_features(self, x: Tensor) -> Tensor:
        """Pixels ``(N, C, S, S)`` to features ``(N, D)``, the members' side by side, each standardized."""
        features: Tensor = self.norm(self._joined(x))
        return features

    @property
    def frozen_shape(self) -> tuple[int, int] | None:
        """One and D, where the members are frozen."""
        return (1, self.width) if self.frozen else None

    def forward_frozen(self, pixels: Tensor) -> Tensor:
        """Raw pixels ``(N, C, H, W)`` to the members' features ``(N, 1, D)``."""
        return self._joined(self.prepare(pixels))[:, None]

    def forward_head(self, features: Tensor) -> Tensor:
        """Hidden layer, where there is one, dropout, classifier."""
        logits: Tensor = self.classifier(self.dropout(self.hidden(features)))
        return logits

    def hidden_matrices(self) -> Iterator[nn.Parameter]:
        """The members'."""
        return (p for member in self.networks for p in member.hidden_matrices())

    def _joined(self, x: Tensor) -> Tensor:
        return torch.cat([self._features(member, x) for member in self.networks], dim=1)

    def _features(self, member: Network, x: Tensor) -> Tensor:
        own = member.input
        if own.size != self.input.size:
            # In proportion: training may go through smaller images first.
            side = round(x.shape[-1] * own.size / self.input.size)
            # A product with constants: engines smooth what they shrink in different ways.
            whole = x.shape[-1] == self.input.size
            rows = self.get_buffer(f"_to{side}") if whole else _resampling(x.shape[-1], side, x.device).to(x.dtype)
            x = rows @ x @ rows.T
        *maps, last = member.forward_maps(member.prepare(in_color(x, own.color)), self.levels)
        return torch.cat([*(one.mean((2, 3)) for one in maps), member.forward_head(last).flatten(1)], dim=1)

    def _count_features(self) -> int:
        training = self.training
        self.members.eval()
        with torch.no_grad():
            blank = torch.zeros(1, channels_of(self.input.color), *2 * (self.input.size,), device=self._mean.device)
            width = self._joined(blank).shape[1]
        self.members.train(training)
        return width


def _resampling(old: int, new: int, device: torch.device | None = None) -> Tensor:
    """The matrix ``(new, old)`` that scales columns bilinearly, smoothed where they shrink."""
    basis = torch.eye(old, device=device)[None, None]
    return F.interpolate(basis, size=(new, old), mode="bilinear", antialias=True, align_corners=False)[0, 0]


def _remove_head(network: Network) -> None:
    """Remove a network's last layer, and what only training uses."""
    used = {id(p) for p in network.inference_parameters()}
    for name, child in network.named_children():
        weights = list(child.parameters())
        if weights and not any(id(p) in used for p in weights):
            setattr(network, name, nn.ModuleDict())
    outputs: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: outputs.__setitem__(name, output))
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear)
    ]
    device, own, training = network._mean.device, network.input, network.training
    with torch.no_grad():
        logits = network.eval()(torch.zeros(1, channels_of(own.color), own.size, own.size, device=device))
    network.train(training)
    for hook in hooks:
        hook.remove()
    last = next((name for name, output in outputs.items() if output is logits), None)
    if last is None:
        raise UsageError(f"concat joins networks that end in a linear layer, which {type(network).__name__} does not.")
    parent, _, name = last.rpartition(".")
    setattr(network.get_submodule(parent), name, nn.Identity())
