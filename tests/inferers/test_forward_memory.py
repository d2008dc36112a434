"""Memory of a forward pass, counted by hand."""

from torch import nn

from segadv_monai.inferers.forward_memory import forward_bytes


def test_what_is_no_longer_used_is_not_counted() -> None:
    # The image, and of all layers one input and one output.
    network = nn.Sequential(*(nn.ReLU() for _ in range(9)))
    assert forward_bytes(network, (1, 1, 10, 10)) == 1.5 * 3 * 400


def test_what_is_overwritten_is_counted_once() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(inplace=True))
    assert forward_bytes(network, (1, 1, 10, 10)) == 1.5 * 3 * 400
