import itertools
import logging
import sys
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_files import PRIVATE, refusal, write_series
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial.transform import Rotation

from segadv_monai.data.dicom_series import is_series, read_series, series_files
from segadv_monai.protocols import ConfigError

SPACING = np.array([0.7, 0.9, 2.5])
ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))
OBLIQUE = Rotation.from_euler("xyz", [11, -23, 34], degrees=True).as_matrix()


def volume(shape: tuple[int, int, int] = (5, 4, 3)) -> NDArray[np.int16]:
    return np.random.default_rng(0).integers(-1000, 2000, shape).astype(np.int16)


def affine_of(directions: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if directions is None else directions) * SPACING
    affine[:3, 3] = -123.456789, 55.5, 1690.25
    return affine


def in_order_of_the_normal(
    array: NDArray[np.int16], affine: NDArray[np.float64]
) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """Slices from the other end where the third axis points against row x column; a mirror keeps its sign."""
    if np.linalg.det(affine[:3, :3]) > 0:
        return array, affine
    turned = affine.copy()
    turned[:3, 2] *= -1
    turned[:3, 3] += affine[:3, 2] * (array.shape[2] - 1)
    return array[:, :, ::-1], turned


def read_with_simpleitk(files: tuple[Path, ...]) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames([str(path) for path in files])
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image).T, np.diag([-1, -1, 1, 1]) @ affine


@pytest.mark.parametrize("turned", [np.eye(3), OBLIQUE], ids=["upright", "oblique"])
def test_48_orientations_keep_every_voxel_in_its_place(tmp_path: Path, turned: NDArray[np.float64]) -> None:
    array = volume()
    for number, (axes, signs) in enumerate(ORIENTATIONS):
        affine = affine_of(turned @ (np.eye(3)[list(axes)].T * signs))
        folder = tmp_path / str(number)
        files = write_series(folder, array, affine)
        series = read_series(folder)
        expected, grid = in_order_of_the_normal(array, affine)
        assert np.abs(series.affine - grid).max() <= 1e-4
        np.testing.assert_array_equal(series.array, expected)
        assert series.files == tuple(files if expected is array else reversed(files))
        assert series.frames == (0,) * len(files)


def test_the_order_of_the_names_does_not_matter(tmp_path: Path) -> None:
    files = write_series(tmp_path, volume(), affine_of())
    for path, name in zip(files, "cab", strict=True):
        path.rename(tmp_path / f"{name}.dcm")
    series = read_series(tmp_path)
    np.testing.assert_array_equal(series.array, volume())
    assert [path.stem for path in series.files] == list("cab")
    assert [path.stem for path in series_files(tmp_path)] == list("abc")


def test_the_distance_of_slices_is_not_their_thickness(tmp_path: Path) -> None:
    write_series(tmp_path, volume(), affine_of(), SliceThickness=9, SpacingBetweenSlices=8)
    assert np.linalg.norm(read_series(tmp_path).affine[:3, 2]) == pytest.approx(2.5)


def test_simpleitk_reads_the_same(tmp_path: Path) -> None:
    write_series(tmp_path, volume(), affine_of(OBLIQUE))
    series = read_series(tmp_path)
    array, affine = read_with_simpleitk(series.files)
    np.testing.assert_array_equal(series.array, array)
    np.testing.assert_allclose(series.affine, affine, atol=1e-9)


def test_one_of_several_series_is_read_by_its_uid(tmp_path: Path) -> None:
    write_series(tmp_path, volume(), affine_of(), SeriesInstanceUID="1.2.3")
    for path in write_series(tmp_path / "b", volume((4, 4, 2)), affine_of(), SeriesInstanceUID="1.2.4"):
        path.rename(tmp_path / f"b{path.name}")
    told = refusal(tmp_path)
    assert "holds 2 series, CT of 3 slices (1.2.3), CT of 2 slices (1.2.4): give series_uid" in told
    assert read_series(tmp_path, series_uid="1.2.4").array.shape == (4, 4, 2)
    assert len(series_files(tmp_path, series_uid="1.2.3")) == 3
    assert "holds no series 9.9, but CT of 3 slices" in refusal(tmp_path, series_uid="9.9")


def test_a_series_that_has_lost_its_uids_is_read(tmp_path: Path) -> None:
    write_series(tmp_path, volume(), affine_of(), SeriesInstanceUID="", SOPInstanceUID="", SOPClassUID="")
    assert read_series(tmp_path).series_uid == ""


def test_what_a_path_holds_is_told_from_its_first_bytes(tmp_path: Path) -> None:
    files = write_series(tmp_path / "series", volume(), affine_of())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes").write_text("nothing")
    Image.new("L", (4, 4)).save(tmp_path / "other" / "a.png")
    assert is_series(tmp_path / "series")
    assert not is_series(tmp_path / "other")
    assert not is_series(tmp_path / "missing")
    assert not is_series(tmp_path / "other" / "notes")
    assert not is_series(files[0])
    bare = tmp_path / "other" / "IM1"
    bare.write_bytes(files[0].read_bytes()[132:])
    assert is_series(tmp_path / "other")


def test_a_missing_pydicom_is_told_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path, volume(), affine_of())
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ConfigError, match=r"pip install 'segadv-monai\[dicom\]'"):
        read_series(tmp_path)


def test_pydicoms_remarks_and_the_patient_stay_out_of_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Warnings are errors here: none may come of a UID or a birth date that is none."""
    files = write_series(tmp_path, volume(), affine_of(), SeriesInstanceUID="1.2.03")
    for path in files:
        content = path.read_bytes().replace(b"19330322", b"SECRET!!").replace(b"20200102", b"31.12.19")
        path.write_bytes(content.replace(b"AXIAL ", b"axi\xe4l "))
    with caplog.at_level(logging.DEBUG):
        read_series(tmp_path)
    assert not [record for record in caplog.records if record.name.startswith("pydicom")]
    assert not any(value in caplog.text for value in PRIVATE.values())
    assert logging.getLogger("pydicom").propagate


def test_a_ct_of_78_slices_lies_2_mm_apart_and_under_its_masks(shared_data: Path) -> None:
    folder = shared_data / "ct_liver_dicom"
    series = read_series(folder / "DICOM_anon")
    assert (series.array.shape, series.array.dtype) == ((512, 512, 78), np.int16)
    np.testing.assert_allclose(np.linalg.norm(series.affine[:3, :3], axis=0), [0.7265625, 0.7265625, 2])
    of_file = {f"liver_GT_{path.name[2:5]}": k for k, path in enumerate(series.files)}
    liver = np.zeros(series.array.shape, dtype=bool)
    for path in (folder / "Ground").iterdir():
        with Image.open(path) as picture:
            liver[:, :, of_file[path.stem]] = np.asarray(picture).T > 0
    assert series.array[liver].mean() == pytest.approx(141, abs=0.5)
    array, affine = read_with_simpleitk(series.files[:10])
    np.testing.assert_array_equal(series.array[:, :, :10], array)
    np.testing.assert_allclose(series.affine, affine, atol=1e-9)


def test_a_slice_missing_from_a_real_ct_is_named_by_its_neighbours(tmp_path: Path, shared_data: Path) -> None:
    for path in (shared_data / "ct_liver_dicom" / "DICOM_anon").iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "i0040,0000b.dcm").unlink()
    told = refusal(tmp_path)
    assert "i0041,0000b.dcm and i0039,0000b.dcm lie 4 mm apart, and 2 mm is usual here: 1 slice is" in told
    (tmp_path / "i0040,0000b.dcm").symlink_to(tmp_path / "gone")
    assert "i0040,0000b.dcm cannot be read" in refusal(tmp_path)


def test_a_real_series_in_jpeg_2000_lies_on_the_grid_of_its_labels(shared_data: Path) -> None:
    series = read_series(shared_data / "ct_organs" / "example_ct_dicom")
    labels = nibabel.load(shared_data / "ct_organs" / "example_seg_dicom.nii.gz")
    canonical = [
        nibabel.as_closest_canonical(image)
        for image in (nibabel.Nifti1Image(series.array, series.affine), labels)
    ]
    np.testing.assert_array_equal(canonical[0].affine, canonical[1].affine)
    array, affine = read_with_simpleitk(series.files[:4])
    np.testing.assert_array_equal(series.array[:, :, :4], array)
    np.testing.assert_allclose(series.affine, affine, atol=1e-9)


def test_a_real_multi_frame_file_equals_its_single_frames(shared_data: Path) -> None:
    folder = shared_data / "dicom_seg" / "dcmqi_24x38x3"
    single, many = read_series(folder / "image"), read_series(folder / "multiframe" / "mf.dcm")
    np.testing.assert_array_equal(single.array, many.array)
    np.testing.assert_allclose(single.affine, many.affine)
    assert (len(many.files), many.frames) == (1, (0, 1, 2))
    assert is_series(many.files[0])
    assert not is_series(folder / "seg" / "label.seg")
    assert "is Segmentation Storage, modality SEG: only CT" in refusal(folder / "seg" / "label.seg")


def test_pydicoms_own_small_files_are_single_slices() -> None:
    for name in ("CT_small.dcm", "MR_small.dcm", "MR_small_bigendian.dcm", "MR_small_jp2klossless.dcm"):
        path = Path(pydicom.data.get_testdata_file(name, download=False))
        assert "holds a single slice" in refusal(path)
