"""Which cleaning of islands and holes helps, tried on every case of an evaluation, region by region."""

import json
import logging
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.utils.dist import evenly_divisible_all_gather
from torch import Tensor

from segadv_monai.data import atomic_write
from segadv_monai.metrics import overlap, voxel_counts
from segadv_monai.protocols import DataError
from segadv_monai.transforms import CLEANINGS, CleanRegions, LabelToRegionsd

__all__ = ["CleaningChoice"]

_LOG = logging.getLogger("segadv_monai")
_OPTIONS = CLEANINGS[1:]


class CleaningChoice:
    """Try each cleaning of each region on the cases of an evaluation and say which to use.

    A region gets the option with the highest mean Dice over the cases, if that is higher than without
    cleaning, and if the cleaning lowers the mean Dice of no region and adds no miss to any; else ``none``.
    Means follow the policy for empty masks: a miss counts as 0. While one region is tried the others are left
    alone, so that the whole choice is measured by evaluating once more with it.

    ``cleaning.json`` gets the choice, every number and the override by which evaluation and inference take
    the choice; the log gets them, too. Nothing is cleaned by this handler, and the choice is worth something
    only on cases that were neither trained on nor are those of the final numbers.

    Args:
        output_dir: where to write ``cleaning.json``.
        regions: label values of each region; without them each region is cleaned on its own.
        cleaning: what the evaluation applies already. With anything but ``none`` nothing is chosen, and the
            log says so.
        label_maps: whether prediction and label come as label maps rather than as one binary map per region.
        keys: of prediction and label in the output.

    Attributes:
        choice: after an evaluation the option of each region; None if nothing was chosen.

    Raises:
        DataError: while it runs: there is no case, or a prediction does not fit its label.
        ValueError: label maps come without regions.
    """

    def __init__(
        self,
        output_dir: str | Path,
        regions: Sequence[Sequence[int]] | None = None,
        cleaning: Sequence[str] = (),
        *,
        label_maps: bool = False,
        keys: Sequence[str] = ("pred", "label"),
    ) -> None:
        self.output_dir = Path(output_dir)
        self.regions = regions
        self.applied = [option for option in cleaning if option != "none"]
        self.keys = tuple(keys)
        self.choice: list[str] | None = None
        self._to_regions = LabelToRegionsd(self.keys, regions or []) if label_maps else None
        self._rows: list[Tensor] = []

    def attach(self, engine: Engine) -> None:
        """Try cleanings on the output of an evaluator."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._try)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    def _start(self, _: Engine) -> None:
        self._rows, self.choice = [], None

    def _try(self, engine: Engine) -> None:
        if self.applied:
            return
        output: list[dict[str, Any]] = engine.state.output or []  # type: ignore[assignment]
        for case in output:
            maps: dict[Hashable, Any] = {key: case[key] for key in self.keys}
            if self._to_regions:
                maps = self._to_regions(maps)
            prediction, reference = (maps[key] for key in self.keys)
            trials = _trials(len(prediction))
            measured = [
                _measured(CleanRegions(trial, self.regions)(prediction), reference) for trial in trials
            ]
            self._rows.append(torch.stack(measured))

    def _finish(self, _: Engine) -> None:
        if self.applied:
            _LOG.info("regions are cleaned already (%s): to choose anew leave cleaning out", self.applied)
            return
        if not self._rows:
            raise DataError(
                "there is no case to try a cleaning on: give the evaluator a data set with a case at least."
            )
        # Places of the table are (case, trial, Dice or miss, region).
        rows = torch.stack(self._rows).to(idist.device())
        table: Tensor = evenly_divisible_all_gather(rows, concat=True).cpu()
        content = [_report(table, region) for region in range(table.shape[-1])]
        self.choice = [part["chosen"] for part in content]
        self._write(content, len(table), self.choice)

    @idist.one_rank_only()
    def _write(self, content: list[dict[str, Any]], cases: int, choice: list[str]) -> None:
        override = f"--cleaning '{json.dumps(choice, separators=(',', ':'))}'"
        written = {"cleaning": choice, "override": override, "cases": cases, "regions": content}
        target = self.output_dir / "cleaning.json"
        with atomic_write(target) as draft:
            draft.write_text(json.dumps(written, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        for number, part in enumerate(content, 1):
            _LOG.info("cleaning of region %s: %s", number, "  ".join(map(_said, part["options"].items())))
        if set(choice) == {"none"}:
            _LOG.info("cleaning: none helps on these %s cases; %s", cases, target.absolute())
        else:
            _LOG.info(
                "cleaning: to evaluate and infer with what helps on these %s cases: %s", cases, override
            )


def _trials(count: int) -> list[list[str]]:
    """No cleaning first, then every option of one region after the other."""
    nothing = ["none"] * count
    single = [[*nothing[:i], option, *nothing[i + 1 :]] for i in range(count) for option in _OPTIONS]
    return [nothing, *single]


def _measured(prediction: Tensor, reference: Tensor) -> Tensor:
    """Dice and misses, ``(2, regions)``."""
    counts = voxel_counts(prediction[None], reference[None])
    return torch.cat([overlap(name, counts) for name in ("dice", "missed")]).cpu()


def _report(table: Tensor, region: int) -> dict[str, Any]:
    """The options of a region and the one to take; equals go to the earlier one."""
    first = 1 + region * len(_OPTIONS)
    tried = table[:, [0, *range(first, first + len(_OPTIONS))]]
    dice = tried[:, :, 0].nanmean(dim=0)
    missed = tried[:, :, 1].sum(dim=0)
    change = tried[:, :, 0, region] - tried[:, :1, 0, region]
    best = 0
    for i in range(1, len(CLEANINGS)):
        # A region that is nowhere has no Dice, and nothing of it gets worse.
        lowers = bool((dice[i] < dice[0]).any() or (missed[i] > missed[0]).any())
        if not lowers and dice[i, region] > dice[best, region]:
            best = i
    options = {
        option: {
            "dice": float(dice[i, region]) if dice[i, region].isfinite() else None,
            "missed": int(missed[i, region]),
            "cases_better": int((change[:, i] > 0).sum()),
            "cases_worse": int((change[:, i] < 0).sum()),
        }
        for i, option in enumerate(CLEANINGS)
    }
    return {"chosen": CLEANINGS[best], "options": options}


def _said(part: tuple[str, dict[str, Any]]) -> str:
    option, numbers = part
    dice = "no Dice" if numbers["dice"] is None else f"Dice {numbers['dice']:.4f}"
    return f"{option} {dice} missed {numbers['missed']}"
