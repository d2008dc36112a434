"""The policy for empty masks: its table, its values, and that a miss never improves a number."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from segadv_monai.metrics import (
    COUNTS,
    MEASURES,
    SURFACES,
    TOPOLOGY,
    calibration_error,
    empty_value,
    measure_named,
    nsd,
    overlap,
    policy_table,
    summarise_cases,
    surface_distances,
    topology_error,
    voxel_counts,
)
from segadv_monai.metrics.overlap import OVERLAPS
from segadv_monai.protocols import ConfigError

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
Case = tuple[NDArray[np.bool_], NDArray[np.bool_], tuple[float, float]]  # predictions, references, spacing


@st.composite
def a_case(draw: st.DrawFn, regions: int = 2) -> Case:
    """Two regions in a picture of any size and spacing, so that diagonals differ."""
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    size = regions * shape[0] * shape[1]
    # Halves of the time a mask is empty: this is what it is all about.
    bits = [draw(st.one_of(st.just(0), st.integers(0, 2**size - 1))) for _ in range(2)]
    masks = [np.array([n >> i & 1 for i in range(size)], bool).reshape(regions, *shape) for n in bits]
    spacing = draw(st.tuples(st.sampled_from([0.5, 1.0, 8.0]), st.sampled_from([0.5, 1.0, 3.0])))
    return masks[0], masks[1], spacing


cases = st.lists(a_case(), min_size=1, max_size=4)


def missed(case: Case, region: int) -> Case:
    """The case with nothing predicted for one region."""
    prediction = case[0].copy()
    prediction[region] = False
    return prediction, case[1], case[2]


def tables(seen: list[Case]) -> dict[str, NDArray[np.float64]]:
    result: dict[str, list[list[float]]] = {}
    for prediction, reference, spacing in seen:
        maps = [torch.from_numpy(masks)[None] for masks in (prediction, reference)]
        row = {name: overlap(name, voxel_counts(*maps))[0].tolist() for name in OVERLAPS}
        row["calibration_error"] = calibration_error(maps[0].double() * 0.9, maps[1])[0].tolist()
        both = [
            surface_distances(a, b, spacing_mm=spacing) for a, b in zip(prediction, reference, strict=True)
        ]
        row |= {name: [measure(d) for d in both] for name, measure in SURFACES.items()}
        row["nsd"] = [nsd(d, 1.0) for d in both]
        row |= {
            name: [topology_error(name, a, b) for a, b in zip(prediction, reference, strict=True)]
            for name in TOPOLOGY
        }
        for name, values in row.items():
            result.setdefault(name, []).append(values)
    return {name: np.array(table) for name, table in result.items()}


def no_better(before: list[Case], after: list[Case]) -> None:
    old, new = (summarise_cases(tables(seen), resamples=2) for seen in (before, after))
    for part in ("region 1", "region 2", "mean over regions"):
        for name, measure in MEASURES.items():
            for number in ("mean", "median"):
                was, now = old[part][name][number], new[part][name][number]
                if was is None:
                    continue
                worse = was - now if measure.higher_is_better else now - was
                assert worse >= -1e-9, (part, name, number, was, now)


@settings(deadline=None, max_examples=100)
@given(cases, a_case(), st.integers(0, 1))
def test_adding_a_miss_never_improves_any_number(seen: list[Case], more: Case, region: int) -> None:
    """The other region of the case that is added is empty, so that it brings nothing but the miss.

    Keeps N2.
    """
    prediction, reference, spacing = more
    reference = reference.copy()
    reference[region, 0, 0] = True
    reference[1 - region] = False
    no_better(seen, [*seen, (np.zeros_like(prediction), reference, spacing)])


@settings(deadline=None, max_examples=100)
@given(cases, st.integers(0, 3), st.integers(0, 1))
def test_turning_a_case_into_a_miss_never_improves_any_number(seen: list[Case], i: int, region: int) -> None:
    """Keeps N2."""
    i %= len(seen)
    if seen[i][1][region].any():
        no_better(seen, [*seen[:i], missed(seen[i], region), *seen[i + 1 :]])


def test_a_miss_in_a_small_image_does_not_hide_behind_its_diagonal() -> None:
    """Its diagonal is 2 mm, the other case's error 30 mm; the mean may not fall to 16 mm.

    Keeps N2.
    """
    far = np.zeros((1, 1, 31), bool)
    far[0, 0, 0] = True
    large = (far, far[..., ::-1].copy(), (1.0, 1.0))
    small = (np.zeros((1, 1, 1), bool), np.ones((1, 1, 1), bool), (math.sqrt(2), math.sqrt(2)))
    values = tables([large, small])
    assert values["hd95_mm"].ravel().tolist() == pytest.approx([30, 2])
    assert summarise_cases(values)["region 1"]["hd95_mm"]["mean"] == 30


def test_the_table_of_the_documentation_is_that_of_the_code() -> None:
    """Keeps N1."""
    assert policy_table() in DOCS.read_text(encoding="utf-8")


def test_every_measure_says_what_empty_masks_count_for() -> None:
    """Keeps N1."""
    for name, measure in MEASURES.items():
        worst = 13.0 if measure.worst is None else measure.worst
        one = [
            empty_value(name, prediction_empty=a, reference_empty=not a, diagonal=13.0) for a in (True, False)
        ]
        assert one == [worst, worst]
        assert math.isnan(empty_value(name, prediction_empty=True, reference_empty=True))
        assert (measure.best > worst) == measure.higher_is_better
    assert set(MEASURES) == {*SURFACES, *TOPOLOGY, "nsd", "calibration_error", *OVERLAPS} - set(COUNTS)


def test_a_measure_in_voxels_follows_the_one_in_mm() -> None:
    assert measure_named("hd95_voxels") is measure_named("hd95_mm")


def test_what_cannot_be_decided_is_an_error() -> None:
    with pytest.raises(ConfigError, match="a measure must be one of dice, jaccard"):
        measure_named("rand")
    with pytest.raises(ConfigError, match="neither mask is empty"):
        empty_value("dice", prediction_empty=False, reference_empty=False)
    with pytest.raises(ConfigError, match="give its length"):
        empty_value("hd95_mm", prediction_empty=True, reference_empty=False)
