"""The numbers of an evaluation, case by case, and their means with intervals, as files and on the screen."""

import csv
import json
import logging
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
from ignite.engine import Engine, Events
from monai.utils.dist import string_list_all_gather
from numpy.typing import NDArray

from segadv_monai.data import atomic_write
from segadv_monai.metrics import COUNTS, has_policy, summarise_cases

__all__ = ["CaseReport"]

_LOG = logging.getLogger("segadv_monai")
_ALWAYS = ("n_missed", "n_both_empty")


class CaseReport:
    """Write ``cases.csv``, a row for each case and region, and ``summary.json``.

    The summary is that of :func:`segadv_monai.metrics.summarise_cases`. A metric without an entry in the
    policy for empty masks stands in ``cases.csv`` alone.

    Args:
        output_dir: where to write.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        DataError: at the end of an evaluation: it has no counts of missed and of empty cases, or a value is
            not finite; ``cases.csv`` is written even then.
    """

    def __init__(self, output_dir: str | Path, *, resamples: int = 9999, seed: int = 0) -> None:
        self.output_dir = Path(output_dir)
        self.resamples = resamples
        self.seed = seed
        self._names: list[str] = []

    def attach(self, engine: Engine) -> None:
        """Note the names of an evaluator's cases and write when it has seen all."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._note)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _start(self, _: Engine) -> None:
        self._names = []

    def _note(self, engine: Engine) -> None:
        output: list[dict[str, Any]] = engine.state.output or []  # type: ignore[assignment]
        self._names += [str(case["image"].meta["filename_or_obj"]) for case in output]

    def _write(self, engine: Engine) -> None:
        names = string_list_all_gather(self._names)
        details = engine.state.metric_details  # type: ignore[attr-defined]
        tables = {name: np.asarray(table.cpu(), float) for name, table in details.items()}
        self._write_files(names, tables, getattr(engine.state, "surfaces", None))

    @idist.one_rank_only()
    def _write_files(
        self, names: list[str], tables: dict[str, NDArray[Any]], surfaces: dict[str, Any] | None
    ) -> None:
        target = self.output_dir / "cases.csv"
        with atomic_write(target) as draft, draft.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["case", "region", *tables])
            for i, name in enumerate(names):
                for region in range(next(iter(tables.values())).shape[1]):
                    rows.writerow([name, region + 1, *(f"{t[i, region]:.6g}" for t in tables.values())])
        known = {name: table for name, table in tables.items() if name in COUNTS or has_policy(name)}
        if others := [name for name in tables if name not in known]:
            _LOG.warning("no policy for empty masks, so in cases.csv alone: %s", ", ".join(others))
        summary = summarise_cases(known, resamples=self.resamples, seed=self.seed)
        content = {"surfaces": surfaces, **summary} if surfaces else summary
        with atomic_write(self.output_dir / "summary.json") as draft:
            draft.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        del summary["cases"]
        if "region 2" not in summary:
            del summary["mean over regions"]
        for title, part in summary.items():
            said = (_said(name, value) for name, value in part.items() if value != 0 or name in _ALWAYS)
            _LOG.info("%s: %s", title, "  ".join(said))
        _LOG.info("%s cases: %s and summary.json beside it", len(names), target.absolute())


def _said(name: str, value: Any) -> str:
    if isinstance(value, int):
        return f"{name} {value}"
    if value["mean"] is None:
        return f"{name} of no case"
    interval = value["interval_95"]
    return f"{name} {value['mean']:.4f}" + (f" ({interval[0]:.4f} to {interval[1]:.4f})" if interval else "")
