"""Facts of the partially reversible U-Net of 2019 and of its baseline."""

from typing import Any

import pytest
import torch
from torch import nn

from segadv_monai.layers import ReversibleSequence
from segadv_monai.networks import NonReversibleUNet, PartiallyReversibleUNet

SMALL: dict[str, Any] = {"widths": (4, 8, 12)}


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def published(**changes: Any) -> PartiallyReversibleUNet:
    with torch.device("meta"):
        return PartiallyReversibleUNet(3, 4, 3, **changes)


def baseline() -> NonReversibleUNet:
    with torch.device("meta"):
        return NonReversibleUNet(3, 4, 3)


def test_the_parameters_are_those_of_the_release() -> None:
    assert count(published()) == 12_365_283
    assert count(published(reversible=False)) == 12_365_283
    assert count(published(depths=2)) == 18_248_403
    assert count(published(depths=(2, 2, 2, 2, 2), decoder_depths=(1, 1, 1, 1, 1))) == 18_248_403
    assert count(baseline()) == 12_425_253
    with torch.device("meta"):
        assert count(PartiallyReversibleUNet(2, 3, 1)) == 4_519_501
        assert count(NonReversibleUNet(2, 3, 1)) == 4_144_561


def test_the_channels_are_those_of_the_release() -> None:
    layers = [m for m in published().modules() if isinstance(m, nn.Conv3d)]
    wide = [(m.in_channels, m.out_channels) for m in layers if m.kernel_size[0] == 3]
    halves = [30, 60, 120, 180, 240]
    assert wide == [(4, 60)] + [(half, half) for half in halves + halves[::-1] for _ in "fg"]
    assert all(m.bias is None for m in layers if m.kernel_size[0] == 3)
    points = [(m.in_channels, m.out_channels) for m in layers if m.kernel_size[0] == 1]
    down = [(60, 120), (120, 240), (240, 360), (360, 480)]
    assert points == [*down, *[(coarse, fine) for fine, coarse in down[::-1]], (60, 3)]
    assert all(m.bias is not None for m in layers if m.kernel_size[0] == 1)
    norms = [m for m in published().modules() if isinstance(m, nn.GroupNorm)]
    assert {m.num_groups for m in norms} == {30}
    assert len(norms) == 20


def test_the_channels_of_the_baseline_are_those_of_the_release() -> None:
    layers = [m for m in baseline().modules() if isinstance(m, nn.Conv3d)]
    table = [(m.in_channels, m.out_channels) for m in layers]
    down = [(4, 30), (30, 30), (30, 60), (60, 60), (60, 120), (120, 120), (120, 240), (240, 240), (240, 480)]
    up = [(480, 240), (240, 240), (240, 120), (120, 120), (120, 60), (60, 60), (60, 30), (30, 30), (30, 30)]
    assert table == [*down, *up, (30, 3)]
    assert {m.num_groups for m in baseline().modules() if isinstance(m, nn.GroupNorm)} == {30}


def test_a_full_volume_goes_through_and_the_features_are_those_of_the_widths() -> None:
    network = published()
    assert network.size_divisor == 16
    x = torch.empty(1, 4, 240, 240, 160, device="meta")
    assert network(x).shape == (1, 3, 240, 240, 160)
    shapes = [tuple(feature.shape[1:]) for feature in network.features(x)]
    sizes = [(240 // 2**i, 240 // 2**i, 160 // 2**i) for i in range(5)]
    assert shapes == [(w, *s) for w, s in zip((60, 120, 240, 360, 480), sizes, strict=True)]
    with pytest.raises(ValueError, match=r"pad the image to \[240, 240, 160\]"):
        network(torch.empty(1, 4, 240, 240, 155, device="meta"))


def test_the_network_of_plain_blocks_has_the_same_names_values_and_gradients() -> None:
    results = []
    for reversible in (True, False):
        torch.manual_seed(0)
        network = PartiallyReversibleUNet(2, 2, 3, **SMALL, depths=2, dropout=0.3, reversible=reversible)
        network.double()
        torch.manual_seed(1)
        x = torch.randn(2, 2, 16, 24, dtype=torch.float64)
        y = network(x)
        y.square().sum().backward()
        results.append((y.detach(), {name: p.grad for name, p in network.named_parameters()}))
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1])


def test_what_training_holds_does_not_grow_with_the_blocks() -> None:
    def held(depth: int) -> int:
        network = PartiallyReversibleUNet(2, 1, 1, **SMALL, depths=depth, decoder_depths=depth)
        sizes: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            y = network(torch.randn(1, 1, 32, 32))
        for parameter in network.parameters():
            sizes.pop(parameter.untyped_storage().data_ptr(), None)
        assert y.requires_grad
        return sum(sizes.values())

    assert held(1) == held(2) == held(4)


def test_groups_fit_any_widths_and_dropout_stands_in_each_function() -> None:
    def groups(network: nn.Module) -> set[int]:
        return {m.num_groups for m in network.modules() if isinstance(m, nn.GroupNorm)}

    assert groups(PartiallyReversibleUNet(2, 1, 1, widths=(8, 12, 16))) == {2}
    assert groups(PartiallyReversibleUNet(2, 1, 1, widths=(8, 16, 32), groups=2)) == {2}
    assert groups(NonReversibleUNet(2, 1, 1, widths=(6, 9), groups=3)) == {3}
    dropped = PartiallyReversibleUNet(3, 1, 1, **SMALL, dropout=0.2)
    assert len([m for m in dropped.modules() if isinstance(m, nn.Dropout3d)]) == 12
    assert not any(isinstance(m, nn.Dropout3d) for m in PartiallyReversibleUNet(3, 1, 1, **SMALL).modules())


def test_every_level_has_the_blocks_that_were_asked_for() -> None:
    network = PartiallyReversibleUNet(2, 1, 1, **SMALL, depths=(1, 2, 3), decoder_depths=(4, 5, 6))
    found = [len(m.blocks) for m in network.modules() if isinstance(m, ReversibleSequence)]
    assert found == [1, 2, 3, 6, 5, 4]


def test_what_cannot_be_built_gets_one_line() -> None:
    for build in (PartiallyReversibleUNet, NonReversibleUNet):
        with pytest.raises(ValueError, match="spatial_dims must be 2 or 3, got 4"):
            build(4, 1, 1)
        for widths in ([8], [4, 0]):
            with pytest.raises(ValueError, match="at least two levels of positive numbers"):
                build(3, 1, 1, widths=widths)
        with pytest.raises(ValueError, match="groups divide"):
            build(3, 1, 1, widths=(6, 8), groups=3)
    with pytest.raises(ValueError, match="widths are even and groups divide their halves"):
        PartiallyReversibleUNet(3, 1, 1, widths=(5, 8))
    for given in ((1, 1), (1, 1, 0)):
        with pytest.raises(ValueError, match="decoder_depths is one number or 3 of them, each at least 1"):
            PartiallyReversibleUNet(3, 1, 1, **SMALL, decoder_depths=given)
