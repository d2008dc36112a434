"""Histograms: an image gets its reference's, the reference is drawn from the transform's own generator."""

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Flipd, Invertd, NormalizeIntensityd
from torch import Tensor

from segadv_monai.data import (
    FrozenCacheDataset,
    MatchHistogram,
    MatchHistogramd,
    RandMatchHistogramd,
    SeededLoader,
    datalist,
)
from segadv_monai.protocols import ConfigError, DataError


def image(*size: int, seed: int = 0, power: float = 1.0, scale: float = 1.0) -> Tensor:
    return scale * torch.rand(size, generator=torch.Generator().manual_seed(seed)) ** power


def stored(i: int) -> Tensor:
    return image(1, 7, 8, 9 + i, seed=i, power=1 + i, scale=10.0**i)


def load(case: dict[str, Any]) -> dict[str, Any]:
    """Stands for a file."""
    return {"image": stored(case["image"])}


CASES: list[dict[Any, Any]] = [{"image": i} for i in range(3)]


@pytest.mark.parametrize("size", [(1, 40, 50), (2, 14, 15, 16)])
def test_an_image_gets_the_quantiles_of_its_reference(size: tuple[int, ...]) -> None:
    """Of any size and range; order stays."""
    ours, reference = image(*size, power=1.5, scale=50) - 7, image(*size, seed=1, scale=4)[..., :9] + 2
    result = MatchHistogram(reference, points=20, above_mean=False)(ours)
    assert result.shape == ours.shape
    share = torch.linspace(0, 1, 11)
    for ours_, result_, reference_ in zip(ours, result, reference, strict=True):
        torch.testing.assert_close(result_.quantile(share), reference_.quantile(share), atol=0.1, rtol=0)
        order = ours_.flatten().argsort()
        assert (result_.flatten()[order].diff() >= -1e-4).all()


def test_an_image_matched_to_itself_stays() -> None:
    ours = image(1, 30, 30, scale=100)
    torch.testing.assert_close(MatchHistogram(ours)(ours), ours, atol=0.5, rtol=0)


def test_only_values_above_the_mean_are_matched_unless_asked_for() -> None:
    """Air of another share would move the tissue otherwise."""
    tissue = image(1, 40, 40, scale=20) + 100
    much_air, little_air = tissue.clone(), tissue.clone()
    much_air[:, :25] = 0
    little_air[:, :5] = 0
    for above_mean, kept in ((True, True), (False, False)):
        result = MatchHistogram(little_air, above_mean=above_mean)(much_air)
        change = (result - much_air)[much_air > 0].abs().mean()
        assert (change < 1) == kept


def test_a_channel_without_contrast_stays() -> None:
    ours = torch.cat([torch.full((1, 9, 9), 3.0), image(1, 9, 9)])
    result = MatchHistogram(image(2, 9, 9, scale=9))(ours)
    assert torch.equal(result[0], ours[0])
    assert result[1].max() > 5


def test_metadata_and_records_stay_and_the_input_is_untouched() -> None:
    ours = MetaTensor(image(1, 9, 9), meta={"filename_or_obj": "a.nii"})
    steps = Compose(
        [Flipd("image", 0), MatchHistogramd("image", {"image": 1}, lambda _: {"image": ours * 5})]
    )
    before = ours.clone()
    result = steps({"image": ours, "label": 1})
    assert torch.equal(ours, before)
    assert result["label"] == 1
    assert result["image"].meta["filename_or_obj"] == "a.nii"
    undone = Invertd("image", steps, "image", nearest_interp=False)(result)["image"]
    assert torch.equal(undone, result["image"].flip(1))


def test_a_reference_is_loaded_once_and_only_if_it_is_needed() -> None:
    loaded = []

    def noted(case: dict[str, Any]) -> dict[str, Any]:
        loaded.append(case["image"])
        return load(case)

    lazy = RandMatchHistogramd("image", CASES, noted, prob=1).set_random_state(0)
    assert loaded == []
    for _ in range(20):
        lazy({"image": stored(0)})
    assert sorted(loaded) == [0, 1, 2]
    RandMatchHistogramd("image", CASES, noted, preload=True)
    assert sorted(loaded) == [0, 0, 1, 1, 2, 2]
    fixed = MatchHistogramd("image", CASES[2], noted)
    assert len(loaded) == 6
    for _ in range(2):
        assert torch.equal(fixed({"image": stored(0)})["image"], MatchHistogram(stored(2))(stored(0)))
    assert len(loaded) == 7


def test_every_reference_is_drawn_and_a_share_of_the_cases_stays() -> None:
    expected = {float(MatchHistogram(stored(i))(stored(0)).sum()) for i in range(3)} | {
        float(stored(0).sum())
    }
    drawn = RandMatchHistogramd("image", CASES, load, prob=0.5).set_random_state(0)
    found = [float(drawn({"image": stored(0)})["image"].sum()) for _ in range(60)]
    assert set(found) == expected
    assert 15 < found.count(float(stored(0).sum())) < 45
    again = RandMatchHistogramd("image", CASES, load, prob=0.5).set_random_state(0)
    assert [float(again({"image": stored(0)})["image"].sum()) for _ in range(60)] == found
    never = RandMatchHistogramd("image", CASES, load, prob=0)
    assert all(torch.equal(never({"image": stored(0)})["image"], stored(0)) for _ in range(9))


@pytest.mark.parametrize("workers", [0, 1])
def test_the_draws_are_a_function_of_seed_epoch_and_case(workers: int) -> None:
    matching = RandMatchHistogramd("image", CASES, load, prob=1)
    steps = Compose([NormalizeIntensityd("image"), matching])
    dataset = FrozenCacheDataset([{"image": stored(i)} for i in range(3)], steps, progress=False)

    def epoch(number: int, seed: int = 0, workers: int = 0) -> list[Tensor]:
        loader = SeededLoader(dataset, batch_size=1, seed=seed, num_workers=workers)
        loader.sampler.set_epoch(number)  # type: ignore[attr-defined]
        return [batch["image"] for batch in loader]

    first = epoch(1)
    for again, same in ((epoch(1, workers=workers), True), (epoch(2), False), (epoch(1, seed=1), False)):
        assert (
            all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(first, again, strict=True)) == same
        )


def test_real_volumes_are_read_by_monai_and_matched(shared_data: Path) -> None:
    cases = datalist(shared_data / "hippocampus", "validation")[:3]
    matching = RandMatchHistogramd("image", cases, prob=1, points=20).set_random_state(1)
    ours = image(1, 40, 40, 40, scale=3)
    share = torch.linspace(0.55, 0.95, 5)
    for _ in range(4):
        result = matching({"image": ours})["image"]
        reference = torch.from_numpy(matching.references.values(matching._drawn, "image"))
        matched, given = (x[x > x.mean()].quantile(share) for x in (result, reference))
        torch.testing.assert_close(matched, given, atol=0, rtol=0.03)


def test_what_cannot_be_matched_is_one_line() -> None:
    fine = image(1, 8, 9)
    for settings in ({"levels": 1}, {"points": 0}):
        with pytest.raises(ConfigError, match="levels must be at least 2 and points at least 1"):
            MatchHistogram(fine, **settings)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="there is no reference"):
        RandMatchHistogramd("image", [])
    with pytest.raises(ConfigError, match=r"prob must be from 0 to 1, got 2"):
        RandMatchHistogramd("image", CASES, prob=2)
    for reference, ours, message in (
        (image(2, 8, 9), fine, r"got \(1, 8, 9\) and \(2, 8, 9\)"),
        (image(1, 8, 9, 9), fine, "as many channels and two or three axes"),
        (torch.ones(1, 8, 9), fine, "its reference has a channel without any contrast"),
        (fine, fine * torch.inf, "an image has no value, or one that is not finite"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            MatchHistogram(reference)(ours)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="a reference has no value, or one that is not finite"):
        MatchHistogram(fine * torch.nan)
