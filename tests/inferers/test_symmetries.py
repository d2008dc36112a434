"""The mean over mirror images and rotations: exact inverses, each symmetry once, the mean itself."""

import pytest
import torch
from monai.inferers import SimpleInferer
from torch import Tensor, nn
from torch.nn.functional import conv2d

from segadv_monai.inferers.symmetries import SymmetryInferer


class Seen:
    """A network that notes its inputs."""

    def __init__(self) -> None:
        self.images: list[Tensor] = []

    def __call__(self, image: Tensor) -> Tensor:
        self.images.append(image.clone())
        return torch.cat([image, -image], dim=1)


@pytest.mark.parametrize(
    ("dims", "exchange", "number"), [(2, True, 8), (2, False, 4), (3, True, 48), (3, False, 8)]
)
def test_each_symmetry_is_seen_once(dims: int, exchange: bool, number: int) -> None:
    torch.manual_seed(0)
    network = Seen()
    SymmetryInferer(SimpleInferer(), exchange_axes=exchange)(torch.rand(1, 1, *[3] * dims), network)
    assert len({tuple(image.flatten().tolist()) for image in network.images}) == number
    assert len(network.images) == number


@pytest.mark.parametrize("shape", [(2, 1, 5, 7), (1, 1, 2, 3, 4)])
@pytest.mark.parametrize("exclusive", [True, False])
def test_a_network_that_sees_single_pixels_gives_what_it_gives_to_the_image_alone(
    shape: tuple[int, ...], exclusive: bool
) -> None:
    """What is turned comes back to its place."""
    torch.manual_seed(0)
    image = torch.randn(shape)
    logits = SymmetryInferer(SimpleInferer(), exclusive=exclusive)(image, Seen())
    plain = torch.cat([image, -image], dim=1)
    if exclusive:
        torch.testing.assert_close(logits.softmax(1), plain.softmax(1))
    else:
        torch.testing.assert_close(logits, plain)


def test_the_result_is_the_mean_of_probabilities_and_turns_with_the_image() -> None:
    torch.manual_seed(0)
    kernel = torch.randn(2, 1, 3, 3)
    image = torch.randn(1, 1, 6, 6)

    def network(x: Tensor) -> Tensor:
        return conv2d(x, kernel, padding=1)

    result = SymmetryInferer(SimpleInferer())(image, network).softmax(1)
    expected = torch.zeros(1, 2, 6, 6)
    for mirrored in (image, image.flip(3)):
        for turns in range(4):
            map_ = network(mirrored.rot90(turns, (2, 3))).softmax(1).rot90(-turns, (2, 3))
            expected += (map_ if mirrored is image else map_.flip(3)) / 8
    torch.testing.assert_close(result, expected)
    turned = SymmetryInferer(SimpleInferer())(image.rot90(1, (2, 3)), network).softmax(1)
    torch.testing.assert_close(turned, result.rot90(1, (2, 3)))


def test_a_sure_network_gives_finite_logits() -> None:
    image = torch.full((1, 1, 2, 2), 500.0)
    for exclusive in (True, False):
        assert SymmetryInferer(SimpleInferer(), exclusive=exclusive)(image, Seen()).isfinite().all()


def test_a_smaller_output_is_told_with_the_remedy() -> None:
    inferer = SymmetryInferer(SimpleInferer())
    with pytest.raises(
        ValueError, match=r"an image of \(8, 8\) got logits of \(6, 6\): give an inferer that"
    ):
        inferer(torch.rand(1, 1, 8, 8), nn.Conv2d(1, 2, 3))
