import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.metrics import compute_roc_auc
from torch import Tensor

from segadv_monai.metrics import average_precision, best_dice, otsu_threshold, rank, roc_auc
from segadv_monai.protocols import DataError

# Few different values, so that there are ties.
PIXELS = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40)
MIXED = PIXELS.filter(lambda pixels: len({true for _, true in pixels}) == 2)


def tensors(pixels: list[tuple[int, bool]]) -> tuple[Tensor, Tensor]:
    said, true = zip(*pixels, strict=True)
    return torch.tensor(said) / 5, torch.tensor(true)


def above(said: Tensor, true: Tensor, threshold: float) -> tuple[int, int]:
    """Pixels from the threshold upwards: of the structure, and all."""
    chosen = said >= threshold
    return int((chosen & true).sum()), int(chosen.sum())


@given(MIXED)
def test_roc_auc_is_the_share_of_pairs_in_the_right_order(pixels: list[tuple[int, bool]]) -> None:
    """Keeps N11."""
    said, true = tensors(pixels)
    pairs = [
        float(a > b) + 0.5 * float(a == b)
        for a, b in itertools.product(said[true].tolist(), said[~true].tolist())
    ]
    assert roc_auc(rank(said, true)) == pytest.approx(float(np.mean(pairs)), abs=1e-12)
    assert roc_auc(rank(said, true)) == pytest.approx(float(compute_roc_auc(said, true)), abs=1e-6)


@given(MIXED)
def test_average_precision_and_the_best_dice_are_those_of_every_threshold(
    pixels: list[tuple[int, bool]],
) -> None:
    """Keeps N11."""
    said, true = tensors(pixels)
    area, reached, dices = 0.0, 0.0, []
    for threshold in sorted(set(said.tolist()), reverse=True):
        hits, chosen = above(said, true, threshold)
        recall = hits / int(true.sum())
        area += (recall - reached) * hits / chosen
        reached = recall
        dices.append(2 * hits / (chosen + int(true.sum())))
    ranking = rank(said, true)
    assert average_precision(ranking) == pytest.approx(area, abs=1e-12)
    dice, threshold = best_dice(ranking)
    assert dice == pytest.approx(max(dices), abs=1e-12)
    hits, chosen = above(said, true, threshold)
    assert 2 * hits / (chosen + int(true.sum())) == pytest.approx(dice, abs=1e-12)


def test_values_by_hand() -> None:
    said = torch.tensor([0.9, 0.8, 0.8, 0.1])
    ranking = rank(said, torch.tensor([1, 1, 0, 0]))
    assert ranking.values.tolist() == said[[0, 1, 3]].tolist()
    assert (ranking.true.tolist(), ranking.false.tolist()) == ([1, 2, 2], [0, 1, 2])
    assert roc_auc(ranking) == 0.875
    assert average_precision(ranking) == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)
    assert best_dice(ranking)[0] == pytest.approx(0.8)
    constant = rank(torch.full((4,), 0.3), torch.tensor([1, 0, 0, 0]))
    assert (roc_auc(constant), average_precision(constant)) == (0.5, 0.25)


def test_otsu_is_the_best_of_all_borders_between_two_heaps() -> None:
    generator = torch.Generator().manual_seed(0)
    heaps = [torch.rand(300, generator=generator) * width + low for low, width in ((0.0, 0.3), (0.7, 0.2))]
    said = torch.cat(heaps)

    def between(threshold: float) -> float:
        high, low = said[said > threshold].double(), said[said <= threshold].double()
        return float(len(high) * len(low) * (high.mean() - low.mean()) ** 2)

    threshold = otsu_threshold(said)
    assert 0.3 < threshold < 0.7
    best = max(between(t) for t in said.sort().values[:-1].tolist())
    assert between(threshold) == pytest.approx(best)
    assert otsu_threshold(torch.full((3,), 0.4)) == pytest.approx(0.4)


@pytest.mark.parametrize("true", [[0, 0], [1, 1]])
def test_a_curve_without_one_of_the_kinds_is_refused(true: list[int]) -> None:
    with pytest.raises(DataError, match="inside and outside of the structure"):
        rank(torch.tensor([0.1, 0.9]), torch.tensor(true))


def test_what_is_not_finite_or_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="finite"):
        rank(torch.tensor([0.1, torch.nan]), torch.tensor([0, 1]))
    with pytest.raises(DataError, match="one shape"):
        rank(torch.rand(3), torch.ones(2))
    with pytest.raises(DataError, match="finite"):
        otsu_threshold(torch.empty(0))
