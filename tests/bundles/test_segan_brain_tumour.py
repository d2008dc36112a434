"""SegAN on brain tumours end to end: regions, crops, critics, twin, evaluation, inference, real data."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from bundle_runs import Bundle, rows, small_set
from safetensors.torch import load_file

from segadv_monai.data import sample_data

SMALL = {
    "epochs": 2,
    "val_interval": 2,
    "batch_size": 2,
    "crops": 2,
    "spacing": [4, 4, 4],
    "crop_size": [33, 33, 33],
    "window": [33, 33, 33],
    "network_def::width": 1,
    "critic_def::widths": [2, 2],
    "critic_def::kernels": [5, 4],
    "device": "cpu",
}
WHOLE, CORE, ENHANCING = range(3)

BUNDLE = Bundle("segan_brain_tumour", SMALL)


@pytest.fixture(scope="module")
def brains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_set(tmp_path_factory.mktemp("brains"), Path(sample_data("brains")), training=2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, brains: Path) -> Path:
    return BUNDLE.train(tmp_path_factory.mktemp("trained"), brains)


def test_a_batch_is_crops_of_nested_regions(brains: Path) -> None:
    started = BUNDLE.ready(**{**SMALL, "spacing": [2, 2, 3]}, initialize=[], dataset_dir=str(brains))
    (batch,) = started.parser.get_parsed_content("train#dataloader")
    assert batch["image"].shape == (4, 2, 33, 33, 33)
    regions = batch["label"].as_tensor().bool()
    assert regions.shape == (4, 3, 33, 33, 33)
    assert regions[:, ENHANCING].any()
    assert not (regions[:, ENHANCING] & ~regions[:, CORE]).any()
    assert not (regions[:, CORE] & ~regions[:, WHOLE]).any()


def test_the_brain_is_standardised_and_the_rest_stays_0(brains: Path) -> None:
    started = BUNDLE.ready(**SMALL, initialize=[], dataset_dir=str(brains))
    for case in started.parser.get_parsed_content("validate#dataset"):
        for channel in case["image"].as_tensor():
            assert channel[0, 0, 0] == 0
            inside = channel[channel != 0]
            assert 0.2 < inside.numel() / channel.numel() < 0.9
            assert abs(inside.mean()) < 1e-4
            assert abs(inside.std(correction=0) - 1) < 1e-4


def test_the_maps_are_whole_tumour_core_and_enhancing_tumour(brains: Path) -> None:
    started = BUNDLE.ready(**SMALL, initialize=[], dataset_dir=str(brains))
    (case,) = started.parser.get_parsed_content("validate#dataset")
    path = json.loads((brains / "dataset.json").read_text())["validation"][0]["label"]
    labels = np.asarray(nibabel.load(path).dataobj)
    for found, values in zip(case["label"].numpy(), ([1, 2, 3, 4], [1, 3, 4], [4]), strict=True):
        np.testing.assert_array_equal(found, np.isin(labels, values))


def test_a_run_leaves_the_segmentor_and_its_game(trained: Path) -> None:
    row = rows(trained / "history.csv")[-1]
    assert float(row["segmentor/feature_distance"]) > 0
    assert float(row["critic/feature_distance"]) < 0
    assert float(row["segmentor/supervised"]) > 0
    assert "validation/dice" in row
    for name in ("model.pt", "model.safetensors", "last.safetensors", "run.json"):
        assert (trained / name).stat().st_size > 0


def test_every_map_has_a_critic_of_its_own_unless_one_sees_all(brains: Path) -> None:
    """A change of one map moves the features of its own critic alone, or all of them."""
    image, maps = torch.randn(2, 2, 33, 33, 33), torch.rand(2, 3, 33, 33, 33)
    other = maps.clone()
    other[:, CORE] = 0
    for overlays, moved in (([], [False, True, False]), (["one_critic.json"], [True, True, True])):
        started = BUNDLE.ready(*overlays, **SMALL, initialize=[], dataset_dir=str(brains))
        critic = started.parser.get_parsed_content("critic_def").eval()
        one, two = (critic(segmentation, image).features[-1] for segmentation in (maps, other))
        thirds = (
            zip(one.chunk(3, dim=1), two.chunk(3, dim=1), strict=True) if not overlays else [(one, two)] * 3
        )
        assert [not torch.equal(a, b) for a, b in thirds] == moved


def test_the_twin_starts_from_the_same_weights_and_sees_the_same_batches(brains: Path) -> None:
    weights, batches = [], []
    for overlays in ([], ["baseline.json"]):
        started = BUNDLE.ready(*overlays, **SMALL, initialize=[], dataset_dir=str(brains))
        torch.manual_seed(0)
        trainer = started.parser.get_parsed_content("train#trainer")
        assert (trainer.critic is None) == bool(overlays)
        weights.append([p.detach() for p in trainer.network.parameters()])
        loader = started.parser.get_parsed_content("train#dataloader")
        loader.sampler.set_epoch(2)
        batches.append([batch["image"] for batch in loader])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(*batches, strict=True))


def test_two_workers_give_the_bits_of_none(tmp_path: Path, trained: Path, brains: Path) -> None:
    """Keeps R8."""
    BUNDLE.train(tmp_path, brains, num_workers=2)
    here, there = (load_file(folder / "last.safetensors") for folder in (trained, tmp_path))
    # A crop beside the tumour has no Dice.
    assert [n for n, x in here.items() if not torch.equal(x.nan_to_num(), there[n].nan_to_num())] == []


@pytest.mark.parametrize("overlay", ["baseline.json", "one_critic.json", "published.json"])
def test_every_overlay_trains(tmp_path: Path, brains: Path, overlay: str) -> None:
    BUNDLE.train(tmp_path, brains, overlay, epochs=1)
    (row,) = rows(tmp_path / "history.csv")
    assert ("segmentor/feature_distance" in row) == (overlay != "baseline.json")
    assert ("segmentor/supervised" in row) == (overlay != "published.json")


def test_evaluation_and_inference_take_the_model(tmp_path: Path, trained: Path, brains: Path) -> None:
    small = {key: value for key, value in SMALL.items() if key != "epochs"}
    paths = {"ckpt_dir": str(trained), "output_dir": str(tmp_path / "eval"), "dataset_dir": str(brains)}
    BUNDLE.run("evaluate.json", **small, **paths)
    assert len(rows(tmp_path / "eval" / "cases.csv")) == 3
    case = json.loads((brains / "dataset.json").read_text())["validation"][0]["image"]
    BUNDLE.run(
        kind="inference",
        **{"network_def::width": 1, "spacing": [4, 4, 4], "window": [33, 33, 33], "device": "cpu"},
        ckpt_dir=str(trained),
        output_dir=str(tmp_path / "out"),
        dataset_dir=case,
    )
    image, mask = nibabel.load(case), nibabel.load(next((tmp_path / "out").glob("*.nii.gz")))
    assert mask.shape == image.shape[:3]
    assert set(np.unique(mask.dataobj)) <= {0, 1, 2, 4}
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-5)


def test_real_volumes_train(tmp_path: Path, shared_data: Path) -> None:
    dataset = small_set(tmp_path / "data", shared_data / "brain_tumour", training=2)
    BUNDLE.train(tmp_path / "run", dataset, epochs=1, spacing=[5, 5, 5])
    assert float(rows(tmp_path / "run" / "history.csv")[0]["segmentor/feature_distance"]) > 0


def test_the_segmentor_is_exported_for_torchscript(tmp_path: Path, trained: Path) -> None:
    exported = BUNDLE.exported(tmp_path, trained, [1, 2, 33, 33, 33], width=1)
    assert exported(torch.rand(1, 2, 33, 33, 33)).shape == (1, 3, 33, 33, 33)
