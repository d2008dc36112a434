from .adversarial import AdversarialTrainer

__all__ = ["AdversarialTrainer"]
