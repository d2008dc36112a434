"""The gradients of a player's turn, as its optimiser will use them."""

from typing import Any

from ignite.engine import Engine
from monai.engines.utils import IterationEvents
from torch import nn

from .events import CriticEvents

__all__ = ["BACKWARD", "between_steps", "moving"]

BACKWARD = {
    "critic": CriticEvents.CRITIC_BACKWARD_COMPLETED,
    "segmentor": IterationEvents.BACKWARD_COMPLETED,
}


def between_steps(engine: Engine) -> bool:
    """Whether no player has gradients of batches that wait for more: the time for a checkpoint.

    Args:
        engine: a trainer, behind an iteration.
    """
    schedule = getattr(engine, "schedule", None)
    return schedule is None or bool(schedule.ends(engine.state.iteration))


def moving(trainer: Any, player: str) -> list[nn.Parameter]:
    """Parameters that have a gradient after a player's backward pass, free of the scaler's factor.

    Any number of handlers may ask in one turn.

    Args:
        trainer: an adversarial trainer, at the player's event of ``BACKWARD``.
        player: ``critic`` or ``segmentor``.
    """
    module, optimizer = trainer.network, trainer.optimizer
    if player == "critic":
        module, optimizer = trainer.critic, trainer.critic_optimizer
    turns = trainer.schedule.turns(trainer.state.epoch, trainer.state.iteration)
    # One backward pass for both has one factor, the segmentor's.
    own = player == "critic" and "both" not in turns
    scaler = trainer.critic_scaler if own else trainer.scaler
    # A scaler refuses a second time; the dictionary of the losses is a new one in every iteration.
    done = vars(trainer.state).setdefault("unscaled", {})
    if scaler.is_enabled() and done.get(player) is not trainer.state.losses:
        scaler.unscale_(optimizer)
        done[player] = trainer.state.losses
    return [parameter for parameter in module.parameters() if parameter.grad is not None]
