"""Every orientation of a grid, through every kind of file: read, turned to RAS, labelled, turned back, saved.

The voxels are told apart by their values, so that what is compared are places in mm, whatever order the axes
have on the way. The largest distance is printed at the end (``-s``).
"""

from collections.abc import Callable, Iterator
from itertools import permutations, product
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
import pytest
import SimpleITK
import torch
from dicom_files import write_series
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, LoadImaged, Orientationd
from numpy.typing import NDArray

from segadv_monai.data import SaveSegmentationd, VolumeReader, read_dicom_seg

SIZE = (7, 6, 4)
SPACING = (0.7, 0.9, 2.1)
ORIGIN = (-41.5, 63.25, -17.125)
TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
MOST_MM = 1e-4

# Every voxel has a value of its own.
VALUES = np.arange(np.prod(SIZE), dtype=np.int16).reshape(SIZE)
# Two segments, the same under no flip and no turn, in three of four slices, and where they are by value.
LABELS = np.zeros(SIZE, np.uint8)
LABELS[1:3, 2:, 1] = 1
LABELS[4, 1, :2] = 2
LABELS[0, 0, 3] = 2
LABEL_OF = torch.as_tensor(LABELS.ravel())


def orientations() -> dict[str, NDArray[np.float64]]:
    """All 48 signed permutations of the axes, and two grids along none of them."""
    result = {}
    for axes, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        turn = np.zeros((3, 3))
        turn[axes, range(3)] = signs
        letters = [("LR", "PA", "IS")[axis][sign > 0] for axis, sign in zip(axes, signs, strict=True)]
        result["".join(letters)] = turn
    one, two = np.radians((16.26, 36.87))
    about_z = np.array([[np.cos(one), -np.sin(one), 0], [np.sin(one), np.cos(one), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(two), -np.sin(two)], [0, np.sin(two), np.cos(two)]])
    oblique = about_z @ about_x
    return result | {"oblique": oblique, "oblique, columns negated": oblique @ np.diag([1, -1, 1])}


ORIENTATIONS = orientations()


def affine_of(turn: NDArray[np.float64]) -> NDArray[np.float64]:
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(SPACING)
    affine[:3, 3] = ORIGIN
    return affine


def write_nifti(folder: Path, affine: NDArray[np.float64]) -> Path:
    nibabel.save(nibabel.Nifti1Image(VALUES, affine), folder / "case.nii.gz")
    return folder / "case.nii.gz"


def write_itk(path: Path, affine: NDArray[np.float64]) -> Path:
    image = SimpleITK.GetImageFromArray(VALUES.T)
    in_lps = TO_LPS @ affine
    image.SetSpacing(SPACING)
    image.SetOrigin(in_lps[:3, 3].tolist())
    image.SetDirection((in_lps[:3, :3] / SPACING).ravel().tolist())
    SimpleITK.WriteImage(image, path)
    return path


def write_dicom(folder: Path, affine: NDArray[np.float64]) -> Path:
    write_series(folder / "case", VALUES, affine)
    return folder / "case"


def read_nifti(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    volume = nibabel.load(path)
    return np.asarray(volume.dataobj), volume.affine


def read_itk(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    image = SimpleITK.ReadImage(path)
    in_lps = np.eye(4)
    in_lps[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    in_lps[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image).T, TO_LPS @ in_lps


def read_seg(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """With highdicom, and held against what is read here."""
    volume = highdicom.seg.segread(path).get_volume(combine_segments=True)
    ours = read_dicom_seg(path)
    theirs = places(volume.array, TO_LPS @ volume.affine)
    assert apart(theirs, places(ours.array, ours.affine)) <= MOST_MM
    return volume.array, TO_LPS @ volume.affine


LOAD = LoadImaged("image", reader=VolumeReader, ensure_channel_first=True)
TURN = Compose([Orientationd("image", "RAS", labels=(("L", "R"), ("P", "A"), ("I", "S")))])

Write = Callable[[Path, NDArray[np.float64]], Path]
Read = Callable[[Path], tuple[NDArray[Any], NDArray[np.float64]]]

# What is read, what is saved: how, the options, the suffix, and a reader that is not ours.
KINDS: dict[str, tuple[Write, dict[str, Any], str, Read]] = {
    "NIfTI": (write_nifti, {}, ".nii.gz", read_nifti),
    "MHA": (lambda folder, affine: write_itk(folder / "case.mha", affine), {}, ".mha", read_itk),
    "NRRD": (lambda folder, affine: write_itk(folder / "case.nrrd", affine), {}, ".nrrd", read_itk),
    "DICOM series": (write_dicom, {"output": "nifti"}, ".nii.gz", read_nifti),
    "DICOM-SEG": (write_dicom, {"segments": ["liver", "spleen"]}, ".dcm", read_seg),
}


def places(array: NDArray[Any], affine: NDArray[np.float64]) -> dict[int, NDArray[np.float64]]:
    """Where in mm the voxels of each value but 0 lie, in the order of their places."""
    result = {}
    for value in np.unique(array[array != 0]):
        at = np.argwhere(array == value) @ affine[:3, :3].T + affine[:3, 3]
        result[int(value)] = at[np.lexsort(np.round(at, 2).T)]
    return result


def apart(one: dict[int, NDArray[np.float64]], other: dict[int, NDArray[np.float64]]) -> float:
    """The largest distance in mm, in one coordinate."""
    assert one.keys() == other.keys()
    assert all(one[value].shape == other[value].shape for value in one)
    return max(float(np.abs(one[value] - other[value]).max()) for value in one)


@pytest.fixture(scope="module")
def largest() -> Iterator[dict[str, float]]:
    found: dict[str, float] = {}
    yield found
    for kind, distance in found.items():
        print(f"\n{kind}: {distance:.2g} mm", end="")  # noqa: T201  # what docs/results.md tells


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_voxels_and_labels_stay_at_their_places(
    kind: str, orientation: str, tmp_path: Path, largest: dict[str, float]
) -> None:
    write, options, suffix, read = KINDS[kind]
    affine = affine_of(ORIENTATIONS[orientation])
    source = write(tmp_path, affine)
    truth = places(VALUES, affine)
    case: dict[Any, Any] = LOAD({"image": str(source)})
    read_off = apart(places(case["image"][0].numpy(), np.asarray(case["image"].affine)), truth)
    case = TURN(case)
    image = case["image"]
    turned_off = apart(places(image[0].numpy(), np.asarray(image.affine)), truth)
    assert (np.diag(np.asarray(image.affine))[:3] > 0).all()
    case["pred"] = MetaTensor(LABEL_OF[image.long()], meta=image.meta)
    back = Invertd("pred", TURN, orig_keys="image", nearest_interp=True, to_tensor=True)
    SaveSegmentationd("pred", tmp_path / "out", **options)(back(case))
    saved_off = apart(places(*read(tmp_path / "out" / f"case_segmentation{suffix}")), places(LABELS, affine))
    off = max(read_off, turned_off, saved_off)
    largest[kind] = max(largest.get(kind, 0.0), off)
    assert off <= MOST_MM
