"""Cross entropy of classes that exclude one another, without the positions that a label map ignores.

The multi-class cross entropy of Luc et al. (NIPS workshop 2016, arXiv 1611.08408), as a mean over the
labelled positions. Torch's loss behind the contract of this room: the target is one-hot, and an ignored
position is one without a class.
"""

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from segadv_monai.protocols import DataError

__all__ = ["ClassCrossEntropy"]


class ClassCrossEntropy(nn.Module):
    """Mean over the labelled positions of a batch of minus the log probability of the true class.

    Shape:
        - logits: ``(B, K, *S)``, at least 2 maps.
        - target: ``(B, K, *S)``, one-hot; 0 in all maps where a position is ignored.
        - Output: scalar.

    Raises:
        ValueError: the shapes differ, or there is a single map.
        DataError: all positions of the batch are ignored.
    """

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        if logits.shape != target.shape or logits.shape[1] < 2:
            raise ValueError(
                "logits and target need one map for each of at least 2 classes, got "
                f"{tuple(logits.shape)} and {tuple(target.shape)}."
            )
        labelled = target.sum()
        if not labelled > 0:
            raise DataError(
                f"all positions of a batch of {len(target)} are ignored, so it teaches nothing: leave out "
                "cases without labels, crop larger or raise the batch size."
            )
        return cross_entropy(logits, target.to(logits.dtype), reduction="sum") / labelled
