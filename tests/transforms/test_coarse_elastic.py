"""An image of ``places`` has each voxel's place as its value: moved, it tells where each value came from."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd
from monai.utils import set_determinism
from scipy.interpolate import CubicSpline
from torch import Tensor
from torch.nn.functional import grid_sample, one_hot

from segadv_monai.protocols import ConfigError, DataError
from segadv_monai.transforms import RandCoarseElastic, RandCoarseElasticd
from segadv_monai.transforms.coarse_field import CoarseField
from segadv_monai.transforms.resampling import MODES, resample

SIZES: list[tuple[int, ...]] = [(40, 51), (20, 25, 33)]
CPU = torch.device("cpu")
each_size = pytest.mark.parametrize("size", SIZES, ids=["2D", "3D"])


def noise(size: Sequence[int], channels: int = 1) -> Tensor:
    return torch.rand(channels, *size, generator=torch.Generator().manual_seed(0))


def labels(size: Sequence[int], count: int = 5) -> Tensor:
    return torch.randint(0, count, (1, *size), generator=torch.Generator().manual_seed(1))


def places(size: Sequence[int]) -> Tensor:
    return torch.stack(torch.meshgrid(*(torch.arange(n).float() for n in size), indexing="ij"))


def everything(seed: int = 0, mode: str = "bilinear", **changes: Any) -> RandCoarseElastic:
    settings = {
        "sigma": 2.0,
        "rotate_range": 0.4,
        "scale_range": 0.2,
        "shear_range": 0.1,
        "translate_range": 3.0,
        "flip_axes": (0, 1),
    }
    return RandCoarseElastic(mode=mode, **settings | changes).set_random_state(seed)  # type: ignore[arg-type]


def spline(values: np.ndarray[Any, Any], count: int, axis: int) -> np.ndarray[Any, Any]:
    at = np.linspace(0, count - 1, values.shape[axis])
    return np.asarray(CubicSpline(at, values, axis=axis, bc_type="natural")(np.arange(count)))


# --- the field


@each_size
def test_the_field_is_scipys_natural_cubic_spline_through_the_nodes(size: tuple[int, ...]) -> None:
    transform = RandCoarseElastic(grid=[3, 5, 4][: len(size)]).set_random_state(0)
    transform.randomize(noise(size))
    expected = transform.field.displacements.numpy()
    for axis, count in enumerate(size):
        expected = spline(expected, count, axis + 1)
    field = transform.field.displacement(size).numpy()
    np.testing.assert_allclose(field, expected, atol=1e-5)
    assert np.abs(field).max() > 5


def test_the_field_passes_through_the_displacements_as_they_were_drawn() -> None:
    transform = RandCoarseElastic(grid=(3, 5)).set_random_state(0)
    transform.randomize(noise((41, 61)))
    at_nodes = transform.field.displacement((41, 61))[:, ::20, ::15]
    torch.testing.assert_close(at_nodes, transform.field.displacements.float())


@each_size
def test_values_come_from_where_the_field_says(size: tuple[int, ...]) -> None:
    """Inside the image; what comes from outside is mirrored."""
    transform = everything()
    moved = transform(places(size))
    expected = places(size) + transform.field.displacement(size)
    if transform.field.flips:
        expected = expected.flip([axis + 1 for axis in transform.field.flips])
    bounds = torch.tensor(size).reshape(-1, *[1] * len(size)) - 1
    inside = ((expected >= 0) & (expected <= bounds)).all(dim=0)
    assert inside.float().mean() > 0.4
    torch.testing.assert_close(moved[:, inside], expected[:, inside], atol=1e-4, rtol=0)


@each_size
def test_displacements_have_the_deviation_in_voxels_or_in_millimetres(size: tuple[int, ...]) -> None:
    count = len(size)
    spacing = [0.5, 2.0, 1.0][:count]
    image = MetaTensor(noise(size), affine=torch.diag(torch.tensor([*spacing, *[1.0] * (4 - count)])))
    in_voxels = RandCoarseElastic(sigma=4.0, grid=(8,) * count).set_random_state(0)
    in_mm = RandCoarseElastic(sigma=4.0, grid=(8,) * count, units="mm").set_random_state(0)
    given = RandCoarseElastic(sigma=4.0, grid=(8,) * count, units="mm", spacing=spacing).set_random_state(0)
    drawn: list[list[Tensor]] = [[], [], []]
    for _ in range(40):
        for transform, values in zip((in_voxels, in_mm, given), drawn, strict=True):
            transform.randomize(image if transform is not given else image.as_subclass(Tensor))
            values.append(transform.field.displacements)
    deviations = [torch.stack(values).transpose(0, 1).flatten(1).std(dim=1) for values in drawn]
    assert deviations[0].numpy() == pytest.approx([4.0] * count, rel=0.05)
    assert deviations[1].numpy() == pytest.approx([4.0 / length for length in spacing], rel=0.05)
    assert torch.equal(deviations[1], deviations[2])


# --- exact cases


@each_size
@pytest.mark.parametrize("mode", MODES)
def test_without_deviation_and_ranges_nothing_is_changed(size: tuple[int, ...], mode: str) -> None:
    image = noise(size, 2)
    assert torch.equal(
        everything(mode=mode, sigma=0, **dict.fromkeys(RANGES, 0.0), flip_axes=())(image), image
    )
    still = RandCoarseElastic(sigma=0)
    still.randomize(image)
    sampled = resample([image], still.field.blocks(size, CPU), [mode])[0]
    torch.testing.assert_close(sampled, image, atol=1e-6, rtol=0)


RANGES = ("rotate_range", "scale_range", "shear_range", "translate_range")


@each_size
def test_flips_are_those_of_torch_with_and_without_the_rest(size: tuple[int, ...]) -> None:
    image = noise(size)
    seen = set()
    for seed in range(20):
        flipping = RandCoarseElastic(sigma=0, flip_axes=(0, 1)).set_random_state(seed)
        moved = flipping(image)
        axes = [axis + 1 for axis in flipping.field.flips]
        assert torch.equal(moved, image.flip(axes))
        seen.add(tuple(axes))
        field = everything(seed)
        bent = field(image)
        turned = everything(seed, flip_axes=())(image)
        assert torch.equal(bent, turned.flip([axis + 1 for axis in field.field.flips]))
    assert seen == {(), (1,), (2,), (1, 2)}


def test_a_quarter_turn_is_that_of_torch() -> None:
    quarter = (np.pi / 2, np.pi / 2)
    square, cube = noise((31, 31)), noise((16, 16, 16))
    turned = RandCoarseElastic(sigma=0, rotate_range=[quarter])(square)
    torch.testing.assert_close(turned, torch.rot90(square, 1, (1, 2)), atol=1e-5, rtol=0)
    for i, plane in enumerate([(2, 3), (1, 3), (1, 2)]):
        ranges = [quarter if j == i else 0.0 for j in range(3)]
        turned = RandCoarseElastic(sigma=0, rotate_range=ranges)(cube)
        torch.testing.assert_close(turned, torch.rot90(cube, 1, plane), atol=1e-5, rtol=0)


def test_shift_scale_and_shear_move_the_content_that_way() -> None:
    image = noise((30, 40))
    shifted = RandCoarseElastic(sigma=0, translate_range=[(4, 4), (-3, -3)])(image)
    torch.testing.assert_close(shifted[:, 4:, :-3], image[:, :-4, 3:])
    doubled = RandCoarseElastic(sigma=0, scale_range=[(1, 1), (0, 0)])(places((31, 40)))
    assert doubled[0, :, 0].tolist() == pytest.approx([7.5 + i / 2 for i in range(31)])
    sheared = RandCoarseElastic(sigma=0, shear_range=[(0.5, 0.5), 0.0])(places((31, 41)))
    # Content to the right of the centre moves down.
    assert sheared[0, 15, 30] == pytest.approx(15 - 0.5 * 10)


def test_in_millimetres_a_rotation_keeps_distances() -> None:
    image = MetaTensor(places((41, 21)), affine=torch.diag(torch.tensor([1.0, 2.0, 1.0, 1.0])))
    turned = RandCoarseElastic(sigma=0, units="mm", rotate_range=[(np.pi / 6,) * 2])(image).as_subclass(
        Tensor
    )
    step = (turned[:, 20, 11] - turned[:, 20, 10]) * torch.tensor([1.0, 2.0])
    assert step.norm().item() == pytest.approx(2.0, abs=1e-4)
    in_voxels = RandCoarseElastic(sigma=0, rotate_range=[(np.pi / 6,) * 2])(image).as_subclass(Tensor)
    assert (in_voxels[:, 20, 11] - in_voxels[:, 20, 10]).norm().item() == pytest.approx(1.0, abs=1e-4)


# --- interpolation


@each_size
def test_bilinear_is_torchs_grid_sample_with_reflection(size: tuple[int, ...]) -> None:
    image, transform = noise(size, 3), everything(translate_range=30.0)
    moved = transform(image)
    field = CoarseField(transform.field.displacements, transform.field.matrix, transform.field.shift)
    at = places(size) + field.displacement(size)
    at = at.flip([axis + 1 for axis in transform.field.flips])
    scaled = [2 * line / (count - 1) - 1 for line, count in zip(at, size, strict=True)]
    grid = torch.stack(scaled[::-1], dim=-1)[None]
    expected = grid_sample(image[None], grid, mode="bilinear", padding_mode="reflection", align_corners=True)[
        0
    ]
    torch.testing.assert_close(moved, expected, atol=1e-4, rtol=0)


@each_size
def test_bicubic_is_exact_for_squares(size: tuple[int, ...]) -> None:
    at = places(size)
    image = (at**2).sum(dim=0, keepdim=True) + at[:1] * at[1:2]
    transform = RandCoarseElastic(sigma=0, translate_range=[(0.3, 0.3)] * len(size), mode="bicubic")
    inner = (slice(None), *[slice(3, -3)] * len(size))
    there = at - 0.3
    expected = (there**2).sum(dim=0, keepdim=True) + there[:1] * there[1:2]
    torch.testing.assert_close(transform(image)[inner], expected[inner], rtol=1e-5, atol=1e-3)


@each_size
def test_nearest_takes_the_voxel_that_is_nearest(size: tuple[int, ...]) -> None:
    distance = everything(mode="nearest")(places(size)) - everything()(places(size))
    assert distance.abs().max() <= 0.5 + 1e-4
    assert distance.min() < -0.4
    assert distance.max() > 0.4


@each_size
def test_one_hot_takes_the_class_whose_interpolated_map_is_largest(size: tuple[int, ...]) -> None:
    label = labels(size)
    moved = everything(mode="one_hot")(label)
    shares = everything()(one_hot(label[0], 5).movedim(-1, 0).float())
    # Where two maps are as large but for rounding, either is right.
    largest = shares.topk(2, dim=0).values
    clear = largest[0] - largest[1] > 1e-5
    assert clear.float().mean() > 0.95
    assert torch.equal(moved[0][clear], shares.argmax(dim=0)[clear])


@each_size
def test_labels_keep_their_type_and_their_values(size: tuple[int, ...]) -> None:
    large = labels(size) + 2**24
    expected = everything(mode="nearest")(large)
    assert set(expected.unique().tolist()) <= set(large.unique().tolist())
    for kind in (torch.uint8, torch.int16, torch.uint16, torch.int32, torch.int64, torch.float32, torch.bool):
        values = labels(size, 2 if kind is torch.bool else 200)
        wanted = everything(mode="nearest")(values)
        for mode in ("nearest", "one_hot"):
            moved = everything(mode=mode)(values.to(kind))
            assert moved.dtype == kind
            assert mode == "one_hot" or torch.equal(moved.long(), wanted)


def test_images_of_whole_numbers_become_float_and_others_keep_their_type() -> None:
    image = noise((20, 21)) * 100
    for kind, result in ((torch.uint8, torch.float32), (torch.float64,) * 2, (torch.float16,) * 2):
        for transform in (everything(), RandCoarseElastic(sigma=0), RandCoarseElastic(prob=0)):
            assert transform(image.to(kind)).dtype == result
    torch.testing.assert_close(everything()(image.double()).float(), everything()(image))
    assert isinstance(everything()(image.numpy()), Tensor)


def test_volumes_of_one_slice_and_places_far_outside_are_mirrored() -> None:
    image = noise((1, 9, 10))
    for mode in MODES:
        moved = everything(mode=mode)(image)
        assert moved.shape == image.shape
        torch.testing.assert_close(moved[:, 0], everything(mode=mode)(image.expand(1, 5, 9, 10))[:, 2])
    far = RandCoarseElastic(sigma=0, translate_range=[(-33, -33), 0.0])(noise((9, 12)))
    mirrored = np.pad(noise((9, 12)).numpy(), ((0, 0), (0, 40), (0, 0)), mode="reflect")[:, 33:42]
    np.testing.assert_allclose(far.numpy(), mirrored, atol=1e-5)


# --- as MONAI's transforms


def test_image_label_and_weights_are_moved_alike_and_the_case_is_left_as_it_was() -> None:
    size = (24, 28, 20)
    case = {
        "image": MetaTensor(noise(size, 2)),
        "label": MetaTensor(labels(size)),
        "weight": noise(size),
        "id": 7,
    }
    before = {key: value.clone() for key, value in case.items() if isinstance(value, Tensor)}
    transform = RandCoarseElasticd(
        ["image", "label", "weight", "absent"], ["bilinear", "nearest", "bilinear", "nearest"], sigma=3,
        flip_axes=[0], allow_missing_keys=True,
    )  # fmt: skip
    moved = transform.set_random_state(3)(case)
    assert list(moved) == list(case)
    for key, value in before.items():
        assert torch.equal(case[key], value)  # type: ignore[arg-type]
        mode = "nearest" if key == "label" else "bilinear"
        alone = RandCoarseElastic(sigma=3, flip_axes=[0], mode=mode)
        alone.field = transform.elastic.field
        assert torch.equal(moved[key], alone(value, randomize=False))
    assert isinstance(moved["label"], MetaTensor)
    assert not isinstance(moved["weight"], MetaTensor)


def test_the_same_state_draws_the_same_and_nothing_else_is_drawn_from() -> None:
    image = noise((20, 22))
    set_determinism(0)
    pipeline = Compose([RandCoarseElasticd("image", sigma=2, rotate_range=0.3)])
    drawn = [pipeline.set_random_state(seed)({"image": image})["image"] for seed in (5, 6, 5)]
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])
    states = [np.random.get_state()[1], torch.get_rng_state()]  # noqa: NPY002  # that it is left alone
    pipeline({"image": image})
    assert np.array_equal(states[0], np.random.get_state()[1])  # type: ignore[arg-type]  # noqa: NPY002
    assert torch.equal(states[1], torch.get_rng_state())  # type: ignore[arg-type]
    set_determinism(None)


def test_another_range_changes_no_other_draw() -> None:
    one, other = everything(3), everything(3, sigma=0, rotate_range=0.0)
    one.randomize(noise((20, 22)))
    other.randomize(noise((20, 22)))
    assert torch.equal(one.field.shift, other.field.shift)
    assert one.field.flips == other.field.flips


def test_the_probability_decides_whether_anything_is_moved() -> None:
    image = noise((12, 13))
    transform = RandCoarseElastic(prob=0.25).set_random_state(0)
    share = sum(not torch.equal(transform(image), image) for _ in range(400)) / 400
    assert share == pytest.approx(0.25, abs=0.05)


def test_the_affine_part_moves_the_image_in_space() -> None:
    """A voxel's value and its place in space go together."""
    affine = torch.diag(torch.tensor([0.5, 0.8, 2.0, 1.0], dtype=torch.float64))
    image = MetaTensor(places((21, 25, 15)), affine=affine, meta={"pixdim": np.ones(8)})
    moved = everything(sigma=0, flip_axes=(0, 1, 2))(image)
    assert isinstance(moved, MetaTensor)
    voxel = torch.tensor([10.0, 11.0, 7.0, 1.0], dtype=torch.float64)
    came_from = torch.cat([moved.as_subclass(Tensor)[:, 10, 11, 7].double(), torch.ones(1)])
    torch.testing.assert_close(moved.affine @ voxel, affine @ came_from, atol=1e-4, rtol=0)
    assert image.meta["pixdim"].tolist() == [1.0] * 8
    assert image.applied_operations == []
    assert moved.applied_operations[0]["class"] == "RandCoarseElastic"


@each_size
def test_the_inverse_brings_everything_back_that_has_not_left(size: tuple[int, ...]) -> None:
    transform = everything(sigma=1.0)
    image = MetaTensor(places(size))
    back = transform.inverse(transform(image))
    inner = (slice(None), *[slice(n // 3, -(n // 3)) for n in size])
    difference = (back - image).as_subclass(Tensor)[inner].abs().max()
    assert difference < 0.05
    assert isinstance(back, MetaTensor)
    assert back.applied_operations == []
    torch.testing.assert_close(back.affine, image.affine)


def test_the_inverse_of_flips_is_exact() -> None:
    transform = RandCoarseElastic(sigma=0, flip_axes=(0, 1)).set_random_state(5)
    image = MetaTensor(noise((12, 15)))
    moved = transform(image)
    assert transform.field.flips
    assert torch.equal(transform.inverse(moved), image)


def test_monai_inverts_it_with_the_other_transforms() -> None:
    transform = Compose(
        [RandCoarseElasticd(["image", "label"], ["bilinear", "nearest"], sigma=1, rotate_range=0.3)]
    )
    transform.set_random_state(0)
    size = (40, 44)
    case = transform({"image": MetaTensor(places(size)), "label": MetaTensor(labels(size))})
    case["pred"] = MetaTensor(case["image"].as_subclass(Tensor).clone())
    back = Invertd("pred", transform, orig_keys="image", nearest_interp=False)(case)["pred"]
    assert (back - places(size))[:, 12:-12, 12:-12].abs().max() < 0.05
    assert torch.equal(transform.inverse(case)["image"], back)


def test_a_field_that_folds_cannot_be_inverted() -> None:
    transform = RandCoarseElastic(sigma=30.0, grid=5).set_random_state(0)
    with pytest.raises(ValueError, match="folds"):
        transform.inverse(transform(MetaTensor(noise((40, 40)))))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sigma": -1.0}, "sigma is 0 or more"),
        ({"sigma": [1.0, float("nan")]}, "sigma is 0 or more"),
        ({"grid": 1}, "grid has 2 nodes"),
        ({"grid": 2.5}, "grid has 2 nodes"),
        ({"units": "cm"}, "units are"),
        ({"prob": 1.5}, "prob is"),
        ({"spacing": [1.0, 0.0]}, "spacing is greater"),
        ({"rotate_range": -0.1}, "rotate_range has"),
        ({"scale_range": 1.0}, "scale_range is"),
        ({"shear_range": [(0, 1, 2)]}, "shear_range has"),
        ({"flip_axes": (3,)}, "flip_axes are"),
        ({"mode": "cubic"}, "mode is one of"),
    ],
)
def test_a_setting_that_cannot_be_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RandCoarseElastic(**changes)


def test_an_image_that_does_not_fit_the_settings_is_named() -> None:
    image = noise((8, 9))
    with pytest.raises(ConfigError, match="sigma has one value or 2"):
        RandCoarseElastic(sigma=(1, 2, 3))(image)
    with pytest.raises(ConfigError, match="grid has one value or 2"):
        RandCoarseElastic(grid=(3, 3, 3))(image)
    with pytest.raises(DataError, match="set spacing"):
        RandCoarseElastic(units="mm")(image)
    with pytest.raises(DataError, match="two or three"):
        RandCoarseElastic()(image[0])
    with pytest.raises(DataError, match="one size"):
        RandCoarseElasticd(["a", "b"])({"a": image, "b": noise((8, 8))})


@pytest.mark.gpu
@each_size
@pytest.mark.parametrize("mode", MODES)
def test_it_runs_where_the_tensor_is(size: tuple[int, ...], mode: str) -> None:
    image = noise(size) if MODES[mode].copies is False else labels(size)
    there = everything(mode=mode)(image.cuda())
    here = everything(mode=mode)(image)
    assert there.is_cuda
    if MODES[mode].copies:
        assert (there.cpu() == here).float().mean() > 0.999
    else:
        torch.testing.assert_close(there.cpu(), here, atol=1e-4, rtol=0)
