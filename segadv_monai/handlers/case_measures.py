"""All measures of an evaluation in one go, case by case."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.utils import MetaKeys
from monai.utils.dist import evenly_divisible_all_gather
from torch import Tensor

from segadv_monai.metrics import (
    COUNTS,
    OVERLAPS,
    SURFACES,
    TOPOLOGY,
    Definition,
    SurfaceDistances,
    joint_histogram,
    nsd,
    overall,
    overlap,
    region_counts,
    region_surface_distances,
    surface_distances,
    topology_error,
    voxel_counts,
)
from segadv_monai.protocols import ConfigError, DataError

__all__ = ["CaseMeasures"]

_LOG = logging.getLogger("segadv_monai")
_DISTANCES = (*SURFACES, "nsd")
_KNOWN = (*(name for name in OVERLAPS if name not in COUNTS), *_DISTANCES, *TOPOLOGY)
_USUAL = ("dice", "jaccard", "volume_error", "hd95_mm", "assd_mm", "nsd", *TOPOLOGY)


class CaseMeasures:
    """Measure every case of an evaluator's output and put the numbers where reports look for them.

    After the run ``state.metric_details`` holds a table ``(cases, regions)`` for each measure and each count
    of the policy, and ``state.metrics`` the mean or the sum of each. Distances are in mm by the affine of the
    label map. Files without one, such as PNG, are measured in voxels, and then the names say so:
    ``hd95_voxels`` in place of ``hd95_mm``.

    Args:
        measures: any of ``dice``, ``jaccard``, ``volume_error``, ``hd95_mm``, ``hd_mm``, ``assd_mm``,
            ``nsd``, ``components_error`` and ``holes_error``; all but ``hd_mm`` by default.
        regions: label values of each region, where prediction and label come as label maps; by default they
            come as one binary map per region.
        tolerance_mm: of ``nsd``; in voxels where there is no spacing.
        definition: of the surface, ``voxel_edges`` or ``surface_elements``.
        keys: of prediction and label in the output.

    Raises:
        ConfigError: a measure or a region cannot be used.
        DataError: while it runs: a prediction does not fit its label; some cases have a spacing, others none.
    """

    def __init__(
        self,
        measures: Sequence[str] = _USUAL,
        regions: Sequence[Sequence[int]] | None = None,
        *,
        tolerance_mm: float = 2.0,
        definition: Definition = "voxel_edges",
        keys: tuple[str, str] = ("pred", "label"),
    ) -> None:
        unknown = [name for name in measures if name not in _KNOWN]
        if unknown:
            raise ConfigError(f"measures must be some of {', '.join(_KNOWN)}, got {', '.join(unknown)}.")
        if regions is not None and not (regions and all(region and min(region) > 0 for region in regions)):
            raise ConfigError(f"every region needs labels greater than 0, got {regions}.")
        self.measures = tuple(measures)
        self.regions = regions
        self.tolerance = tolerance_mm
        self.definition = definition
        self.keys = tuple(keys)
        self._columns = (*COUNTS, *self.measures)
        self._rows: list[Tensor] = []
        self._in_mm: bool | None = None

    def attach(self, engine: Engine) -> None:
        """Measure the cases of an evaluator; before a :class:`CaseReport`, which reports them."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._measure)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    def _start(self, _: Engine) -> None:
        self._rows, self._in_mm = [], None

    def _measure(self, engine: Engine) -> None:
        output: list[dict[str, Any]] = engine.state.output or []  # type: ignore[assignment]
        for case in output:
            prediction, reference = (case[key] for key in self.keys)
            self._rows.append(self._row(prediction, reference, self._spacing(reference)))

    def _finish(self, engine: Engine) -> None:
        if not self._rows:
            raise DataError(
                "there is no case to measure: give the evaluator a data set with a case at least."
            )
        in_mm = bool(self._in_mm)
        # Places of the table are (case, column, region).
        rows = torch.stack(self._rows).to(idist.device())
        values = evenly_divisible_all_gather(rows, concat=True).cpu()
        tables = {
            name if in_mm else name.replace("_mm", "_voxels"): values[:, i].clone()
            for i, name in enumerate(self._columns)
        }
        state: Any = engine.state
        arrays = {name: table.numpy() for name, table in tables.items()}
        state.metrics.update({name: overall(name, arrays) for name in arrays})
        state.metric_details = {**getattr(state, "metric_details", {}), **tables}
        unit = "mm" if in_mm else "voxels"
        state.surfaces = {"definition": self.definition, "tolerance": self.tolerance, "unit": unit}
        if not in_mm and self._has_distances:
            _LOG.info("the label maps have no spacing: distances and the tolerance of nsd are in voxels")

    def _spacing(self, reference: Tensor) -> list[float]:
        """Of the voxels, 1 where the file does not tell; all cases have to be alike in that."""
        dims = reference.ndim - 1
        in_mm = isinstance(reference, MetaTensor) and MetaKeys.ORIGINAL_AFFINE in reference.meta
        if self._in_mm not in (None, in_mm):
            name = getattr(reference, "meta", {}).get("filename_or_obj", "a label map")
            raise DataError(
                f"{name} {'has a' if in_mm else 'has no'} spacing, unlike the cases before: evaluate volumes "
                "and pictures apart."
            )
        self._in_mm = in_mm
        if not isinstance(reference, MetaTensor) or not in_mm:
            return [1.0] * dims
        return [float(x) for x in affine_to_spacing(reference.affine, dims)]

    def _row(self, prediction: Tensor, reference: Tensor, spacing: list[float]) -> Tensor:
        """Counts and measures of one case, ``(columns, regions)``."""
        if self.regions is None:
            counts = voxel_counts(prediction[None], reference[None])
        else:
            prediction, reference = (
                _label_map(x, self.keys[i]) for i, x in enumerate((prediction, reference))
            )
            highest = max(int(x.max()) for x in (prediction, reference))
            labels = 1 + max(highest, *(label for region in self.regions for label in region))
            counts = region_counts(joint_histogram(prediction, reference, labels), self.regions)
        surfaces = self._surfaces(prediction, reference, spacing) if self._has_distances else []
        masks = self._masks(prediction, reference) if any(n in TOPOLOGY for n in self.measures) else []
        columns = []
        for name in self._columns:
            if name in OVERLAPS:
                columns.append(overlap(name, counts)[0].cpu())
            elif name in TOPOLOGY:
                columns.append(_column([topology_error(name, *pair) for pair in masks]))
            else:
                columns.append(_column([self._value(name, distances) for distances in surfaces]))
        return torch.stack(columns)

    @property
    def _has_distances(self) -> bool:
        return any(name in _DISTANCES for name in self.measures)

    def _surfaces(
        self, prediction: Tensor, reference: Tensor, spacing: list[float]
    ) -> list[SurfaceDistances]:
        settings: Mapping[str, Any] = {"spacing_mm": spacing, "definition": self.definition}
        if self.regions is None:
            return [surface_distances(a, b, **settings) for a, b in zip(prediction, reference, strict=True)]
        return region_surface_distances(prediction[0], reference[0], regions=self.regions, **settings)

    def _masks(self, prediction: Tensor, reference: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Of each region."""
        maps = [x.as_subclass(Tensor) for x in (prediction, reference)]
        if self.regions is None:
            return list(zip(*maps, strict=True))
        members = [torch.tensor(region, device=maps[0].device) for region in self.regions]
        return [(torch.isin(maps[0][0], m), torch.isin(maps[1][0], m)) for m in members]

    def _value(self, name: str, distances: SurfaceDistances) -> float:
        return nsd(distances, self.tolerance) if name == "nsd" else SURFACES[name](distances)


def _column(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.double)


def _label_map(labels: Tensor, key: str) -> Tensor:
    """One channel of whole numbers, in the smallest type that serves: a reader gives floats."""
    values = labels.as_subclass(Tensor)
    if values.shape[0] != 1:
        raise DataError(
            f"{key} must be a label map of one channel, got {values.shape[0]}: leave out regions."
        )
    if values.is_floating_point():
        if not torch.equal(values, values.floor()):
            raise DataError(f"{key} must hold whole numbers, got fractions: resample with 'nearest'.")
        values = values.to(
            torch.uint8 if float(values.max()) < 256 and float(values.min()) >= 0 else torch.int32
        )
    return values
