"""Trained weights from files: all or none, and pickles only when they are asked for."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from segadv_monai.handlers import LoadModel, load_weights
from segadv_monai.protocols import CheckpointError


def load(network: nn.Module, path: Path, *, allow_pt: bool = False) -> None:
    LoadModel(network, path, allow_pt=allow_pt)(None)  # type: ignore[arg-type]


def test_a_safetensors_file_is_loaded(tmp_path: Path) -> None:
    trained, network = nn.Linear(2, 1), nn.Linear(2, 1)
    save_file(trained.state_dict(), tmp_path / "model.safetensors")
    load(network, tmp_path / "model.safetensors")
    assert torch.equal(network.weight, trained.weight)


def test_a_pickle_is_refused_unless_it_is_asked_for(tmp_path: Path) -> None:
    """Keeps S3."""
    trained, network = nn.Linear(2, 1), nn.Linear(2, 1)
    torch.save(trained.state_dict(), tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"model\.pt is a pickle.*--allow_pt True"):
        load(network, tmp_path / "model.pt")
    assert not torch.equal(network.weight, trained.weight)
    load(network, tmp_path / "model.pt", allow_pt=True)
    assert torch.equal(network.weight, trained.weight)


@pytest.mark.parametrize("name", ["model.safetensors", "model.pt"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=f"{name} is damaged"):
        load(nn.Linear(1, 1), tmp_path / name, allow_pt=True)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}])
def test_a_pickle_of_something_else_is_no_model(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="no state dict of one network"):
        load(nn.Linear(1, 1), tmp_path / "model.pt", allow_pt=True)


def test_a_model_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="train one, or set --ckpt_dir"):
        load(nn.Linear(1, 1), tmp_path / "model.safetensors")


@pytest.mark.parametrize("weights", [{"weight": torch.ones(1, 2)}, {"weight": torch.ones(3, 2)}, {}])
def test_weights_of_another_network_are_not_loaded_in_part(weights: dict[str, torch.Tensor]) -> None:
    network = nn.Linear(2, 1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"is of another network: (weight|bias) is"):
        load_weights(network, weights, Path("model.safetensors"))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
