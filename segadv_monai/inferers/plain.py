"""Images on their way into a network and back: checked, without MONAI's metadata, and with it again."""

from collections.abc import Sequence

from monai.data.meta_tensor import MetaTensor
from torch import Tensor

__all__ = ["check_image", "dressed", "plain"]


def check_image(image: Tensor, size: int | Sequence[int] | None) -> None:
    """Refuse what is no batch of images with as many axes as a size has numbers.

    Args:
        image: what came.
        size: of a window; one number is good for any number of axes.

    Raises:
        ValueError: it is none.
    """
    axes = len(size) if isinstance(size, Sequence) else max(image.ndim - 2, 1)
    if image.ndim != axes + 2 or not image.is_floating_point() or 0 in image.shape:
        names = "any number of" if size is None or isinstance(size, int) else str(axes)
        raise ValueError(
            f"expected a batch of images (B, C, *S) of floats with {names} spatial axes, got "
            f"{list(image.shape)} of {str(image.dtype).removeprefix('torch.')}."
        )


def plain(inputs: Tensor) -> Tensor:
    """The tensor without metadata.

    Args:
        inputs: a tensor or a MetaTensor.
    """
    return inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs


def dressed(result: Tensor, inputs: Tensor) -> Tensor:
    """The result with the metadata of the image, if it has any.

    Args:
        result: on the grid of the image.
        inputs: the image.
    """
    if not isinstance(inputs, MetaTensor):
        return result
    copied = MetaTensor(result)
    copied.copy_meta_from(inputs, copy_attr=False)  # type: ignore[no-untyped-call]
    return copied
