"""The game of SegAN (Xue et al., ISBI 2018, equation 1): one multi-scale feature loss, two signs.

As in the paper: the segmentor learns through the critic alone. Give the trainer a Dice loss as
``loss_function`` for the game of the released code.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from segadv_monai.layers import ScaledLogistic
from segadv_monai.losses import MultiScaleL1Loss
from segadv_monai.protocols import Play

__all__ = ["SegAN"]


class SegAN:
    """The critic maximises, the segmentor minimises the distance between features of truth and prediction.

    Args:
        loss: distance ``(features, reference) -> scalar``; the paper's by default.
        activation: turns logits into probabilities; :class:`ScaledLogistic` with k = 1 by default. Hand the
            same object to the schedule that sharpens it.
        weight: factor of the adversarial terms of the segmentor.

    Raises:
        ValueError: a batch has no target (SegAN has no use for unlabelled cases).
    """

    def __init__(
        self, loss: nn.Module | None = None, activation: nn.Module | None = None, *, weight: float = 1.0
    ) -> None:
        self.loss = MultiScaleL1Loss() if loss is None else loss
        self.activation = ScaledLogistic() if activation is None else activation
        self.weight = weight

    def value(self, critic: nn.Module, play: Play) -> dict[str, Tensor]:
        """The feature distance, of which both players can have their gradients at once."""
        predicted = critic(self.activation(play.logits), play.image).features
        reference = critic(_target(play), play.image).features
        return {"feature_distance": self.loss(predicted, reference)}

    def critic_loss(self, critic: nn.Module, play: Play) -> dict[str, Tensor]:
        """The negative feature distance; no gradient reaches the segmentor."""
        value = self.value(critic, replace(play, logits=play.logits.detach()))
        return {name: -term for name, term in value.items()}

    def segmentor_loss(self, critic: nn.Module, play: Play) -> dict[str, Tensor]:
        """The feature distance; the truth's features carry no graph."""
        target = _target(play)
        with torch.no_grad():
            reference = critic(target, play.image).features
        predicted = critic(self.activation(play.logits), play.image).features
        return {"feature_distance": self.weight * self.loss(predicted, reference)}


def _target(play: Play) -> Tensor:
    if play.target is None:
        raise ValueError("SegAN needs a target for every case: leave unlabelled cases out of the data set.")
    return play.target
