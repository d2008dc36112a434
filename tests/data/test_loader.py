"""Batches that do not depend on who prepares them, nor on where an epoch is entered."""

from typing import Any

import numpy as np
import pytest
import torch
from monai.data import CacheDataset, Dataset
from monai.transforms import (
    Compose,
    Lambda,
    Lambdad,
    RandGaussianNoise,
    RandShiftIntensity,
    RandShiftIntensityd,
)

from segadv_monai.data import SeededLoader, loader
from segadv_monai.protocols import ConfigError


def noisy(x: torch.Tensor) -> torch.Tensor:
    """As a transform of someone else may be: from the global states."""
    return x + torch.rand(x.shape) + np.random.rand()  # noqa: NPY002


TRANSFORMS = Compose([RandShiftIntensity(offsets=0.4, prob=0.5), RandGaussianNoise(prob=0.5), Lambda(noisy)])


def seeded(**settings: Any) -> SeededLoader:
    data = [torch.full((1, 2, 2), float(i)) for i in range(7)]
    dataset = settings.pop("dataset", Dataset)(data, TRANSFORMS)
    return SeededLoader(dataset, batch_size=2, **{"seed": 3, **settings})


def epoch(of: SeededLoader, number: int) -> list[torch.Tensor]:
    of.sampler.set_epoch(number)
    return [torch.as_tensor(batch).as_subclass(torch.Tensor) for batch in of]


def assert_equal(a: list[torch.Tensor], b: list[torch.Tensor]) -> None:
    assert len(a) == len(b)
    assert all(torch.equal(one, other) for one, other in zip(a, b, strict=True))


@pytest.mark.parametrize("dataset", [Dataset, CacheDataset])
def test_workers_prepare_the_bits_of_the_main_process(dataset: type) -> None:
    """Keeps R8."""
    settings = {"dataset": dataset} if dataset is Dataset else {}
    alone, helped = seeded(**settings), seeded(num_workers=2, **settings)
    for number in (1, 2):
        assert_equal(epoch(alone, number), epoch(helped, number))


def test_an_epoch_is_the_same_whatever_came_before_it() -> None:
    first, second = seeded(), seeded()
    epoch(first, 1)
    torch.rand(5)
    assert_equal(epoch(first, 2), epoch(second, 2))


def test_epochs_and_seeds_differ_in_order_and_in_draws() -> None:
    one, two, other = epoch(seeded(), 1), epoch(seeded(), 2), epoch(seeded(seed=4), 1)
    assert not torch.equal(torch.cat(one), torch.cat(two))
    assert not torch.equal(torch.cat(one), torch.cat(other))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_that_is_entered_in_its_middle_goes_on_with_the_batches_that_were_left(workers: int) -> None:
    whole, rest = seeded(), seeded(num_workers=workers)
    rest.skip(1)
    assert len(rest) == 3
    assert_equal(epoch(whole, 5)[1:], epoch(rest, 5))
    assert_equal(epoch(whole, 6), epoch(rest, 6))


def test_every_case_comes_once_and_in_order_if_nothing_is_shuffled() -> None:
    plain = SeededLoader(Dataset(list(range(7))), batch_size=2, drop_last=False)
    assert sorted(torch.cat(epoch(plain, 1)).tolist()) == list(range(7))
    ordered = SeededLoader(Dataset(list(range(7))), batch_size=2, shuffle=False)
    assert torch.cat(epoch(ordered, 4)).tolist() == list(range(6))


def test_processes_share_one_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch of two processes is the joint batch of one, case by case with the same draws."""
    alone = torch.cat(epoch(seeded(drop_last=False), 2))
    shares = []
    for rank in (0, 1):
        monkeypatch.setattr(loader.idist, "get_world_size", lambda: 2)
        monkeypatch.setattr(loader.idist, "get_rank", lambda rank=rank: rank)
        share = seeded(drop_last=False)
        assert len(share.sampler) == 3
        shares.append(torch.cat(epoch(share, 2)))
    assert torch.equal(torch.stack(shares, 1).flatten(0, 1), alone[:6])


# --- labelled and unlabelled cases


def mixed(*, labelled: int = 7, unlabelled: int | None = 9, **settings: Any) -> SeededLoader:
    """Labelled cases count from 0, unlabelled ones from 100, by their first pixel before any noise."""
    cases = [{"case": i, "image": torch.full((1, 2, 2), float(i)), "label": i} for i in range(labelled)]
    others = [{"case": 100 + i, "image": torch.full((1, 2, 2), 100.0 + i)} for i in range(unlabelled or 0)]
    draw = Compose([RandShiftIntensityd("image", offsets=0.4, prob=0.5), Lambdad("image", noisy)])
    if unlabelled is not None:
        settings["unlabelled"] = Dataset(others, draw)
    return SeededLoader(Dataset(cases, draw), **{"batch_size": 2, "seed": 3, **settings})


def batches(of: SeededLoader, number: int) -> list[dict[str, torch.Tensor]]:
    of.sampler.set_epoch(number)
    return [{key: torch.as_tensor(value) for key, value in batch.items()} for batch in of]


def images(of: SeededLoader, number: int) -> list[torch.Tensor]:
    return [batch["image"].as_subclass(torch.Tensor) for batch in batches(of, number)]


def cases_of(of: SeededLoader, number: int) -> list[list[int]]:
    return [batch["case"].tolist() for batch in batches(of, number)]


def test_a_batch_is_labelled_or_unlabelled_and_an_epoch_has_the_shares_that_are_asked_for() -> None:
    for share, expected in ((1.0, 3), (2.0, 6), (0.3, 1)):
        loader_of = mixed(unlabelled_share=share)
        found = batches(loader_of, 1)
        assert len(found) == len(loader_of) == 3 + expected
        assert sum("label" not in batch for batch in found) == expected
        assert all((batch["case"] >= 100).all() == ("label" not in batch) for batch in found)
        assert all(len(batch["case"]) == 2 for batch in found)


def test_the_labelled_batches_are_those_of_a_training_without_unlabelled_cases() -> None:
    """The twin sees the same cases in the same order with the same draws."""
    twin, both = mixed(unlabelled=None), mixed(unlabelled_share=2.0)
    for number in (1, 4):
        with_label = [batch["image"] for batch in batches(both, number) if "label" in batch]
        assert_equal([x.as_subclass(torch.Tensor) for x in with_label], images(twin, number))


def test_no_unlabelled_case_comes_twice_before_each_came_once() -> None:
    found = cases_of(mixed(unlabelled_share=4.0), 2)
    others = [case for batch in found for case in batch if case >= 100]
    assert len(others) == 24
    assert sorted(others[:9]) == sorted(others[9:18]) == list(range(100, 109))
    assert others[:9] != others[9:18]


def test_kinds_and_cases_come_in_another_order_in_every_epoch_and_with_every_seed() -> None:
    orders = [cases_of(mixed(seed=seed), number) for seed, number in ((3, 1), (3, 2), (4, 1))]
    kinds = [[batch[0] >= 100 for batch in order] for order in orders]
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]
    assert len({tuple(kind) for kind in kinds}) > 1


@pytest.mark.parametrize("workers", [0, 2])
def test_a_mixed_epoch_is_the_same_bits_with_workers_and_from_its_middle_on(workers: int) -> None:
    """Keeps R8."""
    whole, rest = mixed(), mixed(num_workers=workers)
    assert_equal(images(whole, 5), images(rest, 5))
    rest.skip(2)
    assert_equal(images(whole, 6)[2:], images(rest, 6))
    assert_equal(images(whole, 7), images(rest, 7))


def test_processes_have_the_same_kind_of_batch_and_share_the_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for rank in (0, 1):
        monkeypatch.setattr(loader.idist, "get_world_size", lambda: 2)
        monkeypatch.setattr(loader.idist, "get_rank", lambda rank=rank: rank)
        found.append(cases_of(mixed(labelled=8, unlabelled=8, unlabelled_share=1.0), 3))
    kinds = [[batch[0] >= 100 for batch in order] for order in found]
    assert kinds[0] == kinds[1]
    cases = [case for order in found for batch in order for case in batch]
    assert sorted(cases) == [*range(8), *range(100, 108)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"drop_last": False}, "all batches are full .* got drop_last False and"),
        ({"unlabelled_share": 0.0}, r"unlabelled_share is greater than 0, got drop_last True and 0\.0"),
        ({"labelled": 1}, "batch_size 2 is more than the 1 labelled cases: set --batch_size 1"),
        ({"unlabelled": 1}, "batch_size 2 is more than the 1 unlabelled cases: set --batch_size 1"),
    ],
)
def test_a_mixture_that_gives_no_batch_is_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        mixed(**settings)
    assert "\n" not in str(caught.value)
