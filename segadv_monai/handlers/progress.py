"""What a person who watches a run sees: a bar with the time left on a terminal, plain lines elsewhere."""

import logging
import sys
from datetime import timedelta
from statistics import mean
from typing import Never

from ignite.engine import Engine, Events
from tqdm import tqdm

from .best_model import BestModel
from .history import History

__all__ = ["Progress"]

_LOG = logging.getLogger("segadv_monai")


class Progress:
    """One line per epoch with losses, metrics and time left; a last line with the best number and the places.

    Args:
        history: the rows to tell; attached before this.
        best: the best number; attached before this.
        places: the last line's end, where everything is.
        terminal: whether there is a terminal that shows a bar; found out by default.
    """

    def __init__(
        self, history: History, best: BestModel, *, places: str = "", terminal: bool | None = None
    ) -> None:
        self.history = history
        self.best = best
        self.places = places
        self.terminal = sys.stderr.isatty() if terminal is None else terminal
        self._bar: tqdm[Never] | None = None

    def attach(self, engine: Engine) -> None:
        """Follow a trainer, behind its history."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._open)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._advance)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._tell)
        engine.add_event_handler(Events.COMPLETED, self._end)

    def _open(self, engine: Engine) -> None:
        if self.terminal and self._bar is None:
            length, epochs = engine.state.epoch_length or 0, engine.state.max_epochs or 0
            self._bar = tqdm(
                total=length * epochs, initial=engine.state.iteration, unit="batch", dynamic_ncols=True
            )

    def _advance(self, engine: Engine) -> None:
        if self._bar is not None:
            self._bar.set_description(f"epoch {engine.state.epoch}/{engine.state.max_epochs}", refresh=False)
            self._bar.update()

    def _tell(self, engine: Engine) -> None:
        epoch, epochs = engine.state.epoch, engine.state.max_epochs or 0
        skipped = ("epoch", "learning_rate", "seconds")
        numbers = [f"{k} {v:.4g}" for k, v in self.history.rows[-1].items() if k not in skipped]
        left = mean(row["seconds"] for row in self.history.rows) * (epochs - epoch)
        line = f"epoch {epoch}/{epochs}  {'  '.join(numbers)}  {_clock(left)} left"
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        else:
            _LOG.info(line)

    def _end(self, engine: Engine) -> None:
        if self._bar is not None:
            self._bar.close()
        name = getattr(self.history.evaluator.state, "key_metric_name", None) or "metric"
        best = "no validation yet"
        if self.best.value is not None:
            best = f"best validation {name} {self.best.value:.4f} in epoch {self.best.epoch}"
        _LOG.info("%s epochs done: %s; %s", engine.state.epoch, best, self.places)


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
