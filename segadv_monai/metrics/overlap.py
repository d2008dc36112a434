"""Overlap of a segmentation with its reference, per case and per region, from numbers of voxels.

Empty masks follow :mod:`segadv_monai.metrics.policy`.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from segadv_monai.protocols import ConfigError, DataError

from .collecting import CollectingMetric
from .policy import MEASURES, empty_value

__all__ = ["OVERLAPS", "OverlapMetric", "VoxelCounts", "dice_score", "overlap", "voxel_counts"]


class VoxelCounts(NamedTuple):
    """Numbers of voxels of two masks, per case and region, float64 ``(B, K)``.

    Args:
        common: voxels of both.
        predicted: voxels of the prediction.
        referred: voxels of the reference.
    """

    common: Tensor
    predicted: Tensor
    referred: Tensor


_DEFINED: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "dice": lambda common, predicted, referred: 2 * common / (predicted + referred),
    "jaccard": lambda common, predicted, referred: common / (predicted + referred - common),
    "volume_error": lambda _, predicted, referred: (predicted - referred).abs() / (predicted + referred),
}
_COUNTED: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "missed": lambda common, _, referred: (referred > 0) & (common == 0),
    "empty_prediction": lambda _, predicted, referred: (predicted == 0) & (referred > 0),
    "empty_reference": lambda _, predicted, referred: (predicted > 0) & (referred == 0),
    "both_empty": lambda _, predicted, referred: predicted + referred == 0,
}
OVERLAPS = (*_DEFINED, *_COUNTED)


def overlap(name: str, counts: VoxelCounts) -> Tensor:
    """A measure or a count from numbers of voxels, ``(B, K)``; a count is 1 where it applies, else 0.

    ``volume_error`` is 1 minus the volumetric similarity of Taha and Hanbury, BMC Medical Imaging 2015.

    Args:
        name: ``dice``, ``jaccard``, ``volume_error`` or a count of the policy.
        counts: numbers of voxels.

    Raises:
        ConfigError: there is no such measure.
    """
    if name in _COUNTED:
        return _COUNTED[name](*counts).double()
    if name not in _DEFINED:
        raise ConfigError(f"measure must be one of {', '.join(OVERLAPS)}, got {name}.")
    values = _DEFINED[name](*counts)
    for predicted, referred in ((True, False), (False, True), (True, True)):
        there = ((counts.predicted == 0) == predicted) & ((counts.referred == 0) == referred)
        values[there] = empty_value(name, prediction_empty=predicted, reference_empty=referred)
    return values


def voxel_counts(prediction: Tensor, reference: Tensor) -> VoxelCounts:
    """Count the voxels of binary maps.

    Args:
        prediction: binary maps ``(B, K, *S)``.
        reference: binary maps of the same shape.

    Raises:
        DataError: the shapes differ.
    """
    if prediction.shape != reference.shape:
        raise DataError(
            f"prediction and reference must have one shape, got {tuple(prediction.shape)} and "
            f"{tuple(reference.shape)}: bring the prediction back to the reference's grid."
        )
    a = prediction.as_subclass(Tensor).flatten(2) > 0
    b = reference.as_subclass(Tensor).flatten(2) > 0
    return VoxelCounts((a & b).sum(-1).double(), a.sum(-1).double(), b.sum(-1).double())


def dice_score(prediction: Tensor, reference: Tensor) -> Tensor:
    """Dice coefficient ``2 |A and B| / (|A| + |B|)``, ``(B, K)``; ``nan`` where both are empty.

    Args:
        prediction: binary maps ``(B, K, *S)``.
        reference: binary maps of the same shape.

    Raises:
        DataError: the shapes differ.
    """
    return overlap("dice", voxel_counts(prediction, reference))


class OverlapMetric(CollectingMetric):
    """One measure of binary maps over all cases: the mean of a measure, or the sum of a count.

    Args:
        measure: ``dice``, ``jaccard``, ``volume_error`` or a count of the policy, such as ``missed``.

    Raises:
        ConfigError: there is no such measure.
    """

    def __init__(self, measure: str) -> None:
        super().__init__()
        if measure not in OVERLAPS:
            raise ConfigError(f"measure must be one of {', '.join(OVERLAPS)}, got {measure}.")
        self.measure = measure

    def aggregate(self) -> Tensor:
        """The measure over all cases seen; ``nan`` for a mean over no case at all."""
        seen = self.get_buffer()  # type: ignore[no-untyped-call]
        values = torch.empty(0) if seen is None else seen
        return torch.nanmean(values) if self.measure in MEASURES else values.sum()

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **_: object) -> Tensor:
        if y is None:
            raise DataError("overlap needs a reference: give the label maps.")
        return overlap(self.measure, voxel_counts(y_pred, y))
