"""One reader for every kind of volume: as NibabelReader where that can read, and its refusals stand."""

import logging
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch
from dicom_files import PRIVATE, write_series
from monai.data import MetaTensor
from monai.transforms import LoadImage
from numpy.typing import NDArray

from segadv_monai.data import VolumeReader
from segadv_monai.protocols import DataError

AFFINE = np.array([[0, -1.5, 0, 10], [2, 0, 0, -20], [0, 0, 2.5, 30], [0, 0, 0, 1.0]])


def saved(path: Path, array: NDArray[Any], affine: NDArray[Any] = AFFINE) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def loaded(
    path: Path | list[Path], reader: str = "segadv_monai.data.VolumeReader", **arguments: Any
) -> MetaTensor:
    return LoadImage(reader=reader, **arguments)(path)


def same(path: Path | list[Path], **arguments: Any) -> None:
    ours, theirs = loaded(path, **arguments), loaded(path, "NibabelReader", **arguments)
    assert torch.equal(ours, theirs)
    assert ours.dtype == theirs.dtype
    assert torch.equal(ours.affine, theirs.affine)
    for key in ("original_affine", "spatial_shape", "space", "filename_or_obj"):
        assert np.array_equal(ours.meta[key], theirs.meta[key])
    dims = [tensor.meta["original_channel_dim"] for tensor in (ours, theirs)]
    assert np.array_equal(*dims, equal_nan=True)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("kind", ["u1", "i2", ">i2", "f4", "f8"])
def test_a_nifti_file_is_read_as_nibabel_reads_it(tmp_path: Path, kind: str, first: bool) -> None:
    for shape in [(4, 5, 6), (4, 5, 6, 2), (4, 5)]:
        noise = (np.random.default_rng(0).normal(size=shape) * 50).astype(kind)
        same(saved(tmp_path / "a.nii.gz", noise), ensure_channel_first=first)


def test_slope_and_intercept_are_applied(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.arange(3_000_000, dtype=np.int16).reshape(100, 100, 300), AFFINE)
    image.header.set_slope_inter(0.37, -5)
    nibabel.save(image, tmp_path / "a.nii")
    found = nibabel.load(tmp_path / "a.nii")
    assert (found.dataobj.slope, found.dataobj.inter) != (1, 0)
    same(tmp_path / "a.nii")
    same(tmp_path / "a.nii", dtype=None)


def test_files_of_one_channel_become_the_channels(tmp_path: Path) -> None:
    paths = [saved(tmp_path / f"{i}.nii", np.full((4, 5, 6), i, np.float32)) for i in range(3)]
    same(paths)
    same(paths, ensure_channel_first=True)
    assert loaded(paths, ensure_channel_first=True).mean((1, 2, 3)).tolist() == [0, 1, 2]


@pytest.mark.parametrize("folder", ["hippocampus", "cardiac_cine", "subcortical", "ct_organs"])
def test_real_volumes_are_read_as_nibabel_reads_them(shared_data: Path, folder: str) -> None:
    for path in sorted((shared_data / folder).rglob("*.nii.gz"))[:4]:
        same(path, ensure_channel_first=True)


def test_real_channels_are_read_as_nibabel_reads_them(shared_data: Path) -> None:
    case = sorted((shared_data / "brain_tumour" / "cases").iterdir())[0]
    same([case / "Flair_int.nii.gz", case / "T1c_int.nii.gz"], ensure_channel_first=True)


def test_every_kind_of_volume_is_read_alike(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(-500, 500, (4, 5, 6)).astype(np.int16)
    affine = np.diag([-1.5, -2, 2.5, 1])
    paths = [saved(tmp_path / "a.nii.gz", noise, affine), tmp_path / "series"]
    write_series(tmp_path / "series", noise, affine)
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(noise.T))
    image.SetSpacing((1.5, 2, 2.5))
    for suffix in ("mha", "mhd", "nrrd", "nhdr"):
        paths.append(tmp_path / f"a.{suffix}")
        SimpleITK.WriteImage(image, paths[-1])
    first, *others = [loaded(path, ensure_channel_first=True) for path in paths]
    assert first.shape == (1, 4, 5, 6)
    for path, other in zip(paths[1:], others, strict=True):
        assert torch.equal(first, other)
        assert torch.allclose(first.affine, other.affine, atol=1e-6)
        assert other.meta["filename_or_obj"] == str(path)
        assert sorted(map(str, other.meta)) == sorted(map(str, first.meta))


def test_series_of_one_grid_become_channels(tmp_path: Path) -> None:
    for level in (1, 2):
        write_series(tmp_path / str(level), np.full((4, 5, 6), level, np.int16), np.eye(4), modality="MR")
    both = loaded([tmp_path / "1", tmp_path / "2"], ensure_channel_first=True)
    assert both.mean((1, 2, 3)).tolist() == [1, 2]


def test_nothing_of_the_patient_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    write_series(tmp_path / "series", np.zeros((4, 5, 6), np.int16), np.eye(4))
    image = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.uint8), AFFINE)
    image.header["descrip"] = PRIVATE["PatientName"]
    nibabel.save(image, tmp_path / "a.nii")
    told = "".join(str(loaded(path).meta) for path in (tmp_path / "series", tmp_path / "a.nii")) + caplog.text
    assert not any(value in told for value in PRIVATE.values())


def test_no_other_reader_is_tried_on_what_is_refused(tmp_path: Path) -> None:
    """MONAI falls back to ITK's, which fills what is missing with zeros."""
    path = saved(tmp_path / "a.nii.gz", np.random.default_rng(0).normal(size=(40, 50, 60)))
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(DataError, match=r"a\.nii\.gz is truncated or damaged"):
        loaded(path)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (np.zeros((4, 5, 7), np.float32), "are channels of one image: export them on one grid"),
        (np.zeros((4, 5, 6, 2), np.float32), "has 2 channels: in a list of files each has one"),
        (np.full((4, 5, 6), np.nan, np.float32), "holds 120 values that are not finite"),
    ],
)
def test_channels_that_do_not_agree_are_refused(tmp_path: Path, other: NDArray[Any], message: str) -> None:
    paths = [saved(tmp_path / "a.nii", np.zeros((4, 5, 6), np.float32)), saved(tmp_path / "b.nii", other)]
    with pytest.raises(DataError, match=rf"b\.nii .*{message}"):
        loaded(paths)


def test_channels_that_lie_apart_are_refused(tmp_path: Path) -> None:
    zeros = np.zeros((4, 5, 6), np.float32)
    paths = [saved(tmp_path / "a.nii", zeros), saved(tmp_path / "b.nii", zeros, np.diag([1.5, 2, 2.5, 1]))]
    with pytest.raises(DataError, match="export them on one grid"):
        loaded(paths)


def test_a_picture_is_no_volume(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.png is a picture, and volumes are expected"):
        loaded(tmp_path / "a.png")


def test_it_tells_which_paths_it_reads(tmp_path: Path) -> None:
    write_series(tmp_path / "series", np.zeros((4, 5, 6), np.int16), np.eye(4))
    reader = VolumeReader()
    assert reader.verify_suffix(["a.nii", "b.mha"])
    assert reader.verify_suffix(tmp_path / "series")
    assert not reader.verify_suffix("a.png")
    assert not reader.verify_suffix(["a.nii", "b.png"])
