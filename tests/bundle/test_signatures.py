"""What targets accept, and where a misspelt one leads."""

from typing import Any

import pytest

from segadv_monai.bundle.signatures import accepted, locate


class Closed:
    def __init__(self, a: int, *, b: int = 2) -> None: ...


class PassesOn(Closed):
    def __init__(self, c: int = 1, **rest: Any) -> None:
        rest.setdefault("d", c)
        super().__init__(**{key: value for key, value in rest.items() if key != "d"})


class Spreads(Closed):
    def __init__(self, c: int = 1, **rest: Any) -> None:
        self.only = rest.pop("only", c)
        super().__init__(**rest)


class Keeps(Closed):
    def __init__(self, **rest: Any) -> None:
        super().__init__(1)
        self.rest = rest


def by_position(a: int, /, b: int) -> None: ...


def test_open_arguments_are_known_where_they_only_go_to_the_parent() -> None:
    closed, spreads = accepted(Closed), accepted(Spreads)
    assert closed is not None
    assert spreads is not None
    assert (closed.names, closed.required, closed.is_open) == (frozenset("ab"), ("a",), False)
    assert not spreads.is_open
    assert spreads.names >= {"a", "b", "c", "only"}


@pytest.mark.parametrize("cls", [PassesOn, Keeps, dict])
def test_open_arguments_that_go_elsewhere_are_anything(cls: type) -> None:
    takes = accepted(cls)
    assert takes is None or takes.is_open


def test_what_can_be_given_by_position_only_is_out_of_reach() -> None:
    takes = accepted(by_position)
    assert takes is not None
    assert (takes.unreachable, takes.required) == (("a",), ("b",))


@pytest.mark.parametrize(
    ("target", "remedy"),
    [
        ("segadv_monai.losses.MultiScaleL1Los", "did you mean segadv_monai.losses.MultiScaleL1Loss?"),
        ("segadv_monay.losses.MultiScaleL1Los", "did you mean segadv_monai.losses.MultiScaleL1Loss?"),
        ("monai.transform.Resized", "did you mean monai.transforms.Resized?"),
        ("torch.optim.Zzzzzz", "look into torch.optim."),
        ("entirely.elsewhere", "look for where elsewhere is."),
    ],
)
def test_a_target_that_is_not_there_leads_to_one_that_is(target: str, remedy: str) -> None:
    assert locate(target) == (None, f"there is no {target}", remedy)


def test_a_name_alone_is_one_of_monais() -> None:
    assert locate("LoadImaged")[0] is locate("monai.transforms.LoadImaged")[0] is not None
