"""Events of the critic's turn, the twins of MONAI's ``IterationEvents`` of the segmentor's.

Ignite tells events apart by their names, not by their class: hence the prefix.
"""

from ignite.engine import EventEnum

__all__ = ["CriticEvents"]


class CriticEvents(EventEnum):
    """Fired by an adversarial trainer in every iteration in which the critic moves.

    ``CRITIC_FORWARD_COMPLETED``: the critic has seen both segmentations. ``CRITIC_LOSS_COMPLETED``: its
    terms are summed. ``CRITIC_BACKWARD_COMPLETED``: its gradients are there. ``CRITIC_STEP_COMPLETED``: its
    optimiser has moved it.
    """

    CRITIC_FORWARD_COMPLETED = "critic_forward_completed"
    CRITIC_LOSS_COMPLETED = "critic_loss_completed"
    CRITIC_BACKWARD_COMPLETED = "critic_backward_completed"
    CRITIC_STEP_COMPLETED = "critic_step_completed"
