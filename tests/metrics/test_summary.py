"""From cases to means, medians, intervals and counts."""

import json
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from segadv_monai.metrics import overall, penalised, summarise, summarise_cases
from segadv_monai.protocols import DataError

NAN = math.nan


def tables(**columns: list[list[float]]) -> dict[str, NDArray[np.float64]]:
    given = {name: np.array(table, float) for name, table in columns.items()}
    nothing = np.zeros_like(next(iter(given.values())))
    return {"missed": nothing, "both_empty": nothing, **given}


def test_mean_median_and_interval_by_hand() -> None:
    result = summarise(np.array([0.0, 0.5, 1.0, 0.9]))
    assert result["mean"] == pytest.approx(0.6)
    assert result["median"] == pytest.approx(0.7)
    assert result["cases"] == 4
    low, high = result["interval_95"]
    assert 0 <= low < 0.6 < high <= 1


def test_the_interval_is_the_percentile_bootstrap() -> None:
    values = np.random.default_rng(0).normal(size=40)
    means = np.random.default_rng(1).choice(values, (20000, 40)).mean(axis=1)
    expected = np.percentile(means, (2.5, 97.5))
    assert summarise(values)["interval_95"] == pytest.approx(expected, abs=0.02)
    assert summarise(values, seed=3) == summarise(values, seed=3)


def test_one_case_has_no_interval_and_none_has_no_number() -> None:
    assert summarise(np.array([0.5])) == {"mean": 0.5, "interval_95": None, "median": 0.5, "cases": 1}
    assert summarise(np.array([NAN])) == {"mean": None, "interval_95": None, "median": None, "cases": 0}


def test_every_region_counts_its_missed_and_empty_cases() -> None:
    """Keeps N6."""
    summary = summarise_cases(
        tables(
            dice=[[0, NAN], [1, 0.5], [NAN, NAN]],
            missed=[[1, 0], [0, 0], [0, 0]],
            both_empty=[[0, 1], [0, 0], [1, 1]],
        )
    )
    assert summary["cases"] == 3
    counts = [(part["n_missed"], part["n_both_empty"]) for title, part in summary.items() if title != "cases"]
    assert counts == [(1, 1), (0, 2), (1, 3)]
    assert summary["region 1"]["dice"]["cases"] == 2
    assert summary["region 2"]["dice"]["mean"] == 0.5
    json.dumps(summary, allow_nan=False)


def test_the_mean_over_regions_is_taken_within_each_case_first() -> None:
    summary = summarise_cases(
        tables(dice=[[0.2, NAN], [1, 0.5], [NAN, NAN]], both_empty=[[0, 1], [0, 0], [1, 1]])
    )
    part = summary["mean over regions"]["dice"]
    assert part["mean"] == pytest.approx((0.2 + 0.75) / 2)
    assert part["cases"] == 2


def test_a_failure_counts_for_no_less_than_the_worst_case() -> None:
    """Keeps N2."""
    values = np.array([[30.0], [2.0], [5.0]])
    failed = np.array([[False], [True], [False]])
    assert penalised("hd95_mm", values, failed).ravel().tolist() == [30, 30, 5]
    assert penalised("hd95_voxels", values, failed).ravel().tolist() == [30, 30, 5]
    assert penalised("hd95_mm", values, ~failed & failed).ravel().tolist() == [30, 2, 5]


def test_one_number_for_all() -> None:
    given = tables(dice=[[0, NAN], [1, 0.5]], missed=[[1, 0], [0, 0]], both_empty=[[0, 1], [0, 0]])
    assert overall("dice", given) == 0.5
    assert overall("missed", given) == 1
    assert math.isnan(overall("dice", tables(dice=[[NAN]], both_empty=[[1]])))


@pytest.mark.parametrize("bad", [NAN, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_never_silent(bad: float) -> None:
    """Keeps N6."""
    with pytest.raises(DataError, match="dice of case 2, region 1 is "):
        summarise_cases(tables(dice=[[0.5], [bad]]))
    with pytest.raises(DataError, match="missed of case 1, region 1 is nan"):
        summarise_cases(tables(missed=[[NAN]], both_empty=[[1]]))
    if not math.isnan(bad):
        with pytest.raises(DataError, match="only of two empty masks"):
            summarise_cases(tables(dice=[[bad]], both_empty=[[1]]))


def test_a_summary_without_counts_is_refused() -> None:
    """Keeps N6."""
    with pytest.raises(DataError, match="has to count missed and both_empty, got dice: attach"):
        summarise_cases({"dice": np.array([[0.5]])})
    with pytest.raises(DataError, match="a mean of hd95_mm needs to know which masks were empty"):
        summarise_cases(tables(hd95_mm=[[0.5]]))


def test_tables_of_different_shapes_are_refused() -> None:
    with pytest.raises(DataError, match="dice has the shape"):
        summarise_cases({**tables(missed=[[0.0]]), "dice": np.array([0.5])})
