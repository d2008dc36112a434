"""What is not finite, put in at random steps: the case is named, no step is taken, nothing is spoilt."""

import csv
import logging
import math
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.losses import DiceLoss
from monai.transforms import AsDiscreted
from torch import Tensor, nn

from segadv_monai.critics import SegANCritic
from segadv_monai.handlers import Finite, Overlap, StandardHandlers, standard_handlers
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


def trainer(data: list[dict[str, MetaTensor]], handler: Any = None, **settings: Any) -> AdversarialTrainer:
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
        train_handlers=[Finite() if handler is None else handler],
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


# --- batches that may be left out


def spoil(run: AdversarialTrainer, kind: str, player: str, steps: set[int]) -> None:
    """A term or a gradient of a player in some steps."""
    network = run.network if player == "segmentor" else run.critic
    assert network is not None

    def spoil_now(engine: AdversarialTrainer) -> None:
        now = engine.state.iteration in steps
        engine.objective.factors[player] = float("nan") if now and kind == "term" else 1.0
        if now and kind == "gradient":
            hook = next(network.parameters()).register_hook(lambda gradient: gradient * float("inf"))
            engine.add_event_handler(Events.ITERATION_COMPLETED(once=engine.state.iteration), hook.remove)

    run.add_event_handler(Events.ITERATION_STARTED, spoil_now)


def everything(of: AdversarialTrainer) -> dict[str, Tensor]:
    """Weights, running statistics and the moments of both optimisers."""
    found = state(of, "network", "critic")
    for name in ("optimizer", "critic_optimizer"):
        for i, moments in getattr(of, name).state_dict()["state"].items():
            found |= {f"{name}.{i}.{key}": value.clone() for key, value in moments.items()}
    return found


def assert_equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name, value in a.items() if not torch.equal(value, b[name])] == []


@pytest.mark.parametrize("kind", ["image", "label", "term", "gradient"])
def test_a_run_that_leaves_a_batch_out_equals_one_that_never_had_it(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Keeps R9."""
    good = cases()[:10]
    without = trainer([*good[:4], *good[6:]])
    without.run()
    data = cases()[:10]
    if kind in ("image", "label"):
        data[5][kind][0, 3, 3] = float("nan")
    run = trainer(data, Finite(skip=2))
    if kind in ("term", "gradient"):
        spoil(run, kind, "critic", {3})
    outputs: list[Any] = []
    run.add_event_handler(
        Events.ITERATION_COMPLETED, lambda e: outputs.append((e.state.losses, e.state.output))
    )
    with caplog.at_level(logging.WARNING, "segadv_monai"):
        run.run()
    assert_equal(everything(run), everything(without))
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("batch left out, 1 of at most 2: ")
    assert "case_05.png" in caplog.messages[0]
    assert "epoch 1, iteration 3" in caplog.messages[0]
    # The left out batch adds to no mean of a term, and leaves the shape of an output.
    assert [bool(losses) for losses, _ in outputs] == [True, True, False, True, True]
    assert [math.isnan(case["loss"]) for case in outputs[2][1]] == [True, True]


@pytest.mark.parametrize("kind", ["term", "gradient"])
def test_a_segmentor_that_is_left_out_stays_and_the_critic_keeps_its_step(kind: str) -> None:
    run = trainer(cases()[:10], Finite(skip=1))
    spoil(run, kind, "segmentor", {3})
    seen: dict[int, dict[str, Tensor]] = {}
    run.add_event_handler(
        Events.ITERATION_COMPLETED, lambda e: seen.update({e.state.iteration: everything(e)})
    )
    run.run()
    moved = {name for name, value in seen[3].items() if not torch.equal(value, seen[2][name])}
    weights = {f"critic.{name}" for name, _ in run.critic.named_parameters()}
    assert weights & moved
    assert all(name.startswith("critic") for name in moved)
    # Statistics are those before the batch.
    assert not [name for name in moved if "running" in name or "num_batches" in name]
    assert all(bool(value.isfinite().all()) for value in everything(run).values())


def test_one_batch_more_than_may_be_left_out_ends_the_run() -> None:
    finite = Finite(skip=2)
    run = trainer(cases(), finite)
    spoil(run, "term", "segmentor", {2, 5, 7, 9})
    with pytest.raises(DivergenceError, match="became infinite or nan in epoch 1, iteration 7"):
        run.run()
    assert finite.left_out == 2


def test_what_was_left_out_before_a_stop_counts_behind_it() -> None:
    first, second = Finite(skip=1), Finite(skip=1)
    run = trainer(cases(), first)
    spoil(run, "term", "critic", {2})
    run.run()
    second.load_state_dict(first.state_dict())
    run = trainer(cases(), second)
    spoil(run, "term", "critic", {2})
    with pytest.raises(DivergenceError, match="iteration 2"):
        run.run()


def test_a_run_with_a_scaler_goes_on_after_a_term_and_keeps_its_scale() -> None:
    run = trainer(cases(), Finite(skip=2), amp=True, amp_dtype="float16")
    spoil(run, "term", "segmentor", {2, 4})
    run.run()
    assert run.state.iteration == STEPS
    assert run.scaler.get_scale() == run.critic_scaler.get_scale() == 2**16


def test_less_than_no_batch_cannot_be_left_out() -> None:
    with pytest.raises(ValueError, match="skip must be at least 0, got -1"):
        Finite(skip=-1)


def test_a_whole_run_goes_on_and_counts_over_its_starts(tmp_path: Path) -> None:
    def start(epochs: int) -> None:
        data = cases()[:6]
        data[3]["image"][0, 0, 0] = float("nan")
        discrete = AsDiscreted(keys="pred", threshold=0.0)
        metric = {"train_dice": Overlap("dice")}
        run = trainer(data, StandardHandlers([]), key_train_metric=metric, postprocessing=discrete)
        evaluator = SupervisedEvaluator(
            device=torch.device("cpu"),
            val_data_loader=DataLoader(Dataset(cases()[:2]), batch_size=1),
            network=run.network,
            postprocessing=discrete,
            key_val_metric={"dice": Overlap("dice")},
        )
        standard = standard_handlers(
            evaluator=evaluator, network=run.network, output_dir=tmp_path, preview_cases=0, skip=2
        )
        standard.attach(run)
        run.state.max_epochs = epochs
        run.run()

    start(2)
    rows = list(csv.DictReader((tmp_path / "history.csv").read_text().splitlines()))
    assert len(rows) == 2
    assert all(math.isfinite(float(value)) for row in rows for value in row.values())
    with pytest.raises(DataError, match=r"case_03\.png .* in epoch 3, iteration 8"):
        start(3)


@pytest.mark.slow
def test_processes_leave_a_batch_out_together(tmp_path: Path) -> None:
    script = Path(__file__).with_name("distributed_skip.py")
    running = [subprocess.Popen([sys.executable, str(script), str(rank), str(tmp_path)]) for rank in range(2)]
    try:
        assert [process.wait(timeout=120) for process in running] == [0, 0]
    finally:
        for process in running:
            process.kill()
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert_equal(first, second)
    assert int(first["left_out"]) == 1
