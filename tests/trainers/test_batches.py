"""What a batch may hold, and what a network may return."""

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.engines import PrepareBatchExtraInput
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from segadv_monai.critics import PatchCritic
from segadv_monai.objectives import NonSaturating
from segadv_monai.protocols import ConfigError, Play, SegmentorOutput
from segadv_monai.trainers import AdversarialTrainer


class Recorder(NonSaturating):
    """A game that keeps what it was played with."""

    def __init__(self) -> None:
        super().__init__()
        self.plays: list[Play] = []

    def segmentor_loss(self, critic: nn.Module, play: Play) -> dict[str, Tensor]:
        self.plays.append(play)
        return super().segmentor_loss(critic, play)


def squared(logits: Tensor, target: Tensor) -> Tensor:
    return (logits - target).square().mean()


def weighted(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    return (weight * (logits - target).square()).mean()


def batch(size: int = 12, cases: int = 2, **entries: Tensor) -> dict[str, Tensor]:
    image = torch.rand(cases, 1, size, size, generator=torch.Generator().manual_seed(0))
    return {"image": image, "label": (image > 0.5).float(), **entries}


def trainer(given: dict[str, Tensor], network: nn.Module, **changes: Any) -> AdversarialTrainer:
    torch.manual_seed(0)
    critic = changes.pop("critic", PatchCritic(2, 1, scope="pixel", width=2))
    settings: dict[str, Any] = {"loss_function": squared, "objective": Recorder(), **changes}
    return AdversarialTrainer(
        "cpu",
        1,
        [given],
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        critic=critic,
        critic_optimizer=torch.optim.SGD(critic.parameters(), lr=0.1),
        decollate=False,
        **settings,
    )


def test_the_weights_of_a_batch_reach_the_loss_and_the_game() -> None:
    network = nn.Conv2d(1, 1, 3, padding=1)
    given = batch(weight=torch.zeros(2, 1, 12, 12))
    engine = trainer(given, network, loss_function=weighted)
    engine.run()
    assert engine.state.losses["segmentor/supervised"] == 0
    (play,) = engine.objective.plays
    assert torch.equal(play.weight, given["weight"])


def test_what_surrounds_a_segmentor_may_hand_latents_to_the_game() -> None:
    class Surrounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x: Tensor, other: Tensor) -> SegmentorOutput:
            return SegmentorOutput(self.network(x), {"other": self.network(other)})

    given = batch(second=torch.ones(2, 1, 12, 12))
    network = Surrounded()
    engine = trainer(
        given,
        network,
        prepare_batch=PrepareBatchExtraInput(extra_keys={"other": "second"}),
        loss_function=squared,
    )
    with torch.no_grad():
        expected = network.network(given["second"])
    engine.run()
    (play,) = engine.objective.plays
    assert play.logits.shape == (2, 1, 12, 12)
    assert torch.equal(play.latents["other"], expected)
    assert play.latents["other"].requires_grad
    assert engine.state.output["pred"].shape == (2, 1, 12, 12)


def test_a_network_of_valid_convolutions_is_judged_on_the_middle_of_the_image() -> None:
    given = batch(13)
    whole = given["image"]
    given["label"] = given["label"][..., 2:11, 2:11]
    engine = trainer(given, nn.Conv2d(1, 1, 5))
    engine.run()
    (play,) = engine.objective.plays
    assert torch.equal(play.image, whole[..., 2:11, 2:11])
    assert torch.equal(engine.state.output["image"], whole)


# Torch's compiler looks at the gradient of what it traces, and warns itself.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_compiling_changes_the_cost_alone() -> None:
    losses = []
    for backend in (None, "aot_eager"):
        torch.manual_seed(3)
        engine = trainer(batch(), nn.Conv2d(1, 1, 3, padding=1), compile_backend=backend)
        engine.run()
        losses.append({name: term.item() for name, term in engine.state.losses.items()})
        assert all("_orig_mod" not in name for name in engine.network.state_dict())
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


@pytest.mark.parametrize("place", ["network", "critic"])
def test_a_batch_norm_with_one_value_per_channel_says_what_to_do(place: str) -> None:
    network: nn.Module = nn.Conv2d(1, 1, 3, padding=1)
    critic = PatchCritic(2, 1, scope="image", width=2)
    if place == "network":
        network = nn.Sequential(nn.Conv2d(1, 1, 64), nn.BatchNorm2d(1), nn.Upsample(64))
    engine = trainer(batch(64, cases=1), network, critic=critic)
    engine.logger.disabled = True
    with pytest.raises(ConfigError, match="raise the batch size or the crop") as caught:
        engine.run()
    assert "\n" not in str(caught.value)


def test_a_critic_in_several_processes_needs_a_norm_that_is_the_same_in_all(tmp_path: Path) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        separate, alike = (
            DistributedDataParallel(PatchCritic(2, 1, scope="patch1", width=2, norm=norm))
            for norm in ("batch", "instance")
        )
        with pytest.raises(ValueError, match=r"stages\.0\.1 of the critic is a batch norm"):
            trainer(batch(), nn.Conv2d(1, 1, 1), critic=separate)
        trainer(batch(), nn.Conv2d(1, 1, 1), critic=alike)
        alike.module.norm = nn.SyncBatchNorm(2)
        trainer(batch(), nn.Conv2d(1, 1, 1), critic=alike)
    finally:
        distributed.destroy_process_group()
