"""The numbers of an evaluation, case by case."""

import csv
import json
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor

from segadv_monai.handlers import CaseReport
from segadv_monai.protocols import DataError

NAN = float("nan")


def report(
    directory: Path, details: dict[str, list[list[float]]], *, counted: bool = True
) -> tuple[list[dict[str, str]], dict]:
    n = len(next(iter(details.values())))
    nothing = [[0.0] * len(row) for row in next(iter(details.values()))]
    details = {"missed": nothing, "both_empty": nothing, **details} if counted else details
    batches = [{"image": MetaTensor(torch.zeros(1), meta={"filename_or_obj": f"{i}.png"})} for i in range(n)]

    def step(_: Engine, case: dict[str, MetaTensor]) -> list[dict[str, MetaTensor]]:
        return [case]

    engine = Engine(step)
    engine.state.metric_details = {}

    @engine.on(Events.EPOCH_COMPLETED)
    def _(e: Engine) -> None:
        e.state.metric_details = {name: torch.tensor(table) for name, table in details.items()}

    CaseReport(directory, resamples=999).attach(engine)
    engine.run(batches)
    table = list(csv.DictReader((directory / "cases.csv").read_text().splitlines()))
    return table, json.loads((directory / "summary.json").read_text())


def test_every_case_and_region_has_a_row(tmp_path: Path) -> None:
    rows, _ = report(tmp_path, {"dice": [[0.5, 0.25], [1.0, 0.75]]})
    assert [(row["case"], row["region"], row["dice"]) for row in rows] == [
        ("0.png", "1", "0.5"),
        ("0.png", "2", "0.25"),
        ("1.png", "1", "1"),
        ("1.png", "2", "0.75"),
    ]


def test_the_summary_has_mean_and_interval_and_counts_misses(tmp_path: Path) -> None:
    """Keeps N6."""
    values = [[0.0], [0.5], [1.0], [0.9]]
    _, summary = report(tmp_path, {"jaccard": values, "missed": [[1.0], [0.0], [0.0], [0.0]]})
    region = summary["region 1"]
    assert region["jaccard"]["mean"] == pytest.approx(0.6)
    low, high = region["jaccard"]["interval_95"]
    assert 0 <= low < 0.6 < high <= 1
    assert region["n_missed"] == 1
    assert summary["mean over regions"]["jaccard"] == region["jaccard"]


def test_a_case_without_value_is_left_out_of_the_mean_and_not_of_the_count(tmp_path: Path) -> None:
    """Keeps N6."""
    rows, summary = report(tmp_path, {"dice": [[NAN], [0.5]], "both_empty": [[1.0], [0.0]]})
    assert summary["region 1"]["dice"] == {"mean": 0.5, "interval_95": None, "median": 0.5, "cases": 1}
    assert summary["region 1"]["n_both_empty"] == 1
    assert summary["cases"] == 2
    assert [row["dice"] for row in rows] == ["nan", "0.5"]


def test_the_numbers_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "segadv_monai"):
        report(tmp_path, {"dice": [[0.5], [0.5]], "missed": [[1.0], [0.0]]})
    assert caplog.messages[0] == "region 1: n_missed 1  n_both_empty 0  dice 0.5000 (0.5000 to 0.5000)"
    assert str(tmp_path / "cases.csv") in caplog.messages[-1]


def test_a_summary_of_nothing_has_no_mean(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "segadv_monai"):
        _, summary = report(tmp_path, {"dice": [[NAN]], "both_empty": [[1.0]]})
    assert summary["region 1"]["dice"]["mean"] is None
    assert "dice of no case" in caplog.text


def test_a_metric_without_a_policy_stays_out_of_the_summary_and_that_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Keeps N6."""
    with caplog.at_level("INFO", "segadv_monai"):
        rows, summary = report(tmp_path, {"hausdorff": [[NAN], [1.0]]})
    assert [row["hausdorff"] for row in rows] == ["nan", "1"]
    assert "hausdorff" not in summary["region 1"]
    assert "in cases.csv alone: hausdorff" in caplog.text


def test_numbers_without_counts_are_written_and_then_refused(tmp_path: Path) -> None:
    """Keeps N6."""
    with pytest.raises(DataError, match=r"attach segadv_monai\.handlers\.CaseMeasures"):
        report(tmp_path, {"dice": [[0.5]]}, counted=False)
    assert "0.5" in (tmp_path / "cases.csv").read_text()
    assert not (tmp_path / "summary.json").exists()
