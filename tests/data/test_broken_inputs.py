"""Broken inputs: each ends in one line that names it, and none takes much more memory than is allowed."""

import ctypes
import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from broken_sets import BROKEN_DESCRIPTIONS, BROKEN_PAIRS, BROKEN_PICTURES, BROKEN_PLACES, BROKEN_SERIES
from broken_volumes import BROKEN_VOLUMES, CEILING, nifti
from bundle_runs import BUNDLES, Bundle
from dicom_files import PRIVATE
from safetensors.torch import save_file

from segadv_monai.data import VolumeReader, check_dataset, image_files
from segadv_monai.protocols import ConfigError, DataError

VOLUMES = {**BROKEN_VOLUMES, **BROKEN_SERIES, **BROKEN_PLACES}
IMAGES = {**BROKEN_PICTURES, **VOLUMES}


@pytest.fixture(autouse=True)
def small_ceiling(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGADV_MAX_IMAGE_GIB", str(CEILING / 2**30))
    monkeypatch.setenv("SEGADV_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module", autouse=True)
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the readers import takes memory once, and is no one's fault."""
    for name in ("mha, cut", "series, slice missing", "png, cut", "nifti, compressed and cut"):
        with pytest.raises(DataError):
            looked_at(IMAGES[name](tmp_path_factory.mktemp("first")))
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def looked_at(image: Path, label: Path | None = None, *, dims: int = 3) -> None:
    root = image.parent if label is None else label.parent
    entry = {"image": str(image), "label": str(label or image)}
    (root / "dataset.json").write_text(json.dumps({"labels": {"0": "a", "1": "b"}, "training": [entry]}))
    channels = 1 if dims == 3 else 3
    check_dataset(str(root), sections=["training"], spatial_dims=dims, in_channels=channels, quiet=True)


def refused(caught: pytest.ExceptionInfo[DataError | ConfigError], name: str) -> None:
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert name in message
    assert not any(value in message for value in PRIVATE.values())


class Growth:
    """The most memory that a block took beyond what there was."""

    def __enter__(self) -> "Growth":
        if not Path("/proc/self/clear_refs").exists():
            pytest.skip("needs the system to tell the most memory that was used")
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        self.before = self.peak()
        return self

    def __exit__(self, *_: object) -> None:
        self.bytes = self.peak() - self.before

    @staticmethod
    def peak() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def made(name: str, folder: Path) -> Path:
    if "may not be read" in name and os.geteuid() == 0:
        pytest.skip("root may read everything")
    return IMAGES[name](folder)


def test_the_corpus_is_large() -> None:
    assert len(IMAGES) + len(BROKEN_PAIRS) + len(BROKEN_DESCRIPTIONS) > 180


@pytest.mark.parametrize("name", IMAGES)
def test_a_broken_image_ends_in_one_line_that_names_it_and_takes_no_more_memory_than_is_allowed(
    name: str, tmp_path: Path
) -> None:
    image = made(name, tmp_path)
    with Growth() as growth, pytest.raises((DataError, ConfigError)) as caught:
        looked_at(image, tmp_path / "label.nii", dims=2 if name in BROKEN_PICTURES else 3)
    refused(caught, image.name)
    assert growth.bytes < 1.2 * CEILING


@pytest.mark.parametrize("name", [name for name in BROKEN_VOLUMES if "32767 cubed" in name])
def test_the_size_that_is_declared_is_told_before_memory_is_asked_for(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"declares 32767 x 32767 x 32767 values, 1\.31e\+05 GiB"):
        looked_at(IMAGES[name](tmp_path))


@pytest.mark.parametrize("name", [name for name in BROKEN_VOLUMES if "outside" in name])
def test_no_header_leads_out_of_its_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="says that its values lie outside its folder"):
        looked_at(IMAGES[name](tmp_path))


def test_several_large_images_at_a_time_take_no_more_memory_than_one_may(tmp_path: Path) -> None:
    whole = IMAGES["nifti, large with a NaN, compressed"](tmp_path).read_bytes()
    for number in range(4):
        (tmp_path / f"{number}.nii.gz").write_bytes(whole)
    entries = [{"image": f"{number}.nii.gz", "label": f"{number}.nii.gz"} for number in range(4)]
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"0": "a"}, "training": entries}))
    with Growth() as growth, pytest.raises(DataError, match="and 3 more cases with faults") as caught:
        check_dataset(str(tmp_path), sections=["training"], spatial_dims=3, in_channels=1, quiet=True)
    refused(caught, "0.nii.gz")
    assert growth.bytes < 1.2 * CEILING


@pytest.mark.parametrize("name", VOLUMES)
def test_the_reader_of_the_bundles_refuses_what_the_check_refuses(name: str, tmp_path: Path) -> None:
    image, reader = made(name, tmp_path), VolumeReader()
    with Growth() as growth, pytest.raises((DataError, ConfigError)) as caught:
        reader.get_data(reader.read(image))
    refused(caught, image.name)
    assert growth.bytes < 1.2 * CEILING


@pytest.mark.parametrize("name", BROKEN_PAIRS)
def test_a_label_that_does_not_go_with_its_image_ends_in_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / "image.nii").write_bytes(nifti())
    with pytest.raises(DataError) as caught:
        looked_at(tmp_path / "image.nii", BROKEN_PAIRS[name](tmp_path))
    refused(caught, "label.nii.gz")


@pytest.mark.parametrize("name", BROKEN_DESCRIPTIONS)
def test_a_broken_description_ends_in_one_line(name: str, tmp_path: Path) -> None:
    content = BROKEN_DESCRIPTIONS[name]
    if content is not None:
        (tmp_path / "dataset.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        check_dataset(str(tmp_path), sections=["training"], spatial_dims=3, in_channels=1)
    refused(caught, str(tmp_path))


# --- as a user meets them


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network = Bundle("segan").workflow("inference_volumes.json", kind="inference")
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_file(network.parser.get_parsed_content("network_def").state_dict(), path)
    return path


def told_by(*arguments: str) -> str:
    """What a run that fails writes, which has to be one line and no traceback."""
    command = [sys.executable, "-m", "monai.bundle", "run", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return line


@pytest.mark.parametrize(
    "name",
    [
        "series, slice missing",
        pytest.param("nifti, bomb", marks=pytest.mark.slow),
        pytest.param("mhd, values cut", marks=pytest.mark.slow),
    ],
)
def test_a_training_ends_with_exit_code_1_and_the_line(name: str, tmp_path: Path) -> None:
    image = VOLUMES[name](tmp_path)
    entries = [{"image": str(image), "label": str(tmp_path / "label.nii")}]
    content = {"labels": {str(i): "a" for i in range(4)}, "training": entries, "validation": entries}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    files = [str(BUNDLES / "segan/configs" / file) for file in ("train.json", "volumes.json")]
    output = ["--output_dir", str(tmp_path / "out")]
    line = told_by("training", "--config_file", str(files), "--dataset_dir", str(tmp_path), *output)
    assert image.name in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name", ["mha, cut", pytest.param("nifti, less than declared, compressed", marks=pytest.mark.slow)]
)
def test_an_inference_ends_with_exit_code_1_and_the_line(name: str, tmp_path: Path, model: Path) -> None:
    (tmp_path / "images").mkdir()
    image = VOLUMES[name](tmp_path / "images")
    assert image_files(image.parent) == [{"image": str(image)}]
    files = [str(BUNDLES / "segan/configs" / file) for file in ("inference.json", "inference_volumes.json")]
    places = [
        "--dataset_dir",
        str(image.parent),
        "--output_dir",
        str(tmp_path / "out"),
        "--model",
        str(model),
    ]
    reader = ["--load_transforms#0#reader", "segadv_monai.data.VolumeReader"]
    line = told_by("run", "--config_file", str(files), *places, *reader)
    assert image.name in line
    assert not list(tmp_path.glob("out/*_segmentation*"))
