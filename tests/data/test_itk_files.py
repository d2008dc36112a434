"""MetaImage and NRRD: values, channels and geometry are those that ITK reads."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray

from segadv_monai.data.itk_files import itk_files, read_itk, write_label_like
from segadv_monai.protocols import DataError

SUFFIXES = ["mha", "mhd", "nrrd", "nhdr"]
TYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]
SPACING, ORIGIN = np.array([0.7, 1.5, 2.25]), np.array([10.0, -20.5, 300.0])
_TO_RAS = np.diag([-1.0, -1.0, 1.0])


def written(path: Path, array: NDArray[Any], *, direction: NDArray[Any], compressed: bool = False) -> Path:
    """``(*S, channels)``, in the order of the indices of ITK."""
    axes = array.ndim - 1
    by_slices = np.moveaxis(array, range(axes), range(axes - 1, -1, -1))
    is_vector = array.shape[-1] > 1
    image = SimpleITK.GetImageFromArray(
        np.ascontiguousarray(by_slices if is_vector else by_slices[..., 0]), is_vector
    )
    image.SetSpacing(SPACING[:axes])
    image.SetOrigin(ORIGIN[:axes])
    image.SetDirection(direction[:axes, :axes].ravel())
    SimpleITK.WriteImage(image, path, useCompression=compressed)
    return path


def rotated() -> NDArray[np.float64]:
    """An oblique direction."""
    return np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_type_and_number_of_channels_is_read(tmp_path: Path, suffix: str, compressed: bool) -> None:
    for kind in TYPES:
        for shape in [(4, 5, 6, 1), (4, 5, 6, 3), (4, 5, 1), (4, 5, 2)]:
            noise = (np.random.default_rng(0).normal(size=shape) * 50).astype(kind)
            path = written(tmp_path / f"a.{suffix}", noise, direction=np.eye(3), compressed=compressed)
            found, affine = read_itk(path)
            assert found.dtype == kind
            assert np.array_equal(found, noise)
            axes = len(shape) - 1
            assert np.allclose(np.diag(affine)[:axes], ([-1, -1, 1] * SPACING)[:axes])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_oblique_affine_leads_to_the_points_of_itk_in_ras(tmp_path: Path, suffix: str) -> None:
    direction = rotated()
    noise = np.zeros((4, 5, 6, 1), np.int16)
    path = written(tmp_path / f"a.{suffix}", noise, direction=direction)
    _, affine = read_itk(path)
    assert np.allclose(affine[:3, :3], _TO_RAS @ direction @ np.diag(SPACING), atol=1e-6)
    assert np.allclose(affine[:3, 3], _TO_RAS @ ORIGIN)
    image = SimpleITK.ReadImage(path)
    for index in [(0, 0, 0), (3, 4, 5), (1, 0, 2)]:
        point = _TO_RAS @ image.TransformIndexToPhysicalPoint(index)
        assert np.allclose(affine[:3] @ [*index, 1], point, atol=1e-6)


def test_a_nrrd_in_ras_is_the_same_place(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nrrd", np.zeros((4, 5, 6, 1), np.int16), direction=np.eye(3))
    _, in_lps = read_itk(path)
    content = path.read_bytes().replace(b"left-posterior-superior", b"right-anterior-superior")
    path.write_bytes(content)
    _, affine = read_itk(path)
    assert np.allclose(affine, np.diag([-1, -1, 1, 1]) @ in_lps)


@pytest.mark.parametrize("kinds", ["domain domain domain list", "domain domain domain vector"])
def test_channels_may_be_the_last_axis_of_a_nrrd(tmp_path: Path, kinds: str) -> None:
    noise = np.random.default_rng(0).normal(size=(4, 5, 6, 2)).astype("<f4")
    head = (
        "NRRD0004\ntype: float\ndimension: 4\nspace: left-posterior-superior\nsizes: 4 5 6 2\n"
        f"space directions: (1,0,0) (0,1,0) (0,0,1) none\nkinds: {kinds}\nendian: little\nencoding: raw\n\n"
    )
    (tmp_path / "a.nrrd").write_bytes(head.encode() + noise.tobytes(order="F"))
    found, affine = read_itk(tmp_path / "a.nrrd")
    assert np.array_equal(found, noise)
    assert np.allclose(affine, np.diag([-1, -1, 1, 1]))


def test_values_with_the_most_significant_byte_first_are_read(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(-500, 500, (4, 5, 6, 1)).astype("<i2")
    path = written(tmp_path / "a.mhd", noise, direction=np.eye(3))
    path.write_text(path.read_text().replace("MSB = False", "MSB = True"))
    (tmp_path / "a.raw").write_bytes(noise.astype(">i2").tobytes(order="F"))
    assert np.array_equal(read_itk(path)[0], noise)


def test_a_header_that_says_how_many_bytes_to_leave_out_is_followed(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(-500, 500, (4, 5, 6, 1)).astype("<i2")
    path = written(tmp_path / "a.mhd", noise, direction=np.eye(3))
    (tmp_path / "a.raw").write_bytes(b"a foreign header" + noise.tobytes(order="F"))
    text = path.read_text()
    for size in (16, -1):
        path.write_text(text.replace("ElementDataFile", f"HeaderSize = {size}\nElementDataFile"))
        assert np.array_equal(read_itk(path)[0], noise)


@pytest.mark.parametrize(
    ("suffix", "to"), [("mha", "mha"), ("mhd", "mha"), ("nrrd", "nrrd"), ("nhdr", "nrrd")]
)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_label_lies_where_its_image_does(tmp_path: Path, suffix: str, to: str, kind: Any) -> None:
    path = written(tmp_path / f"a.{suffix}", np.zeros((4, 5, 6, 2), np.float32), direction=rotated())
    labels = np.random.default_rng(0).integers(0, 200, (4, 5, 6)).astype(kind)
    write_label_like(labels, path, tmp_path / f"label.{to}")
    found, affine = read_itk(tmp_path / f"label.{to}")
    assert found.dtype == kind
    assert np.array_equal(found[..., 0], labels)
    assert np.allclose(affine, read_itk(path)[1], atol=1e-9)


def test_nothing_else_of_the_header_is_copied(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nrrd", np.zeros((4, 5, 6, 1), np.int16), direction=np.eye(3))
    path.write_bytes(path.read_bytes().replace(b"\n\n", b"\nPatientName:=Hidden^Person\n\n", 1))
    write_label_like(np.zeros((4, 5, 6), np.uint8), path, tmp_path / "label.nrrd")
    assert b"Hidden" not in (tmp_path / "label.nrrd").read_bytes()


def test_a_label_of_another_size_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.mha", np.zeros((4, 5, 6, 1), np.int16), direction=np.eye(3))
    with pytest.raises(
        DataError, match=r"the labels of .*a\.mha have the size \[4, 5, 7\], the image \[4, 5, 6\]"
    ):
        write_label_like(np.zeros((4, 5, 7), np.uint8), path, tmp_path / "label.mha")


def test_a_label_that_cannot_be_written_is_an_error_of_the_system(tmp_path: Path) -> None:
    path = written(tmp_path / "a.mha", np.zeros((4, 5, 6, 1), np.int16), direction=np.eye(3))
    with pytest.raises(OSError, match="cannot be written"):
        write_label_like(np.zeros((4, 5, 6), np.uint8), path, tmp_path / "absent" / "label.mha")


def test_header_and_values_are_the_files_of_an_image(tmp_path: Path) -> None:
    path = written(tmp_path / "a.mhd", np.zeros((4, 5, 6, 1), np.int16), direction=np.eye(3), compressed=True)
    assert itk_files(path) == (path, tmp_path / "a.zraw")
    path = written(
        tmp_path / "b.nhdr", np.zeros((4, 5, 6, 1), np.int16), direction=np.eye(3), compressed=True
    )
    assert itk_files(path) == (path, tmp_path / "b.raw.gz")
