"""He's CIFAR ResNets with option A shortcuts (no parameters): depth 20, 32, 44, 56.

Parameter names are those of `akamaster/pytorch_resnet_cifar10` and of the EC2T checkpoints: conv1, bn1,
layer{1,2,3}.{block}.{conv1,bn1,conv2,bn2}, linear. ResNet-20 has 269,722 parameters.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ternzip.models.activations import activation_named
from ternzip.models.signs import sign_or_identity


class HeBlock(nn.Module):
    """Two 3x3 convolutions and a parameter-free shortcut."""

    def __init__(self, in_channels: int, channels: int, stride: int, activation: str, signed: bool) -> None:
        super().__init__()
        self.sign = sign_or_identity(signed)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.act = activation_named(activation)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride = stride
        self.missing = channels - in_channels

    def shortcut(self, x: Tensor) -> Tensor:
        """Option A: every second pixel, and new channels of zeros, half of them on either side."""
        if not self.missing:
            return x
        side = self.missing // 2
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, side, self.missing - side))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height / stride, width / stride) of x (batch, in_channels, height, width)."""
        out = self.act(self.bn1(self.conv1(self.sign(x))))
        out = self.bn2(self.conv2(self.sign(out)))
        activated: Tensor = self.act(out + self.shortcut(x))
        return activated


class HeResNet(nn.Module):
    """Three stages of (depth - 2) / 6 blocks at 16, 32, 64 channels.

    Input (batch, in_channels, height, width), 32 x 32 in the paper; output (batch, num_classes) scores.
    """

    def __init__(
        self,
        depth: int,
        num_classes: int = 10,
        *,
        in_channels: int = 3,
        activation: str = "relu",
        dropout: float = 0.0,
        signed_activations: bool = False,
    ) -> None:
        super().__init__()
        blocks, remainder = divmod(depth - 2, 6)
        if remainder or blocks < 1:
            raise ValueError(f"depth must be 6n + 2 with n >= 1, got {depth}")
        self.conv1 = nn.Conv2d(in_channels, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.act = activation_named(activation)

        def stage(in_channels: int, channels: int, stride: int) -> nn.Sequential:
            first = HeBlock(in_channels, channels, stride, activation, signed_activations)
            rest = (HeBlock(channels, channels, 1, activation, signed_activations) for _ in range(blocks - 1))
            return nn.Sequential(first, *rest)

        self.layer1 = stage(16, 16, 1)
        self.layer2 = stage(16, 32, 2)
        self.layer3 = stage(32, 64, 2)
        self.dropout = nn.Dropout(dropout)
        self.sign = sign_or_identity(signed_activations)
        self.linear = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (batch, num_classes) of images x (batch, in_channels, height, width)."""
        x = self.act(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        out: Tensor = self.linear(self.sign(self.dropout(x)))
        return out


def he_resnet20(num_classes: int = 10, **options: Any) -> HeResNet:
    """ResNet-20, 269,722 parameters at ten classes; options as for HeResNet."""
    return HeResNet(20, num_classes, **options)


def he_resnet32(num_classes: int = 10, **options: Any) -> HeResNet:
    """ResNet-32, 464,154 parameters at ten classes; options as for HeResNet."""
    return HeResNet(32, num_classes, **options)


def he_resnet44(num_classes: int = 10, **options: Any) -> HeResNet:
    """ResNet-44, 658,586 parameters at ten classes; options as for HeResNet."""
    return HeResNet(44, num_classes, **options)


def he_resnet56(num_classes: int = 10, **options: Any) -> HeResNet:
    """ResNet-56, 853,018 parameters at ten classes; options as for HeResNet."""
    return HeResNet(56, num_classes, **options)
