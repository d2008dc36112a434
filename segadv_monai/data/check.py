"""One look at every file of a data set before training, so that a fault shows in seconds and by name."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFile

from segadv_monai.protocols import DataError

from .decathlon import datalist, labels_of
from .files import PICTURE_SUFFIXES, read_array, suffix

__all__ = ["check_dataset"]


def check_dataset(
    dataset_dir: str,
    *,
    sections: Sequence[str] = ("training", "validation"),
    spatial_dims: int,
    in_channels: int,
) -> None:
    """Decode every image and label once and compare them with each other, the labels' names and the network.

    Args:
        dataset_dir: the folder of the ``dataset.json``.
        sections: lists of cases to look at.
        spatial_dims: 2 or 3, as the network has it.
        in_channels: channels of an image, as the network has them.

    Raises:
        DataError: the first fault in the order of the data set, and in how many more cases there are faults.
    """
    allowed = labels_of(dataset_dir)
    cases = [case for section in sections for case in datalist(dataset_dir, section)]

    def problem(case: dict[str, Any]) -> str:
        try:
            _check_case(case, list(allowed), spatial_dims, in_channels)
        except DataError as error:
            return str(error)
        return ""

    with _whole_pictures_only(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        problems = [found for found in pool.map(problem, cases) if found]
    if problems:
        more = len(problems) - 1
        ending = f" (and {more} more {'case' if more == 1 else 'cases'} with faults)" if more else ""
        raise DataError(problems[0] + ending)


@contextmanager
def _whole_pictures_only() -> Iterator[None]:
    """Pillow fills the rest of a truncated picture with grey if another library has told it to."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _check_case(case: dict[str, Any], allowed: list[int], spatial_dims: int, in_channels: int) -> None:
    image = _read_image(case["image"])
    first = case["image"] if isinstance(case["image"], str) else case["image"][0]
    _check_against_network(first, image, spatial_dims, in_channels)
    label = read_array(case["label"], is_label=True)
    _check_label(case["label"], label, allowed)
    if label.shape[:-1] != image.shape[:-1]:
        raise DataError(
            f"{case['label']} is {_size(case['label'], label)} but its image {first} is "
            f"{_size(first, image)}: both must have the same size."
        )


def _read_image(paths: str | list[str]) -> NDArray[Any]:
    """One file, or several of one channel each."""
    files = [paths] if isinstance(paths, str) else paths
    arrays = [read_array(path) for path in files]
    for path, array in zip(files, arrays, strict=True):
        _check_finite(path, array)
        if array.shape[:-1] != arrays[0].shape[:-1]:
            raise DataError(
                f"{path} is {_size(path, array)} but {files[0]} of the same case is "
                f"{_size(files[0], arrays[0])}: the channels of an image must have the same size."
            )
        if len(files) > 1 and array.shape[-1] != 1:
            raise DataError(
                f"{path} has {array.shape[-1]} channels: in a list of files each has one, "
                "or give a single file."
            )
    return np.concatenate(arrays, axis=-1) if len(arrays) > 1 else arrays[0]


def _check_against_network(path: str, image: NDArray[Any], spatial_dims: int, in_channels: int) -> None:
    has, wants = (image.ndim - 1, image.shape[-1]), (spatial_dims, in_channels)
    if has != wants:
        raise DataError(
            f"{path} holds {_kind(*has)} but the network expects {_kind(*wants)}: set "
            f"--network_def#spatial_dims {has[0]} and --network_def#in_channels {has[1]}, "
            "or choose other data."
        )


def _check_finite(path: str, array: NDArray[Any]) -> None:
    if array.dtype.kind in "fc" and not np.isfinite(array).all():
        count = int(np.count_nonzero(~np.isfinite(array)))
        raise DataError(f"{path} holds {count} values that are not finite (NaN or infinite): replace them.")


def _check_label(path: str, label: NDArray[Any], allowed: list[int]) -> None:
    if label.shape[-1] != 1:
        raise DataError(
            f"{path} has {label.shape[-1]} channels: a label map has one, whose values are the keys "
            "of labels in dataset.json."
        )
    _check_finite(path, label)
    strange = [value for value in np.unique(label).tolist() if value not in allowed]
    if strange:
        found = ", ".join(f"{value:g}" for value in strange[:5]) + (", …" if len(strange) > 5 else "")
        raise DataError(
            f"{path} holds the label values {found} but labels of dataset.json allows {_listed(allowed)}: "
            "name them there or convert the file."
        )


def _kind(spatial_dims: int, channels: int) -> str:
    noun = "volumes" if spatial_dims == 3 else "images"
    return f"{spatial_dims}D {noun} with {channels} {'channel' if channels == 1 else 'channels'}"


def _size(path: str, array: NDArray[Any]) -> str:
    """Width first for pictures, as viewers say it."""
    size = array.shape[:-1]
    return " x ".join(str(n) for n in (reversed(size) if suffix(path) in PICTURE_SUFFIXES else size))


def _listed(values: Sequence[int]) -> str:
    return ", ".join(str(value) for value in values)
