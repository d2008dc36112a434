import copy
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import CacheDataset, MetaTensor, get_track_meta
from monai.transforms import (
    Compose,
    EnsureTyped,
    FgBgToIndicesd,
    InvertibleTransform,
    Lambdad,
    RandAffined,
    RandCoarseDropoutd,
    RandCropByPosNegLabeld,
    RandFlipd,
    RandGaussianNoised,
    RandomizableTransform,
    RandSpatialCropd,
    ScaleIntensityd,
)
from torch import Tensor

from segadv_monai.data import FrozenCacheDataset, SeededLoader
from segadv_monai.protocols import ConfigError

KEYS = ["image", "label"]
BUNDLES = Path(__file__).parents[2] / "bundles"


def cases(count: int = 3) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(0)
    return [
        {
            "image": MetaTensor(torch.rand(1, 24, 26, 28, generator=generator), meta={"name": "image"}),
            "label": MetaTensor((torch.rand(1, 24, 26, 28, generator=generator) > 0.9).float()),
            "id": f"case {i}",
            "about": {"numbers": [i]},
        }
        for i in range(count)
    ]


def crops() -> Compose:
    return Compose(
        [
            ScaleIntensityd("image"),
            FgBgToIndicesd("label"),
            RandCropByPosNegLabeld(
                KEYS, "label", (8, 8, 8), num_samples=2,
                fg_indices_key="label_fg_indices", bg_indices_key="label_bg_indices",
            ),
            RandAffined(KEYS, prob=0.7, rotate_range=(0.3,) * 3, mode=("bilinear", "nearest")),
            RandFlipd(KEYS, prob=0.5),
            RandGaussianNoised("image", prob=0.5),
        ]
    )  # fmt: skip


def leaves(item: Any) -> Iterator[Any]:
    if isinstance(item, dict):
        for key in sorted(item):
            yield key
            yield from leaves(item[key])
    elif isinstance(item, list | tuple):
        for value in item:
            yield from leaves(value)
    else:
        yield item


def assert_same_values(one: Any, other: Any) -> None:
    for left, right in zip(leaves(one), leaves(other), strict=True):
        if isinstance(left, Tensor):
            assert left.dtype == right.dtype
            assert torch.equal(left.as_subclass(Tensor), right.as_subclass(Tensor))
        elif isinstance(left, np.ndarray):
            np.testing.assert_array_equal(left, right)
        else:
            assert left == right


def both(data: list[Any], transform: Any, **settings: Any) -> tuple[CacheDataset, FrozenCacheDataset]:
    theirs = CacheDataset(data, copy.deepcopy(transform), progress=False, **settings)
    return theirs, FrozenCacheDataset(data, copy.deepcopy(transform), progress=False, **settings)


class Writes(RandomizableTransform):
    """Adds one, into the tensor's own memory."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        image = data["image"]
        if self.way == "torch":
            image += 1
        elif self.way == "a view":
            image[:, 2:4].add_(1)
        elif self.way == "numpy":
            image.numpy()[:, 5] += 1
        elif self.way == "reversed":
            values = image.numpy()
            values[:] = values[:, ::-1].copy()
        return data


# --- as MONAI's


@pytest.mark.parametrize("cache_rate", [1.0, 0.4, 0.0])
def test_items_are_those_of_monai_for_the_same_state_without_metadata(cache_rate: float) -> None:
    theirs, ours = both(cases(), crops(), cache_rate=cache_rate)
    for epoch in range(3):
        for index in (2, 0, -2):
            for dataset in (theirs, ours):
                dataset.transform.set_random_state(10 * epoch + index + 2)
            expected, item = theirs[index], ours[index]
            assert_same_values(item, expected)
            assert len(item) == 2
            assert not any(isinstance(value, MetaTensor) for value in leaves(item))


def test_batches_of_the_seeded_loader_are_the_same_with_and_without_workers() -> None:
    batches = []
    for workers in (0, 1):
        for dataset in both(cases(), crops()):
            loader = SeededLoader(dataset, batch_size=1, seed=3, num_workers=workers)
            loader.sampler.set_epoch(1)  # type: ignore[attr-defined]
            batches.append([[batch["image"], batch["label"], batch["id"]] for batch in loader])
    for other in batches[1:]:
        assert_same_values(other, batches[0])


def test_without_random_transforms_metadata_stay() -> None:
    theirs, ours = both(cases(), Compose([ScaleIntensityd("image")]))
    assert_same_values(ours[1], theirs[1])
    assert ours[1]["image"].meta["name"] == "image"
    assert FrozenCacheDataset(cases(), progress=False)[0]["id"] == "case 0"


def test_a_slice_is_a_subset_and_the_data_can_be_replaced() -> None:
    _, ours = both(cases(), Compose([EnsureTyped("image"), RandFlipd(KEYS, prob=1)]))
    assert len(ours[1:]) == 2
    ours.set_data(cases(1))
    assert len(ours) == 1
    assert ours[0]["id"] == "case 0"


def test_metadata_are_tracked_again_after_a_case_even_if_it_failed() -> None:
    def fail(_: Any) -> None:
        raise RuntimeError

    _, ours = both(cases(), crops())
    ours[0]
    assert get_track_meta()
    broken = FrozenCacheDataset(cases(), Compose([RandFlipd(KEYS), Lambdad("image", fail)]), progress=False)
    with pytest.raises(RuntimeError):
        broken[0]
    assert get_track_meta()
    assert issubclass(RandFlipd, InvertibleTransform)


# --- the guard


@pytest.mark.parametrize("way", ["torch", "a view", "numpy", "reversed"])
def test_what_writes_into_the_cached_case_is_found_at_once(way: str) -> None:
    dataset = FrozenCacheDataset(cases(), Compose([ScaleIntensityd("image"), Writes(way)]), progress=False)
    with pytest.raises(ConfigError, match="written into the cached 'image' of case 1"):
        dataset[1]


def test_what_writes_past_torch_later_on_is_found_within_sixteen_cases() -> None:
    writing = Writes("nothing")
    dataset = FrozenCacheDataset(cases(), Compose([ScaleIntensityd("image"), writing]), progress=False)
    dataset[0]
    writing.way = "numpy"
    for _ in range(15):
        dataset[1]
    with pytest.raises(ConfigError, match="written into"):
        dataset[2]


def test_monais_dropout_writes_into_its_input_and_gets_a_copy_on_request() -> None:
    dropout = RandCoarseDropoutd("image", holes=1, spatial_size=4, fill_value=0, prob=1)
    transform = Compose([ScaleIntensityd("image"), dropout])
    with pytest.raises(ConfigError, match="copy_keys"):
        FrozenCacheDataset(cases(), copy.deepcopy(transform), progress=False)[0]
    theirs = CacheDataset(cases(), copy.deepcopy(transform), progress=False)
    ours = FrozenCacheDataset(cases(), transform, progress=False, copy_keys=["image"])
    for _ in range(3):
        for dataset in (theirs, ours):
            dataset.transform.set_random_state(1)
        assert_same_values(ours[0], theirs[0])


def test_what_a_user_does_to_an_item_is_found_when_the_case_is_taken_again() -> None:
    crop = Compose([ScaleIntensityd("image"), RandSpatialCropd("image", (8, 8, 8), random_size=False)])
    dataset = FrozenCacheDataset(cases(), crop, progress=False)
    dataset[0]["image"].zero_()
    with pytest.raises(ConfigError, match="case 0"):
        dataset[0]


def test_arrays_refuse_to_be_written_into_and_other_things_are_copied() -> None:
    with_array = cases(1)[0] | {"array": np.zeros(3)}
    ours = FrozenCacheDataset([with_array], Compose([EnsureTyped("image"), RandFlipd(KEYS)]), progress=False)
    item = ours[0]
    with pytest.raises(ValueError, match="read-only"):
        item["array"][0] = 1
    assert with_array["array"].flags.writeable
    item["about"]["numbers"].append(7)
    item["new"] = 1
    assert ours[0]["about"] == {"numbers": [0]}
    assert "new" not in ours[0]


def test_a_copy_in_another_process_counts_anew() -> None:
    _, ours = both(cases(), Compose([EnsureTyped(KEYS), RandFlipd(KEYS, prob=1)]))
    ours._cache[0].leaves[0].tensor.add_(0)
    ours._cache[0].leaves[0].version += 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = pickle.loads(pickle.dumps(ours))
    assert_same_values(again[0], ours[0])


def test_lazy_transforms_are_refused() -> None:
    with pytest.raises(ConfigError, match="lazy"):
        FrozenCacheDataset(cases(), Compose([RandFlipd(KEYS)], lazy=True), progress=False)


# --- with the transforms of our bundles


@pytest.mark.parametrize("bundle", ["asdnet_hippocampus", "segan"])
def test_the_transforms_of_a_bundle_give_the_same_from_both(bundle: str) -> None:
    parser = ConfigParser()
    parser.read_config(BUNDLES / bundle / "configs" / "train.json")
    transform = parser.get_parsed_content("train#preprocessing")
    data = parser.get_parsed_content("train#dataset#data")[:2]
    theirs, ours = both(data, transform)
    for dataset in (theirs, ours):
        dataset.transform.set_random_state(0)
    for _ in range(3):
        assert_same_values(ours[1], theirs[1])
