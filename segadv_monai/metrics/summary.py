"""From the numbers of single cases to the numbers of an evaluation.

A table holds one measure: a row per case, a column per region. A case whose masks are both empty has no value
(``nan``), stays out of means and medians and is counted. Any other value that is not finite is an error.

The mean over regions is taken within each case first, over the regions that have a value, so that its
interval is one over cases, which are what was drawn at random.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

from segadv_monai.protocols import DataError

from .policy import COUNTS, measure_named

__all__ = ["overall", "penalised", "summarise", "summarise_cases"]

_Table = NDArray[np.float64]
_NEEDED = ("missed", "both_empty")


def summarise_cases(
    tables: Mapping[str, NDArray[Any]], *, resamples: int = 9999, seed: int = 0
) -> dict[str, Any]:
    """Summary of every region and of the mean over regions.

    Args:
        tables: ``(N, K)`` by the names of measures and counts; ``missed`` and ``both_empty`` have to be among
            them, ``empty_prediction`` and ``empty_reference`` if there is a distance.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        ``cases``; then ``region 1`` and so on and ``mean over regions``, each with ``n_missed``,
        ``n_both_empty`` and the other counts there are, and for every measure what :func:`summarise` gives.

    Raises:
        DataError: a table is missing or of another shape; a value is not finite.
        ConfigError: a name is neither a measure nor a count of the policy.
    """
    checked = {name: np.asarray(table, float) for name, table in tables.items()}
    _check(checked)
    counts = {name: table for name, table in checked.items() if name in COUNTS}
    measures = {name: _counting(name, checked) for name in checked if name not in COUNTS}
    cases, regions = counts["missed"].shape
    result: dict[str, Any] = {"cases": cases}
    for k in range(regions):
        result[f"region {k + 1}"] = {
            **{f"n_{name}": int(table[:, k].sum()) for name, table in counts.items()},
            **{
                name: summarise(table[:, k], resamples=resamples, seed=seed)
                for name, table in measures.items()
            },
        }
    result["mean over regions"] = {
        **{f"n_{name}": int(table.sum()) for name, table in counts.items()},
        **{
            name: summarise(_mean_of_rows(table), resamples=resamples, seed=seed)
            for name, table in measures.items()
        },
    }
    return result


def summarise(values: NDArray[Any], *, resamples: int = 9999, seed: int = 0) -> dict[str, Any]:
    """Mean with its 95 % percentile bootstrap interval, median, and the number of cases behind them.

    Args:
        values: one per case; ``nan`` for a case without value.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        ``mean``, ``interval_95``, ``median``, ``cases``; the first three None where there is nothing to take
        them from, the interval also for a single case.
    """
    present = np.asarray(values, float)
    present = present[~np.isnan(present)]
    if not len(present):
        return {"mean": None, "interval_95": None, "median": None, "cases": 0}
    return {
        "mean": float(present.mean()),
        "interval_95": _interval(present, resamples, seed) if len(present) > 1 else None,
        "median": float(np.median(present)),
        "cases": len(present),
    }


def penalised(name: str, values: _Table, failed: NDArray[np.bool_]) -> _Table:
    """The table with which means are taken: no case with one empty mask counts for less than the worst case.

    Args:
        name: the measure.
        values: ``(N, K)``.
        failed: where exactly one of the masks is empty.

    Raises:
        ConfigError: there is no such measure.
    """
    result = values.copy()
    if failed.any():
        worst = np.nanmin(values) if measure_named(name).higher_is_better else np.nanmax(values)
        result[failed] = worst
    return result


def overall(name: str, tables: Mapping[str, NDArray[Any]]) -> float:
    """One number for a table: the sum of a count, the mean of a measure over all cases and regions.

    Args:
        name: of the table.
        tables: as for :func:`summarise_cases`.

    Returns:
        ``nan`` for the mean over no value.
    """
    checked = {key: np.asarray(table, float) for key, table in tables.items()}
    if name in COUNTS:
        return float(checked[name].sum())
    values = _counting(name, checked)
    present = values[~np.isnan(values)]
    return float(present.mean()) if len(present) else float("nan")


def _check(tables: Mapping[str, _Table]) -> None:
    missing = [name for name in _NEEDED if name not in tables]
    if missing:
        raise DataError(
            f"a summary has to count {' and '.join(missing)}, got {', '.join(tables) or 'nothing'}: "
            "attach segadv_monai.handlers.CaseMeasures to the evaluator."
        )
    shape = tables["missed"].shape
    for name, table in tables.items():
        if table.shape != shape or table.ndim != 2:
            raise DataError(
                f"{name} has the shape {table.shape}, other measures {shape}: give (cases, regions)."
            )
        allowed = np.isfinite(table) | (np.isnan(table) & (tables["both_empty"] == 1) & (name not in COUNTS))
        if not allowed.all():
            i, k = (int(place[0]) for place in np.nonzero(~allowed))
            raise DataError(
                f"{name} of case {i + 1}, region {k + 1} is {table[i, k]}, and only of two empty masks "
                "it may be nan: look at this case."
            )


def _counting(name: str, tables: Mapping[str, _Table]) -> _Table:
    """A measure's table as it enters means: see :func:`penalised`."""
    values = tables[name]
    if measure_named(name).worst is not None:
        return values
    failed = [tables[count] == 1 for count in ("empty_prediction", "empty_reference") if count in tables]
    if len(failed) != 2:
        raise DataError(
            f"a mean of {name} needs to know which masks were empty: "
            "attach segadv_monai.handlers.CaseMeasures to the evaluator."
        )
    return penalised(name, values, failed[0] | failed[1])


def _mean_of_rows(table: _Table) -> _Table:
    present = ~np.isnan(table)
    sums, numbers = np.where(present, table, 0).sum(axis=1), present.sum(axis=1)
    result = np.full(len(table), np.nan)
    result[numbers > 0] = sums[numbers > 0] / numbers[numbers > 0]
    return result


def _interval(values: _Table, resamples: int, seed: int) -> list[float]:
    result = bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return [float(bound) for bound in result.confidence_interval]
