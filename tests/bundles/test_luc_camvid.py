"""The bundle luc_camvid end to end: layout, training, its twin, evaluation, inference, an ignored label."""

import csv
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_runs import Bundle, small_set
from PIL import Image
from safetensors.torch import load_file

from segadv_monai.bundle import preflight
from segadv_monai.data import labels_of, sample_data
from segadv_monai.protocols import ConfigError, DataError

FEATURES = [2, 2, 2, 2, 2, 2]
SMALL = {
    "epochs": 2,
    "val_interval": 1,
    "warm_up": 1,
    "batch_size": 2,
    "image_size": [40, 30],
    "network_def::features": FEATURES,
    "critic_def::width": 1,
    "device": "cpu",
}
NAMES = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian"]


BUNDLE = Bundle("luc_camvid", SMALL)


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_set(tmp_path_factory.mktemp("streets"), Path(sample_data("streets")), validation=2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, streets: Path) -> Path:
    return BUNDLE.train(tmp_path_factory.mktemp("trained"), streets)


def test_training_warms_up_then_plays_and_leaves_its_files(trained: Path) -> None:
    for name in ("model.pt", "model.safetensors", "last.safetensors", "history.csv"):
        assert (trained / name).stat().st_size > 0
    first, second = csv.DictReader((trained / "history.csv").read_text().splitlines())
    assert not first["segmentor/adversarial"]
    assert float(second["segmentor/adversarial"]) > 0
    assert float(second["critic/real"]) > 0
    assert 0 <= float(second["validation/mean_iou"]) < float(second["validation/pixel_accuracy"]) < 1


def test_the_twin_without_critic_starts_from_the_same_weights_and_data(tmp_path: Path, streets: Path) -> None:
    paths = {"output_dir": str(tmp_path), "dataset_dir": str(streets)}
    weights, batches = [], []
    for overlays in ([], ["baseline.json"]):
        parser = BUNDLE.ready(*overlays, **SMALL, **paths).parser
        weights.append([p.clone() for p in parser.get_parsed_content("network").parameters()])
        batches.append(next(iter(parser.get_parsed_content("train#dataloader"))))
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    assert all(torch.equal(batches[0][key], batches[1][key]) for key in ("image", "label"))
    # Ignored positions and the padding have no class, every other has one.
    label = batches[0]["label"].as_subclass(torch.Tensor).sum(1)
    assert label.unique().tolist() == [0, 1]


def test_two_workers_give_the_bits_of_none(tmp_path: Path, trained: Path, streets: Path) -> None:
    """Keeps R8."""
    BUNDLE.train(tmp_path, streets, num_workers=2)
    here, there = (load_file(folder / "last.safetensors") for folder in (trained, tmp_path))
    assert [name for name, value in here.items() if not torch.equal(value, there[name])] == []


def test_the_twin_and_the_published_settings_train(tmp_path: Path, streets: Path) -> None:
    BUNDLE.train(tmp_path / "twin", streets, "baseline.json", epochs=1)
    BUNDLE.train(tmp_path / "published", streets, "published.json", epochs=1, warm_up=0)
    assert (tmp_path / "published" / "model.pt").is_file()
    assert "adversarial" not in (tmp_path / "twin" / "history.csv").read_text()


def test_evaluation_counts_no_ignored_position(tmp_path: Path, trained: Path, streets: Path) -> None:
    """Keeps N10."""
    small = {key: SMALL[key] for key in ("image_size", "network_def::features", "device")}
    paths = {"ckpt_dir": str(trained), "output_dir": str(tmp_path), "dataset_dir": str(streets)}
    run = BUNDLE.ready("evaluate.json", **small, **paths)
    run.run()
    rows = list(csv.DictReader((tmp_path / "classes.csv").read_text().splitlines()))
    assert [row["class"] for row in rows] == [*NAMES, "bicyclist"]
    maps = []
    for entry in json.loads((streets / "dataset.json").read_text())["validation"]:
        with Image.open(entry["label"]) as opened:
            maps.append(np.asarray(opened))
    counts = np.bincount(np.concatenate(maps, axis=None), minlength=12)
    assert counts[11] > 0
    assert [int(float(row["positions"])) for row in rows] == counts[:11].tolist()
    assert len((tmp_path / "cases.csv").read_text().splitlines()) == 1 + 2 * 11
    predicted = run.parser.get_parsed_content("validate#evaluator").state.output[0]["pred"]
    assert predicted.sum() == (maps[-1] != 11).sum()


def test_inference_writes_one_of_eleven_labels_everywhere(tmp_path: Path, trained: Path) -> None:
    (tmp_path / "in").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (50, 83, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in" / "wide.jpg")
    small = {key: SMALL[key] for key in ("image_size", "network_def::features", "device")}
    paths = {"ckpt_dir": str(trained), "output_dir": str(tmp_path), "dataset_dir": str(tmp_path / "in")}
    BUNDLE.ready(kind="inference", **small, **paths).run()
    with Image.open(tmp_path / "wide_segmentation.png") as opened:
        assert opened.size == (83, 50)
        assert np.asarray(opened).max() <= 10


@pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning")
def test_the_segmentor_is_exported_for_torchscript(tmp_path: Path, trained: Path) -> None:
    exported = BUNDLE.exported(tmp_path, trained, [1, 3, 32, 32], features=FEATURES)
    assert exported(torch.rand(1, 3, 32, 32)).shape == (1, 11, 32, 32)


def test_an_ignored_label_needs_a_name_in_the_data_set_and_no_region(tmp_path: Path, streets: Path) -> None:
    classes = [[value] for value in range(11)]
    check = partial(preflight, out_channels=11, spatial_dims=2, in_channels=3, device="cpu")
    assert labels_of(streets)[11] == "unlabelled"
    assert not check(dataset_dir=str(streets), regions=classes).of("error")
    with pytest.raises(ConfigError, match="12 regions for 11 maps"):
        check(dataset_dir=str(streets), regions=[*classes, [11]])
    description = json.loads((streets / "dataset.json").read_text())
    del description["labels"]["11"]
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(DataError, match=r"holds the label values 11 but labels of dataset\.json allows"):
        check(dataset_dir=str(tmp_path), regions=classes)


def test_a_data_set_whose_labels_are_all_ignored_gets_one_line(tmp_path: Path, streets: Path) -> None:
    description = json.loads((streets / "dataset.json").read_text())
    Image.fromarray(np.full((90, 120), 11, np.uint8)).save(tmp_path / "ignored.png")
    for entry in description["training"]:
        entry["label"] = str(tmp_path / "ignored.png")
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(RuntimeError) as raised:
        BUNDLE.train(tmp_path / "run", tmp_path)
    # MONAI wraps it; the command line ends with the line alone.
    assert "all positions of a batch of 2 are ignored" in str(raised.value.__cause__)
    assert isinstance(raised.value.__cause__, DataError)


def test_real_streets_train(tmp_path: Path, shared_data: Path) -> None:
    dataset = small_set(tmp_path / "data", shared_data / "camvid", validation=2)
    BUNDLE.train(tmp_path / "run", dataset, epochs=1, warm_up=0, image_size=[60, 45])
    assert (tmp_path / "run" / "model.pt").is_file()
