"""The numbers of an evaluation, case by case, and their means with intervals."""

import csv
import json
import logging
import math
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
from ignite.engine import Engine, Events
from monai.utils.dist import string_list_all_gather
from numpy.typing import NDArray
from scipy.stats import bootstrap

from segadv_monai.data import atomic_write

__all__ = ["CaseReport"]

_LOG = logging.getLogger("segadv_monai")
_COUNTED = ("missed", "both_empty")


class CaseReport:
    """Write ``cases.csv``, a row for each case and region, and ``summary.json``.

    The summary holds, for each region and each metric with a value per case, the mean over cases with its
    95 % percentile bootstrap interval, the median and the number of cases; ``missed`` and ``both_empty`` are
    counted. A case whose reference and prediction are both empty has no value and is counted there alone.

    Args:
        output_dir: where to write.
        resamples: of the bootstrap.
        seed: of the bootstrap.
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
        values = {name: np.asarray(table.cpu(), float) for name, table in details.items()}
        self._write_files(names, values)

    @idist.one_rank_only()
    def _write_files(self, names: list[str], values: dict[str, NDArray[Any]]) -> None:
        regions = next(iter(values.values())).shape[1]
        target = self.output_dir / "cases.csv"
        with atomic_write(target) as draft, draft.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["case", "region", *values])
            for i, name in enumerate(names):
                for region in range(regions):
                    numbers = [table[i, region] for table in values.values()]
                    rows.writerow([name, region + 1, *(f"{x:.6g}" for x in numbers)])
        summary = {
            f"region {region + 1}": {
                name: self._summarise(name, table[:, region]) for name, table in values.items()
            }
            for region in range(regions)
        }
        with atomic_write(self.output_dir / "summary.json") as draft:
            draft.write_text(json.dumps({"cases": len(names), **summary}, indent=2) + "\n", encoding="utf-8")
        for title, parts in summary.items():
            _LOG.info("%s: %s", title, "  ".join(_said(name, part) for name, part in parts.items()))
        _LOG.info("%s cases: %s and summary.json beside it", len(names), target.absolute())

    def _summarise(self, name: str, column: NDArray[Any]) -> dict[str, Any]:
        present = column[~np.isnan(column)]
        if name in _COUNTED:
            return {"count": int(present.sum()), "of": len(column)}
        if not len(present):
            return {"mean": None, "cases": 0}
        low, high = self._interval(present)
        return {
            "mean": float(present.mean()),
            "interval_95": [low, high],
            "median": float(np.median(present)),
            "cases": len(present),
        }

    def _interval(self, values: NDArray[Any]) -> tuple[float | None, float | None]:
        if len(values) < 2:
            return None, None
        result = bootstrap(
            (values,),
            np.mean,
            n_resamples=self.resamples,
            method="percentile",
            rng=np.random.default_rng(self.seed),
        )
        low, high = (float(x) for x in result.confidence_interval)
        return (None, None) if math.isnan(low) else (low, high)


def _said(name: str, part: dict[str, Any]) -> str:
    if "count" in part:
        return f"{name} {part['count']} of {part['of']}"
    if part["mean"] is None:
        return f"{name} of no case"
    low, high = part["interval_95"]
    interval = "" if low is None else f" ({low:.4f} to {high:.4f})"
    return f"{name} {part['mean']:.4f}{interval}"
