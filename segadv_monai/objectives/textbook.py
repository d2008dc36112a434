"""The textbook games over a critic's score, for any segmentor and any critic that has one.

Minimax and non-saturating: Goodfellow et al., NIPS 2014; least squares: Mao et al., ICCV 2017; hinge: Lim and
Ye, 2017, arXiv 1705.02894; Wasserstein: Arjovsky et al., ICML 2017, with gradient penalty Gulrajani et al.,
NIPS 2017. The stabilisers go with each: R1 is Mescheder et al., ICML 2018, one-sided label smoothing Salimans
et al., NIPS 2016, instance noise Sønderby et al., ICLR 2017.
The retina GAN (Son et al., 2017, arXiv 1706.09318) is :class:`NonSaturating` with weight 0.1, a
cross entropy as the trainer's ``loss_function`` and a :class:`segadv_monai.critics.PatchCritic`.

As in the papers, with the image as a condition: penalties are on the slope with respect to the segmentation,
as the image is the same on both sides. A case's score is the mean of its verdicts. All is computed on logits,
in float32 at least. Where a label ignores positions, the critic sees no class there.
"""

from abc import ABC, abstractmethod
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from segadv_monai.layers import predicted_maps, score_of
from segadv_monai.protocols import Play

__all__ = ["Hinge", "LeastSquares", "Minimax", "NonSaturating", "Wasserstein"]


class _ScoreGame(ABC):
    """Both turns, given what a real score, a fake one, and a fake one to its maker cost."""

    boundary: float | None = 0.0  # the score between fake and real, for those who watch the game

    def __init__(
        self,
        weight: float = 1.0,
        *,
        activation: nn.Module | None = None,
        noise: float = 0.0,
        gradient_penalty: float = 0.0,
        r1: float = 0.0,
    ) -> None:
        for name, value in {"noise": noise, "gradient_penalty": gradient_penalty, "r1": r1}.items():
            if not value >= 0:
                raise ValueError(f"{name} must be at least 0, got {value}.")
        self.weight = weight
        self.activation = nn.Sigmoid() if activation is None else activation
        self.noise = noise
        self.gradient_penalty = gradient_penalty
        self.r1 = r1

    @abstractmethod
    def _real(self, score: Tensor) -> Tensor: ...

    @abstractmethod
    def _fake(self, score: Tensor) -> Tensor: ...

    @abstractmethod
    def _fooled(self, score: Tensor) -> Tensor: ...

    def critic_loss(self, critic: nn.Module, play: Play) -> dict[str, Tensor]:
        """Terms ``real`` and ``fake``, and the penalties that are asked for."""
        return self._critic_terms(critic, replace(play, logits=play.logits.detach()))

    def segmentor_loss(self, critic: nn.Module, play: Play) -> dict[str, Tensor]:
        """The term ``adversarial``, which takes of a target only what it ignores."""
        cost = self._fooled(self._score(critic, self._fake_maps(play), play.image)).mean()
        return {"adversarial": self.weight * cost}

    def _critic_terms(self, critic: nn.Module, play: Play) -> dict[str, Tensor]:
        """What the critic minimises; of these ``fake`` alone has the graph of the logits."""
        if play.target is None:
            raise ValueError(
                f"the critic of {type(self).__name__} learns from labels and this batch has none: give every "
                "batch a target."
            )
        real = self._shown(play.target)
        fake = self._fake_maps(play)
        terms = {
            "real": self._real(self._score(critic, real, play.image)).mean(),
            "fake": self._fake(self._score(critic, fake, play.image)).mean(),
        }
        if self.gradient_penalty:
            share = torch.rand(len(real), *[1] * (real.ndim - 1), dtype=real.dtype, device=real.device)
            slopes = self._slopes(critic, torch.lerp(fake, real, share), play.image)
            terms["gradient_penalty"] = self.gradient_penalty * (slopes - 1).square().mean()
        if self.r1:
            terms["r1"] = self.r1 / 2 * self._slopes(critic, real, play.image).square().mean()
        return terms

    def _fake_maps(self, play: Play) -> Tensor:
        return self._shown(predicted_maps(play.logits, play.target, activation=self.activation))

    def _shown(self, maps: Tensor) -> Tensor:
        return maps + self.noise * torch.randn_like(maps) if self.noise else maps

    def _score(self, critic: nn.Module, maps: Tensor, image: Tensor) -> Tensor:
        return score_of(critic, maps, image, game=type(self).__name__, such_as="PatchCritic")

    def _slopes(self, critic: nn.Module, maps: Tensor, image: Tensor) -> Tensor:
        """Length of the gradient of each case's score with respect to its maps, itself differentiable."""
        maps = maps.detach().requires_grad_()
        with torch.autocast(maps.device.type, enabled=False):
            scores = self._score(critic, maps, image).flatten(1).mean(dim=1)
        (gradients,) = torch.autograd.grad(scores.sum(), maps, create_graph=True)
        slopes: Tensor = torch.linalg.vector_norm(gradients.flatten(1), dim=1)
        return slopes


class _OneValue(_ScoreGame):
    """A game whose segmentor minimises what its critic maximises, as far as the segmentor can change it."""

    def value(self, critic: nn.Module, play: Play) -> dict[str, Tensor]:
        """The critic's terms with the other sign, of which both players can have their gradients at once.

        The segmentor has a say in ``fake`` alone. All else is a constant for it and may be there: ``real``,
        smoothed or not, and the penalties, whose places between real and fake carry no graph, as in the
        papers. The noise is drawn once for both players.
        """
        return {name: -term for name, term in self._critic_terms(critic, play).items()}


class _LabelGame(_ScoreGame):
    """A game in which the critic's score is fitted to a label, 1 for real and 0 for fake."""

    def __init__(
        self,
        weight: float = 1.0,
        *,
        activation: nn.Module | None = None,
        smoothing: float = 0.0,
        noise: float = 0.0,
        gradient_penalty: float = 0.0,
        r1: float = 0.0,
    ) -> None:
        super().__init__(weight, activation=activation, noise=noise, gradient_penalty=gradient_penalty, r1=r1)
        if not 0 <= smoothing < 0.5:
            raise ValueError(f"smoothing must be at least 0 and less than 0.5, got {smoothing}.")
        self.smoothing = smoothing


class Minimax(_LabelGame, _OneValue):
    """The critic minimises the cross entropy of its verdicts, the segmentor maximises that of the fake ones.

    The negative sum of the critic's terms is the value of the game, -log 4 where nothing can be told apart.
    Both players can move on it at once. The segmentor's gradient vanishes where the critic is sure: see
    :class:`NonSaturating`.

    Args:
        weight: factor of the segmentor's term; a handler may change it.
        activation: turns logits into probabilities; by default the sigmoid of each map, as maps may overlap.
            Give ``torch.nn.Softmax(dim=1)`` for several classes that exclude one another. A position whose
            target has none of these is ignored: its predicted maps are shown as 0, too, and the segmentor
            gets no gradient there.
        smoothing: the critic's label for real is 1 less this; fake stays 0.
        noise: deviation of the Gaussian noise on all that the critic sees, in both turns; a handler may lower
            it. It is drawn from torch's global generator.
        gradient_penalty: factor of the mean of (slope - 1)² at random places between real and fake; 10 in its
            paper. It and ``r1`` cost the critic one more pass each. They take cases one by one: give the
            critic instance norm in place of batch norm.
        r1: factor of half the mean squared slope at the real maps; 10 in its paper.

    Raises:
        ValueError: a number is out of its range; the critic has no score; a batch of the critic's turn has no
            target.
    """

    def _real(self, score: Tensor) -> Tensor:
        return _cross_entropy(score, 1 - self.smoothing)

    def _fake(self, score: Tensor) -> Tensor:
        return _cross_entropy(score, 0)

    def _fooled(self, score: Tensor) -> Tensor:
        return -_cross_entropy(score, 0)


class NonSaturating(_LabelGame):
    """The critic's game is minimax; the segmentor wants its maps called real, which keeps its gradient alive.

    Arguments and errors as :func:`Minimax`.
    """

    def _real(self, score: Tensor) -> Tensor:
        return _cross_entropy(score, 1 - self.smoothing)

    def _fake(self, score: Tensor) -> Tensor:
        return _cross_entropy(score, 0)

    def _fooled(self, score: Tensor) -> Tensor:
        return _cross_entropy(score, 1)


class LeastSquares(_LabelGame):
    """Half the squared distance of the score from 1 for real, 0 for fake; the segmentor wants 1.

    Arguments and errors as :func:`Minimax`.
    """

    boundary = 0.5

    def _real(self, score: Tensor) -> Tensor:
        return (score - 1 + self.smoothing).square() / 2

    def _fake(self, score: Tensor) -> Tensor:
        return score.square() / 2

    def _fooled(self, score: Tensor) -> Tensor:
        return (score - 1).square() / 2


class Hinge(_ScoreGame):
    """The critic wants real scores above 1 and fake ones below -1, the segmentor wants its own high.

    There are no labels to smooth; the other arguments and the errors as :func:`Minimax`.
    """

    def _real(self, score: Tensor) -> Tensor:
        return torch.relu(1 - score)

    def _fake(self, score: Tensor) -> Tensor:
        return torch.relu(1 + score)

    def _fooled(self, score: Tensor) -> Tensor:
        return -score


class Wasserstein(_OneValue):
    """The critic pulls real and fake scores apart, the segmentor wants its own high.

    The critic's slope needs a bound: ``gradient_penalty``, 10 in its paper, or the handler ``WeightClip``.
    There are no labels to smooth, and both players can move at once. The other arguments and the errors
    as :func:`Minimax`.
    """

    boundary = None  # scores have no side

    def _real(self, score: Tensor) -> Tensor:
        return -score

    def _fake(self, score: Tensor) -> Tensor:
        return score

    def _fooled(self, score: Tensor) -> Tensor:
        return -score


def _cross_entropy(score: Tensor, label: float) -> Tensor:
    return binary_cross_entropy_with_logits(score, torch.full_like(score, label), reduction="none")
