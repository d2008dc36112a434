"""Cross entropy with a weight for each position, the loss of the U-Net (Ronneberger et al., MICCAI 2015).

Departs from the paper in one way: the paper sums over the positions of a tile; here the sum is divided by
their number, so that the step does not grow with the tile. ``reduction="sum"`` gives the paper's.
"""

from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from segadv_monai.protocols import DataError

__all__ = ["PixelWeightedCrossEntropy"]


class PixelWeightedCrossEntropy(nn.Module):
    """Minus the log probability of the true class times the weight, over the labelled positions of a batch.

    At logits of 0 it is the mean weight times the log of the number of classes. A position without class
    counts nowhere, not even in the mean.

    Args:
        reduction: ``mean`` divides by the number of labelled positions, not by the sum of their weights.

    Shape:
        - logits: ``(B, K, *S)``, at least 2 maps.
        - target: ``(B, K, *S)``, one-hot; 0 in all maps where a position is ignored.
        - weight: ``(B, 1, *S)``; None for 1 everywhere.
        - Output: scalar.

    Raises:
        ValueError: ``reduction`` is another one, the shapes do not belong together, or there is a single map.
        DataError: all positions of the batch are ignored.
    """

    def __init__(self, reduction: Literal["mean", "sum"] = "mean") -> None:
        super().__init__()
        if reduction not in ("mean", "sum"):
            raise ValueError(f"reduction must be mean or sum, got {reduction}.")
        self.reduction = reduction

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        if logits.shape != target.shape or logits.shape[1] < 2:
            raise ValueError(
                "logits and target need one map for each of at least 2 classes, got "
                f"{tuple(logits.shape)} and {tuple(target.shape)}."
            )
        if weight is not None and weight.shape != (len(logits), 1, *logits.shape[2:]):
            raise ValueError(
                f"the weight of logits {tuple(logits.shape)} is one map on their grid, got "
                f"{tuple(weight.shape)}: crop it with the target."
            )
        labelled = target.sum()
        if not labelled > 0:
            raise DataError(
                f"all positions of a batch of {len(target)} are ignored, so it teaches nothing: leave out "
                "cases without labels, crop larger or raise the batch size."
            )
        losses = cross_entropy(logits, target.to(logits.dtype), reduction="none")
        if weight is not None:
            losses = losses * weight[:, 0]
        total = losses.sum()
        return total / labelled if self.reduction == "mean" else total
