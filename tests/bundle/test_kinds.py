"""What a plain value can be: certain refusals only."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Protocol

import pytest
import torch

from segadv_monai.bundle.kinds import fits, named


class Mode(StrEnum):
    FAST = "fast"


class Speaks(Protocol):
    def speak(self) -> None: ...


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (1, int),
        (1, float),
        (0, bool),
        (2.0, float),
        ("a", str),
        ("a", str | None),
        (None, int | None),
        ([1, 2], Sequence[int]),
        ([1, 2], tuple[int, ...]),
        ([1, "@b"], Sequence[int]),
        (["a"], Sequence[str]),
        ("ab", Sequence[str]),
        ([[1], [2]], Sequence[Sequence[int]]),
        ({"a": 1}, Mapping[str, Any]),
        ("image", Hashable),
        ("@a", int),
        ("$1 + 1", int),
        ({"_target_": "torch.nn.ReLU"}, torch.nn.Module),
        ("fast", Literal["fast", "slow"]),
        ("cpu", str | torch.device),
        ("a", str | Path),
        (3, Any),
        (3, Speaks),
        (3, "a string that cannot be resolved"),
    ],
)
def test_what_fits_passes(value: object, hint: object) -> None:
    assert fits(value, hint, is_exact=True)
    assert fits(value, hint, is_exact=False)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("a", int),
        ("a", float | None),
        ("a", bool),
        (2, bool),
        (1, str),
        ([1], int),
        ({"a": 1}, float),
        ("a", Sequence[int]),
        (["a"], Sequence[int]),
        (["a"], list[float] | float),
    ],
)
def test_what_certainly_does_not_fit_is_refused_everywhere(value: object, hint: object) -> None:
    assert not fits(value, hint, is_exact=True)
    assert not fits(value, hint, is_exact=False)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (1.5, int),
        (True, int),
        (None, int),
        (1, Sequence[int]),
        ("fast", torch.nn.Module),
        ("fast", Callable[..., Any]),
        ("quick", Literal["fast", "slow"]),
        (5, Mapping[str, int]),
    ],
)
def test_what_our_own_annotations_rule_out_is_let_pass_elsewhere(value: object, hint: object) -> None:
    assert not fits(value, hint, is_exact=True)
    assert fits(value, hint, is_exact=False) or isinstance(value, float)


def test_a_kind_is_written_for_readers_of_json() -> None:
    assert named(Sequence[Sequence[int]] | None) == "list[list[int]] | null"
    assert named(torch.nn.Module) == "Module"
