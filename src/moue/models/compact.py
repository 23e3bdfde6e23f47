"""`compact`: a small residual network for 48×48 grey faces, shaped for the processors we have.

Where the arithmetic stands matters as much as how much of it there is: 3×3 convolutions over 64 to 256 channels at 24×24 and
12×12 run near a processor's peak, while the first layers at full resolution and wide layers on 3×3 maps do not. So the stem
folds 2×2 pixels into channels at once, and most of the weight stands at 12×12 and 6×6.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from moue.models.base import InputSpec, Network


class Block(nn.Module):
    """Basic residual block (He et al., "Deep residual learning for image recognition", 2016): two 3×3 convolutions.

    ``(N, C_in, h, w)`` to ``(N, C_out, h / stride, w / stride)``. Where shapes change the shortcut averages
    ``stride`` × ``stride`` pixels before its 1×1 convolution, so it drops none (He et al., "Bag of tricks", 2019).
    The second batch norm starts at zero, which makes every block the identity at first.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        nn.init.zeros_(self.norm2.weight)
        self.shortcut = (
            nn.Identity()
            if stride == 1 and inputs == outputs
            else nn.Sequential(
                nn.AvgPool2d(stride) if stride > 1 else nn.Identity(),
                nn.Conv2d(inputs, outputs, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """One block."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class Compact(Network):
    """The residual network for 48×48.

    Args:
        num_classes: number of logits.
        widths: channels of the stages; the first works at 24×24, each further one at half the side.
        blocks: residual blocks of each stage.
        dropout: before the classifier.
    """

    def __init__(
        self,
        num_classes: int,
        widths: tuple[int, ...] = (32, 96, 256),
        blocks: tuple[int, ...] = (1, 2, 1),
        dropout: float = 0.2,
    ) -> None:
        # FER-2013's mean and deviation over Training, rounded.
        super().__init__(InputSpec(size=48, mean=(0.5,), std=(0.25,)), num_classes)
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(4, widths[0], 3, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        )
        stages: list[nn.Module] = []
        width = widths[0]
        for i, (wide, depth) in enumerate(zip(widths, blocks, strict=True)):
            for j in range(depth):
                stages.append(Block(width, wide, stride=2 if i > 0 and j == 0 else 1))
                width = wide
        self.stages = nn.Sequential(*stages)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, x: Tensor) -> Tensor:
        """Prepared input ``(N, 1, S, S)`` to a map ``(N, widths[-1], S / 8, S / 8)`` with three stages."""
        y: Tensor = self.stages(self.stem(x))
        return y

    def forward_head(self, features: Tensor) -> Tensor:
        """Global average pooling, dropout, linear."""
        logits: Tensor = self.classifier(self.dropout(features.mean(dim=(2, 3))))
        return logits
