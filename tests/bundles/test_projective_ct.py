"""The projective bundle end to end: layout, runs of slices, its twin, evaluation, inference, real data."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from bundle_runs import Bundle, rows, small_set
from safetensors.torch import load_file

from segadv_monai.data import sample_data

FEATURES = [2, 2, 4, 4, 8, 2]
SLICES = 4
SMALL = {
    "epochs": 2,
    "warm_up": 1,
    "val_interval": 2,
    "batch_size": 2,
    "spacing": [3, 3, 4],
    "crop_size": [32, 32, SLICES],
    "window": [32, 32],
    "network_def::features": FEATURES,
    "critic_def::spatial::width": 4,
    "critic_def::projected::width": 4,
    "device": "cpu",
}


BUNDLE = Bundle("projective_ct", SMALL)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_set(tmp_path_factory.mktemp("volumes"), Path(sample_data("ct_volumes")))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, volumes: Path) -> Path:
    output = tmp_path_factory.mktemp("trained")
    BUNDLE.run(**SMALL, output_dir=str(output), dataset_dir=str(volumes))
    return output


def test_a_batch_is_whole_runs_of_consecutive_slices_in_their_order(volumes: Path) -> None:
    """Their affines tell their heights; nothing but the crop moves them here."""
    crop = {
        "_target_": "monai.transforms.RandSpatialCropd",
        "keys": ["image", "label"],
        "roi_size": "@crop_size",
        "random_size": False,
    }
    settings = {**SMALL, "num_workers": 2, "random_transforms": [crop]}
    started = BUNDLE.workflow(**settings, initialize=[], dataset_dir=str(volumes))
    started.initialize()
    loader = started.parser.get_parsed_content("train#dataloader")
    firsts = set()
    for batch in loader:
        assert batch["image"].shape == (2 * SLICES, 1, 32, 32)
        heights = batch["image"].affine[:, 2, 3].view(2, SLICES)
        torch.testing.assert_close(heights.diff(dim=1), torch.full((2, SLICES - 1), 4.0, dtype=torch.double))
        firsts |= set(heights[:, 0].tolist())
        names = batch["image"].meta["filename_or_obj"]
        assert [len(set(names[i : i + SLICES])) for i in (0, SLICES)] == [1, 1]
    assert len(firsts) == 4


def test_both_critics_teach_behind_the_warm_up(trained: Path) -> None:
    first, second = rows(trained / "history.csv")
    for view in ("spatial", "projected"):
        assert first[f"segmentor/{view}_adversarial"] == ""
        assert float(second[f"critic/{view}_real"]) > 0
        assert float(second[f"segmentor/{view}_adversarial"]) > 0
    assert "validation/dice" in second
    for name in ("model.pt", "model.safetensors", "last.safetensors", "run.json"):
        assert (trained / name).stat().st_size > 0


def test_the_twin_starts_from_the_same_weights_and_sees_the_same_batches(volumes: Path) -> None:
    weights, batches = [], []
    for overlays in ([], ["baseline.json"]):
        started = BUNDLE.workflow(*overlays, **SMALL, initialize=[], dataset_dir=str(volumes))
        started.initialize()
        torch.manual_seed(0)
        trainer = started.parser.get_parsed_content("train#trainer")
        assert (trainer.critic is None) == bool(overlays)
        weights.append([p.detach() for p in trainer.network.parameters()])
        loader = started.parser.get_parsed_content("train#dataloader")
        loader.sampler.set_epoch(2)
        batches.append([batch["image"] for batch in loader])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(*batches, strict=True))


def test_two_workers_give_the_bits_of_none(tmp_path: Path, trained: Path, volumes: Path) -> None:
    """Keeps R8."""
    BUNDLE.run(**SMALL, num_workers=2, output_dir=str(tmp_path), dataset_dir=str(volumes))
    here, there = (load_file(folder / "last.safetensors") for folder in (trained, tmp_path))
    # A slice without an organ has no Dice of it.
    assert [n for n, x in here.items() if not torch.equal(x.nan_to_num(), there[n].nan_to_num())] == []
    assert here["train_dice/values"].isnan().any()


@pytest.mark.parametrize("overlay", ["baseline.json", "published.json"])
def test_every_overlay_trains(tmp_path: Path, volumes: Path, overlay: str) -> None:
    small = {**SMALL, "epochs": 1, "warm_up": 0, "output_dir": str(tmp_path), "dataset_dir": str(volumes)}
    BUNDLE.run(overlay, **small)
    (row,) = rows(tmp_path / "history.csv")
    assert ("segmentor/projected_adversarial" in row) == (overlay != "baseline.json")


@pytest.mark.parametrize("settings", [{"critic_def::axis": 1}, {"critic_def::gate_channels": None}])
def test_it_trains_with_another_line_of_sight_and_without_a_gate(
    tmp_path: Path, volumes: Path, settings: dict[str, object]
) -> None:
    small = {**SMALL, "epochs": 1, "warm_up": 0, "crop_size": [32, 32, 16], "batch_size": 1}
    BUNDLE.run(**small, **settings, output_dir=str(tmp_path), dataset_dir=str(volumes))
    assert float(rows(tmp_path / "history.csv")[0]["critic/projected_fake"]) > 0


def test_evaluation_and_inference_take_the_model(tmp_path: Path, trained: Path, volumes: Path) -> None:
    small = {key: value for key, value in SMALL.items() if key != "epochs"}
    paths = {"ckpt_dir": str(trained), "output_dir": str(tmp_path / "eval"), "dataset_dir": str(volumes)}
    BUNDLE.run("evaluate.json", **small, **paths)
    assert len(rows(tmp_path / "eval" / "cases.csv")) == 3
    case = json.loads((volumes / "dataset.json").read_text())["validation"][0]["image"]
    BUNDLE.run(
        kind="inference",
        **{"network_def::features": FEATURES, "spacing": [3, 3, 4], "window": [32, 32], "device": "cpu"},
        ckpt_dir=str(trained),
        output_dir=str(tmp_path / "out"),
        dataset_dir=case,
    )
    image, mask = nibabel.load(case), nibabel.load(next((tmp_path / "out").glob("*.nii.gz")))
    assert mask.shape == image.shape
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-5)


def test_real_volumes_train(tmp_path: Path, shared_data: Path) -> None:
    dataset = small_set(tmp_path / "data", shared_data / "hippocampus")
    settings = {"regions": [[1], [2]], "network_def::out_channels": 2, "spacing": [1, 1, 1]}
    small = {**SMALL, **settings, "epochs": 1, "warm_up": 0}
    BUNDLE.run(**small, output_dir=str(tmp_path / "run"), dataset_dir=str(dataset))
    assert float(rows(tmp_path / "run" / "history.csv")[0]["segmentor/projected_adversarial"]) > 0


def test_the_segmentor_is_exported_for_torchscript(tmp_path: Path, trained: Path) -> None:
    exported = BUNDLE.exported(tmp_path, trained, [1, 1, 32, 32], features=FEATURES)
    assert exported(torch.rand(1, 1, 32, 32)).shape == (1, 3, 32, 32)
