"""What convolutions without padding leave of an image: sizes that fit, and the crop that joins two grids.

Counted for the shape that a U-Net has: on each level of the way down and of the way up, and at the bottom,
one block of convolutions that takes ``loss`` positions off every axis; between the levels a pooling by 2 or
a transposed convolution by 2.
"""

from torch import Tensor

__all__ = ["centre_crop", "check_valid_size", "fitting_size", "total_loss"]


def total_loss(levels: int, loss: int) -> int:
    """Positions that an axis loses from the image to the logits.

    Args:
        levels: of the network, the bottom included.
        loss: positions that one block takes off; 0 with padding.
    """
    return loss * (3 * (1 << (levels - 1)) - 2)


def fitting_size(size: int, levels: int, loss: int) -> int:
    """Smallest size, at least this one, that no pooling has to round and that leaves an output.

    Args:
        size: of one axis.
        levels: as for :func:`total_loss`.
        loss: as for :func:`total_loss`.
    """
    divisor = 1 << (levels - 1)
    smallest = max(size, loss * (3 * divisor - 2) + 1)
    return (smallest + loss + divisor - 1) // divisor * divisor - loss


def check_valid_size(size: list[int], levels: int, loss: int) -> None:
    """Refuse a size that does not fit.

    Args:
        size: of the image, one number for each axis.
        levels: as for :func:`total_loss`.
        loss: as for :func:`total_loss`.

    Raises:
        ValueError: an axis has a size that does not fit; the message names the size to pad to.
    """
    fitting = [fitting_size(axis, levels, loss) for axis in size]
    if fitting != size:
        raise ValueError(
            f"{size} does not fit {levels} levels that pool every axis evenly: pad the image to {fitting}."
        )


def centre_crop(x: Tensor, size: list[int]) -> Tensor:
    """The middle of a feature map; of an odd rest the larger part is cut off at the end.

    Args:
        x: ``(B, C, *S)``.
        size: of the result, no axis longer than that of ``x``.
    """
    for i, length in enumerate(size):
        x = x.narrow(i + 2, (x.shape[i + 2] - length) // 2, length)
    return x
