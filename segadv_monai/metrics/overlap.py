"""Overlap of a segmentation with its reference, per case and per map, with one rule for empty masks.

=====================  =============  =============  =========
reference, prediction  Dice           Jaccard        missed
=====================  =============  =============  =========
both empty             excluded       excluded       excluded
one of them empty      0              0              1 if the reference has voxels
no common voxel        0              0              1
=====================  =============  =============  =========

An excluded case is ``nan`` in the details and counted as ``both_empty``; a miss never improves a number.
"""

from collections.abc import Callable

import torch
from monai.metrics import CumulativeIterationMetric
from torch import Tensor

__all__ = ["OverlapMetric", "both_empty", "dice_score", "jaccard_index", "missed"]


def dice_score(prediction: Tensor, reference: Tensor) -> Tensor:
    """Dice coefficient ``2 |A and B| / (|A| + |B|)``.

    Args:
        prediction: binary maps ``(B, K, *S)``.
        reference: binary maps of the same shape.

    Returns:
        ``(B, K)`` in [0, 1]; ``nan`` where both are empty.

    Raises:
        ValueError: the shapes differ.
    """
    common, predicted, referred = _voxel_counts(prediction, reference)
    return 2 * common / (predicted + referred)


def jaccard_index(prediction: Tensor, reference: Tensor) -> Tensor:
    """Jaccard index ``|A and B| / |A or B|``; arguments, result and errors as :func:`dice_score`."""
    common, predicted, referred = _voxel_counts(prediction, reference)
    return common / (predicted + referred - common)


def missed(prediction: Tensor, reference: Tensor) -> Tensor:
    """1 where the reference has voxels and the prediction hits none of them, else 0.

    Arguments, result and errors as :func:`dice_score`.
    """
    common, predicted, referred = _voxel_counts(prediction, reference)
    result = ((referred > 0) & (common == 0)).to(common.dtype)
    result[(referred == 0) & (predicted == 0)] = torch.nan
    return result


def both_empty(prediction: Tensor, reference: Tensor) -> Tensor:
    """1 where neither has voxels, else 0; arguments, result and errors as :func:`dice_score`."""
    _, predicted, referred = _voxel_counts(prediction, reference)
    return (predicted + referred == 0).to(predicted.dtype)


_MEASURES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "dice": (dice_score, torch.nanmean),
    "jaccard": (jaccard_index, torch.nanmean),
    "missed": (missed, torch.nansum),
    "both_empty": (both_empty, torch.nansum),
}


class OverlapMetric(CumulativeIterationMetric):
    """One measure over all cases: mean ``dice`` or ``jaccard``, number of ``missed`` or ``both_empty``.

    Args:
        measure: ``dice``, ``jaccard``, ``missed`` or ``both_empty``.

    Raises:
        ValueError: there is no such measure.
    """

    def __init__(self, measure: str) -> None:
        super().__init__()
        if measure not in _MEASURES:
            raise ValueError(f"measure must be one of {', '.join(_MEASURES)}, got {measure}.")
        self._per_case, self._reduce = _MEASURES[measure]

    def aggregate(self) -> Tensor:
        """The measure over all cases seen; ``nan`` for a mean over no case at all."""
        seen = self.get_buffer()  # type: ignore[no-untyped-call]
        return self._reduce(torch.empty(0) if seen is None else seen)

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **_: object) -> Tensor:
        if y is None:
            raise ValueError("overlap needs a reference.")
        return self._per_case(y_pred, y)


def _voxel_counts(prediction: Tensor, reference: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if prediction.shape != reference.shape:
        raise ValueError(
            f"prediction and reference must have one shape, got {tuple(prediction.shape)} and "
            f"{tuple(reference.shape)}: bring the prediction back to the reference's grid."
        )
    a = prediction.as_subclass(Tensor).flatten(2) > 0
    b = reference.as_subclass(Tensor).flatten(2) > 0
    return (a & b).sum(-1).double(), a.sum(-1).double(), b.sum(-1).double()
