"""The options of ``explain``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class MapOptions:
    """How maps are made; see ``class_maps``."""

    method: str = "GradCAM"
    layer: str | None = None
    batch_size: int = 32
    seed: int = 0


@dataclass
class ExplainOptions:
    """What is shown and measured.

    Args:
        method: Of the maps: GradCAM, GradCAMpp, XGradCAM, LayerCAM, SmoothGradCAMpp, FinerCAM, CAM; or, slow, ScoreCAM,
            SSCAM, ISCAM.
        layer: The backbone's layer that is mapped, by name. Default: the last one that knows where things are.
        split: Whose images: test, val or train.
        errors: How many of the surest errors are shown.
        per_class: Errors shown of each true class, for the 40 classes with the most errors.
        pairs: Pairs of confused classes shown, the most frequent first.
        per_pair: Errors shown of each pair.
        correct: Images shown that were right.
        before_after: Images shown that an earlier checkpoint of the run had right.
        earlier: Which earlier checkpoints: base (the first that was kept) or all that were kept.
        neighbours: Training images of each class, drawn by the seed, among which the one most like an image is looked
            for; 0 looks for none.
        measured: Images, drawn by the seed, over which the figures of the maps are means; 0 measures none.
        boxes: required refuses data without boxes; if_known measures what can be measured.
        batch_size: Images at once.
        seed: Draws the images that are measured, and the noise of some methods.
        output: The folder. Default: explain, in the run directory.
        log_galleries: Send the galleries to a Weights & Biases run of their own, in the group of the run.
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
        """Those that say how maps are made."""
        return MapOptions(self.method, self.layer, self.batch_size, self.seed)
