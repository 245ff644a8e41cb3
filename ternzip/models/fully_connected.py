"""FC3: three linear layers, for MNIST and other small images."""

from __future__ import annotations

from torch import Tensor, nn

from ternzip.models.activations import activation_named
from ternzip.models.signs import sign_or_identity


class FullyConnected(nn.Module):
    """in_features - hidden - hidden - num_classes; batch norm after each, an activation after the first two.

    Input of any shape (batch, ...) with in_features numbers a sample; output (batch, num_classes) scores.
    """

    def __init__(
        self,
        num_classes: int = 10,
        *,
        in_features: int = 784,
        hidden: int = 1000,
        activation: str = "relu",
        dropout: float = 0.0,
        signed_activations: bool = False,
    ) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_features, hidden)
        self.bn1 = nn.BatchNorm1d(hidden)
        self.act1 = activation_named(activation)
        self.fc2 = nn.Linear(hidden, hidden)
        self.bn2 = nn.BatchNorm1d(hidden)
        self.act2 = activation_named(activation)
        self.fc3 = nn.Linear(hidden, num_classes)
        self.bn3 = nn.BatchNorm1d(num_classes)
        self.dropout = nn.Dropout(dropout)
        self.sign = sign_or_identity(signed_activations)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (batch, num_classes) of x (batch, ...)."""
        x = self.act1(self.bn1(self.fc1(x.flatten(1))))
        x = self.act2(self.bn2(self.fc2(self.sign(self.dropout(x)))))
        out: Tensor = self.bn3(self.fc3(self.sign(self.dropout(x))))
        return out


def fc3(
    num_classes: int = 10,
    *,
    in_features: int = 784,
    hidden: int = 1000,
    activation: str = "relu",
    dropout: float = 0.0,
    signed_activations: bool = False,
) -> FullyConnected:
    """784-1000-1000-10 by default; options as for FullyConnected."""
    return FullyConnected(
        num_classes,
        in_features=in_features,
        hidden=hidden,
        activation=activation,
        dropout=dropout,
        signed_activations=signed_activations,
    )
