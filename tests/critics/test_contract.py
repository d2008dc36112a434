"""What every critic promises, whatever its paper."""

from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from segadv_monai import critics
from segadv_monai.protocols import CriticOutput

# The class, what is special, and the arguments for it that also make the critic small.
CASES: dict[str, dict[str, Any]] = {
    "ASDNetCritic": {"width": 2},
    "ASDNetCritic with the image": {"sees_image": True, "width": 2},
    "GenSegCritic": {"width": 2},
    "LucCritic": {"width": 2},
    "LucCritic small product": {"variant": "small_fov", "label_input": "product", "width": 2},
    "LucTwoBranchCritic": {"width": 2},
    "LucTwoBranchCritic product": {"label_input": "product", "width": 2},
    "PatchCritic pixel": {"scope": "pixel", "width": 2},
    "PatchCritic patch1": {"scope": "patch1", "width": 2},
    "PatchCritic patch2": {"scope": "patch2", "width": 2},
    "PatchCritic": {"width": 2},
    "ProjectiveCritic": {"slices": 1},
    "SegANCritic": {"widths": (2, 4, 4), "kernels": (7, 5, 4)},
}
SIZES = {2: (45, 52), 3: (40, 33, 35)}
# For verdicts on a grid 64 times coarser, of which batch norm needs several.
WIDE, WIDE_SIZES = ("GenSegCritic", "PatchCritic patch2", "PatchCritic"), {2: (128, 140), 3: (64, 70, 128)}
IN_CHANNELS, MAPS = 2, 3


@pytest.fixture(params=[2, 3], ids=["2D", "3D"])
def spatial_dims(request: pytest.FixtureRequest) -> int:
    dims: int = request.param
    return dims


@pytest.fixture(params=CASES)
def name(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


def build(name: str, spatial_dims: int, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    if name == "ProjectiveCritic":  # of two others; with more slices in a run it mixes them by design
        both = [critics.LucCritic(spatial_dims, IN_CHANNELS, MAPS, width=2) for _ in range(2)]
        return critics.ProjectiveCritic(*both, spatial_dims=spatial_dims, **CASES[name])
    critic: nn.Module = getattr(critics, name.partition(" ")[0])(
        spatial_dims, IN_CHANNELS, MAPS, **CASES[name]
    )
    return critic


def pair(name: str, spatial_dims: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    size = (WIDE_SIZES if name in WIDE else SIZES)[spatial_dims]
    return torch.rand(2, MAPS, *size), torch.randn(2, IN_CHANNELS, *size)


def parts(output: CriticOutput) -> list[Tensor]:
    return [*output.features, *([] if output.score is None else [output.score])]


def test_every_critic_is_in_the_table() -> None:
    assert {name.partition(" ")[0] for name in CASES} == set(critics.__all__)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_a_verdict_is_a_score_and_features_finest_first(name: str, spatial_dims: int, training: bool) -> None:
    segmentation, image = pair(name, spatial_dims)
    output = build(name, spatial_dims).train(training)(segmentation, image)
    assert type(output) is CriticOutput
    assert isinstance(output.features, tuple)
    assert parts(output)
    sizes = [prod(feature.shape[2:]) for feature in output.features]
    assert sizes == sorted(sizes, reverse=True)
    assert all(part.shape[0] == 2 and part.isfinite().all() for part in parts(output))
    if output.score is not None:
        assert output.score.shape[1] == 1


def test_every_parameter_receives_a_gradient(name: str, spatial_dims: int) -> None:
    critic = build(name, spatial_dims)
    sum(part.square().sum() for part in parts(critic(*pair(name, spatial_dims)))).backward()
    without = [key for key, p in critic.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_a_frozen_critic_still_teaches_every_map(name: str, spatial_dims: int) -> None:
    critic = build(name, spatial_dims).requires_grad_(False)
    segmentation, image = pair(name, spatial_dims)
    segmentation.requires_grad_()
    for part in parts(critic(segmentation, image)):
        (gradient,) = torch.autograd.grad(part.square().sum(), segmentation, retain_graph=True)
        assert gradient.abs().sum(dim=(0, *range(2, gradient.ndim))).gt(0).all()


def test_samples_of_a_batch_do_not_mix(name: str, spatial_dims: int) -> None:
    critic = build(name, spatial_dims).eval()
    segmentation, image = pair(name, spatial_dims)
    segmentation.requires_grad_()
    for part in parts(critic(segmentation, image)):
        (gradient,) = torch.autograd.grad(part[0].sum(), segmentation, retain_graph=True)
        assert gradient[0].any()
        assert not gradient[1].any()


def test_whatever_has_values_has_one_name(name: str, spatial_dims: int) -> None:
    critic = build(name, spatial_dims)
    values = [p for _, p in critic.named_parameters(remove_duplicate=False)]
    values += [b for _, b in critic.named_buffers(remove_duplicate=False)]
    assert len(values) == len({value.data_ptr() for value in values})
    modules = [
        m for _, m in critic.named_modules(remove_duplicate=False) if any(True for _ in m.parameters())
    ]
    assert len(modules) == len({id(module) for module in modules})


@pytest.mark.parametrize("name", [name for name in CASES if name != "PatchCritic pixel"])
def test_an_image_too_small_for_the_critic_names_the_remedy(name: str, spatial_dims: int) -> None:
    critic = build(name, spatial_dims)
    size = [64] * spatial_dims
    size[-1] = 2
    with pytest.raises(ValueError, match=r"pad") as caught:
        critic(torch.zeros(2, MAPS, *size), torch.zeros(2, IN_CHANNELS, *size))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("maps", "channels"), [(MAPS + 1, IN_CHANNELS), (1, IN_CHANNELS), (MAPS, 1)])
def test_a_pair_of_other_channels_names_what_to_set(
    name: str, spatial_dims: int, maps: int, channels: int
) -> None:
    size = SIZES[spatial_dims]
    with pytest.raises(ValueError, match=f"got {maps} and {channels}: set its"):
        build(name, spatial_dims)(torch.zeros(2, maps, *size), torch.zeros(2, channels, *size))


def test_it_can_be_asked_under_mixed_precision(name: str, spatial_dims: int) -> None:
    critic = build(name, spatial_dims)
    segmentation, image = pair(name, spatial_dims)
    segmentation.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = critic(segmentation, image)
    sum(part.float().square().sum() for part in parts(output)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in critic.parameters())
    assert segmentation.grad is not None
    assert segmentation.grad.dtype is torch.float32


def test_weights_survive_a_file(name: str, spatial_dims: int, tmp_path: Path) -> None:
    critic, other = build(name, spatial_dims).eval(), build(name, spatial_dims, seed=7).eval()
    save_file(critic.state_dict(), tmp_path / "weights.safetensors")
    last = parts(critic(*pair(name, spatial_dims)))[-1]
    assert not torch.equal(parts(other(*pair(name, spatial_dims)))[-1], last)
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(parts(other(*pair(name, spatial_dims)))[-1], last)
