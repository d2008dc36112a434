"""The two critics of GenSeg: published number of parameters, who judges which image, at which scales."""

import pytest
import torch
from torch import nn

from segadv_monai.critics import GenSegCritic


def test_the_parameters_are_as_many_as_published() -> None:
    critic = GenSegCritic(2, 4)
    assert sum(p.numel() for p in critic.parameters()) == 16_559_238
    assert critic.num_maps == 4
    assert sum(p.numel() for p in GenSegCritic(2, 3).parameters()) == 16_553_094


def test_each_critic_judges_its_own_image() -> None:
    torch.manual_seed(0)
    critic = GenSegCritic(2, 2, width=2)
    healthy, sick = (torch.randn(1, 2, 64, 96, requires_grad=True) for _ in range(2))
    score = critic(healthy, sick).score
    assert score.shape == (1, 1, 2, 3, 4, 6)
    for which, (own, other) in enumerate(((healthy, sick), (sick, healthy))):
        seen, unseen = torch.autograd.grad(score[:, :, which].sum(), (own, other), retain_graph=True)
        assert seen.any()
        assert not unseen.any()


def test_a_verdict_of_a_coarser_scale_is_repeated_to_the_finest_grid() -> None:
    torch.manual_seed(0)
    score = GenSegCritic(2, 1, width=2)(*torch.randn(2, 1, 1, 64, 64)).score[0, 0]
    assert [len(verdicts.unique()) for verdicts in score[0]] == [16, 4, 1]
    assert torch.equal(score[1, 1, ::2, ::2], score[1, 1, 1::2, 1::2])


def test_spectral_norm_holds_all_convolutions_but_the_verdicts() -> None:
    critic = GenSegCritic(2, 2, width=2)
    held = {name.partition(".parametrizations")[0] for name, _ in critic.named_buffers()}
    layers = {name for name, layer in critic.named_modules() if isinstance(layer, nn.Conv2d)}
    assert layers - held == {name for name in layers if name.endswith("verdict")}
    assert len(held) == 2 * 3 * 4
    assert not list(GenSegCritic(2, 2, width=2, spectral=False).buffers())


def test_fewer_scales_take_smaller_images() -> None:
    score = GenSegCritic(2, 1, width=2, scales=1)(*torch.randn(2, 1, 1, 16, 16)).score
    assert score.shape == (1, 1, 2, 1, 1, 1)
    with pytest.raises(ValueError, match="pad them to at least 64 per side, or set fewer scales"):
        GenSegCritic(2, 1, width=2)(*torch.randn(2, 1, 1, 63, 64))
