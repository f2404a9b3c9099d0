"""Data sources, one a file: each reads a disk layout into the sample table of ``lightning_vision``."""

from datamodules.digits import Digits
from datamodules.image_folder import ImageFolder

__all__ = ["Digits", "ImageFolder"]
