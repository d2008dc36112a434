"""The semi-supervised game of ASDNet (Nie et al., MICCAI 2018): a critic that says where to trust oneself.

As in the released code, but for three things: the adversarial term takes the critic's logit once (there a
softmax goes through a second one); the threshold of confidence is an argument (there it is 1 less the present
Dice of a validation case); maps that overlap have a form of their own. Sample attention, the third part of
the method, weights the supervised loss: :class:`segadv_monai.losses.SampleAttentionLoss`.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from segadv_monai.layers import score_of
from segadv_monai.protocols import Play

__all__ = ["ASDNet"]


class ASDNet:
    """Cross entropy of the critic's verdict in every voxel, and self-teaching where it is confident.

    A labelled batch is a usual adversarial game. On an unlabelled one the critic rests; the segmentor is
    taught by the critic, and by its own decision in the voxels in which the critic's confidence exceeds the
    threshold (region attention). Neither decision nor confidence carries a gradient there.

    Args:
        weight: factor of the adversarial term; 0.05 in the release. A handler may change it.
        unlabelled_weight: factor of the self-taught term; 0.5 in the release. A handler may change it.
        threshold: confidence above which a voxel counts, from 0 to 1. A handler may change it.
        exclusive: whether the maps are classes that exclude one another (softmax), as in the paper, or may
            overlap (a sigmoid for each map). One map is its class against the rest either way.

    Raises:
        ValueError: ``threshold`` is out of its range; the critic has no score, or, for an unlabelled batch,
            not one for each voxel.
    """

    def __init__(
        self,
        weight: float = 0.05,
        *,
        unlabelled_weight: float = 0.5,
        threshold: float = 0.5,
        exclusive: bool = True,
    ) -> None:
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be from 0 to 1, got {threshold}.")
        self.weight = weight
        self.unlabelled_weight = unlabelled_weight
        self.threshold = threshold
        self.exclusive = exclusive

    def critic_loss(self, critic: nn.Module, play: Play) -> dict[str, Tensor]:
        """Terms ``real`` and ``fake``; none without labels, where the critic has nothing to learn."""
        if play.target is None:
            return {}
        fake = self._probabilities(play.logits.detach())
        return {
            "real": _cross_entropy(_score(critic, play.target, play.image), 1),
            "fake": _cross_entropy(_score(critic, fake, play.image), 0),
        }

    def segmentor_loss(self, critic: nn.Module, play: Play) -> dict[str, Tensor]:
        """The term ``adversarial``, and of an unlabelled batch ``self_taught``."""
        score = _score(critic, self._probabilities(play.logits), play.image)
        terms = {"adversarial": self.weight * _cross_entropy(score, 1)}
        if play.target is None:
            terms["self_taught"] = self.unlabelled_weight * self._self_taught(play.logits, score)
        return terms

    def _self_taught(self, logits: Tensor, score: Tensor) -> Tensor:
        """Mean cross entropy with the segmentor's own decision in the confident voxels; 0 without any."""
        if score.shape[2:] != logits.shape[2:]:
            raise ValueError(
                f"without labels ASDNet needs a verdict for each voxel of {tuple(logits.shape[2:])}, the "
                f"critic gives {tuple(score.shape[2:])}: use critics.ASDNetCritic."
            )
        confident = score.detach().sigmoid() > self.threshold
        # The likeliest class is the decision: its log-probability is the greatest.
        if self._has_classes(logits):
            entropy = -logits.log_softmax(dim=1).max(dim=1, keepdim=True).values
        else:
            entropy = softplus(-logits.abs()).mean(dim=1, keepdim=True)
        return (entropy * confident).sum() / confident.sum().clamp(min=1)

    def _probabilities(self, logits: Tensor) -> Tensor:
        return logits.softmax(dim=1) if self._has_classes(logits) else logits.sigmoid()

    def _has_classes(self, logits: Tensor) -> bool:
        return self.exclusive and logits.shape[1] > 1


def _score(critic: nn.Module, maps: Tensor, image: Tensor) -> Tensor:
    return score_of(critic, maps, image, game="ASDNet", such_as="ASDNetCritic")


def _cross_entropy(score: Tensor, label: float) -> Tensor:
    return binary_cross_entropy_with_logits(score, torch.full_like(score, label))
