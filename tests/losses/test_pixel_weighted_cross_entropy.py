"""Weighted cross entropy of the U-Net: by hand, as torch has it, and what counts nowhere."""

from math import log

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from segadv_monai.losses import PixelWeightedCrossEntropy
from segadv_monai.protocols import DataError


def maps(classes: Tensor, count: int) -> Tensor:
    """Class ``count`` is ignored."""
    return one_hot(classes, count + 1)[..., :count].movedim(-1, 1).double()


def test_by_hand_on_two_by_two() -> None:
    """The true class has 3/4, 1/4 and 1/4 with weights 2, 3 and 5; the fourth position is ignored."""
    logits = torch.stack([torch.full((2, 2), log(3)), torch.zeros(2, 2)])[None].double()
    target = maps(torch.tensor([[[0, 1], [1, 2]]]), 2)
    weight = torch.tensor([[[[2.0, 3], [5, 7]]]], dtype=torch.float64)
    total = -(2 * log(3 / 4) + (3 + 5) * log(1 / 4))
    assert PixelWeightedCrossEntropy()(logits, target, weight).item() == pytest.approx(total / 3)
    assert PixelWeightedCrossEntropy("sum")(logits, target, weight).item() == pytest.approx(total)


@pytest.mark.parametrize("classes", [2, 5])
def test_at_logits_of_zero_it_is_the_mean_weight_times_the_log_of_the_classes(classes: int) -> None:
    torch.manual_seed(0)
    target = maps(torch.randint(0, classes, (2, 4, 5)), classes)
    weight = 10 * torch.rand(2, 1, 4, 5, dtype=torch.float64)
    loss = PixelWeightedCrossEntropy()(torch.zeros_like(target), target, weight)
    assert loss.item() == pytest.approx(weight.mean().item() * log(classes))


@pytest.mark.parametrize("size", [(5, 6), (3, 4, 5)], ids=["2D", "3D"])
def test_without_weights_it_is_torch_s_loss(size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 4, *size, dtype=torch.float64)
    classes = torch.randint(0, 5, (2, *size))
    expected = cross_entropy(logits, classes, ignore_index=4)
    loss = PixelWeightedCrossEntropy()
    torch.testing.assert_close(loss(logits, maps(classes, 4)), expected)
    ones = torch.ones(2, 1, *size, dtype=torch.float64)
    torch.testing.assert_close(loss(logits, maps(classes, 4), ones), expected)


def test_gradients_are_right_scale_with_the_weight_and_vanish_where_a_position_is_ignored() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    classes = torch.tensor([[[0, 1, 2], [3, 0, 1]], [[2, 3, 0], [1, 2, 0]]])
    target = maps(classes, 3)
    weight = torch.rand(2, 1, 2, 3, dtype=torch.float64) + 0.5
    loss = PixelWeightedCrossEntropy()
    assert torch.autograd.gradcheck(lambda x: loss(x, target, weight), logits)
    (gradient,) = torch.autograd.grad(loss(logits, target, weight), logits)
    (plain,) = torch.autograd.grad(loss(logits, target), logits)
    torch.testing.assert_close(gradient, plain * weight)
    assert torch.equal(gradient.abs().sum(1) > 0, classes < 3)


def test_what_does_not_fit_and_what_teaches_nothing_are_one_line() -> None:
    loss = PixelWeightedCrossEntropy()
    with pytest.raises(DataError, match="all positions of a batch of 2 are ignored"):
        loss(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4))
    with pytest.raises(ValueError, match="one map for each of at least 2 classes, got"):
        loss(torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4))
    with pytest.raises(ValueError, match=r"one map on their grid, got .*: crop it with the target"):
        loss(torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 4, 4), torch.ones(1, 1, 5, 5))
    with pytest.raises(ValueError, match="reduction must be mean or sum, got none"):
        PixelWeightedCrossEntropy("none")  # type: ignore[arg-type]
