"""What a recipe may add to the cross entropy: the distance to a teacher, and the price of bits."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ternzip.training.recipe import Recipe

BITS_OF_A_KIBIBYTE = 8192


def distillation(scores: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """How far scores (batch, classes) are from those taught: Kullback and Leibler's divergence, mean of a batch, 0-d.

    Both at a temperature, whose square keeps the size of its gradients (Hinton, Vinyals, Dean 2015; arXiv 1503.02531).
    """
    own, target = ((logits.float() / temperature).log_softmax(1) for logits in (scores, taught))
    return F.kl_div(own, target, reduction="batchmean", log_target=True) * temperature**2


def rate_price(recipe: Recipe, epoch: int) -> float:
    """What a bit costs in an epoch (from 1): the price of a kibibyte grows in equal steps to that of the recipe."""
    return recipe.rate * min(1.0, epoch / recipe.rate_epochs) / BITS_OF_A_KIBIBYTE
