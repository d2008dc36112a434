"""Random elastic deformation as U-Net was trained with (Ronneberger et al., MICCAI 2015, section 3.1).

As in the paper: displacements are drawn from a normal distribution at the nodes of a coarse grid of 3 x 3,
with a deviation of 10 pixels, and interpolated cubically (see ``coarse_field`` for our reading). Departs from
the paper: any grid and deviation, deviations in mm, volumes, and rotation, scaling, shear, shift and flips of
the same resampling, so that an image is interpolated once.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.data import MetaTensor, get_track_meta
from monai.transforms import InvertibleTransform, MapTransform, Randomizable, RandomizableTransform
from monai.utils import convert_to_tensor, ensure_tuple_rep
from torch import Tensor

from segadv_monai.protocols import ConfigError, DataError

from .coarse_draw import CoarseDraw, Range, one_each
from .coarse_field import CoarseField
from .coarse_move import moved, moved_back
from .resampling import MODES

__all__ = ["RandCoarseElastic", "RandCoarseElasticd"]


class RandCoarseElastic(RandomizableTransform, InvertibleTransform):
    """Moves an image by a random smooth field, a random linear map and random flips, in one resampling.

    Each range is drawn from uniformly. A number ``r`` stands for -r to r along every axis; a sequence has a
    number or a pair (lowest, highest) for each. A range of 0 is drawn from, too, so that it changes no other
    draw. Places outside the image are mirrored at its outermost voxels.

    Args:
        sigma: deviation of the displacements, one number or one per axis; 0 for none.
        grid: nodes along each axis, one number or one per axis, 2 or more; the outermost lie on the outermost
            voxels.
        units: of ``sigma`` and ``translate_range``, ``pixels`` or ``mm``; with ``mm`` rotation and shear are
            those of the physical space, too.
        spacing: of the voxels in mm along each axis; None for each image's own.
        prob: that an image is moved at all.
        rotate_range: angles in radians: one in the plane, or one for each plane of a volume, (1, 2), (0, 2)
            and (0, 1); positive from the earlier axis to the later one.
        scale_range: along each axis the content becomes larger by a factor of 1 + s.
        shear_range: displacement along one axis per distance along another, for each ordered pair of axes.
        translate_range: shift along each axis.
        flip_axes: spatial axes, each flipped every second time.
        mode: ``bilinear``, ``bicubic`` (Keys, 1981), ``nearest`` or ``one_hot``, in volumes, too. The first
            two give floating images. The others keep any type: ``nearest`` takes the nearest voxel,
            ``one_hot`` interpolates the maps of all labels linearly and takes the label of the largest.

    Shape:
        - Input: ``(C, *S)``, two or three spatial axes.
        - Output: the same; a ``MetaTensor`` for a ``MetaTensor``, with the move on record for its inverse.

    Attributes:
        field: the last one that was drawn.

    Raises:
        ConfigError: an argument is none of the above.
        DataError: an image has not two or three spatial axes, or with ``mm`` no spacing.
    """

    def __init__(
        self,
        *,
        sigma: float | Sequence[float] = 10.0,
        grid: int | Sequence[int] = 3,
        units: str = "pixels",
        spacing: Sequence[float] | None = None,
        prob: float = 1.0,
        rotate_range: Range = 0.0,
        scale_range: Range = 0.0,
        shear_range: Range = 0.0,
        translate_range: Range = 0.0,
        flip_axes: Sequence[int] = (),
        mode: str = "bilinear",
    ) -> None:
        RandomizableTransform.__init__(self, prob)
        _check_mode(mode)
        if units not in ("pixels", "mm") or not 0 <= prob <= 1:
            raise ConfigError(f"units are pixels or mm, prob is from 0 to 1, got {units} and {prob}.")
        if any(not 0 < length < float("inf") for length in spacing or ()):
            raise ConfigError(f"spacing is greater than 0, got {spacing}.")
        self.units = units
        self.spacing = spacing
        self.mode = mode
        self.draw = CoarseDraw(
            sigma=sigma,
            grid=grid,
            rotate_range=rotate_range,
            scale_range=scale_range,
            shear_range=shear_range,
            translate_range=translate_range,
            flip_axes=tuple(flip_axes),
        )
        self.field = _still_field(2)

    def randomize(self, data: Any) -> None:
        """Draws ``field``.

        Args:
            data: an image, for its size and spacing.
        """
        count = data.ndim - 1
        if count not in (2, 3):
            raise DataError(
                f"an image has a channel axis and two or three spatial ones, got {tuple(data.shape)}."
            )
        super().randomize(None)
        self.field = _still_field(count)
        if self._do_transform:
            self.field = self.draw.draw(self.R, self._spacing(data))

    def __call__(self, img: Any, mode: str | None = None, *, randomize: bool = True) -> Tensor:
        image = _tensor(img)
        if randomize:
            self.randomize(image)
        return moved(self, [image], [mode or self.mode], self.field)[0]

    def inverse(self, data: Any) -> Tensor:
        """The image before the last move, but for what has left it.

        Args:
            data: an image that this has moved.

        Returns:
            The image.

        Raises:
            ValueError: the deformation folds and has no inverse.
        """
        return moved_back(data, self.pop_transform(data))

    def _spacing(self, data: Any) -> Any:
        count = data.ndim - 1
        if self.units == "pixels":
            return np.ones(count)
        if self.spacing is not None:
            return np.array(one_each(self.spacing, count, "spacing"))
        if not isinstance(data, MetaTensor):
            raise DataError("units 'mm' needs the spacing of a MetaTensor, got a plain tensor: set spacing.")
        return np.asarray(data.pixdim, dtype=np.float64)[:count]


class RandCoarseElasticd(Randomizable, MapTransform, InvertibleTransform):
    """Moves the images of several keys by the same field.

    Args:
        keys: of the images, all of one size.
        mode: as of ``RandCoarseElastic``, one for all keys or one for each.
        sigma, grid, units, spacing, prob, rotate_range, scale_range, shear_range, translate_range, flip_axes:
            as of ``RandCoarseElastic``.
        allow_missing_keys: skip keys that a case does not have.

    Shape:
        As of ``RandCoarseElastic``.

    Raises:
        ConfigError: an argument is none of these.
        DataError: as of ``RandCoarseElastic``, or the images of a case are not of one size.
    """

    def __init__(
        self,
        keys: KeysCollection,
        mode: str | Sequence[str] = "bilinear",
        *,
        sigma: float | Sequence[float] = 10.0,
        grid: int | Sequence[int] = 3,
        units: str = "pixels",
        spacing: Sequence[float] | None = None,
        prob: float = 1.0,
        rotate_range: Range = 0.0,
        scale_range: Range = 0.0,
        shear_range: Range = 0.0,
        translate_range: Range = 0.0,
        flip_axes: Sequence[int] = (),
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.mode = ensure_tuple_rep(mode, len(self.keys))
        for name in self.mode:
            _check_mode(name)
        self.elastic = RandCoarseElastic(
            sigma=sigma,
            grid=grid,
            units=units,
            spacing=spacing,
            prob=prob,
            rotate_range=rotate_range,
            scale_range=scale_range,
            shear_range=shear_range,
            translate_range=translate_range,
            flip_axes=flip_axes,
        )

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> "RandCoarseElasticd":
        """Seeds the draws.

        Args:
            seed: of a new generator.
            state: a generator to draw from.

        Returns:
            This transform.
        """
        super().set_random_state(seed, state)
        self.elastic.set_random_state(state=self.R)
        return self

    def randomize(self, data: Any) -> None:
        """Draws a field.

        Args:
            data: an image, for its size and spacing.
        """
        self.elastic.randomize(data)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        present = list(self.key_iterator(result, self.mode))
        images = [_tensor(result[key]) for key, _ in present]
        if not images:
            return result
        sizes = {str(key): tuple(image.shape[1:]) for (key, _), image in zip(present, images, strict=True)}
        if len(set(sizes.values())) > 1:
            raise DataError(f"one field moves images of one size, got {sizes}: resize them before.")
        self.randomize(images[0])
        values = moved(self, images, [mode for _, mode in present], self.elastic.field)
        result.update(zip([key for key, _ in present], values, strict=True))
        return result

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The images before the last move, but for what has left them.

        Args:
            data: images that this has moved.

        Returns:
            The images.

        Raises:
            ValueError: the deformation folds and has no inverse.
        """
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = moved_back(result[key], self.pop_transform(result[key]))
        return result


def _tensor(image: Any) -> Tensor:
    """A plain tensor stays one: only what carries metadata gets a record."""
    tensor: Tensor = convert_to_tensor(image, track_meta=isinstance(image, MetaTensor) and get_track_meta())
    return tensor


def _still_field(count: int) -> CoarseField:
    zeros = torch.zeros(count, dtype=torch.float64)
    eye = torch.eye(count, dtype=torch.float64)
    return CoarseField(zeros.reshape(-1, *[1] * count).expand(-1, *[2] * count), eye, zeros)


def _check_mode(mode: str) -> None:
    if mode not in MODES:
        raise ConfigError(f"mode is one of {', '.join(MODES)}, got {mode}.")
