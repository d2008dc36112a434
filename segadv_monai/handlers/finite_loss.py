"""End a run that has diverged, before it can overwrite anything good."""

import math

from ignite.engine import Engine, Events

from segadv_monai.protocols import DivergenceError

__all__ = ["FiniteLoss"]


class FiniteLoss:
    """Refuse to go on after an epoch whose last loss terms are not finite.

    Raises:
        DivergenceError: at the end of that epoch, ahead of the validation and checkpoint attached behind it.
    """

    def attach(self, engine: Engine) -> None:
        """Look at the terms of a trainer after every epoch."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        losses = engine.state.losses  # type: ignore[attr-defined]
        wrong = [name for name, term in losses.items() if not math.isfinite(float(term))]
        if wrong:
            raise DivergenceError(
                f"{', '.join(wrong)} became infinite or nan in epoch {engine.state.epoch}, which is not "
                "saved: lower --learning_rate or --critic_learning_rate, or train with --amp False."
            )
