"""Maps of the same images after each experience, which show how they change."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from lightning_vision.array_types import Rows
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.errors import ConfigError
from lightning_vision.explanation.cases import drawn_rows
from lightning_vision.explanation.methods import check_method
from lightning_vision.explanation.observations import observe_images
from lightning_vision.explanation.options import MapOptions
from lightning_vision.explanation.target_layers import find_target_layer
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.recipe import Moment, Recipe
from lightning_vision.learning.strategy_features import check_follows_backbone
from lightning_vision.terminal.wording import plural
from lightning_vision.tracking.loggers import log_experience


class ExplainPanel(Recipe):
    """Draw the maps of a few test images after each experience (``explain/panel-<experience>.png``) and log them to W&B.

    The images are the same each time, drawn by the seed from as many classes as possible. The panel does not affect
    learning. Its time is printed after each experience and logged as ``explain/seconds``.

    Args:
        images: Number of images.
        method: Method of the maps; see ``lightning-vision explain``.
        layer: Name of the backbone's target layer. Default: the last layer with spatial positions.
        seed: Seed of the drawn images.
    """

    def __init__(self, images: int = 8, method: str = "GradCAM", layer: str | None = None, seed: int = 0) -> None:
        if images < 1:
            raise ConfigError(
                f"ExplainPanel.images: expected 1 or more, found {images}. Omit the callback for no images."
            )
        check_method(method)
        self.images, self.method, self.layer, self.seed = images, method, layer, seed

    def before_run(self, model: ContinualClassifier, datamodule: StreamDataModule) -> None:
        """Refuse a backbone without a target layer, and a strategy that computes features in its own way, before training."""
        check_follows_backbone(model.strategy, "ExplainPanel")
        find_target_layer(model.network.backbone, model.image_size, self.layer)

    def after_experience(self, moment: Moment) -> None:
        """Draw and log the panel, on the first process."""
        if moment.rank:
            return
        began = time.perf_counter()
        rows = self.rows(moment.datamodule)
        if not len(rows):
            moment.note("ExplainPanel: no panel, because there are no test images.")
            return
        path = moment.directory.path / "explain" / f"panel-{moment.experience.index}.png"
        try:
            self._draw(moment, rows, path)
        except ConfigError as error:  # a figure is no reason to end a run of hours
            moment.note(f"ExplainPanel: no panel after experience {moment.experience.index}: {error}")
            return
        seconds = time.perf_counter() - began
        scalars = {"explain/seconds": seconds}
        log_experience(moment.trainers.loggers, moment.position, scalars, images={"explain/panel": path})
        moment.note(f"ExplainPanel: {plural(len(rows), 'image')} in {seconds:.1f} s, {path}")

    def rows(self, datamodule: StreamDataModule) -> Rows:
        """The rows of the panel, ascending; they depend only on the test set and the seed."""
        rows = datamodule.rows_to_evaluate("test")
        return drawn_rows(rows, datamodule.samples["label"].to_numpy()[rows], self.images, self.seed)

    def _draw(self, moment: Moment, rows: Rows, path: Path) -> None:
        # matplotlib takes a second to load, and this class is known to every run
        from lightning_vision.explanation.case_images import map_cases, show_case
        from lightning_vision.explanation.gallery import Section, save_section_figure

        model, datamodule = moment.model, moment.datamodule
        options = MapOptions(self.method, self.layer, seed=self.seed)
        seen = observe_images(model, datamodule, rows, options.batch_size, "predicting the panel")
        at = np.arange(len(rows))
        mapped = map_cases(model, datamodule, seen, at, options)
        paths = datamodule.samples["path"].iloc[rows].tolist()
        cases = [show_case(seen, int(place), paths[place], model.class_names, mapped) for place in at]
        name = moment.experience.name
        about = f"{self.method}; the same images after each experience."
        path.parent.mkdir(parents=True, exist_ok=True)
        save_section_figure(
            Section("panel", f"After experience {moment.experience.index}: {name}", about, tuple(cases)), path
        )
