"""Builds the model of a fit and counts its work, without running it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from lightning_vision.learning.checkpoints import match_base
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.recipe import take_recipes
from lightning_vision.learning.trainer_factory import TrainerFactory
from lightning_vision.program.fit_config import ReadCLI
from lightning_vision.program.kept_parsers import keep_parsers
from lightning_vision.program.stream_cli import without_own_words
from lightning_vision.run.plan_checks import check_plan
from lightning_vision.run.work_plan import work


@dataclass(frozen=True)
class Prospect:
    """The model and the work of a ``fit``."""

    model: ContinualClassifier
    images: int
    """Images through the network in all epochs and evaluations; a backward pass counts as two more."""


class _ProspectCLI(ReadCLI):
    """Builds model and data of a ``fit``."""

    def instantiate_classes(self) -> None:
        """Build model and data without loading the base, which may not exist yet."""
        config = self.config.fit
        self.trainer = self._probe()
        self.config_init = self.parser.instantiate_classes(self.config)
        model, datamodule = self.config_init.fit.model, self.config_init.fit.data
        if model.base_checkpoint and Path(model.base_checkpoint).exists():
            match_base(model, datamodule)
        check_plan(model, datamodule)
        recipes = take_recipes(TrainerFactory(self._build_trainer_options, Path(), []))
        last = config.stop_after if config.tune_on is None else config.tune_on - 1
        images = round(sum(work(model, datamodule, config.trainer.max_epochs or 1, recipes, last)))
        self.prospect = Prospect(model, images)


def look_ahead(config: str) -> Prospect:
    """Build the model and data of a ``fit``, and count its work.

    Args:
        config: The whole configuration, as YAML.

    Raises:
        UserError: The run cannot be started.
    """
    with tempfile.TemporaryDirectory(prefix="lightning_vision-") as folder, without_own_words():
        path = Path(folder) / "config.yaml"
        path.write_text(config, encoding="utf-8")
        cli = _ProspectCLI(["fit", "--config", str(path)], own_process=False)
        keep_parsers(cli)
        return cli.prospect
