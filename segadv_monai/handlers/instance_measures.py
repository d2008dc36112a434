"""Objects in place of pixels: cells between membranes, cells apart, as the challenges count them."""

import json
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.utils.dist import evenly_divisible_all_gather, string_list_all_gather
from torch import Tensor

from segadv_monai.data import atomic_write
from segadv_monai.metrics import instance_scores, membrane_scores, pixel_error, warping_error
from segadv_monai.protocols import ConfigError, DataError

__all__ = ["CellMeasures", "MembraneMeasures"]

_LOG = logging.getLogger("segadv_monai")
_MEMBRANES = ("v_rand", "v_rand_split", "v_rand_merge", "v_info", "v_info_split", "v_info_merge")
_PIXELS = ("pixel_error", "warping_error")
_CELLS = ("seg", "missed_objects", "extra_objects", "objects")


class _ObjectMeasures(ABC):
    """A row of numbers for each case, which the end of the evaluation sums up."""

    def __init__(self, output_dir: str | Path | None, keys: Sequence[str], channel: int) -> None:
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.keys = tuple(keys)
        self.channel = channel
        self._rows: list[list[float]] = []
        self._names: list[str] = []

    def attach(self, engine: Engine) -> None:
        """Measure the cases of an evaluator; before a :class:`CaseReport`, which reports them."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._measure)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    @abstractmethod
    def _row(self, prediction: Tensor, reference: Tensor) -> list[float]: ...

    @abstractmethod
    def _finish(self, engine: Engine) -> None: ...

    def _start(self, _: Engine) -> None:
        self._rows, self._names = [], []

    def _measure(self, engine: Engine) -> None:
        output: list[dict[str, Any]] = engine.state.output or []  # type: ignore[assignment]
        for case in output:
            name, maps = _maps(case, self.keys, self.channel)
            try:
                self._rows.append(self._row(*maps))
            except DataError as error:
                raise DataError(f"{name}: {error}") from error
            self._names.append(name)


class MembraneMeasures(_ObjectMeasures):
    """Measure probabilities of cells that membranes part, in two dimensions, with the EM challenge's scores.

    ``v_rand`` and ``v_info`` with their split and merge parts, ``pixel_error`` and ``warping_error`` at one
    threshold go, as means over the cases, to ``state.metrics`` and to ``membranes.json``; the values of the
    cases stand there and in ``state.metric_details``. ``v_rand_best`` and ``v_info_best`` are the largest
    means over a fixed list of thresholds, each with its threshold: chosen with the reference, so a bound.

    Args:
        output_dir: where to write ``membranes.json``; None for nowhere.
        keys: of probabilities and label in the output, each ``(C, H, W)``.
        channel: the one of the cells, in both.
        threshold: a pixel is cell above it.
        thresholds: among which the best is sought; empty for no search.

    Raises:
        ConfigError: a threshold is not between 0 and 1.
        DataError: while it runs: a map cannot be used, or there is no case.
    """

    def __init__(
        self,
        output_dir: str | Path | None = None,
        *,
        keys: Sequence[str] = ("probabilities", "label"),
        channel: int = -1,
        threshold: float = 0.5,
        thresholds: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    ) -> None:
        if not all(0 < x < 1 for x in (threshold, *thresholds)):
            raise ConfigError(f"thresholds lie between 0 and 1, got {threshold} and {list(thresholds)}.")
        super().__init__(output_dir, keys, channel)
        self.threshold = threshold
        self.thresholds = tuple(thresholds)

    def _row(self, prediction: Tensor, reference: Tensor) -> list[float]:
        said, cells = prediction > self.threshold, reference > 0
        row = [*membrane_scores(said, cells), pixel_error(said, cells), warping_error(said, cells)]
        for threshold in self.thresholds:
            scores = membrane_scores(prediction > threshold, cells)
            row += [scores.rand, scores.info]
        return row

    def _finish(self, engine: Engine) -> None:
        names, rows = _gathered(self._names, self._rows)
        columns = (*_MEMBRANES, *_PIXELS)
        means = dict(zip(columns, rows.mean(dim=0).tolist(), strict=False))
        if self.thresholds:
            searched = rows[:, len(columns) :].mean(dim=0).reshape(-1, 2)
            for name, values in zip(("v_rand", "v_info"), searched.T, strict=True):
                means[f"{name}_best"] = float(values.max())
                means[f"{name}_best_threshold"] = self.thresholds[int(values.argmax())]
        head = {"cases": len(names), "threshold": self.threshold}
        _say(engine, head | means, dict(zip(columns, rows.T, strict=False)), region=self.channel)
        _write(self.output_dir, "membranes.json", (head | means, names, columns, rows))


class CellMeasures(_ObjectMeasures):
    """Measure maps of instances with the Cell Tracking Challenge's SEG, in any dimensions.

    ``seg`` is the mean over the objects of all cases together, as in the challenge, ``seg_of_cases`` that of
    the cases' means; ``missed_objects`` are those of the reference that no object covers by more than half,
    ``extra_objects`` those of the prediction that cover none so. They go to ``state.metrics`` and to
    ``cells.json``; the values of the cases stand there and in ``state.metric_details``. A case without
    objects has no ``seg``; its extra objects count.

    Args:
        output_dir: where to write ``cells.json``; None for nowhere.
        keys: of the predicted and the true instances in the output, each ``(1, *S)``.

    Raises:
        DataError: while it runs: a map cannot be used; there is no case, or no object in any reference.
    """

    def __init__(
        self, output_dir: str | Path | None = None, *, keys: Sequence[str] = ("cells", "reference")
    ) -> None:
        super().__init__(output_dir, keys, 0)

    def _row(self, prediction: Tensor, reference: Tensor) -> list[float]:
        scores = instance_scores(prediction, reference)
        return [scores.seg, scores.missed, scores.extra, len(scores.jaccard)]

    def _finish(self, engine: Engine) -> None:
        names, rows = _gathered(self._names, self._rows)
        seg, missed, extra, objects = rows.T
        if not objects.sum() > 0:
            raise DataError(
                f"none of {len(names)} references has an object, so there is no SEG: give references of "
                "instances."
            )
        together = {
            "cases": len(names),
            "seg": float((seg.nan_to_num() * objects).sum() / objects.sum()),
            "seg_of_cases": float(seg.nanmean()),
            "objects": int(objects.sum()),
            "missed_objects": int(missed.sum()),
            "extra_objects": int(extra.sum()),
        }
        _say(engine, together, dict(zip(_CELLS, rows.T, strict=True)), region=-1)
        _write(self.output_dir, "cells.json", (together, names, _CELLS, rows))


def _maps(case: Mapping[str, Any], keys: Sequence[str], channel: int) -> tuple[str, list[Tensor]]:
    """Name of a case, and the channel of both its maps."""
    missing = [key for key in keys if key not in case]
    if missing:
        raise DataError(
            f"the output has no {' and no '.join(missing)}, only {', '.join(case)}: name the maps to "
            "measure by keys."
        )
    name = str(getattr(case[keys[1]], "meta", {}).get("filename_or_obj", "a case"))
    return name, [case[key].detach().as_subclass(Tensor)[channel].cpu() for key in keys]


def _gathered(names: list[str], rows: list[list[float]]) -> tuple[list[str], Tensor]:
    """Of all processes."""
    if not rows:
        raise DataError("there is no case to measure: give the evaluator a data set with a case at least.")
    table = torch.tensor(rows, dtype=torch.double, device=idist.device())
    return string_list_all_gather(names), evenly_divisible_all_gather(table, concat=True).cpu()


def _say(engine: Engine, numbers: Mapping[str, float], columns: Mapping[str, Tensor], region: int) -> None:
    state: Any = engine.state
    details = getattr(state, "metric_details", {})
    # Beside measures of several regions, these have one.
    regions = max((table.shape[1] for table in details.values()), default=1)
    tables = {}
    for name, column in columns.items():
        tables[name] = torch.full((len(column), regions), math.nan, dtype=column.dtype)
        tables[name][:, min(region, regions - 1)] = column
    state.metric_details = {**details, **tables}
    state.metrics.update(numbers)


@idist.one_rank_only()
def _write(
    folder: Path | None,
    file: str,
    content: tuple[Mapping[str, float], list[str], Sequence[str], Tensor],
) -> None:
    numbers, names, columns, rows = content
    _LOG.info("%s: %s", Path(file).stem, "  ".join(f"{k} {v:.5g}" for k, v in numbers.items()))
    if folder is None:
        return
    cases = [
        {"case": name, **{k: None if math.isnan(v) else v for k, v in zip(columns, row, strict=False)}}
        for name, row in zip(names, rows.tolist(), strict=True)
    ]
    with atomic_write(folder / file) as draft:
        draft.write_text(
            json.dumps({**numbers, "by_case": cases}, indent=2, allow_nan=False) + "\n", encoding="utf-8"
        )
