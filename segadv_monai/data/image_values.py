"""Values of an image for a filter that knows nothing of metadata, and back."""

from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from torch import Tensor

from segadv_monai.protocols import DataError

__all__ = ["finite_values", "image_like", "image_name"]


def image_name(image: Any, default: str) -> str:
    """The file of an image, for a message.

    Args:
        image: perhaps with metadata.
        default: what to say of one without.
    """
    return str(getattr(image, "meta", {}).get("filename_or_obj", default))


def finite_values(image: Any, default: str) -> NDArray[np.float32]:
    """The values as float32.

    Args:
        image: a tensor or an array.
        default: what to call it if it tells no file.

    Raises:
        DataError: there is no value, or one that is not finite.
    """
    values: NDArray[np.float32] = np.asarray(torch.as_tensor(image).detach().cpu().float())
    if not values.size or not np.isfinite(values).all():
        raise DataError(
            f"{image_name(image, default)} has no value, or one that is not finite: mend the file."
        )
    return values


def image_like(image: Any, values: NDArray[np.float32]) -> Tensor:
    """The values on the image's device, with its metadata and the record that an inverse needs.

    Args:
        image: where the values come from.
        values: of the same shape.
    """
    result = torch.from_numpy(values).to(torch.as_tensor(image).device)
    if not isinstance(image, MetaTensor):
        return result
    plain: Any = MetaTensor(result)
    copied: Tensor = plain.copy_meta_from(image)
    return copied
