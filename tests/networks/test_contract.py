"""What every segmentor promises, whatever its paper."""

from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from segadv_monai import networks

# A module around a segmentor, for its training, is none itself (test_genseg.py), nor is what sees no image.
SEGMENTORS = [name for name in networks.__all__ if name not in ("GenSegTranslation", "NoiseGenerator")]
NARROW: dict[str, dict[str, Any]] = {  # arguments that make a network small
    "GenSeg": {"widths": (2, 3, 4), "common_channels": 4, "unique_channels": 2, "style_width": 3},
    "NonReversibleUNet": {"widths": (4, 8, 12)},
    "PartiallyReversibleUNet": {"widths": (4, 8, 12), "depths": (1, 2, 1)},
    "SegAN": {"width": 2},
    "UNet2015": {"widths": (4, 8, 12), "padding": True},
    "UNet3D": {"widths": (4, 8, 12), "padding": True},
    "VNet": {"widths": (2, 4, 6), "depths": (1, 2, 2)},
}
SIZES = {2: (45, 52), 3: (40, 33, 35)}
IN_CHANNELS, OUT_CHANNELS = 2, 3


@pytest.fixture(params=[2, 3], ids=["2D", "3D"])
def spatial_dims(request: pytest.FixtureRequest) -> int:
    dims: int = request.param
    return dims


@pytest.fixture(params=SEGMENTORS)
def name(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


def build(name: str, spatial_dims: int, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    network: nn.Module = getattr(networks, name)(
        spatial_dims, IN_CHANNELS, OUT_CHANNELS, **NARROW.get(name, {})
    )
    return network


def fitting(network: nn.Module, spatial_dims: int) -> tuple[int, ...]:
    divisor = int(network.size_divisor)
    return tuple(-(-size // divisor) * divisor for size in SIZES[spatial_dims])


def images(network: nn.Module, spatial_dims: int, batch: int = 2) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(batch, IN_CHANNELS, *fitting(network, spatial_dims))


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_logits_lie_on_the_grid_of_the_image(name: str, spatial_dims: int, training: bool) -> None:
    network = build(name, spatial_dims).train(training)
    x = images(network, spatial_dims)
    logits = network(x)
    assert type(logits) is Tensor
    assert logits.dtype == x.dtype
    assert logits.shape == (2, OUT_CHANNELS, *x.shape[2:])
    assert logits.min() < 0 < logits.max()


def test_every_parameter_receives_a_gradient(name: str, spatial_dims: int) -> None:
    network = build(name, spatial_dims)
    network(images(network, spatial_dims)).square().sum().backward()
    without = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    # Parts that a network names as unused by its forward pass, which its training wrapper reaches.
    others = getattr(network, "translation_only", ())
    expected = [
        key for key, _ in network.named_parameters() if key.startswith(tuple(f"{x}." for x in others))
    ]
    assert without == expected


def test_samples_of_a_batch_do_not_mix(name: str, spatial_dims: int) -> None:
    network = build(name, spatial_dims).eval()
    x = images(network, spatial_dims).requires_grad_()
    (gradient,) = torch.autograd.grad(network(x)[0].sum(), x)
    assert gradient[0].any()
    assert not gradient[1].any()


def test_whatever_has_values_has_one_name(name: str, spatial_dims: int) -> None:
    network = build(name, spatial_dims)
    values = [p for _, p in network.named_parameters(remove_duplicate=False)]
    values += [b for _, b in network.named_buffers(remove_duplicate=False)]
    assert len(values) == len({id(value) for value in values})
    assert len(values) == len({value.data_ptr() for value in values})
    modules = [
        m for _, m in network.named_modules(remove_duplicate=False) if any(True for _ in m.parameters())
    ]
    assert len(modules) == len({id(module) for module in modules})


def test_a_size_that_does_not_fit_names_the_size_to_pad_to(name: str, spatial_dims: int) -> None:
    network = build(name, spatial_dims).eval()
    for axis in range(spatial_dims):
        size = list(fitting(network, spatial_dims))
        size[axis] = 1
        with pytest.raises(ValueError, match=r"pad.* \d+") as caught:
            network(torch.zeros(1, IN_CHANNELS, *size))
        assert "\n" not in str(caught.value)


def test_the_exported_program_equals_the_eager_one(name: str, spatial_dims: int) -> None:
    network = build(name, spatial_dims).eval()
    x = images(network, spatial_dims)
    exported = torch.export.export(network, (x,)).module()
    torch.testing.assert_close(exported(x), network(x))


def test_the_scripted_program_equals_the_eager_one(name: str, spatial_dims: int) -> None:
    network = build(name, spatial_dims).eval()
    x = images(network, spatial_dims, batch=1)
    scripted: nn.Module = torch.jit.script(network)
    torch.testing.assert_close(scripted(x), network(x))


def test_weights_survive_a_file(name: str, spatial_dims: int, tmp_path: Path) -> None:
    network, other = build(name, spatial_dims).eval(), build(name, spatial_dims, seed=7).eval()
    x = images(network, spatial_dims, batch=1)
    assert not torch.equal(other(x), network(x))
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(other(x), network(x))


def test_features_come_finest_first(name: str, spatial_dims: int) -> None:
    network = build(name, spatial_dims).eval()
    features = network.features(images(network, spatial_dims))
    sizes = [prod(feature.shape[2:]) for feature in features]
    assert isinstance(features, list)
    assert len(sizes) > 1
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1]


def test_the_size_divisor_is_a_whole_number(name: str, spatial_dims: int) -> None:
    divisor = build(name, spatial_dims).size_divisor
    assert type(divisor) is int
    assert divisor >= 1
