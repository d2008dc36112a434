"""Overlap of classes over all cases together: as a metric of an engine, and as a table of the classes."""

import csv
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from monai.handlers import IgniteMetricHandler, from_engine

from segadv_monai.data import atomic_write
from segadv_monai.metrics import (
    ClassOverlapMetric,
    VoxelCounts,
    class_accuracy,
    class_iou,
    pixel_accuracy,
)

__all__ = ["ClassOverlap", "ClassReport"]

_LOG = logging.getLogger("segadv_monai")


class ClassOverlap(IgniteMetricHandler):
    """A measure of the one-hot maps ``pred`` and ``label``, without positions that the label ignores.

    Its state is what was counted in the epoch so far, so that a run that stopped within an epoch can go on
    there.

    Args:
        measure: ``mean_iou``, ``mean_accuracy`` or ``pixel_accuracy``, see :class:`ClassOverlapMetric`.

    Raises:
        ConfigError: there is no such measure.
    """

    def __init__(self, measure: str = "mean_iou") -> None:
        self._overlap = ClassOverlapMetric(measure)
        super().__init__(
            metric_fn=self._overlap, output_transform=from_engine(["pred", "label"]), save_details=False
        )

    def counts(self) -> VoxelCounts:
        """Numbers of voxels of each case and class since the epoch began."""
        return self._overlap.counts()

    def state_dict(self) -> OrderedDict[str, Any]:
        """Numbers that this process has counted in the epoch, ``(N, 3, K)``."""
        return OrderedDict(values=self._overlap.collected)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave; the start of an epoch forgets it again.

        Args:
            state_dict: the numbers.
        """
        self._overlap.collected = state_dict["values"]


class ClassReport:
    """Write ``classes.csv`` at the end of an evaluation, a row for each class, and say the means.

    Args:
        overlap: the metric of the evaluation that has counted.
        output_dir: where to write.
        regions: label values of each class.
        names: of the label values.
    """

    def __init__(
        self,
        overlap: ClassOverlap,
        output_dir: str | Path,
        *,
        regions: Sequence[Sequence[int]],
        names: Mapping[int, str],
    ) -> None:
        self.overlap = overlap
        self.output_dir = Path(output_dir)
        self.names = [" and ".join(names.get(value, str(value)) for value in region) for region in regions]

    def attach(self, engine: Engine) -> None:
        """Write when an evaluator has seen all cases."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, _: Engine) -> None:
        # On every process: the counts are gathered.
        self._write(self.overlap.counts())

    @idist.one_rank_only()
    def _write(self, counts: VoxelCounts) -> None:
        overlaps, found = class_iou(counts), class_accuracy(counts)
        positions = counts.referred.sum(0)
        target = self.output_dir / "classes.csv"
        with atomic_write(target) as draft, draft.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["class", "iou", "accuracy", "positions"])
            for name, *values in zip(self.names, overlaps, found, positions, strict=True):
                rows.writerow([name, *(f"{float(value):.9g}" for value in values)])
        said = "  ".join(f"{name} {float(x):.3f}" for name, x in zip(self.names, overlaps, strict=True))
        _LOG.info("IoU over all cases: %s", said)
        means = (overlaps.nanmean(), found.nanmean(), pixel_accuracy(counts))
        _LOG.info("mean IoU %.4f  mean accuracy %.4f  pixel accuracy %.4f", *(float(x) for x in means))
