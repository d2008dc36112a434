"""What is seen of maps from one side."""

from math import exp

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segadv_monai.layers import project

PROBABILITIES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def test_a_projection_by_hand() -> None:
    maps = torch.tensor([[0.0, 1.0], [0.0, 2.0]])
    expected = [[1 - exp(0), 1 - exp(-3)], [0, 1 - exp(-1), 1 - exp(-2)]]
    assert project(maps, 0).tolist() == pytest.approx(expected[0])
    assert project(maps, 1).tolist() == pytest.approx(expected[1][1:])


@given(PROBABILITIES, st.floats(0, 1), st.randoms())
def test_it_lies_from_0_to_1_grows_with_every_value_and_knows_no_order(
    values: list[float], more: float, random: object
) -> None:
    line = torch.tensor(values, dtype=torch.double)
    seen = project(line, 0)
    assert 0 <= seen < 1
    assert project(torch.cat([line, torch.tensor([more])]), 0) >= seen
    random.shuffle(values)  # type: ignore[attr-defined]
    torch.testing.assert_close(project(torch.tensor(values, dtype=torch.double), 0), seen)


def test_it_is_near_1_where_any_value_is_large_and_0_where_all_are() -> None:
    maps = torch.zeros(3, 8, 8)
    maps[1, 2, 3] = 20
    seen = project(maps, 0)
    assert seen[2, 3] > 1 - 1e-6
    assert seen.sum() == seen[2, 3]


def test_every_position_on_a_line_gets_the_same_gradient() -> None:
    maps = torch.rand(5, 4, dtype=torch.double, requires_grad=True)
    (gradient,) = torch.autograd.grad(project(maps, 0).sum(), maps)
    torch.testing.assert_close(gradient, (-maps.sum(0)).exp().expand(5, 4))
    assert torch.autograd.gradcheck(lambda x: project(x, 0), maps)
