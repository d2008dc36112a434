"""Mean 0 and deviation 1 inside a mask, as MR images are usually brought to one scale.

MONAI's ``NormalizeIntensity`` knows the voxels that are not 0 and no other mask, and leaves the rest 0. Here
the mask is the case's own, or what exceeds a threshold, and the rest may stay on the same scale.
"""

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config.type_definitions import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from torch import Tensor

from segadv_monai.protocols import ConfigError, DataError

__all__ = ["NormalizeInMask", "NormalizeInMaskd"]


class NormalizeInMask(Transform):
    """Every channel with mean 0 and deviation 1 inside its mask.

    Where all values inside are alike there is no deviation to divide by, and they become 0.

    Args:
        threshold: what exceeds it is inside, if no mask is given; None for all that is not 0.
        outside: value of the voxels outside; None leaves them on the same scale as those inside.

    Shape:
        - Input: image ``(C, *S)``; mask ``(1, *S)`` or ``(C, *S)``, greater than 0 inside.
        - Output: as the image, float32.

    Raises:
        DataError: a channel has no voxel inside, or inside a value that is not finite; a mask has another
            size than its image.
    """

    def __init__(self, *, threshold: float | None = None, outside: float | None = 0.0) -> None:
        self.threshold = threshold
        self.outside = outside

    def __call__(self, img: Tensor, mask: Tensor | None = None) -> Tensor:
        values = torch.as_tensor(img).as_subclass(Tensor).double()
        inside = self._inside(values, mask)
        if inside.shape[1:] != values.shape[1:] or len(inside) not in (1, len(values)):
            raise DataError(
                f"{_name(img)}: the mask of an image of {tuple(values.shape)} must be of that size, got "
                f"{tuple(inside.shape)}: bring it to the image's grid."
            )
        channels = [
            self._channel(channel, chosen, f"{_name(img)}: channel {i}")
            for i, (channel, chosen) in enumerate(zip(values, inside.expand_as(values), strict=True))
        ]
        result = torch.stack(channels).float()
        if not isinstance(img, MetaTensor):
            return result
        plain: Any = MetaTensor(result)
        kept: Tensor = plain.copy_meta_from(img)
        return kept

    def _inside(self, values: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None:
            return torch.as_tensor(mask).as_subclass(Tensor).to(values.device) > 0
        return values != 0 if self.threshold is None else values > self.threshold

    def _channel(self, channel: Tensor, inside: Tensor, name: str) -> Tensor:
        chosen = channel[inside]
        if not chosen.numel() or not bool(chosen.isfinite().all()):
            raise DataError(
                f"{name} has {chosen.numel()} voxels inside its mask, and they must be some and finite: mend "
                "the image, the mask or the threshold."
            )
        deviation = chosen.std(correction=0) if bool(chosen.min() < chosen.max()) else 1.0
        scaled = (channel - chosen.mean()) / deviation
        if not bool(chosen.min() < chosen.max()):
            scaled[inside] = 0
        return scaled if self.outside is None else torch.where(inside, scaled, self.outside)


class NormalizeInMaskd(MapTransform):
    """:class:`NormalizeInMask` for dictionaries.

    Args:
        keys: keys of the images.
        mask_key: of the mask, for all keys; None for what exceeds the threshold or is not 0.
        threshold, outside: see :class:`NormalizeInMask`.
        allow_missing_keys: skip images that a case does not have.

    Raises:
        ConfigError: there are both a mask and a threshold.
        DataError: as :class:`NormalizeInMask`; a case has no mask.
    """

    def __init__(
        self,
        keys: KeysCollection,
        mask_key: str | None = None,
        *,
        threshold: float | None = None,
        outside: float | None = 0.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if mask_key is not None and threshold is not None:
            raise ConfigError(
                f"the mask is {mask_key} or what exceeds {threshold}: give mask_key or threshold."
            )
        self.mask_key = mask_key
        self.transform = NormalizeInMask(threshold=threshold, outside=outside)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            if self.mask_key is not None and self.mask_key not in data:
                raise DataError(
                    f"{_name(data[key])}: the case has no {self.mask_key}: add it to its data set."
                )
            result[key] = self.transform(data[key], None if self.mask_key is None else data[self.mask_key])
        return result


def _name(image: Any) -> str:
    return str(getattr(image, "meta", {}).get("filename_or_obj", "an image"))
