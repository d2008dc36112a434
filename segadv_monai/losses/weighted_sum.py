"""Any weighted sum of losses, as Dice, cross entropy and focal loss beside a game."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

__all__ = ["WeightedSum"]


class WeightedSum(nn.Module):
    """Sum of losses of the same logits and target, each times its weight.

    Args:
        losses: each by a name, such as MONAI's ``DiceLoss`` and ``FocalLoss``.
        weights: of each loss by the same name; 1 where there is none.

    Shape:
        - logits, target: what the losses take, ``(B, K, *S)``.
        - weight: ``(B, 1, *S)`` for losses that take one as a third argument; leave it out for others.
        - Output: scalar.

    Raises:
        ValueError: there is no loss; a weight has no loss, or is less than 0.
    """

    def __init__(
        self, losses: Mapping[str, Callable[..., Tensor]], weights: Mapping[str, float] | None = None
    ) -> None:
        super().__init__()
        weights = weights or {}
        if not losses or weights.keys() - losses.keys():
            raise ValueError(
                f"each weight needs a loss of its name, got weights of {', '.join(weights) or 'none'} and "
                f"losses {', '.join(losses) or 'none'}."
            )
        if any(not weight >= 0 for weight in weights.values()):
            raise ValueError(f"weights must be at least 0, got {dict(weights)}.")
        self.losses = dict(losses)
        self.weights = {name: float(weights.get(name, 1.0)) for name in losses}

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        given = (logits, target) if weight is None else (logits, target, weight)
        return torch.stack([self.weights[name] * loss(*given) for name, loss in self.losses.items()]).sum()
