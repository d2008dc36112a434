"""The retina GAN's bundle: layout, two turns, twin, evaluation with probabilities, inference, real data."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_runs import Bundle, small_set
from PIL import Image
from safetensors.torch import load_file

from segadv_monai.data import sample_data

FEATURES = [2, 2, 2, 4, 4, 2]
SMALL = {
    "rounds": 1,
    "val_interval": 2,
    "batch_size": 2,
    "crops_per_image": 2,
    "crop_size": [64, 64],
    "network_def::features": FEATURES,
    "critic_def::width": 2,
    "device": "cpu",
}


BUNDLE = Bundle("retina_gan", SMALL)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_set(tmp_path_factory.mktemp("set") / "pictures", Path(sample_data("vessels")), validation=2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    output = tmp_path_factory.mktemp("trained")
    BUNDLE.run(**SMALL, output_dir=str(output), dataset_dir=str(pictures))
    return output


def evaluate(model: Path, output: Path, dataset: Path) -> dict[str, float]:
    small = {"network_def::features": FEATURES, "device": "cpu"}
    paths = {"ckpt_dir": str(model), "output_dir": str(output), "dataset_dir": str(dataset)}
    BUNDLE.run("evaluate.json", **small, **paths)
    told: dict[str, float] = json.loads((output / "vessels.json").read_text())
    return told


def test_a_round_is_an_epoch_of_the_critic_and_one_of_the_segmentor(trained: Path) -> None:
    rows = list(csv.DictReader((trained / "history.csv").read_text().splitlines()))
    moved = [{name.split("/")[0] for name, value in row.items() if "/" in name and value} for row in rows]
    assert ["critic" in names for names in moved] == [True, False]
    assert ["segmentor" in names for names in moved] == [False, True]
    assert (trained / "model.pt").is_file()


def test_the_twin_takes_as_many_steps_of_the_segmentor_and_starts_from_the_same_weights(
    tmp_path: Path, pictures: Path
) -> None:
    settings = {**SMALL, "rounds": 3, "output_dir": str(tmp_path), "dataset_dir": str(pictures)}
    steps, weights = [], []
    for overlays in ([], ["baseline.json"]):
        started = BUNDLE.workflow(*overlays, **settings)
        started.initialize()
        trainer = started.parser.get_parsed_content("train#trainer")
        turns = [trainer.schedule.turns(epoch, 1) for epoch in range(1, trainer.state.max_epochs + 1)]
        steps.append(len(turns) if trainer.critic is None else turns.count(("segmentor",)))
        weights.append([p.clone() for p in trainer.network.parameters()])
    assert steps == [3, 3]
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_two_workers_give_the_bits_of_none(tmp_path: Path, trained: Path, pictures: Path) -> None:
    """Keeps R8."""
    BUNDLE.run(**SMALL, num_workers=2, output_dir=str(tmp_path), dataset_dir=str(pictures))
    here, there = (load_file(folder / "last.safetensors") for folder in (trained, tmp_path))
    assert [name for name, value in here.items() if not torch.equal(value, there[name])] == []


def test_the_twin_trains_and_is_evaluated(tmp_path: Path, pictures: Path) -> None:
    BUNDLE.run("baseline.json", **SMALL, output_dir=str(tmp_path / "twin"), dataset_dir=str(pictures))
    told = evaluate(tmp_path / "twin", tmp_path / "eval", pictures)
    assert 0 < told["roc_auc"] < 1
    rows = list(csv.DictReader((tmp_path / "eval" / "cases.csv").read_text().splitlines()))
    assert len(rows) == 2
    assert {"dice", "roc_auc", "average_precision", "dice_otsu"} <= set(rows[0])
    assert "dice" in json.loads((tmp_path / "eval" / "summary.json").read_text())["region 1"]


def test_real_photographs_train_and_are_measured_inside_their_field_alone(
    tmp_path: Path, shared_data: Path
) -> None:
    """Keeps N11."""
    dataset = small_set(tmp_path / "data", shared_data / "retina_drive", validation=2)
    BUNDLE.run(**SMALL, output_dir=str(tmp_path / "run"), dataset_dir=str(dataset))
    told = evaluate(tmp_path / "run", tmp_path / "eval", dataset)
    fields = [entry["fov"] for entry in json.loads((dataset / "dataset.json").read_text())["validation"]]
    assert told["pixels"] == sum(int((np.asarray(Image.open(path)) > 0).sum()) for path in fields)


def test_inference_writes_masks_of_the_size_of_their_pictures(
    tmp_path: Path, trained: Path, pictures: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    case = json.loads((pictures / "dataset.json").read_text())["validation"][0]["image"]
    with Image.open(case) as picture:
        picture.crop((0, 0, 155, 131)).save(folder / "eye.png")
    paths = {"ckpt_dir": str(trained), "output_dir": str(tmp_path / "out"), "dataset_dir": str(folder)}
    BUNDLE.run(kind="inference", **{"network_def::features": FEATURES, "device": "cpu"}, **paths)
    with Image.open(tmp_path / "out" / "eye_segmentation.png") as mask:
        assert mask.size == (155, 131)


def test_the_segmentor_is_exported(tmp_path: Path, trained: Path) -> None:
    exported = BUNDLE.exported(tmp_path, trained, [1, 3, 64, 64], features=FEATURES)
    assert exported(torch.rand(1, 3, 64, 64)).shape == (1, 1, 64, 64)
    assert load_file(trained / "model.safetensors")
