"""Multi-scale L1 loss of SegAN (Xue et al., ISBI 2018, equation 2).

The paper writes one mean over the scales of the L1 norm of each scale's difference; the norm is read here as
the mean absolute difference, so that no scale outweighs another by its size. The released code computes
something else, which has a class of its own.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["MultiScaleL1Loss", "ReleasedMultiScaleL1Loss"]


class MultiScaleL1Loss(nn.Module):
    """Mean over scales of each scale's mean absolute difference.

    Shape:
        - features, reference: sequences of tensors, equal in length, pairwise equal in shape.
        - Output: scalar.

    Raises:
        ValueError: the sequences differ in length or shapes, or are empty.
    """

    def forward(self, features: Sequence[Tensor], reference: Sequence[Tensor]) -> Tensor:
        _check_scales(features, reference)
        terms = [(f - r).abs().mean() for f, r in zip(features, reference, strict=True)]
        return torch.stack(terms).mean()


class ReleasedMultiScaleL1Loss(nn.Module):
    """Mean absolute difference over all features joined into one vector, each scale times its weight.

    Large maps dominate: at 128x128 the masked image and the first block are 57 % of the vector.

    Args:
        weights: factor of each scale, the masked image first.

    Shape:
        - features, reference: sequences of ``len(weights)`` tensors, pairwise equal in shape.
        - Output: scalar.

    Raises:
        ValueError: the sequences differ in length or shapes, or in length from ``weights``.
    """

    def __init__(self, weights: Sequence[float] = (1, 1, 2, 2, 2, 2, 4)) -> None:
        super().__init__()
        self.weights = tuple(weights)

    def forward(self, features: Sequence[Tensor], reference: Sequence[Tensor]) -> Tensor:
        _check_scales(features, reference)
        if len(features) != len(self.weights):
            raise ValueError(
                f"there are {len(self.weights)} weights for {len(features)} scales: give one per scale."
            )
        sums = [
            weight * (f - r).abs().sum()
            for weight, f, r in zip(self.weights, features, reference, strict=True)
        ]
        return torch.stack(sums).sum() / sum(f.numel() for f in features)


def _check_scales(features: Sequence[Tensor], reference: Sequence[Tensor]) -> None:
    if len(features) != len(reference) or not features:
        raise ValueError(
            f"both sides need the same scales, at least one; got {len(features)} and {len(reference)}."
        )
    for f, r in zip(features, reference, strict=True):
        if f.shape != r.shape:
            raise ValueError(f"a scale has {tuple(f.shape)} on one side and {tuple(r.shape)} on the other.")
