"""The union, the larger and the smaller of several masks."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import LoadImage
from torch import Tensor

from segadv_monai.data import datalist
from segadv_monai.transforms import (
    LargerMask,
    LargerMaskd,
    MaskUnion,
    MaskUniond,
    SmallerMask,
    SmallerMaskd,
)


def mask(*voxels: int, size: tuple[int, ...] = (2, 3)) -> Tensor:
    """One channel with these places set, counted along the last axis first."""
    flat = torch.zeros(torch.Size(size).numel())
    flat[list(voxels)] = 1
    return flat.reshape(1, *size)


ONE, TWO, OTHER_TWO, NONE = mask(5), mask(0, 1), mask(1, 2), mask()


def test_the_three_by_hand() -> None:
    assert torch.equal(MaskUnion()([ONE, TWO]), mask(0, 1, 5))
    assert torch.equal(LargerMask()([ONE, TWO]), TWO)
    assert torch.equal(SmallerMask()([ONE, TWO]), ONE)
    assert torch.equal(MaskUnion()([ONE, TWO, OTHER_TWO]), mask(0, 1, 2, 5))
    assert torch.equal(SmallerMask()([ONE, NONE, TWO]), NONE)
    assert torch.equal(MaskUnion()([ONE.numpy(), TWO]), mask(0, 1, 5))


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0)])
def test_of_equals_the_first_is_taken(order: tuple[int, ...]) -> None:
    masks = [[TWO, OTHER_TWO, mask(3, 4)][i] for i in order]
    assert torch.equal(LargerMask()([ONE, *masks]), masks[0])
    assert torch.equal(SmallerMask()([mask(0, 1, 2), *masks]), masks[0])


def test_volumes_go_by_voxels_and_every_channel_for_itself() -> None:
    size = (2, 3, 2)
    a, b = mask(0, 5, 6, size=size), mask(1, size=size)
    both = LargerMask()([torch.cat([a, b]), torch.cat([b, a])])
    assert torch.equal(both, torch.cat([a, a]))
    assert torch.equal(SmallerMask()(torch.stack([torch.cat([a, b]), torch.cat([b, a])])), torch.cat([b, b]))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 2**12 - 1), min_size=1, max_size=4), st.integers(1, 2**12 - 1))
def test_the_union_holds_every_mask_and_is_as_sensitive_as_the_best(bits: list[int], truth: int) -> None:
    def drawn(number: int) -> Tensor:
        return mask(*[i for i in range(12) if number >> i & 1], size=(3, 4))

    masks, reference = [drawn(number) for number in bits], drawn(truth)
    union, larger, smaller = MaskUnion()(masks), LargerMask()(masks), SmallerMask()(masks)
    assert all((union >= member).all() for member in masks)
    found = [float((member * reference).sum()) for member in (*masks, union)]
    assert found[-1] == max(found)
    sizes = [int(member.sum()) for member in masks]
    assert torch.equal(larger, masks[sizes.index(max(sizes))])
    assert torch.equal(smaller, masks[sizes.index(min(sizes))])


def test_a_case_gets_the_result_under_a_key_of_its_own() -> None:
    case = {"a": MetaTensor(TWO.byte() * 255, meta={"filename_or_obj": "a.png"}), "b": ONE}
    for transform, expected in ((MaskUniond, mask(0, 1, 5)), (LargerMaskd, TWO), (SmallerMaskd, ONE)):
        result = transform(["a", "b"], "pred")(case)
        assert torch.equal(torch.as_tensor(result["pred"]), expected.byte())
        assert result["pred"].dtype is torch.uint8
        assert result["pred"].meta["filename_or_obj"] == "a.png"
        assert result.keys() == {"a", "b", "pred"}
        stacked = transform("both")({"both": torch.stack([TWO, ONE])})
        assert torch.equal(stacked["both"], expected)


def test_masks_that_do_not_fit_are_one_line() -> None:
    with pytest.raises(ValueError, match=r"one shape, got 2 of \[\(1, 2, 3\), \(1, 3, 4\)\]: bring all to"):
        MaskUnion()([ONE, mask(size=(3, 4))])
    with pytest.raises(ValueError, match=r"one shape, got 0 of \[\]"):
        LargerMask()([])
    with pytest.raises(ValueError, match="output_key=None"):
        SmallerMaskd(["a", "b"])


def test_real_lesions_are_joined(shared_data: Path) -> None:
    cases = datalist(shared_data / "dermoscopy", "validation")[:5]
    for case in cases:
        lesion = LoadImage(ensure_channel_first=True)(case["label"])
        moved = torch.roll(lesion, 20, 1)
        union = MaskUnion()([lesion, moved])
        assert union.sum() >= (lesion > 0).sum()
        assert ((union > 0) >= (lesion > 0)).all()
