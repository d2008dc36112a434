"""Tiles with mirrored context: equal to one pass, every position once, sizes from a budget."""

import copy
from collections.abc import Sequence

import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.engines import SupervisedEvaluator
from torch import Tensor, nn
from torch.nn import functional

from segadv_monai.inferers import OverlapTileInferer
from segadv_monai.inferers.tiling import Fit, Tiling
from segadv_monai.networks import UNet2015


@pytest.fixture(autouse=True)
def _no_gradients() -> None:
    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    yield
    torch.set_grad_enabled(True)


def mirrored(image: Tensor, before: Sequence[int], size: Sequence[int]) -> Tensor:
    """One position after another, as a walk between two mirrors; written unlike the inferer's."""
    for axis, (start, length) in enumerate(zip(before, size, strict=True), 2):
        places, place, step = [], 0, -1
        for _ in range(start):
            step = 1 if place == 0 else -1 if place == image.shape[axis] - 1 else step
            place += step if image.shape[axis] > 1 else 0
            places.insert(0, place)
        place, step = 0, 1
        while len(places) < length:
            places.append(place)
            step = 1 if place == 0 else -1 if place == image.shape[axis] - 1 else step
            place += step if image.shape[axis] > 1 else 0
        image = image.index_select(axis, torch.tensor(places))
    return image


def one_shot(network: UNet2015, image: Tensor) -> Tensor:
    size = [length + 2 * network.margin for length in image.shape[2:]]
    fitting = [next(n for n in network.input_sizes(4096) if n >= length) for length in size]
    logits: Tensor = network(mirrored(image, [network.margin] * len(size), fitting))
    return logits[(..., *(slice(length) for length in image.shape[2:]))]


class Counting(nn.Module):
    """A network that gives ones, and remembers what it was asked for."""

    def __init__(self, lost: int, divisor: int) -> None:
        super().__init__()
        self.lost = lost
        self.divisor = divisor
        self.given: list[list[int]] = []

    def output_size(self, input_size: Sequence[int]) -> tuple[int, ...]:
        if any(n <= self.lost or n % self.divisor for n in input_size):
            raise ValueError
        return tuple(n - self.lost for n in input_size)

    def forward(self, x: Tensor) -> Tensor:
        size = self.output_size(x.shape[2:])
        self.given += [list(size)] * x.shape[0]
        return torch.ones(x.shape[0], 1, *size)


# --- equal to one pass


def test_tiles_of_the_published_size_equal_one_pass() -> None:
    network = UNet2015(2, 1, 2, widths=(2, 2, 2, 4, 4)).eval()
    image = torch.randn(1, 1, 1024, 1024)
    wanted = one_shot(network, image)
    assert (OverlapTileInferer(572)(image, network) - wanted).abs().max() < 1e-5 * wanted.abs().max()


def test_tiles_of_a_volume_equal_one_pass() -> None:
    network = UNet2015(3, 1, 2, widths=(1, 2)).eval()
    image = torch.randn(1, 1, 160, 160, 96)
    wanted = one_shot(network, image)
    found = OverlapTileInferer((92, 92, 60), tile_batch_size=2)(image, network)
    assert (found - wanted).abs().max() < 1e-5 * wanted.abs().max()


@pytest.mark.parametrize("size", [(5, 40), (1, 33), (2, 3), (100, 7)])
def test_a_small_image_is_mirrored_more_than_once(size: tuple[int, int]) -> None:
    network = UNet2015(2, 2, 3, widths=(2, 2, 2)).eval()
    image = torch.randn(2, 2, *size)
    found = OverlapTileInferer(60, tile_batch_size=2)(image, network)
    assert found.shape == (2, 3, *size)
    assert (found - one_shot(network, image)).abs().max() < 1e-5


def padded() -> nn.Module:
    """5 positions at each side, which are no multiple of its pooling; it tells neither."""
    layers = [nn.Conv2d(1, 3, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(3, 3, 3, padding=1), nn.LeakyReLU()]
    return nn.Sequential(*layers, nn.Upsample(scale_factor=2), nn.Conv2d(3, 2, 3, padding=1)).eval()


def test_a_network_with_padding_gets_its_receptive_field_around_each_tile() -> None:
    network, image = padded(), torch.randn(2, 1, 50, 31)
    whole = network(mirrored(image, (16, 16), (96, 96)))[..., 16:66, 16:47]
    assert (OverlapTileInferer(30)(image, network) - whole).abs().max() < 1e-6
    less = OverlapTileInferer(30, halo=2, divisor=2)(image, network)
    assert (less - whole).abs().max() > 1e-3
    shifted = OverlapTileInferer(31, halo=9, divisor=1)
    with pytest.raises((ValueError, RuntimeError)):
        shifted(image, network)


def test_a_padded_u_net_equals_one_pass() -> None:
    network = UNet2015(3, 1, 2, widths=(2, 2), padding=True).eval()
    image = torch.randn(1, 1, 20, 17, 30)
    whole = network(mirrored(image, (16,) * 3, (64,) * 3))[..., 16:36, 16:33, 16:46]
    assert (OverlapTileInferer(36)(image, network) - whole).abs().max() < 1e-5


# --- every position once


@pytest.mark.parametrize("size", [(64, 64), (65, 64), (63, 130), (7, 1)])
def test_every_position_is_taken_from_one_tile(size: tuple[int, int]) -> None:
    network = Counting(lost=8, divisor=4)
    found = OverlapTileInferer(40)(torch.zeros(1, 1, *size), network)
    assert torch.equal(found, torch.ones(1, 1, *size))
    computed = sum(a * b for a, b in network.given)
    rounded = [-(-n // 4) * 4 for n in size]
    assert computed <= (rounded[0] + 16) * (rounded[1] + 16)


@pytest.mark.parametrize("limit", [204, 250, 572])
def test_tiles_stay_within_the_limit_and_cover_an_image_of_any_length_once(limit: int) -> None:
    fit = Fit(188, 16, 92, 92, cropped=True)
    for length in range(1, 1300):
        axis = Tiling.within(fit, length, limit=limit)
        taken = [axis.taken(i) for i in range(axis.count)]
        assert axis.tile <= limit
        assert (axis.tile - fit.smallest) % fit.divisor == 0
        assert all(0 <= part.start < part.stop <= axis.tile - 184 for part in taken)
        assert [n for i in range(axis.count) for n in range(length)[axis.target(i)]] == list(range(length))


def test_nothing_is_computed_twice_where_the_sizes_fit() -> None:
    network = Counting(lost=8, divisor=4)
    OverlapTileInferer(40)(torch.zeros(1, 1, 64, 96), network)
    assert network.given == [[32, 32]] * 6


def test_tiles_are_no_larger_than_the_image_asks_for() -> None:
    network = Counting(lost=8, divisor=4)
    OverlapTileInferer(400)(torch.zeros(1, 1, 10, 33), network)
    assert network.given == [[12, 36]]


def test_a_fringe_is_left_out_where_pooling_would_see_other_positions() -> None:
    class Fringe(Counting):
        def output_size(self, input_size: Sequence[int]) -> tuple[int, ...]:
            return super().output_size([n + 4 for n in input_size])

    network = Fringe(lost=188, divisor=16)
    OverlapTileInferer(572)(torch.zeros(1, 1, 1152, 384), network)
    assert network.given == [[388, 388]] * 3


# --- budget


def test_a_larger_budget_gives_larger_tiles_and_the_same_logits() -> None:
    network = UNet2015(2, 1, 2, widths=(4, 8)).eval()
    image = torch.randn(1, 1, 150, 150)
    sizes: list[int] = []
    network.register_forward_pre_hook(lambda _, inputs: sizes.append(max(inputs[0].shape[2:])))
    results = []
    for budget in (0.5, 2, 1000):
        results.append(OverlapTileInferer(memory_mb=budget)(image, network))
        sizes.append(-1)
    found = [int(part.split()[-1]) for part in " ".join(map(str, sizes)).split("-1")[:-1]]
    assert found[0] < found[1] < found[2] == 166
    assert (results[0] - results[2]).abs().max() < 1e-5
    assert (results[1] - results[2]).abs().max() < 1e-5


def test_a_budget_below_one_tile_names_the_least() -> None:
    network = UNet2015(2, 1, 2, widths=(4, 8, 16)).eval()
    with pytest.raises(ValueError, match=r"0\.01 is too little for 2 of .*UNet2015: give at least 1\."):
        OverlapTileInferer(memory_mb=0.01, tile_batch_size=2)(torch.zeros(1, 1, 99, 99), network)


def test_a_network_whose_memory_cannot_be_counted_needs_a_tile_size() -> None:
    class Looking(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x if float(x.sum()) else x + 1)

    with pytest.raises(ValueError, match=r"memory of Looking cannot be counted.*give tile_size"):
        OverlapTileInferer(memory_mb=9)(torch.zeros(1, 1, 9, 9), Looking(1, 1, 3, padding=1))


# --- where it is used


def test_it_works_in_an_evaluator_and_keeps_metadata() -> None:
    network = UNet2015(2, 1, 2, widths=(2, 2)).eval()
    images = [MetaTensor(torch.randn(1, 20, 30), affine=torch.eye(4) * (i + 2)) for i in range(2)]
    loader = DataLoader(Dataset([{"image": image, "label": image} for image in images]), batch_size=2)
    evaluator = SupervisedEvaluator("cpu", loader, network, inferer=OverlapTileInferer(40))
    evaluator.run()
    predictions = [output["pred"] for output in evaluator.state.output]
    assert [p.shape for p in predictions] == [(2, 20, 30)] * 2
    assert [float(p.affine[0, 0]) for p in predictions] == [2, 3]
    batch = OverlapTileInferer(40)(next(iter(loader))["image"], network)
    assert len(decollate_batch(batch)) == 2
    assert (batch[1] - one_shot(network, images[1].as_tensor()[None])[0]).abs().max() < 1e-5


def test_a_compiled_network_is_asked_for_its_sizes() -> None:
    network = UNet2015(2, 1, 2, widths=(2, 2)).eval()
    image = torch.randn(1, 1, 30, 30)
    compiled = torch.compile(network, backend="eager")
    found = OverlapTileInferer(memory_mb=1)(image, compiled)
    assert (found - one_shot(network, image)).abs().max() < 1e-5


def test_arguments_reach_the_network() -> None:
    class Scaled(nn.Conv2d):
        def forward(self, x: Tensor, a: float, *, b: float) -> Tensor:
            return a * b * functional.conv2d(x, self.weight, padding=1)

    network, image = Scaled(1, 1, 3), torch.randn(1, 1, 9, 9)
    inferer = OverlapTileInferer(5, halo=1, divisor=1)
    assert torch.allclose(inferer(image, network, 2.0, b=3.0), 6 * inferer(image, network, 1.0, b=1.0))


def test_it_can_be_copied() -> None:
    inferer = OverlapTileInferer(40)
    image, network = torch.randn(1, 1, 20, 20), UNet2015(2, 1, 2, widths=(2, 2)).eval()
    assert torch.equal(inferer(image, network), copy.deepcopy(inferer)(image, network))


# --- errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give tile_size or memory_mb, got None and None"),
        ({"tile_size": 9, "memory_mb": 1}, "give tile_size or memory_mb"),
        ({"tile_size": (9, 0)}, r"tile_size must be at least 1, got \(9, 0\)"),
        ({"tile_size": 9, "tile_batch_size": 0}, "tile_batch_size must be at least 1, got 0"),
        ({"tile_size": 9, "halo": -1}, "halo must be at least 0, got -1"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OverlapTileInferer(**arguments)  # type: ignore[arg-type]


def test_a_tile_that_is_too_small_names_the_least() -> None:
    network = UNet2015(2, 1, 2, widths=(2, 2, 2, 2, 2))
    with pytest.raises(ValueError, match=r"tile_size \[190, 190\] is too small .* at least \[204, 188\]"):
        OverlapTileInferer(190)(torch.zeros(1, 1, 99, 3), network)


@pytest.mark.parametrize(
    ("image", "came"),
    [
        (torch.zeros(1, 9, 9), r"2 spatial axes, got \[1, 9, 9\] of float32"),
        (torch.zeros(1, 1, 9, 9, dtype=torch.uint8), "got .* of uint8"),
        (torch.zeros(0, 1, 9, 9), r"got \[0, 1, 9, 9\]"),
    ],
)
def test_what_is_no_batch_of_images_is_refused(image: Tensor, came: str) -> None:
    with pytest.raises(ValueError, match=came):
        OverlapTileInferer((9, 9))(image, nn.Conv2d(1, 1, 3, padding=1))


def test_an_image_with_other_channels_is_refused_by_the_network() -> None:
    with pytest.raises(RuntimeError, match="to have 1 channels, but got 3"):
        OverlapTileInferer(40)(torch.zeros(1, 3, 20, 20), UNet2015(2, 1, 2, widths=(2, 2)))


def test_a_network_that_does_not_keep_its_word_is_refused() -> None:
    class Smaller(Counting):
        def forward(self, x: Tensor) -> Tensor:
            return x

    with pytest.raises(ValueError, match=r"Smaller gave \[12, 12\] for .* expected logits of \[4, 4\]"):
        OverlapTileInferer(12)(torch.zeros(1, 1, 4, 4), Smaller(8, 4))
    with pytest.raises(TypeError, match=r"network must be a torch\.nn\.Module, got builtin"):
        OverlapTileInferer(12)(torch.zeros(1, 1, 4, 4), torch.sigmoid)


def test_a_halo_needs_a_divisor() -> None:
    with pytest.raises(ValueError, match="Conv2d has no size_divisor: give divisor together with halo"):
        OverlapTileInferer(12, halo=2)(torch.zeros(1, 1, 4, 4), nn.Conv2d(1, 1, 3, padding=1))
