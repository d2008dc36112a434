"""Vessels as in the literature: areas under curves inside the field of view, Dice at a threshold."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.utils.dist import evenly_divisible_all_gather
from torch import Tensor

from segadv_monai.data import atomic_write
from segadv_monai.metrics import (
    Ranking,
    average_precision,
    best_dice,
    dice_score,
    otsu_threshold,
    rank,
    roc_auc,
)
from segadv_monai.protocols import DataError

__all__ = ["VesselMeasures"]

_LOG = logging.getLogger("segadv_monai")
_COLUMNS = ("roc_auc", "average_precision", "dice_otsu")


class VesselMeasures:
    """Measure probabilities of one structure, case by case and over the pixels of all cases together.

    The numbers of all pixels together are those of the literature on DRIVE: ``roc_auc``,
    ``average_precision``, ``dice_otsu`` and ``dice_best`` with their thresholds. They go to ``vessels.json``
    and, as ``all/<name>``, to ``state.metrics``. Each case has ``roc_auc``, ``average_precision`` and
    ``dice_otsu``, its own threshold, in ``state.metric_details``, where a :class:`CaseReport` finds them.

    Every probability is kept until the end, 4 bytes for a pixel.

    Args:
        output_dir: where to write ``vessels.json``; None for nowhere.
        keys: of probabilities, label and field of view in the output, each ``(1, *S)``. A case without a
            field is measured everywhere.

    Raises:
        DataError: while it runs: shapes differ; there is more than one map; a field has no vessel or
            nothing else; there is no case.
    """

    def __init__(
        self,
        output_dir: str | Path | None = None,
        *,
        keys: Sequence[str] = ("probabilities", "label", "field"),
    ) -> None:
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.keys = tuple(keys)
        self._rows: list[list[float]] = []
        self._pixels: list[tuple[Tensor, Tensor]] = []

    def attach(self, engine: Engine) -> None:
        """Measure the cases of an evaluator; before a :class:`CaseReport`, which reports them."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._measure)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    def _start(self, _: Engine) -> None:
        self._rows, self._pixels = [], []

    def _measure(self, engine: Engine) -> None:
        output: list[dict[str, Any]] = engine.state.output or []  # type: ignore[assignment]
        for case in output:
            said, true = self._inside(case)
            try:
                ranking = rank(said, true)
            except DataError as error:
                name = getattr(case[self.keys[1]], "meta", {}).get("filename_or_obj", "a case")
                raise DataError(f"{name}: {error}") from error
            self._pixels.append((said, true))
            dice = _dice_above(otsu_threshold(said), said, true)
            self._rows.append([roc_auc(ranking), average_precision(ranking), dice])

    def _inside(self, case: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Probability and truth of the pixels inside the field of view."""
        probabilities, label, field = (case.get(key) for key in self.keys)
        parts = [x.as_subclass(Tensor) for x in (probabilities, label, field) if x is not None]
        if len(parts) < 2 or any(x.shape != parts[0].shape or len(x) != 1 for x in parts):
            raise DataError(
                f"{', '.join(self.keys)} must be single maps of one shape, got "
                f"{', '.join(str(tuple(x.shape)) for x in parts)}: measure one structure on its label's grid."
            )
        said, true = parts[0].detach().float(), parts[1] > 0
        inside = parts[2] > 0 if len(parts) == 3 else torch.ones_like(true)
        return said[inside].cpu(), true[inside].cpu()

    def _finish(self, engine: Engine) -> None:
        if not self._rows:
            raise DataError(
                "there is no case to measure: give the evaluator a data set with a case at least."
            )
        rows = _gathered(torch.tensor(self._rows, dtype=torch.double))
        said, true = (_gathered(torch.cat(part)) for part in zip(*self._pixels, strict=True))
        self._pixels = []
        together = {"cases": len(rows), "pixels": len(said), **_of_all(rank(said, true), said, true)}
        state: Any = engine.state
        tables = {name: rows[:, i : i + 1].clone() for i, name in enumerate(_COLUMNS)}
        state.metric_details = {**getattr(state, "metric_details", {}), **tables}
        state.metrics.update({f"all/{name}": value for name, value in together.items()})
        self._report(together)

    @idist.one_rank_only()
    def _report(self, together: dict[str, float]) -> None:
        if self.output_dir is None:
            return
        with atomic_write(self.output_dir / "vessels.json") as draft:
            draft.write_text(json.dumps(together, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        said = "  ".join(f"{name} {value:.5g}" for name, value in together.items())
        _LOG.info("all pixels together: %s", said)


def _of_all(ranking: Ranking, said: Tensor, true: Tensor) -> dict[str, float]:
    threshold = otsu_threshold(said)
    best, best_threshold = best_dice(ranking)
    return {
        "roc_auc": roc_auc(ranking),
        "average_precision": average_precision(ranking),
        "dice_otsu": _dice_above(threshold, said, true),
        "threshold_otsu": threshold,
        "dice_best": best,
        "threshold_best": best_threshold,
    }


def _dice_above(threshold: float, said: Tensor, true: Tensor) -> float:
    return float(dice_score((said > threshold)[None, None], true[None, None])[0, 0])


def _gathered(values: Tensor) -> Tensor:
    """Of all processes."""
    result: Tensor = evenly_divisible_all_gather(values.to(idist.device()), concat=True)
    return result.cpu()
