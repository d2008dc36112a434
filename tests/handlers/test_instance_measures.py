import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from torch import Tensor

from segadv_monai.handlers import CaseMeasures, CaseReport, CellMeasures, MembraneMeasures
from segadv_monai.metrics import instance_scores, membrane_scores, pixel_error, warping_error
from segadv_monai.protocols import ConfigError, DataError

Case = dict[str, Any]


def sections(number: int) -> list[Case]:
    """Two cells and a membrane; the prediction is sure of it at a low threshold alone."""
    result = []
    for i in range(number):
        cells = torch.ones(1, 16, 20)
        cells[..., 8 + i] = 0
        said = 0.9 * cells
        said[..., 5, 8 + i] = 0.55
        label = MetaTensor(torch.cat([1 - cells, cells]), meta={"filename_or_obj": f"{i}.png"})
        result.append({"probabilities": torch.cat([1 - said, said]), "label": label})
    return result


def instances(number: int) -> list[Case]:
    result = []
    for i in range(number):
        reference = torch.zeros(1, 12, 12, dtype=torch.int32)
        reference[:, 1:5, 1:5] = 3
        if i:
            reference[:, 6:11, 6:11] = 8
        cells = reference.roll(1, 1).clone()
        cells[:, 0, 11] = 99
        result.append({"cells": cells, "reference": reference})
    return result


def measure(measures: Any, batches: list[list[Case]]) -> Any:
    engine = Engine(lambda _, batch: batch)
    measures.attach(engine)
    engine.run(batches)
    return engine.state


def test_membranes_are_measured_by_the_metrics_at_one_threshold(tmp_path: Path) -> None:
    data = sections(3)
    state = measure(MembraneMeasures(tmp_path), [data[:2], data[2:]])
    expected = []
    for case in data:
        pair = (case["probabilities"][1] > 0.5, case["label"][1].as_tensor() > 0)
        scores = membrane_scores(*pair)
        row = [scores.rand, scores.rand_split, scores.rand_merge, scores.info]
        expected.append([*row, pixel_error(*pair), warping_error(*pair)])
    names = ("v_rand", "v_rand_split", "v_rand_merge", "v_info", "pixel_error", "warping_error")
    for name, column in zip(names, np.array(expected).T, strict=True):
        assert state.metric_details[name][:, 0].tolist() == pytest.approx(column)
        assert state.metrics[name] == pytest.approx(column.mean())
    told = json.loads((tmp_path / "membranes.json").read_text())
    assert (told["cases"], told["threshold"]) == (3, 0.5)
    assert told["v_rand"] == state.metrics["v_rand"] < 1
    assert [case["case"] for case in told["by_case"]] == ["0.png", "1.png", "2.png"]
    assert told["by_case"][2]["v_rand"] == pytest.approx(expected[2][0])


def test_the_best_threshold_is_told_apart_from_the_chosen_one(tmp_path: Path) -> None:
    metrics = measure(MembraneMeasures(tmp_path), [sections(2)]).metrics
    assert metrics["v_rand"] < 0.7
    assert metrics["v_rand_best"] == pytest.approx(1)
    assert metrics["v_rand_best_threshold"] == 0.6
    assert measure(MembraneMeasures(threshold=0.6), [sections(2)]).metrics["v_rand"] == pytest.approx(1)
    assert "v_rand_best" not in measure(MembraneMeasures(thresholds=()), [sections(1)]).metrics


def test_cells_are_measured_over_the_objects_of_all_cases(tmp_path: Path) -> None:
    data = instances(2)
    state = measure(CellMeasures(tmp_path), [[case] for case in data])
    jaccards = [instance_scores(case["cells"], case["reference"]).jaccard for case in data]
    assert state.metrics["seg"] == pytest.approx(np.concatenate(jaccards).mean())
    assert state.metrics["seg_of_cases"] == pytest.approx(np.mean([x.mean() for x in jaccards]))
    assert state.metrics["objects"] == 3
    assert (state.metrics["missed_objects"], state.metrics["extra_objects"]) == (0, 2)
    assert state.metric_details["seg"][:, 0].tolist() == pytest.approx([x.mean() for x in jaccards])
    assert json.loads((tmp_path / "cells.json").read_text())["seg"] == state.metrics["seg"]


def test_a_case_without_objects_has_no_score_and_its_extra_objects_count(tmp_path: Path) -> None:
    data = instances(2)
    data[0]["reference"] = torch.zeros_like(data[0]["reference"])
    metrics = measure(CellMeasures(tmp_path), [data]).metrics
    alone = measure(CellMeasures(), [data[1:]]).metrics
    assert metrics["seg"] == alone["seg"] == metrics["seg_of_cases"]
    assert metrics["extra_objects"] == alone["extra_objects"] + 2
    assert json.loads((tmp_path / "cells.json").read_text())["by_case"][0]["seg"] is None


def test_beside_measures_of_several_regions_a_report_has_them_in_their_own(tmp_path: Path) -> None:
    engine = Engine(lambda _, batch: batch)
    for handler in (CaseMeasures(["dice"]), MembraneMeasures(), CaseReport(tmp_path, resamples=9)):
        handler.attach(engine)
    data = sections(2)
    for case in data:
        case["pred"] = (case["probabilities"] > 0.5).float()
        case["image"] = case["label"]
    engine.run([data])
    rows = list(csv.DictReader((tmp_path / "cases.csv").read_text().splitlines()))
    assert [row["region"] for row in rows] == ["1", "2", "1", "2"]
    assert [row["v_rand"] == "nan" for row in rows] == [True, False, True, False]


def test_a_second_evaluation_starts_anew() -> None:
    measures = CellMeasures()
    engine = Engine(lambda _, batch: batch)
    measures.attach(engine)
    for _ in range(2):
        engine.run([instances(2)])
        assert engine.state.metrics["cases"] == 2


def test_what_cannot_be_measured_is_one_line() -> None:
    blank, wrong = sections(1), instances(1)
    blank[0]["label"] = MetaTensor(torch.zeros(2, 16, 20), meta={"filename_or_obj": "a.png"})
    wrong[0]["cells"] = wrong[0]["cells"] + 0.5
    with pytest.raises(DataError, match=r"a\.png: the reference has no object"):
        measure(MembraneMeasures(), [blank])
    with pytest.raises(DataError, match="a case: the prediction must number"):
        measure(CellMeasures(), [wrong])
    with pytest.raises(DataError, match="the output has no cells, only label, reference"):
        measure(CellMeasures(), [[{"label": Tensor(), "reference": Tensor()}]])
    with pytest.raises(DataError, match="none of 1 references has an object"):
        measure(CellMeasures(), [[{name: torch.zeros(1, 3, 3) for name in ("cells", "reference")}]])
    with pytest.raises(DataError, match="there is no case to measure"):
        measure(MembraneMeasures(), [[]])
    with pytest.raises(ConfigError, match="thresholds lie between 0 and 1"):
        MembraneMeasures(threshold=1.0)
