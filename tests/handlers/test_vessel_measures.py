import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from torch import Tensor

from segadv_monai.handlers import VesselMeasures
from segadv_monai.metrics import average_precision, rank, roc_auc
from segadv_monai.protocols import DataError

Case = dict[str, Tensor]


def cases(number: int = 2, *, field: bool = True) -> list[Case]:
    generator = torch.Generator().manual_seed(3)
    result = []
    for _ in range(number):
        label = (torch.rand(1, 12, 12, generator=generator) > 0.7).float()
        noise = torch.rand(1, 12, 12, generator=generator)
        case = {"probabilities": 0.4 * label + 0.6 * noise, "label": label}
        if field:
            case["field"] = torch.zeros(1, 12, 12)
            case["field"][:, 2:10, 3:9] = 1
        result.append(case)
    return result


def measure(measures: VesselMeasures, batches: list[list[Case]]) -> Any:
    engine = Engine(lambda _, batch: batch)
    measures.attach(engine)
    engine.run(batches)
    return engine.state


def test_pixels_outside_the_field_of_view_change_no_number(tmp_path: Path) -> None:
    """Keeps N11."""
    plain, spoilt = cases(), cases()
    for case in spoilt:
        outside = case["field"] == 0
        case["probabilities"][outside] = 1.0
        case["label"][outside] = 1 - case["label"][outside]
    first, second = (
        measure(VesselMeasures(tmp_path / name), [data]) for name, data in (("a", plain), ("b", spoilt))
    )
    assert first.metrics == second.metrics
    assert (tmp_path / "a/vessels.json").read_text() == (tmp_path / "b/vessels.json").read_text()
    for name, table in first.metric_details.items():
        assert torch.equal(table, second.metric_details[name])


def test_numbers_of_cases_and_of_all_pixels_are_those_of_the_metrics(tmp_path: Path) -> None:
    data = cases(3)
    state = measure(VesselMeasures(tmp_path), [data[:2], data[2:]])
    pixels = [[case[key][case["field"] > 0] for key in ("probabilities", "label")] for case in data]
    expected = [roc_auc(rank(*pair)) for pair in pixels]
    assert state.metric_details["roc_auc"][:, 0].tolist() == expected
    together = rank(*(torch.cat(part) for part in zip(*pixels, strict=True)))
    told = json.loads((tmp_path / "vessels.json").read_text())
    assert (told["cases"], told["pixels"]) == (3, 3 * 48)
    assert told["roc_auc"] == roc_auc(together) == state.metrics["all/roc_auc"]
    assert told["average_precision"] == average_precision(together)
    assert told["dice_otsu"] <= told["dice_best"]


def test_a_case_without_field_is_measured_everywhere() -> None:
    state = measure(VesselMeasures(), [cases(1, field=False)])
    assert state.metrics["all/pixels"] == 144


def test_cases_that_cannot_be_measured_get_one_line() -> None:
    blank, small = cases(1), cases(1)
    blank[0]["label"].zero_()
    small[0]["field"] = torch.ones(1, 3, 3)
    with pytest.raises(DataError, match="inside and outside"):
        measure(VesselMeasures(), [blank])
    with pytest.raises(DataError, match="single maps of one shape"):
        measure(VesselMeasures(), [small])
