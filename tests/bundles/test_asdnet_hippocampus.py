"""The ASDNet bundle end to end: layout, mixed training, its twin, evaluation, inference, bad input."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from bundle_runs import Bundle, rows, small_set
from safetensors.torch import load_file

from segadv_monai.data import sample_data

ROOT = Path(__file__).parents[2]
SMALL = {
    "labelled_share": 0.5,
    "epochs": 2,
    "warm_up": 1,
    "val_interval": 2,
    "batch_size": 2,
    "spacing": [3, 3, 3],
    "crop_size": [16, 16, 16],
    "window": [16, 16, 16],
    "network_def::channels": [4, 8],
    "network_def::strides": [2],
    "critic_def::width": 4,
    "device": "cpu",
}
NETWORK = {key: SMALL[key] for key in ("network_def::channels", "network_def::strides")}


BUNDLE = Bundle("asdnet_hippocampus", SMALL)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_set(tmp_path_factory.mktemp("volumes"), Path(sample_data("ct_volumes")))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, volumes: Path) -> Path:
    output = tmp_path_factory.mktemp("trained")
    BUNDLE.train(output, volumes)
    return output


def test_unlabelled_volumes_teach_behind_the_warm_up(trained: Path) -> None:
    first, second = rows(trained / "history.csv")
    assert first["segmentor/self_taught"] == ""
    assert float(second["segmentor/self_taught"]) > 0
    assert float(second["critic/real"]) > 0
    assert "validation/dice" in second
    for name in ("model.pt", "model.safetensors", "last.safetensors", "run.json"):
        assert (trained / name).stat().st_size > 0


def test_the_twin_starts_from_the_same_weights_and_sees_the_same_labelled_batches(volumes: Path) -> None:
    weights, batches = [], []
    for overlays in ([], ["baseline.json"]):
        run = BUNDLE.workflow(*overlays, **SMALL, initialize=[], dataset_dir=str(volumes))
        run.initialize()
        torch.manual_seed(0)
        trainer = run.parser.get_parsed_content("train#trainer")
        weights.append([p.detach() for p in trainer.network.parameters()])
        loader = run.parser.get_parsed_content("train#dataloader")
        loader.sampler.set_epoch(2)
        batches.append([batch["image"] for batch in loader if "label" in batch])
        assert len(loader) == len(batches[-1]) * (1 if overlays else 2)
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(*batches, strict=True))


def test_two_workers_give_the_bits_of_none(tmp_path: Path, trained: Path, volumes: Path) -> None:
    """Keeps R8."""
    BUNDLE.train(tmp_path, volumes, num_workers=2)
    here, there = (load_file(folder / "last.safetensors") for folder in (trained, tmp_path))
    assert [name for name, value in here.items() if not torch.equal(value, there[name])] == []


@pytest.mark.parametrize("overlay", ["baseline.json", "published.json"])
def test_every_overlay_trains(tmp_path: Path, volumes: Path, overlay: str) -> None:
    BUNDLE.train(tmp_path, volumes, overlay, epochs=1, warm_up=0)
    (row,) = rows(tmp_path / "history.csv")
    assert ("segmentor/self_taught" in row) == (overlay != "baseline.json")


def test_a_list_of_unlabelled_volumes_is_read_and_all_training_cases_may_be_labelled(
    tmp_path: Path, volumes: Path
) -> None:
    entries = json.loads((volumes / "dataset.json").read_text())["training"]
    others = [{"image": entry["image"]} for entry in entries[2:]]
    dataset = small_set(tmp_path / "data", volumes, training=2, unlabelled=others)
    BUNDLE.train(tmp_path / "run", dataset, epochs=1, warm_up=0, labelled_share=1.0)
    assert float(rows(tmp_path / "run" / "history.csv")[0]["segmentor/self_taught"]) > 0
    read = (tmp_path / "run" / "run.json").read_text()
    assert all(Path(entry["image"]).name in read for entry in entries)


def test_evaluation_and_inference_take_the_model(tmp_path: Path, trained: Path, volumes: Path) -> None:
    small = {key: value for key, value in SMALL.items() if key != "epochs"}
    paths = {"ckpt_dir": str(trained), "output_dir": str(tmp_path / "eval"), "dataset_dir": str(volumes)}
    run = BUNDLE.workflow("evaluate.json", **small, **paths)
    run.initialize()
    run.run()
    assert len(rows(tmp_path / "eval" / "cases.csv")) == 2
    case = json.loads((volumes / "dataset.json").read_text())["validation"][0]["image"]
    segment = BUNDLE.workflow(
        kind="inference",
        **{**NETWORK, "spacing": [3, 3, 3], "window": [16, 16, 16], "device": "cpu"},
        ckpt_dir=str(trained),
        output_dir=str(tmp_path / "out"),
        dataset_dir=case,
    )
    segment.initialize()
    segment.run()
    image, mask = nibabel.load(case), nibabel.load(next((tmp_path / "out").glob("*.nii.gz")))
    assert mask.shape == image.shape
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-5)


def test_real_volumes_train(tmp_path: Path, shared_data: Path) -> None:
    dataset = small_set(tmp_path / "data", shared_data / "hippocampus")
    BUNDLE.train(tmp_path / "run", dataset, epochs=1, warm_up=0, spacing=[1, 1, 1])
    assert float(rows(tmp_path / "run" / "history.csv")[0]["segmentor/self_taught"]) > 0


def test_the_segmentor_is_exported_for_torchscript(tmp_path: Path, trained: Path) -> None:
    exported = BUNDLE.exported(tmp_path, trained, [1, 1, 16, 16, 16], channels=[4, 8], strides=[2])
    assert exported(torch.rand(1, 1, 16, 16, 16)).shape == (1, 2, 16, 16, 16)


def test_a_training_without_unlabelled_volumes_gets_one_line(tmp_path: Path, volumes: Path) -> None:
    command = [sys.executable, "-m", "monai.bundle", "run", "training"]
    command += ["--config_file", str(BUNDLE.configs / "train.json"), "--dataset_dir", str(volumes)]
    command += ["--output_dir", str(tmp_path / "run"), "--labelled_share", "1.0", "--cache_rate", "0.0"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode != 0
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, result.stderr
    assert "has no unlabelled cases" in errors[0]
    assert "Traceback" not in result.stderr + result.stdout
