"""Rand and information scores by hand and by their definition over pairs of positions."""

from itertools import product
from math import log

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from segadv_monai.metrics import ClusteringScores, clustering_scores, contingency
from segadv_monai.protocols import DataError

Maps = NDArray[np.int64]
maps = arrays.arrays(np.int64, (4, 5), elements=st.integers(0, 3))


def by_definition(prediction: Maps, reference: Maps) -> tuple[float, float]:
    """V_rand over all pairs of foreground positions, V_info over the probabilities."""
    inside = reference > 0
    said, true = prediction[inside].copy(), reference[inside]
    alone = said == 0
    said[alone] = 100 + np.arange(alone.sum())
    pairs = [(a == b, c == d) for (a, c), (b, d) in product(list(zip(said, true, strict=True)), repeat=2)]
    both = sum(a and b for a, b in pairs)
    rand = both / (0.5 * sum(a for a, _ in pairs) + 0.5 * sum(b for _, b in pairs))
    n = len(true)
    joint = {(a, b): np.mean((said == a) & (true == b)) for a in set(said) for b in set(true)}
    left = {a: np.mean(said == a) for a in set(said)}
    right = {b: np.mean(true == b) for b in set(true)}
    shared = sum(p * log(p / left[a] / right[b]) for (a, b), p in joint.items() if p)
    entropy = [-sum(p * log(p) for p in table.values()) for table in (left, right)]
    assert n == inside.sum()
    return rand, 2 * shared / sum(entropy) if sum(entropy) > 1e-12 else 1.0


@given(prediction=maps, reference=maps)
def test_the_scores_are_their_definitions(prediction: Maps, reference: Maps) -> None:
    if not reference.any():
        return
    scores = clustering_scores(prediction, reference)
    rand, info = by_definition(prediction, reference)
    assert scores.rand == pytest.approx(rand)
    assert scores.info == pytest.approx(info, abs=1e-9)
    assert all(0 <= value <= 1 + 1e-12 for value in scores)


@given(reference=maps, seed=st.integers(0, 9))
def test_equal_objects_are_perfect_whatever_their_numbers(reference: Maps, seed: int) -> None:
    if not reference.any():
        return
    numbers = np.random.default_rng(seed).permutation(3) + 1
    renamed = np.concatenate([[0], numbers])[reference]
    assert tuple(clustering_scores(renamed, reference)) == pytest.approx((1,) * 6)


def test_one_split_lowers_the_split_scores_alone() -> None:
    reference = np.repeat([[1, 2]], [4, 4], axis=1)
    prediction = np.repeat([[1, 3, 2]], [2, 2, 4], axis=1)
    scores = clustering_scores(prediction, reference)
    # Squares: joint 4 + 4 + 16, predicted the same, true 16 + 16.
    assert scores.rand_split == pytest.approx(24 / 32)
    assert scores.rand_merge == 1
    assert scores.rand == pytest.approx(2 * 24 / (24 + 32))
    # log 2 of the objects; the halves have 1.5 log 2.
    assert scores.info_split == pytest.approx(1 / 1.5)
    assert scores.info_merge == pytest.approx(1)
    assert scores.info == pytest.approx(2 / 2.5)


def test_one_merger_lowers_the_merge_scores_alone() -> None:
    reference = np.repeat([[1, 3, 2]], [2, 2, 4], axis=1)
    prediction = np.repeat([[1, 2]], [4, 4], axis=1)
    scores = clustering_scores(prediction, reference)
    assert (scores.rand_split, scores.rand_merge) == (1, pytest.approx(24 / 32))
    assert (scores.info_split, scores.info_merge) == (pytest.approx(1), pytest.approx(1 / 1.5))


def test_all_in_one_and_none_at_all() -> None:
    reference = np.repeat([[1, 2]], [4, 4], axis=1)
    one = clustering_scores(np.ones_like(reference), reference)
    assert tuple(one) == pytest.approx((2 * 32 / (64 + 32), 1, 0.5, 0, 1, 0))
    nothing = clustering_scores(np.zeros_like(reference), reference)
    assert nothing.rand == pytest.approx(2 * 8 / (8 + 32))
    assert nothing.rand_merge == 1
    assert nothing.info == pytest.approx(2 * log(2) / (log(8) + log(2)))


def test_what_the_reference_has_as_border_counts_nowhere() -> None:
    reference = np.array([[1, 1, 0, 2, 2]])
    for border in (0, 1, 9):
        scores = clustering_scores(np.array([[1, 1, border, 2, 2]]), reference)
        assert tuple(scores) == pytest.approx((1,) * 6)


def test_volumes_and_tensors_are_taken_too() -> None:
    reference = torch.zeros(3, 4, 5)
    reference[:, :, :2], reference[:, :, 3:] = 1, 2
    assert clustering_scores(reference, reference) == ClusteringScores(*[pytest.approx(1)] * 6)


def test_maps_that_cannot_be_compared_are_one_line() -> None:
    ones = np.ones((2, 2))
    with pytest.raises(DataError, match="the reference has no object"):
        clustering_scores(ones, 0 * ones)
    with pytest.raises(DataError, match="differ: bring the prediction back"):
        clustering_scores(ones, np.ones((2, 3)))
    for wrong in (ones / 2, -ones, ones * float("nan")):
        with pytest.raises(DataError, match="the prediction must number its objects from 1"):
            clustering_scores(wrong, ones)


def test_pairs_are_counted_once_each() -> None:
    pairs = contingency(np.array([[0, 5, 5], [5, 0, 7]]), np.array([[1, 1, 1], [1, 0, 70_000]]))
    assert sorted(zip(*(part.tolist() for part in pairs), strict=True)) == [
        (0, 0, 1),
        (0, 1, 1),
        (5, 1, 3),
        (7, 70_000, 1),
    ]
