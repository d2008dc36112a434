"""The steps of an adversarial iteration: who moves, when, and what the engine says of it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.inferers import SimpleInferer
from monai.losses import DiceLoss
from monai.transforms import AsDiscreted
from torch import Tensor, nn

from segadv_monai.critics import SegANCritic
from segadv_monai.handlers import CriticEvents, Overlap
from segadv_monai.metrics import dice_score
from segadv_monai.networks import SegAN as Segmentor
from segadv_monai.objectives import SegAN
from segadv_monai.protocols import CriticOutput, Play
from segadv_monai.trainers import AdversarialTrainer

SIZE = 36
CRITIC_STEPPED = CriticEvents("critic_step_completed")
Batch = dict[str, Tensor]


class Critic(nn.Module):
    """The masked image and one layer on it."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 2, 3, stride=2)

    def forward(self, segmentation: Tensor, image: Tensor) -> CriticOutput:
        masked = segmentation * image
        return CriticOutput(score=None, features=(masked, self.convolution(masked).tanh()))


class Recorder(SegAN):
    """SegAN's game that keeps what it was called with."""

    def __init__(self) -> None:
        super().__init__()
        self.plays: list[Play] = []
        self.learning: dict[str, list[bool]] = {}

    def critic_loss(self, critic: nn.Module, play: Play) -> dict[str, Tensor]:
        self.learning["critic"] = [p.requires_grad for p in critic.parameters()]
        return super().critic_loss(critic, play)

    def segmentor_loss(self, critic: nn.Module, play: Play) -> dict[str, Tensor]:
        self.plays.append(play)
        self.learning["segmentor"] = [p.requires_grad for p in critic.parameters()]
        return super().segmentor_loss(critic, play)


def discs(cases: int = 4) -> Batch:
    """Bright discs in noise, and where they are."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randint(12, SIZE - 12, (cases, 2, 1, 1), generator=generator)
    radii = torch.randint(5, 10, (cases, 1, 1), generator=generator)
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    inside = (rows - centres[:, 0]) ** 2 + (columns - centres[:, 1]) ** 2 < radii**2
    label = inside.float()[:, None]
    return {"image": label + 0.5 + 0.3 * torch.randn(label.shape, generator=generator), "label": label}


def halves(batch: Batch) -> list[Batch]:
    return [{key: value[part] for key, value in batch.items()} for part in (slice(0, 2), slice(2, 4))]


def game(**changes: Any) -> AdversarialTrainer:
    """Two small players and four cases in two batches."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "device": "cpu",
        "max_epochs": 1,
        "train_data_loader": halves(discs()),
        "network": nn.Conv2d(1, 1, 3, padding=1),
        "critic": Critic(),
        "objective": SegAN(),
        **changes,
    }
    for player, optimizer in (("network", "optimizer"), ("critic", "critic_optimizer")):
        if settings[player] is not None:
            settings.setdefault(optimizer, torch.optim.Adam(settings[player].parameters(), lr=0.01))
    return AdversarialTrainer(**settings)


def baseline(**changes: Any) -> AdversarialTrainer:
    return game(critic=None, objective=None, **{"loss_function": DiceLoss(sigmoid=True), **changes})


def copied(tensors: dict[str, Tensor] | nn.Module) -> dict[str, Tensor]:
    named = tensors.state_dict() if isinstance(tensors, nn.Module) else tensors
    return {name: tensor.detach().clone() for name, tensor in named.items()}


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_segmentor_sees_each_image_once() -> None:
    trainer = game()
    calls: list[int] = []
    trainer.network.register_forward_hook(lambda *_: calls.append(trainer.state.iteration))
    trainer.run()
    assert calls == [1, 2]


def test_both_players_move_in_every_iteration() -> None:
    trainer = game()
    before = [copied(trainer.network), copied(trainer.critic)]

    @trainer.on(Events.ITERATION_COMPLETED)
    def moved(_: Engine) -> None:
        now = [copied(trainer.network), copied(trainer.critic)]
        for i in range(2):
            assert not any(torch.equal(now[i][name], before[i][name]) for name in now[i])
        before[:] = now

    trainer.run()


def test_the_events_of_both_turns_fire_in_order() -> None:
    trainer = game()
    order: list[str] = []
    for event in (*IterationEvents, *CriticEvents):
        trainer.add_event_handler(event, lambda _, name=event.value: order.append(name))
    trainer.run()
    turn = [
        "forward_completed",
        "critic_forward_completed",
        "critic_loss_completed",
        "critic_backward_completed",
        "critic_step_completed",
        "loss_completed",
        "backward_completed",
        "model_completed",
    ]
    assert order == 2 * turn


def test_without_a_critic_none_of_its_events_fires() -> None:
    trainer = baseline()
    for event in CriticEvents:
        trainer.add_event_handler(event, lambda _: pytest.fail("there is no critic"))
    trainer.run()
    assert trainer.state.iteration == 2


def test_the_critic_is_frozen_in_the_segmentor_s_turn_and_learns_again_after_it() -> None:
    recorder = Recorder()
    critic = Critic()
    game(objective=recorder, critic=critic).run()
    assert recorder.learning == {"critic": [True, True], "segmentor": [False, False]}
    assert all(p.requires_grad for p in critic.parameters())


def test_what_the_user_froze_in_the_critic_stays_frozen() -> None:
    critic = Critic()
    assert critic.convolution.bias is not None
    critic.convolution.bias.requires_grad_(False)
    game(critic=critic).run()
    assert [p.requires_grad for p in critic.parameters()] == [True, False]


def test_a_segmentor_s_turn_that_fails_leaves_the_critic_learning() -> None:
    class Broken(SegAN):
        def segmentor_loss(self, *_: object) -> dict[str, Tensor]:
            raise ArithmeticError("broken")

    critic = Critic()
    trainer = game(critic=critic, objective=Broken())
    trainer.logger.disabled = True
    with pytest.raises(ArithmeticError, match="broken"):
        trainer.run()
    assert all(p.requires_grad for p in critic.parameters())


def test_the_segmentor_s_turn_leaves_the_critic_s_weights_and_gradients_untouched() -> None:
    trainer = game()
    kept: dict[str, dict[str, Tensor]] = {}

    @trainer.on(CRITIC_STEPPED)
    def keep(_: Engine) -> None:
        kept.update(weights=copied(trainer.critic), gradients=gradients(trainer.critic))

    @trainer.on(IterationEvents.MODEL_COMPLETED)
    def compare(_: Engine) -> None:
        assert len(kept["gradients"]) == 2
        assert same(kept["weights"], copied(trainer.critic))
        assert same(kept["gradients"], gradients(trainer.critic))

    trainer.run()
    assert trainer.state.iteration == 2


def test_the_critic_s_turn_leaves_the_segmentor_s_weights_and_gradients_untouched() -> None:
    trainer = game()
    kept: dict[str, dict[str, Tensor]] = {}

    @trainer.on(IterationEvents.FORWARD_COMPLETED)
    def keep(_: Engine) -> None:
        kept.update(weights=copied(trainer.network), gradients=gradients(trainer.network))

    @trainer.on(CRITIC_STEPPED)
    def compare(_: Engine) -> None:
        assert same(kept["weights"], copied(trainer.network))
        assert same(kept["gradients"], gradients(trainer.network))

    trainer.run()
    assert len(kept["gradients"]) == 2


def test_gradients_do_not_add_up_over_iterations() -> None:
    seen: list[list[dict[str, Tensor]]] = []
    for loader in (halves(discs()), halves(discs())[1:]):
        trainer = game(train_data_loader=loader)
        trainer.optimizer = torch.optim.SGD(trainer.network.parameters(), lr=0.0)
        trainer.critic_optimizer = torch.optim.SGD(trainer.critic.parameters(), lr=0.0)
        trainer.run()
        seen.append([gradients(trainer.network), gradients(trainer.critic)])
    assert same(seen[0][0], seen[1][0])
    assert same(seen[0][1], seen[1][1])


def test_every_term_has_its_name_and_the_loss_is_the_segmentor_s_sum() -> None:
    trainer = game(loss_function=DiceLoss(sigmoid=True), decollate=False)
    trainer.run()
    losses = trainer.state.losses
    assert set(losses) == {
        "critic/feature_distance",
        "segmentor/supervised",
        "segmentor/feature_distance",
        "loss",
    }
    expected = losses["segmentor/supervised"] + losses["segmentor/feature_distance"]
    assert losses["loss"].item() == pytest.approx(expected.item())
    assert losses["critic/feature_distance"] < 0 < losses["segmentor/feature_distance"]
    assert not any(value.requires_grad for value in losses.values())
    assert all(trainer.state.output[name] is value for name, value in losses.items())


def test_a_purely_adversarial_game_has_a_loss_too() -> None:
    trainer = game(decollate=False)
    trainer.run()
    assert set(trainer.state.losses) == {"critic/feature_distance", "segmentor/feature_distance", "loss"}
    assert trainer.state.output["loss"] == trainer.state.losses["segmentor/feature_distance"]


def test_the_output_holds_the_cases_and_no_graph() -> None:
    batch = discs()
    trainer = game(train_data_loader=[batch], decollate=False)
    trainer.run()
    output = trainer.state.output
    assert torch.equal(output["image"], batch["image"])
    assert torch.equal(output["label"], batch["label"])
    assert output["pred"].shape == batch["label"].shape
    assert not output["pred"].requires_grad


def test_meta_data_stay_out_of_the_game_and_in_the_output() -> None:
    recorder = Recorder()
    batch = {key: MetaTensor(value) for key, value in discs().items()}
    trainer = game(train_data_loader=[batch], objective=recorder, decollate=False)
    trainer.run()
    (play,) = recorder.plays
    assert play.target is not None
    assert type(play.image) is type(play.target) is type(play.logits) is Tensor
    assert isinstance(trainer.state.output["image"], MetaTensor)


def test_without_a_critic_it_is_monai_s_supervised_trainer_bit_for_bit() -> None:
    networks = []
    for build in (baseline, supervised):
        torch.manual_seed(0)
        networks.append(Segmentor(2, 1, 1, width=1))
        build(network=networks[-1], max_epochs=2).run()
    assert same(copied(networks[0]), copied(networks[1]))


def supervised(network: nn.Module, max_epochs: int) -> SupervisedTrainer:
    return SupervisedTrainer(
        device="cpu",
        max_epochs=max_epochs,
        train_data_loader=halves(discs()),
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), lr=0.01),
        loss_function=DiceLoss(sigmoid=True),
    )


@pytest.mark.parametrize("build", [game, baseline])
def test_postprocessing_runs_before_the_training_metric(build: Callable[..., AdversarialTrainer]) -> None:
    trainer = build(
        postprocessing=AsDiscreted("pred", threshold=0.0),
        key_train_metric={"train_dice": Overlap("dice")},
        additional_metrics={"missed": Overlap("missed")},
    )
    trainer.run()
    assert {value for case in trainer.state.output for value in case["pred"].unique().tolist()} <= {0, 1}
    scores = trainer.state.metric_details["train_dice"]
    assert scores.shape == (4, 1)
    assert trainer.state.metrics["train_dice"] == pytest.approx(scores.mean().item())
    assert trainer.state.best_metric == trainer.state.metrics["train_dice"]
    assert trainer.state.metrics["missed"] == (scores == 0).sum()


def test_each_case_of_the_output_holds_the_loss() -> None:
    trainer = game(train_data_loader=[discs()])
    trainer.run()
    assert [case["loss"] for case in trainer.state.output] == 4 * [trainer.state.losses["loss"]]


def test_the_inferer_decides_how_the_network_sees_the_image() -> None:
    class Mirrored(SimpleInferer):
        def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *_: Any, **__: Any) -> Tensor:
            return network(inputs.flip(-1)).flip(-1)

    batch = discs()
    trainer = game(train_data_loader=[batch], inferer=Mirrored(), decollate=False)
    with torch.no_grad():
        expected = trainer.network(batch["image"].flip(-1)).flip(-1)
    trainer.run()
    torch.testing.assert_close(trainer.state.output["pred"], expected)


def test_both_networks_train_even_after_an_evaluation() -> None:
    network, critic = Segmentor(2, 1, 1, width=1), SegANCritic(2, 1, widths=(2, 2), kernels=(5, 3))
    trainer = game(network=network, critic=critic)
    modes: list[tuple[bool, bool]] = []
    trainer.add_event_handler(
        IterationEvents.MODEL_COMPLETED, lambda _: modes.append((network.training, critic.training))
    )
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda _: [m.eval() for m in (network, critic)])
    trainer.run()
    assert modes == 2 * [(True, True)]


def test_a_second_run_goes_on_where_the_first_one_stood() -> None:
    whole, parts = game(max_epochs=2), game(max_epochs=1)
    whole.run()
    parts.run()
    parts.state.max_epochs = 2
    parts.run()
    assert parts.state.epoch == 2
    assert same(copied(whole.network), copied(parts.network))
    assert same(copied(whole.critic), copied(parts.critic))


@pytest.mark.parametrize("amp_dtype", ["bfloat16", "float16"])
def test_mixed_precision_works_without_a_gpu_and_keeps_float32_weights(amp_dtype: str) -> None:
    types: set[torch.dtype] = set()
    trainer = game(amp=True, amp_dtype=amp_dtype, loss_function=DiceLoss(sigmoid=True), decollate=False)
    trainer.network.register_forward_hook(lambda *arguments: types.add(arguments[-1].dtype))
    trainer.critic.convolution.register_forward_hook(lambda *arguments: types.add(arguments[-1].dtype))
    scaler, before = trainer.scaler, copied(trainer.network)
    trainer.run()
    assert types == {getattr(torch, amp_dtype)}
    assert trainer.scaler is scaler
    assert trainer.scaler.is_enabled() == trainer.critic_scaler.is_enabled() == (amp_dtype == "float16")
    for player in (trainer.network, trainer.critic):
        assert all(p.dtype == torch.float32 and p.isfinite().all() for p in player.parameters())
    assert not same(copied(trainer.network), before)


def test_mixed_precision_costs_little_precision() -> None:
    losses = []
    for amp in (False, True):
        trainer = game(amp=amp)
        trainer.run()
        losses.append(trainer.state.losses["loss"].item())
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert losses[1] != losses[0]


def test_the_scale_of_the_gradients_does_not_reach_the_step() -> None:
    steps = []
    for amp_dtype in ("bfloat16", "float16"):
        trainer = game(amp=True, amp_dtype=amp_dtype)
        trainer.optimizer = torch.optim.SGD(trainer.network.parameters(), lr=1.0)
        trainer.critic_optimizer = torch.optim.SGD(trainer.critic.parameters(), lr=1.0)
        before = [copied(trainer.network), copied(trainer.critic)]
        trainer.run()
        after = [copied(trainer.network), copied(trainer.critic)]
        steps.append([now[name] - was[name] for was, now in zip(before, after, strict=True) for name in now])
    for one, other in zip(*steps, strict=True):
        torch.testing.assert_close(one, other, rtol=0.1, atol=0.02)


def test_channels_last_changes_the_layout_and_not_the_result() -> None:
    results = []
    for channels_last in (False, True):
        torch.manual_seed(0)
        network, critic = Segmentor(2, 1, 2, width=2), SegANCritic(2, 1, 2, widths=(2, 2), kernels=(5, 3))
        batch = {"image": discs()["image"], "label": discs()["label"].repeat(1, 2, 1, 1)}
        trainer = game(network=network, critic=critic, train_data_loader=[batch], channels_last=channels_last)
        layouts = {
            p.is_contiguous(memory_format=torch.channels_last) for p in network.parameters() if p.ndim == 4
        }
        assert layouts == ({True} if channels_last else {True, False})
        trainer.run()
        results.append(trainer.state.losses["loss"].item())
    assert results[1] == pytest.approx(results[0], rel=1e-4)


def test_the_segmentor_learns_shapes_from_the_critic_alone() -> None:
    torch.manual_seed(0)
    network, critic = Segmentor(2, 1, 1, width=4), SegANCritic(2, 1, widths=(4, 8, 8), kernels=(7, 5, 4))
    batch = discs(8)
    optimizers = [torch.optim.Adam(p.parameters(), lr=0.003, betas=(0.5, 0.999)) for p in (network, critic)]

    def dice() -> float:
        with torch.no_grad():
            prediction = network.eval()(batch["image"]) > 0
        return dice_score(prediction, batch["label"]).nanmean().item()

    before = dice()
    game(
        network=network,
        critic=critic,
        optimizer=optimizers[0],
        critic_optimizer=optimizers[1],
        train_data_loader=[batch],
        max_epochs=80,
        decollate=False,
    ).run()
    assert before < 0.4
    assert dice() > 0.5


@pytest.mark.parametrize("missing", ["critic", "critic_optimizer", "objective"])
def test_half_a_game_is_an_error_that_names_what_is_missing(missing: str) -> None:
    critic = Critic()
    whole = {
        "critic": critic,
        "critic_optimizer": torch.optim.Adam(critic.parameters()),
        "objective": SegAN(),
        "loss_function": DiceLoss(sigmoid=True),
    }
    with pytest.raises(
        ValueError, match=f"needs critic, critic_optimizer, objective together; {missing} missing"
    ):
        game(**{**whole, missing: None})


def test_nothing_to_minimise_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing to minimise: give a loss_function"):
        baseline(loss_function=None)


def test_an_unknown_type_for_mixed_precision_is_an_error() -> None:
    with pytest.raises(ValueError, match="amp_dtype must be bfloat16 or float16, got float32"):
        game(amp=True, amp_dtype="float32")


@pytest.mark.gpu
@pytest.mark.parametrize("amp_dtype", ["bfloat16", "float16"])
def test_mixed_precision_on_a_gpu_learns_with_one_scaler_per_player(amp_dtype: str) -> None:
    torch.manual_seed(0)
    network, critic = (
        Segmentor(2, 1, 1, width=4).cuda(),
        SegANCritic(2, 1, widths=(4, 8), kernels=(7, 5)).cuda(),
    )
    trainer = game(
        device="cuda",
        network=network,
        critic=critic,
        train_data_loader=[discs(8)],
        max_epochs=20,
        amp=True,
        amp_dtype=amp_dtype,
        channels_last=True,
        loss_function=DiceLoss(sigmoid=True),
        decollate=False,
    )
    losses: list[float] = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda e: losses.append(e.state.output["loss"].item())
    )
    trainer.run()
    assert trainer.scaler is not trainer.critic_scaler
    assert trainer.scaler.is_enabled() == trainer.critic_scaler.is_enabled() == (amp_dtype == "float16")
    for player in (network, critic):
        assert all(p.dtype == torch.float32 and p.isfinite().all() for p in player.parameters())
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    script = Path(__file__).with_name("distributed_game.py")
    for world in (1, 2):
        running = [
            subprocess.Popen([sys.executable, str(script), str(rank), str(world), str(tmp_path)])
            for rank in range(world)
        ]
        assert [process.wait(timeout=300) for process in running] == [0] * world
    alone, first, second = (torch.load(tmp_path / f"{name}.pt") for name in ("0_of_1", "0_of_2", "1_of_2"))
    assert same(first, second)
    plain = [name for name in alone if name.startswith("plain")]
    assert len(plain) == 8
    for name in plain:
        torch.testing.assert_close(first[name], alone[name], rtol=1e-9, atol=1e-12)
