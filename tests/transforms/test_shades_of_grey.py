"""Colour constancy: what it leaves alone, what it takes away, values by hand."""

from pathlib import Path

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Flip, LoadImage
from torch import Tensor

from segadv_monai.data import datalist
from segadv_monai.protocols import DataError
from segadv_monai.transforms import ShadesOfGrey, ShadesOfGreyd


def picture(*size: int) -> Tensor:
    return 255 * torch.rand(size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("order", [1.0, 6.0, 50.0])
def test_a_grey_image_stays_as_it_is(order: float) -> None:
    grey = picture(1, 8, 9).expand(3, 8, 9)
    torch.testing.assert_close(ShadesOfGrey(order)(grey), grey)
    torch.testing.assert_close(
        ShadesOfGrey(order)(picture(1, 4, 5, 6).expand(2, 4, 5, 6)), picture(1, 4, 5, 6).expand(2, 4, 5, 6)
    )


def test_a_coloured_light_is_taken_away() -> None:
    scene, light = picture(3, 8, 9), torch.tensor([1.0, 0.7, 0.4])[:, None, None]
    before, after = ShadesOfGrey()(scene), ShadesOfGrey()(light * scene)
    # The same colours, brighter or darker.
    torch.testing.assert_close(after / after.mean(), before / before.mean())
    once = ShadesOfGrey()(scene)
    torch.testing.assert_close(ShadesOfGrey()(once), once)


def test_the_values_by_hand() -> None:
    """Means of sixth powers 1/2 and 32 of (0, 1) and (0, 2): the second light is twice the first."""
    image = torch.tensor([[0.0, 1.0], [0.0, 2.0]])[:, None]
    grey = (((0.5 ** (1 / 6)) ** 2 + (2 * 0.5 ** (1 / 6)) ** 2) / 2) ** 0.5
    expected = grey / 0.5 ** (1 / 6)
    torch.testing.assert_close(ShadesOfGrey()(image).flatten(), torch.tensor([0.0, expected, 0.0, expected]))
    world = ShadesOfGrey(1)(image).flatten()
    torch.testing.assert_close(world[[1, 3]], torch.full((2,), (2.5) ** 0.5))


def test_black_channels_and_black_images_stay_black() -> None:
    image = picture(3, 4, 5)
    image[1] = 0
    result = ShadesOfGrey()(image)
    assert result.isfinite().all()
    assert not result[1].any()
    assert not ShadesOfGrey()(torch.zeros(3, 4, 5)).any()


def test_integers_become_floats_and_what_is_known_of_a_file_stays() -> None:
    image = MetaTensor(picture(3, 4, 5).byte(), meta={"filename_or_obj": "a.png"})
    result = ShadesOfGreyd("image")({"image": image, "label": 1})
    assert result["image"].dtype is torch.float32
    assert result["image"].meta["filename_or_obj"] == "a.png"
    assert result["label"] == 1
    torch.testing.assert_close(torch.as_tensor(result["image"]), ShadesOfGrey()(picture(3, 4, 5).byte()))


def test_the_light_on_photographs_of_skin_becomes_grey(shared_data: Path) -> None:
    for case in datalist(shared_data / "dermoscopy", "validation")[:3]:
        image = LoadImage(ensure_channel_first=True)(case["image"])
        result = ShadesOfGrey()(image)
        norms = [x.double().pow(6).flatten(1).mean(1).pow(1 / 6) for x in (image, result)]
        assert norms[0].max() / norms[0].min() > 1.02
        assert float(norms[1].max() / norms[1].min()) == pytest.approx(1, rel=1e-5)


def test_what_has_no_colour_is_one_line() -> None:
    with pytest.raises(ValueError, match=r"order must be at least 1, got 0\.5"):
        ShadesOfGrey(0.5)
    for image in (picture(1, 4, 5), picture(3, 4, 5) - 300, picture(3, 4, 5) * torch.nan):
        with pytest.raises(DataError, match="an image: colour constancy takes two channels or more"):
            ShadesOfGrey()(image)


def test_what_was_done_before_can_still_be_undone() -> None:
    turned = Flip(spatial_axis=0)(MetaTensor(picture(3, 4, 5)))
    balanced = ShadesOfGrey()(turned)
    assert balanced.applied_operations == turned.applied_operations != []
