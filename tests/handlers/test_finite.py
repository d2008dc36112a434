"""What is not finite, put in at random steps: the case is named, no step is taken, nothing is spoilt."""

import random
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset, MetaTensor
from monai.losses import DiceLoss
from torch import Tensor, nn

from segadv_monai.critics import SegANCritic
from segadv_monai.handlers import Finite
from segadv_monai.objectives import SegAN
from segadv_monai.protocols import DataError, DivergenceError
from segadv_monai.trainers import AdversarialTrainer

STEPS = 20


def cases() -> list[dict[str, MetaTensor]]:
    generator = torch.Generator().manual_seed(0)
    result = []
    for i in range(2 * STEPS):
        image = torch.rand(1, 16, 16, generator=generator)
        meta = {"filename_or_obj": f"case_{i:02}.png"}
        label = (image > 0.5).float()
        result.append({"image": MetaTensor(image, meta=meta), "label": MetaTensor(label, meta=meta)})
    return result


class Spoilt(SegAN):
    """SegAN's game, one term of which is multiplied with something."""

    factors: dict[str, float]

    def critic_loss(self, *arguments: Any) -> dict[str, Tensor]:
        return {name: term * self.factors["critic"] for name, term in super().critic_loss(*arguments).items()}

    def segmentor_loss(self, *arguments: Any) -> dict[str, Tensor]:
        factor = self.factors["segmentor"]
        return {name: term * factor for name, term in super().segmentor_loss(*arguments).items()}


def trainer(data: list[dict[str, MetaTensor]], **settings: Any) -> AdversarialTrainer:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1))
    critic = SegANCritic(2, 1, widths=(2, 4), kernels=(3, 3))
    game = Spoilt()
    game.factors = {"critic": 1.0, "segmentor": 1.0}
    return AdversarialTrainer(
        "cpu",
        1,
        DataLoader(Dataset(data), batch_size=2),
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), lr=0.01),
        loss_function=DiceLoss(sigmoid=True),
        critic=critic,
        critic_optimizer=torch.optim.Adam(critic.parameters(), lr=0.01),
        objective=game,
        train_handlers=[Finite()],
        **settings,
    )


def state(of: AdversarialTrainer, *players: str) -> dict[str, Tensor]:
    modules = {name: getattr(of, name) for name in players}
    return {f"{a}.{b}": v.clone() for a, module in modules.items() for b, v in module.state_dict().items()}


def assert_untouched_and_finite(of: AdversarialTrainer, before: dict[str, Tensor], *players: str) -> None:
    after = state(of, *players)
    parameters = [f"{name}.{key}" for name in players for key, _ in getattr(of, name).named_parameters()]
    assert all(torch.equal(after[key], before[key]) for key in parameters)
    assert all(bool(value.isfinite().all()) for value in state(of, "network", "critic").values())


@pytest.mark.parametrize("seed", range(25))
def test_a_case_that_is_not_finite_is_named_before_anything_sees_it(seed: int) -> None:
    """Keeps R9."""
    draw = random.Random(seed)
    wrong, key = draw.randrange(2 * STEPS), draw.choice(["image", "label"])
    data = cases()
    data[wrong][key][0, draw.randrange(16), draw.randrange(16)] = draw.choice([float("nan"), float("-inf")])
    run, before = trainer(data), {}
    run.add_event_handler(
        Events.GET_BATCH_COMPLETED, lambda engine: before.update(state(engine, "network", "critic"))
    )
    with pytest.raises(DataError, match=rf"the {key} of case_{wrong:02}\.png holds values") as error:
        run.run()
    assert f"iteration {wrong // 2 + 1}" in str(error.value)
    assert_untouched_and_finite(run, before, "network", "critic")


@pytest.mark.parametrize("seed", range(25))
def test_a_term_or_a_gradient_that_is_not_finite_moves_nobody(seed: int) -> None:
    """Keeps R9."""
    draw = random.Random(seed)
    step, player = draw.randrange(1, STEPS + 1), draw.choice(["critic", "segmentor"])
    kind = draw.choice(["term", "gradient"])
    run, before = trainer(cases()), {}
    network = run.network if player == "segmentor" else run.critic
    assert network is not None

    def spoil(engine: AdversarialTrainer) -> None:
        if engine.state.iteration != step:
            return
        before.update(state(engine, "network", "critic"))
        if kind == "term":
            run.objective.factors[player] = float("nan")  # type: ignore[union-attr]
        else:
            weight = next(network.parameters())
            weight.register_hook(lambda gradient: gradient * float("inf"))

    run.add_event_handler(Events.ITERATION_STARTED, spoil)
    with pytest.raises(DivergenceError, match=f"of the {player} became infinite or nan") as error:
        run.run()
    named = f"case_{2 * step - 2:02}.png, case_{2 * step - 1:02}.png"
    assert named in str(error.value)
    assert f"iteration {step}" in str(error.value)
    # The critic moves first: its own turn was in order when the segmentor's was not.
    still = ("network", "critic") if player == "critic" else ("network",)
    assert_untouched_and_finite(run, before, *still)


def test_a_run_in_order_is_left_alone_and_so_are_the_steps_that_a_scaler_leaves_out() -> None:
    run = trainer(cases(), amp=True, amp_dtype="float16")
    left_out = []

    def overflow(engine: AdversarialTrainer) -> None:
        if engine.state.iteration == 3:
            weight = next(engine.network.parameters())
            handle = weight.register_hook(lambda gradient: gradient * float("inf"))
            engine.add_event_handler(Events.ITERATION_COMPLETED(once=3), handle.remove)
            left_out.append(engine.scaler.get_scale())

    run.add_event_handler(Events.ITERATION_STARTED, overflow)
    run.run()
    assert run.state.iteration == STEPS
    assert run.scaler.get_scale() < left_out[0]
