"""Weight clipping of a critic (Arjovsky et al., ICML 2017, algorithm 1; SegAN, Xue et al., ISBI 2018)."""

import torch
from ignite.engine import Engine

from .events import CriticEvents

__all__ = ["WeightClip"]


class WeightClip:
    """Keep every parameter of ``engine.critic`` in a box after each of its steps; buffers are untouched.

    Args:
        bound: largest absolute value; 0.05 in the paper of SegAN.

    Raises:
        ValueError: ``bound`` is not greater than 0.
    """

    def __init__(self, bound: float = 0.05) -> None:
        if not bound > 0:
            raise ValueError(f"bound must be greater than 0, got {bound}.")
        self.bound = bound

    def attach(self, engine: Engine) -> None:
        """React to the steps of the engine's critic; an engine without one never has such a step."""
        engine.add_event_handler(CriticEvents.CRITIC_STEP_COMPLETED, self)

    @torch.no_grad()
    def __call__(self, engine: Engine) -> None:
        for parameter in engine.critic.parameters():  # type: ignore[attr-defined]
            parameter.clamp_(-self.bound, self.bound)
