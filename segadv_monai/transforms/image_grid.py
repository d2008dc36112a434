"""From a network's grid back to the grid of the image's file, a slab at a time.

MONAI's ``Invertd`` makes the maps of all classes on the file's grid, and the places where their values are
taken, all at once and in double precision: 6 GB for five classes of a CT of 512 x 512 x 300, of which 79 MB
are labels in the end. Here neither exists for more than a slab.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from math import prod
from typing import Any, Literal, NamedTuple

import torch
from monai.config.type_definitions import KeysCollection
from monai.data import MetaTensor
from monai.data.utils import to_affine_nd
from monai.networks.layers import AffineTransform
from monai.transforms import MapTransform
from torch import Tensor

from segadv_monai.protocols import ConfigError, DataError

__all__ = ["ToImageGridd"]

_ACTIVATIONS: dict[str | None, Callable[[Tensor], Tensor]] = {
    None: lambda maps: maps,
    "sigmoid": torch.sigmoid,
    "softmax": lambda maps: maps.softmax(dim=0),
}


class ToImageGridd(MapTransform):
    """Maps of an image that was oriented, resampled or padded, brought back to its file's voxels.

    Takes the place of ``Activationsd``, ``Invertd`` and what makes labels, for all transforms that MONAI
    notes in the image's affine. The result is theirs up to rounding: they resample in float64, this in
    float32.

    Args:
        keys: of the maps, on the grid of the image as the network saw it.
        image_key: of that image, whose meta data tell its grid and that of its file.
        like_key: of the image, such as a label, on whose grid the maps are wanted; None: on that of the file.
        activation: of the maps, before they are resampled.
        labels: what becomes of each slab ``(K, *slab)`` on the new grid, such as a
            :class:`RegionsToLabel`; it may look at one position at a time. None keeps the values.
        mode: ``nearest`` for maps that are labels already.
        slab_mib: memory for a slab, about.
        allow_missing_keys: skip keys that a case does not have.

    Shape:
        - Input: ``(K, *S)``, ``S`` of the image.
        - Output: ``(K', *F)``, ``F`` of the file and ``K'`` as ``labels`` gives it; without ``labels``
          float32, or the type of the maps if that is floating or ``mode`` is ``nearest``.

    Raises:
        ConfigError: a word that is not listed, or no memory for a slab; an image does not tell its grid
            or that of its file; maps and image differ in size.
        DataError: the image was cropped, so that there are no maps of a part of the new grid.
    """

    def __init__(
        self,
        keys: KeysCollection,
        image_key: str = "image",
        *,
        like_key: str | None = None,
        activation: Literal["sigmoid", "softmax"] | None = None,
        labels: Callable[[Tensor], Tensor] | None = None,
        mode: Literal["bilinear", "nearest"] = "bilinear",
        slab_mib: float = 64,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if activation not in _ACTIVATIONS or mode not in ("bilinear", "nearest") or not slab_mib > 0:
            raise ConfigError(
                f"activation must be sigmoid, softmax or None, mode bilinear or nearest and slab_mib greater "
                f"than 0, got {activation}, {mode} and {slab_mib}."
            )
        self.image_key = image_key
        self.like_key = like_key
        self.mode = mode
        self.activation = activation
        self.labels = labels
        self.resample = AffineTransform(
            normalized=False, mode=mode, padding_mode="border", align_corners=False, reverse_indexing=True
        )
        self.slab_bytes = slab_mib * 2**20

    @torch.no_grad()
    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        image = data[self.image_key]
        for key in self.key_iterator(result):
            maps = result[key]
            if maps.shape[1:] != image.shape[1:]:
                raise ConfigError(
                    f"{key} is {tuple(maps.shape[1:])} but {self.image_key} is {tuple(image.shape[1:])}: "
                    "give the maps of the image as the network saw it."
                )
            size, meta = self._wanted(data)
            values = self._brought(maps.as_subclass(Tensor), size, _matrix(image, size, meta["affine"]))
            result[key] = MetaTensor(values, meta=meta)
        return result

    def _wanted(self, data: Mapping[Hashable, Any]) -> tuple[tuple[int, ...], dict[str, Any]]:
        """Size and meta data of the new grid."""
        meta = getattr(data[self.image_key], "meta", {})
        if "original_affine" not in meta or "spatial_shape" not in meta:
            raise ConfigError(
                f"{self.image_key} does not tell its file's grid: load it with LoadImaged, keep MetaTensors."
            )
        if self.like_key is None:
            return tuple(int(n) for n in meta["spatial_shape"]), {**meta, "affine": meta["original_affine"]}
        like = data[self.like_key]
        if not isinstance(like, MetaTensor):
            raise ConfigError(f"{self.like_key} does not tell its grid: load it with LoadImaged.")
        return tuple(like.shape[1:]), {**meta, "affine": like.affine}

    def _brought(self, maps: Tensor, size: tuple[int, ...], matrix: Tensor) -> Tensor:
        whole: Tensor | None = None
        for slab in _slabs(maps.shape, size, matrix, most=self.slab_bytes):
            part = self._slab(maps[slab.box], slab)
            if whole is None:
                whole = part.new_empty((len(part), *size))
            whole[:, slab.first : slab.first + slab.size[0]] = part
        if whole is None:
            raise ConfigError(f"an image of {size} has no voxels.")
        return whole

    def _slab(self, maps: Tensor, slab: "_Slab") -> Tensor:
        active = _ACTIVATIONS[self.activation](maps.float())[None]
        theta = slab.matrix.to(active)
        values: Tensor = self.resample(active, theta=theta, spatial_size=slab.size)[0]
        if self.labels is not None:
            return self.labels(values)
        return values.to(maps.dtype) if maps.is_floating_point() or self.mode == "nearest" else values


class _Slab(NamedTuple):
    """Some rows of the new grid, the part of the maps that they see, and the matrix between the two."""

    first: int
    size: tuple[int, ...]
    box: tuple[slice, ...]
    matrix: Tensor


def _matrix(image: MetaTensor, size: tuple[int, ...], affine: Any) -> Tensor:
    """From the indices of another grid to those of the image."""
    new, seen = (
        torch.as_tensor(to_affine_nd(len(size), torch.as_tensor(each).cpu().double()))
        for each in (affine, image.affine)
    )
    matrix: Tensor = torch.linalg.solve(seen, new)
    low, high = _reached(matrix, [(0, n - 1) for n in size])
    # Of a spacing that does not divide the image, up to half a voxel lies beyond the last one.
    if any(a < -1 or b > n for a, b, n in zip(low, high, image.shape[1:], strict=True)):
        raise DataError(
            f"{image.meta.get('filename_or_obj')}: the network saw {tuple(image.shape[1:])} voxels that do "
            f"not cover the {size} that are wanted: bring cropped images back with Invertd."
        )
    return matrix


def _reached(matrix: Tensor, ranges: Sequence[tuple[int, int]]) -> tuple[list[float], list[float]]:
    """Lowest and highest index, along each axis, that a box of indices is taken to."""
    corners = torch.cartesian_prod(*[torch.tensor(ends, dtype=matrix.dtype) for ends in ranges])
    places = corners @ matrix[:-1, :-1].T + matrix[:-1, -1]
    return places.amin(dim=0).tolist(), places.amax(dim=0).tolist()


def _slabs(shape: Sequence[int], size: tuple[int, ...], matrix: Tensor, *, most: float) -> Iterator[_Slab]:
    """Rows along the first axis of the new grid, as many at a time as may be in memory."""
    # The values and what labels make of them, the places and torch's own copy of these.
    row = 4 * prod(size[1:]) * (2 * shape[0] + 2 * len(size) + 2)
    count = max(int(most / row), 1)
    for first in range(0, size[0], count):
        rows = min(count, size[0] - first)
        low, high = _reached(matrix, [(first, first + rows - 1), *((0, n - 1) for n in size[1:])])
        starts = [int(min(max(a, 0), n - 1)) for a, n in zip(low, shape[1:], strict=True)]
        stops = [int(max(min(b + 1, n - 1), 0)) + 1 for b, n in zip(high, shape[1:], strict=True)]
        shifted = matrix.clone()
        shifted[:-1, -1] += first * matrix[:-1, 0] - torch.tensor(starts, dtype=matrix.dtype)
        box = (slice(None), *(slice(*ends) for ends in zip(starts, stops, strict=True)))
        yield _Slab(first, (rows, *size[1:]), box, shifted)
