"""Numbers of the game as functions of the epoch."""

from types import SimpleNamespace
from typing import Any

import pytest
from ignite.engine import Engine

from segadv_monai.handlers import Ramp
from segadv_monai.objectives import Luc, NonSaturating


def values(ramp: Ramp, target: object, name: str, epochs: range) -> list[float]:
    found: list[float] = []
    engine = Engine(lambda *_: None)
    ramp.attach(engine)
    for epoch in epochs:
        engine.state.epoch = epoch
        ramp(engine)
        found.append(getattr(target, name))
    return found


def test_the_weight_of_a_game_rises_from_nothing_to_what_it_was() -> None:
    game = NonSaturating(0.4)
    ramp = Ramp(game, start=2, end=6, first=0)
    assert values(ramp, game, "weight", range(1, 9)) == pytest.approx([0, 0, 0.1, 0.2, 0.3, 0.4, 0.4, 0.4])


def test_instance_noise_fades_away_and_is_exactly_none_in_the_end() -> None:
    game = NonSaturating(noise=0.1)
    found = values(Ramp(game, "noise", start=1, end=3, last=0), game, "noise", range(1, 5))
    assert found == [0.1, pytest.approx(0.05), 0, 0]


def test_an_epoch_has_its_value_whether_or_not_others_came_before() -> None:
    first, second = Luc(3.0), Luc(3.0)
    early = values(Ramp(first, start=0, end=7, first=0), first, "weight", range(1, 6))
    late = values(Ramp(second, start=0, end=7, first=0), second, "weight", range(5, 6))
    assert early[-1] == late[0]


def test_an_end_right_behind_the_start_is_a_step() -> None:
    target = SimpleNamespace(weight=2)
    assert values(Ramp(target, start=1, end=2, last=5), target, "weight", range(1, 4)) == [2, 5, 5]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"attribute": "stress"}, "Luc has no number stress"),
        ({"attribute": "form"}, "Luc has no number form"),
        ({"start": 3, "end": 3}, "less than end, got 3 and 3"),
        ({"start": -1}, "at least 0"),
        ({"first": None}, "weight would stay at 1.0"),
    ],
)
def test_what_makes_no_ramp_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Ramp(Luc(), **{"start": 1, "end": 2, "first": 0, **wrong})
