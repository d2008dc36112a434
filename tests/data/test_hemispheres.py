"""Slices of hemispheres: which are sick, which labelled, which healthy one goes with which."""

from typing import Any

import pytest
import torch
from monai.transforms import Compose
from torch import Tensor

from segadv_monai.data import Hemispheres, HemisphereSlices, SeededLoader, WithHealthyd
from segadv_monai.protocols import ConfigError, DataError


def case(*sick: tuple[int, int], slices: int = 4, seed: int = 0) -> dict[str, Tensor]:
    """A head without air but for an empty lowest slice; a sick place is a side and a slice."""
    image = torch.rand(2, 6, 5, slices, generator=torch.Generator().manual_seed(seed)) + 1
    image[..., 0] = 0
    label = torch.zeros(1, 6, 5, slices)
    for side, z in sick:
        label[0, 3 * side, 2, z] = 1
    return {"image": image, "label": label}


def listed(*cases: dict[str, Tensor], **settings: Any) -> Hemispheres:
    return Hemispheres(cases, dict, **settings)


def test_a_half_with_a_label_is_sick_and_one_without_is_healthy() -> None:
    head = case((0, 1), (1, 1), (1, 3))
    found = listed(head)
    assert [len(part) for part in (found.labelled, found.unlabelled, found.healthy)] == [3, 0, 3]
    first, second, third = found.labelled
    assert torch.equal(first["image"], head["image"][:, :3, :, 1])
    assert torch.equal(second["image"], head["image"][:, 3:, :, 1])
    assert torch.equal(third["label"], head["label"][:, 3:, :, 3])
    assert torch.equal(found.healthy[0], head["image"][:, :3, :, 2])


def test_a_half_with_too_little_brain_is_left_out() -> None:
    head = case((0, 1))
    head["image"][:, :3, :, 2] = 0
    head["image"][:, 0, 0, 2] = 1
    assert len(listed(head, least_brain=0.1).healthy) == 4
    assert len(listed(head, least_brain=0.05).healthy) == 5
    assert len(listed(head, least_brain=0.0).healthy) == 7


def test_the_labelled_share_is_spread_evenly_and_loses_no_slice() -> None:
    heads = [case(*((side, z) for side in (0, 1) for z in (1, 2)), seed=i) for i in range(3)]
    whole = listed(*heads)
    found = listed(*heads, labelled_share=0.25)
    assert [len(found.labelled), len(found.unlabelled)] == [3, 9]
    for i, labelled in enumerate(found.labelled):
        assert torch.equal(labelled["image"], whole.labelled[4 * i]["image"])
    assert all(set(one) == {"image"} for one in found.unlabelled)
    everything = sum(one["image"].sum() for one in (*found.labelled, *found.unlabelled))
    torch.testing.assert_close(everything, sum(one["image"].sum() for one in whole.labelled))


def test_the_healthy_slice_is_a_function_of_seed_epoch_and_case() -> None:
    found = listed(case(*((0, z) for z in range(1, 9)), slices=9), labelled_share=0.5)
    transform = Compose([WithHealthyd(found)])
    labelled = HemisphereSlices(found, transform=transform)
    others = HemisphereSlices(found, labelled=False, transform=transform)

    def epoch(number: int, seed: int = 0) -> list[dict[str, Tensor]]:
        loader = SeededLoader(labelled, batch_size=2, seed=seed, unlabelled=others)
        loader.sampler.set_epoch(number)  # type: ignore[attr-defined]
        return list(loader)

    first = epoch(1)
    assert [batch["image"].shape == batch["healthy"].shape == (2, 2, 3, 5) for batch in first] == [True] * 4
    assert sum("label" in batch for batch in first) == 2
    for again, same in ((epoch(1), True), (epoch(2), False), (epoch(1, seed=1), False)):
        pairs = zip(first, again, strict=True)
        assert all(torch.equal(a["healthy"], b["healthy"]) for a, b in pairs) == same
    drawn = {one.sum().item() for number in range(20) for batch in epoch(number) for one in batch["healthy"]}
    assert drawn == {one.sum().item() for one in found.healthy}


def test_volumes_without_a_sick_or_a_healthy_slice_are_one_line() -> None:
    for head, counts in ((case(), "0 sick and 6 healthy"), (case((0, 1), (1, 1), slices=2), "2 sick and 0")):
        with pytest.raises(DataError, match=counts) as caught:
            listed(head)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.1, 1.5])
def test_a_share_of_no_slice_names_what_is_allowed(share: float) -> None:
    with pytest.raises(ConfigError, match=r"of the 2 sick slices .* from 0.5 to 1"):
        listed(case((0, 1), (1, 1)), labelled_share=share)


def test_a_training_on_unlabelled_slices_that_finds_none_is_one_line() -> None:
    with pytest.raises(ConfigError, match="set a smaller --labelled_share") as caught:
        HemisphereSlices(listed(case((0, 1))), labelled=False)
    assert "\n" not in str(caught.value)
