"""Cases that are segmented badly count more: by hand, by finite differences, and with nothing to find."""

import pytest
import torch
from monai.losses import DiceLoss
from torch import Tensor

from segadv_monai.losses import SampleAttentionLoss

# Two cases of four pixels: two of three found and one too many (Dice 2/3), and all of them (Dice 1).
TARGET = torch.tensor([[1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]]).reshape(2, 1, 2, 2)
LOGITS = torch.tensor([[2.0, 2.0, -2.0, 2.0], [2.0, -2.0, -2.0, -2.0]]).reshape(2, 1, 2, 2)


def first_logit(logits: Tensor, _target: Tensor) -> Tensor:
    return logits.flatten()[0]


@pytest.mark.parametrize(("exponent", "value"), [(0, 2), (1, 1 / 3), (2, 1 / 9)])
def test_the_weight_by_hand(exponent: float, value: float) -> None:
    """A loss of 2 for each case: half of 2 (1/3)^e, and half of 2 (0)^e."""
    assert SampleAttentionLoss(first_logit, exponent=exponent)(LOGITS, TARGET).item() == pytest.approx(value)


def test_the_exponent_zero_is_the_mean_of_the_losses() -> None:
    loss = DiceLoss(sigmoid=True)
    expected = (loss(LOGITS[:1], TARGET[:1]) + loss(LOGITS[1:], TARGET[1:])) / 2
    torch.testing.assert_close(SampleAttentionLoss(loss, exponent=0)(LOGITS, TARGET), expected)


def test_classes_are_decided_by_the_greatest_logit() -> None:
    """Both logits are negative: as classes the first is chosen, as maps none is, and one is missed."""
    logits = torch.tensor([-1.0, -2.0]).reshape(1, 2, 1, 1)
    target = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1)
    loss = SampleAttentionLoss(lambda _, __: torch.tensor(1.0), exponent=1, exclusive=True)
    assert loss(logits, target).item() == 0
    loss = SampleAttentionLoss(lambda _, __: torch.tensor(1.0), exponent=1)
    assert loss(logits, target).item() == pytest.approx(0.5)  # the second is empty in both


def test_the_gradient_is_that_of_the_loss_times_a_constant() -> None:
    torch.manual_seed(0)
    loss = SampleAttentionLoss(DiceLoss(sigmoid=True), exponent=2)
    target = (torch.rand(2, 2, 3, 4) > 0.5).double()
    # Far from 0, where a decision would change.
    logits = torch.randn(2, 2, 3, 4, dtype=torch.float64)
    logits = (logits + logits.sign() / 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(z, target), logits)


def test_an_empty_reference_is_a_case_like_any_other() -> None:
    loss = SampleAttentionLoss(first_logit)
    empty = torch.zeros(1, 1, 2, 2)
    assert loss(LOGITS[:1].abs(), empty).item() == 2
    assert loss(-LOGITS[:1].abs(), empty).item() == 0


def test_a_negative_exponent_is_one_line() -> None:
    with pytest.raises(ValueError, match=r"exponent must be at least 0, got -1\."):
        SampleAttentionLoss(first_logit, exponent=-1)
