"""The game of GenSeg (Vorontsov et al., 2019, arXiv 1904.01339): translate between sick and healthy images.

As in the paper: a hinge game with a critic of healthy images and one of sick ones, and errors of the rebuilt
images (mean absolute ones), of the healthy image that went to sick and back, and of the code. The weights are
those of one of its settings for brain tumours; the Dice term, 0.01 there, is the trainer's ``loss_function``.
That the last two errors are mean absolute ones, too, that both critics and all scales count alike, and that
the error of the code moves both codes, is our reading.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss, softplus

from segadv_monai.layers import score_of
from segadv_monai.protocols import Play

__all__ = ["GenSeg"]


class GenSeg:
    """Hinge, and absolute errors of what should come back as it was.

    It needs no labels, only to know which images are sick: these are the batch's images; the healthy ones and
    all translations come as latents from :class:`segadv_monai.networks.GenSegTranslation`.

    Args:
        weight: factor of each of the two adversarial terms; a handler may change it.
        rebuilt: factor of each of the two errors of rebuilt images.
        cycle: factor of the error of the healthy image after both translations.
        latent: factor of the error of the code.
        empty: factor of the cross entropy of the healthy images' maps, which have to be empty. It is ours;
            without it the segmentor knows sick images alone.

    Raises:
        ValueError: the network gives no translations; the critic is not one of two images.
    """

    def __init__(
        self,
        weight: float = 3.0,
        *,
        rebuilt: float = 50.0,
        cycle: float = 50.0,
        latent: float = 1.0,
        empty: float = 0.0,
    ) -> None:
        self.weight = weight
        self.rebuilt = rebuilt
        self.cycle = cycle
        self.latent = latent
        self.empty = empty

    def critic_loss(self, critic: nn.Module, play: Play) -> dict[str, Tensor]:
        """Terms ``real_healthy``, ``real_sick``, ``fake_healthy`` and ``fake_sick``."""
        found = _latents(play)
        real = _scores(critic, found["healthy"], play.image)
        fake = _scores(critic, found["sick_to_healthy"].detach(), found["healthy_to_sick"].detach())
        terms = {f"real_{name}": torch.relu(1 - score).mean() for name, score in real.items()}
        return terms | {f"fake_{name}": torch.relu(1 + score).mean() for name, score in fake.items()}

    def segmentor_loss(self, critic: nn.Module, play: Play) -> dict[str, Tensor]:
        """Terms ``adversarial`` and ``rebuilt`` of both kinds, ``cycle``, ``latent``, perhaps ``empty``."""
        found = _latents(play)
        scores = _scores(critic, found["sick_to_healthy"], found["healthy_to_sick"])
        terms = {f"adversarial_{name}": -self.weight * score.mean() for name, score in scores.items()}
        terms["rebuilt_healthy"] = self.rebuilt * _error(found["healthy_rebuilt"], found["healthy"])
        terms["rebuilt_sick"] = self.rebuilt * _error(found["sick_rebuilt"], play.image)
        terms["cycle"] = self.cycle * _error(found["cycle"], found["healthy"])
        terms["latent"] = self.latent * _error(found["code_rebuilt"], found["code"])
        if self.empty:
            terms["empty"] = self.empty * softplus(_exact(found["healthy_logits"])).mean()
        elif play.target is None:
            # A gradient of 0: a wrapper for several processes waits for one from every output.
            terms["latent"] = terms["latent"] + 0 * play.logits.sum()
        return terms


def _latents(play: Play) -> Mapping[str, Tensor]:
    if "healthy_to_sick" not in play.latents:
        raise ValueError(
            "GenSeg plays with translated images and the network gives none: wrap it in "
            "networks.GenSegTranslation and hand it the batch's healthy images."
        )
    return play.latents


def _scores(critic: nn.Module, healthy: Tensor, sick: Tensor) -> dict[str, Tensor]:
    """Of the critic of healthy images and of that of sick ones."""
    score = score_of(critic, healthy, sick, game="GenSeg", such_as="GenSegCritic")
    if score.ndim <= healthy.ndim or score.shape[2] != 2:
        raise ValueError(
            f"GenSeg needs a score (B, 1, 2, ...) for two images, got {tuple(score.shape)}: use "
            "critics.GenSegCritic."
        )
    return {"healthy": score[:, :, 0], "sick": score[:, :, 1]}


def _error(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute difference."""
    return l1_loss(_exact(x), _exact(y))


def _exact(x: Tensor) -> Tensor:
    """Out of the half types."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
