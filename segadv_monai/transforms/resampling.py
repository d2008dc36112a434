"""Values of images between their voxels, in one pass for several images that are moved alike.

Written with gathers from flat memory in place of torch's ``grid_sample``: places are counted in voxels, so
that a whole number is exactly a voxel; labels of any type are only copied; and on a CPU, where that function
works through volumes one voxel after another, this takes a fraction of its time.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

__all__ = ["MODES", "linear_cell", "linear_values", "reflected", "resample", "steps_of", "still"]

Block: TypeAlias = tuple[slice, list[Tensor]]

# Types that torch stores but hardly computes with; the bits of what is only copied may have another name.
_SIGNED = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}


class _Cell(NamedTuple):
    """The voxels around each place: index of the lowest one, and how far beyond it the place is."""

    lowest: Tensor
    fractions: list[Tensor]


class _Mode(NamedTuple):
    cell: Callable[[Sequence[Tensor], Sequence[int]], _Cell]
    values: Callable[[Tensor, _Cell, Sequence[int]], Tensor]
    copies: bool = False
    has_margin: bool = False


def resample(images: Sequence[Tensor], blocks: Iterable[Block], modes: Sequence[str]) -> list[Tensor]:
    """Images with the values that they have at other places.

    Args:
        images: ``(C, *S)`` each, of one size and on one device.
        blocks: parts of the result in the order of memory, and the places of their values, inside the image.
        modes: of each image, names of ``MODES``.

    Returns:
        The new images.
    """
    size = images[0].shape[1:]
    chosen = [MODES[mode] for mode in modes]
    sources = [_source(image, mode) for image, mode in zip(images, chosen, strict=True)]
    results = [source.new_empty(len(source), size.numel()) for source in sources]
    steps = [steps_of(_with_margin(size) if mode.has_margin else size) for mode in chosen]
    for part, places in blocks:
        cells = {name: MODES[name].cell(places, size) for name in set(modes)}
        for i, name in enumerate(modes):
            for source, result in zip(sources[i], results[i], strict=True):
                result[part] = chosen[i].values(source, cells[name], steps[i])
    return [
        _as_given(result.reshape(image.shape), image, mode)
        for result, image, mode in zip(results, images, chosen, strict=True)
    ]


def still(image: Tensor, mode: str) -> Tensor:
    """An image as ``resample`` gives it where every voxel keeps its place.

    Args:
        image: ``(C, *S)``.
        mode: a name of ``MODES``.

    Returns:
        The image, of whole numbers that are interpolated a float32 copy.
    """
    return image if MODES[mode].copies or image.is_floating_point() else image.float()


def reflected(places: Tensor, count: int, *, far: bool) -> Tensor:
    """Places outside the image mirrored at its outermost voxels. Changes its input.

    Args:
        places: along one axis.
        count: voxels along it.
        far: whether some may be further outside than the image is wide.

    Returns:
        The places, from 0 to ``count - 1``.
    """
    last = count - 1
    if last == 0:
        return places.zero_()
    places.abs_()
    if far:
        places.sub_((places / (2 * last)).floor_().mul_(2 * last))
    return places.sub_(last).abs_().neg_().add_(last)


def steps_of(size: Sequence[int]) -> list[int]:
    """How far neighbours along each axis are apart in flat memory.

    Args:
        size: of the image.

    Returns:
        One number per axis; 0 along an axis of one voxel, which is its own neighbour.
    """
    strides = [1]
    for count in reversed(size[1:]):
        strides.insert(0, strides[0] * count)
    return [stride if count > 1 else 0 for stride, count in zip(strides, size, strict=True)]


def linear_cell(places: Sequence[Tensor], size: Sequence[int]) -> _Cell:
    """The two voxels around each place along each axis.

    Args:
        places: along each axis, inside the image.
        size: of the image.

    Returns:
        For ``linear_values``.
    """
    floors = [place.floor().clamp_(max=max(n - 2, 0)) for place, n in zip(places, size, strict=True)]
    fractions = [place - floor for place, floor in zip(places, floors, strict=True)]
    return _Cell(_flat_index(floors, size), fractions)


def linear_values(source: Tensor, cell: _Cell, steps: Sequence[int]) -> Tensor:
    """Linear interpolation.

    Args:
        source: the image in flat memory, floating.
        cell: of ``linear_cell``.
        steps: of ``steps_of``.

    Returns:
        One value per place.
    """

    def along(axis: int, offset: int) -> Tensor:
        if axis == len(steps):
            return source[offset:].index_select(0, cell.lowest)
        low = along(axis + 1, offset)
        return low.lerp_(along(axis + 1, offset + steps[axis]), cell.fractions[axis].to(low.dtype))

    return along(0, 0)


def _nearest_cell(places: Sequence[Tensor], size: Sequence[int]) -> _Cell:
    return _Cell(_flat_index([place.round() for place in places], size), [])


def _nearest_values(source: Tensor, cell: _Cell, _: Sequence[int]) -> Tensor:
    return source.index_select(0, cell.lowest)


def _cubic_cell(places: Sequence[Tensor], size: Sequence[int]) -> _Cell:
    """In the image with its margin, whose first voxel is the one below the lowest."""
    floors = [place.floor().clamp_(max=max(n - 2, 0)) for place, n in zip(places, size, strict=True)]
    fractions = [place - floor for place, floor in zip(places, floors, strict=True)]
    return _Cell(_flat_index(floors, _with_margin(size)), fractions)


def _cubic_values(source: Tensor, cell: _Cell, steps: Sequence[int]) -> Tensor:
    weights = [_keys_weights(fraction.to(source.dtype)) for fraction in cell.fractions]

    def along(axis: int, offset: int) -> Tensor:
        if axis == len(steps):
            return source[offset:].index_select(0, cell.lowest)
        total = along(axis + 1, offset).mul_(weights[axis][0])
        for tap in range(1, 4):
            total.addcmul_(along(axis + 1, offset + tap * steps[axis]), weights[axis][tap])
        return total

    return along(0, 0)


def _keys_weights(f: Tensor) -> list[Tensor]:
    """Of the four voxels around a place, for Keys's kernel with its parameter -1/2."""
    square, cube = f * f, f * f * f
    return [
        square - (f + cube) / 2,
        1 - 2.5 * square + 1.5 * cube,
        f / 2 + 2 * square - 1.5 * cube,
        (cube - square) / 2,
    ]


def _largest_share(source: Tensor, cell: _Cell, steps: Sequence[int]) -> Tensor:
    """The label whose map, interpolated linearly, is the largest; the lowest of equals."""
    corners = list(product((0, 1), repeat=len(steps)))
    offsets = [sum(bit * step for bit, step in zip(bits, steps, strict=True)) for bits in corners]
    labels = torch.stack([source[offset:].index_select(0, cell.lowest) for offset in offsets])
    result = labels[0].clone()
    mixed = (labels != result).any(dim=0).nonzero()[:, 0]
    labels = labels[:, mixed]
    fractions = [fraction[mixed] for fraction in cell.fractions]
    weights = torch.stack(
        [
            torch.stack([f if bit else 1 - f for bit, f in zip(bits, fractions, strict=True)]).prod(0)
            for bits in corners
        ]
    )
    shares = torch.stack([(weights * (labels == label)).sum(dim=0) for label in labels])
    winners = torch.where(shares == shares.amax(dim=0), labels, labels.amax(dim=0))
    result[mixed] = winners.amin(dim=0)
    return result


def _with_margin(size: Sequence[int]) -> list[int]:
    """One mirrored voxel at each side, and room for four where there is but one."""
    return [max(count + 2, 4) for count in size]


def _flat_index(whole: Sequence[Tensor], size: Sequence[int]) -> Tensor:
    """Whole numbers in float32 are exact to 2**24: enough for the rows of an image, not for its voxels."""
    row = whole[0]
    for place, count in zip(whole[1:-1], size[1:-1], strict=True):
        row = row * count + place
    # Processors convert and multiply 32 bits several times as fast as 64.
    kind = torch.int32 if math.prod(size) < 2**31 else torch.int64
    return row.to(kind).mul_(size[-1]).add_(whole[-1].to(kind)).long()


def _source(image: Tensor, mode: _Mode) -> Tensor:
    if mode.copies:
        image = image.view(_SIGNED.get(image.dtype, image.dtype))
    elif image.dtype not in (torch.float32, torch.float64):
        image = image.float()
    for axis in range(1, image.ndim if mode.has_margin else 1):
        count = image.shape[axis]
        mirrored = [1, *range(count), count - 2] if count > 1 else [0] * 4
        image = image.index_select(axis, torch.tensor(mirrored, device=image.device))
    return image.reshape(len(image), -1)


def _as_given(result: Tensor, image: Tensor, mode: _Mode) -> Tensor:
    if mode.copies:
        return result.view(image.dtype)
    return result.to(image.dtype) if image.is_floating_point() else result


MODES = {
    "bilinear": _Mode(linear_cell, linear_values),
    "bicubic": _Mode(_cubic_cell, _cubic_values, has_margin=True),
    "nearest": _Mode(_nearest_cell, _nearest_values, copies=True),
    "one_hot": _Mode(linear_cell, _largest_share, copies=True),
}
