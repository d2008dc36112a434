"""Sample attention of ASDNet (Nie et al., MICCAI 2018): cases that are segmented badly count more.

The form, a power of 1 - Dice, is the one that the paper is remembered by and could not be checked against its
text. The released code computes something else, and to no effect: a weight of the critic's mean verdict over
both channels of its softmax, which is one half whatever the verdict.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["SampleAttentionLoss"]


class SampleAttentionLoss(nn.Module):
    """Mean over cases of a loss times ``(1 - Dice) ** exponent``; the Dice of the decision, without gradient.

    Args:
        loss: of logits and target; called for each case.
        exponent: at least 0; 0 makes all cases equal.
        exclusive: whether the maps are classes that exclude one another, of which the greatest logit
            decides, or may overlap, where the sign of each decides.

    Shape:
        - logits, target: ``(B, K, *S)``; the target's values are 0 and 1.
        - Output: scalar.

    Raises:
        ValueError: ``exponent`` is less than 0.
    """

    def __init__(
        self, loss: Callable[[Tensor, Tensor], Tensor], *, exponent: float = 2.0, exclusive: bool = False
    ) -> None:
        super().__init__()
        if not exponent >= 0:
            raise ValueError(f"exponent must be at least 0, got {exponent}.")
        self.loss = loss
        self.exponent = exponent
        self.exclusive = exclusive

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        losses = [self.loss(one[None], true[None]) for one, true in zip(logits, target, strict=True)]
        weights = (1 - self._dice(logits.detach(), target)).pow(self.exponent)
        return (weights * torch.stack(losses)).mean()

    def _dice(self, logits: Tensor, target: Tensor) -> Tensor:
        """Of each case the mean over its maps; a map that is empty on both sides is right."""
        if self.exclusive and logits.shape[1] > 1:
            decided = torch.zeros_like(logits).scatter_(1, logits.argmax(dim=1, keepdim=True), 1)
        else:
            decided = (logits > 0).to(logits.dtype)
        both = (decided * target).flatten(2).sum(dim=2)
        sizes = decided.flatten(2).sum(dim=2) + target.flatten(2).sum(dim=2)
        return torch.where(sizes > 0, 2 * both / sizes.clamp(min=1), 1).mean(dim=1)
