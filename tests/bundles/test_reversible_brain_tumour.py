"""The reversible U-Net's bundle end to end: layout, training, its twins, evaluation, inference, bad input."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import torch
from bundle_runs import Bundle, rows, small_set
from safetensors.torch import load_file

from segadv_monai.data import sample_data
from segadv_monai.networks import PartiallyReversibleUNet

ROOT = Path(__file__).parents[2]
NETWORK = {"network_def::widths": [4, 8, 12]}
GRID = {"spacing": [6, 6, 6], "window": [32, 32, 16]}
SMALL = {
    **NETWORK,
    **GRID,
    "crop_size": [32, 32, 16],
    "epochs": 2,
    "warm_up": 1,
    "val_interval": 2,
    "batch_size": 2,
    "critic_def::width": 4,
    "device": "cpu",
}


BUNDLE = Bundle("reversible_brain_tumour", SMALL)


@pytest.fixture(scope="module")
def brains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_set(tmp_path_factory.mktemp("brains"), Path(sample_data("brains")))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, brains: Path) -> Path:
    output = tmp_path_factory.mktemp("trained")
    BUNDLE.train(output, brains)
    return output


def test_the_critic_joins_behind_the_warm_up(trained: Path) -> None:
    first, second = rows(trained / "history.csv")
    assert first["segmentor/adversarial"] == ""
    assert float(second["segmentor/adversarial"]) > 0
    assert float(second["critic/real"]) > 0
    assert float(second["critic/fake"]) > 0
    assert 0 < float(second["segmentor/supervised"]) <= 1
    assert "validation/dice" in second
    for name in ("model.pt", "model.safetensors", "last.safetensors", "run.json"):
        assert (trained / name).stat().st_size > 0


def test_the_twin_starts_from_the_same_weights_and_sees_the_same_batches(brains: Path) -> None:
    weights, batches = [], []
    for overlays in ([], ["baseline.json"]):
        run = BUNDLE.workflow(*overlays, **SMALL, initialize=[], dataset_dir=str(brains))
        run.initialize()
        torch.manual_seed(0)
        trainer = run.parser.get_parsed_content("train#trainer")
        assert (trainer.critic is None) == bool(overlays)
        weights.append([p.detach() for p in trainer.network.parameters()])
        loader = run.parser.get_parsed_content("train#dataloader")
        loader.sampler.set_epoch(2)
        batches.append([batch["image"] for batch in loader])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(*batches, strict=True))


def test_plain_blocks_train_to_the_same_network(tmp_path: Path, trained: Path, brains: Path) -> None:
    BUNDLE.train(tmp_path, brains, **{"network_def::reversible": False})
    for here, there in zip(rows(trained / "history.csv"), rows(tmp_path / "history.csv"), strict=True):
        assert float(here["loss"]) == pytest.approx(float(there["loss"]), rel=1e-3)
    # Adam divides by the size of a gradient, so that rounding counts where there is next to none.
    here, there = (load_file(folder / "last.safetensors") for folder in (trained, tmp_path))
    assert set(here) == set(there)


def test_two_workers_give_the_bits_of_none(tmp_path: Path, trained: Path, brains: Path) -> None:
    """Keeps R8."""
    BUNDLE.train(tmp_path, brains, num_workers=2)
    here, there = (load_file(folder / "last.safetensors") for folder in (trained, tmp_path))
    assert [name for name, value in here.items() if not torch.equal(value, there[name])] == []


@pytest.mark.parametrize("overlay", ["baseline.json", "published.json"])
def test_every_overlay_trains(tmp_path: Path, brains: Path, overlay: str) -> None:
    BUNDLE.train(tmp_path, brains, overlay, epochs=1, warm_up=0)
    (row,) = rows(tmp_path / "history.csv")
    assert ("segmentor/adversarial" in row) == (overlay != "baseline.json")


def test_the_published_setting_takes_whole_volumes(shared_data: Path) -> None:
    run = BUNDLE.workflow("published.json", initialize=[], dataset_dir=str(shared_data / "brain_tumour"))
    run.initialize()
    content = run.parser.get_parsed_content
    network = content("network_def")
    assert type(network) is PartiallyReversibleUNet
    assert sum(p.numel() for p in network.parameters()) == 12_365_283 - 2 * 60 * 27
    optimizer = content("optimizer")
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (1e-4, 1e-5)
    rates = []
    for epoch in (250, 251, 401, 551, 1000):
        content("decay")(SimpleNamespace(state=SimpleNamespace(epoch=epoch, max_epochs=1000)))
        rates.append(group["lr"] / 1e-4)
    assert rates == pytest.approx([1, 0.2, 0.04, 0.008, 0.008])
    case = content("train#dataset")[0]
    assert case["image"].shape == (2, 240, 240, 160)
    assert case["label"].shape == (3, 240, 240, 160)
    assert case["label"].sum((1, 2, 3)).diff().max() < 0 < case["label"][2].sum()


def test_the_brain_is_normalised_and_the_background_is_not(shared_data: Path) -> None:
    run = BUNDLE.workflow(initialize=[], dataset_dir=str(shared_data / "brain_tumour"), spacing=[1, 1, 1])
    run.initialize()
    image = run.parser.get_parsed_content("validate#dataset")[0]["image"]
    for channel in image.as_subclass(torch.Tensor):
        brain = channel[channel != 0]
        assert (channel == 0).float().mean() > 0.8
        assert brain.mean().abs() < 1e-3
        assert brain.std().item() == pytest.approx(1, abs=1e-3)


def test_evaluation_and_inference_take_the_model(tmp_path: Path, trained: Path, brains: Path) -> None:
    small = {key: value for key, value in SMALL.items() if key not in ("epochs", "warm_up")}
    paths = {"ckpt_dir": str(trained), "output_dir": str(tmp_path / "eval"), "dataset_dir": str(brains)}
    run = BUNDLE.workflow("evaluate.json", **small, **paths)
    run.initialize()
    run.run()
    assert len(rows(tmp_path / "eval" / "cases.csv")) >= 1
    case = json.loads((brains / "dataset.json").read_text())["validation"][0]["image"]
    segment = BUNDLE.workflow(
        kind="inference",
        **{**NETWORK, **GRID, "device": "cpu"},
        ckpt_dir=str(trained),
        output_dir=str(tmp_path / "out"),
        dataset_dir=case,
    )
    segment.initialize()
    segment.run()
    image, mask = nibabel.load(case), nibabel.load(next((tmp_path / "out").glob("*.nii.gz")))
    assert mask.shape == image.shape[:3]
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-5)
    assert set(np.unique(np.asarray(mask.dataobj))) <= {0, 1, 2, 4}


def test_real_volumes_train(tmp_path: Path, shared_data: Path) -> None:
    dataset = small_set(tmp_path / "data", shared_data / "brain_tumour", training=1)
    BUNDLE.train(tmp_path / "run", dataset, epochs=1, warm_up=0, batch_size=1)
    assert float(rows(tmp_path / "run" / "history.csv")[0]["segmentor/adversarial"]) > 0


def test_the_segmentor_is_exported_for_torchscript(tmp_path: Path, trained: Path) -> None:
    exported = BUNDLE.exported(tmp_path, trained, [1, 2, 16, 32, 16], widths=[4, 8, 12])
    assert exported(torch.rand(1, 2, 16, 32, 16)).shape == (1, 3, 16, 32, 16)


def test_a_crop_that_does_not_fit_gets_one_line(tmp_path: Path, brains: Path) -> None:
    command = [sys.executable, "-m", "monai.bundle", "run", "training"]
    command += ["--config_file", str(BUNDLE.configs / "train.json"), "--dataset_dir", str(brains)]
    command += ["--output_dir", str(tmp_path / "run"), "--crop_size", "[32,40,16]", "--spacing", "[6,6,6]"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode != 0
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, result.stderr
    assert "pad the image to [32, 48, 16]" in errors[0]
    assert "Traceback" not in result.stderr + result.stdout
