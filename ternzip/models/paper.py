"""ResNet-20 and ResNet-20* as the paper counts them: 175,406 and 4,338,030 parameters.

The counts identify the CIFAR ResNet of `itayhubara/BinaryNet.pytorch` (depth 18, two blocks a stage) with
inflate 1 and 5; METHOD gives the layers. Ternarized are every convolution and the linear weight: 174,128 and
4,331,760 weights.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from ternzip.models.activations import activation_named
from ternzip.models.signs import sign_or_identity


class Shortcut(nn.Module):
    """conv1x1(stride) - BN, where a stage changes the shape."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, signed: bool) -> None:
        super().__init__()
        self.sign = sign_or_identity(signed)
        self.conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, out_channels, height / stride, width / stride) of x (batch, in_channels, height, width)."""
        out: Tensor = self.bn(self.conv(self.sign(x)))
        return out


class Block(nn.Module):
    """conv - BN - activation - conv - (+ shortcut) - BN - activation."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, activation: str, signed: bool, last: bool
    ) -> None:
        super().__init__()
        self.sign = sign_or_identity(signed)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.act1 = activation_named(activation)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        # The last block's second norm exists, and is counted, but the network stops after its addition.
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.act2 = activation_named(activation)
        self.last = last
        changes = stride != 1 or in_channels != out_channels
        self.shortcut = Shortcut(in_channels, out_channels, stride, signed) if changes else nn.Identity()
        if last:
            for parameter in self.bn2.parameters():
                parameter.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, out_channels, height / stride, width / stride) of x (batch, in_channels, height, width)."""
        out = self.act1(self.bn1(self.conv1(self.sign(x))))
        out = self.conv2(self.sign(out)) + self.shortcut(x)
        if not self.last:
            out = self.act2(self.bn2(out))
        result: Tensor = out
        return result


class PaperResNet(nn.Module):
    """Three stages of two blocks at widths w, 2w, 4w, w = 16 * inflate, for images of 32 x 32 pixels.

    Input (batch, in_channels, 32, 32); output (batch, num_classes) scores for a softmax cross entropy.
    """

    def __init__(
        self,
        inflate: int = 1,
        num_classes: int = 10,
        *,
        in_channels: int = 3,
        activation: str = "hardtanh",
        dropout: float = 0.0,
        signed_activations: bool = False,
    ) -> None:
        super().__init__()
        width = 16 * inflate
        self.conv1 = nn.Conv2d(in_channels, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.act1 = activation_named(activation)

        def stage(in_width: int, out_width: int, stride: int, last: bool = False) -> nn.Sequential:
            return nn.Sequential(
                Block(in_width, out_width, stride, activation, signed_activations, last=False),
                Block(out_width, out_width, 1, activation, signed_activations, last=last),
            )

        self.layer1 = stage(width, width, 1)
        self.layer2 = stage(width, 2 * width, 2)
        self.layer3 = stage(2 * width, 4 * width, 2, last=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.bn2 = nn.BatchNorm1d(4 * width)
        self.act2 = activation_named(activation)
        self.dropout = nn.Dropout(dropout)
        self.sign = sign_or_identity(signed_activations)
        self.linear = nn.Linear(4 * width, num_classes)
        self.bn3 = nn.BatchNorm1d(num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
                nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))

    def forward(self, x: Tensor) -> Tensor:
        """Scores (batch, num_classes) of images x (batch, in_channels, 32, 32)."""
        x = self.act1(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = self.act2(self.bn2(self.pool(x).flatten(1)))
        out: Tensor = self.bn3(self.linear(self.sign(self.dropout(x))))
        return out


def resnet20(
    inflate: int = 1,
    num_classes: int = 10,
    *,
    in_channels: int = 3,
    activation: str = "hardtanh",
    dropout: float = 0.0,
    signed_activations: bool = False,
) -> PaperResNet:
    """The paper's ResNet-20 (`inflate=1`, 175,406 parameters) or ResNet-20* (`inflate=5`, 4,338,030).

    Args:
        inflate: width multiplier; the stages have 16, 32 and 64 times as many channels.
        num_classes: outputs.
        in_channels: channels of the input image.
        activation: "hardtanh" (the paper's), "relu", "leaky_relu", "elu" or "selu".
        dropout: probability of zeroing a feature before the linear layer.
        signed_activations: feed every convolution but the first, and the linear layer, with signs +-1.
    """
    return PaperResNet(
        inflate,
        num_classes,
        in_channels=in_channels,
        activation=activation,
        dropout=dropout,
        signed_activations=signed_activations,
    )
