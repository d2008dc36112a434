"""Instance numbers to the U-Net's target and back."""

from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor

from segadv_monai.transforms.instances import ForegroundToInstancesd, InstancesToForegroundd


def drawn(*rows: str) -> Tensor:
    return torch.tensor([[[int(x) for x in row] for row in rows]])


def foreground(instances: Tensor, ridge: int = 1) -> Tensor:
    result: Tensor = InstancesToForegroundd("label", ridge)({"label": instances.float()})["label"]
    return result


def found(mask: Tensor, **settings: Any) -> Tensor:
    result: Tensor = ForegroundToInstancesd("pred", **settings)({"pred": mask.float()})["pred"]
    return result


def discs(*centres: tuple[int, int], radius: int = 10) -> Tensor:
    """Touching or not, the later over the earlier."""
    rows, columns = np.indices((48, 64))
    labels = np.zeros((48, 64), int)
    for number, (row, column) in enumerate(centres, 1):
        labels[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = number
    return torch.from_numpy(labels)[None]


def test_a_ridge_of_background_comes_between_cells_that_touch_and_nowhere_else() -> None:
    instances = drawn("1112220", "1112220", "0000000", "3330044")
    assert foreground(instances).tolist() == drawn("1100110", "1100110", "0000000", "1110011").tolist()


def test_cells_that_meet_at_a_corner_are_parted() -> None:
    instances = drawn("1100", "1100", "0022", "0022")
    assert foreground(instances).tolist() == drawn("1100", "1000", "0001", "0011").tolist()


def test_the_ridge_can_be_wide_or_absent() -> None:
    instances = drawn("111222", "111222")
    assert foreground(instances, 2).tolist() == drawn("100001", "100001").tolist()
    assert foreground(instances, 0).tolist() == drawn("111111", "111111").tolist()


def test_sixteen_bits_and_three_axes_keep_their_cells() -> None:
    instances = torch.zeros(1, 4, 4, 6)
    instances[..., :3], instances[..., 3:] = 65535, 65534
    assert foreground(instances)[0, 0, 0].tolist() == [1, 1, 0, 0, 1, 1]


@pytest.mark.parametrize(
    "wrong", [torch.full((1, 3, 3), 1.5), -torch.ones(1, 3, 3), torch.ones(2, 3, 3)], ids=str
)
def test_what_is_no_instance_map_gets_one_line(wrong: Tensor) -> None:
    with pytest.raises(
        ValueError, match="label must be instance numbers, one channel of whole numbers from 0"
    ):
        foreground(wrong)


def test_the_target_gives_the_cells_back_but_for_the_ridge() -> None:
    instances = discs((20, 14), (20, 33), (20, 52))
    again = found(foreground(instances), grow=1)
    assert again.dtype == torch.int32
    assert again.max() == 3
    for number in (1, 2, 3):
        cell = instances == number
        best = again[cell].mode().values
        shared = (cell & (again == best)).sum() / (cell | (again == best)).sum()
        assert shared > 0.85


def test_a_bridge_is_cut_where_seeds_are_asked_for() -> None:
    joined = discs((20, 16), (20, 38)) > 0
    joined[0, 18:23, 26:29] = True
    assert found(joined).max() == 1
    parted = found(joined, seed_depth=5)
    assert parted.max() == 2
    assert torch.equal(parted > 0, joined)
    # Each keeps its side, the border is in the bridge.
    assert parted[0, 20, 6:27].unique().tolist() == [parted[0, 20, 16].item()]
    assert parted[0, 20, 28:49].unique().tolist() == [parted[0, 20, 38].item()]


def test_a_piece_without_a_seed_is_an_instance_unless_it_is_too_small() -> None:
    maps = discs((24, 20)) > 0
    maps[0, 2:5, 50:54] = True
    assert found(maps, seed_depth=4).max() == 2
    assert found(maps, seed_depth=4, min_size=12).max() == 2
    only = found(maps, seed_depth=4, min_size=13)
    assert only.max() == 1
    assert only[0, 2:5, 50:54].max() == 0
    assert only[0, 24, 20] == 1


def test_a_hole_is_filled_and_a_cell_in_it_stays() -> None:
    ring = drawn("1111111", "1000001", "1000001", "1001001", "1000001", "1111111")
    filled = found(ring)
    assert filled.unique().tolist() == [1, 2]
    assert filled[0, 3, 3] != filled[0, 0, 0]
    assert (filled[0, 3, 3] == filled).sum() == 1
    assert torch.equal(found(ring, fill_holes=False) > 0, ring > 0)


def test_small_gaps_in_cells_make_no_seeds() -> None:
    joined = discs((20, 16), (20, 38)) > 0
    joined[0, 18:23, 26:29] = True
    spotted = joined.clone()
    spotted[0, 20, [16, 38]] = False
    assert found(spotted, seed_depth=5).max() > 2
    parted = found(spotted, seed_depth=5, min_size=2)
    assert parted.max() == 2
    assert torch.equal(parted > 0, joined)


def test_smoothing_closes_what_is_thin() -> None:
    cell = discs((24, 30), radius=20) > 0
    cell[0, 24] = False
    assert found(cell).max() == 2
    assert found(cell, smoothing=2.0).max() == 1


def test_nothing_gives_nothing_and_the_channel_is_chosen() -> None:
    maps = torch.stack([torch.ones(5, 5), torch.zeros(5, 5)])
    assert found(maps, seed_depth=2).max() == 1
    assert found(maps, channel=1, seed_depth=2, grow=3, min_size=2).max() == 0
    with pytest.raises(ValueError, match="pred has 2 channels, got channel 2: channels count from 0"):
        found(maps, channel=2)


def test_the_result_knows_its_file_and_case() -> None:
    label = MetaTensor(torch.ones(1, 4, 4), meta={"filename_or_obj": "a.png"})
    assert InstancesToForegroundd("label")({"label": label})["label"].meta["filename_or_obj"] == "a.png"
    assert ForegroundToInstancesd("pred")({"pred": label})["pred"].meta["filename_or_obj"] == "a.png"
    assert InstancesToForegroundd("label", allow_missing_keys=True)({"image": label}) == {"image": label}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": 1.0}, "threshold must be at least 0 and less than 1"),
        ({"seed_depth": -1}, "seed_depth must be at least 0"),
        ({"min_size": -1}, "min_size must be at least 0"),
        ({"grow": -1}, "grow must be at least 0"),
        ({"smoothing": -1}, "smoothing must be at least 0"),
    ],
)
def test_numbers_out_of_range_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        found(torch.zeros(1, 2, 2), **settings)


def test_a_negative_ridge_is_refused() -> None:
    with pytest.raises(ValueError, match="ridge must be at least 0, got -1"):
        foreground(torch.zeros(1, 2, 2), -1)
