"""The cases of a data set against each other: what no single file can tell."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from nibabel.orientations import aff2axcodes, io_orientation
from numpy.typing import NDArray

from .case_check import Case, Facts, Verdict
from .file_facts import FileFacts
from .findings import Severity

__all__ = ["check_set"]

# Times the median, or its inverse.
_FAR_SPACING = 3.0

_Array: TypeAlias = NDArray[np.float64]
# nibabel leaves both untyped.
_orientation_of: Callable[[_Array], _Array] = io_orientation
_codes_of: Callable[[_Array], tuple[str, ...]] = aff2axcodes


def check_set(
    cases: Sequence[Case],
    facts: Facts,
    hashes: Mapping[str, str],
    *,
    labels: Mapping[int, str],
    allow_shared: bool = False,
) -> Iterator[Verdict]:
    """Everything that stands out among the cases.

    Args:
        cases: all of them.
        facts: of each file, as for a single case.
        hashes: SHA-256 of each file that could be read, by its path.
        labels: name of each label value.
        allow_shared: whether one picture may stand in two sections; then it is a warning.
    """
    yield from _repeated(cases, hashes, "warning" if allow_shared else "error")
    volumes = {}
    for case in cases:
        fact = facts[case.images[0], False]
        if isinstance(fact, FileFacts) and fact.affine:
            volumes[case.images[0]] = np.array(fact.affine)
    yield from _far_spacings(volumes)
    yield from _other_orientations(volumes)
    yield from _labels_in_use([facts[case.label, True] for case in cases if case.label], labels)


def _repeated(cases: Sequence[Case], hashes: Mapping[str, str], of_sections: Severity) -> Iterator[Verdict]:
    """Pictures, by content, that stand in the set more than once."""
    seen: dict[tuple[str, ...], Case] = {}
    for case in cases:
        if any(path not in hashes for path in case.images):
            continue
        first = seen.setdefault(tuple(hashes[path] for path in case.images), case)
        if first is case:
            continue
        if first.section == case.section:
            yield "warning", f"{case.images[0]} and {first.images[0]} of {case.section} are the same image."
        else:
            yield (
                of_sections,
                (
                    f"{case.images[0]} of {case.section} is the same image as {first.images[0]} of "
                    f"{first.section}: what is measured on it is no measure; leave one out, "
                    "or set allow_shared."
                ),
            )


def _far_spacings(volumes: Mapping[str, _Array]) -> Iterator[Verdict]:
    """Along the body's axes, so that volumes that are stored in another order are compared rightly."""
    if not volumes:
        return
    spacings = np.array([_spacing(affine) for affine in volumes.values()])
    median = np.median(spacings, axis=0)
    far = np.maximum(spacings / median, median / spacings).max(axis=1) > _FAR_SPACING
    for path, spacing in zip(np.array(list(volumes))[far], spacings[far], strict=True):
        yield (
            "warning",
            (
                f"{path} has the spacing {_mm(spacing)}, far from the set's median {_mm(median)} "
                "(right-left, front-back, up-down)."
            ),
        )


def _spacing(affine: _Array) -> _Array:
    axes = _orientation_of(affine)[:, 0].astype(int)
    spacing = np.empty(3)
    spacing[axes] = np.linalg.norm(affine[:3, :3], axis=0)
    return spacing


def _mm(spacing: _Array) -> str:
    return " x ".join(f"{length:.3g}" for length in spacing) + " mm"


def _other_orientations(volumes: Mapping[str, _Array]) -> Iterator[Verdict]:
    codes = {path: "".join(_codes_of(affine)) for path, affine in volumes.items()}
    for usual, _ in Counter(codes.values()).most_common(1):
        for path, code in codes.items():
            if code != usual:
                yield (
                    "warning",
                    (
                        f"{path} is stored as {code}, most of the set as {usual}: the config must turn "
                        "them alike (Orientationd)."
                    ),
                )


def _labels_in_use(found: Sequence[FileFacts | str], labels: Mapping[int, str]) -> Iterator[Verdict]:
    maps = [fact for fact in found if isinstance(fact, FileFacts)]
    used = {value for fact in maps for value in fact.values}
    for value, name in labels.items():
        if maps and value not in used:
            yield "warning", f"label {value} ({name}) occurs in no case."
    empty = sum(fact.values == (0.0,) for fact in maps)
    if empty:
        yield "notice", f"{empty} of {len(maps)} labels are empty: they hold 0 alone."
