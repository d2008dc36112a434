"""A layer's output beside the logits."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from monai.networks.nets import BasicUNet
from torch import Tensor, nn

from segadv_monai.layers import WithFeatures
from segadv_monai.protocols import SegmentorOutput


def network() -> nn.Module:
    torch.manual_seed(0)
    return BasicUNet(2, 1, 2, features=(2, 2, 4, 4, 8, 2))


def test_the_logits_are_those_of_the_network_and_the_features_those_of_its_layer() -> None:
    plain, image = network(), torch.randn(3, 1, 32, 48)
    seen: list[Tensor] = []
    plain.get_submodule("down_4").register_forward_hook(lambda _, __, output: seen.append(output))
    logits = plain(image)
    output = WithFeatures(network(), "down_4")(image)
    assert type(output) is SegmentorOutput
    assert torch.equal(output.logits, logits)
    assert torch.equal(output.latents["features"], seen[0])
    assert output.latents["features"].shape == (3, 8, 2, 3)


def test_the_features_have_their_graph_and_the_network_runs_once() -> None:
    inner = network()
    runs: list[int] = []
    inner.conv_0.register_forward_hook(lambda *_: runs.append(1))
    output = WithFeatures(inner, "down_1.convs")(torch.randn(1, 1, 32, 32))
    output.latents["features"].sum().backward()
    assert runs == [1]
    assert inner.down_1.convs.conv_0.conv.weight.grad is not None
    assert inner.upcat_1.convs.conv_0.conv.weight.grad is None


def test_the_network_stays_as_it_was() -> None:
    inner = network()
    wrapped = WithFeatures(inner, "down_4")
    wrapped(torch.randn(1, 1, 32, 32))
    assert not inner.down_4._forward_hooks
    assert {name.removeprefix("network.") for name in wrapped.state_dict()} == set(inner.state_dict())
    assert torch.jit.script(inner)(torch.randn(1, 1, 32, 32)).shape == (1, 2, 32, 32)
    copied = deepcopy(wrapped)(torch.ones(1, 1, 32, 32))
    assert torch.equal(copied.logits, wrapped(torch.ones(1, 1, 32, 32)).logits)


@pytest.mark.parametrize("name", ["down_5", "", "down_4.nothing"])
def test_a_layer_that_is_not_there_is_one_line_with_the_names(name: str) -> None:
    with pytest.raises(ValueError, match=r"BasicUNet has no layer .*: name one of conv_0, down_1") as caught:
        WithFeatures(network(), name)
    assert "\n" not in str(caught.value)


class Odd(nn.Module):
    """One layer is not used, another returns two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.LSTM(2, 2)
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Any:
        return self.first(x)[0]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [("unused", ValueError, "Odd did not use its layer 'unused'"), ("first", TypeError, "returns a tuple")],
)
def test_a_layer_without_a_tensor_is_one_line(name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"{message}.*: name another"):
        WithFeatures(Odd(), name)(torch.zeros(1, 1, 2))
