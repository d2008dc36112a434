"""The V-Net bundle end to end: its game, its twin, evaluation of the average, inference, every game."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from bundle_runs import Bundle, rows, small_set
from safetensors.torch import load_file

from segadv_monai.data import sample_data

NETWORK = {
    "network_def::widths": [2, 4],
    "network_def::depths": [1, 1],
}
SMALL = {
    **NETWORK,
    "epochs": 2,
    "val_interval": 2,
    "batch_size": 2,
    "spacing": [3, 3, 3],
    "crop_size": [16, 16, 16],
    "window": [16, 16, 16],
    "critic_def::widths": [4, 8],
    "critic_def::kernels": [5, 4],
    "device": "cpu",
}
BUNDLE = Bundle("vnet_hippocampus", SMALL)
PATCH_CRITIC = {
    "_target_": "segadv_monai.critics.PatchCritic",
    "spatial_dims": 3,
    "in_channels": 1,
    "num_maps": 2,
    "scope": "pixel",
    "width": 4,
}


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_set(tmp_path_factory.mktemp("volumes"), Path(sample_data("ct_volumes")))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, volumes: Path) -> Path:
    output = tmp_path_factory.mktemp("trained")
    BUNDLE.train(output, volumes)
    return output


def test_both_players_move_and_the_average_is_kept(trained: Path) -> None:
    last = rows(trained / "history.csv")[-1]
    assert float(last["critic/feature_distance"]) < 0 < float(last["segmentor/feature_distance"])
    assert float(last["validation/dice"]) >= 0
    kept, state = load_file(trained / "model.safetensors"), load_file(trained / "last.safetensors")
    averaged = [name for name in state if name.startswith("average") and name.endswith("head.weight")]
    assert len(averaged) == 1
    assert torch.equal(kept["head.weight"], state[averaged[0]])
    assert not torch.equal(kept["head.weight"], state["network/head.weight"])


def test_the_twin_starts_from_the_same_weights_and_sees_the_same_batches(volumes: Path) -> None:
    weights, batches = [], []
    for overlays in ([], ["baseline.json"]):
        run = BUNDLE.ready(*overlays, **SMALL, initialize=[], dataset_dir=str(volumes))
        torch.manual_seed(0)
        trainer = run.parser.get_parsed_content("train#trainer")
        weights.append([p.detach() for p in trainer.network.parameters()])
        loader = run.parser.get_parsed_content("train#dataloader")
        loader.sampler.set_epoch(2)
        batches.append([batch["image"] for batch in loader])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(*batches, strict=True))


@pytest.mark.parametrize("overlay", ["baseline.json", "published.json"])
def test_every_overlay_trains(tmp_path: Path, volumes: Path, overlay: str) -> None:
    BUNDLE.train(tmp_path, volumes, overlay, epochs=1)
    (row,) = rows(tmp_path / "history.csv")
    assert ("critic/feature_distance" in row) == (overlay != "baseline.json")


@pytest.mark.parametrize("game", ["NonSaturating", "LeastSquares", "Hinge", "Wasserstein", "Minimax"])
def test_any_game_can_be_played_with_it(tmp_path: Path, volumes: Path, game: str) -> None:
    objective = {"_target_": f"segadv_monai.objectives.{game}"}
    BUNDLE.train(tmp_path, volumes, epochs=1, objective=objective, critic_def=PATCH_CRITIC)
    (row,) = rows(tmp_path / "history.csv")
    assert np.isfinite(float(row["segmentor/adversarial"]))


def test_evaluation_and_inference_take_the_model(tmp_path: Path, trained: Path, volumes: Path) -> None:
    small = {key: value for key, value in SMALL.items() if key != "epochs"}
    paths = {"ckpt_dir": str(trained), "output_dir": str(tmp_path / "eval"), "dataset_dir": str(volumes)}
    BUNDLE.run("evaluate.json", **small, **paths)
    measured = rows(tmp_path / "eval" / "cases.csv")
    assert len(measured) == 2
    told = float(rows(trained / "history.csv")[-1]["validation/dice"])
    assert np.mean([float(row["dice"]) for row in measured]) == pytest.approx(told, abs=1e-5)
    case = json.loads((volumes / "dataset.json").read_text())["validation"][0]["image"]
    settings = {"spacing": [3, 3, 3], "window": [16, 16, 16], "device": "cpu"}
    places = {"ckpt_dir": str(trained), "output_dir": str(tmp_path / "out"), "dataset_dir": case}
    BUNDLE.run(kind="inference", **NETWORK, **settings, **places)
    image, mask = nibabel.load(case), nibabel.load(next((tmp_path / "out").glob("*.nii.gz")))
    assert mask.shape == image.shape
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-5)


def test_real_volumes_train(tmp_path: Path, shared_data: Path) -> None:
    dataset = small_set(tmp_path / "data", shared_data / "hippocampus")
    BUNDLE.train(tmp_path / "run", dataset, epochs=1, spacing=[1, 1, 1])
    (row,) = rows(tmp_path / "run" / "history.csv")
    assert 0 < float(row["segmentor/supervised"]) <= 1


def test_the_segmentor_is_exported_for_torchscript(tmp_path: Path, trained: Path) -> None:
    exported = BUNDLE.exported(tmp_path, trained, [1, 1, 16, 16, 16], widths=[2, 4], depths=[1, 1])
    assert exported(torch.rand(1, 1, 16, 16, 16)).shape == (1, 2, 16, 16, 16)
