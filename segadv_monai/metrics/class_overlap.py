"""Overlap of classes that exclude one another, from voxels counted over all cases together.

This is how street scenes are measured: a class has one intersection and one union in the whole data set, so
that a case in which it is rare weighs little. Positions without a class in the reference count nowhere.
"""

import torch
from torch import Tensor

from segadv_monai.protocols import ConfigError, DataError

from .collecting import CollectingMetric
from .overlap import VoxelCounts, voxel_counts

__all__ = ["CLASS_MEASURES", "ClassOverlapMetric", "class_accuracy", "class_iou", "pixel_accuracy"]

CLASS_MEASURES = ("mean_iou", "mean_accuracy", "pixel_accuracy")


def class_iou(counts: VoxelCounts) -> Tensor:
    """Intersection over union of each class over all cases, ``(K,)``; ``nan`` where it never occurs.

    Args:
        counts: numbers of voxels of each case and class.
    """
    common, predicted, referred = (part.sum(0) for part in counts)
    return common / (predicted + referred - common)


def class_accuracy(counts: VoxelCounts) -> Tensor:
    """Share of each class that was found, ``(K,)``; ``nan`` where the reference never has it.

    Args:
        counts: numbers of voxels of each case and class.
    """
    common, _, referred = (part.sum(0) for part in counts)
    return common / referred


def pixel_accuracy(counts: VoxelCounts) -> Tensor:
    """Share of the labelled positions that got their class; ``nan`` without any.

    Args:
        counts: numbers of voxels of each case and class.
    """
    return counts.common.sum() / counts.referred.sum()


class ClassOverlapMetric(CollectingMetric):
    """One measure over all cases together; classes that occur nowhere are left out of a mean.

    Args:
        measure: ``mean_iou``, ``mean_accuracy`` (over classes) or ``pixel_accuracy``.

    Raises:
        ConfigError: there is no such measure.
    """

    def __init__(self, measure: str = "mean_iou") -> None:
        super().__init__()
        if measure not in CLASS_MEASURES:
            raise ConfigError(f"measure must be one of {', '.join(CLASS_MEASURES)}, got {measure}.")
        self.measure = measure

    def aggregate(self) -> Tensor:
        """The measure over all cases seen; ``nan`` without any."""
        counts = self.counts()
        if self.measure == "pixel_accuracy":
            return pixel_accuracy(counts)
        return (class_iou if self.measure == "mean_iou" else class_accuracy)(counts).nanmean()

    def counts(self) -> VoxelCounts:
        """Numbers of voxels of all cases that all processes have seen."""
        seen = self.get_buffer()  # type: ignore[no-untyped-call]
        return VoxelCounts(*(torch.zeros(3, 0, 0) if seen is None else seen.movedim(1, 0)).double())

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **_: object) -> Tensor:
        if y is None:
            raise DataError("overlap needs a reference: give the label maps.")
        # Other shapes are refused below.
        if y_pred.shape == y.shape:
            y_pred = y_pred * y.any(dim=1, keepdim=True)
        return torch.stack(voxel_counts(y_pred, y), dim=1)
