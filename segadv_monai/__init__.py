"""Adversarial medical image segmentation as an application of MONAI."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("segadv-monai")
