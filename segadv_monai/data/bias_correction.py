"""N4 bias field correction (Tustison et al., IEEE Transactions on Medical Imaging 2010) for MRI.

It lives beside the files because it calls SimpleITK, see :mod:`segadv_monai.data.itk_filters`. Departs from
the defaults of ITK in three levels instead of four: on a real head under a known field the fourth took up
anatomy.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.transforms import MapTransform, Transform
from numpy.typing import NDArray
from torch import Tensor

from segadv_monai.protocols import ConfigError, DataError

from .image_values import finite_values, image_like, image_name
from .itk_filters import bias_field, otsu_mask

__all__ = ["N4BiasFieldCorrection", "N4BiasFieldCorrectiond"]


class N4BiasFieldCorrection(Transform):
    """Divide every channel by its bias field, the slow change of brightness of an MR coil.

    The field is estimated from voxels inside the mask that are greater than 0, on a thinned-out image, and
    divided out everywhere. Lengths are in mm by the image's affine; without one a voxel counts as 1 mm.

    Args:
        distance_mm: between the nodes of the field's spline on the first level; half of it on each further
            one.
        shrink: of how many voxels along each axis one is used; fewer where voxels are thicker than the
            thinnest side or less than 8 voxels would be left.
        iterations: at most so many on each level, one number per level.
        convergence: a level ends when the field changes by less.

    Shape:
        - Input: image ``(C, *S)``, two or three spatial axes; mask ``(1, *S)`` or ``(C, *S)``, greater than
          0 inside; by default what lies above each channel's Otsu threshold.
        - Output: as the image, float32.

    Raises:
        ConfigError: an argument is not greater than 0, or there is no level.
        DataError: an image has other axes, a value that is not finite, or nothing greater than 0 inside the
            mask; a mask has another size.
    """

    def __init__(
        self,
        *,
        distance_mm: float = 200.0,
        shrink: int = 4,
        iterations: Sequence[int] = (50, 50, 50),
        convergence: float = 0.001,
    ) -> None:
        numbers = [distance_mm, shrink, convergence, *iterations]
        if not iterations or not all(number > 0 for number in numbers) or shrink != int(shrink):
            raise ConfigError(
                "distance_mm, shrink, convergence and the iterations of each level must be greater than 0, "
                f"got {distance_mm}, {shrink}, {convergence} and {list(iterations)}."
            )
        self.settings: dict[str, Any] = {
            "distance_mm": distance_mm,
            "shrink": int(shrink),
            "iterations": tuple(iterations),
            "convergence": convergence,
        }

    def __call__(self, img: Tensor, mask: Tensor | None = None) -> Tensor:
        name = image_name(img, "an image")
        values = finite_values(img, name)
        dims = values.ndim - 1
        if dims not in (2, 3):
            raise DataError(
                f"{name}: a bias field has two or three axes, got {tuple(values.shape)}: give (channels, *S)."
            )
        inside = _masks(values, mask, name)
        affine = img.affine if isinstance(img, MetaTensor) else np.eye(dims + 1)
        spacing = [float(length) for length in affine_to_spacing(affine, dims)]
        corrected = [
            channel / bias_field(channel, chosen, spacing_mm=spacing, **self.settings)
            for channel, chosen in zip(values, inside, strict=True)
        ]
        return image_like(img, np.stack(corrected))


class N4BiasFieldCorrectiond(MapTransform):
    """:class:`N4BiasFieldCorrection` for dictionaries; nothing in it is random, so a cache keeps its result.

    Args:
        keys: keys of the images.
        mask_key: of the mask, for all keys; None for Otsu's.
        distance_mm, shrink, iterations, convergence: see :class:`N4BiasFieldCorrection`.
        allow_missing_keys: skip images that a case does not have.

    Raises:
        DataError: as :class:`N4BiasFieldCorrection`; a case has no mask.
    """

    def __init__(
        self,
        keys: KeysCollection,
        mask_key: str | None = None,
        *,
        distance_mm: float = 200.0,
        shrink: int = 4,
        iterations: Sequence[int] = (50, 50, 50),
        convergence: float = 0.001,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        self.transform = N4BiasFieldCorrection(
            distance_mm=distance_mm, shrink=shrink, iterations=iterations, convergence=convergence
        )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            if self.mask_key is not None and self.mask_key not in data:
                raise DataError(
                    f"{image_name(data[key], str(key))}: the case has no {self.mask_key}: add it, or leave "
                    "out mask_key."
                )
            result[key] = self.transform(data[key], None if self.mask_key is None else data[self.mask_key])
        return result


def _masks(values: NDArray[np.float32], mask: Any, name: str) -> list[NDArray[np.bool_]]:
    """One for each channel."""
    if mask is None:
        given = [otsu_mask(channel) for channel in values]
    else:
        maps = np.asarray(torch.as_tensor(mask).cpu()) > 0
        if maps.shape[1:] != values.shape[1:] or len(maps) not in (1, len(values)):
            raise DataError(
                f"{name}: the mask of an image of {values.shape} must be of that size, got {maps.shape}: "
                "bring it to the image's grid."
            )
        given = list(np.broadcast_to(maps, values.shape))
    masks = [part & (channel > 0) for part, channel in zip(given, values, strict=True)]
    for i, part in enumerate(masks):
        if not part.any():
            raise DataError(
                f"{name}: channel {i} has nothing greater than 0 inside its mask, so no bias field: put N4 "
                "before any standardisation, or mend the mask."
            )
    return masks
