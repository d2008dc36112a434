"""What a critic is shown of a prediction where the label has no class."""

import pytest
import torch
from torch import Tensor, nn

from segadv_monai.layers import predicted_maps


def target() -> Tensor:
    """Three classes in five positions, the last of which has none."""
    return torch.cat([torch.eye(3), torch.zeros(3, 2)], dim=1)[:, [0, 1, 2, 1, 4]].reshape(1, 3, 5, 1)


@pytest.mark.parametrize("activation", [nn.Softmax(dim=1), nn.Softmax2d()])
def test_classes_that_exclude_one_another_vanish_where_the_target_has_none(activation: nn.Module) -> None:
    logits = torch.randn(1, 3, 5, 1, requires_grad=True)
    maps = predicted_maps(logits, target(), activation=activation)
    torch.testing.assert_close(maps.sum(1).flatten(), torch.tensor([1.0, 1, 1, 1, 0]))
    torch.testing.assert_close(maps[:, :, :4], logits.softmax(1)[:, :, :4])
    maps[:, 0].sum().backward()
    assert logits.grad is not None
    assert logits.grad.any(dim=1).flatten().tolist() == [True] * 4 + [False]


def test_maps_that_overlap_one_map_and_what_has_no_target_are_shown_as_they_are() -> None:
    logits = torch.randn(1, 3, 5, 1)
    softmax, sigmoid = nn.Softmax(dim=1), nn.Sigmoid()
    assert torch.equal(predicted_maps(logits, target(), activation=sigmoid), logits.sigmoid())
    assert torch.equal(predicted_maps(logits, None, activation=softmax), logits.softmax(1))
    one = predicted_maps(logits[:, :1], torch.zeros(1, 1, 5, 1), activation=softmax)
    assert torch.equal(one, torch.ones(1, 1, 5, 1))
