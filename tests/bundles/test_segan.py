"""The SegAN bundle end to end: layout, training, overlays, evaluation, inference, recovery, bad input."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import onnxruntime
import pytest
import torch
from bundle_runs import Bundle, small_set
from monai.bundle import (
    ConfigParser,
    ckpt_export,
    onnx_export,
    verify_metadata,
    verify_net_in_out,
)
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from segadv_monai.data import sample_data
from segadv_monai.networks import SegAN

ROOT = Path(__file__).parents[2]
SMALL = {
    "epochs": 2,
    "val_interval": 1,
    "batch_size": 2,
    "image_size": [48, 48],
    "window": [48, 48],
    "crop_size": [40, 40],
    "network_def::width": 2,
    "critic_def::widths": [2, 2, 4, 4, 4, 4],
    "device": "cpu",
}
SMALL_3D = {
    "epochs": 1,
    "crop_size": [40, 40, 40],
    "window": [40, 40, 40],
    "critic_def::widths": [2, 4, 4, 4, 4],
}


BUNDLE = Bundle("segan", SMALL)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_set(
        tmp_path_factory.mktemp("pictures"), Path(sample_data("dermoscopy")), training=6, validation=3
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    output = tmp_path_factory.mktemp("trained")
    BUNDLE.train(output, pictures)
    return output


def command_line(*arguments: str, run_id: str = "training", config: str = "train.json") -> list[str]:
    command = [sys.executable, "-m", "monai.bundle", "run", run_id]
    return [*command, "--config_file", str(BUNDLE.configs / config), *arguments]


def small_arguments() -> list[str]:
    values = {key.replace("::", "#"): json.dumps(value).strip('"') for key, value in SMALL.items()}
    return [part for key, value in values.items() for part in (f"--{key}", value)]


def run_command(command: list[str], cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


def test_training_leaves_models_curves_and_pictures(trained: Path) -> None:
    for name in ("model.pt", "model.safetensors", "last.safetensors", "history.csv"):
        assert (trained / name).stat().st_size > 0
    assert sorted(p.name for p in (trained / "previews").glob("*.png")) == [
        "epoch_0001.png",
        "epoch_0002.png",
    ]
    assert list((trained / "tensorboard").glob("events*"))
    state = torch.load(trained / "model.pt", weights_only=True)
    parser = ConfigParser()
    parser.read_config(BUNDLE.configs / "train.json")
    parser["network_def"]["width"] = SMALL["network_def::width"]
    parser.get_parsed_content("network_def").load_state_dict(state)


def test_the_twin_without_critic_starts_from_the_same_weights_and_data(
    tmp_path: Path, pictures: Path
) -> None:
    first_batches, weights = [], []
    for overlays in ([], ["baseline.json"]):
        run = BUNDLE.workflow(*overlays, **SMALL, output_dir=str(tmp_path), dataset_dir=str(pictures))
        run.initialize()
        trainer = run.parser.get_parsed_content("train#trainer")
        weights.append([p.clone() for p in trainer.network.parameters()])
        first_batches.append(next(iter(run.parser.get_parsed_content("train#dataloader")))["image"])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    assert torch.equal(*first_batches)


def test_two_workers_give_the_bits_of_none(tmp_path: Path, pictures: Path) -> None:
    """Keeps R8."""
    models = []
    for workers in (0, 2):
        output = tmp_path / str(workers)
        BUNDLE.train(output, pictures, num_workers=workers, elastic_probability=0.5)
        models.append(load_file(output / "last.safetensors"))
    assert [name for name, value in models[0].items() if not torch.equal(value, models[1][name])] == []


@pytest.mark.parametrize("overlay", ["baseline.json", "adversarial_only.json"])
def test_every_twin_trains(tmp_path: Path, pictures: Path, overlay: str) -> None:
    BUNDLE.train(tmp_path, pictures, overlay, epochs=1)
    assert (tmp_path / "model.pt").is_file()


def test_volumes_train_and_are_segmented_on_their_own_grid(tmp_path: Path) -> None:
    dataset = small_set(tmp_path / "volumes", Path(sample_data("ct_volumes")), training=2, validation=1)
    BUNDLE.train(tmp_path / "run", dataset, "volumes.json", **SMALL_3D)
    assert (tmp_path / "run" / "model.pt").is_file()
    case = json.loads((dataset / "dataset.json").read_text())["validation"][0]["image"]
    segment = BUNDLE.workflow(
        "inference_volumes.json",
        kind="inference",
        **{"network_def::width": 2, "window": [40, 40, 40]},
        ckpt_dir=str(tmp_path / "run"),
        output_dir=str(tmp_path / "out"),
        dataset_dir=case,
        device="cpu",
    )
    segment.initialize()
    segment.run()
    image, mask = nibabel.load(case), nibabel.load(next((tmp_path / "out").glob("*.nii.gz")))
    assert mask.shape == image.shape
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-5)


def test_real_dermoscopy_trains(tmp_path: Path, shared_data: Path) -> None:
    dataset = small_set(tmp_path / "data", shared_data / "dermoscopy", training=4, validation=2)
    BUNDLE.train(tmp_path / "run", dataset, epochs=1)
    assert (tmp_path / "run" / "model.pt").is_file()


def test_real_volumes_of_two_structures_train(tmp_path: Path, shared_data: Path) -> None:
    dataset = small_set(tmp_path / "data", shared_data / "hippocampus", training=4, validation=2)
    regions = {"regions": [[1], [2]], "network_def::out_channels": 2, "spacing": [1, 1, 1]}
    BUNDLE.train(tmp_path / "run", dataset, "volumes.json", **SMALL_3D, **regions)
    assert (tmp_path / "run" / "model.pt").is_file()


def test_evaluation_writes_every_case_and_a_summary_with_intervals(
    tmp_path: Path, trained: Path, pictures: Path
) -> None:
    small = {key: value for key, value in SMALL.items() if key != "epochs"}
    paths = {"ckpt_dir": str(trained), "output_dir": str(tmp_path), "dataset_dir": str(pictures)}
    run = BUNDLE.workflow("evaluate.json", **small, **paths)
    run.initialize()
    run.run()
    rows = list(csv.DictReader((tmp_path / "cases.csv").read_text().splitlines()))
    assert len(rows) == 3
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert "jaccard" in json.dumps(summary)
    assert "missed" in json.dumps(summary)


def test_inference_writes_masks_with_the_geometry_of_their_pictures(
    tmp_path: Path, trained: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "segadv_monai")
    folder = tmp_path / "in"
    folder.mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (50, 80, 3), dtype=np.uint8)).save(folder / "wide.jpg")
    Image.fromarray(rng.integers(0, 255, (90, 60, 3), dtype=np.uint8)).save(folder / "tall.png")
    small = {key: SMALL[key] for key in ("network_def::width", "image_size", "window", "device")}
    paths = {"ckpt_dir": str(trained), "output_dir": str(tmp_path / "out"), "dataset_dir": str(folder)}
    run = BUNDLE.workflow(kind="inference", **small, **paths)
    run.initialize()
    run.run()
    sizes = {p.name: size_of(p) for p in (tmp_path / "out").glob("*.png")}
    assert sizes == {"tall_segmentation.png": (60, 90), "wide_segmentation.png": (80, 50)}
    assert caplog.messages[-1] == f"2 cases done: {tmp_path / 'out'}"


def test_a_killed_run_goes_on_with_the_same_command(tmp_path: Path, pictures: Path) -> None:
    command = command_line(
        *small_arguments(), "--dataset_dir", str(pictures), "--output_dir", str(tmp_path), "--epochs", "400"
    )
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 120
    while (
        not (tmp_path / "last.safetensors").is_file()
        and time.monotonic() < deadline
        and process.poll() is None
    ):
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    epoch = epoch_in(tmp_path / "last.safetensors")
    command[command.index("400")] = str(epoch + 1)
    resumed = run_command(command)
    assert resumed.returncode == 0, resumed.stderr
    assert epoch_in(tmp_path / "last.safetensors") == epoch + 1


def epoch_in(checkpoint: Path) -> int:
    with safe_open(checkpoint, framework="pt") as file:
        entries = json.loads(file.metadata()["state"])["dict"]
    return int(dict(entries)["epoch"])


def size_of(picture: Path) -> tuple[int, int]:
    with Image.open(picture) as opened:
        return opened.size


def broken_set(tmp_path: Path, pictures: Path, fault: str) -> Path:
    """A data set with one fault; a folder without dataset.json for the fault of that name."""
    if fault == "no dataset.json":
        return tmp_path
    description = json.loads((pictures / "dataset.json").read_text())
    entry = description["training"][1]
    entry["image" if fault in ("missing", "truncated") else "label"] = str(tmp_path / "broken.png")
    if fault == "truncated":
        whole = Path(description["training"][0]["image"]).read_bytes()
        (tmp_path / "broken.png").write_bytes(whole[: len(whole) // 2])
    if fault == "labels":
        size = size_of(Path(entry["image"]))
        Image.fromarray(np.full(size[::-1], 7, dtype=np.uint8)).save(tmp_path / "broken.png")
    if fault == "size":
        Image.fromarray(np.zeros((20, 30), dtype=np.uint8)).save(tmp_path / "broken.png")
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    return tmp_path


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        ("no dataset.json", "dataset.json"),
        ("missing", "broken.png"),
        ("truncated", "broken.png"),
        ("labels", "7"),
        ("size", "broken.png"),
    ],
)
def test_a_broken_data_set_gets_one_line(tmp_path: Path, pictures: Path, fault: str, word: str) -> None:
    output = tmp_path / "run"
    dataset = broken_set(tmp_path, pictures, fault)
    result = run_command(command_line("--dataset_dir", str(dataset), "--output_dir", str(output)))
    assert_one_line(result, word)
    assert not output.exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--epoch", "1"], "did you mean --epochs"),
        (["--network_def#breadth", "8"], "breadth"),
        (["--device", "cuda"], "cuda"),
        (["--regions", "[[1],[5]]"], "5"),
        (["--network_def#in_channels", "1"], "channel"),
    ],
)
def test_a_wrong_setting_gets_one_line(
    tmp_path: Path, pictures: Path, arguments: list[str], word: str
) -> None:
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("a CUDA device is present")
    output = tmp_path / "run"
    command = command_line("--dataset_dir", str(pictures), "--output_dir", str(output), *arguments)
    assert_one_line(run_command(command), word)
    assert not output.exists()


def test_a_checkpoint_of_another_network_gets_one_line(trained: Path, pictures: Path) -> None:
    before = (trained / "last.safetensors").read_bytes()
    arguments = [*small_arguments(), "--dataset_dir", str(pictures), "--output_dir", str(trained)]
    arguments[arguments.index("--network_def#width") + 1] = "3"
    assert_one_line(run_command(command_line(*arguments)), "last.safetensors")
    assert (trained / "last.safetensors").read_bytes() == before


def assert_one_line(result: subprocess.CompletedProcess[str], word: str) -> None:
    assert result.returncode != 0
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, result.stderr
    assert word in errors[0]
    assert "Traceback" not in result.stderr + result.stdout


def test_the_network_fits_its_metadata() -> None:
    verify_net_in_out(
        net_id="network_def",
        config_file=str(BUNDLE.configs / "train.json"),
        meta_file=str(BUNDLE.configs / "metadata.json"),
    )


@pytest.mark.filterwarnings("ignore:No hash value provided:UserWarning")
def test_the_metadata_pass_monais_own_check(tmp_path: Path, shared_data: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_bytes((shared_data.parent / "schema" / "meta_schema_20240725.json").read_bytes())
    verify_metadata(meta_file=str(BUNDLE.configs / "metadata.json"), filepath=str(schema))


@pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning")
def test_the_segmentor_is_exported_for_torchscript_and_onnx(tmp_path: Path, trained: Path) -> None:
    config = json.loads((BUNDLE.configs / "inference.json").read_text())
    config["network_def"]["width"] = SMALL["network_def::width"]
    (tmp_path / "inference.json").write_text(json.dumps(config))
    common = {
        "net_id": "network_def",
        "ckpt_file": str(trained / "model.pt"),
        "meta_file": str(BUNDLE.configs / "metadata.json"),
        "config_file": str(tmp_path / "inference.json"),
        "input_shape": [1, 3, 64, 64],
    }
    ckpt_export(filepath=str(tmp_path / "model.ts"), **common)
    onnx_export(filepath=str(tmp_path / "model.onnx"), **common)
    image = torch.rand(1, 3, 64, 64)
    network = SegAN(2, 3, 1, width=2).eval()
    network.load_state_dict(torch.load(trained / "model.pt", weights_only=True))
    expected = network(image).detach()
    torch.testing.assert_close(torch.jit.load(tmp_path / "model.ts")(image).detach(), expected)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-3, atol=1e-4)
