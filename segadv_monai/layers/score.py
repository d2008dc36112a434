"""The verdict of a critic, as every game over a score needs it."""

import torch
from torch import Tensor, nn

__all__ = ["score_of"]


def score_of(critic: nn.Module, maps: Tensor, image: Tensor, *, game: str, such_as: str) -> Tensor:
    """A critic's score of a pair, in float32 at least.

    Args:
        critic: the critic.
        maps: the segmentation, ``(B, K, *S)``.
        image: ``(B, C, *S)``.
        game: who asks, for the message.
        such_as: a critic that has a score, for the message.

    Raises:
        ValueError: the critic has no score.
    """
    score: Tensor | None = critic(maps, image).score
    if score is None:
        raise ValueError(
            f"{game} needs a critic with a score, {type(critic).__name__} has none: use objectives.SegAN "
            f"with it, or a critic such as critics.{such_as}."
        )
    return score.to(torch.promote_types(score.dtype, torch.float32))
