import json
import os
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile

from segadv_monai.data import check_dataset
from segadv_monai.protocols import DataError

SHARED = Path(os.environ.get("SEGADV_DATA", Path(__file__).parents[3] / "shared" / "data"))


def described(root: Path, names: list[str], image_suffix: str, label_suffix: str) -> Path:
    entries = [{"image": f"{n}{image_suffix}", "label": f"{n}_label{label_suffix}"} for n in names]
    content = {"labels": {"0": "skin", "1": "lesion"}, "training": entries[:-1], "validation": entries[-1:]}
    (root / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return root


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for name in "abc":
        noise = generator.integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{name}.jpg")
        Image.fromarray((noise[..., 0] > 128).astype(np.uint8)).save(tmp_path / f"{name}_label.png")
    return described(tmp_path, list("abc"), ".jpg", ".png")


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for name in "abc":
        noise = generator.normal(0, 100, (8, 9, 10)).astype(np.float32)
        save_volume(noise, tmp_path / f"{name}.nii.gz")
        save_volume((noise > 0).astype(np.uint8), tmp_path / f"{name}_label.nii.gz")
    return described(tmp_path, list("abc"), ".nii.gz", ".nii.gz")


def save_volume(array: NDArray[Any], path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(array, np.diag([1.5, 1.5, 2, 1])), path)


def truncate(path: Path, share: float = 0.5) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def fault(root: Path, spatial_dims: int = 2, in_channels: int = 3) -> str:
    with pytest.raises(DataError) as caught:
        check_dataset(str(root), spatial_dims=spatial_dims, in_channels=in_channels)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_whole_pictures_pass(pictures: Path) -> None:
    check_dataset(str(pictures), spatial_dims=2, in_channels=3)


def test_whole_volumes_pass(volumes: Path) -> None:
    check_dataset(str(volumes), spatial_dims=3, in_channels=1)


def test_a_missing_file_is_named(pictures: Path) -> None:
    (pictures / "b_label.png").unlink()
    assert f"{pictures / 'b_label.png'}: there is no such file" in fault(pictures)


def test_the_first_fault_in_the_order_of_the_data_set_is_told_and_the_rest_counted(pictures: Path) -> None:
    (pictures / "c.jpg").unlink()
    message = fault(pictures)
    assert message.startswith(str(pictures / "c.jpg"))
    assert "more" not in message
    (pictures / "b.jpg").unlink()
    message = fault(pictures)
    assert message.startswith(str(pictures / "b.jpg"))
    assert message.endswith("(and 1 more case with faults)")
    (pictures / "a.jpg").unlink()
    assert fault(pictures).endswith("(and 2 more cases with faults)")


def test_only_the_sections_asked_for_are_read(pictures: Path) -> None:
    (pictures / "c.jpg").unlink()
    check_dataset(str(pictures), sections=["training"], spatial_dims=2, in_channels=3)


@pytest.mark.parametrize("tolerant", [False, True])
def test_a_truncated_jpeg_is_named(pictures: Path, monkeypatch: pytest.MonkeyPatch, tolerant: bool) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", tolerant)
    truncate(pictures / "b.jpg", 0.7)
    assert f"{pictures / 'b.jpg'} is truncated or damaged" in fault(pictures)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is tolerant


@pytest.mark.parametrize("share", [0, 0.1, 0.7])
def test_a_truncated_png_is_named(pictures: Path, share: float) -> None:
    truncate(pictures / "a_label.png", share)
    assert f"{pictures / 'a_label.png'} is truncated or damaged" in fault(pictures)


@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.99])
def test_a_truncated_compressed_volume_is_named(volumes: Path, share: float) -> None:
    truncate(volumes / "b.nii.gz", share)
    assert f"{volumes / 'b.nii.gz'} is truncated or damaged" in fault(volumes, 3, 1)


@pytest.mark.parametrize("share", [0, 0.05, 0.5, 0.99])
def test_a_truncated_uncompressed_volume_is_named(volumes: Path, share: float) -> None:
    for name in "abc":
        save_volume(np.zeros((8, 9, 10), np.float32), volumes / f"{name}.nii")
    described(volumes, list("abc"), ".nii", ".nii.gz")
    truncate(volumes / "b.nii", share)
    assert f"{volumes / 'b.nii'} is truncated or damaged" in fault(volumes, 3, 1)


def test_a_flipped_byte_in_a_compressed_volume_is_named(volumes: Path) -> None:
    content = bytearray((volumes / "b.nii.gz").read_bytes())
    content[-6] ^= 1
    (volumes / "b.nii.gz").write_bytes(content)
    assert f"{volumes / 'b.nii.gz'} is truncated or damaged" in fault(volumes, 3, 1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named(volumes: Path, value: float) -> None:
    array = np.zeros((8, 9, 10), np.float32)
    array[1, 2, 3] = value
    save_volume(array, volumes / "b.nii.gz")
    assert f"{volumes / 'b.nii.gz'} holds 1 values that are not finite" in fault(volumes, 3, 1)
    save_volume(np.zeros((8, 9, 10), np.float32), volumes / "b.nii.gz")
    save_volume(array, volumes / "b_label.nii.gz")
    assert f"{volumes / 'b_label.nii.gz'} holds 1 values that are not finite" in fault(volumes, 3, 1)


def test_pictures_of_another_size_than_their_label_are_named_width_first(pictures: Path) -> None:
    Image.new("L", (30, 21)).save(pictures / "b_label.png")
    message = fault(pictures)
    assert "b_label.png is 30 x 21 but its image" in message
    assert "b.jpg is 30 x 20: both must have the same size" in message


def test_volumes_of_another_size_than_their_label_are_named(volumes: Path) -> None:
    save_volume(np.zeros((8, 9, 11), np.uint8), volumes / "b_label.nii.gz")
    message = fault(volumes, 3, 1)
    assert "b_label.nii.gz is 8 x 9 x 11 but its image" in message
    assert "b.nii.gz is 8 x 9 x 10" in message


def test_label_values_that_the_data_set_does_not_name_are_told(pictures: Path) -> None:
    Image.fromarray(np.full((20, 30), 255, np.uint8)).save(pictures / "b_label.png")
    expected = "b_label.png holds the label values 255 but labels of dataset.json allows 0, 1:"
    assert expected in fault(pictures)


def test_many_strange_label_values_are_shortened(pictures: Path) -> None:
    Image.fromarray(np.arange(600).reshape(20, 30).astype(np.uint8)).save(pictures / "b_label.png")
    assert "holds the label values 2, 3, 4, 5, 6, … but" in fault(pictures)


def test_labels_that_are_not_integers_are_told(volumes: Path) -> None:
    save_volume(np.full((8, 9, 10), 0.5, np.float32), volumes / "b_label.nii.gz")
    assert "b_label.nii.gz holds the label values 0.5 but" in fault(volumes, 3, 1)


def test_integers_stored_as_floats_are_labels(volumes: Path) -> None:
    save_volume(np.ones((8, 9, 10), np.float64), volumes / "b_label.nii.gz")
    check_dataset(str(volumes), spatial_dims=3, in_channels=1)


def test_a_palette_label_is_read_by_its_indices(pictures: Path) -> None:
    label = Image.fromarray(np.eye(20, 30, dtype=np.uint8))
    label.putpalette([0, 0, 0, 255, 0, 0])
    label.save(pictures / "b_label.png")
    check_dataset(str(pictures), spatial_dims=2, in_channels=3)


def test_a_one_bit_label_is_read(pictures: Path) -> None:
    Image.fromarray(np.eye(20, 30, dtype=bool)).save(pictures / "b_label.png")
    check_dataset(str(pictures), spatial_dims=2, in_channels=3)


def test_a_label_in_colours_is_named(pictures: Path) -> None:
    Image.new("RGB", (30, 20)).save(pictures / "b_label.png")
    assert "b_label.png has 3 channels: a label map has one" in fault(pictures)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_pictures_with_alpha_or_palette_are_to_be_converted(pictures: Path, mode: str) -> None:
    for name in "abc":
        Image.new(mode, (30, 20)).save(pictures / f"{name}.png")
    described(pictures, list("abc"), ".png", ".png")
    (pictures / "b_label.png").unlink()
    assert f"a.png is a picture of mode {mode}: convert it to RGB" in fault(pictures)


def test_grey_pictures_have_one_channel(pictures: Path) -> None:
    for name in "abc":
        Image.new("L", (30, 20)).save(pictures / f"{name}.jpg")
    check_dataset(str(pictures), spatial_dims=2, in_channels=1)
    assert "holds 2D images with 1 channel but the network expects 2D images with 3 channels" in fault(
        pictures
    )


def test_volumes_for_a_network_of_pictures_are_told_with_the_remedy(volumes: Path) -> None:
    message = fault(volumes)
    assert (
        "holds 3D volumes with 1 channel but the network expects 2D images with 3 channels: set " in message
    )
    assert "--network_def#spatial_dims 3 and --network_def#in_channels 1" in message
    assert message.endswith("(and 2 more cases with faults)")


def test_the_last_of_four_axes_holds_the_channels(volumes: Path) -> None:
    for name in "abc":
        save_volume(np.zeros((8, 9, 10, 2), np.float32), volumes / f"{name}.nii.gz")
    check_dataset(str(volumes), spatial_dims=3, in_channels=2)
    assert "holds 3D volumes with 2 channels but the network expects 3D volumes with 1 channel" in fault(
        volumes, 3, 1
    )


def test_five_axes_are_named(volumes: Path) -> None:
    save_volume(np.zeros((2, 3, 4, 5, 6), np.float32), volumes / "b.nii.gz")
    assert "b.nii.gz has 5 axes: a volume has 3" in fault(volumes, 3, 1)


def test_colours_in_a_volume_are_named(volumes: Path) -> None:
    save_volume(np.zeros((8, 9, 10), [("R", "u1"), ("G", "u1"), ("B", "u1")]), volumes / "b.nii.gz")
    assert "convert them to plain numbers" in fault(volumes, 3, 1)


def with_lists(root: Path) -> None:
    file = root / "dataset.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["training"][0]["image"] = ["a.nii.gz", "b.nii.gz"]
    file.write_text(json.dumps(content), encoding="utf-8")


def test_a_list_of_files_gives_as_many_channels(volumes: Path) -> None:
    with_lists(volumes)
    check = {"sections": ["training"], "spatial_dims": 3}
    with pytest.raises(DataError, match=r"b\.nii\.gz holds 3D volumes with 1 channel but .* 2 channels"):
        check_dataset(str(volumes), in_channels=2, **check)
    with pytest.raises(DataError, match=r"a\.nii\.gz holds 3D volumes with 2 channels but .* 1 channel"):
        check_dataset(str(volumes), in_channels=1, **check)


def test_files_of_one_image_must_agree(volumes: Path) -> None:
    with_lists(volumes)
    save_volume(np.zeros((8, 9, 11), np.float32), volumes / "b.nii.gz")
    assert "b.nii.gz is 8 x 9 x 11 but" in fault(volumes, 3, 2)
    save_volume(np.zeros((8, 9, 10, 2), np.float32), volumes / "b.nii.gz")
    assert "b.nii.gz has 2 channels: in a list of files each has one" in fault(volumes, 3, 2)


def test_an_unknown_kind_of_file_is_named(volumes: Path) -> None:
    (volumes / "a.mha").write_bytes(b"")
    described(volumes, ["a", "b"], ".mha", ".nii.gz")
    assert "a.mha is of a kind that cannot be read here: convert it to one of" in fault(volumes, 3, 1)


@pytest.mark.parametrize(("name", "spatial_dims", "channels"), [("dermoscopy", 2, 3), ("hippocampus", 3, 1)])
def test_real_data_pass(name: str, spatial_dims: int, channels: int) -> None:
    directory = SHARED / name
    if not directory.is_dir():
        pytest.skip(f"no real data: {name} is not in SEGADV_DATA or ../shared/data")
    check_dataset(str(directory), spatial_dims=spatial_dims, in_channels=channels)
