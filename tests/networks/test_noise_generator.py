"""The noise-driven generator: its sizes, its layers, and what it promises as a network that sees no image."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from segadv_monai.networks import NoiseGenerator

SIZES = {2: (8, 12), 3: (4, 8, 8)}


def generator(spatial_dims: int = 2, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return NoiseGenerator(spatial_dims, 5, 3, size=SIZES[spatial_dims], widths=(6, 4, 2))


def noise(number: int = 4) -> Tensor:
    return torch.randn(number, 5, generator=torch.Generator().manual_seed(1))


both = pytest.mark.parametrize("spatial_dims", [2, 3], ids=["2D", "3D"])


@both
def test_noise_becomes_logits_of_the_size_that_was_asked_for(spatial_dims: int) -> None:
    logits = generator(spatial_dims)(noise())
    assert logits.shape == (4, 3, *SIZES[spatial_dims])
    assert logits.min() < 0 < logits.max()


@both
def test_every_parameter_receives_a_gradient(spatial_dims: int) -> None:
    network = generator(spatial_dims)
    network(noise()).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())


def test_parameters_at_the_default_widths() -> None:
    """Noise of 100 for masks of 32 x 32: 4 x 4 places of 512 channels, three stages, a head with its bias."""
    network = NoiseGenerator(2, 100, 1, size=(32, 32))
    linear, norms = 100 * 512 * 16, 2 * (512 + 256 + 128 + 64)
    convolutions = 9 * (512 * 256 + 256 * 128 + 128 * 64 + 64) + 1
    assert sum(p.numel() for p in network.parameters()) == linear + norms + convolutions == 2369985


@both
def test_noises_do_not_mix_and_other_noise_is_another_mask(spatial_dims: int) -> None:
    network = generator(spatial_dims).eval()
    z = noise().requires_grad_()
    logits = network(z)
    (gradient,) = torch.autograd.grad(logits[0].sum(), z)
    assert gradient[0].all()
    assert not gradient[1:].any()
    assert not torch.equal(logits[0], logits[1])


@both
def test_it_is_exported_and_its_weights_survive_a_file(spatial_dims: int, tmp_path: Path) -> None:
    network, other = generator(spatial_dims).eval(), generator(spatial_dims, seed=7).eval()
    exported = torch.export.export(network, (noise(),)).module()
    torch.testing.assert_close(exported(noise()), network(noise()))
    assert not torch.equal(other(noise()), network(noise()))
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(other(noise()), network(noise()))


def test_what_does_not_fit_is_one_line() -> None:
    with pytest.raises(ValueError, match="spatial_dims must be 2 or 3, got 1"):
        NoiseGenerator(1, 5, 1, size=(8,))
    for size in ((8, 8, 8), (8, 6), (0, 8)):
        with pytest.raises(ValueError, match=r"size must be 2 multiples of 4, got .*: round it up or give"):
            NoiseGenerator(2, 5, 1, size=size, widths=(4, 2, 2))
    for wrong in (torch.zeros(2, 6), torch.zeros(2, 5, 1, 1)):
        with pytest.raises(ValueError, match=r"noise must be \(B, 5\), got .*: draw it by"):
            generator()(wrong)
