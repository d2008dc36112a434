"""Label maps to maps of regions and back."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from torch import Tensor

from segadv_monai.transforms import LabelToRegionsd, RegionsToLabel, RegionsToLabeld

NESTED = [[1, 2, 3, 4], [1, 3, 4], [4]]  # whole tumour, core, enhancing tumour
AFFINE = torch.diag(torch.tensor([1.5, 2.0, 3.0, 1.0], dtype=torch.float64))


def labels(*values: int, dtype: torch.dtype = torch.uint8) -> Tensor:
    return torch.tensor(values, dtype=dtype).reshape(1, -1)


def regions_of(label: Tensor, regions: list[list[int]]) -> Tensor:
    maps: Tensor = LabelToRegionsd("label", regions)({"label": label})["label"]
    return maps


def probabilities(*channels: list[float]) -> Tensor:
    return torch.tensor(channels)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32])
def test_a_region_is_a_set_of_labels(dtype: torch.dtype) -> None:
    maps = regions_of(labels(0, 1, 2, 3, 4, dtype=dtype), NESTED)
    assert maps.dtype == torch.float32
    assert maps.tolist() == [[0, 1, 1, 1, 1], [0, 1, 0, 1, 1], [0, 0, 0, 0, 1]]


@pytest.mark.parametrize("size", [(4, 5), (4, 5, 6)], ids=["2D", "3D"])
def test_maps_lie_on_the_grid_of_the_label(size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    label = torch.randint(0, 5, (1, *size))
    maps = regions_of(label, NESTED)
    assert maps.shape == (3, *size)
    assert torch.equal(maps[2], (label[0] == 4).float())


def test_nested_regions_are_painted_from_the_outside_in() -> None:
    written = RegionsToLabel(NESTED)(probabilities([0, 1, 1, 1.0], [0, 0, 1, 1], [0, 0, 0, 1]))
    assert written.dtype == torch.uint8
    assert written.tolist() == [[0, 2, 1, 4]]


def test_an_inner_region_wins_over_a_more_probable_outer_one() -> None:
    assert RegionsToLabel(NESTED)(probabilities([0.9], [0.5], [0.45])).tolist() == [[4]]


def test_regions_survive_a_label_map() -> None:
    maps = regions_of(labels(0, 1, 2, 3, 4), NESTED)
    assert torch.equal(regions_of(RegionsToLabel(NESTED)(maps), NESTED), maps)


def test_of_regions_that_exclude_one_another_the_most_probable_wins() -> None:
    p = probabilities([0.9, 0.5, 0.3, 0.1], [0.5, 0.9, 0.3, 0.41])
    assert RegionsToLabel([[7], [3]])(p).tolist() == [[7, 3, 0, 3]]


def test_of_equally_probable_ones_the_later_wins() -> None:
    p = probabilities([0.5, 1.0], [0.5, 1.0])
    assert RegionsToLabel([[7], [3]])(p).tolist() == [[3, 3]]


def test_a_region_of_several_labels_is_written_as_the_smallest() -> None:
    assert RegionsToLabel([[5, 2, 3], [1]])(probabilities([1.0, 0], [0, 1])).tolist() == [[2, 1]]


@pytest.mark.parametrize(
    ("threshold", "expected"), [(0.4, [0, 1, 1, 1]), (0.5, [0, 0, 0, 1]), (0.0, [1, 1, 1, 1])]
)
def test_the_threshold_decides(threshold: float, expected: list[int]) -> None:
    p = probabilities([0.39, 0.41, 0.49, 0.51])
    assert RegionsToLabel([[1]], threshold)(p).tolist() == [expected]
    assert RegionsToLabeld("p", [[1]], threshold)({"p": p})["p"].tolist() == [expected]


def test_the_threshold_of_the_paper_is_the_default() -> None:
    p = probabilities([0.39, 0.41])
    assert (
        RegionsToLabel([[1]])(p).tolist() == RegionsToLabeld("p", [[1]])({"p": p})["p"].tolist() == [[0, 1]]
    )


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 255), min_size=1, max_size=5, unique=True),
    st.lists(st.integers(0, 5), min_size=1, max_size=20),
)
def test_a_label_map_survives_exclusive_regions(values: list[int], choices: list[int]) -> None:
    palette = [0, *values]
    label = labels(*(palette[choice % len(palette)] for choice in choices))
    regions = [[value] for value in values]
    assert torch.equal(RegionsToLabel(regions)(regions_of(label, regions)), label)


def test_meta_data_stay_both_ways() -> None:
    label = MetaTensor(
        labels(0, 1, 2).reshape(1, 3, 1, 1), affine=AFFINE, meta={"filename_or_obj": "case.nii"}
    )
    maps = LabelToRegionsd("label", [[1], [2]])({"label": label})["label"]
    back = RegionsToLabeld("label", [[1], [2]])({"label": maps})["label"]
    for result in (maps, back):
        assert isinstance(result, MetaTensor)
        assert torch.equal(result.affine, AFFINE)
        assert result.meta["filename_or_obj"] == "case.nii"
    assert torch.equal(back.as_tensor(), label.as_tensor())


def test_plain_tensors_stay_plain() -> None:
    maps = regions_of(labels(0, 1), [[1]])
    assert type(maps) is Tensor
    assert type(RegionsToLabel([[1]])(maps)) is Tensor


def test_other_keys_and_the_input_are_untouched() -> None:
    data = {"label": labels(0, 1), "image": torch.ones(1, 2), "name": "case"}
    result = LabelToRegionsd("label", [[1]])(data)
    assert data["label"] is not result["label"]
    assert result["image"] is data["image"]
    assert result["name"] == "case"
    assert data["label"].tolist() == [[0, 1]]


def test_missing_keys_are_an_error_unless_allowed() -> None:
    for transform in (LabelToRegionsd, RegionsToLabeld):
        with pytest.raises(KeyError):
            transform("label", [[1]])({"image": torch.ones(1)})
        assert transform("label", [[1]], allow_missing_keys=True)({"image": 1}) == {"image": 1}


@pytest.mark.parametrize("regions", [[], [[]], [[1], []]])
def test_a_region_without_labels_is_an_error(regions: list[list[int]]) -> None:
    for build in (lambda: RegionsToLabel(regions), lambda: LabelToRegionsd("label", regions)):
        with pytest.raises(ValueError, match=r"for one lesion give \[\[1\]\]"):
            build()


def test_a_region_covered_by_later_ones_is_an_error() -> None:
    with pytest.raises(ValueError, match="would vanish below later ones: put it behind them"):
        RegionsToLabel([[4], [1, 4]])


def test_labels_beyond_eight_bits_are_an_error() -> None:
    with pytest.raises(ValueError, match="got 256: use 1 to 255"):
        RegionsToLabel([[256]])


def test_channels_that_are_not_the_regions_are_an_error() -> None:
    with pytest.raises(ValueError, match="3 regions need as many channels, got 2"):
        RegionsToLabel(NESTED)(torch.ones(2, 4))


def test_a_label_of_several_channels_is_an_error() -> None:
    with pytest.raises(ValueError, match="one channel, got 2: label of"):
        regions_of(torch.zeros(2, 4), [[1]])
