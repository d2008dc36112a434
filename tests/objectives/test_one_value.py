"""Games of one value: one backward pass of it gives both players the gradients of their own losses."""

from typing import Any

import pytest
import torch
from monai.engines.utils import IterationEvents
from monai.losses import DiceLoss
from torch import nn

from segadv_monai.critics import PatchCritic
from segadv_monai.objectives import Hinge, Minimax, Wasserstein
from segadv_monai.protocols import Play
from segadv_monai.trainers import AdversarialTrainer, Simultaneous

SEED = 3


def players() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    segmentor = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Tanh(), nn.Conv2d(3, 2, 3, padding=1))
    critic = PatchCritic(2, 1, 2, scope="patch1", width=2, norm="instance")
    return segmentor.double(), critic.double()


def batch() -> dict[str, torch.Tensor]:
    image = torch.rand(2, 1, 20, 20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    label = torch.cat([image > 0.5, image < 0.4], dim=1).double()  # some positions have no class
    return {"image": image, "label": label}


def trainer(game: Any) -> AdversarialTrainer:
    segmentor, critic = players()
    return AdversarialTrainer(
        "cpu",
        1,
        [batch()],
        network=segmentor,
        optimizer=torch.optim.SGD(segmentor.parameters(), lr=0.0),
        loss_function=DiceLoss(softmax=True),
        critic=critic,
        critic_optimizer=torch.optim.SGD(critic.parameters(), lr=0.0),
        objective=game,
        schedule=Simultaneous(),
        decollate=False,
    )


SOFTMAX = {"weight": 0.7, "activation": nn.Softmax(dim=1)}


@pytest.mark.parametrize(
    "game",
    [
        Minimax(**SOFTMAX),
        Minimax(0.7, smoothing=0.1, r1=2.0),
        Minimax(**SOFTMAX, gradient_penalty=10.0),
        Wasserstein(**SOFTMAX),
        Wasserstein(0.7, gradient_penalty=10.0),
        Wasserstein(**SOFTMAX, gradient_penalty=10.0, r1=2.0),
    ],
    ids=["minimax", "smoothed and r1", "penalty", "wasserstein", "its penalty", "both penalties"],
)
def test_one_backward_pass_gives_both_players_the_gradients_of_two(game: Any) -> None:
    segmentor, critic = players()
    image, label = batch().values()
    torch.manual_seed(SEED)
    judged = game.critic_loss(critic, Play(image, label, segmentor(image)))
    sum(judged.values()).backward()
    of_critic = [p.grad.clone() for p in critic.parameters()]
    second = Play(image, label, segmentor(image))
    adversarial = game.segmentor_loss(critic, second)["adversarial"]
    (DiceLoss(softmax=True)(second.logits, label) + adversarial).backward()
    of_segmentor = [p.grad.clone() for p in segmentor.parameters()]

    found = trainer(game)
    found.add_event_handler(IterationEvents.FORWARD_COMPLETED, lambda: torch.manual_seed(SEED))
    found.run()
    for module, expected in ((found.network, of_segmentor), (found.critic, of_critic)):
        assert module is not None
        for parameter, gradient in zip(module.parameters(), expected, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-6, atol=1e-12)
    losses = found.state.losses
    assert {name: losses[f"critic/{name}"] for name in judged} == pytest.approx(
        {name: term.item() for name, term in judged.items()}
    )
    # What the segmentor minimises differs from its own loss by what is a constant for it.
    assert losses["segmentor/fake"] == pytest.approx(adversarial.item())


def test_a_game_of_two_values_is_refused() -> None:
    with pytest.raises(ValueError, match="Hinge is no game of one value"):
        trainer(Hinge()).run()
