import math

import pytest
import torch

from segadv_monai.layers import ScaledLogistic


def test_with_k_one_it_is_the_sigmoid() -> None:
    z = torch.linspace(-6, 6, 25)
    assert torch.equal(ScaledLogistic()(z), torch.sigmoid(z))


@pytest.mark.parametrize("k", [0.3, 0.5, 1.0, 2.0])
def test_the_slope_at_zero_is_one_over_four_k(k: float) -> None:
    z = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    ScaledLogistic(k)(z).backward()
    assert z.grad is not None
    assert z.grad.item() == pytest.approx(1 / (4 * k))


def test_a_value_by_hand() -> None:
    probability = ScaledLogistic(0.5)(torch.tensor([1.0]))
    assert probability.item() == pytest.approx(1 / (1 + math.exp(-2)), rel=1e-6)


def test_the_threshold_of_the_paper_lies_at_a_logit_below_zero() -> None:
    edge = torch.tensor([-0.1217, -0.1216])
    assert (ScaledLogistic(0.3)(edge) > 0.4).tolist() == [False, True]


def test_a_new_k_works_from_the_next_call_on() -> None:
    activation = ScaledLogistic()
    before = activation(torch.tensor([1.0]))
    activation.k = 0.3
    assert activation(torch.tensor([1.0])) > before


def test_the_gradient_is_the_derivative_for_every_k() -> None:
    torch.manual_seed(0)
    z = torch.randn(5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ScaledLogistic(0.3), z)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_type_stays_and_large_logits_stay_finite(dtype: torch.dtype) -> None:
    z = torch.tensor([-60000.0, 60000.0], dtype=dtype)
    probability = ScaledLogistic(0.3)(z)
    assert probability.dtype == dtype
    assert probability.tolist() == [0, 1]


@pytest.mark.parametrize("k", [0.0, -1.0, math.nan])
def test_a_k_that_is_not_positive_is_an_error(k: float) -> None:
    with pytest.raises(ValueError, match="greater than 0, got"):
        ScaledLogistic(k)
