"""How many pieces a mask has and how many holes are in it, and whether the reference has as many.

Voxels that share a face, an edge or a corner belong to one piece. What is outside the mask hangs together
through faces alone, so that a closed line around a hole does close it, also where it runs diagonally. A hole
is what has no way to the outside of the image: an enclosed region of a picture, a cavity of a volume. The
tunnel through a ring in a volume is open at both ends and no hole.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, generate_binary_structure, label
from torch import Tensor

from segadv_monai.protocols import ConfigError, DataError

from .policy import MEASURES, empty_value

__all__ = ["TOPOLOGY", "components", "holes", "topology_error"]

Mask = NDArray[np.bool_] | Tensor


def components(mask: Mask) -> int:
    """Number of connected pieces of a mask; voxels that touch at a corner are connected.

    Args:
        mask: of any dimensions; voxels greater than 0 are inside.
    """
    inside = _cropped(mask)
    return _pieces(inside, inside.ndim)


def holes(mask: Mask) -> int:
    """Number of connected regions outside a mask that do not reach the outside of the image.

    Args:
        mask: of any dimensions; voxels greater than 0 are inside.
    """
    inside = _cropped(mask)
    # The margin makes one piece of all that is outside, and that one is no hole.
    return _pieces(np.pad(~inside, 1, constant_values=True), 1) - 1


_COUNTED = {"components_error": components, "holes_error": holes}
TOPOLOGY = tuple(_COUNTED)


def topology_error(name: str, prediction: Mask, reference: Mask) -> float:
    """Difference between the numbers of a prediction and its reference, without its sign.

    It is cut at the worst value of the policy, which an empty mask has, too.

    Args:
        name: ``components_error`` or ``holes_error``.
        prediction: mask of any dimensions; voxels greater than 0 are inside.
        reference: mask of the same shape.

    Raises:
        ConfigError: there is no such measure.
        DataError: the shapes differ.
    """
    if name not in _COUNTED:
        raise ConfigError(f"measure must be one of {', '.join(TOPOLOGY)}, got {name}.")
    if prediction.shape != reference.shape:
        raise DataError(
            f"prediction and reference must have one shape, got {tuple(prediction.shape)} and "
            f"{tuple(reference.shape)}: bring the prediction back to the reference's grid."
        )
    empty = [not bool((mask > 0).any()) for mask in (prediction, reference)]
    if any(empty):
        return empty_value(name, prediction_empty=empty[0], reference_empty=empty[1])
    count, worst = _COUNTED[name], MEASURES[name].worst
    difference = float(abs(count(prediction) - count(reference)))
    return difference if worst is None else min(difference, worst)


def _cropped(mask: Mask) -> NDArray[np.bool_]:
    """The part of the image that holds the mask; without voxels an empty one."""
    values = mask.as_subclass(Tensor).detach().cpu().numpy() if isinstance(mask, Tensor) else mask
    inside: NDArray[np.bool_] = np.ascontiguousarray(values > 0)
    box = find_objects(inside.view(np.uint8), 1)[0]
    return inside[box] if box else np.zeros((0,) * inside.ndim, bool)


def _pieces(inside: NDArray[np.bool_], connectivity: int) -> int:
    """Of places that differ by one along at most so many axes."""
    _, number = label(inside, generate_binary_structure(inside.ndim, connectivity))
    return int(number)
