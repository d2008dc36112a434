"""From a word to a device."""

import pytest
import torch

from segadv_monai.bundle import resolve_device
from segadv_monai.protocols import ConfigError


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: request.param)


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize(
    ("cuda", "name", "found"),
    [
        (0, "auto", "cpu"),
        (2, "auto", "cuda"),
        (0, "rank", "cpu"),
        (2, "rank", "cuda:1"),
        (2, "cuda:1", "cuda:1"),
        (2, "cpu", "cpu"),
    ],
    indirect=["cuda"],
)
def test_a_word_becomes_a_device(name: str, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert resolve_device(name) == torch.device(found)


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize(
    ("cuda", "name", "message"),
    [
        (0, "cuda", "torch finds no CUDA here: use --device cpu"),
        (2, "cuda:2", "there are 2 CUDA devices"),
        (0, "gpu", "none that torch knows"),
    ],
    indirect=["cuda"],
)
def test_a_device_that_is_not_there_is_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_device(name)
