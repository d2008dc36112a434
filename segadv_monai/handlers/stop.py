"""Leave in good order, on a signal or at the end of the given time: with a checkpoint and an exit code."""

import logging
import signal
import time
from types import FrameType
from typing import Any

from ignite.engine import Engine, Events

from .checkpoint import Checkpoint
from .gradients import between_steps

__all__ = ["Stop"]

_LOG = logging.getLogger("segadv_monai")
_TIME_IS_UP = 75
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """Finish the step, save a checkpoint, and end the process when that is asked for.

    The exit code is 143 after SIGTERM, 130 after SIGINT (the shells' 128 + signal), and 75 at the end of the
    given time (``EX_TEMPFAIL``: the same command goes on). A second signal acts at once, as it would have.

    Attach it right before the checkpoint, whose start may be a validation.

    Args:
        checkpoint: what saves.
        evaluator: the engine that validates; it is left in its middle, too.
        hours: given time from the start of the run; None for no limit.

    Raises:
        SystemExit: out of the run, with the code.
    """

    def __init__(self, checkpoint: Checkpoint, evaluator: Engine, *, hours: float | None = None) -> None:
        self.checkpoint = checkpoint
        self.evaluator = evaluator
        self.hours = hours
        self._before: dict[int, Any] = {}
        self._reason = ""
        self._code = 0
        self._started = 0.0

    def attach(self, engine: Engine) -> None:
        """Listen from the start of a trainer to its end, whatever that is."""
        engine.add_event_handler(Events.STARTED, self._listen)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._look)
        engine.add_event_handler(Events.COMPLETED, self._deafen)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._pass_on)
        self.evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._look)

    def _listen(self, _: Engine) -> None:
        self._started, self._reason = time.monotonic(), ""
        try:
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        except ValueError:
            _LOG.debug("signals reach the main thread alone, and this run is in another one")

    def _note(self, number: int, _: FrameType | None) -> None:
        self._reason, self._code = signal.Signals(number).name, 128 + number
        signal.signal(number, self._before[number])

    def _look(self, engine: Engine) -> None:
        trainer = self.checkpoint.engine
        # Not in a validation, or runs in slices shorter than one would never leave it behind.
        if self.hours is not None and engine is trainer and self._elapsed() > 3600 * self.hours:
            self._reason, self._code = f"the end of {self.hours:g} hours", _TIME_IS_UP
        if not self._reason or trainer is None or not between_steps(trainer):
            return
        inside = self.checkpoint.save_inside_epoch()
        place = f"epoch {trainer.state.epoch}, iteration {trainer.state.iteration}"
        where = "from here" if inside else "after the last finished epoch"
        doing = "" if engine is trainer else " of its validation"
        _LOG.warning("stopped by %s in %s%s: the same command goes on %s", self._reason, place, doing, where)
        raise SystemExit(self._code)

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _deafen(self, _: Engine) -> None:
        for number, action in self._before.items():
            signal.signal(number, action)
        self._before = {}

    def _pass_on(self, engine: Engine, error: BaseException) -> None:
        """Ignite swallows an exception that has a handler, unless that raises it again."""
        self._deafen(engine)
        raise error
