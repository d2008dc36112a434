"""The handlers of every training run, as one line of a config."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import ignite.distributed as idist
from ignite.engine import Engine, Events
from monai.engines import Evaluator
from torch import nn

from .best_model import BestModel
from .checkpoint import Checkpoint
from .finite import Finite
from .history import History, TensorBoard
from .preview import Preview
from .progress import Progress
from .schedules import Seeding
from .stop import Stop

__all__ = ["StandardHandlers", "standard_handlers"]


class _Handler(Protocol):
    def attach(self, engine: Engine) -> None: ...


class StandardHandlers:
    """Several handlers as one, in the order in which they need each other.

    Args:
        handlers: what to attach to the trainer.
    """

    def __init__(self, handlers: list[_Handler]) -> None:
        self.handlers = handlers

    def attach(self, engine: Engine) -> None:
        """Attach them all, in their order."""
        for handler in self.handlers:
            handler.attach(engine)


def standard_handlers(
    *,
    evaluator: Evaluator,
    network: nn.Module,
    output_dir: str | Path,
    models_dir: str | Path | None = None,
    val_interval: int = 1,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    others: Mapping[str, Any] | None = None,
    resume: str = "auto",
    checkpoint_minutes: float = 10.0,
    hours: float | None = None,
    skip: int = 0,
    preview_cases: int = 6,
) -> StandardHandlers:
    """Seeding, validation, history, previews, best model, progress, checkpoint and recovery, for a trainer.

    Args:
        evaluator: validates every ``val_interval`` epochs and after the last.
        network: the segmentor, whose best weights are kept.
        output_dir: gets ``last.safetensors``, ``history.csv``, ``previews/`` and ``tensorboard/``.
        models_dir: gets ``model.pt`` and ``model.safetensors``; ``output_dir`` by default.
        val_interval: epochs between validations.
        seed: of the run; every epoch and iteration is seeded from it.
        settings: plain values that must not change when the run is started again, by their names.
        others: further objects whose state a checkpoint keeps, by name: metrics of the training, an average.
        resume: ``auto`` goes on from a checkpoint in ``output_dir``, ``never`` refuses to start beside one.
        checkpoint_minutes: longest time without a checkpoint; there is one after every epoch in any case.
        hours: end the run in good order after that time; None for no limit.
        skip: batches that are not finite and may be left out, see :class:`Finite`; 0 to end at the first.
        preview_cases: validation cases on each sheet; 0 for no sheets.

    Raises:
        ValueError: ``resume`` is neither of the two; ``skip`` is negative.
        CheckpointError: when the run starts: the checkpoint is of another run.
        DataError: a batch is not finite.
        DivergenceError: a loss term or a gradient is not finite.
        SystemExit: the run was asked to stop, see :class:`Stop`.
    """
    output = Path(output_dir).absolute()
    models = output if models_dir is None else Path(models_dir).absolute()
    best = BestModel(network, models)
    history = History(evaluator, output / "history.csv")
    finite = Finite(skip)
    best.attach(evaluator)
    handlers: list[_Handler] = [Seeding(seed), finite, _Validation(evaluator, val_interval), history]
    if idist.get_rank() == 0:
        handlers += _for_people(history, best, output=output, preview_cases=preview_cases)
    checkpoint = Checkpoint(
        output / "last.safetensors",
        others={"best": best, "history": history, "finite": finite, **(others or {})},
        settings=settings,
        resume=resume,
        minutes=checkpoint_minutes,
    )
    return StandardHandlers([*handlers, Stop(checkpoint, evaluator, hours=hours), checkpoint])


def _for_people(history: History, best: BestModel, *, output: Path, preview_cases: int) -> list[_Handler]:
    """What a person watches: board, pictures, progress."""
    evaluator = history.evaluator
    places = f"model {best.directory / 'model.pt'}, curves {output / 'history.csv'}"
    board = TensorBoard(history, output / "tensorboard")
    if preview_cases:
        preview = Preview(output / "previews" / "epoch_{epoch}.png", preview_cases)
        preview.attach(evaluator)
        evaluator.add_event_handler(Events.COMPLETED, _show, preview, board)
        places += f", pictures {output / 'previews'}"
    return [board, Progress(history, best, places=places)]


class _Validation:
    """MONAI's handler leaves out the last epoch, and with it a run that is shorter than the interval."""

    def __init__(self, evaluator: Evaluator, interval: int) -> None:
        self.evaluator = evaluator
        self.interval = interval

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        if engine.state.epoch % self.interval == 0 or engine.state.epoch == engine.state.max_epochs:
            self.evaluator.run(engine.state.epoch)


def _show(evaluator: Engine, preview: Preview, board: TensorBoard) -> None:
    if preview.sheet is not None:
        board.add_picture("validation", preview.sheet, evaluator.state.epoch)
