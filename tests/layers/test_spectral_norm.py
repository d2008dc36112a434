"""Spectral norm of critics: singular values, checkpoints, the turns of a game."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from segadv_monai.critics import LucCritic, PatchCritic
from segadv_monai.layers import spectral_norm
from segadv_monai.objectives import Hinge, Wasserstein
from segadv_monai.protocols import Play
from segadv_monai.trainers import AdversarialTrainer


def critic(spatial_dims: int = 2, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return PatchCritic(spatial_dims, 1, scope="patch1", width=4, norm="instance")


def largest(layer: nn.Module) -> float:
    weight: Tensor = layer.weight
    # The input channels of a transposed convolution come first.
    rows = weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else weight
    return float(torch.linalg.matrix_norm(rows.detach().flatten(1), ord=2))


def weighty(module: nn.Module) -> dict[str, nn.Module]:
    kinds = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, kinds)}


def pair(spatial_dims: int = 2) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    size = (2, 1, *[16] * spatial_dims)
    return torch.rand(size), torch.randn(size)


def train(judge: nn.Module, steps: int = 10) -> None:
    optimizer = torch.optim.Adam(judge.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        maps, image = pair(judge.verdict.weight.ndim - 2)  # type: ignore[union-attr, operator]
        play = Play(image, (maps > 0.5).float(), maps)
        sum(Hinge().critic_loss(judge, play).values()).backward()
        optimizer.step()


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_the_largest_singular_value_stays_1_while_the_weights_move(spatial_dims: int) -> None:
    free, bound = critic(spatial_dims), spectral_norm(critic(spatial_dims))
    before = [largest(layer) for layer in weighty(free).values()]
    for judge in (free, bound):
        train(judge, 20)
    after = [largest(layer) for layer in weighty(free).values()]
    assert max(abs(b / a - 1) for a, b in zip(before, after, strict=True)) > 0.2
    assert len(weighty(bound)) == 7
    for name, layer in weighty(bound.eval()).items():
        assert largest(layer) == pytest.approx(1, rel=0.05), name


def test_transposed_convolutions_and_linear_layers_are_normalised_too() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.ConvTranspose2d(3, 5, 4), nn.Flatten(), nn.Linear(5 * 49, 3))
    with torch.no_grad():
        for layer in weighty(module).values():
            layer.weight.mul_(9)  # type: ignore[operator, union-attr]
    spectral_norm(module, steps=3)
    for _ in range(50):
        module(torch.randn(2, 3, 4, 4))
    assert [largest(layer) for layer in weighty(module.eval()).values()] == pytest.approx([1, 1], rel=0.05)


def test_what_is_excluded_and_what_is_no_layer_keeps_its_values() -> None:
    plain, normed = critic(), critic()
    assert spectral_norm(normed, excluded=["verdict", "stages.1"]) is normed
    kept = {key for key in plain.state_dict() if key in normed.state_dict()}
    assert kept == {key for key in plain.state_dict() if key.startswith(("verdict", "stages.1."))}
    for key in kept:
        assert torch.equal(plain.state_dict()[key], normed.state_dict()[key])


def test_a_verdict_has_a_bounded_slope() -> None:
    torch.manual_seed(0)
    pixel = PatchCritic(2, 1, scope="pixel", width=4)
    with torch.no_grad():
        for parameter in pixel.parameters():
            parameter.mul_(5)
    play = Play(pair()[1], (pair()[0] > 0.5).float(), pair()[0])
    free = Wasserstein(r1=2.0).critic_loss(pixel, play)["r1"]
    bound = Wasserstein(r1=2.0).critic_loss(spectral_norm(pixel), play)["r1"]
    # A 3 x 3 convolution's slope is at most 3 times its matrix's, of three of them in a row 27 times.
    assert bound < 27**2 / play.image[0].numel()
    assert free > 100 * bound


def test_a_run_that_goes_on_from_a_file_has_the_bits_of_one_that_was_not_stopped(tmp_path: Path) -> None:
    first, second = spectral_norm(critic()), spectral_norm(critic(seed=7))
    train(first, 3)
    save_file(first.state_dict(), tmp_path / "critic.safetensors")
    second.load_state_dict(load_file(tmp_path / "critic.safetensors"))
    for training in (False, True, True, False):
        scores = [judge.train(training)(*pair()).score for judge in (first, second)]
        assert torch.equal(*scores)
    for judge in (first, second):
        train(judge, 3)
    for (name, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def trained(batches: list[dict[str, Tensor]], state: dict[str, Any] | None = None) -> dict[str, Any]:
    """The players after these batches, from the state that an earlier run has left."""
    torch.manual_seed(0)
    segmentor, judge = nn.Conv2d(1, 1, 3, padding=1), spectral_norm(critic())
    optimizers = [torch.optim.Adam(player.parameters(), lr=0.01) for player in (segmentor, judge)]
    holders = dict(
        zip(
            ("segmentor", "critic", "of_segmentor", "of_critic"), (segmentor, judge, *optimizers), strict=True
        )
    )
    for name, values in (state or {}).items():
        holders[name].load_state_dict(values)
    AdversarialTrainer(
        "cpu",
        1,
        batches,
        network=segmentor,
        optimizer=optimizers[0],
        critic=judge,
        critic_optimizer=optimizers[1],
        objective=Hinge(),
        decollate=False,
    ).run()
    return {name: deepcopy(holder.state_dict()) for name, holder in holders.items()}


def test_the_segmentor_s_turn_moves_the_power_iteration_and_a_trainer_goes_on_bit_for_bit() -> None:
    images = torch.rand(4, 2, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    batches = [{"image": image, "label": (image > 0.5).float()} for image in images]
    whole = trained(batches)
    resumed = trained(batches[2:], trained(batches[:2]))
    for player in ("segmentor", "critic"):
        for name, value in whole[player].items():
            assert torch.equal(value, resumed[player][name]), name


def test_the_critic_s_vectors_are_left_alone_where_it_is_only_asked() -> None:
    judge = spectral_norm(critic()).eval()
    before = deepcopy(judge.state_dict())
    judge(*pair())
    assert all(torch.equal(value, before[name]) for name, value in judge.state_dict().items())


def test_mixed_precision_finds_the_same_singular_values() -> None:
    judge = spectral_norm(critic())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for _ in range(5):
            score = judge(*pair()).score
    score.float().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in judge.parameters())
    assert all(largest(layer) == pytest.approx(1, rel=0.05) for layer in weighty(judge.eval()).values())


def test_a_config_puts_it_around_its_critic() -> None:
    inner = {"_target_": "segadv_monai.critics.LucCritic", "spatial_dims": 2, "in_channels": 1, "num_maps": 2}
    config = {"critic": {"_target_": "segadv_monai.layers.spectral_norm", "module": {**inner, "width": 1}}}
    found = ConfigParser(config).get_parsed_content("critic")
    assert isinstance(found, LucCritic)
    assert any("parametrizations" in name for name in found.state_dict())


def test_what_cannot_be_normalised_is_one_line() -> None:
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        spectral_norm(critic(), steps=0)
    with pytest.raises(ValueError, match=r"PatchCritic has no part head: exclude some of stages, stages\.0"):
        spectral_norm(critic(), excluded=["head"])
    with pytest.raises(ValueError, match="ReLU has no convolution or linear layer"):
        spectral_norm(nn.ReLU())
    with pytest.raises(ValueError, match=r"stages\.0\.0 has a parametrised weight: apply this once"):
        spectral_norm(spectral_norm(critic()))
