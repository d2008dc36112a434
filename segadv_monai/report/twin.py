"""Did the critic help? Runs with it beside the same runs without it, case by case.

The pairs are cases, not seeds: of a case that several seeds measured the mean counts. The interval is the
percentile bootstrap's over cases, the test Wilcoxon's signed ranks, its p values Holm's over all measures and
regions of a comparison.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import bootstrap, wilcoxon

from segadv_monai.metrics import MEASURES, measure_named
from segadv_monai.protocols import DataError

__all__ = ["Comparison", "compare", "draw", "table"]

_Key = tuple[str, str]
_Values = dict[_Key, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One measure of one region, with the critic and without it.

    Args:
        measure: its name.
        region: its number.
        critic: mean over cases with the critic.
        twin: mean over cases without it.
        differences: critic less twin, one per case that has a value in both.
        interval_95: of the mean difference; None for fewer than two cases.
        p: of Wilcoxon's signed rank test, corrected by Holm; 1 where no case differs.
        better: cases in which the critic's run is better.
        worse: cases in which it is worse.
    """

    measure: str
    region: str
    critic: float
    twin: float
    differences: tuple[float, ...]
    interval_95: tuple[float, float] | None
    p: float
    better: int
    worse: int


def compare(
    critic: Sequence[str | Path], twin: Sequence[str | Path], *, resamples: int = 9999, seed: int = 0
) -> list[Comparison]:
    """Compare the evaluations of paired runs.

    Args:
        critic: the ``cases.csv`` of the runs with a critic, one per seed.
        twin: those of the runs without it, in the same order.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        DataError: the files are not as many, are no reports, or are of other cases.
    """
    if len(critic) != len(twin) or not critic:
        raise DataError(f"runs come in pairs, got {len(critic)} with a critic and {len(twin)} without.")
    ours, theirs = _mean_of_runs(critic), _mean_of_runs(twin)
    pairs = [(measure, region) for measure in ours for region in _regions(ours[measure])]
    raw = [
        _compared(measure, region, ours[measure], theirs[measure], resamples=resamples, seed=seed)
        for measure, region in pairs
    ]
    return _corrected(raw)


def table(comparisons: Sequence[Comparison]) -> str:
    """The comparisons in Markdown.

    Args:
        comparisons: of :func:`compare`.
    """
    lines = [
        "| measure | region | critic | twin | difference (95 % interval) | better / worse | p |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for c in comparisons:
        interval = "" if c.interval_95 is None else f" ({c.interval_95[0]:+.4f} to {c.interval_95[1]:+.4f})"
        difference = f"{c.critic - c.twin:+.4f}{interval}"
        counts = f"{c.better} / {c.worse} of {len(c.differences)}"
        cells = (c.measure, c.region, f"{c.critic:.4f}", f"{c.twin:.4f}", difference, counts, f"{c.p:.3g}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(comparisons: Sequence[Comparison]) -> Figure:
    """One panel per comparison: the difference of every case, sorted, with its mean.

    Args:
        comparisons: of :func:`compare`.
    """
    columns = min(4, len(comparisons))
    rows = -(-len(comparisons) // columns)
    figure = Figure(figsize=(3.2 * columns, 2.4 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, c in zip(panels, comparisons, strict=False):
        sign = 1 if measure_named(c.measure).higher_is_better else -1
        ordered = np.sort(c.differences)
        colours = np.where(sign * ordered >= 0, "tab:green", "tab:red")
        panel.bar(range(len(ordered)), ordered, color=list(colours), width=1.0)
        panel.axhline(c.critic - c.twin, color="black", linewidth=1)
        panel.set_title(f"{c.measure}, region {c.region}: critic less twin", fontsize=8)
        panel.set_xticks([])
    for panel in panels[len(comparisons) :]:
        panel.set_axis_off()
    return figure


def _mean_of_runs(files: Sequence[str | Path]) -> dict[str, _Values]:
    """Measures by case and region; nan where no run has a value."""
    runs = [_read(Path(file)) for file in files]
    result: dict[str, _Values] = {}
    for measure, values in runs[0].items():
        columns = [run.get(measure, {}) for run in runs]
        for file, column in zip(files, columns, strict=True):
            if column.keys() != values.keys():
                raise DataError(f"{file} and {files[0]} are of other cases or measures: evaluate them alike.")
        result[measure] = {key: _mean([column[key] for column in columns]) for key in values}
    return result


def _read(file: Path) -> dict[str, _Values]:
    try:
        rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}): evaluate the run first.") from error
    names = [name for name in (rows[0] if rows else {}) if name.replace("_voxels", "_mm") in MEASURES]
    if not names:
        raise DataError(f"{file} holds no measures: it must be the cases.csv of an evaluation.")
    return {name: {(row["case"], row["region"]): float(row[name]) for row in rows} for name in names}


def _mean(values: Sequence[float]) -> float:
    present = [value for value in values if not np.isnan(value)]
    return float(np.mean(present)) if present else float("nan")


def _regions(values: _Values) -> list[str]:
    return list(dict.fromkeys(region for _, region in values))


def _compared(
    measure: str, region: str, ours: _Values, theirs: _Values, *, resamples: int, seed: int
) -> Comparison:
    if ours.keys() != theirs.keys():
        raise DataError("the runs with and without the critic are of other cases: evaluate them alike.")
    keys = [key for key in ours if key[1] == region and not np.isnan(ours[key]) and not np.isnan(theirs[key])]
    a, b = (np.array([values[key] for key in keys]) for values in (ours, theirs))
    differences = a - b
    sign = 1 if measure_named(measure).higher_is_better else -1
    return Comparison(
        measure=measure,
        region=region,
        critic=_mean(a.tolist()),
        twin=_mean(b.tolist()),
        differences=tuple(differences.tolist()),
        interval_95=_interval(differences, resamples, seed),
        p=float(wilcoxon(differences).pvalue) if np.any(differences) else 1.0,
        better=int((sign * differences > 0).sum()),
        worse=int((sign * differences < 0).sum()),
    )


def _interval(differences: NDArray[np.float64], resamples: int, seed: int) -> tuple[float, float] | None:
    if len(differences) < 2 or np.ptp(differences) == 0:
        return None
    rng = np.random.default_rng(seed)
    found = bootstrap((differences,), np.mean, n_resamples=resamples, method="percentile", rng=rng)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Holm's correction: the smallest p times the number of tests, the next times one less, never falling."""
    ordered = sorted(range(len(comparisons)), key=lambda i: comparisons[i].p)
    corrected, highest = dict[int, float](), 0.0
    for rank, i in enumerate(ordered):
        highest = max(highest, min(1.0, comparisons[i].p * (len(comparisons) - rank)))
        corrected[i] = highest
    return [replace(c, p=corrected[i]) for i, c in enumerate(comparisons)]
