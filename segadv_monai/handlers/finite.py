"""What is not finite moves no player: the run ends, or leaves the batch out, before it can spoil a weight."""

import logging
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from torch import Tensor, nn

from segadv_monai.protocols import DataError, DivergenceError

from .events import CriticEvents
from .gradients import BACKWARD

__all__ = ["BatchLeftOutError", "Finite"]

_LOG = logging.getLogger("segadv_monai")
_LOSS = {
    "critic": CriticEvents.CRITIC_LOSS_COMPLETED,
    "segmentor": IterationEvents.LOSS_COMPLETED,
}


class BatchLeftOutError(Exception):
    """Between a handler and the trainer: nobody moves on this batch any more, and the run goes on."""


class Finite:
    """Refuse a batch, a loss term or a gradient that is not finite, before the step that would use it.

    The cases of the batch are named. Gradients are left to the scaler where there is one: it leaves out
    steps by design.

    With ``skip`` a run goes on after such a batch, that many times, each with a warning, also over several
    starts. The player whose turn it is and those behind it stay as they were, with their optimisers; a step
    before it in the same iteration stands. Running statistics go back to those before the batch.

    Args:
        skip: batches to leave out before the run ends; 0 to end it at the first.

    Attributes:
        left_out: how many were.

    Raises:
        ValueError: ``skip`` is negative.
        DataError: image or label of a case holds values that are not finite.
        DivergenceError: a term or a gradient does; no player has moved on it.
    """

    def __init__(self, skip: int = 0) -> None:
        if skip < 0:
            raise ValueError(f"skip must be at least 0, got {skip}.")
        self.skip = skip
        self.left_out = 0
        self._is_out = False
        self._statistics: list[tuple[Tensor, Tensor]] = []

    def attach(self, engine: Engine) -> None:
        """Look at every batch and at both turns of a trainer."""
        engine.add_event_handler(Events.ITERATION_STARTED, self._check_batch)
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self._leave_out_batch)
        for player in BACKWARD:
            engine.add_event_handler(_LOSS[player], self._check_turn, player, scaled=True)
            engine.add_event_handler(BACKWARD[player], self._check_turn, player, scaled=False)

    def _check_batch(self, engine: Engine) -> None:
        trainer: Any = engine
        if self.skip:
            buffers = [buffer for player in _players(trainer) for buffer in player.buffers()]
            self._statistics = [(buffer, buffer.clone()) for buffer in buffers]
        # The turns are the trainer's to leave out, and it has not begun.
        self._is_out = self._judge(_fault_of_batch(engine))

    def _leave_out_batch(self, engine: Engine) -> None:
        if self._is_out:
            self._leave_out(engine)

    def _check_turn(self, engine: Engine, player: str, *, scaled: bool) -> None:
        """With a scaler before it has touched the gradients, which are its own affair; else behind them."""
        trainer: Any = engine
        module, scaler = _player(trainer, player)
        if scaler.is_enabled() == scaled and self._judge(_fault_of_turn(trainer, player, module, scaled)):
            self._leave_out(engine)

    def _judge(self, fault: DataError | DivergenceError | None) -> bool:
        """Whether the batch is left out, in all processes or in none."""
        if self.skip and idist.get_world_size() > 1 and idist.all_reduce(int(fault is not None), "MAX"):
            fault = fault or DivergenceError("another process has a batch that is not finite.")
        if fault is None:
            return False
        if self.left_out >= self.skip:
            raise fault
        self.left_out += 1
        _LOG.warning("batch left out, %s of at most %s: %s", self.left_out, self.skip, fault)
        return True

    def _leave_out(self, engine: Engine) -> None:
        for player in _players(engine):
            player.zero_grad(set_to_none=True)
        with torch.no_grad():
            for buffer, before in self._statistics:
                buffer.copy_(before)
        raise BatchLeftOutError

    def state_dict(self) -> dict[str, int]:
        """How many batches were left out."""
        return {"left_out": self.left_out}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Take over what :meth:`state_dict` gave.

        Args:
            state: how many batches were left out.
        """
        self.left_out = state["left_out"]


def _fault_of_batch(engine: Engine) -> DataError | None:
    batch: Any = engine.state.batch
    for key in ("image", "label"):
        values = batch.get(key)
        if isinstance(values, Tensor) and not bool(torch.isfinite(values.as_subclass(Tensor)).all()):
            per_case = torch.isfinite(values.as_subclass(Tensor)).flatten(1).all(1)
            wrong = [name for name, good in zip(_names(batch), per_case.tolist(), strict=True) if not good]
            return DataError(
                f"the {key} of {', '.join(wrong)} holds values that are not finite, in {_place(engine)}: "
                "no step was taken; mend the file, or the transforms that made them."
            )
    return None


def _fault_of_turn(trainer: Any, player: str, module: nn.Module, scaled: bool) -> DivergenceError | None:
    terms = {name: term for name, term in trainer.state.losses.items() if name.startswith(player)}
    if not scaled:
        # A maximum may be infinite and is never a nan that the sum of squares would not have been.
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        terms["gradient"] = torch.nn.utils.get_total_norm(gradients)
    numbers = torch.stack([term.detach().float().to(trainer.state.device) for term in terms.values()])
    wrong = [name for name, good in zip(terms, torch.isfinite(numbers).tolist(), strict=True) if not good]
    if not wrong:
        return None
    return DivergenceError(
        f"{', '.join(wrong)} of the {player} became infinite or nan in {_place(trainer)}, at the "
        f"cases {', '.join(_names(trainer.state.batch))}: no step was taken on it; lower "
        "--learning_rate or --critic_learning_rate, or train with --amp False."
    )


def _players(trainer: Any) -> list[nn.Module]:
    return [player for player in (trainer.network, trainer.critic) if player is not None]


def _player(trainer: Any, player: str) -> tuple[nn.Module, torch.amp.GradScaler]:
    if player == "critic":
        return trainer.critic, trainer.critic_scaler
    return trainer.network, trainer.scaler


def _place(engine: Engine) -> str:
    return f"epoch {engine.state.epoch}, iteration {engine.state.iteration}"


def _names(batch: Any) -> list[str]:
    """File names of the cases; their places in the batch where they have none."""
    names = getattr(batch["image"], "meta", {}).get("filename_or_obj")
    if isinstance(names, list | tuple):
        return [str(name) for name in names]
    return [f"number {i + 1} of the batch" for i in range(len(batch["image"]))]
