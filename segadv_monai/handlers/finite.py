"""End a run that leaves the finite numbers, before it can spoil a weight or overwrite anything good."""

from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from torch import Tensor, nn

from segadv_monai.protocols import DataError, DivergenceError

from .events import CriticEvents

__all__ = ["Finite"]


class Finite:
    """Refuse a batch, a loss term or a gradient that is not finite, before the step that would use it.

    The cases of the batch are named. Gradients are left to the scaler where there is one: it leaves out
    steps by design.

    Raises:
        DataError: image or label of a case holds values that are not finite.
        DivergenceError: a term or a gradient does; no player has moved on it.
    """

    def attach(self, engine: Engine) -> None:
        """Look at every batch and at both turns of a trainer."""
        engine.add_event_handler(Events.ITERATION_STARTED, self._check_batch)
        engine.add_event_handler(CriticEvents.CRITIC_BACKWARD_COMPLETED, self._check_turn, "critic")
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self._check_turn, "segmentor")

    def _check_batch(self, engine: Engine) -> None:
        batch: Any = engine.state.batch
        for key in ("image", "label"):
            values = batch.get(key)
            if isinstance(values, Tensor) and not bool(torch.isfinite(values.as_subclass(Tensor)).all()):
                per_case = torch.isfinite(values.as_subclass(Tensor)).flatten(1).all(1)
                wrong = [
                    name for name, good in zip(_names(batch), per_case.tolist(), strict=True) if not good
                ]
                raise DataError(
                    f"the {key} of {', '.join(wrong)} holds values that are not finite, in {_place(engine)}: "
                    "no step was taken; mend the file, or the transforms that made them."
                )

    def _check_turn(self, engine: Engine, player: str) -> None:
        trainer: Any = engine
        module, scaler = _player(trainer, player)
        terms = {name: term for name, term in trainer.state.losses.items() if name.startswith(player)}
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        if not scaler.is_enabled():
            # A maximum may be infinite and is never a nan that the sum of squares would not have been.
            terms["gradient"] = torch.nn.utils.get_total_norm(gradients)
        numbers = torch.stack([term.detach().float().to(trainer.state.device) for term in terms.values()])
        wrong = [name for name, good in zip(terms, torch.isfinite(numbers).tolist(), strict=True) if not good]
        if wrong:
            raise DivergenceError(
                f"{', '.join(wrong)} of the {player} became infinite or nan in {_place(engine)}, at the "
                f"cases {', '.join(_names(trainer.state.batch))}: no step was taken on it; lower "
                "--learning_rate or --critic_learning_rate, or train with --amp False."
            )


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
