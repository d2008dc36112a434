"""GenSeg: published numbers of parameters, and which code shows in which image."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segadv_monai.networks import GenSeg, GenSegTranslation
from segadv_monai.networks.genseg import _restyled

SMALL: dict[str, Any] = {
    "widths": (2, 3, 4),
    "common_channels": 4,
    "unique_channels": 2,
    "style_width": 3,
}


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def build(spatial_dims: int = 2, **settings: Any) -> GenSeg:
    torch.manual_seed(0)
    return GenSeg(spatial_dims, 2, 1, **{**SMALL, **settings})


def images(spatial_dims: int = 2, seed: int = 1) -> Tensor:
    torch.manual_seed(seed)
    return torch.rand(2, 2, *[16] * spatial_dims) * 2 - 1


def test_the_encoder_has_the_published_number_of_parameters_and_the_decoders_fewer() -> None:
    """Published: 15,456,386 = 1,748,496 + 4,803,223 + 8,904,667."""
    network = GenSeg(2, 4, 1)
    parts = network.encoder, network.common_decoder, network.residual_decoder
    assert [parameters(part) for part in parts] == [1_748_496, 1_421_076, 3_045_525]
    assert parameters(network) == 6_215_097
    assert parameters(GenSeg(2, 3, 1)) == 6_214_663
    assert network.size_divisor == 32


def test_the_code_has_the_published_channels_at_a_thirty_second_of_the_size() -> None:
    network = GenSeg(2, 4, 1)
    widths = [feature.shape[1] for feature in network.features(torch.zeros(1, 4, 64, 32))]
    assert widths == [16, 32, 64, 128, 256, 512]
    assert network.encode(torch.zeros(1, 4, 64, 32)).shape == (1, 384 + 128, 2, 1)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_the_healthy_image_knows_the_common_code_alone(spatial_dims: int) -> None:
    network = build(spatial_dims).eval()
    code = network.encode(images(spatial_dims))
    other = code.clone()
    other[:, network.common_channels :] += 1
    assert torch.equal(network.healthy_image(other), network.healthy_image(code))
    assert not torch.allclose(network.disease(other), network.disease(code))
    other = code.clone()
    other[:, : network.common_channels] += torch.randn_like(code[:, : network.common_channels])
    assert not torch.allclose(network.healthy_image(other), network.healthy_image(code))


def test_translations_are_put_together_as_the_paper_says() -> None:
    network, sick, healthy = build(), images(), images(seed=2)
    torch.manual_seed(3)
    logits, found = GenSegTranslation(network)(sick, healthy)
    code, healthy_code = network.encode(sick), network.encode(healthy)
    torch.testing.assert_close(logits, network(sick))
    torch.testing.assert_close(found["healthy_logits"], network(healthy))
    torch.testing.assert_close(found["sick_to_healthy"], network.healthy_image(code))
    torch.testing.assert_close(found["sick_rebuilt"], network.healthy_image(code) + network.disease(code))
    torch.testing.assert_close(found["healthy_rebuilt"], network.healthy_image(healthy_code))
    drawn = found["code"]
    torch.testing.assert_close(drawn[:, :4], healthy_code[:, :4])
    assert not torch.allclose(drawn[:, 4:], healthy_code[:, 4:])
    made = network.healthy_image(healthy_code) + network.disease(drawn)
    torch.testing.assert_close(found["healthy_to_sick"], made)
    torch.testing.assert_close(found["code_rebuilt"], network.encode(made))
    torch.testing.assert_close(found["cycle"], network.healthy_image(network.encode(made)))
    assert torch.equal(found["healthy"], healthy)


def test_the_drawn_unique_code_is_standard_normal_and_follows_the_global_generator() -> None:
    wrapper = GenSegTranslation(build(unique_channels=64)).eval()
    both = images().repeat(8, 1, 1, 1), images().repeat(8, 1, 1, 1)
    torch.manual_seed(5)
    drawn = wrapper(*both).latents["code"][:, 4:]
    assert drawn.mean().abs() < 0.05
    assert 0.95 < drawn.std() < 1.05
    again = wrapper(*both).latents["code"][:, 4:]
    torch.manual_seed(5)
    assert torch.equal(wrapper(*both).latents["code"][:, 4:], drawn)
    assert not torch.equal(again, drawn)


def test_images_are_from_minus_one_to_one_and_the_disease_is_added() -> None:
    network = build()
    code = 100 * network.encode(images())
    for image in (network.healthy_image(code), network.disease(code)):
        assert image.shape == (2, 2, 16, 16)
        assert image.abs().max() <= 1


def test_the_parts_named_for_translation_are_the_ones_that_segmenting_leaves_out() -> None:
    network = build()
    found = GenSegTranslation(network)(images(), images(seed=2)).latents
    torch.stack([x.square().mean() for name, x in found.items() if "logits" not in name]).sum().backward()
    without = {key.rpartition(".")[0] for key, p in network.named_parameters() if p.grad is None}
    assert without == {
        "residual_decoder.maps_style.0",
        "residual_decoder.maps_style.2",
        "residual_decoder.maps_head",
    }
    named = dict(network.named_modules())
    assert all(name in named for name in network.translation_only)


def test_spectral_norm_holds_all_layers_but_the_last_of_each_decoder() -> None:
    network = build(spectral=True)
    held = [name for name, _ in network.named_buffers() if name.endswith("._u")]
    layers = [n for n, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    free = {"common_decoder.head", "residual_decoder.image_head", "residual_decoder.maps_head"}
    assert {name.partition(".parametrizations")[0] for name in held} == set(layers) - free
    assert parameters(network) == parameters(build())
    network(images()).sum().backward()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"spatial_dims": 1}, "spatial_dims must be 2 or 3, got 1"),
        ({"widths": ()}, "widths must have an entry"),
    ],
)
def test_what_cannot_be_built_is_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        build(**settings)
    assert "\n" not in str(caught.value)


def test_an_adaptive_norm_gives_each_channel_the_deviation_and_mean_of_its_style() -> None:
    style = torch.tensor([[0.0, 1.0, -3.0, 5.0, 0.0, 0.5]])  # scales less 1, then shifts
    torch.manual_seed(0)
    flat = _restyled(torch.randn(1, 3, 8, 9) * 4 + 7, style).flatten(2)
    torch.testing.assert_close(flat.mean(2), style[:, 3:])
    torch.testing.assert_close(flat.std(2, correction=0), torch.tensor([[1.0, 2.0, 2.0]]), rtol=1e-4, atol=0)
