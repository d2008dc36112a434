"""The game of Luc et al. (NIPS workshop on adversarial training 2016, arXiv 1611.08408).

As in the paper: the segmentor's term is the practical one by default, which replaces the minimax term for
its stronger gradient. The multi-class cross entropy beside it is the trainer's ``loss_function``. What the
paper calls *basic* and *product* is an argument of the critic; *scaling* needs the prediction and is here.
Where a label map ignores positions, the critic sees no class there, neither of the target nor of the
prediction.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from segadv_monai.layers import predicted_maps, score_of
from segadv_monai.protocols import Play

__all__ = ["Luc"]

_FORMS = ("practical", "minimax")


class Luc:
    """Binary cross entropy of the critic's verdicts on the true and the predicted label maps.

    Args:
        weight: factor of the segmentor's term, the paper's lambda; a handler may change it.
        form: ``practical``, the segmentor wants its maps called real, or ``minimax``, it wants them not
            called fake, with a gradient that vanishes where the critic is sure.
        scaling: the paper's tau, 0.9 there: the maps shown as real follow the prediction, with the true class
            at tau at least, so that values of 0 and 1 do not give them away. It takes classes that exclude
            one another. By default the target is shown as it is.
        activation: turns logits into probabilities; by default the softmax of several maps, and of one map
            the sigmoid, its softmax against the rest. Give ``torch.nn.Sigmoid()`` for maps that overlap. With
            a softmax, a position whose target has no class is ignored: its predicted maps are shown as 0,
            too, and the segmentor gets no gradient there.

    Raises:
        ValueError: ``form`` is unknown; ``scaling`` is out of its range; the critic has no score; a batch of
            the critic's turn has no target.
    """

    def __init__(
        self,
        weight: float = 1.0,
        *,
        form: str = "practical",
        scaling: float | None = None,
        activation: nn.Module | None = None,
    ) -> None:
        if form not in _FORMS:
            raise ValueError(f"form must be one of {', '.join(_FORMS)}, got {form}.")
        if scaling is not None and not 0.5 < scaling < 1:
            raise ValueError(f"scaling must be greater than 0.5 and less than 1, got {scaling}.")
        self.weight = weight
        self.form = form
        self.scaling = scaling
        self.activation = activation

    def critic_loss(self, critic: nn.Module, play: Play) -> dict[str, Tensor]:
        """Terms ``real`` and ``fake``; no gradient reaches the segmentor."""
        if play.target is None:
            raise ValueError(
                "the critic of Luc learns from labels and this batch has none: give every batch a target."
            )
        fake = self._predicted(play.logits.detach(), play.target)
        real = play.target if self.scaling is None else _scaled_labels(play.target, fake, self.scaling)
        return {
            "real": _cross_entropy(critic, real, play.image, label=1),
            "fake": _cross_entropy(critic, fake, play.image, label=0),
        }

    def segmentor_loss(self, critic: nn.Module, play: Play) -> dict[str, Tensor]:
        """The term ``adversarial``, which takes of a target only what it ignores."""
        fake = self._predicted(play.logits, play.target)
        if self.form == "practical":
            return {"adversarial": self.weight * _cross_entropy(critic, fake, play.image, label=1)}
        return {"adversarial": -self.weight * _cross_entropy(critic, fake, play.image, label=0)}

    def _predicted(self, logits: Tensor, target: Tensor | None) -> Tensor:
        """Probabilities as the critic sees them."""
        usual = nn.Sigmoid() if logits.shape[1] == 1 else nn.Softmax(dim=1)
        return predicted_maps(
            logits, target, activation=usual if self.activation is None else self.activation
        )


def _scaled_labels(target: Tensor, probabilities: Tensor, tau: float) -> Tensor:
    """True class: its probability, at least ``tau``; the others share the rest in proportion to theirs.

    One map is a class against the rest. A position without a class stays 0.
    """
    if target.shape[1] == 1:
        both = torch.cat([target, 1 - target], 1), torch.cat([probabilities, 1 - probabilities], 1)
        return _scaled_labels(*both, tau)[:, :1]
    of_true = (target * probabilities).sum(dim=1, keepdim=True)
    # (1 - max(tau, s)) / (1 - s) of the paper, without its 0 / 0 where the prediction s is sure.
    shrunk = (1 - tau) / (1 - of_true.clamp(max=tau)) * probabilities
    has_class = target.sum(dim=1, keepdim=True)
    return has_class * torch.where(target > 0, of_true.clamp(min=tau), shrunk)


def _cross_entropy(critic: nn.Module, maps: Tensor, image: Tensor, *, label: float) -> Tensor:
    score = score_of(critic, maps, image, game="Luc", such_as="LucCritic")
    return binary_cross_entropy_with_logits(score, torch.full_like(score, label))
