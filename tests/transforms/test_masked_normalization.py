"""Standardisation inside a mask: which voxels count, what becomes of the others."""

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Flipd, Invertd, LoadImage, NormalizeIntensity
from torch import Tensor

from segadv_monai.data import datalist
from segadv_monai.protocols import ConfigError, DataError
from segadv_monai.transforms import NormalizeInMask, NormalizeInMaskd


def image(*size: int, seed: int = 0) -> Tensor:
    return 50 + 9 * torch.randn(size, generator=torch.Generator().manual_seed(seed))


def test_the_values_by_hand() -> None:
    values = torch.tensor([[0.0, 2.0, 4.0, 10.0]])
    inside = torch.tensor([[0, 1, 1, 0]])
    assert NormalizeInMask()(values, inside).tolist() == [[0, -1, 1, 0]]
    assert NormalizeInMask(outside=-9)(values, inside).tolist() == [[-9, -1, 1, -9]]
    assert NormalizeInMask(outside=None)(values, inside).tolist() == [[-3, -1, 1, 7]]


def test_without_a_mask_voxels_above_a_threshold_or_not_0_are_inside() -> None:
    values = torch.tensor([[0.0, -4.0, 2.0, 4.0]])
    above = NormalizeInMask(threshold=0)(values)
    assert above.tolist() == [[0, 0, -1, 1]]
    torch.testing.assert_close(NormalizeInMask()(values), NormalizeIntensity(nonzero=True)(values.clone()))


def test_channels_are_scaled_apart_and_may_have_masks_of_their_own() -> None:
    values = torch.cat([image(1, 9, 8, 7), 100 * image(1, 9, 8, 7, seed=1)])
    masks = torch.stack([values[0] > 45, values[1] > 5500])
    for given in (masks, masks[:1]):
        result = NormalizeInMask()(values, given)
        for channel, inside in zip(result, given.expand_as(values), strict=True):
            assert float(channel[inside].mean()) == pytest.approx(0, abs=1e-5)
            assert float(channel[inside].std(correction=0)) == pytest.approx(1, abs=1e-5)
            assert not channel[~inside].any()


def test_constant_values_become_0_inside_and_keep_their_distance_outside() -> None:
    values = torch.tensor([[0.1, 0.1, 0.1, 2.1]])
    inside = torch.tensor([[1, 1, 1, 0]])
    assert NormalizeInMask()(values, inside).tolist() == [[0, 0, 0, 0]]
    torch.testing.assert_close(NormalizeInMask(outside=None)(values, inside), torch.tensor([[0.0, 0, 0, 2]]))


def test_integers_become_floats_and_metadata_and_records_stay() -> None:
    ours = MetaTensor((10 * image(1, 6, 5)).int(), meta={"filename_or_obj": "a.nii"})
    before = ours.clone()
    steps = Compose([Flipd("image", 0), NormalizeInMaskd("image", mask_key="brain")])
    result = steps({"image": ours, "brain": torch.ones(1, 6, 5), "label": 3})
    assert torch.equal(ours, before)
    assert result["label"] == 3
    assert result["image"].dtype is torch.float32
    assert result["image"].meta["filename_or_obj"] == "a.nii"
    undone = Invertd("image", steps, "image", nearest_interp=False)(result)["image"]
    assert torch.equal(undone, result["image"].flip(1))


def test_a_real_brain_is_scaled_by_its_own_mask(shared_data: Path) -> None:
    case = datalist(shared_data / "brain_tumour", "validation")[0]
    load = LoadImage(reader="NibabelReader", ensure_channel_first=True)
    data = {"image": load(case["image"][0]), "brain": load(case["brain"])}
    result = NormalizeInMaskd("image", mask_key="brain")(data)["image"]
    inside = data["brain"] > 0
    assert 0.05 < inside.float().mean() < 0.5
    assert float(result[inside].double().mean()) == pytest.approx(0, abs=1e-4)
    assert float(result[inside].double().std()) == pytest.approx(1, abs=1e-4)
    assert not result[~inside].any()


@pytest.mark.parametrize(
    ("values", "mask", "message"),
    [
        (image(1, 4, 4), torch.zeros(1, 4, 4), r"a\.nii: channel 0 has 0 voxels inside its mask"),
        (torch.zeros(1, 4, 4), None, "channel 0 has 0 voxels inside its mask"),
        (image(1, 4, 4) * torch.nan, torch.ones(1, 4, 4), "has 16 voxels inside .* some and finite"),
        (image(1, 4, 4), torch.ones(1, 4, 5), r"of \(1, 4, 4\) must be of that size, got \(1, 4, 5\)"),
        (image(3, 4, 4), torch.ones(2, 4, 4), r"of \(3, 4, 4\) must be of that size, got \(2, 4, 4\)"),
    ],
)
def test_what_cannot_be_scaled_is_one_line(values: Tensor, mask: Tensor | None, message: str) -> None:
    named = MetaTensor(values, meta={"filename_or_obj": "a.nii"})
    with pytest.raises(DataError, match=message) as caught:
        NormalizeInMask()(named, mask)
    assert "\n" not in str(caught.value)


def test_a_mask_and_a_threshold_or_a_missing_mask_are_one_line() -> None:
    with pytest.raises(ConfigError, match="the mask is brain or what exceeds 3"):
        NormalizeInMaskd("image", mask_key="brain", threshold=3)
    data: dict[Any, Any] = {"image": image(1, 4, 4)}
    with pytest.raises(DataError, match="an image: the case has no brain"):
        NormalizeInMaskd("image", mask_key="brain")(data)
    assert NormalizeInMaskd("scan", allow_missing_keys=True)(data) == data
