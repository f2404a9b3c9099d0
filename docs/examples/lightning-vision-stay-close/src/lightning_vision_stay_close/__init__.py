"""A learning strategy for lightning_vision."""

from lightning_vision_stay_close.stay_close import StayClose

__all__ = ["StayClose"]
