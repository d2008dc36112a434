"""Did the critic help: paired differences, intervals, ranks and their correction."""

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import wilcoxon

from segadv_monai.protocols import DataError
from segadv_monai.report import compare, draw, table


def written(file: Path, **measures: list[float]) -> Path:
    with file.open("w", newline="") as opened:
        rows = csv.writer(opened)
        rows.writerow(["case", "region", "missed", *measures])
        for i, values in enumerate(zip(*measures.values(), strict=True)):
            rows.writerow([f"case_{i}.png", 1, 0, *values])
    return file


@pytest.fixture
def twelve() -> np.ndarray:
    return np.random.default_rng(0).normal(0.05, 0.03, 12)


def test_differences_are_taken_case_by_case(tmp_path: Path, twelve: np.ndarray) -> None:
    base = np.linspace(0.5, 0.8, 12)
    ours = written(tmp_path / "a.csv", dice=list(base + twelve), hd95_voxels=[4.0] * 12)
    theirs = written(tmp_path / "b.csv", dice=list(base), hd95_voxels=[4.0] * 11 + [6.0])
    dice, distance = compare([ours], [theirs])
    np.testing.assert_allclose(dice.differences, twelve)
    assert dice.critic - dice.twin == pytest.approx(twelve.mean())
    assert dice.interval_95 is not None
    assert dice.interval_95[0] < twelve.mean() < dice.interval_95[1]
    assert (dice.better, dice.worse) == ((twelve > 0).sum(), (twelve < 0).sum())
    # A smaller distance is a better one, and a case without a difference is neither.
    assert (distance.better, distance.worse) == (1, 0)
    # Two tests: the smaller p counts twice.
    assert dice.p == pytest.approx(2 * wilcoxon(twelve).pvalue)
    assert distance.p >= dice.p


def test_pieces_and_holes_nearer_to_the_reference_s_number_are_better(tmp_path: Path) -> None:
    ours = written(tmp_path / "a.csv", components_error=[0.0, 2.0, 1.0], holes_error=[1.0, 0.0, 0.0])
    theirs = written(tmp_path / "b.csv", components_error=[3.0, 2.0, 0.0], holes_error=[100.0, 0.0, 0.0])
    pieces, holes = compare([ours], [theirs])
    assert (pieces.measure, pieces.better, pieces.worse) == ("components_error", 1, 1)
    assert (holes.measure, holes.better, holes.worse) == ("holes_error", 1, 0)


def test_seeds_are_averaged_within_a_case_and_empty_cases_are_left_out(tmp_path: Path) -> None:
    nan = float("nan")
    ours = [written(tmp_path / f"a{i}.csv", dice=[0.8 + i / 10, nan, 0.6]) for i in (0, 1)]
    theirs = [written(tmp_path / f"b{i}.csv", dice=[0.7, nan, 0.6]) for i in (0, 1)]
    (dice,) = compare(ours, theirs)
    assert dice.differences == pytest.approx((0.15, 0.0))
    assert dice.p <= 1


def test_runs_that_are_alike_show_no_difference(tmp_path: Path) -> None:
    file = written(tmp_path / "a.csv", dice=[0.5, 0.6])
    (dice,) = compare([file], [file])
    assert (dice.p, dice.interval_95, dice.better, dice.worse) == (1.0, None, 0, 0)


def test_the_correction_never_falls(tmp_path: Path, twelve: np.ndarray) -> None:
    base = np.full(12, 0.5)
    measures = {"dice": twelve, "jaccard": twelve / 2, "nsd": twelve * 0 + [0.01, -0.01] * 6}
    ours = written(tmp_path / "a.csv", **{name: list(base + change) for name, change in measures.items()})
    theirs = written(tmp_path / "b.csv", **{name: list(base) for name in measures})
    found = compare([ours], [theirs])
    raw = sorted(wilcoxon(change).pvalue for change in measures.values())
    assert sorted(c.p for c in found) == pytest.approx(
        [min(1, 3 * raw[0]), max(3 * raw[0], 2 * raw[1]), max(2 * raw[1], raw[2])]
    )


def test_the_table_and_the_figure_show_every_comparison(tmp_path: Path, twelve: np.ndarray) -> None:
    ours = written(tmp_path / "a.csv", dice=list(0.5 + twelve), hd95_mm=[1.0] * 12)
    theirs = written(tmp_path / "b.csv", dice=[0.5] * 12, hd95_mm=[2.0] * 12)
    found = compare([ours], [theirs])
    lines = table(found).splitlines()
    assert lines[2].startswith("| dice | 1 | 0.5")
    assert "-1.0000" in lines[3]
    titles = [axes.get_title() for axes in draw(found).axes]
    assert titles == ["dice, region 1: critic less twin", "hd95_mm, region 1: critic less twin"]


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    three = written(tmp_path / "three.csv", dice=[0.1, 0.2, 0.3])
    two = written(tmp_path / "two.csv", dice=[0.1, 0.2])
    empty = written(tmp_path / "empty.csv", other=[0.1])
    with pytest.raises(DataError, match="of other cases"):
        compare([three], [two])
    with pytest.raises(DataError, match="in pairs, got 2 with a critic and 1 without"):
        compare([three, three], [three])
    with pytest.raises(DataError, match="of other cases or measures"):
        compare([three, two], [three, three])
    with pytest.raises(DataError, match="holds no measures"):
        compare([empty], [empty])
    with pytest.raises(DataError, match=r"absent\.csv cannot be read"):
        compare([tmp_path / "absent.csv"], [three])
