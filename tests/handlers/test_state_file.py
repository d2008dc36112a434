"""The file of a checkpoint: what goes in comes out, damage shows, and no moment leaves nothing."""

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from segadv_monai.handlers.state_file import read_state, write_state
from segadv_monai.protocols import CheckpointError

STATE = {
    "weights": torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "number": torch.tensor(7),
    "nothing": torch.empty(0),
    "groups": [{"lr": 0.1, "betas": (0.5, 0.999), 0: None, 1: True}],
    "text": "tensor",
    "float": 0.1 + 0.2,
}


class DeathError(BaseException):
    pass


def write(path: Path, state: dict[str, Any]) -> None:
    write_state(path, state, previous=path.with_name("previous"))


def assert_equal(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
        assert a.stride() == b.stride()
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, list | tuple):
        for one, other in zip(a, b, strict=True):
            assert_equal(one, other)
    else:
        assert a == b


def test_what_is_written_is_read_with_its_types_layouts_and_bits(tmp_path: Path) -> None:
    write(tmp_path / "state", STATE)
    assert_equal(read_state(tmp_path / "state"), STATE)


def test_tensors_that_share_their_memory_are_both_kept(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    write(tmp_path / "state", {"whole": whole, "part": whole[2:], "turned": whole.reshape(2, 3).T})
    found = read_state(tmp_path / "state")
    assert torch.equal(found["part"], whole[2:])
    assert torch.equal(found["turned"], whole.reshape(2, 3).T)


@pytest.mark.parametrize("wrong", [torch.nn.ReLU(), {1, 2}, torch.float32.itemsize.__class__, b"bytes"])
def test_what_is_neither_tensor_nor_plain_is_refused(tmp_path: Path, wrong: object) -> None:
    with pytest.raises(TypeError, match=r"a/0 is a \w+: convert it"):
        write(tmp_path / "state", {"a": [wrong]})
    assert list(tmp_path.iterdir()) == []


def test_every_flipped_byte_shows(tmp_path: Path) -> None:
    """Keeps R5."""
    path = tmp_path / "state"
    write(path, {"a": torch.arange(4.0), "b": 3})
    whole = path.read_bytes()
    for i in range(len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :])
        try:
            found = read_state(path)
        except CheckpointError:
            continue
        # Only the padding of the header can change without a change of what it says.
        assert_equal(found, {"a": torch.arange(4.0), "b": 3})
        assert whole[i : i + 1].isspace()


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_truncated_file_is_damaged(tmp_path: Path, keep: int) -> None:
    write(tmp_path / "state", STATE)
    (tmp_path / "state").write_bytes((tmp_path / "state").read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="is damaged"):
        read_state(tmp_path / "state")


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace", "pathlib.Path.write_bytes"])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("time", [1, 2])
def test_a_death_at_any_call_leaves_a_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, after: bool, time: int
) -> None:
    """Keeps R5."""
    path = tmp_path / "state"
    write(path, {"epoch": 1})
    module, _, name = call.rpartition(".")
    owner = os if module == "os" else Path
    original, calls = getattr(owner, name), []

    def die(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == time and not after:
            raise DeathError
        result = original(*arguments)
        if len(calls) == time:
            raise DeathError
        return result

    monkeypatch.setattr(owner, name, die)
    with contextlib.suppress(DeathError):
        write(path, {"epoch": 2})
    monkeypatch.undo()
    found = [read_state(file)["epoch"] for file in (path, path.with_name("previous")) if file.exists()]
    assert found in ([1], [2], [2, 1], [1, 1])


def test_a_draft_that_is_not_what_was_meant_never_takes_the_place_of_a_good_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keeps R5."""
    write(tmp_path / "state", {"epoch": 1})
    original = Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", lambda self, content: original(self, content[:-3] + b"???"))
    with pytest.raises(CheckpointError, match="is damaged"):
        write(tmp_path / "state", {"epoch": 2, "weights": torch.ones(3)})
    monkeypatch.undo()
    assert read_state(tmp_path / "state") == {"epoch": 1}
    assert not (tmp_path / "previous").exists()
