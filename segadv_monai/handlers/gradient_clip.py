"""Gradient clipping by norm (Pascanu et al., ICML 2013, arXiv 1211.5063, algorithm 1)."""

import torch
from ignite.engine import Engine

from .gradients import BACKWARD, moving

__all__ = ["GradientClip"]


class GradientClip:
    """Shorten a player's gradient to a length before each of its steps; a shorter one stays as it is.

    Attach it behind :class:`GameHealth`, which then shows the length before. With mixed precision the length
    is that without the scaler's factor.

    Args:
        max_norm: greatest length of all gradients of the player, as one vector.
        player: ``segmentor`` or ``critic``.

    Raises:
        ValueError: ``max_norm`` is not greater than 0; there is no such player.
    """

    def __init__(self, max_norm: float = 1.0, player: str = "segmentor") -> None:
        if not max_norm > 0:
            raise ValueError(f"max_norm must be greater than 0, got {max_norm}.")
        if player not in BACKWARD:
            raise ValueError(f"player must be one of {', '.join(BACKWARD)}, got {player!r}.")
        self.max_norm = max_norm
        self.player = player

    def attach(self, engine: Engine) -> None:
        """React to the backward passes of the player in an adversarial trainer."""
        engine.add_event_handler(BACKWARD[self.player], self)

    def __call__(self, engine: Engine) -> None:
        torch.nn.utils.clip_grad_norm_(moving(engine, self.player), self.max_norm)
