from pathlib import Path

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Flip, LoadImage
from torch import Tensor

from segadv_monai.data import datalist
from segadv_monai.protocols import ConfigError, DataError
from segadv_monai.transforms import FieldOfViewd


def photograph() -> tuple[Tensor, Tensor]:
    """An image with a bright disc on nearly black ground, and the disc."""
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(50.0), indexing="ij")
    disc = (((rows - 20) ** 2 + (columns - 25) ** 2) < 15**2)[None]
    noise = torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(0))
    return torch.where(disc, 100 + 60 * noise, 5 * noise), disc


def test_the_field_is_found_where_there_is_no_mask_and_taken_where_there_is_one() -> None:
    image, disc = photograph()
    assert torch.equal(FieldOfViewd("image")({"image": image})["fov"], disc.float())
    half = disc.clone()
    half[:, :20] = False
    assert torch.equal(FieldOfViewd("image")({"image": image, "fov": half * 255})["fov"], half.float())


def test_intensities_are_standardised_inside_and_zero_outside() -> None:
    image, disc = photograph()
    image[2] = 7.0
    result = FieldOfViewd("image")({"image": image, "fov": disc})["image"]
    inside = result[:, disc[0]]
    torch.testing.assert_close(inside.mean(dim=1), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(inside.std(dim=1, correction=0)[:2], torch.ones(2))
    assert not result[2].any()
    assert not result[:, ~disc[0]].any()


def test_what_cannot_be_used_gets_one_line() -> None:
    image, disc = photograph()
    with pytest.raises(DataError, match="field of view"):
        FieldOfViewd("image")({"image": image, "fov": torch.zeros_like(disc)})
    with pytest.raises(DataError, match="field of view"):
        FieldOfViewd("image")({"image": image, "fov": disc[:, :9]})
    with pytest.raises(ConfigError, match="share"):
        FieldOfViewd("image", share=1.0)


def test_the_field_that_is_found_in_real_photographs_is_nearly_the_given_one(shared_data: Path) -> None:
    load = LoadImage(ensure_channel_first=True, image_only=True)
    for case in datalist(shared_data / "retina_drive", "validation"):
        found = FieldOfViewd("image")({"image": load(case["image"])})["fov"] > 0
        given = load(case["fov"]) > 0
        assert int((found & given).sum()) / int((found | given).sum()) > 0.99


def test_what_was_done_before_can_still_be_undone() -> None:
    turned = Flip(spatial_axis=0)(MetaTensor(photograph()[0]))
    found = FieldOfViewd("image")({"image": turned})
    assert found["image"].applied_operations == turned.applied_operations != []
    assert found["fov"].applied_operations == turned.applied_operations
