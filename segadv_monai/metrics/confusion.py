"""Overlaps of all classes or regions of two label maps from their joint histogram, counted in one pass.

Nothing is made one-hot: the histogram holds, for every pair of labels, how many voxels have the one in the
prediction and the other in the reference. Regions are sums over it, and may overlap.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from segadv_monai.protocols import ConfigError, DataError

from .overlap import VoxelCounts

__all__ = ["joint_histogram", "region_counts"]

_WIDE = (torch.uint16, torch.uint32, torch.uint64)


def joint_histogram(prediction: Tensor, reference: Tensor, num_labels: int) -> Tensor:
    """Number of voxels for every pair of labels, int64 ``(B, num_labels, num_labels)``.

    Entry ``[b, p, r]`` counts the voxels of case ``b`` with label ``p`` in the prediction and ``r`` in the
    reference.

    Args:
        prediction: label maps ``(B, *S)``, whole numbers from 0 to ``num_labels - 1``.
        reference: label maps of the same shape.
        num_labels: number of labels, the background included.

    Raises:
        DataError: the shapes differ; a label is out of range or not a whole number.
        ConfigError: ``num_labels`` is not between 1 and 65536.
    """
    if not 1 <= num_labels <= 2**16:
        raise ConfigError(f"num_labels must be between 1 and {2**16}, got {num_labels}.")
    if prediction.shape != reference.shape:
        raise DataError(
            f"prediction and reference must have one shape, got {tuple(prediction.shape)} and "
            f"{tuple(reference.shape)}: bring the prediction back to the reference's grid."
        )
    pairs = num_labels**2
    # The narrowest type that holds every pair: the pass is bound by memory.
    dtype = torch.uint8 if pairs <= 2**8 else torch.int16 if pairs <= 2**15 else torch.int64
    predicted = _labels(prediction, num_labels, "prediction").to(dtype)
    codes = predicted.mul(num_labels).add_(_labels(reference, num_labels, "reference").to(dtype))
    counts = [torch.bincount(case.flatten(), minlength=pairs) for case in codes]
    return torch.stack(counts).reshape(-1, num_labels, num_labels)


def region_counts(histogram: Tensor, regions: Sequence[Sequence[int]] | None = None) -> VoxelCounts:
    """Numbers of voxels of regions from a joint histogram; see :func:`segadv_monai.metrics.overlap`.

    Args:
        histogram: ``(B, L, L)`` of :func:`joint_histogram`.
        regions: label values of each region; by default every label but 0 is one.

    Raises:
        ConfigError: a region is empty or has a label that the histogram does not count.
    """
    labels = histogram.shape[-1]
    members = histogram.new_zeros(
        (labels - 1 if regions is None else len(regions), labels), dtype=torch.double
    )
    for k, region in enumerate([[i] for i in range(1, labels)] if regions is None else regions):
        if not region or min(region) < 0 or max(region) >= labels:
            raise ConfigError(f"a region needs labels from 0 to {labels - 1}, got {list(region)}.")
        members[k, list(region)] = 1
    counts = histogram.double()
    return VoxelCounts(
        common=torch.einsum("kp,bpr,kr->bk", members, counts, members),
        predicted=counts.sum(2) @ members.T,
        referred=counts.sum(1) @ members.T,
    )


def _labels(maps: Tensor, num_labels: int, what: str) -> Tensor:
    """The maps as plain tensors whose values were checked."""
    values = maps.as_subclass(Tensor)
    if values.dtype in _WIDE:
        values = values.long()
    if not values.numel():
        return values
    low, high = (float(bound) for bound in torch.aminmax(values))
    if not (low >= 0 and high < num_labels):
        raise DataError(
            f"labels of the {what} must be from 0 to {num_labels - 1}, got {low:g} to {high:g}: "
            "map them to these or raise num_labels."
        )
    if values.is_floating_point() and not torch.equal(values, values.floor()):
        raise DataError(
            f"labels of the {what} must be whole numbers, got fractions: resample with 'nearest'."
        )
    return values
