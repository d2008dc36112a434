"""The numbers of an evaluation, case by case."""

import csv
import json
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor

from segadv_monai.handlers import CaseReport


def report(directory: Path, details: dict[str, list[list[float]]]) -> tuple[list[dict[str, str]], dict]:
    n = len(next(iter(details.values())))
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
    values = [[0.0], [0.5], [1.0], [0.9]]
    _, summary = report(tmp_path, {"jaccard": values, "missed": [[1.0], [0.0], [0.0], [0.0]]})
    region = summary["region 1"]
    assert region["jaccard"]["mean"] == pytest.approx(0.6)
    low, high = region["jaccard"]["interval_95"]
    assert 0 <= low < 0.6 < high <= 1
    assert region["missed"] == {"count": 1, "of": 4}


def test_a_case_without_value_is_left_out_of_the_mean_and_not_of_the_count(tmp_path: Path) -> None:
    nan = float("nan")
    _, summary = report(tmp_path, {"dice": [[nan], [0.5]], "both_empty": [[1.0], [0.0]]})
    assert summary["region 1"]["dice"] == {
        "mean": 0.5,
        "interval_95": [None, None],
        "median": 0.5,
        "cases": 1,
    }
    assert summary["region 1"]["both_empty"]["count"] == 1
    assert summary["cases"] == 2


def test_the_numbers_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "segadv_monai"):
        report(tmp_path, {"dice": [[0.5], [0.5]], "missed": [[1.0], [0.0]]})
    assert caplog.messages[0] == "region 1: dice 0.5000 (0.5000 to 0.5000)  missed 1 of 2"
    assert str(tmp_path / "cases.csv") in caplog.messages[1]


def test_a_summary_of_nothing_has_no_mean(tmp_path: Path) -> None:
    _, summary = report(tmp_path, {"dice": [[float("nan")]]})
    assert summary["region 1"]["dice"] == {"mean": None, "cases": 0}
