"""The cleaning of each region is chosen on cases, said and written, and never applied by the handler."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose, LoadImaged
from torch import Tensor, nn

from segadv_monai.data import datalist
from segadv_monai.handlers import CaseMeasures, CleaningChoice
from segadv_monai.metrics import dice_score
from segadv_monai.protocols import ConfigError, DataError
from segadv_monai.transforms import CLEANINGS, CleanRegions, CleanRegionsd, LabelToRegionsd

SIZE = (12, 11)


def square(first: int = 2, last: int = 8) -> Tensor:
    mask = torch.zeros(1, *SIZE)
    mask[0, first:last, first:last] = 1
    return mask


def with_island(mask: Tensor) -> Tensor:
    mask = mask.clone()
    mask[0, 10:, 9:] = 1
    return mask


def with_hole(mask: Tensor) -> Tensor:
    mask = mask.clone()
    mask[0, 4:6, 4:6] = 0
    return mask


def choose(folder: Path, cases: list[tuple[Tensor, Tensor]], **settings: Any) -> CleaningChoice:
    engine = Engine(lambda _, case: [case])
    handler = CleaningChoice(folder, **settings)
    handler.attach(engine)
    engine.run([{"pred": prediction, "label": label} for prediction, label in cases])
    return handler


def written(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "cleaning.json").read_text())
    return content


@pytest.mark.parametrize(
    ("prediction", "label", "expected"),
    [
        (with_island(square()), square(), "largest"),
        (with_hole(square()), square(), "fill"),
        (with_island(with_hole(square())), square(), "largest_fill"),
        (square(), square(), "none"),
        (with_island(square()), with_island(square()), "none"),
        (with_hole(square()), with_hole(square()), "none"),
        # Both pieces are there and the hole is not.
        (with_island(with_hole(square())), with_island(square()), "fill"),
    ],
)
def test_the_option_that_mends_the_prediction_is_chosen(
    tmp_path: Path, prediction: Tensor, label: Tensor, expected: str
) -> None:
    assert choose(tmp_path, [(prediction, label)] * 2).choice == [expected]


def test_regions_are_chosen_apart_and_the_numbers_are_those_of_the_cases(tmp_path: Path) -> None:
    label = square()
    pairs = [
        (torch.cat([with_island(label), with_hole(label)]), torch.cat([label, label])),
        (torch.cat([label, label]), torch.cat([label, label])),
        (torch.cat([with_island(label), torch.zeros_like(label)]), torch.cat([label, label])),
    ]
    assert choose(tmp_path, pairs).choice == ["largest", "fill"]
    content = written(tmp_path)
    assert (content["cleaning"], content["cases"]) == (["largest", "fill"], 3)
    assert content["override"] == """--cleaning '["largest","fill"]'"""
    for region, part in enumerate(content["regions"]):
        assert part["chosen"] == content["cleaning"][region]
        for option in CLEANINGS:
            maps = [CleanRegions([option] * 2)(prediction) for prediction, _ in pairs]
            dice = [
                float(dice_score(x[None], y[None])[0, region]) for x, (_, y) in zip(maps, pairs, strict=True)
            ]
            assert part["options"][option]["dice"] == pytest.approx(np.mean(dice))
    first, second = (part["options"] for part in content["regions"])
    assert first["largest"] == {"dice": 1.0, "missed": 0, "cases_better": 2, "cases_worse": 0}
    assert second["fill"] == {"dice": pytest.approx(2 / 3), "missed": 1, "cases_better": 1, "cases_worse": 0}


def test_a_better_mean_that_misses_more_is_not_chosen(tmp_path: Path) -> None:
    """In one case the larger piece is the wrong one."""
    wrong = torch.zeros(1, *SIZE)
    wrong[0, 9:, 6:] = 1
    small = square(2, 4)
    cases = [(with_island(square()), square())] * 9 + [(torch.maximum(small, wrong), small)]
    many = choose(tmp_path, cases)
    options = written(tmp_path)["regions"][0]["options"]
    assert options["largest"]["dice"] > options["none"]["dice"]
    assert (options["none"]["missed"], options["largest"]["missed"]) == (0, 1)
    assert (options["largest"]["cases_better"], options["largest"]["cases_worse"]) == (9, 1)
    assert many.choice == ["none"]


def test_an_option_that_harms_another_region_is_not_chosen(tmp_path: Path) -> None:
    """What is nested goes with what holds it: better for the whole, worse for the core."""
    core = with_island(square(4, 6))
    cases = [(torch.cat([with_island(square()), core]), torch.cat([square(), core]))]
    assert choose(tmp_path, cases, regions=[[1, 2], [1]]).choice == ["none", "none"]
    assert written(tmp_path)["regions"][0]["options"]["largest"]["dice"] == 1
    assert choose(tmp_path, cases).choice == ["largest", "none"]


def test_label_maps_give_what_their_regions_give(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    regions = [[1, 2], [2]]
    labels = [[torch.from_numpy(rng.choice([0, 0, 1, 2], (1, 9, 9))) for _ in range(2)] for _ in range(3)]
    to_regions = LabelToRegionsd("x", regions)
    maps = [[to_regions({"x": x})["x"] for x in pair] for pair in labels]
    for name, cases, settings in (("labels", labels, {"label_maps": True}), ("maps", maps, {})):
        choose(tmp_path / name, [(a, b) for a, b in cases], regions=regions, **settings)
    assert written(tmp_path / "labels") == written(tmp_path / "maps")


def test_empty_masks_follow_the_policy_and_a_region_that_is_nowhere_is_left_alone(tmp_path: Path) -> None:
    empty = torch.zeros(1, *SIZE)
    cases = [
        (torch.cat([with_island(square()), empty]), torch.cat([square(), empty])),
        (torch.cat([with_island(square()), empty]), torch.cat([empty, empty])),
    ]
    assert choose(tmp_path, cases).choice == ["largest", "none"]
    first, second = (part["options"] for part in written(tmp_path)["regions"])
    assert first["largest"]["dice"] == 0.5
    assert [second[option]["dice"] for option in CLEANINGS] == [None] * 4


def test_it_says_what_to_type_and_cleans_nothing_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "segadv_monai")
    prediction = with_island(square())
    before = prediction.clone()
    choose(tmp_path, [(prediction, square())])
    assert torch.equal(prediction, before)
    assert "cleaning of region 1: none Dice 0.9" in caplog.text
    assert """with what helps on these 1 cases: --cleaning '["largest"]'""" in caplog.text
    caplog.clear()
    choose(tmp_path, [(square(), square())])
    assert "cleaning: none helps on these 1 cases" in caplog.text
    caplog.clear()
    (tmp_path / "cleaning.json").unlink()
    assert choose(tmp_path, [(square(), square())], cleaning=["none", "fill"]).choice is None
    assert "regions are cleaned already (['fill']): to choose anew leave cleaning out" in caplog.text
    assert not (tmp_path / "cleaning.json").exists()


def test_an_evaluation_names_the_choice_and_another_applies_it(tmp_path: Path) -> None:
    """With MONAI's evaluator, and a network that gives back its input."""
    data = [{"image": with_island(square(2, last)), "label": square(2, last)} for last in (7, 8, 9)]

    def evaluate(cleaning: list[str]) -> dict[str, float]:
        evaluator = SupervisedEvaluator(
            device=torch.device("cpu"),
            val_data_loader=DataLoader(Dataset(data), batch_size=1),
            network=nn.Identity(),
            postprocessing=Compose([CleanRegionsd("pred", cleaning)]),
            val_handlers=[CaseMeasures(["dice"]), CleaningChoice(tmp_path, cleaning=cleaning)],
        )
        evaluator.run()
        return evaluator.state.metrics

    plain = evaluate(["none"])
    said = written(tmp_path)
    cleaned = evaluate(said["cleaning"])
    assert said["cleaning"] == ["largest"]
    assert plain["dice"] == pytest.approx(said["regions"][0]["options"]["none"]["dice"])
    assert cleaned["dice"] == pytest.approx(said["regions"][0]["options"]["largest"]["dice"]) == 1
    assert written(tmp_path) == said


def test_real_labels_with_islands_and_holes_get_their_own_cleaning(tmp_path: Path, shared_data: Path) -> None:
    """Islands in the air for the first structure, a hole in the middle of the second."""
    regions = [[1], [2]]
    load = Compose(
        [
            LoadImaged("label", reader="NibabelReader", ensure_channel_first=True),
            LabelToRegionsd("label", regions),
        ]
    )
    cases = []
    for case in datalist(shared_data / "hippocampus", "validation")[:6]:
        label: MetaTensor = load({"label": case["label"]})["label"]
        prediction = label.clone()
        prediction[0, :3, :2, :2] = 1
        inner = torch.nn.functional.avg_pool3d(label[1:].as_tensor(), 3, 1, 1)[0] > 0.99
        middle = tuple(inner.nonzero()[len(inner.nonzero()) // 2].tolist())
        prediction[1, *middle] = 0
        cases.append((prediction, label))
    assert choose(tmp_path, cases, regions=regions).choice == ["largest", "fill"]
    first, second = (part["options"] for part in written(tmp_path)["regions"])
    assert first["largest"]["dice"] > first["none"]["dice"]
    assert second["fill"]["dice"] == 1 > second["none"]["dice"]


def test_what_cannot_be_tried_is_one_line(tmp_path: Path) -> None:
    engine = Engine(lambda *_: [])
    CleaningChoice(tmp_path).attach(engine)
    with pytest.raises(DataError, match="no case to try a cleaning on"):
        engine.run([0])
    with pytest.raises(ValueError, match="every region needs a label value"):
        CleaningChoice(tmp_path, label_maps=True)
    with pytest.raises(ConfigError, match="1 regions need as many choices"):
        choose(tmp_path, [(torch.ones(2, 3, 3), torch.ones(2, 3, 3))], regions=[[1]])
    with pytest.raises(DataError, match="must have one shape"):
        choose(tmp_path, [(torch.ones(1, 3, 3), torch.ones(1, 3, 4))])
