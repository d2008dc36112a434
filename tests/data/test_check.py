import gzip
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from dicom_files import PRIVATE, write_series
from numpy.typing import NDArray
from PIL import Image, ImageFile

from segadv_monai.data import DataReport, check_dataset
from segadv_monai.protocols import DataError


def described(
    root: Path, names: list[str], image_suffix: str, label_suffix: str, labels: dict[str, str] | None = None
) -> Path:
    entries = [{"image": f"{n}{image_suffix}", "label": f"{n}_label{label_suffix}"} for n in names]
    labels = labels or {"0": "skin", "1": "lesion"}
    content = {"labels": labels, "training": entries[:-1], "validation": entries[-1:]}
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


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SEGADV_CACHE", str(folder))
    return folder


def save_volume(array: NDArray[Any], path: Path, affine: NDArray[Any] | None = None) -> None:
    grid = np.diag([1.5, 1.5, 2, 1]) if affine is None else affine
    nibabel.save(nibabel.Nifti1Image(array, grid), path)


def truncate(path: Path, share: float = 0.5) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def fault(root: Path, spatial_dims: int = 2, in_channels: int = 3) -> str:
    with pytest.raises(DataError) as caught:
        check_dataset(str(root), spatial_dims=spatial_dims, in_channels=in_channels)
    message = str(caught.value)
    assert "\n" not in message
    return message


def looked_at(root: Path, spatial_dims: int, in_channels: int) -> DataReport:
    return check_dataset(str(root), spatial_dims=spatial_dims, in_channels=in_channels)


def test_whole_pictures_pass(pictures: Path) -> None:
    check_dataset(str(pictures), spatial_dims=2, in_channels=3)


def test_whole_volumes_pass(volumes: Path) -> None:
    check_dataset(str(volumes), spatial_dims=3, in_channels=1)


def test_a_missing_file_is_named(pictures: Path) -> None:
    """Keeps D1."""
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
    """Keeps D1."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", tolerant)
    truncate(pictures / "b.jpg", 0.7)
    assert f"{pictures / 'b.jpg'} is truncated or damaged" in fault(pictures)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is tolerant


@pytest.mark.parametrize("share", [0, 0.1, 0.7])
def test_a_truncated_png_is_named(pictures: Path, share: float) -> None:
    """Keeps D1."""
    truncate(pictures / "a_label.png", share)
    assert f"{pictures / 'a_label.png'} is truncated or damaged" in fault(pictures)


@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.99])
def test_a_truncated_compressed_volume_is_named(volumes: Path, share: float) -> None:
    """Keeps D1."""
    truncate(volumes / "b.nii.gz", share)
    assert f"{volumes / 'b.nii.gz'} is truncated or damaged" in fault(volumes, 3, 1)


@pytest.mark.parametrize("share", [0, 0.05, 0.5, 0.99])
def test_a_truncated_uncompressed_volume_is_named(volumes: Path, share: float) -> None:
    """Keeps D1."""
    for name in "abc":
        save_volume(np.zeros((8, 9, 10), np.float32), volumes / f"{name}.nii")
    described(volumes, list("abc"), ".nii", ".nii.gz")
    truncate(volumes / "b.nii", share)
    assert f"{volumes / 'b.nii'} is truncated or damaged" in fault(volumes, 3, 1)


def test_a_flipped_byte_in_a_compressed_volume_is_named(volumes: Path) -> None:
    """Keeps D1."""
    content = bytearray((volumes / "b.nii.gz").read_bytes())
    content[-6] ^= 1
    (volumes / "b.nii.gz").write_bytes(content)
    assert f"{volumes / 'b.nii.gz'} is truncated or damaged" in fault(volumes, 3, 1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named(volumes: Path, value: float) -> None:
    """Keeps D2."""
    array = np.zeros((8, 9, 10), np.float32)
    array[1, 2, 3] = value
    save_volume(array, volumes / "b.nii.gz")
    assert f"{volumes / 'b.nii.gz'} holds 1 values that are not finite" in fault(volumes, 3, 1)
    save_volume(np.zeros((8, 9, 10), np.float32), volumes / "b.nii.gz")
    save_volume(array, volumes / "b_label.nii.gz")
    assert f"{volumes / 'b_label.nii.gz'} holds 1 values that are not finite" in fault(volumes, 3, 1)


def test_pictures_of_another_size_than_their_label_are_named_width_first(pictures: Path) -> None:
    """Keeps D2."""
    Image.new("L", (30, 21)).save(pictures / "b_label.png")
    message = fault(pictures)
    assert "b_label.png is 30 x 21 but its image" in message
    assert "b.jpg is 30 x 20: both must have the same size" in message


def test_volumes_of_another_size_than_their_label_are_named(volumes: Path) -> None:
    """Keeps D2."""
    save_volume(np.zeros((8, 9, 11), np.uint8), volumes / "b_label.nii.gz")
    message = fault(volumes, 3, 1)
    assert "b_label.nii.gz is 8 x 9 x 11 but its image" in message
    assert "b.nii.gz is 8 x 9 x 10" in message


def test_label_values_that_the_data_set_does_not_name_are_told(pictures: Path) -> None:
    """Keeps D2."""
    Image.fromarray(np.full((20, 30), 255, np.uint8)).save(pictures / "b_label.png")
    expected = "b_label.png holds the label values 255 but labels of dataset.json allows 0, 1:"
    assert expected in fault(pictures)


def test_many_strange_label_values_are_shortened(pictures: Path) -> None:
    Image.fromarray(np.arange(600).reshape(20, 30).astype(np.uint8)).save(pictures / "b_label.png")
    assert "holds the label values 2, 3, 4, 5, 6, … but" in fault(pictures)


def test_labels_that_are_not_integers_are_told(volumes: Path) -> None:
    """Keeps D2."""
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
    for level, name in enumerate("abc"):
        Image.new("L", (30, 20), level).save(pictures / f"{name}.jpg")
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
    for level, name in enumerate("abc"):
        save_volume(np.full((8, 9, 10, 2), level, np.float32), volumes / f"{name}.nii.gz")
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
    (volumes / "a.mgz").write_bytes(b"")
    described(volumes, ["a", "b"], ".mgz", ".nii.gz")
    assert "a.mgz is of a kind that cannot be read here: convert it to one of" in fault(volumes, 3, 1)


@pytest.mark.parametrize("value", [0.0, -1.5, np.nan, np.inf])
def test_a_spacing_that_is_none_is_refused_and_not_repaired(volumes: Path, value: float) -> None:
    """nibabel would set a zero to 1 and take a minus away, and log a line. Keeps D3."""
    image = nibabel.load(volumes / "b.nii.gz")
    content = bytearray(image.to_bytes())
    content[80:84] = np.float32(value).tobytes()
    (volumes / "b.nii.gz").write_bytes(gzip.compress(content))
    message = fault(volumes, 3, 1)
    assert f"b.nii.gz has the spacing {value:g} x 1.5 x 2 mm: each must be greater than 0" in message


def test_an_affine_that_leads_nowhere_is_named(volumes: Path) -> None:
    """Keeps D3."""
    image = nibabel.load(volumes / "b.nii.gz")
    content = bytearray(image.to_bytes())
    content[280:296] = bytes(16)  # srow_x
    (volumes / "b.nii.gz").write_bytes(gzip.compress(content))
    assert "b.nii.gz has an affine that places its voxels nowhere" in fault(volumes, 3, 1)


@pytest.mark.parametrize(
    ("affine", "distance"),
    [
        (np.diag([-1.5, 1.5, 2, 1]), "14"),
        (np.array([[1.5, 0, 0, 3], [0, 1.5, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]), "2"),
        (np.diag([1.6, 1.5, 2, 1]), "0.467"),
    ],
    ids=["flipped", "shifted", "stretched"],
)
def test_a_label_that_lies_elsewhere_than_its_image_is_named(
    volumes: Path, affine: NDArray[Any], distance: str
) -> None:
    """Keeps D2."""
    save_volume(np.eye(8, 9, dtype=np.uint8)[..., None].repeat(10, -1), volumes / "b_label.nii.gz", affine)
    message = fault(volumes, 3, 1)
    assert f"b_label.nii.gz lies up to {distance} voxels from its image" in message


def test_rounded_headers_are_no_fault(volumes: Path) -> None:
    affine = np.diag([1.5 + 1e-6, 1.5, 2, 1])
    save_volume(np.eye(8, 9, dtype=np.uint8)[..., None].repeat(10, -1), volumes / "b_label.nii.gz", affine)
    assert looked_at(volumes, 3, 1).of("error") == []


def test_files_of_one_image_that_lie_apart_are_named(volumes: Path) -> None:
    with_lists(volumes)
    noise = np.random.default_rng(1).normal(size=(8, 9, 10)).astype(np.float32)
    save_volume(noise, volumes / "b.nii.gz", np.diag([1.5, 1.5, -2, 1]))
    assert "b.nii.gz lies up to 18 voxels from" in fault(volumes, 3, 2)


def test_instance_numbers_are_labels_where_the_data_set_says_so(pictures: Path) -> None:
    described(pictures, list("abc"), ".jpg", ".png", {"0": "background", ">0": "cell"})
    Image.fromarray(np.arange(600).reshape(20, 30).astype(np.uint16)).save(pictures / "b_label.png")
    assert looked_at(pictures, 2, 3).of("error") == []


@pytest.mark.parametrize("value", [0.5, -1])
def test_instance_numbers_are_whole_and_positive(volumes: Path, value: float) -> None:
    described(volumes, list("abc"), ".nii.gz", ".nii.gz", {"0": "background", ">0": "cell"})
    save_volume(np.full((8, 9, 10), value, np.float32), volumes / "b_label.nii.gz")
    expected = (
        f"holds the label values {value:g} but labels of dataset.json allows 0 and whole numbers above 0"
    )
    assert expected in fault(volumes, 3, 1)


def test_a_constant_image_is_a_warning(pictures: Path) -> None:
    Image.new("RGB", (30, 20), (1, 2, 3)).save(pictures / "b.png")
    described(pictures, list("abc"), ".jpg", ".png")
    (pictures / "b.jpg").write_bytes((pictures / "b.png").read_bytes())
    (warning,) = looked_at(pictures, 2, 3).of("warning")
    assert "b.jpg has one value everywhere in channel 0, 1, 2" in warning.message


def test_every_fault_of_a_case_stands_in_the_report(pictures: Path, caplog: pytest.LogCaptureFixture) -> None:
    (pictures / "a.jpg").unlink()
    (pictures / "a_label.png").unlink()
    message = fault(pictures)
    assert "more" not in message
    table = caplog.messages[0].splitlines()
    assert table[0] == f"{pictures}:"
    assert table[1].startswith("  error    a.jpg: there is no such file")
    assert table[2].startswith("  error    a_label.png: there is no such file")


def test_a_run_that_is_fine_gets_one_line(pictures: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "segadv_monai")
    looked_at(pictures, 2, 3)
    (line,) = caplog.messages
    assert line.startswith("2 + 1 cases checked in ")
    assert line.endswith(" s: no faults, no warnings")
    looked_at(pictures, 2, 3)
    assert "(3 known from before)" in caplog.messages[-1]


def test_a_process_that_is_told_to_be_quiet_is(pictures: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "segadv_monai")
    check_dataset(str(pictures), spatial_dims=2, in_channels=3, quiet=True)
    assert caplog.messages == []


def test_nothing_is_drawn_where_there_is_no_terminal(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    looked_at(pictures, 2, 3)
    assert capsys.readouterr() == ("", "")


# --- images of several files


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """Three cases, each a folder of slices and a label that a viewer has written in its own order."""
    generator = np.random.default_rng(0)
    affine = np.array([[-1.5, 0, 0, 30], [0, -1.5, 0, 40], [0, 0, 2, -50], [0, 0, 0, 1]])
    for name in "abc":
        noise = generator.integers(-500, 500, (8, 9, 10)).astype(np.int16)
        write_series(tmp_path / name, noise, affine)
        turned = affine @ np.array([[-1, 0, 0, 7], [0, -1, 0, 8], [0, 0, 1, 0], [0, 0, 0, 1]])
        save_volume((noise > 0).astype(np.uint8)[::-1, ::-1], tmp_path / f"{name}_label.nii.gz", turned)
    return described(tmp_path, list("abc"), "", ".nii.gz")


def test_series_pass_with_labels_in_another_order_and_a_warning(
    series: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    report = looked_at(series, 3, 1)
    assert report.of("error") == []
    warnings = [finding.message for finding in report.of("warning")]
    assert len(warnings) == 3
    assert "a_label.nii.gz counts its axes otherwise than the series" in warnings[0]
    assert report.hashes.keys() >= {"a/0000.dcm", "c/0009.dcm", "b_label.nii.gz"}
    assert len(report.hashes) == 33
    assert not any(value in caplog.text + report.table() for value in PRIVATE.values())


def test_a_label_of_a_series_that_lies_elsewhere_is_a_fault(series: Path) -> None:
    save_volume(np.eye(8, 9, dtype=np.uint8)[..., None].repeat(10, -1), series / "b_label.nii.gz")
    assert "b_label.nii.gz lies up to" in fault(series, 3, 1)


def test_a_series_is_known_again_until_one_of_its_files_changes(series: Path) -> None:
    assert looked_at(series, 3, 1).known == 0
    assert looked_at(series, 3, 1).known == 3
    # The folder's own times stay the same.
    whole = (series / "b" / "0004.dcm").read_bytes()
    truncate(series / "b" / "0004.dcm", 0.99)
    assert "0004.dcm is truncated or damaged" in fault(series, 3, 1)
    (series / "b" / "0004.dcm").write_bytes(whole)
    assert looked_at(series, 3, 1).known == 2
    (series / "b" / "0004.dcm").unlink()
    assert "0003.dcm and 0005.dcm lie 4 mm apart" in fault(series, 3, 1)


def test_a_series_under_other_names_is_the_same_image(series: Path) -> None:
    for number, file in enumerate(sorted((series / "a").iterdir())):
        (series / "c" / f"{number:04d}.dcm").unlink()
        (series / "c" / f"slice{number}").write_bytes(file.read_bytes())
    assert "c of validation is the same image as" in fault(series, 3, 1)


def test_values_beside_their_header_are_watched(volumes: Path) -> None:
    for name in "abc":
        noise = np.random.default_rng(ord(name)).normal(size=(10, 9, 8)).astype(np.float32)
        image = SimpleITK.GetImageFromArray(noise)
        image.SetSpacing((1.5, 1.5, 2))
        image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
        SimpleITK.WriteImage(image, volumes / f"{name}.mhd")
    described(volumes, list("abc"), ".mhd", ".nii.gz")
    assert len(looked_at(volumes, 3, 1).hashes) == 9
    assert looked_at(volumes, 3, 1).known == 3
    truncate(volumes / "b.raw")
    assert "b.mhd is truncated or damaged (1440 of 2880 bytes are there)" in fault(volumes, 3, 1)
    (volumes / "b.raw").unlink()
    assert "b.mhd says that its values are in b.raw, which is not there" in fault(volumes, 3, 1)


NETWORKS = {
    "brain_tumour": (3, 2),
    "camvid": (2, 3),
    "cardiac_cine": (3, 1),
    "dermoscopy": (2, 3),
    "em_membranes": (2, 1),
    "hela_dic": (2, 1),
    "hippocampus": (3, 1),
    "nuclei": (2, 1),
    "retina_drive": (2, 3),
    "subcortical": (3, 1),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_real_data_pass_without_a_finding(name: str, shared_data: Path) -> None:
    """Keeps D6."""
    dims, channels = NETWORKS[name]
    # Some frames of hela_dic's validation have no label, only a label_gold.
    sections = ("training",) if name == "hela_dic" else ("training", "validation")
    root = str(shared_data / name)
    report = check_dataset(root, sections=sections, spatial_dims=dims, in_channels=channels)
    assert report.findings == ()
    again = check_dataset(root, sections=sections, spatial_dims=dims, in_channels=channels)
    assert again.known == sum(again.cases.values()) == sum(report.cases.values())
    assert again.hashes == report.hashes


def test_every_real_data_set_is_among_them(shared_data: Path) -> None:
    assert sorted(NETWORKS) == sorted(file.parent.name for file in shared_data.glob("*/dataset.json"))
