"""A run with all standard handlers: what it leaves, and that it survives."""

import csv
import logging
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.losses import DiceLoss
from monai.transforms import AsDiscreted, Compose, RandFlipd
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from segadv_monai.critics import SegANCritic
from segadv_monai.handlers import LoadModel, Overlap, WeightClip, standard_handlers
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
    output: Path, *, epochs: int, kill_in: int = 0, width: int = 2, factor: float = 1.0, **settings: Any
) -> AdversarialTrainer:
    """Train a tiny segmentor with a critic; ``kill_in`` ends it in the middle of that epoch."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 1, 3, padding=1))
    critic = SegANCritic(2, 1, widths=(2, 4), kernels=(3, 3))
    discrete = AsDiscreted(keys="pred", threshold=0.0)
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(cases(3)), batch_size=1),
        network=network,
        postprocessing=Compose([discrete]),
        key_val_metric={"dice": Overlap("dice")},
    )
    standard = standard_handlers(
        evaluator=evaluator, network=network, output_dir=output, preview_cases=2, settings=settings, seed=5
    )
    flips = RandFlipd(keys=("image", "label"), prob=0.5, spatial_axis=0)
    trainer = AdversarialTrainer(
        "cpu",
        epochs,
        DataLoader(Dataset(cases(6), Compose([flips])), batch_size=2, shuffle=True),
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), lr=0.01),
        loss_function=lambda logits, target: factor * DiceLoss(sigmoid=True)(logits, target),
        critic=critic,
        critic_optimizer=torch.optim.Adam(critic.parameters(), lr=0.01),
        objective=SegAN(),
        train_handlers=[WeightClip(), standard],
    )
    if kill_in:

        def kill(engine: AdversarialTrainer) -> None:
            if engine.state.epoch == kill_in:
                raise KilledError

        trainer.add_event_handler(Events.ITERATION_COMPLETED, kill)
        with pytest.raises(KilledError):
            trainer.run()
    else:
        trainer.run()
    return trainer


def rows(output: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((output / "history.csv").read_text().splitlines()))


def test_a_run_that_is_killed_and_started_again_equals_one_that_was_not(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", epochs=4)
    run(tmp_path / "killed", epochs=4, kill_in=3)
    again = run(tmp_path / "killed", epochs=4)
    for a, b in ((whole.network, again.network), (whole.critic, again.critic)):
        assert a is not None
        assert b is not None
        for name, value in a.state_dict().items():
            assert torch.equal(value, b.state_dict()[name]), name
    first, second = rows(tmp_path / "whole"), rows(tmp_path / "killed")
    assert [{**row, "seconds": ""} for row in first] == [{**row, "seconds": ""} for row in second]


def test_a_finished_run_can_go_on_for_longer(tmp_path: Path) -> None:
    run(tmp_path, epochs=1)
    run(tmp_path, epochs=3)
    assert [row["epoch"] for row in rows(tmp_path)] == ["1", "2", "3"]


def test_a_finished_run_says_that_it_is_and_trains_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path, epochs=1)
    before = (tmp_path / "last.pt").read_bytes()
    with caplog.at_level(logging.INFO, "segadv_monai"):
        trainer = run(tmp_path, epochs=1)
    assert trainer.state.iteration == 3
    assert (tmp_path / "last.pt").read_bytes() == before
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
    modes = {(tmp_path / name).stat().st_mode for name in ("model.pt", "model.safetensors", "last.pt")}
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
    run(tmp_path, epochs=1)
    before = (tmp_path / "last.pt").read_bytes()
    with pytest.raises(CheckpointError, match=r"last\.pt is of another network: 0\.weight is \(2, 1, 3, 3\)"):
        run(tmp_path, epochs=2, width=3)
    assert (tmp_path / "last.pt").read_bytes() == before


def test_a_checkpoint_of_another_data_set_is_refused(tmp_path: Path) -> None:
    run(tmp_path, epochs=1, dataset_dir="lesions")
    with pytest.raises(CheckpointError, match="dataset_dir lesions, this one has moles"):
        run(tmp_path, epochs=2, dataset_dir="moles")


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    run(tmp_path, epochs=1)
    whole = (tmp_path / "last.pt").read_bytes()
    (tmp_path / "last.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"last\.pt is damaged"):
        run(tmp_path, epochs=2)


def test_a_run_without_critic_does_not_take_over_one_with(tmp_path: Path) -> None:
    trainer = run(tmp_path, epochs=1)
    trainer.critic = None
    with pytest.raises(CheckpointError, match="with a critic, this is without one"):
        trainer.run()


def test_loading_a_model_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    load = LoadModel(nn.Linear(1, 1), tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="train one, or set --ckpt_dir"):
        load(None)  # type: ignore[arg-type]


def test_a_run_that_diverges_ends_and_saves_nothing_of_it(tmp_path: Path) -> None:
    with pytest.raises(DivergenceError, match=r"segmentor/supervised.* nan in epoch 1"):
        run(tmp_path, epochs=3, factor=float("nan"))
    assert not (tmp_path / "last.pt").exists()
    assert not (tmp_path / "model.pt").exists()
