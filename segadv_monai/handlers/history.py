"""The numbers of a run, one row per epoch: in memory, in a CSV file, on TensorBoard."""

import csv
import time
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
from ignite.engine import Engine, Events
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from segadv_monai.data import atomic_write

__all__ = ["History", "TensorBoard"]


class History:
    """Collect for every epoch the means of the loss terms, the metrics, the learning rate and the seconds.

    Metrics of the validation appear as ``validation/<name>`` in the epochs that have one.

    Args:
        evaluator: the engine that validates.
        path: a CSV file to keep up to date; None for none.

    Attributes:
        rows: one dictionary of numbers per epoch.
    """

    def __init__(self, evaluator: Engine, path: str | Path | None = None) -> None:
        self.evaluator = evaluator
        self.path = path
        self.rows: list[dict[str, float]] = []
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._started = 0.0
        self._validated: dict[str, float] = {}

    def attach(self, engine: Engine) -> None:
        """Follow a trainer, behind the handlers that validate."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._close)
        self.evaluator.add_event_handler(Events.COMPLETED, self._validate)

    def _start(self, engine: Engine) -> None:
        self._sums, self._counts, self._started = {}, {}, time.monotonic()
        # A run that was killed after its last checkpoint, or starts at its beginning, repeats epochs.
        del self.rows[engine.state.epoch - 1 :]

    def _add(self, engine: Engine) -> None:
        """On the device, so that no iteration waits for it."""
        for name, term in engine.state.losses.items():  # type: ignore[attr-defined]
            before = self._sums.get(name)
            self._sums[name] = term.detach() + (0 if before is None else before.to(term.device))
            self._counts[name] = self._counts.get(name, 0) + 1

    def _validate(self, engine: Engine) -> None:
        self._validated = {f"validation/{name}": float(v) for name, v in engine.state.metrics.items()}

    def _close(self, engine: Engine) -> None:
        row: dict[str, float] = {"epoch": engine.state.epoch}
        row |= {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        row |= {name: float(value) for name, value in engine.state.metrics.items()}
        row["learning_rate"] = engine.optimizer.param_groups[0]["lr"]  # type: ignore[attr-defined]
        row |= self._validated
        row["seconds"] = round(time.monotonic() - self._started, 3)
        self._validated = {}
        self.rows.append(row)
        if self.path is not None:
            self._write(self.path)

    @idist.one_rank_only()
    def _write(self, path: str | Path) -> None:
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        with atomic_write(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, columns)
            table.writeheader()
            table.writerows(self.rows)

    def state_dict(self) -> dict[str, Any]:
        """All rows, and what there is of the epoch that is not closed."""
        seconds = time.monotonic() - self._started
        return {"rows": self.rows, "sums": self._sums, "counts": self._counts, "seconds": seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave.

        Args:
            state: all rows and the open epoch.
        """
        self.rows = list(state["rows"])
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])
        self._started = time.monotonic() - state["seconds"]


class TensorBoard:
    """Write each new row of a history to TensorBoard; for the first process of a distributed run.

    Args:
        history: the rows; attached before this.
        directory: where the event files go.

    Attributes:
        writer: None before the first epoch ends.
    """

    def __init__(self, history: History, directory: str | Path) -> None:
        self.history = history
        self.directory = Path(directory)
        self.writer: SummaryWriter | None = None

    def attach(self, engine: Engine) -> None:
        """Follow a trainer, behind its history."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)
        engine.add_event_handler(Events.COMPLETED, self._close)

    def add_picture(self, name: str, picture: NDArray[np.uint8], epoch: int) -> None:
        """Show a picture.

        Args:
            name: under which it appears.
            picture: ``(height, width, channels)``.
            epoch: to which it belongs.
        """
        self._opened(epoch).add_image(name, picture, epoch, dataformats="HWC")

    def _opened(self, epoch: int) -> SummaryWriter:
        """Events of epochs that are trained again after a kill are hidden from here on."""
        if self.writer is None:
            self.writer = SummaryWriter(str(self.directory), purge_step=epoch)
        return self.writer

    def _write(self, engine: Engine) -> None:
        writer = self._opened(engine.state.epoch)
        for name, value in self.history.rows[-1].items():
            if name != "epoch":
                writer.add_scalar(name, value, engine.state.epoch)
        writer.flush()

    def _close(self, *_: object) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None
