"""Islands and holes: what goes, what is filled, and that label maps stay label maps."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from scipy.ndimage import binary_fill_holes
from torch import Tensor

from segadv_monai.metrics import components, holes
from segadv_monai.protocols import ConfigError
from segadv_monai.transforms import (
    CLEANINGS,
    CleanLabelsd,
    CleanRegions,
    CleanRegionsd,
    LabelToRegionsd,
    RegionsToLabel,
)

NESTED = [[1, 2, 3, 4], [1, 3, 4], [4]]
APART = [[1], [2]]
# A ring with a hole and an island, and the three ways to clean it.
DRAWN = """
##### #
#   #
# ####
#   #
#####  #
"""


def drawn(text: str) -> Tensor:
    rows = text.strip("\n").split("\n")
    width = max(map(len, rows))
    return torch.tensor([[float(c != " ") for c in row.ljust(width)] for row in rows])[None]


def cleaned(maps: Tensor, *choice: str, regions: Any = None) -> Tensor:
    return CleanRegions(choice, regions)(maps)


def labels_after(label: Tensor, regions: Any, *choice: str) -> list[Any]:
    data = CleanLabelsd("pred", regions, choice)({"pred": label})
    values: list[Any] = data["pred"].tolist()
    return values


def test_each_cleaning_does_what_its_name_says() -> None:
    ring = drawn(DRAWN)
    assert cleaned(ring, "none") is ring
    largest = ring.clone()
    largest[0, 0, 6] = largest[0, 4, 7] = 0
    assert torch.equal(cleaned(ring, "largest"), largest)
    filled = ring.clone()
    filled[0, 1:4, 1:4] = 1
    assert torch.equal(cleaned(ring, "fill"), filled)
    assert torch.equal(cleaned(ring, "largest_fill"), torch.minimum(cleaned(largest, "fill"), filled))
    assert cleaned(ring, "largest_fill").sum() == largest.sum() + 7 == filled.sum() - 2


def test_pieces_touch_at_corners_and_holes_have_no_way_out_through_faces() -> None:
    diagonal = torch.eye(5)[None]
    assert torch.equal(cleaned(diagonal, "largest"), diagonal)
    diamond = drawn("  #  \n # # \n#   #\n # # \n  #  ")
    assert cleaned(diamond, "fill").sum() == diamond.sum() + 5
    open_ring = drawn("###\n# #\n# #")
    assert torch.equal(cleaned(open_ring, "fill"), open_ring)


def test_a_cavity_is_filled_and_a_tunnel_is_not() -> None:
    box = torch.zeros(1, 5, 5, 5)
    box[:, 1:4, 1:4, 1:4] = 1
    box[:, 2, 2, 2] = 0
    assert cleaned(box, "fill").sum() == 27
    box[:, 2, 2] = 0
    assert torch.equal(cleaned(box, "fill"), box)


def test_of_equal_pieces_the_first_stays_and_nothing_stays_nothing() -> None:
    assert cleaned(torch.tensor([[1.0, 0, 1, 1, 0, 1, 1]]), "largest").tolist() == [[0, 0, 1, 1, 0, 0, 0]]
    for option in CLEANINGS:
        assert not cleaned(torch.zeros(1, 4, 4), option).any()
        assert cleaned(torch.ones(1, 4, 4), option).all()


def test_each_region_is_cleaned_in_its_own_way() -> None:
    ring = drawn(DRAWN)
    maps = torch.cat([ring, ring, ring])
    result = cleaned(maps, "largest", "none", "fill")
    assert torch.equal(result, torch.cat([cleaned(ring, "largest"), ring, cleaned(ring, "fill")]))
    assert torch.equal(maps, torch.cat([ring, ring, ring]))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(9, 8), (6, 5, 7)]), st.floats(0.1, 0.9))
def test_what_is_left_is_one_piece_without_holes(seed: int, size: tuple[int, ...], share: float) -> None:
    mask = torch.from_numpy(np.random.default_rng(seed).random((1, *size)) < share).float()
    assert components(cleaned(mask, "largest")[0]) == min(1, components(mask[0]))
    filled = cleaned(mask, "fill")
    assert holes(filled[0]) == 0
    assert torch.equal(filled[0] > 0, torch.from_numpy(binary_fill_holes(mask[0].numpy())))
    both = cleaned(mask, "largest_fill")
    assert (components(both[0]), holes(both[0])) == (min(1, components(mask[0])), 0)
    assert torch.equal(both, cleaned(cleaned(mask, "largest"), "fill"))


def test_a_region_fills_no_place_of_a_region_beside_it() -> None:
    label = torch.tensor([[[1, 1, 1, 1], [1, 2, 0, 1], [1, 1, 1, 1]]])
    assert labels_after(label, APART, "fill", "none") == [[[1, 1, 1, 1], [1, 2, 1, 1], [1, 1, 1, 1]]]
    other = torch.tensor([[[2, 2, 2, 2], [2, 1, 0, 2], [2, 2, 2, 2]]])
    assert labels_after(other, APART, "none", "fill") == [[[2, 2, 2, 2], [2, 1, 2, 2], [2, 2, 2, 2]]]
    maps = LabelToRegionsd("pred", APART)({"pred": label})["pred"]
    # Without the regions a map knows nothing of the others.
    assert cleaned(maps, "fill", "none")[0].all()


def test_what_a_region_loses_the_inner_ones_lose_and_what_they_gain_it_gains() -> None:
    """Whole, core and enhancing; written as 2, 1 and 4."""
    islands = torch.tensor([[[2, 2, 4, 0, 1, 0, 2]]])
    assert labels_after(islands, NESTED, "largest", "none", "none") == [[[2, 2, 4, 0, 0, 0, 0]]]
    assert labels_after(islands, NESTED, "none", "largest", "none") == [[[2, 2, 4, 0, 2, 0, 2]]]
    hole = torch.tensor([[[0, 4, 4, 4], [0, 4, 0, 4], [0, 4, 4, 4]]])
    assert labels_after(hole, NESTED, "none", "none", "fill") == [[[0, 4, 4, 4], [0, 4, 4, 4], [0, 4, 4, 4]]]
    assert labels_after(hole, NESTED, "fill", "none", "none") == [[[0, 4, 4, 4], [0, 4, 2, 4], [0, 4, 4, 4]]]


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([NESTED, APART, [[1, 2], [3]], [[1]]]),
    st.lists(st.sampled_from(CLEANINGS), min_size=3, max_size=3),
)
def test_cleaned_regions_survive_the_way_to_a_label_map_and_back(
    seed: int, regions: list[list[int]], options: list[str]
) -> None:
    choice = options[: len(regions)]
    label = torch.from_numpy(np.random.default_rng(seed).choice([0, 0, 1, 2, 3, 4], (1, 7, 6, 5)))
    to_regions = LabelToRegionsd("pred", regions)
    maps = CleanRegionsd("pred", choice, regions)(to_regions({"pred": label}))["pred"]
    back = to_regions({"pred": RegionsToLabel(regions, 0.5)(maps)})["pred"]
    assert torch.equal(back, maps)
    written = CleanLabelsd("pred", regions, choice)({"pred": label})["pred"]
    assert torch.equal(to_regions({"pred": written})["pred"], maps)
    same = (maps == to_regions({"pred": label})["pred"]).all(dim=0, keepdim=True)
    assert torch.equal(written[same], label[same])


def test_types_and_metadata_stay() -> None:
    meta = {"filename_or_obj": "a.nii"}
    label = MetaTensor(torch.tensor([[1, 0, 1, 1]], dtype=torch.uint8), meta=meta)
    result = CleanLabelsd("pred", [[1]], ["largest"])({"pred": label, "other": 3})
    assert result["other"] == 3
    assert result["pred"].dtype is torch.uint8
    assert result["pred"].meta["filename_or_obj"] == "a.nii"
    assert result["pred"].tolist() == [[0, 0, 1, 1]]
    assert label.tolist() == [[1, 0, 1, 1]]
    maps = CleanRegionsd("pred", ["largest"])({"pred": label})["pred"]
    assert maps.meta["filename_or_obj"] == "a.nii"
    assert maps.dtype is torch.uint8
    assert CleanLabelsd("pred", [[1]], ["none"])({"pred": label})["pred"] is label


@pytest.mark.parametrize(
    ("choice", "regions", "message"),
    [
        (["biggest"], None, r"one of none, largest, fill, largest_fill for each region, got \['biggest'\]"),
        ([], None, r"got \[\]"),
        ("fill", None, "got 'fill'"),
        (["fill"], APART, r"2 regions need as many choices of cleaning, got \['fill'\]"),
    ],
)
def test_a_choice_that_is_none_is_one_line(choice: Any, regions: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        CleanRegions(choice, regions)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="1 choices of cleaning need as many maps, got 2"):
        CleanRegions(["none"])(torch.zeros(2, 3, 3))
