"""Weight map of the U-Net: against the closed form, the plain formula, and what cannot be weighed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Flipd, LoadImage, RandSpatialCropd
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, label
from torch import Tensor

from segadv_monai.protocols import ConfigError, DataError
from segadv_monai.transforms import BorderWeightMap, BorderWeightMapd

FLAT = (1.0, 1.0)


def plain(
    instances: NDArray[Any], *, w0: float = 10, sigma: float = 5, spacing: list[float] | None = None
) -> NDArray[np.float64]:
    """The border term by one distance transform of the whole image for each instance."""
    numbers = [i for i in np.unique(instances) if i > 0]
    if len(numbers) < 2:
        return np.zeros(instances.shape)
    distances = np.sort([distance_transform_edt(instances != i, spacing) for i in numbers], axis=0)
    term: NDArray[np.float64] = w0 * np.exp(-((distances[0] + distances[1]) ** 2) / (2 * sigma**2))
    return term


def scattered(size: tuple[int, ...], count: int, seed: int = 0) -> NDArray[np.int32]:
    """Balls of several sizes, the later over the earlier."""
    rng = np.random.default_rng(seed)
    places = np.indices(size)
    result = np.zeros(size, np.int32)
    for i in range(1, count + 1):
        centre = [rng.integers(0, n) for n in size]
        squared = sum((axis - c) ** 2 for axis, c in zip(places, centre, strict=True))
        result[squared < rng.integers(2, 8) ** 2] = 3 * i
    return result


def weigh(instances: NDArray[Any], **arguments: Any) -> NDArray[np.float32]:
    return BorderWeightMap(**arguments)(torch.from_numpy(instances)[None])[0].numpy()


def test_between_two_discs_it_is_the_closed_form() -> None:
    """Discs whose edges lie on the axis: the distances to them are known without a transform."""
    rows, columns = np.indices((41, 80))
    instances = np.zeros((41, 80), np.int32)
    for number, centre in ((1, 20), (2, 56)):
        instances[(rows - 20) ** 2 + (columns - centre) ** 2 <= 14**2] = number
    weight = weigh(instances, class_weights=FLAT)
    for column in range(35, 42):
        d1, d2 = sorted((column - 34, 42 - column))
        assert weight[20, column] == pytest.approx(1 + 10 * np.exp(-((d1 + d2) ** 2) / 50), abs=1e-5)
    # Inside a disc the nearest one is at no distance.
    assert weight[20, 30] == pytest.approx(1 + 10 * np.exp(-(12**2) / 50), abs=1e-5)
    assert weight[20, 6] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("size", "count"), [((70, 90), 2), ((70, 90), 25), ((90, 20), 60), ((30, 26, 34), 12)]
)
@pytest.mark.parametrize(("w0", "sigma"), [(10.0, 5.0), (3.0, 1.5), (10.0, 30.0)])
def test_it_is_the_plain_formula_within_its_bound(
    size: tuple[int, ...], count: int, w0: float, sigma: float
) -> None:
    instances = scattered(size, count)
    weight = weigh(instances, w0=w0, sigma=sigma, class_weights=(0.0, 0.0))
    np.testing.assert_allclose(weight, plain(instances, w0=w0, sigma=sigma), atol=1.5e-6 * w0, rtol=1e-5)


def test_the_order_and_the_size_of_the_numbers_do_not_matter() -> None:
    instances = scattered((60, 60), 20).astype(np.int64)
    numbers = np.random.default_rng(1).permutation(instances.max() + 1) + 10**12
    numbers[0] = 0
    np.testing.assert_array_equal(weigh(instances), weigh(numbers[instances]))


@pytest.mark.parametrize("count", [0, 1])
def test_less_than_two_instances_have_no_border(count: int) -> None:
    instances = np.zeros((30, 30), np.uint8)
    instances[5:10, 5:10] = count
    np.testing.assert_array_equal(weigh(instances, class_weights=FLAT), np.ones((30, 30)))


def test_classes_are_balanced_by_their_frequency_or_by_given_weights() -> None:
    instances = np.zeros((20, 20), np.int16)
    instances[:5, :4] = 7
    weight = weigh(instances, w0=0.0)
    assert weight.mean() == pytest.approx(1)
    assert weight[instances > 0].sum() == pytest.approx(weight[instances == 0].sum())
    given = weigh(instances, w0=0.0, class_weights=[0.5, 2.0])
    assert (given[0, 0], given[-1, -1]) == (2.0, 0.5)
    full = np.ones((4, 4), np.int32)
    assert (weigh(full) == 1).all()


def test_distances_are_in_mm_on_demand() -> None:
    instances = scattered((30, 34, 26), 8)
    affine = torch.diag(torch.tensor([0.5, 2.0, 1.5, 1.0], dtype=torch.float64))
    image = MetaTensor(torch.from_numpy(instances)[None], affine=affine)
    arguments: dict[str, Any] = {"sigma": 2.0, "class_weights": FLAT}
    in_mm = BorderWeightMap(units="mm", **arguments)(image)[0].numpy() - 1
    expected = plain(instances, sigma=2, spacing=[0.5, 2.0, 1.5])
    np.testing.assert_allclose(in_mm, expected, atol=2e-5)
    assert abs(in_mm - (weigh(instances, **arguments) - 1)).max() > 0.1
    with pytest.raises(DataError, match="without an affine has no spacing: give units as voxels"):
        BorderWeightMap(units="mm")(image.as_tensor())


def test_components_of_a_binary_map_are_its_instances() -> None:
    binary = scattered((60, 60), 15) > 0
    expected = weigh(label(binary)[0])
    for kind in (bool, np.uint8, np.float32):
        np.testing.assert_array_equal(weigh(binary.astype(kind), components=True), expected)


def test_the_weight_stands_beside_the_label_and_goes_through_later_transforms() -> None:
    affine = torch.diag(torch.tensor([2.0, 3.0, 1.0, 1.0], dtype=torch.float64))
    instances = MetaTensor(torch.from_numpy(scattered((40, 50), 9))[None], affine=affine)
    weighed = BorderWeightMapd("label")({"label": instances, "other": 1})
    assert list(weighed) == ["label", "other", "weight"]
    assert weighed["label"] is instances
    weight = weighed["weight"]
    assert isinstance(weight, MetaTensor)
    assert (weight.dtype, tuple(weight.shape)) == (torch.float32, (1, 40, 50))
    assert torch.equal(weight.affine, affine)
    keys = ["label", "weight"]
    weighed["place"] = MetaTensor(torch.arange(40 * 50).reshape(1, 40, 50), affine=affine)
    crop = RandSpatialCropd([*keys, "place"], (20, 20), random_size=False)
    crop.set_random_state(0)
    result = Compose([Flipd([*keys, "place"], 0), crop])(weighed)
    places = result["place"].as_tensor()
    for key in keys:
        moved = result[key].as_tensor()
        assert moved.shape == (1, 20, 20)
        assert torch.equal(moved, weighed[key].as_tensor().flatten()[places])


def test_several_labels_have_a_weight_each() -> None:
    case: dict[Any, Tensor] = {"a": torch.zeros(1, 4, 4, dtype=torch.int32)}
    transform = BorderWeightMapd(["a", "b"], ["x", "y"], allow_missing_keys=True)
    assert set(transform(case)) == {"a", "x"}
    with pytest.raises(ConfigError, match="each of 2 labels needs a key for its weight, got 1"):
        BorderWeightMapd(["a", "b"])


@pytest.mark.parametrize(
    ("values", "arguments", "message"),
    [
        (torch.zeros(1, 4, 4), {}, "numbered by integers, got torch.float32: load or cast"),
        (torch.full((1, 4, 4), -1), {}, "numbers greater than 0, got -1"),
        (torch.zeros(2, 4, 4, dtype=torch.int32), {}, "in one channel, got 2 channels"),
        (torch.full((1, 4, 4), 2), {"components": True}, "values other than 0 and 1: leave out components"),
    ],
)
def test_a_map_that_cannot_be_weighed_is_one_line(
    values: Tensor, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        BorderWeightMap(**arguments)(values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [{"w0": -1}, {"sigma": 0}, {"class_weights": "balanced"}, {"class_weights": (1,)}, {"units": "cm"}],
)
def test_a_setting_that_cannot_be_used_is_one_line(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="must be"):
        BorderWeightMap(**arguments)


def test_real_cells_are_weighed_by_the_formula(shared_data: Path) -> None:
    load = LoadImage(ensure_channel_first=True, dtype=np.int32)
    for folder in ("hela_dic/label_gt", "nuclei/labelsTr"):
        instances = load(min((shared_data / folder).glob("*.png")))
        weight = BorderWeightMap(class_weights=FLAT)(instances)[0].numpy() - 1
        np.testing.assert_allclose(weight, plain(instances[0].numpy()), atol=2e-5)
