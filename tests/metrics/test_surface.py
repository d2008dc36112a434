"""Surface distances by hand, against MONAI, and against DeepMind's surface elements; empty masks."""

import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.metrics import (
    compute_average_surface_distance,
    compute_hausdorff_distance,
    compute_surface_dice,
)
from monai.metrics.utils import get_edge_surface_distance
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from segadv_monai.metrics import (
    SurfaceDistances,
    assd_mm,
    hd95_mm,
    hd_mm,
    nsd,
    region_surface_distances,
    surface_distances,
)
from segadv_monai.protocols import ConfigError, DataError

# MONAI's surface functions use an argument that MONAI itself has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")

Mask = NDArray[np.bool_]
Pair = tuple[Mask, Mask, list[float], float]
MASKS = 500
BOTH = ("voxel_edges", "surface_elements")


def random_pairs(seed: int) -> Iterator[Pair]:
    """Noise and smooth shapes, pictures and volumes, touching the border or not, any spacing."""
    rng = np.random.default_rng(seed)
    made = 0
    while made < MASKS:
        dims = int(rng.integers(2, 4))
        shape = rng.integers(1, 13, dims)
        fields = [rng.normal(size=shape) for _ in range(2)]
        if rng.random() < 0.7:
            common = rng.normal(size=shape)
            fields = [gaussian_filter(common + 0.5 * field, rng.uniform(0.5, 2)) for field in fields]
        prediction, reference = (field > np.quantile(field, rng.uniform(0, 0.95)) for field in fields)
        if rng.random() < 0.5:
            prediction, reference = np.pad(prediction, 2), np.pad(reference, 2)
        if prediction.any() and reference.any():
            made += 1
            spacing = [1.0] * dims if rng.random() < 0.2 else rng.uniform(0.3, 4, dims).tolist()
            yield prediction, reference, spacing, float(rng.uniform(0, 4))


def measured(distances: SurfaceDistances, tolerance: float) -> tuple[float, ...]:
    return hd95_mm(distances), hd_mm(distances), assd_mm(distances), nsd(distances, tolerance)


def monais(pair: Pair) -> tuple[float, ...]:
    prediction, reference, spacing, tolerance = pair
    masks = [torch.from_numpy(mask)[None, None] for mask in (prediction, reference)]
    settings: dict[str, Any] = {"include_background": True, "spacing": spacing}
    return (
        compute_hausdorff_distance(*masks, percentile=95, **settings).item(),
        compute_hausdorff_distance(*masks, **settings).item(),
        compute_average_surface_distance(*masks, symmetric=True, **settings).item(),
        compute_surface_dice(*masks, class_thresholds=[tolerance], **settings).item(),
    )


def weighted(distances: list[NDArray[Any]], sizes: list[NDArray[Any]], tolerance: float) -> tuple[float, ...]:
    """The measures of DeepMind's library from its distances and sizes."""
    percentiles = []
    for values, weights in zip(distances, sizes, strict=True):
        order = np.lexsort((weights, values))
        reached = np.cumsum(weights[order]) / np.sum(weights)
        percentiles.append(values[order][min(np.searchsorted(reached, 0.95), len(values) - 1)])
    values, weights = np.concatenate(distances), np.concatenate(sizes)
    mean = (values * weights).sum() / weights.sum()
    return max(percentiles), values.max(), mean, weights[values <= tolerance].sum() / weights.sum()


def test_voxel_edges_are_monais_on_500_random_masks() -> None:
    """Keeps N4."""
    for pair in random_pairs(0):
        distances = surface_distances(*pair[:2], spacing_mm=pair[2])
        # MONAI computes in float32.
        assert measured(distances, pair[3]) == pytest.approx(monais(pair), rel=1e-6, abs=1e-6)


def test_surface_elements_are_deepminds_as_monai_has_them_on_500_random_masks() -> None:
    """Keeps N5."""
    for prediction, reference, spacing, tolerance in random_pairs(1):
        maps = [torch.from_numpy(mask) for mask in (prediction, reference)]
        surfaces, found, areas = get_edge_surface_distance(
            *maps, spacing=spacing, use_subvoxels=True, symmetric=True
        )
        sizes = [area[surface].double().numpy() for area, surface in zip(areas, surfaces, strict=True)]
        expected = weighted([d.double().numpy() for d in found], sizes, tolerance)
        distances = surface_distances(
            prediction, reference, spacing_mm=spacing, definition="surface_elements"
        )
        assert measured(distances, tolerance) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_surface_elements_are_deepminds_own_on_500_random_masks() -> None:
    """Keeps N5."""
    library = pytest.importorskip("surface_distance", reason="DeepMind's surface-distance is not installed")
    for prediction, reference, spacing, tolerance in random_pairs(2):
        with warnings.catch_warnings():
            # The library imports from a place that scipy has given up.
            warnings.simplefilter("ignore", DeprecationWarning)
            theirs = library.compute_surface_distances(reference, prediction, spacing)
        distances = surface_distances(
            prediction, reference, spacing_mm=spacing, definition="surface_elements"
        )
        expected = (
            library.compute_robust_hausdorff(theirs, 95),
            library.compute_robust_hausdorff(theirs, 100),
            library.compute_surface_dice_at_tolerance(theirs, tolerance),
            *library.compute_average_surface_distance(theirs),
        )
        directions = (
            np.average(distances.to_prediction, weights=distances.referred_sizes),
            np.average(distances.to_reference, weights=distances.predicted_sizes),
        )
        ours = (hd95_mm(distances), hd_mm(distances), nsd(distances, tolerance), *directions)
        assert ours == pytest.approx(expected, rel=1e-6, abs=1e-6)


def voxels(shape: tuple[int, ...], *places: tuple[int, ...]) -> Mask:
    mask = np.zeros(shape, bool)
    for place in places:
        mask[place] = True
    return mask


def test_two_voxels_two_millimetres_apart() -> None:
    shape = (5, 6, 7)
    prediction, reference = voxels(shape, (1, 2, 3)), voxels(shape, (1, 2, 4))
    distances = surface_distances(prediction, reference, spacing_mm=(0.5, 1, 2))
    assert measured(distances, 1.9) == (2, 2, 2, 0)
    assert nsd(distances, 2) == 1


def test_the_definitions_differ_where_elements_differ_in_size() -> None:
    """A plate of one voxel, 3 x 3, and the same without one corner; spacing of 1 and 4 mm."""
    plate = voxels((5, 5, 3))
    plate[1:4, 1:4, 1] = True
    other = plate.copy()
    other[1, 1, 1] = False
    edges = surface_distances(plate, other, spacing_mm=(1, 1, 4))
    assert assd_mm(edges) == 1 / 17
    elements = surface_distances(plate, other, spacing_mm=(1, 1, 4), definition="surface_elements")
    assert assd_mm(elements) != pytest.approx(1 / 17, rel=0.1)
    assert hd_mm(edges) == hd_mm(elements) == 1


def test_a_mask_that_fills_the_image_has_its_surface_on_the_border() -> None:
    full, core = np.ones((4, 5), bool), np.ones((4, 5), bool)
    core[0] = False
    edges = surface_distances(full, core, spacing_mm=(2, 3))
    assert len(edges.to_reference) == 14
    assert hd_mm(edges) == 2
    elements = surface_distances(full, core, spacing_mm=(2, 3), definition="surface_elements")
    # Four sides, each shorter by half a voxel at both ends, and four corners cut off.
    assert elements.predicted_sizes.sum() == pytest.approx(2 * (3 * 2 + 4 * 3) + 4 * math.hypot(2, 3) / 2)


@pytest.mark.parametrize("definition", BOTH)
def test_moving_both_masks_to_the_border_changes_nothing(definition: Any) -> None:
    rng = np.random.default_rng(0)
    prediction, reference = rng.random((2, 6, 7, 5)) > 0.4
    at_border = surface_distances(prediction, reference, spacing_mm=(1, 2, 3), definition=definition)
    inside = surface_distances(
        np.pad(prediction, 3), np.pad(reference, 3), spacing_mm=(1, 2, 3), definition=definition
    )
    assert measured(at_border, 1) == measured(inside, 1)
    assert inside.diagonal > at_border.diagonal


@pytest.mark.parametrize("definition", BOTH)
@pytest.mark.parametrize(("predicted", "referred"), [(False, True), (True, False)])
def test_one_empty_mask_counts_as_the_diagonal(definition: Any, predicted: bool, referred: bool) -> None:
    """Keeps N1."""
    shape, spacing = (3, 4, 12), (1, 1, 1)
    masks = [voxels(shape, *([(1, 1, 1)] if there else [])) for there in (predicted, referred)]
    distances = surface_distances(*masks, spacing_mm=spacing, definition=definition)
    assert measured(distances, 100) == (13, 13, 13, 0)


@pytest.mark.parametrize("definition", BOTH)
def test_two_empty_masks_are_excluded(definition: Any) -> None:
    """Keeps N1."""
    nothing = np.zeros((3, 4), bool)
    distances = surface_distances(nothing, nothing, spacing_mm=(1, 1), definition=definition)
    assert all(map(math.isnan, measured(distances, 1)))


@pytest.mark.parametrize("definition", BOTH)
def test_no_distance_is_longer_than_the_diagonal(definition: Any) -> None:
    corners = voxels((3, 4, 5), (0, 0, 0)), voxels((3, 4, 5), (2, 3, 4))
    distances = surface_distances(*corners, spacing_mm=(1, 2, 3), definition=definition)
    assert hd_mm(distances) <= distances.diagonal


@pytest.mark.parametrize("definition", BOTH)
def test_regions_of_label_maps_are_measured_as_their_masks(definition: Any) -> None:
    rng = np.random.default_rng(3)
    prediction, reference = rng.integers(0, 4, (2, 7, 8, 6)).astype(np.uint8)
    reference[:2] = 0
    regions = [[1], [2, 3], [1, 2, 3], [9]]
    results = region_surface_distances(
        prediction, reference, regions=regions, spacing_mm=(1, 2, 0.5), definition=definition
    )
    for region, result in zip(regions, results, strict=True):
        masks = [np.isin(labels, region) for labels in (prediction, reference)]
        alone = surface_distances(*masks, spacing_mm=(1, 2, 0.5), definition=definition)
        assert measured(result, 1) == pytest.approx(measured(alone, 1), rel=0, abs=0, nan_ok=True)


def test_a_class_that_the_prediction_lacks_is_an_empty_prediction() -> None:
    """Keeps N1."""
    reference = np.ones((3, 4), np.int16)
    [distances] = region_surface_distances(
        np.zeros_like(reference), reference, regions=[[1]], spacing_mm=(1, 1)
    )
    assert hd95_mm(distances) == 5


def test_tensors_with_meta_data_are_taken() -> None:
    mask = MetaTensor(torch.ones(3, 4))
    assert hd95_mm(surface_distances(mask, mask.numpy(), spacing_mm=(1, 1))) == 0


@pytest.mark.parametrize(
    ("shape", "spacing", "message"),
    [
        ((3, 4), (1, 1, 1), "the spacing must be 2 numbers greater than 0, got"),
        ((3, 4), (1, 0), "greater than 0"),
        ((3, 4), (1, math.nan), "greater than 0"),
        ((3,), (1,), "two or three dimensions"),
    ],
)
def test_what_cannot_be_measured_is_an_error(
    shape: tuple[int, ...], spacing: tuple[float, ...], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        surface_distances(np.ones(shape), np.ones(shape), spacing_mm=spacing)


def test_other_grids_are_an_error() -> None:
    with pytest.raises(DataError, match="back to the reference's grid"):
        surface_distances(np.ones((3, 4)), np.ones((4, 3)), spacing_mm=(1, 1))


def test_bad_settings_are_errors() -> None:
    mask = np.ones((3, 4), np.uint8)
    with pytest.raises(ConfigError, match="voxel_edges or surface_elements, got mesh"):
        surface_distances(mask, mask, spacing_mm=(1, 1), definition="mesh")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="labels greater than 0"):
        region_surface_distances(mask, mask, regions=[[0]], spacing_mm=(1, 1))
    with pytest.raises(DataError, match="must be integers, got float64"):
        region_surface_distances(mask.astype(float), mask, regions=[[1]], spacing_mm=(1, 1))
    with pytest.raises(ConfigError, match="0 or greater, got -1"):
        nsd(surface_distances(mask, mask, spacing_mm=(1, 1)), -1)
