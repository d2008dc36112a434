"""What every critic asks of the pair that it judges."""

from torch import Tensor

__all__ = ["check_pair"]


def check_pair(segmentation: Tensor, image: Tensor, *, num_maps: int, in_channels: int) -> None:
    """Refuse a pair that a critic was not built for.

    Args:
        segmentation: ``(B, num_maps, *S)``.
        image: ``(B, in_channels, *S)``.
        num_maps: of the critic.
        in_channels: of the critic.

    Raises:
        ValueError: maps or channels are not as many; the grids differ.
    """
    if segmentation.shape[1] != num_maps or image.shape[1] != in_channels:
        raise ValueError(
            f"the critic was built for {num_maps} maps and {in_channels} image channels, got "
            f"{segmentation.shape[1]} and {image.shape[1]}: set its num_maps and in_channels to these."
        )
    if segmentation.shape[2:] != image.shape[2:]:
        raise ValueError(
            f"segmentation and image need one grid, got {tuple(segmentation.shape[2:])} and "
            f"{tuple(image.shape[2:])}: bring the segmentation to the image's."
        )
