"""The options of ``explain``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class MapOptions:
    """Options of the maps; see ``class_maps``."""

    method: str = "GradCAM"
    layer: str | None = None
    batch_size: int = 32
    seed: int = 0


@dataclass
class ExplainOptions:
    """Options of the galleries and figures.

    Args:
        method: Method of the maps: GradCAM, GradCAMpp, XGradCAM, LayerCAM, SmoothGradCAMpp, FinerCAM, CAM, or the slower
            ScoreCAM, SSCAM, ISCAM.
        layer: Name of the backbone's target layer. Default: the last layer with spatial positions.
        split: The images: test, val or train.
        errors: Number of most confident errors shown.
        per_class: Number of errors shown per true class, for the 40 classes with the most errors.
        pairs: Number of confused pairs of classes shown, the most frequent first.
        per_pair: Number of errors shown per pair.
        correct: Number of correctly classified images shown.
        before_after: Number of errors shown that an earlier checkpoint of the run classified correctly.
        earlier: Earlier checkpoints to compare with: base (the first kept one) or all.
        neighbours: Number of training images per class, drawn by the seed, in which the most similar one is searched; 0
            shows none.
        measured: Number of images, drawn by the seed, for the figures of the maps; 0 computes none.
        boxes: required refuses data without boxes; if_known computes the figures that the data allows.
        batch_size: Number of images per batch.
        seed: Seed of the drawn images and of the noise in some methods.
        output: The output folder. Default: explain in the run directory.
        log_galleries: Log the galleries to a separate Weights & Biases run in the group of the run.
    """

    method: str = "GradCAM"
    layer: str | None = None
    split: Literal["test", "val", "train"] = "test"
    errors: int = 12
    per_class: int = 1
    pairs: int = 6
    per_pair: int = 2
    correct: int = 8
    before_after: int = 8
    earlier: Literal["base", "all"] = "base"
    neighbours: int = 200
    measured: int = 500
    boxes: Literal["if_known", "required"] = "if_known"
    batch_size: int = 32
    seed: int = 0
    output: str | None = None
    log_galleries: bool = False

    @property
    def maps(self) -> MapOptions:
        """The options of the maps."""
        return MapOptions(self.method, self.layer, self.batch_size, self.seed)
