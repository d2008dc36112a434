"""A run with all standard handlers: what it leaves, and that it survives."""

import csv
import logging
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents
from monai.losses import DiceLoss
from monai.transforms import AsDiscreted, Compose, RandFlipd
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.optim import Optimizer

from segadv_monai.critics import SegANCritic
from segadv_monai.data import SeededLoader
from segadv_monai.handlers import Overlap, WeightClip, standard_handlers
from segadv_monai.objectives import SegAN
from segadv_monai.protocols import CheckpointError, DivergenceError
from segadv_monai.trainers import AdversarialTrainer

SIZE = 16


class KilledError(Exception):
    pass


def cases(n: int) -> list[dict[str, MetaTensor]]:
    generator = torch.Generator().manual_seed(0)
    result = []
    for i in range(n):
        label = torch.zeros(1, SIZE, SIZE)
        x, y = torch.randint(2, SIZE - 8, (2,), generator=generator).tolist()
        label[:, x : x + 6, y : y + 6] = 1
        image = label + 0.3 * torch.randn(label.shape, generator=generator)
        meta = {"filename_or_obj": f"case_{i}.png"}
        result.append({"image": MetaTensor(image, meta=meta), "label": MetaTensor(label, meta=meta)})
    return result


def run(
    output: Path,
    *,
    epochs: int,
    disturb: Callable[[AdversarialTrainer, SupervisedEvaluator], None] | None = None,
    width: int = 2,
    factor: float = 1.0,
    batch_size: int = 2,
    critic_optimizer: type[Optimizer] = torch.optim.Adam,
    resume: str = "auto",
    hours: float | None = None,
    **settings: Any,
) -> AdversarialTrainer:
    """Train a tiny segmentor with a critic, with something that disturbs it."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.Dropout(0.2), nn.ReLU(), nn.Conv2d(width, 1, 3, padding=1)
    )
    critic = SegANCritic(2, 1, widths=(2, 4), kernels=(3, 3))
    discrete = Compose([AsDiscreted(keys="pred", threshold=0.0)])
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(cases(3)), batch_size=1),
        network=network,
        postprocessing=discrete,
        key_val_metric={"dice": Overlap("dice")},
    )
    train_metric = {"train_dice": Overlap("dice")}
    standard = standard_handlers(
        evaluator=evaluator,
        network=network,
        output_dir=output,
        preview_cases=2,
        settings=settings,
        seed=5,
        others=train_metric,
        resume=resume,
        hours=hours,
    )
    flips = RandFlipd(keys=("image", "label"), prob=0.5, spatial_axis=0)
    trainer = AdversarialTrainer(
        "cpu",
        epochs,
        SeededLoader(Dataset(cases(6), Compose([flips])), batch_size=batch_size, seed=5),
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), lr=0.01),
        loss_function=lambda logits, target: factor * DiceLoss(sigmoid=True)(logits, target),
        critic=critic,
        critic_optimizer=critic_optimizer(critic.parameters(), lr=0.01),
        objective=SegAN(),
        postprocessing=discrete,
        key_train_metric=train_metric,
        train_handlers=[WeightClip(), standard],
    )
    if disturb is not None:
        disturb(trainer, evaluator)
    trainer.run()
    return trainer


def killed_in(epoch: int) -> Callable[..., None]:
    """In the middle of an epoch, as by a power cut."""

    def kill(engine: AdversarialTrainer) -> None:
        if engine.state.epoch == epoch:
            raise KilledError

    return lambda trainer, _: trainer.add_event_handler(Events.ITERATION_COMPLETED, kill)


def signalled_at(iteration: int) -> Callable[..., None]:
    """In the middle of the computation."""

    def send(engine: AdversarialTrainer) -> None:
        if engine.state.iteration == iteration:
            signal.raise_signal(signal.SIGTERM)

    return lambda trainer, _: trainer.add_event_handler(IterationEvents.FORWARD_COMPLETED, send)


def signalled_in_validation(epoch: int) -> Callable[..., None]:
    def send(engine: SupervisedEvaluator) -> None:
        if engine.state.epoch == epoch:
            signal.raise_signal(signal.SIGINT)

    return lambda _, evaluator: evaluator.add_event_handler(IterationEvents.FORWARD_COMPLETED, send)


def assert_same(whole: AdversarialTrainer, again: AdversarialTrainer, *outputs: Path) -> None:
    for a, b in ((whole.network, again.network), (whole.critic, again.critic)):
        assert a is not None
        assert b is not None
        for name, value in a.state_dict().items():
            assert torch.equal(value, b.state_dict()[name]), name
    first, second = ([{**row, "seconds": ""} for row in rows(output)] for output in outputs)
    assert first == second


def rows(output: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((output / "history.csv").read_text().splitlines()))


def test_a_run_that_is_killed_and_started_again_equals_one_that_was_not(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", epochs=4)
    with pytest.raises(KilledError):
        run(tmp_path / "killed", epochs=4, disturb=killed_in(3))
    again = run(tmp_path / "killed", epochs=4)
    assert_same(whole, again, tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize(
    ("disturb", "code", "place"),
    [
        (signalled_at(2), 143, "after epoch 0 and 2 batches"),
        (signalled_at(5), 143, "after epoch 1 and 2 batches"),
        (signalled_at(6), 143, "after epoch 2"),
        (signalled_in_validation(2), 130, "after epoch 2"),
        (signalled_in_validation(4), 130, "all of 4 epochs are done"),
    ],
)
def test_a_run_that_is_asked_to_stop_goes_on_to_the_same_bits_from_wherever_it_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, disturb: Callable[..., None], code: int, place: str
) -> None:
    """Keeps R2."""
    caplog.set_level(logging.INFO, "segadv_monai")
    whole = run(tmp_path / "whole", epochs=4)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end:
        run(tmp_path / "stopped", epochs=4, disturb=disturb)
    assert end.value.code == code
    assert len([line for line in caplog.messages if line.startswith("stopped by SIG")]) == 1
    assert signal.getsignal(signal.SIGTERM) is before
    again = run(tmp_path / "stopped", epochs=4)
    assert place in caplog.text
    assert_same(whole, again, tmp_path / "whole", tmp_path / "stopped")


def test_the_end_of_the_given_time_has_a_code_of_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Keeps R2."""
    whole = run(tmp_path / "whole", epochs=2)
    for _ in range(6):
        with pytest.raises(SystemExit) as end:
            run(tmp_path / "slices", epochs=2, hours=1e-9)
        assert end.value.code == 75
    assert "stopped by the end of 1e-09 hours in epoch 2, iteration 6" in caplog.text
    assert_same(whole, run(tmp_path / "slices", epochs=2), tmp_path / "whole", tmp_path / "slices")


@pytest.fixture
def _interrupt_is_pythons_own() -> Iterator[None]:
    """Whatever ran before in this process."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, signal.default_int_handler if before is None else before)


@pytest.mark.usefixtures("_interrupt_is_pythons_own")
def test_a_second_signal_acts_at_once(tmp_path: Path) -> None:
    def twice(_: AdversarialTrainer) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(
            tmp_path,
            epochs=1,
            disturb=lambda trainer, _: trainer.add_event_handler(IterationEvents.FORWARD_COMPLETED, twice),
        )


def test_a_finished_run_can_go_on_for_longer(tmp_path: Path) -> None:
    """Keeps R7."""
    run(tmp_path, epochs=1)
    run(tmp_path, epochs=3)
    assert [row["epoch"] for row in rows(tmp_path)] == ["1", "2", "3"]


def test_a_finished_run_says_that_it_is_and_trains_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path, epochs=1)
    before = (tmp_path / "last.safetensors").read_bytes()
    with caplog.at_level(logging.INFO, "segadv_monai"):
        trainer = run(tmp_path, epochs=1)
    assert trainer.state.iteration == 3
    assert (tmp_path / "last.safetensors").read_bytes() == before
    assert "raise --epochs" in caplog.text


def test_the_last_line_has_the_best_number_and_the_places(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "segadv_monai"):
        run(tmp_path, epochs=2)
    best = max(float(row["validation/dice"]) for row in rows(tmp_path))
    last = caplog.messages[-1]
    assert f"best validation dice {best:.4f}" in last
    assert str(tmp_path / "model.pt") in last


def test_the_history_has_the_means_of_the_terms_by_name(tmp_path: Path) -> None:
    terms: list[float] = []
    trainer = run(tmp_path, epochs=1)
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda e: terms.append(float(e.state.losses["critic/feature_distance"]))
    )
    trainer.state.max_epochs = 2
    trainer.run()
    row = rows(tmp_path)[1]
    assert float(row["critic/feature_distance"]) == pytest.approx(float(np.mean(terms)), rel=1e-5)
    assert float(row["learning_rate"]) == 0.01


def test_the_best_model_is_kept_in_both_forms(tmp_path: Path) -> None:
    trainer = run(tmp_path, epochs=3)
    weights = torch.load(tmp_path / "model.pt", weights_only=True)
    same = load_file(tmp_path / "model.safetensors")
    assert weights.keys() == same.keys() == trainer.network.state_dict().keys()
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    modes = {
        (tmp_path / name).stat().st_mode for name in ("model.pt", "model.safetensors", "last.safetensors")
    }
    assert len(modes) == 1


def test_every_validation_leaves_a_sheet(tmp_path: Path) -> None:
    run(tmp_path, epochs=2)
    sheets = sorted((tmp_path / "previews").iterdir())
    assert [sheet.name for sheet in sheets] == ["epoch_0001.png", "epoch_0002.png"]
    assert matplotlib.image.imread(sheets[0])[..., :3].std() > 0.05


def test_the_board_has_curves_and_pictures(tmp_path: Path) -> None:
    run(tmp_path, epochs=2)
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in board.Scalars("segmentor/supervised")] == [1, 2]
    assert [event.step for event in board.Images("validation")] == [1, 2]


def test_no_draft_is_left(tmp_path: Path) -> None:
    run(tmp_path, epochs=1)
    assert not list(tmp_path.rglob(".draft*"))


def test_a_checkpoint_of_another_network_is_refused_and_kept(tmp_path: Path) -> None:
    """Keeps R7."""
    run(tmp_path, epochs=1)
    before = (tmp_path / "last.safetensors").read_bytes()
    with pytest.raises(CheckpointError, match=r"is of another network: 0\.weight is \(2, 1, 3, 3\)"):
        run(tmp_path, epochs=2, width=3)
    assert (tmp_path / "last.safetensors").read_bytes() == before


def test_a_checkpoint_of_another_data_set_is_refused(tmp_path: Path) -> None:
    """Keeps R7."""
    run(tmp_path, epochs=1, dataset="lesions")
    with pytest.raises(CheckpointError, match="dataset lesions, this one has moles"):
        run(tmp_path, epochs=2, dataset="moles")


@pytest.mark.parametrize("fault", ["damaged", "missing"])
def test_the_checkpoint_before_the_last_takes_over_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    """Keeps R6."""
    caplog.set_level(logging.INFO, "segadv_monai")
    whole = run(tmp_path / "whole", epochs=3)
    run(tmp_path / "damaged", epochs=3)
    damage(tmp_path / "damaged" / "last.safetensors")
    if fault == "missing":
        (tmp_path / "damaged" / "last.safetensors").unlink()
    again = run(tmp_path / "damaged", epochs=3)
    assert "previous.safetensors" in caplog.text
    assert "after epoch 2" in caplog.text
    assert_same(whole, again, tmp_path / "whole", tmp_path / "damaged")


def test_two_damaged_checkpoints_are_named_and_kept(tmp_path: Path) -> None:
    run(tmp_path, epochs=2)
    damage(tmp_path / "last.safetensors")
    damage(tmp_path / "previous.safetensors")
    with pytest.raises(CheckpointError, match=r"last\.safetensors is damaged.*previous\.safetensors is"):
        run(tmp_path, epochs=2)
    assert (tmp_path / "last.safetensors").exists()


def damage(file: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])


def test_resuming_can_be_refused(tmp_path: Path) -> None:
    """Keeps R7."""
    run(tmp_path, epochs=1, resume="never")
    before = (tmp_path / "last.safetensors").read_bytes()
    with pytest.raises(CheckpointError, match=r"--resume is never: choose another --output_dir"):
        run(tmp_path, epochs=2, resume="never")
    assert (tmp_path / "last.safetensors").read_bytes() == before
    with pytest.raises(ValueError, match="resume must be auto or never, got 'always'"):
        run(tmp_path, epochs=2, resume="always")


def test_a_checkpoint_of_another_game_is_refused(tmp_path: Path) -> None:
    """Keeps R7."""
    run(tmp_path, epochs=1)
    with pytest.raises(CheckpointError, match=r"critic_optimizer torch\S+Adam, this one has torch\S+SGD"):
        run(tmp_path, epochs=2, critic_optimizer=torch.optim.SGD)


def test_a_run_that_was_left_inside_an_epoch_keeps_its_batch_size(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        run(tmp_path, epochs=2, disturb=signalled_at(2))
    with pytest.raises(CheckpointError, match="inside an epoch of 3 batches, and an epoch has 2 now"):
        run(tmp_path, epochs=2, batch_size=3)


def test_a_run_without_critic_does_not_take_over_one_with(tmp_path: Path) -> None:
    trainer = run(tmp_path, epochs=1)
    trainer.critic = None
    with pytest.raises(CheckpointError, match=r"critic segadv_monai\S+SegANCritic, this one has none"):
        trainer.run()


def test_a_run_that_diverges_ends_and_saves_nothing_of_it(tmp_path: Path) -> None:
    with pytest.raises(DivergenceError, match=r"segmentor/supervised.* nan in epoch 1"):
        run(tmp_path, epochs=3, factor=float("nan"))
    assert not (tmp_path / "last.safetensors").exists()
    assert not (tmp_path / "model.pt").exists()
