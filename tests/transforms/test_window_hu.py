"""CT windows: their ends, their names, what lies outside."""

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImage

from segadv_monai.protocols import ConfigError
from segadv_monai.transforms import HU_WINDOWS, WindowHU, WindowHUd

HU = torch.tensor([[-1024.0, -160, 40, 240, 3000]])


def test_a_window_ends_at_0_and_1_and_cuts_the_rest() -> None:
    assert WindowHU("soft tissue")(HU).tolist() == [[0, 0, 0.5, 1, 1]]
    assert WindowHU("soft tissue", signed=True)(HU).tolist() == [[-1, -1, 0, 1, 1]]


def test_the_three_ways_to_name_a_window_agree() -> None:
    for level, width in HU_WINDOWS.values():
        by_ends = WindowHU(lower_hu=level - width / 2, upper_hu=level + width / 2)(HU)
        assert torch.equal(WindowHU(level_hu=level, width_hu=width)(HU), by_ends)
    for name, ends in (
        ("soft tissue", (-160, 240)),
        ("lung", (-1350, 150)),
        ("bone", (-500, 1300)),
        ("liver", (-45, 105)),
        ("brain", (0, 80)),
    ):
        window = WindowHU(name)
        assert (window.lower_hu, window.upper_hu) == ends


def test_integers_become_floats_and_metadata_stay() -> None:
    image = MetaTensor(HU.short(), meta={"filename_or_obj": "a.nii"})
    result = WindowHUd("image", "bone", signed=True)({"image": image, "label": 1})
    assert result["image"].dtype is torch.float32
    assert result["image"].meta["filename_or_obj"] == "a.nii"
    assert result["label"] == 1
    assert torch.equal(image.as_tensor(), HU.short())
    assert WindowHUd("ct", "lung", allow_missing_keys=True)({"image": 1}) == {"image": 1}


def test_the_body_of_a_real_scan_lies_inside_the_window_and_air_at_its_end(shared_data: Path) -> None:
    load = LoadImage(reader="NibabelReader", ensure_channel_first=True)
    image = load(shared_data / "ct_organs" / "example_ct_sm.nii.gz")
    result = WindowHU("soft tissue")(image)
    assert float(result.min()) == 0
    assert float(result.max()) == 1
    assert not result[image < -500].any()
    assert 0.4 < result[(image > 0) & (image < 100)].mean() < 0.7


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "a window has a name, or level_hu and width_hu"),
        ({"name": "heart"}, "must be one of soft tissue, lung, bone, liver, brain, got 'heart'"),
        ({"name": ""}, "got ''"),
        ({"name": "lung", "level_hu": 1, "width_hu": 2}, r"got name lung, level and width \(1, 2\)"),
        ({"level_hu": 40, "upper_hu": 1}, r"level and width \(40, None\), ends \(None, 1\)"),
        ({"level_hu": 40}, r"level and width \(40, None\)"),
        ({"upper_hu": 0}, r"ends \(None, 0\)"),
        ({"level_hu": 40, "width_hu": 0}, "width greater than 0 HU, got 40 to 40 HU"),
        ({"lower_hu": 240, "upper_hu": -160}, "got 240 to -160 HU"),
    ],
)
def test_a_window_that_is_none_is_one_line(given: dict[str, Any], message: str) -> None:
    for build in (lambda: WindowHU(**given), lambda: WindowHUd("image", **given)):
        with pytest.raises(ConfigError, match=message) as caught:
            build()
        assert "\n" not in str(caught.value)
