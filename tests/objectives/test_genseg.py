"""The game of GenSeg: its terms by hand, what carries a gradient in them, and batches without labels."""

from collections.abc import Callable
from math import exp, log, log1p
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.engines import PrepareBatchExtraInput
from monai.losses import DiceLoss
from torch import Tensor, nn

from segadv_monai.critics import GenSegCritic, PatchCritic
from segadv_monai.networks import GenSeg as Network
from segadv_monai.networks import GenSegTranslation
from segadv_monai.objectives import GenSeg
from segadv_monai.protocols import CriticOutput, Objective, Play
from segadv_monai.trainers import AdversarialTrainer


class Line(nn.Module):
    """Scores are the values of the first image and half those of the second."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, segmentation: Tensor, image: Tensor) -> CriticOutput:
        return CriticOutput(self.factor * torch.stack([segmentation, image / 2], dim=2), ())


def row(*values: float) -> Tensor:
    return torch.tensor([[[values]]]).requires_grad_()


def by_hand() -> Play:
    latents = {
        "healthy": row(2.0, 0.5).detach(),
        "sick_to_healthy": row(-3.0, 1.0),
        "healthy_to_sick": row(2.0, 6.0),
        "healthy_rebuilt": row(1.0, 0.0),
        "sick_rebuilt": row(-2.0, 2.0),
        "cycle": row(2.5, 0.25),
        "code": row(1.0, -1.0),
        "code_rebuilt": row(0.0, 3.0),
        "healthy_logits": row(0.0, 1.0),
    }
    return Play(row(-2.0, 1.0).detach(), None, row(0.3, 0.4), latents=latents)


def plain(terms: dict[str, Tensor]) -> dict[str, float]:
    return {name: term.item() for name, term in terms.items()}


def test_it_is_a_game() -> None:
    assert isinstance(GenSeg(), Objective)


def test_the_critic_s_terms_by_hand() -> None:
    """Real scores are 2 and 1/2, -1 and 1/2; fake ones -3 and 1, 1 and 3."""
    assert plain(GenSeg().critic_loss(Line(), by_hand())) == pytest.approx(
        {
            "real_healthy": (0 + 0.5) / 2,
            "real_sick": (2 + 0.5) / 2,
            "fake_healthy": (0 + 2) / 2,
            "fake_sick": (2 + 4) / 2,
        }
    )


def test_the_segmentor_s_terms_by_hand() -> None:
    assert plain(GenSeg().segmentor_loss(Line(), by_hand())) == pytest.approx(
        {
            "adversarial_healthy": 3 * (3 - 1) / 2,
            "adversarial_sick": -3 * (1 + 3) / 2,
            "rebuilt_healthy": 50 * (1 + 0.5) / 2,
            "rebuilt_sick": 50 * (0 + 1) / 2,
            "cycle": 50 * (0.5 + 0.25) / 2,
            "latent": (1 + 4) / 2,
        }
    )


def test_every_factor_is_its_own_term_s() -> None:
    usual = plain(GenSeg().segmentor_loss(Line(), by_hand()))
    for factor, names in {
        "weight": ("adversarial_healthy", "adversarial_sick"),
        "rebuilt": ("rebuilt_healthy", "rebuilt_sick"),
        "cycle": ("cycle",),
        "latent": ("latent",),
    }.items():
        given = plain(GenSeg(**{factor: 0.0}).segmentor_loss(Line(), by_hand()))
        assert {name for name, term in given.items() if term != usual[name]} == set(names)
        assert all(given[name] == 0 for name in names)


def test_maps_of_healthy_images_have_to_be_empty_if_that_is_asked_for() -> None:
    usual, asked = (plain(GenSeg(empty=e).segmentor_loss(Line(), by_hand())) for e in (0.0, 2.0))
    assert asked == {**usual, "empty": pytest.approx(2 * (log(2) + log1p(exp(1))) / 2)}


def players() -> tuple[GenSegTranslation, GenSegCritic]:
    torch.manual_seed(0)
    network = Network(2, 1, 1, widths=(2, 3, 4), common_channels=4, unique_channels=2, style_width=3)
    return GenSegTranslation(network), GenSegCritic(2, 1, width=2, scales=1)


def playing(wrapper: nn.Module, *, labelled: bool = True) -> Play:
    torch.manual_seed(1)
    sick, healthy = torch.rand(2, 2, 1, 16, 16) * 2 - 1
    logits, latents = wrapper(sick, healthy)
    return Play(sick, (sick > 0.5).float() if labelled else None, logits, latents=latents)


def without_gradient(module: nn.Module) -> set[str]:
    return {name for name, p in module.named_parameters() if p.grad is None or not p.grad.any()}


def test_the_critic_s_turn_leaves_no_gradient_in_the_generator() -> None:
    wrapper, critic = players()
    sum(GenSeg().critic_loss(critic, playing(wrapper)).values()).backward()
    assert all(p.grad is None for p in wrapper.parameters())
    # A last bias adds as much to the real score as to the fake one, as long as none is beyond its margin.
    assert {name.partition(".")[2] for name in without_gradient(critic)} <= {"scales.0.verdict.bias"}


@pytest.mark.parametrize("labelled", [True, False])
def test_the_generator_s_turn_leaves_a_frozen_critic_alone(labelled: bool) -> None:
    wrapper, critic = players()
    critic.requires_grad_(False)
    before = {name: p.clone() for name, p in critic.named_parameters()}
    sum(GenSeg().segmentor_loss(critic, playing(wrapper, labelled=labelled)).values()).backward()
    assert all(p.grad is None and torch.equal(p, before[name]) for name, p in critic.named_parameters())
    assert {name for name in without_gradient(wrapper) if ".maps_" not in name} == set()
    # Without a label a gradient of zero, for those who wait for one in several processes.
    segmenting = [p.grad for name, p in wrapper.named_parameters() if ".maps_" in name]
    assert [gradient is None for gradient in segmenting] == [labelled] * len(segmenting)
    assert not any(gradient.any() for gradient in segmenting if gradient is not None)


def trainer(step: Callable[[Any], None]) -> AdversarialTrainer:
    """On batches of which the second has no label; the step hears of each when it is over."""
    wrapper, critic = players()
    torch.manual_seed(1)
    images = torch.rand(2, 2, 2, 1, 16, 16) * 2 - 1
    batches = [{"image": sick, "healthy": healthy} for sick, healthy in images]
    batches[0]["label"] = (batches[0]["image"] > 0.5).float()
    engine = AdversarialTrainer(
        "cpu",
        1,
        batches,
        network=wrapper,
        optimizer=torch.optim.SGD(wrapper.parameters(), 1e-3),
        loss_function=DiceLoss(sigmoid=True),
        critic=critic,
        critic_optimizer=torch.optim.SGD(critic.parameters(), 1e-3),
        objective=GenSeg(),
        prepare_batch=PrepareBatchExtraInput(extra_keys={"healthy": "healthy"}),
        decollate=False,
    )
    engine.add_event_handler(Events.ITERATION_COMPLETED, step)
    return engine


def test_a_batch_without_labels_has_no_supervised_term_and_moves_the_shared_weights() -> None:
    terms: list[set[str]] = []
    weights: list[dict[str, Tensor]] = []

    def step(engine: Any) -> None:
        terms.append(set(engine.state.losses))
        weights.append({name: p.detach().clone() for name, p in engine.network.named_parameters()})

    trainer(step).run()
    assert "segmentor/supervised" in terms[0]
    assert terms[1] == terms[0] - {"segmentor/supervised"}
    moved = {name for name in weights[0] if not torch.equal(weights[0][name], weights[1][name])}
    assert set(weights[0]) - moved == {name for name in weights[0] if ".maps_" in name}


@pytest.mark.parametrize("turn", ["critic_loss", "segmentor_loss"])
def test_a_network_without_translations_is_one_line(turn: str) -> None:
    play = Play(torch.zeros(1, 1, 2, 2), None, torch.zeros(1, 1, 2, 2))
    with pytest.raises(ValueError, match=r"wrap it in networks\.GenSegTranslation") as caught:
        getattr(GenSeg(), turn)(Line(), play)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("turn", ["critic_loss", "segmentor_loss"])
def test_a_critic_of_one_verdict_is_one_line(turn: str) -> None:
    wrapper, _ = players()
    critic = PatchCritic(2, 1, 1, scope="patch1", width=2, norm="instance")
    with pytest.raises(ValueError, match=r"for two images, got .* use critics\.GenSegCritic") as caught:
        getattr(GenSeg(), turn)(critic, playing(wrapper))
    assert "\n" not in str(caught.value)


def test_terms_of_half_precision_are_summed_in_float32() -> None:
    wrapper, critic = players()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        play = playing(wrapper)
        terms = {**GenSeg().segmentor_loss(critic, play), **GenSeg().critic_loss(critic, play)}
    assert {term.dtype for term in terms.values()} == {torch.float32}
    sum(terms.values()).backward()
