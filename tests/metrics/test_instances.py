import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from segadv_monai.metrics import instance_scores
from segadv_monai.protocols import DataError

Maps = NDArray[np.int64]
maps = arrays.arrays(np.int64, (4, 5), elements=st.integers(0, 3))


@given(prediction=maps, reference=maps)
def test_the_scores_are_their_definition(prediction: Maps, reference: Maps) -> None:
    expected, finders = [], set()
    for number in np.unique(reference[reference > 0]):
        true = reference == number
        best = 0.0
        for other in np.unique(prediction[prediction > 0]):
            said = prediction == other
            if 2 * (said & true).sum() > true.sum():
                best = (said & true).sum() / (said | true).sum()
                finders.add(other)
        expected.append(best)
    scores = instance_scores(prediction, reference)
    assert scores.jaccard.tolist() == pytest.approx(expected)
    assert scores.missed == expected.count(0.0)
    assert scores.extra == len(set(prediction[prediction > 0].tolist()) - finders)


def line(*runs: tuple[int, int]) -> Maps:
    """Objects along a line: number and length."""
    return np.concatenate([np.full(length, number) for number, length in runs])[None]


REFERENCE = line((1, 4), (0, 2), (2, 6))


@pytest.mark.parametrize(
    ("prediction", "jaccard", "extra"),
    [
        (line((7, 4), (0, 2), (3, 6)), [1, 1], 0),
        (line((0, 1), (1, 4), (0, 1), (2, 6)), [3 / 5, 1], 0),  # shifted by one
        (line((1, 2), (3, 2), (0, 2), (2, 6)), [0, 1], 2),  # halves: neither is more than half
        (line((1, 3), (3, 1), (0, 2), (2, 6)), [3 / 4, 1], 1),  # split unevenly
        (line((1, 12)), [4 / 12, 6 / 12], 0),  # merged
        (line((0, 12)), [0, 0], 0),  # empty
        (line((1, 4), (9, 2), (2, 6)), [1, 1], 1),  # one too many
    ],
)
def test_hand_made_cases(prediction: Maps, jaccard: list[float], extra: int) -> None:
    scores = instance_scores(prediction, REFERENCE)
    assert scores.jaccard.tolist() == pytest.approx(jaccard)
    assert scores.seg == pytest.approx(sum(jaccard) / 2)
    assert (scores.missed, scores.extra) == (jaccard.count(0), extra)


def test_without_objects_there_is_no_score() -> None:
    scores = instance_scores(REFERENCE, 0 * REFERENCE)
    assert np.isnan(scores.seg)
    assert (scores.missed, scores.extra) == (0, 2)


def test_volumes_and_tensors_are_taken_too_and_other_maps_are_one_line() -> None:
    volume = torch.zeros(2, 3, 4, dtype=torch.int32)
    volume[0, :2], volume[1, 1:] = 1, 5
    assert instance_scores(volume, volume).seg == 1
    with pytest.raises(DataError, match="must number its objects"):
        instance_scores(volume, volume + 0.5)
