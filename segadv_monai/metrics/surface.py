"""Measures of the distance between two surfaces: Hausdorff distances, average distance, surface Dice.

Each is read from :class:`SurfaceDistances`, so that one computation serves all. Their unit is that of the
spacing: with a spacing in mm they are mm, with a spacing of 1 they are voxels. Empty masks follow
:mod:`segadv_monai.metrics.policy`.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from segadv_monai.protocols import ConfigError

from .policy import empty_value
from .surface_distances import SurfaceDistances

__all__ = ["SURFACES", "assd_mm", "hd95_mm", "hd_mm", "nsd"]

_Floats = NDArray[np.float64]


def hd95_mm(distances: SurfaceDistances) -> float:
    """95 % Hausdorff distance: the larger of the 95th percentiles of the two directions.

    Of voxel edges the percentile is interpolated between ranks, as MONAI's; of surface elements it is the
    smallest distance within which 95 % of the area lies, as DeepMind's.

    Args:
        distances: of :func:`surface_distances`.
    """
    if (value := _empty("hd95_mm", distances)) is not None:
        return value
    if distances.definition == "voxel_edges":
        return max(_percentile(distances.to_reference), _percentile(distances.to_prediction))
    return max(
        _weighted_percentile(distances.to_reference, distances.predicted_sizes),
        _weighted_percentile(distances.to_prediction, distances.referred_sizes),
    )


def hd_mm(distances: SurfaceDistances) -> float:
    """Hausdorff distance: the largest distance of either direction, of whichever surface was chosen.

    Args:
        distances: of :func:`surface_distances`.
    """
    if (value := _empty("hd_mm", distances)) is not None:
        return value
    return float(max(distances.to_reference.max(), distances.to_prediction.max()))


def assd_mm(distances: SurfaceDistances) -> float:
    """Average symmetric surface distance: the mean over the elements of both surfaces together.

    Of voxel edges it is MONAI's. DeepMind gives an average for each direction; here the elements of both
    are averaged by their sizes, so that the larger surface counts for more.

    Args:
        distances: of :func:`surface_distances`.
    """
    if (value := _empty("assd_mm", distances)) is not None:
        return value
    sizes = (distances.predicted_sizes, distances.referred_sizes)
    total = distances.to_reference @ sizes[0] + distances.to_prediction @ sizes[1]
    return float(total / (sizes[0].sum() + sizes[1].sum()))


def nsd(distances: SurfaceDistances, tolerance_mm: float) -> float:
    """Normalised surface Dice: the part of both surfaces that lies within a tolerance of the other.

    Of voxel edges it is the part of their number, as MONAI's; of surface elements the part of their area, as
    DeepMind's. A distance that exceeds the tolerance by no more than the rounding of float32 is within it.

    Args:
        distances: of :func:`surface_distances`.
        tolerance_mm: largest distance that counts as none, not negative.

    Raises:
        ConfigError: the tolerance is negative or not finite.
    """
    if not 0 <= tolerance_mm < np.inf:
        raise ConfigError(f"the tolerance must be a finite number, 0 or greater, got {tolerance_mm}.")
    if (value := _empty("nsd", distances)) is not None:
        return value
    sizes = np.concatenate((distances.predicted_sizes, distances.referred_sizes))
    both = np.concatenate((distances.to_reference, distances.to_prediction))
    within = both.astype(np.float32) <= np.float32(tolerance_mm)
    return float(sizes[within].sum() / sizes.sum())


SURFACES: dict[str, Callable[[SurfaceDistances], float]] = {
    "hd95_mm": hd95_mm,
    "hd_mm": hd_mm,
    "assd_mm": assd_mm,
}


def _percentile(distances: _Floats) -> float:
    """Between the two ranks around 95 %, in proportion."""
    # MONAI's rank is a float32, which moves the result by more than rounding does.
    rank = np.float32(0.95) * np.float32(len(distances) - 1)
    low = int(rank)
    high = min(low + 1, len(distances) - 1)
    ordered = np.partition(distances, (low, high))
    return float(ordered[low] + (ordered[high] - ordered[low]) * float(rank - np.float32(low)))


def _weighted_percentile(distances: _Floats, sizes: _Floats) -> float:
    order = np.lexsort((sizes, distances))
    reached = np.cumsum(sizes[order]) / np.sum(sizes[order])
    return float(distances[order][min(int(np.searchsorted(reached, 0.95)), len(order) - 1)])


def _empty(name: str, distances: SurfaceDistances) -> float | None:
    """The value that the policy gives, None where both masks have voxels."""
    empty = (distances.prediction_empty, distances.reference_empty)
    if not any(empty):
        return None
    return empty_value(name, prediction_empty=empty[0], reference_empty=empty[1], diagonal=distances.diagonal)
