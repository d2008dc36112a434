"""The same numbers with MONAI and with segadv_monai.metrics, side by side, on one thread.

Each case is run several times, the two in turn, and the best time of each counts. What both give is compared
before it is timed.
"""

import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from monai.metrics import (
    DiceMetric,
    MeanIoU,
    compute_average_surface_distance,
    compute_hausdorff_distance,
    compute_surface_dice,
)
from monai.transforms import AsDiscrete
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, zoom
from torch import Tensor

from segadv_monai.metrics import (
    SurfaceDistances,
    assd_mm,
    hd95_mm,
    joint_histogram,
    nsd,
    overlap,
    region_counts,
    region_surface_distances,
    surface_distances,
)

CLASSES = 14
SPACING = [0.8, 0.8, 1.5]
TOLERANCE = 2.0
REPEATS = 5
Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def _organs(shape: tuple[int, int, int]) -> tuple[Labels, Labels]:
    """Ellipsoids of 14 classes, and the same bent a little."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    reference = np.zeros(shape, np.uint8)
    for label in range(1, CLASSES + 1):
        centre, radius = rng.uniform(-0.75, 0.75, (3, 1, 1, 1)), rng.uniform(0.1, 0.3, (3, 1, 1, 1))
        reference[(((grid - centre) / radius) ** 2).sum(axis=0) < 1] = label
    shifts = [zoom(rng.normal(0, 2, (6, 6, 6)), np.array(shape) / 6, order=1) for _ in shape]
    prediction = map_coordinates(reference, np.indices(shape) + np.stack(shifts), order=0, mode="nearest")
    return prediction, reference


def _balls(size: int, noise: float) -> tuple[Mask, Mask]:
    """Two _balls, one shifted and larger; noise makes their surfaces rough."""
    rng = np.random.default_rng(0)
    places = np.indices((size,) * 3) - size / 2
    radii = [
        np.linalg.norm(places - np.reshape(centre, (3, 1, 1, 1)), axis=0) for centre in ([3, 0, 2], [0] * 3)
    ]
    prediction, reference = (radius + rng.normal(0, noise, radius.shape) for radius in radii)
    return prediction < 0.27 * size, reference < 0.25 * size


def _monai_overlaps(prediction: Tensor, reference: Tensor) -> list[float]:
    one_hot = AsDiscrete(to_onehot=CLASSES + 1)
    maps = [one_hot(labels[None])[None] for labels in (prediction, reference)]
    metrics = DiceMetric(include_background=False), MeanIoU(include_background=False)
    return torch.stack([metric(*maps)[0] for metric in metrics]).flatten().tolist()


def _our_overlaps(prediction: Tensor, reference: Tensor) -> list[float]:
    counts = region_counts(joint_histogram(prediction[None], reference[None], CLASSES + 1))
    return torch.stack([overlap(name, counts)[0] for name in ("dice", "jaccard")]).flatten().tolist()


def _monai_surfaces(maps: list[Tensor], *, include_background: bool) -> list[float]:
    settings: dict[str, Any] = {"include_background": include_background, "spacing": SPACING}
    tolerances = [TOLERANCE] * (maps[0].shape[1] - (not include_background))
    values = (
        compute_hausdorff_distance(*maps, percentile=95, **settings),
        compute_average_surface_distance(*maps, symmetric=True, **settings),
        compute_surface_dice(*maps, class_thresholds=tolerances, **settings),
    )
    return torch.cat(values).flatten().tolist()


def _our_surfaces(found: list[SurfaceDistances]) -> list[float]:
    measures = (hd95_mm, assd_mm, lambda distances: nsd(distances, TOLERANCE))
    return [measure(distances) for measure in measures for distances in found]


def _classes_with_monai(prediction: Tensor, reference: Tensor) -> list[float]:
    one_hot = AsDiscrete(to_onehot=CLASSES + 1)
    maps = [one_hot(labels[None])[None] for labels in (prediction, reference)]
    return _monai_surfaces(maps, include_background=False)


def _classes_with_ours(prediction: Tensor, reference: Tensor) -> list[float]:
    regions = [[label] for label in range(1, CLASSES + 1)]
    return _our_surfaces(region_surface_distances(prediction, reference, regions=regions, spacing_mm=SPACING))


def _mask_with_monai(prediction: Tensor, reference: Tensor) -> list[float]:
    return _monai_surfaces([mask[None, None] for mask in (prediction, reference)], include_background=True)


def _mask_with_ours(prediction: Tensor, reference: Tensor) -> list[float]:
    return _our_surfaces([surface_distances(prediction, reference, spacing_mm=SPACING)])


def _seconds(call: Callable[[Tensor, Tensor], list[float]], maps: list[Tensor]) -> float:
    start = time.perf_counter()
    call(*maps)
    return time.perf_counter() - start


def _compare(
    title: str, target: float, calls: list[Callable[[Tensor, Tensor], list[float]]], pair: tuple[Any, Any]
) -> None:
    """One line of the table."""
    maps = [torch.from_numpy(array) for array in pair]
    np.testing.assert_allclose(calls[1](*maps), calls[0](*maps), rtol=1e-5, atol=1e-5)
    times = np.array([[_seconds(call, maps) for call in calls] for _ in range(REPEATS)]).min(axis=0)
    ratio = times[0] / times[1]
    verdict = "" if ratio >= target else "  MISSED"
    _say(f"{title:<58}{times[0]:>9.4f}{times[1]:>9.4f}{ratio:>8.1f}{target:>8.1f}{verdict}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    # Of MONAI's own use of what MONAI has deprecated.
    warnings.filterwarnings("ignore", message=".*always_return_as_numpy", category=FutureWarning)
    _say(f"{'case':<58}{'MONAI s':>9}{'ours s':>9}{'ratio':>8}{'target':>8}")
    labels = _organs((192, 192, 128))
    overlaps = [_monai_overlaps, _our_overlaps]
    _compare("Dice and IoU of 14 classes, 192 x 192 x 128", 15, overlaps, labels)
    classes = [_classes_with_monai, _classes_with_ours]
    _compare("HD95, ASSD, NSD of 14 classes, 192 x 192 x 128", 8, classes, labels)
    masks = [_mask_with_monai, _mask_with_ours]
    _compare("HD95, ASSD, NSD of one compact structure, 160 x 160 x 160", 2, masks, _balls(160, 0))
    _compare("HD95, ASSD, NSD of one rough surface, 160 x 160 x 160", 2.5, masks, _balls(160, 3))


if __name__ == "__main__":
    main()
