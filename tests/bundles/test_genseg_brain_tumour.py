"""The GenSeg bundle end to end: layout, mixed training, its twin, evaluation, inference, bad input."""

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
from segadv_monai.networks import GenSeg, GenSegTranslation

ROOT = Path(__file__).parents[2]
NETWORK = {
    "network_def::widths": [2, 4, 4],
    "network_def::common_channels": 6,
    "network_def::unique_channels": 2,
    "network_def::style_width": 4,
}
GRID = {"spacing": [6, 6, 6], "width": 24, "height": 40}
SMALL = {
    **NETWORK,
    **GRID,
    "labelled_share": 0.5,
    "epochs": 2,
    "val_interval": 2,
    "batch_size": 2,
    "critic_def::width": 2,
    "critic_def::scales": 1,
    "device": "cpu",
}


BUNDLE = Bundle("genseg_brain_tumour", SMALL)


@pytest.fixture(scope="module")
def brains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_set(tmp_path_factory.mktemp("brains"), Path(sample_data("brains")), training=1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, brains: Path) -> Path:
    output = tmp_path_factory.mktemp("trained")
    BUNDLE.train(output, brains)
    return output


def test_a_run_leaves_the_segmentor_and_every_term_of_the_game(trained: Path) -> None:
    row = rows(trained / "history.csv")[-1]
    for name in ("healthy", "sick"):
        assert float(row[f"segmentor/rebuilt_{name}"]) > 0
        assert float(row[f"critic/real_{name}"]) + float(row[f"critic/fake_{name}"]) > 0
    for name in ("segmentor/cycle", "segmentor/latent", "segmentor/empty", "segmentor/supervised"):
        assert float(row[name]) > 0
    assert "validation/dice" in row
    names = {name.partition(".")[0] for name in load_file(trained / "model.safetensors")}
    assert names == {"encoder", "common_decoder", "residual_decoder"}


def test_the_twin_starts_from_the_same_weights_and_sees_the_same_labelled_batches(brains: Path) -> None:
    weights, batches = [], []
    for overlays in ([], ["baseline.json"]):
        run = BUNDLE.workflow(*overlays, **SMALL, initialize=[], dataset_dir=str(brains))
        run.initialize()
        torch.manual_seed(0)
        network = run.parser.get_parsed_content("train#trainer").network
        assert type(network) is (GenSeg if overlays else GenSegTranslation)
        weights.append([p.detach() for p in network.parameters()])
        loader = run.parser.get_parsed_content("train#dataloader")
        loader.sampler.set_epoch(2)
        batches.append([batch["image"] for batch in loader if "label" in batch])
        assert len(loader) == len(batches[-1]) * (1 if overlays else 2)
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(*batches, strict=True))


def test_two_workers_give_the_bits_of_none(tmp_path: Path, trained: Path, brains: Path) -> None:
    """Keeps R8."""
    BUNDLE.train(tmp_path, brains, num_workers=2)
    here, there = (load_file(folder / "last.safetensors") for folder in (trained, tmp_path))
    assert [name for name, value in here.items() if not torch.equal(value, there[name])] == []


@pytest.mark.parametrize("overlay", ["baseline.json", "published.json"])
def test_every_overlay_trains(tmp_path: Path, brains: Path, overlay: str) -> None:
    BUNDLE.train(tmp_path, brains, overlay, epochs=1, unlabelled_share=1.0)
    (row,) = rows(tmp_path / "history.csv")
    assert ("segmentor/cycle" in row) == (overlay != "baseline.json")
    assert "segmentor/empty" not in row


def test_evaluation_and_inference_take_the_model(tmp_path: Path, trained: Path, brains: Path) -> None:
    small = {key: value for key, value in SMALL.items() if key != "epochs"}
    paths = {"ckpt_dir": str(trained), "output_dir": str(tmp_path / "eval"), "dataset_dir": str(brains)}
    run = BUNDLE.workflow("evaluate.json", **small, **paths)
    run.initialize()
    run.run()
    assert len(rows(tmp_path / "eval" / "cases.csv")) == 1
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


def test_a_volume_is_segmented_half_by_half(brains: Path) -> None:
    """What a window of the inferer sees in validation is what the training calls a half."""
    run = BUNDLE.workflow(**{**SMALL, "labelled_share": 1.0}, initialize=[], dataset_dir=str(brains))
    run.initialize()
    halves = run.parser.get_parsed_content("hemispheres")
    run.parser["validate::dataset::data::section"] = "training"
    run.parser.parse(reset=True)
    (case,) = run.parser.get_parsed_content("validate#dataset")
    seen: list[torch.Tensor] = []

    def look(window: torch.Tensor) -> torch.Tensor:
        seen.extend(window.as_subclass(torch.Tensor))
        return window[:, :1]

    run.parser.get_parsed_content("validate#inferer")(case["image"][None], look)
    for image in (*(one["image"] for one in halves.labelled), *halves.healthy):
        assert any(torch.equal(image, window) for window in seen)


def test_real_volumes_train(tmp_path: Path, shared_data: Path) -> None:
    dataset = small_set(tmp_path / "data", shared_data / "brain_tumour", training=1)
    BUNDLE.train(tmp_path / "run", dataset, epochs=1)
    assert float(rows(tmp_path / "run" / "history.csv")[0]["segmentor/cycle"]) > 0


def test_the_segmentor_is_exported_for_torchscript(tmp_path: Path, trained: Path) -> None:
    exported = BUNDLE.exported(
        tmp_path, trained, [1, 2, 24, 40], **{key.partition("::")[2]: value for key, value in NETWORK.items()}
    )
    assert exported(torch.rand(1, 2, 24, 40)).shape == (1, 1, 24, 40)


def test_a_training_without_unlabelled_slices_gets_one_line(tmp_path: Path, brains: Path) -> None:
    command = [sys.executable, "-m", "monai.bundle", "run", "training"]
    command += ["--config_file", str(BUNDLE.configs / "train.json"), "--dataset_dir", str(brains)]
    command += ["--output_dir", str(tmp_path / "run"), "--labelled_share", "1.0"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode != 0
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, result.stderr
    assert "set a smaller --labelled_share" in errors[0]
    assert "Traceback" not in result.stderr + result.stdout
