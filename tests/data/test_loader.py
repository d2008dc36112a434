"""Batches that do not depend on who prepares them, nor on where an epoch is entered."""

from typing import Any

import numpy as np
import pytest
import torch
from monai.data import CacheDataset, Dataset
from monai.transforms import Compose, Lambda, RandGaussianNoise, RandShiftIntensity

from segadv_monai.data import SeededLoader, loader


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
