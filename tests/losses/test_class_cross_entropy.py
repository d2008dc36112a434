"""Cross entropy without the positions that a label map ignores: by hand, and as torch has it."""

from math import log

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from segadv_monai.losses import ClassCrossEntropy
from segadv_monai.protocols import DataError


def one_hot(classes: Tensor, count: int) -> Tensor:
    """Class ``count`` is ignored."""
    return torch.nn.functional.one_hot(classes, count + 1)[..., :count].movedim(-1, 1).double()


def test_by_hand_on_two_by_two() -> None:
    """The true class has 3/4, 1/4 and 1/4; the fourth position is ignored."""
    logits = torch.stack([torch.full((2, 2), log(3)), torch.zeros(2, 2)])[None]
    target = one_hot(torch.tensor([[[0, 1], [1, 2]]]), 2)
    assert ClassCrossEntropy()(logits, target).item() == pytest.approx(-(log(3 / 4) + 2 * log(1 / 4)) / 3)


@pytest.mark.parametrize("size", [(5, 6), (3, 4, 5)], ids=["2D", "3D"])
def test_it_is_torch_s_loss_with_an_ignored_index(size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 4, *size, dtype=torch.float64)
    classes = torch.randint(0, 5, (2, *size))
    expected = cross_entropy(logits, classes, ignore_index=4)
    torch.testing.assert_close(ClassCrossEntropy()(logits, one_hot(classes, 4)), expected)


def test_gradients_are_right_and_zero_where_a_position_is_ignored() -> None:
    """Keeps N10."""
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    classes = torch.randint(0, 4, (2, 2, 3))
    target = one_hot(classes, 3)
    assert torch.autograd.gradcheck(lambda x: ClassCrossEntropy()(x, target), logits)
    ClassCrossEntropy()(logits, target).backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad.abs().sum(1) > 0, classes < 3)


def test_a_batch_that_is_ignored_as_a_whole_and_wrong_shapes_are_one_line() -> None:
    with pytest.raises(DataError, match="all positions of a batch of 2 are ignored"):
        ClassCrossEntropy()(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4))
    for logits, target in (((1, 3, 4), (1, 2, 4)), ((1, 1, 4), (1, 1, 4))):
        with pytest.raises(ValueError, match="one map for each of at least 2 classes, got"):
            ClassCrossEntropy()(torch.zeros(logits), torch.ones(target))
