"""The CT bundle of V-Net end to end: windows, crops, its twin, evaluation, inference, real CT."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from bundle_runs import BUNDLES, Bundle, rows, small_set
from dicom_files import write_series
from safetensors.torch import load_file

from segadv_monai.data import sample_data
from segadv_monai.data.dicom_seg_read import read_dicom_seg

NETWORK = {"network_def::widths": [2, 4], "network_def::depths": [1, 1]}
SMALL = {
    **NETWORK,
    "epochs": 2,
    "val_interval": 2,
    "batch_size": 2,
    "spacing": [4, 4, 4],
    "crop_size": [16, 16, 8],
    "window": [16, 16, 8],
    "critic_def::widths": [4, 8],
    "critic_def::kernels": [5, 4],
    "device": "cpu",
}

BUNDLE = Bundle("vnet_ct_organs", SMALL)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_set(tmp_path_factory.mktemp("volumes"), Path(sample_data("ct_volumes")))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, volumes: Path) -> Path:
    return BUNDLE.train(tmp_path_factory.mktemp("trained"), volumes)


def test_a_batch_is_windowed_crops_around_organs(volumes: Path) -> None:
    settings = {**SMALL, "crop_size": [8, 8, 8], "random_transforms#2#prob": 0.0}
    started = BUNDLE.ready(**settings, initialize=[], dataset_dir=str(volumes))
    loader = started.parser.get_parsed_content("train#dataloader")
    batches = list(loader)
    assert [batch["image"].shape for batch in batches] == [(4, 1, 8, 8, 8)] * 2
    for batch in batches:
        label = batch["label"].as_tensor()
        assert label.sum(dim=1).max() == 1
        assert label.flatten(1).any(dim=1).all()


def test_the_network_sees_hounsfield_units_of_the_window(volumes: Path) -> None:
    started = BUNDLE.ready(**SMALL, initialize=[], dataset_dir=str(volumes))
    case = started.parser.get_parsed_content("validate#dataset")[0]
    image, regions = case["image"].as_tensor(), case["label"].as_tensor()
    assert image.min() == 0
    assert image.max() == 1
    # Livers are drawn at about 105 HU, and the window is -160 to 240 HU.
    spacing = BUNDLE.ready(**{**SMALL, "spacing": [1.5, 1.5, 2]}, initialize=[], dataset_dir=str(volumes))
    fine = spacing.parser.get_parsed_content("validate#dataset")[0]["image"].as_tensor()
    assert fine.shape[1:] == regions.shape[1:]
    assert fine[regions[:1] > 0].mean() == pytest.approx((105 + 160) / 400, abs=0.08)


def test_both_players_move_and_the_average_is_kept(trained: Path) -> None:
    last = rows(trained / "history.csv")[-1]
    assert float(last["critic/feature_distance"]) < 0 < float(last["segmentor/feature_distance"])
    assert "validation/dice" in last
    kept, state = load_file(trained / "model.safetensors"), load_file(trained / "last.safetensors")
    (average,) = (name for name in state if name.startswith("average") and name.endswith("head.weight"))
    assert torch.equal(kept["head.weight"], state[average])
    assert not torch.equal(kept["head.weight"], state["network/head.weight"])


def test_the_twin_starts_from_the_same_weights_and_sees_the_same_batches(volumes: Path) -> None:
    weights, batches = [], []
    for overlays in ([], ["baseline.json"]):
        started = BUNDLE.ready(*overlays, **SMALL, initialize=[], dataset_dir=str(volumes))
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
    BUNDLE.train(tmp_path, volumes, num_workers=2)
    here, there = (load_file(folder / "last.safetensors") for folder in (trained, tmp_path))
    # A crop without an organ has no Dice of it.
    assert [n for n, x in here.items() if not torch.equal(x.nan_to_num(), there[n].nan_to_num())] == []


@pytest.mark.parametrize("overlay", ["baseline.json", "published.json"])
def test_every_overlay_trains(tmp_path: Path, volumes: Path, overlay: str) -> None:
    BUNDLE.train(tmp_path, volumes, overlay, epochs=1)
    (row,) = rows(tmp_path / "history.csv")
    assert ("critic/feature_distance" in row) == (overlay != "baseline.json")


def test_evaluation_takes_the_model(tmp_path: Path, trained: Path, volumes: Path) -> None:
    small = {key: value for key, value in SMALL.items() if key != "epochs"}
    paths = {"ckpt_dir": str(trained), "output_dir": str(tmp_path), "dataset_dir": str(volumes)}
    BUNDLE.run("evaluate.json", **small, **paths)
    measured = rows(tmp_path / "cases.csv")
    assert len(measured) == 3
    told = float(rows(trained / "history.csv")[-1]["validation/dice"])
    assert np.mean([float(row["dice"]) for row in measured]) == pytest.approx(told, abs=1e-5)


def test_a_volume_and_its_dicom_series_are_segmented_alike(
    tmp_path: Path, trained: Path, volumes: Path
) -> None:
    case = Path(json.loads((volumes / "dataset.json").read_text())["validation"][0]["image"])
    image = nibabel.load(case)
    # Rows to the left, columns to the back, slices downwards: nothing is stored as the volume is.
    turned = image.affine @ np.diag([-1, -1, -1, 1])
    turned[:3, 3] = (image.affine @ [*(np.array(image.shape) - 1), 1])[:3]
    array = np.asarray(image.dataobj)[::-1, ::-1, ::-1]
    write_series(tmp_path / "series", np.ascontiguousarray(array), turned)
    for source in (case, tmp_path / "series"):
        _segment(trained, source, tmp_path / "out")
    label = nibabel.load(tmp_path / "out" / case.name.replace(".nii.gz", "_segmentation.nii.gz"))
    assert label.shape == image.shape
    np.testing.assert_allclose(label.affine, image.affine, atol=1e-5)
    found = read_dicom_seg(tmp_path / "out" / "series_segmentation.dcm", source=tmp_path / "series")
    assert list(found.segments.values()) == ["liver", "kidneys", "spleen"]
    values = np.asarray(label.dataobj)
    assert len(np.unique(values)) > 1
    to_voxels = np.linalg.inv(image.affine) @ found.affine
    corner = np.rint(to_voxels @ [0, 0, 0, 1])[:3]
    flips = tuple(slice(None, None, -1 if at else 1) for at in corner)
    assert (found.array[flips] == values).mean() > 0.999


def _segment(model: Path, source: Path, output: Path) -> None:
    """What is little likely counts here, so that a model that has learnt nothing finds something."""
    # No axis is cut at half a voxel, where rounding could go either way.
    settings = {"spacing": [4, 4, 5], "window": [16, 16, 8], "threshold": 0.3, "device": "cpu"}
    places = {"ckpt_dir": str(model), "output_dir": str(output), "dataset_dir": str(source)}
    BUNDLE.run(kind="inference", **NETWORK, **settings, **places)


@pytest.fixture
def organs(tmp_path: Path, shared_data: Path) -> Path:
    """A CT to learn from and a series of another person, whose label map counts the axes otherwise."""
    folder = shared_data / "ct_organs"
    cases = {
        "training": ("example_ct.nii.gz", "example_seg_fast_force_split.nii.gz"),
        "validation": ("example_ct_dicom", "example_seg_dicom.nii.gz"),
    }
    sections = {
        name: [{"image": str(folder / image), "label": str(folder / label)}]
        for name, (image, label) in cases.items()
    }
    labels = {str(value): f"class {value}" for value in range(118)}
    directory = tmp_path / "organs"
    directory.mkdir()
    (directory / "dataset.json").write_text(json.dumps({"name": "organs", "labels": labels, **sections}))
    return directory


def test_a_real_series_and_its_label_meet_on_the_same_voxels(organs: Path) -> None:
    started = BUNDLE.ready("organs.json", **SMALL, initialize=[], dataset_dir=str(organs))
    case = started.parser.get_parsed_content("validate#dataset")[0]
    assert case["label"].shape == (6, 512, 512, 20)
    liver, _, _, aorta, *_ = (mask > 0 for mask in case["label"].as_tensor())
    case["pred"] = case["image"].clone()
    back = started.parser.get_parsed_content("validate#postprocessing").transforms[1](case)
    image = back["image"].as_tensor()[0]
    assert image.shape == (512, 512, 20)
    assert float(image[liver].mean()) == pytest.approx((89 + 160) / 400, abs=0.02)
    assert float(image[aorta].mean()) > float(image[liver].mean()) + 0.1


def test_real_ct_trains_and_a_real_series_is_segmented(tmp_path: Path, organs: Path) -> None:
    """The series has lost the UIDs to which a DICOM segmentation would have to refer."""
    small = {**SMALL, "spacing": [6, 6, 6], "epochs": 1, "batch_size": 1, "crops": 4}
    BUNDLE.run("organs.json", **small, output_dir=str(tmp_path / "run"), dataset_dir=str(organs))
    assert "validation/dice" in rows(tmp_path / "run" / "history.csv")[0]
    series = json.loads((organs / "dataset.json").read_text())["validation"][0]
    settings = {"spacing": [6, 6, 6], "window": [16, 16, 8], "output": "nifti", "device": "cpu"}
    places = {"ckpt_dir": str(tmp_path / "run"), "output_dir": str(tmp_path / "out")}
    places["dataset_dir"] = series["image"]
    BUNDLE.run("inference_organs.json", kind="inference", **NETWORK, **settings, **places)
    mask = nibabel.load(tmp_path / "out" / "example_ct_dicom_segmentation.nii.gz")
    label = nibabel.load(series["label"])
    assert mask.shape == label.shape
    # One counts rows from the front, the other from the back.
    there = np.array(label.affine @ [0, label.shape[1] - 1, 0, 1])
    np.testing.assert_allclose(mask.affine @ [0, 0, 0, 1], there, atol=1e-3)


def test_the_overlays_for_training_and_inference_name_the_same_organs() -> None:
    names = ("organs.json", "inference_organs.json")
    training, inference = (
        json.loads((BUNDLES / "vnet_ct_organs" / "configs" / name).read_text()) for name in names
    )
    shared = ("regions", "window", "network_def::out_channels")
    assert [training[key] for key in shared] == [inference[key] for key in shared]
    assert len(training["regions"]) == training["network_def::out_channels"]


def test_the_segmentor_is_exported_for_torchscript(tmp_path: Path, trained: Path) -> None:
    exported = BUNDLE.exported(tmp_path, trained, [1, 1, 16, 16, 8], widths=[2, 4], depths=[1, 1])
    assert exported(torch.rand(1, 1, 16, 16, 8)).shape == (1, 3, 16, 16, 8)
