"""The most probable class, and positions without any."""

import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor

from segadv_monai.transforms import ClassesToLabeld, ClearIgnoredd, LabelToRegionsd


def labels_from(maps: Tensor, regions: list[list[int]]) -> Tensor:
    label: Tensor = ClassesToLabeld("pred", regions)({"pred": maps})["pred"]
    return label


def test_every_position_gets_its_most_probable_class_label_0_included() -> None:
    maps = torch.tensor([[0.5, 0.1, 0.2], [0.3, 0.2, 0.1], [0.2, 0.1, 0.15]])
    label = labels_from(maps, [[0], [7, 4], [255]])
    assert label.dtype == torch.uint8
    assert label.tolist() == [[0, 4, 0]]
    assert labels_from(maps.flip(0), [[0], [7, 4], [255]]).tolist() == [[255, 4, 255]]


@pytest.mark.parametrize("size", [(4, 5), (4, 5, 6)], ids=["2D", "3D"])
def test_one_hot_maps_survive_a_label_map_and_keep_their_place(size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    regions = [[0], [1], [2]]
    affine = torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0], dtype=torch.float64))
    label = MetaTensor(torch.randint(0, 3, (1, *size)), affine=affine)
    maps = LabelToRegionsd("pred", regions)({"pred": label})["pred"]
    back = labels_from(maps, regions)
    assert isinstance(back, MetaTensor)
    assert torch.equal(back.affine, affine)
    assert torch.equal(back.as_subclass(Tensor).long(), label.as_subclass(Tensor))


def test_a_label_that_no_class_has_is_ignored_in_the_prediction_too() -> None:
    regions = [[0], [1]]
    label = LabelToRegionsd("label", regions)({"label": torch.tensor([[0, 1, 11, 1]])})["label"]
    assert label[:, 2].tolist() == [0, 0]
    prediction = torch.tensor([[1.0, 1, 1, 0], [0, 0, 0, 1]])
    cleared = ClearIgnoredd("pred")({"pred": prediction, "label": label})["pred"]
    assert cleared.tolist() == [[1, 1, 0, 0], [0, 0, 0, 1]]
    assert prediction.sum() == 4


@pytest.mark.parametrize("regions", [[], [[0], []], [[0, 1], [1]]])
def test_classes_need_labels_of_their_own(regions: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="every class needs labels of its own"):
        ClassesToLabeld("pred", regions)


def test_what_does_not_fit_is_one_line() -> None:
    with pytest.raises(ValueError, match="8 bits, got 0 to 256: use 0 to 255"):
        ClassesToLabeld("pred", [[0], [256]])
    with pytest.raises(ValueError, match=r"2 classes need as many channels, got 3: pred of"):
        labels_from(torch.zeros(3, 4), [[0], [1]])
    with pytest.raises(ValueError, match=r"pred is \(2, 4\) but label is \(2, 5\)"):
        ClearIgnoredd("pred")({"pred": torch.zeros(2, 4), "label": torch.zeros(2, 5)})
