"""ResNet50V2, layer for layer Keras' `ResNet50V2`, and a variant for 48×48 images trained from scratch.

He et al., "Identity mappings in deep residual networks", 2016. As in Keras, the stride of 2 is in the last block of
each of the first three stacks, whose shortcut is then a 1×1 max-pool with stride 2, and the projection in the
shortcut of each stack's first block reads the activated map.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from moue.errors import UsageError, WeightsMissing, quoted
from moue.models.base import InputSpec, Network
from moue.models.keras_h5 import fetch, load_layers
from moue.spec import Color, channels_of

#: Blocks in each of the four stacks.
DEPTHS = (3, 4, 6, 3)

#: Keras' batch normalization; its momentum of 0.99 is torch's 0.01.
EPSILON, MOMENTUM = 1.001e-5, 0.01

#: Where Keras publishes its ImageNet weights (94 MB, without the top), and the MD5 of that file.
WEIGHTS_URL = (
    "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
    "resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5"
)
WEIGHTS_MD5 = "fac2f116257151a9d068a22e544a4917"

#: What to do without them.
REMEDY = (
    "Fetch them elsewhere and type --set model.options.weights=PATH.h5, or train 'resnet50v2-small', which needs no "
    "published weights."
)


def resnet50v2(
    num_classes: int,
    *,
    weights: str | Path | None = None,
    upsample: int = 224,
    size: int = 48,
    color: Color = "gray",
    dropout: float = 0.25,
    head_dropout: float = 0.5,
) -> ResNet50V2:
    """ResNet50V2 as Keras builds it; inside, pixels are scaled up, normalized to [-1, 1], gray repeated to 3 channels.

    Args:
        num_classes: number of logits.
        weights: "imagenet" for the weights that Keras publishes, fetched once; the path of a file in Keras' legacy H5
            layout with the same layers; None starts from random weights.
        upsample: side to which pixels are scaled inside; 224 gives features of 7×7.
        size: side of the input in pixels.
        color: "gray" or "rgb".
        dropout: before the head's first batch normalization.
        head_dropout: before the last layer.

    Raises:
        WeightsMissing: when ``weights`` names a file that is not there, or "imagenet" cannot be fetched.
        ModelError: when that file does not hold a ResNet50V2.
        MissingExtra: when ``weights`` is given and h5py is not installed.
    """
    network = ResNet50V2(
        InputSpec(size=size, color=color, upsample=upsample, channels=3, mean=(0.5,), std=(0.5,)),
        num_classes,
        dropout=dropout,
        head_dropout=head_dropout,
    )
    if weights is not None:
        load_keras(network, fetch_imagenet() if weights == "imagenet" else Path(weights))
        network.rebuild = {"weights": None}
    return network


def resnet50v2_small(
    num_classes: int,
    *,
    size: int = 48,
    color: Color = "gray",
    stem_stride: int = 2,
    pool: bool = True,
    last_map: int = 3,
    width: float = 1.0,
    dropout: float = 0.25,
    head_dropout: float = 0.5,
) -> ResNet50V2:
    """ResNet50V2's four stacks on a stem for small images, to train from scratch; pixels are normalized to [-1, 1].

    The first stack runs at ``size / stem_stride``, halved once more by ``pool``: 12×12 by default. The map is then
    halved at the end of the first stacks until ``last_map`` is reached.

    Args:
        num_classes: number of logits.
        size: side of the input in pixels.
        color: "gray" or "rgb".
        stem_stride: 1 or 2.
        pool: whether a 3×3 max-pool with stride 2 follows the first convolution.
        last_map: side of the last map, 3 or 6 at 48 pixels.
        width: factor on all channel numbers.
        dropout: before the head's first batch normalization.
        head_dropout: before the last layer.

    Raises:
        UsageError: for a wrong stem or width, or when the options cannot reach ``last_map``; names the sides that they
            can.
    """
    if stem_stride not in (1, 2):
        raise UsageError(f"stem_stride must be 1 or 2. Got {quoted(stem_stride)} instead.")
    if width <= 0:
        raise UsageError(f"width must be above 0. Got {quoted(width)} instead.")
    side = _halved(size, (stem_stride == 2) + pool)
    reachable = [_halved(side, n) for n in range(4)]
    if last_map not in reachable:
        sides = ", ".join(map(str, dict.fromkeys(reachable)))
        raise UsageError(f"last_map must be one of {sides} with this stem. Got {quoted(last_map)} instead.")
    halvings = reachable.index(last_map)
    channels = channels_of(color)
    network = ResNet50V2(
        InputSpec(size=size, color=color, channels=channels, mean=(0.5,), std=(0.5,)),
        num_classes,
        strides=[2 if i < halvings else 1 for i in range(4)],
        # As wide as the stride needs: 3×3 for 1, 5×5 for 2.
        stem_kernel=2 * stem_stride + 1,
        stem_stride=stem_stride,
        pool=pool,
        width=width,
        dropout=dropout,
        head_dropout=head_dropout,
    )
    for module in network.modules():
        # Keras' slow averages suit pretrained weights; from scratch they must follow the weights.
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.momentum = 0.1
        # Fifty layers train slowly at first unless the blocks within a stack start by adding little to their
        # shortcuts (Goyal et al., "Accurate, large minibatch SGD", 2017, who start at 0; behind a ReLU that would
        # never move).
        if isinstance(module, Bottleneck) and module.shortcut is None:
            nn.init.constant_(module.bn2.weight, 0.1)
    return network


class ResNet50V2(Network):
    """Stem, four stacks of pre-activation bottlenecks, and the study's head.

    The head: dropout, batch normalization, flatten, dense 64, ReLU, batch normalization, dropout, dense classes. The
    study names no rate for the second dropout; 0.5 is what Srivastava et al. (2014) choose for hidden units, and the
    head's 6.4 million weights are where this network overfits first.

    Flattening goes by row, column, channel, as Keras does: a dense layer trained there reads the same numbers here.

    Args:
        input: how pixels become the first layer's input.
        num_classes: number of logits.
        strides: stride of the last block of each stack.
        stem_kernel: side of the first convolution.
        stem_stride: its stride.
        pool: whether a max-pool follows it.
        width: factor on all channel numbers.
        dropout: the first.
        head_dropout: the second.
    """

    def __init__(
        self,
        input: InputSpec,
        num_classes: int,
        *,
        strides: Sequence[int] = (2, 2, 2, 1),
        stem_kernel: int = 7,
        stem_stride: int = 2,
        pool: bool = True,
        width: float = 1.0,
        dropout: float = 0.25,
        head_dropout: float = 0.5,
    ) -> None:
        super().__init__(input, num_classes)
        base = max(8, round(8 * width) * 8)
        self.pool = pool
        self.conv1 = nn.Conv2d(input.channels, base, stem_kernel, stem_stride, padding=stem_kernel // 2)
        side = _halved(input.upsample or input.size, (stem_stride == 2) + pool)
        self.stacks = nn.ModuleList()
        incoming = base
        for i, (depth, stride) in enumerate(zip(DEPTHS, strides, strict=True)):
            blocks = [
                Bottleneck(
                    incoming if block == 0 else 4 * base * 2**i,
                    base * 2**i,
                    stride=stride if block == depth - 1 else 1,
                    project=block == 0,
                )
                for block in range(depth)
            ]
            self.stacks.append(nn.Sequential(*blocks))
            incoming = 4 * base * 2**i
            side = _halved(side, stride - 1)
        self.post_bn = _norm(incoming)
        self.head_dropout = nn.Dropout(dropout)
        self.head_norm = _norm(incoming)
        self.hidden = nn.Linear(incoming * side**2, 64)
        self.hidden_norm = _norm(64, flat=True)
        self.hidden_dropout = nn.Dropout(head_dropout)
        self.classifier = nn.Linear(64, num_classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, x: Tensor) -> Tensor:
        """Prepared input ``(N, C, S, S)`` to the activated map ``(N, 2048 × width, S / 32, S / 32)``."""
        x = self.conv1(x)
        if self.pool:
            # Padded with zeros, as in Keras: the map has values below zero here.
            x = F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 3, stride=2)
        for stack in self.stacks:
            x = stack(x)
        return F.relu(self.post_bn(x))

    def forward_head(self, features: Tensor) -> Tensor:
        """The study's head."""
        x = self.head_norm(self.head_dropout(features))
        x = F.relu(self.hidden(x.permute(0, 2, 3, 1).flatten(1)))
        out: Tensor = self.classifier(self.hidden_dropout(self.hidden_norm(x)))
        return out


class Bottleneck(nn.Module):
    """Batch norm and ReLU, then 1×1, 3×3 and 1×1 convolutions, added to a shortcut.

    Args:
        incoming: input channels.
        inner: channels of the 3×3 convolution; there are four times as many output channels.
        stride: of the 3×3 convolution and the shortcut.
        project: whether the shortcut is a 1×1 convolution of the activated map instead of the map itself.
    """

    def __init__(self, incoming: int, inner: int, stride: int, project: bool) -> None:
        super().__init__()
        self.stride = stride
        self.preact_bn = _norm(incoming)
        self.shortcut = nn.Conv2d(incoming, 4 * inner, 1, stride) if project else None
        self.conv1 = nn.Conv2d(incoming, inner, 1, bias=False)
        self.bn1 = _norm(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False)
        self.bn2 = _norm(inner)
        self.conv3 = nn.Conv2d(inner, 4 * inner, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, incoming, h, w)`` to ``(N, 4 × inner, h / stride, w / stride)``."""
        active = F.relu(self.preact_bn(x))
        if self.shortcut is not None:
            short: Tensor = self.shortcut(active)
        else:
            # A 1×1 max-pool with stride 2 takes every second pixel.
            short = x if self.stride == 1 else F.max_pool2d(x, 1, stride=self.stride)
        y = F.relu(self.bn1(self.conv1(active)))
        y = F.relu(self.bn2(self.conv2(y)))
        out: Tensor = self.conv3(y) + short
        return out


def fetch_imagenet(url: str = WEIGHTS_URL, md5: str = WEIGHTS_MD5) -> Path:
    """The ImageNet weights that Keras publishes; see :func:`moue.models.keras_h5.fetch`."""
    return fetch(url, md5, REMEDY)


def load_keras(network: ResNet50V2, path: Path) -> None:
    """Fill a network's stem, stacks and last normalization from a Keras file; the head is left as it is.

    Raises:
        WeightsMissing: when there is no such file.
        ModelError: when a layer is missing, unknown, or has another shape.
        MissingExtra: without h5py.
    """
    if not path.is_file():
        raise WeightsMissing(f"there is no Keras weight file {path}. The published one is {WEIGHTS_URL}. {REMEDY}")
    load_layers(keras_layers(network), path)


def keras_layers(network: ResNet50V2) -> dict[str, nn.Module]:
    """Keras' layer names to our modules, for every layer that has weights."""
    layers: dict[str, nn.Module] = {"conv1_conv": network.conv1, "post_bn": network.post_bn}
    for i, stack in enumerate(network.stacks):
        assert isinstance(stack, nn.Sequential)
        for j, block in enumerate(stack):
            assert isinstance(block, Bottleneck)
            name = f"conv{i + 2}_block{j + 1}"
            layers |= {
                f"{name}_preact_bn": block.preact_bn,
                f"{name}_1_conv": block.conv1,
                f"{name}_1_bn": block.bn1,
                f"{name}_2_conv": block.conv2,
                f"{name}_2_bn": block.bn2,
                f"{name}_3_conv": block.conv3,
            }
            if block.shortcut is not None:
                layers[f"{name}_0_conv"] = block.shortcut
    return layers


def _norm(channels: int, flat: bool = False) -> nn.BatchNorm1d | nn.BatchNorm2d:
    return (nn.BatchNorm1d if flat else nn.BatchNorm2d)(channels, eps=EPSILON, momentum=MOMENTUM)


def _halved(side: int, times: int) -> int:
    """The side of a map after some strides of 2, each rounding up."""
    for _ in range(times):
        side = (side + 1) // 2
    return side
