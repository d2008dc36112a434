"""One case against itself, the labels' names and the network, from the facts of its files."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from nibabel.orientations import inv_ornt_aff, io_orientation
from numpy.typing import NDArray

from .file_facts import FileFacts
from .files import PICTURE_SUFFIXES, VOLUME_SUFFIXES, suffix
from .findings import Severity

__all__ = ["Case", "Expected", "Facts", "Verdict", "check_case"]

# In voxels, at the farthest corner; headers that were rounded to 32 bits differ by less than a thousandth.
_FARTHEST_APART = 0.1

# nibabel leaves both untyped.
_orientation_of: Callable[[NDArray[Any]], NDArray[Any]] = io_orientation
_undone: Callable[[NDArray[Any], tuple[int, ...]], NDArray[Any]] = inv_ornt_aff

Verdict: TypeAlias = tuple[Severity, str]
Facts: TypeAlias = Mapping[tuple[str, bool], FileFacts | str]


@dataclass(frozen=True, slots=True)
class Case:
    """Where the files of a case are.

    Args:
        section: the list of the data set in which it stands.
        images: one file, or one for each channel.
        label: the label map; None of an unlabelled case.
    """

    section: str
    images: tuple[str, ...]
    label: str | None


@dataclass(frozen=True, slots=True)
class Expected:
    """What network and data set ask of a case.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of an image.
        labels: name of each value that a label map may have.
        instances: whether it may also have any other whole number above 0.
    """

    spatial_dims: int
    in_channels: int
    labels: Mapping[int, str]
    instances: bool = False


def check_case(case: Case, facts: Facts, expected: Expected) -> Iterator[Verdict]:
    """Everything that is wrong with a case: its image first, then its label, then both together.

    Args:
        case: the case.
        facts: of each file by path and whether it is a label; a line that says what is wrong if it cannot be
            read.
        expected: by network and data set.
    """
    found = [facts[path, False] for path in case.images]
    images = [fact for fact in found if isinstance(fact, FileFacts)]
    yield from (("error", fault) for fault in found if isinstance(fault, str))
    if len(images) == len(found):
        yield from _check_images(case.images, images, expected)
    if case.label is None:
        return
    label = facts[case.label, True]
    if isinstance(label, str):
        yield "error", label
        return
    yield from (("error", fault) for fault in _faults_of_label(case.label, label, expected))
    if len(images) == len(found):
        yield from _check_pair(case.images[0], images[0], path=case.label, label=label)


def _check_images(paths: Sequence[str], images: Sequence[FileFacts], expected: Expected) -> Iterator[Verdict]:
    yield from (("error", fault) for fault in _faults_of_channels(paths, images))
    first = images[0]
    channels = first.shape[-1] if len(images) == 1 else len(images)
    has, wants = (len(first.shape) - 1, channels), (expected.spatial_dims, expected.in_channels)
    if has != wants:
        yield (
            "error",
            (
                f"{paths[0]} holds {_kind(*has)} but the network expects {_kind(*wants)}: set "
                f"--network_def#spatial_dims {has[0]} and --network_def#in_channels {has[1]}, "
                "or choose other data."
            ),
        )
    for path, image in zip(paths, images, strict=True):
        if image.constant:
            which = "" if image.shape[-1] == 1 else f" in channel {_listed(image.constant)}"
            yield "warning", f"{path} has one value everywhere{which}: nothing can be learnt from it."


def _faults_of_channels(paths: Sequence[str], images: Sequence[FileFacts]) -> Iterator[str]:
    """Several files of one channel each have to agree."""
    for path, image in zip(paths, images, strict=True):
        yield from _fault_of_values(path, image)
        if image.shape[:-1] != images[0].shape[:-1]:
            yield (
                f"{path} is {_size(path, image)} but {paths[0]} of the same case is "
                f"{_size(paths[0], images[0])}: the channels of an image must have the same size."
            )
        elif (distance := _distance(images[0], image)) > _FARTHEST_APART:
            yield _misplaced(path, f"{paths[0]} of the same case", distance)
        if len(images) > 1 and image.shape[-1] != 1:
            yield (
                f"{path} has {image.shape[-1]} channels: in a list of files each has one, "
                "or give a single file."
            )


def _fault_of_values(path: str, facts: FileFacts) -> Iterator[str]:
    if facts.not_finite:
        yield f"{path} holds {facts.not_finite} values that are not finite (NaN or infinite): replace them."


def _faults_of_label(path: str, label: FileFacts, expected: Expected) -> Iterator[str]:
    if label.shape[-1] != 1:
        yield (
            f"{path} has {label.shape[-1]} channels: a label map has one, whose values are the keys "
            "of labels in dataset.json."
        )
        return
    yield from _fault_of_values(path, label)
    strange = [value for value in label.values if not _is_allowed(value, expected)]
    if strange:
        told = ", ".join(f"{value:g}" for value in strange[:5]) + (", …" if len(strange) > 5 else "")
        allowed = _listed([*expected.labels]) + (" and whole numbers above 0" if expected.instances else "")
        yield (
            f"{path} holds the label values {told} but labels of dataset.json allows {allowed}: "
            "name them there or convert the file."
        )


def _is_allowed(value: float, expected: Expected) -> bool:
    return value in expected.labels or (expected.instances and value > 0 and value.is_integer())


def _check_pair(first: str, image: FileFacts, *, path: str, label: FileFacts) -> Iterator[Verdict]:
    # Of a series the order of the axes is that of the scanner, whoever has drawn the label in which other.
    if suffix(first) not in (*PICTURE_SUFFIXES, *VOLUME_SUFFIXES) and _are_turned(image, label):
        yield (
            "warning",
            (
                f"{path} counts its axes otherwise than the series {first}: the config must turn both alike "
                "(Orientationd)."
            ),
        )
    elif label.shape[:-1] != image.shape[:-1]:
        yield (
            "error",
            (
                f"{path} is {_size(path, label)} but its image {first} is "
                f"{_size(first, image)}: both must have the same size."
            ),
        )
    elif (distance := _distance(image, label)) > _FARTHEST_APART:
        yield "error", _misplaced(path, f"its image {first}", distance)


def _distance(one: FileFacts, other: FileFacts) -> float:
    """How far apart, in voxels, the same indices lie; the farthest are at a corner. 0 for pictures."""
    if not one.affine or not other.affine:
        return 0.0
    corners = _corners(one.shape[:-1])
    moved = np.linalg.inv(np.array(one.affine)) @ np.array(other.affine) @ corners
    return float(np.linalg.norm((moved - corners)[:3], axis=0).max())


def _are_turned(one: FileFacts, other: FileFacts) -> bool:
    """Whether both are one grid whose axes are counted in different orders or directions."""
    if len(one.shape) != 4 or not one.affine or not other.affine:
        return False
    turned = _in_ras(one), _in_ras(other)
    alike = turned[0].shape == turned[1].shape and _distance(*turned) <= _FARTHEST_APART
    return alike and (one.shape != other.shape or _distance(one, other) > _FARTHEST_APART)


def _in_ras(facts: FileFacts) -> FileFacts:
    affine = np.array(facts.affine)
    orientation = _orientation_of(affine)
    size = np.array(facts.shape[:-1])
    moved = affine @ _undone(orientation, tuple(size))
    axes = np.argsort(orientation[:, 0])
    return replace(facts, shape=(*size[axes].tolist(), 1), affine=tuple(map(tuple, moved.tolist())))


def _corners(shape: Sequence[int]) -> NDArray[np.float64]:
    ends = np.array([*shape, 1, 1][:3]) - 1
    corners = np.indices((2, 2, 2)).reshape(3, -1) * ends[:, None]
    return np.concatenate([corners, np.ones((1, 8))])


def _misplaced(path: str, other: str, distance: float) -> str:
    return (
        f"{path} lies up to {distance:.3g} voxels from {other}, by the affines of their headers: export "
        "them on one grid."
    )


def _kind(spatial_dims: int, channels: int) -> str:
    noun = "volumes" if spatial_dims == 3 else "images"
    return f"{spatial_dims}D {noun} with {channels} {'channel' if channels == 1 else 'channels'}"


def _size(path: str, facts: FileFacts) -> str:
    """Width first for pictures, as viewers say it."""
    size = facts.shape[:-1]
    return " x ".join(str(n) for n in (reversed(size) if suffix(path) in PICTURE_SUFFIXES else size))


def _listed(values: Sequence[int]) -> str:
    return ", ".join(str(value) for value in values)
