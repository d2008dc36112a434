"""One line for every case of an inference, so that a person sees it move and where its results are."""

import logging
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

__all__ = ["Announce"]

_LOG = logging.getLogger("segadv_monai")


class Announce:
    """Tell each case of an evaluator, and at the end how many there were and where the results are.

    Args:
        output_dir: where they are.
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.output_dir = Path(output_dir)
        self._done = 0

    def attach(self, engine: Engine) -> None:
        """Follow an evaluator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._tell)
        engine.add_event_handler(Events.COMPLETED, self._end)

    def _start(self, _: Engine) -> None:
        self._done = 0

    def _tell(self, engine: Engine) -> None:
        output: Any = engine.state.output or []
        loader: Any = engine.state.dataloader
        total = len(loader.dataset)
        for case in output:
            self._done += 1
            _LOG.info("%s/%s  %s", self._done, total, case["image"].meta["filename_or_obj"])

    def _end(self, _: Engine) -> None:
        _LOG.info("%s cases done: %s", self._done, self.output_dir.absolute())
