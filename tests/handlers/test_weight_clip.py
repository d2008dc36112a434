"""Clipping of the critic's weights."""

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from segadv_monai.handlers import CriticEvents, WeightClip


def test_after_a_critic_step_parameters_are_in_the_box_and_buffers_untouched() -> None:
    critic = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    buffers = {name: torch.full_like(b, 7) for name, b in critic.named_buffers()}
    critic.load_state_dict({**{n: torch.full_like(p, -2) for n, p in critic.named_parameters()}, **buffers})
    engine = Engine(lambda e, _: e.fire_event(CriticEvents.CRITIC_STEP_COMPLETED))
    engine.register_events(*CriticEvents)
    engine.critic = critic
    WeightClip(0.05).attach(engine)
    engine.run([0], max_epochs=1)
    assert all((p == -0.05).all() for p in critic.parameters())
    assert all((b == 7).all() for b in critic.buffers())


def test_a_bound_that_would_freeze_the_critic_is_refused() -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        WeightClip(0)
