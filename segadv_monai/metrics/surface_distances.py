"""Distances between the surfaces of a segmentation and its reference, in the unit of the spacing.

The distances of a pair of masks are computed once, and every measure of :mod:`segadv_monai.metrics.surface`
is read from them. There are two definitions in use, and their numbers differ:

``voxel_edges``
    As MONAI 1.6 (``compute_hausdorff_distance``, ``compute_average_surface_distance`` with ``symmetric``,
    ``compute_surface_dice``). The surface is the voxels of the mask that share a face with one outside it;
    what lies outside the image is outside the mask. Every such voxel counts the same, whatever its shape.
``surface_elements``
    As DeepMind's surface-distance library (Nikolov et al., arXiv 1809.04430), see
    :mod:`segadv_monai.metrics.surface_elements`. The surface lies between the voxels, and each element counts
    by its area (3D) or length (2D).

On smooth structures the two agree to about a voxel. They differ most for thin structures, which have edge
voxels on both sides or none inside, and for anisotropic voxels, whose faces have different areas.

Distances are those between integer places of the grid, times the spacing, in float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from scipy.spatial import cKDTree
from torch import Tensor

from segadv_monai.protocols import ConfigError, DataError

from .surface_elements import element_codes, element_sizes

__all__ = ["Definition", "SurfaceDistances", "region_surface_distances", "surface_distances"]

Definition = Literal["voxel_edges", "surface_elements"]
_Floats = NDArray[np.float64]
_Box = tuple[slice, ...]


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceDistances:
    """The surfaces of a prediction and its reference, each element with its distance to the other surface.

    Args:
        to_reference: from each element of the prediction's surface to the reference's; without entries if one
            of the masks is empty.
        to_prediction: the other way round.
        predicted_sizes: area or length of each element of the prediction's surface; all 1 of voxel edges.
        referred_sizes: of the reference's surface.
        definition: what an element is.
        diagonal: length of the image's diagonal.
        prediction_empty: whether the prediction has no voxel.
        reference_empty: whether the reference has none.
    """

    to_reference: _Floats
    to_prediction: _Floats
    predicted_sizes: _Floats
    referred_sizes: _Floats
    definition: Definition
    diagonal: float
    prediction_empty: bool
    reference_empty: bool


def surface_distances(
    prediction: NDArray[Any] | Tensor,
    reference: NDArray[Any] | Tensor,
    *,
    spacing_mm: Sequence[float],
    definition: Definition = "voxel_edges",
) -> SurfaceDistances:
    """Distances between the surfaces of two masks.

    Args:
        prediction: mask ``(*S)`` of two or three dimensions; voxels greater than 0 are inside.
        reference: mask of the same shape.
        spacing_mm: of the voxels along each axis.
        definition: ``voxel_edges`` or ``surface_elements``.

    Raises:
        DataError: the shapes differ or are not of two or three dimensions; the spacing does not fit.
        ConfigError: there is no such definition.
    """
    masks = [_array(mask) > 0 for mask in (prediction, reference)]
    spacing = _checked(masks, spacing_mm, definition)
    boxes: list[_Box | None] = [find_objects(mask.view(np.uint8), 1)[0] for mask in masks]
    box = _union(boxes)
    inside = [mask[box] for mask in masks] if box else masks
    return _distances(inside, boxes, definition=definition, spacing=spacing, shape=masks[0].shape)


def region_surface_distances(
    prediction: NDArray[Any] | Tensor,
    reference: NDArray[Any] | Tensor,
    *,
    regions: Sequence[Sequence[int]],
    spacing_mm: Sequence[float],
    definition: Definition = "voxel_edges",
) -> list[SurfaceDistances]:
    """:func:`surface_distances` of every region of two label maps.

    Args:
        prediction: label map ``(*S)`` of an integer type.
        reference: label map of the same shape.
        regions: label values of each region, greater than 0.
        spacing_mm: of the voxels along each axis.
        definition: ``voxel_edges`` or ``surface_elements``.

    Raises:
        DataError: the shapes differ or are not of two or three dimensions; the spacing does not fit; a map is
            not of integers.
        ConfigError: a region is empty or has a label below 1; there is no such definition.
    """
    maps = [_array(labels) for labels in (prediction, reference)]
    spacing = _checked(maps, spacing_mm, definition)
    if not all(region and min(region) >= 1 for region in regions):
        raise ConfigError(f"every region needs labels greater than 0, got {[list(r) for r in regions]}.")
    if not all(np.issubdtype(labels.dtype, np.integer) for labels in maps):
        raise DataError(
            f"label maps must be integers, got {maps[0].dtype} and {maps[1].dtype}: convert them."
        )
    highest = max(label for region in regions for label in region)
    found = [find_objects(labels, highest) for labels in maps]
    result = []
    for region in regions:
        boxes = [_union([objects[label - 1] for label in region]) for objects in found]
        box = _union(boxes) or tuple(slice(0) for _ in spacing)
        inside = [_members(labels[box], region) for labels in maps]
        result.append(_distances(inside, boxes, definition=definition, spacing=spacing, shape=maps[0].shape))
    return result


def _array(mask: NDArray[Any] | Tensor) -> NDArray[Any]:
    if isinstance(mask, Tensor):
        mask = mask.as_subclass(Tensor).detach().cpu().numpy()
    return np.asarray(mask)


def _checked(maps: list[NDArray[Any]], spacing: Sequence[float], definition: str) -> _Floats:
    shape, other = (array.shape for array in maps)
    if shape != other or len(shape) not in (2, 3):
        raise DataError(
            f"prediction and reference must have one shape, of two or three dimensions, got {shape} "
            f"and {other}: bring the prediction back to the reference's grid."
        )
    result = np.asarray(spacing, float)
    if result.shape != (len(shape),) or not np.all((result > 0) & (result < np.inf)):
        raise DataError(f"the spacing must be {len(shape)} numbers greater than 0, got {list(spacing)}.")
    if definition not in ("voxel_edges", "surface_elements"):
        raise ConfigError(f"definition must be voxel_edges or surface_elements, got {definition}.")
    return result


def _union(boxes: Sequence[_Box | None]) -> _Box | None:
    there = [box for box in boxes if box]
    if not there:
        return None
    return tuple(
        slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*there, strict=True)
    )


def _members(labels: NDArray[Any], region: Sequence[int]) -> NDArray[np.bool_]:
    result: NDArray[np.bool_] = labels == region[0] if len(region) == 1 else np.isin(labels, list(region))
    return result


def _distances(
    masks: list[NDArray[np.bool_]],
    boxes: list[_Box | None],
    *,
    definition: Definition,
    spacing: _Floats,
    shape: tuple[int, ...],
) -> SurfaceDistances:
    """Of two masks that were cut to the box of both."""
    distances, sizes = [np.empty(0)] * 2, [np.empty(0)] * 2
    if all(boxes):
        surfaces, sizes = _surfaces([np.pad(mask, 1) for mask in masks], definition, spacing)
        distances = [_nearest(surfaces[i], surfaces[1 - i], spacing) for i in (0, 1)]
    return SurfaceDistances(
        to_reference=distances[0],
        to_prediction=distances[1],
        predicted_sizes=sizes[0],
        referred_sizes=sizes[1],
        definition=definition,
        diagonal=float(np.linalg.norm(np.array(shape) * spacing)),
        prediction_empty=boxes[0] is None,
        reference_empty=boxes[1] is None,
    )


def _surfaces(
    masks: list[NDArray[np.bool_]], definition: Definition, spacing: _Floats
) -> tuple[list[NDArray[np.bool_]], list[_Floats]]:
    """Where each surface is, and the sizes of its elements in the order of their places."""
    if definition == "voxel_edges":
        surfaces = [_edges(mask) for mask in masks]
        return surfaces, [np.ones(np.count_nonzero(surface)) for surface in surfaces]
    table = element_sizes(tuple(spacing))
    codes = [element_codes(mask) for mask in masks]
    surfaces = [(code != 0) & (code != len(table) - 1) for code in codes]
    return surfaces, [table[code[surface]] for code, surface in zip(codes, surfaces, strict=True)]


def _edges(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels that share a face with one outside; the mask has a margin of one voxel, the result has none."""
    centre = [slice(1, -1)] * mask.ndim
    own = mask[tuple(centre)]
    inner = own.copy()
    for axis in range(mask.ndim):
        for side in (slice(None, -2), slice(2, None)):
            inner &= mask[(*centre[:axis], side, *centre[axis + 1 :])]
    result: NDArray[np.bool_] = own & ~inner
    return result


def _nearest(surface: NDArray[np.bool_], other: NDArray[np.bool_], spacing: _Floats) -> _Floats:
    """Distance from every place of a surface, in their order, to the nearest place of another."""
    places = np.flatnonzero(surface)
    result = np.zeros(len(places))
    # Where the surfaces coincide there is nothing to search for, and that is most of a good prediction.
    apart = np.flatnonzero(~other.ravel()[places])
    if len(apart):
        here = np.stack(np.unravel_index(places[apart], surface.shape), axis=-1)
        there = np.argwhere(other)
        # The tree is asked once, so it is not worth balancing.
        tree = cKDTree(there * spacing, leafsize=32, compact_nodes=False, balanced_tree=False)
        _, nearest = tree.query(here * spacing)
        result[apart] = np.linalg.norm((here - there[nearest]) * spacing, axis=1)
    return result
