"""Recipes: training techniques for any gradient strategy, one per file. See docs/recipes.md."""

from lightning_vision.explanation.panel import ExplainPanel
from lightning_vision.recipes.cam_blur import CamBlur
from lightning_vision.recipes.error_replay import ErrorReplay
from lightning_vision.recipes.finders import BatchSizeFinder, LearningRateFinder
from lightning_vision.recipes.fixres import FixRes
from lightning_vision.recipes.gradual_unfreezing import GradualUnfreezing
from lightning_vision.recipes.layer_decay import LayerDecay
from lightning_vision.recipes.moving_average import MovingAverage
from lightning_vision.recipes.progressive_resizing import ProgressiveResizing
from lightning_vision.recipes.test_time_augmentation import TestTimeAugmentation
from lightning_vision.recipes.warmup_cosine import WarmupCosine

__all__ = [
    "BatchSizeFinder",
    "CamBlur",
    "ErrorReplay",
    "ExplainPanel",
    "FixRes",
    "GradualUnfreezing",
    "LayerDecay",
    "LearningRateFinder",
    "MovingAverage",
    "ProgressiveResizing",
    "TestTimeAugmentation",
    "WarmupCosine",
]
