"""The game of the projective adversarial network (Khosravan et al., MICCAI 2019, arXiv 1906.04378).

By memory of the paper but for its abstract: one critic judges slices, another projections of the stack of
slices, and the segmentor minimises a weighted sum of both beside its supervised loss. The weights and the
form of the two games are unknown to us: each is a game of this room, given as an argument with a weight.
"""

from dataclasses import replace
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from segadv_monai.protocols import CriticOutput, Objective, Play

__all__ = ["Projective"]


class Projective:
    """Two games at once, one with each critic of a :class:`segadv_monai.critics.ProjectiveCritic`.

    Terms are those of the two games, as ``spatial_<term>`` and ``projected_<term>``. Both games see the same
    slices: the critic projects. So the second one's activation and noise belong to the maps before their
    projection, and the slopes of its penalties are taken slice by slice.

    The critic's gate sees ``play.latents["features"]``, where there are any.

    Args:
        spatial_game: with the critic of slices.
        projected_game: with the critic of projections.
        weight: factor of the segmentor's terms, beside the weight of each game; a handler may change it.

    Raises:
        ValueError: the critic has not two views; or as the two games.
    """

    def __init__(self, spatial_game: Objective, projected_game: Objective, *, weight: float = 1.0) -> None:
        self.spatial_game = spatial_game
        self.projected_game = projected_game
        self.weight = weight

    @property
    def activation(self) -> Any:
        """Of the game with the critic of slices, for those who watch the game."""
        return getattr(self.spatial_game, "activation", None)

    def critic_loss(self, critic: nn.Module, play: Play) -> dict[str, Tensor]:
        """The critic's terms of both games; no gradient reaches the segmentor."""
        latents = {name: latent.detach() for name, latent in play.latents.items()}
        return self._terms("critic_loss", critic, replace(play, latents=latents))

    def segmentor_loss(self, critic: nn.Module, play: Play) -> dict[str, Tensor]:
        """The segmentor's terms of both games."""
        terms = self._terms("segmentor_loss", critic, play)
        return {name: self.weight * term for name, term in terms.items()}

    def _terms(
        self, turn: Literal["critic_loss", "segmentor_loss"], critic: nn.Module, play: Play
    ) -> dict[str, Tensor]:
        _check(critic)
        terms: dict[str, Tensor] = {}
        for view, game in (("spatial", self.spatial_game), ("projected", self.projected_game)):
            own = getattr(game, turn)(_OneOfTwoCritics(critic, view, play), play)
            terms |= {f"{view}_{name}": term for name, term in own.items()}
        return terms


class _OneOfTwoCritics(nn.Module):
    """Asked through the module that holds both, for that is the one which may be wrapped."""

    def __init__(self, critic: nn.Module, view: str, play: Play) -> None:
        super().__init__()
        self.critic = critic
        self.view = view
        self.features = play.latents.get("features")

    def forward(self, segmentation: Tensor, image: Tensor) -> CriticOutput:
        output: CriticOutput = self.critic(segmentation, image, self.features, view=self.view)
        return output


def _check(critic: nn.Module) -> None:
    inner = critic.module if isinstance(critic, DistributedDataParallel) else critic
    if not {"spatial", "projected"} <= {name for name, _ in inner.named_children()}:
        raise ValueError(
            f"Projective needs a critic of slices and of projections, {type(inner).__name__} is none: give "
            "it critics.ProjectiveCritic."
        )
