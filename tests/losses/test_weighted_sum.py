"""Sums of losses, each with its weight."""

import pytest
import torch
from monai.losses import DiceLoss, FocalLoss, TverskyLoss
from torch import Tensor

from segadv_monai.losses import PixelWeightedCrossEntropy, WeightedSum

LOGITS = torch.tensor([0.0, 2.0, -1.0, 0.5], dtype=torch.float64).reshape(1, 1, 2, 2)
TARGET = torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=torch.float64).reshape(1, 1, 2, 2)


def first(logits: Tensor, _: Tensor) -> Tensor:
    return logits.flatten()[1]


def total(logits: Tensor, target: Tensor) -> Tensor:
    return (logits * target).sum()


def test_the_sum_by_hand() -> None:
    """3 times 2, and once 2.5."""
    assert WeightedSum({"first": first, "total": total}, {"first": 3})(LOGITS, TARGET).item() == 8.5


def test_a_weight_of_zero_takes_the_gradient_away_too() -> None:
    logits = LOGITS.clone().requires_grad_()
    WeightedSum({"first": first, "total": total}, {"first": 0})(logits, TARGET).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert torch.equal(logits.grad, TARGET)


def test_the_gradient_of_a_sum_agrees_with_finite_differences() -> None:
    losses = {"dice": DiceLoss(sigmoid=True), "tversky": TverskyLoss(sigmoid=True, alpha=0.3)}
    loss = WeightedSum(losses, {"dice": 0.3, "tversky": 2.0})
    assert torch.autograd.gradcheck(lambda x: loss(x, TARGET), (LOGITS.clone().requires_grad_(),))


def test_weights_of_positions_go_to_losses_that_take_them() -> None:
    logits, target = torch.zeros(1, 2, 1, 2), torch.tensor([[1.0, 0.0], [0.0, 1.0]]).reshape(1, 2, 1, 2)
    loss = WeightedSum({"cross_entropy": PixelWeightedCrossEntropy()}, {"cross_entropy": 2.0})
    weight = torch.tensor([1.0, 3.0]).reshape(1, 1, 1, 2)
    assert loss(logits, target, weight).item() == pytest.approx(2 * 2 * torch.tensor(2.0).log().item())


def test_an_empty_mask_has_a_finite_loss() -> None:
    loss = WeightedSum({"dice": DiceLoss(sigmoid=True), "focal": FocalLoss()})
    assert loss(LOGITS, torch.zeros_like(TARGET)).isfinite()


def test_weights_without_a_loss_are_refused() -> None:
    with pytest.raises(ValueError, match="got weights of dyce and losses dice"):
        WeightedSum({"dice": first}, {"dyce": 1.0})
    with pytest.raises(ValueError, match="losses none"):
        WeightedSum({})
    with pytest.raises(ValueError, match="at least 0"):
        WeightedSum({"dice": first}, {"dice": -1.0})
