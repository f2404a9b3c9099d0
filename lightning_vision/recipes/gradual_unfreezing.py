"""Gradual unfreezing (ULMFiT, arXiv 1801.06146, section 3.3)."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from lightning_vision.errors import ConfigError
from lightning_vision.learning.network import Network
from lightning_vision.learning.recipe import Moment, Recipe
from lightning_vision.learning.stage import Stage
from lightning_vision.learning.strategy import Strategy
from lightning_vision.recipes.layer_groups import distances_from_head, tell_frozen

PART = re.compile(r"unfreezing (\d+) of (\d+)")


class GradualUnfreezing(Recipe):
    """Train the head first, then also the last layers of the backbone, and finally all layers (arXiv 1801.06146).

    Each stage of the learning strategy is divided into parts. Part k of n trains the head and the last (k - 1) / (n -
    1) of timm's layer groups, as far as the strategy trains them. Frozen layers keep their running statistics. Each
    part has its own Trainer, optimizer and scheduler, because DDP does not reduce gradients of parameters that are
    unfrozen after wrapping.

    Differences from the paper:
        - It unfreezes one layer group per epoch; here groups and epochs are divided into parts.
        - Its slanted triangular and discriminative rates are separate options (``LayerDecay``, ``lr_scheduler``).

    Args:
        parts: Number of parts of a stage, at least 2.
        epochs: Epochs of each part. None: an even division of the stage's epochs, with the remainder in the later
            parts.
    """

    def __init__(self, parts: int = 4, epochs: list[int] | None = None) -> None:
        if parts < 2:
            raise ConfigError(f"GradualUnfreezing.parts: expected at least 2, found {parts}.")
        if epochs is not None and (len(epochs) != parts or min(epochs) < 1):
            raise ConfigError(
                f"GradualUnfreezing.epochs: expected {parts} numbers, at least 1 for each part, found {epochs}. Change "
                "epochs or parts."
            )
        self.parts, self.epochs = parts, epochs

    def stages(self, learner: Strategy, stages: list[Stage], max_epochs: int) -> list[Stage]:
        """Each stage in parts; a stage of no epochs, and a learner that trains the head alone, stay as they are.

        Raises:
            ConfigError: There are fewer epochs than parts.
        """
        if learner.freezes_backbone:
            return stages
        return [part for stage in stages for part in self._parts_of(stage, max_epochs)]

    def _parts_of(self, stage: Stage, max_epochs: int) -> list[Stage]:
        total = max_epochs if stage.epochs is None else stage.epochs
        if total == 0:
            return [stage]
        epochs = self.epochs
        if epochs is None:
            if total < self.parts:
                raise ConfigError(
                    f"GradualUnfreezing: {total} epoch(s) cannot be divided into {self.parts} parts. Use more epochs "
                    "(trainer.max_epochs, model.base_epochs), fewer parts, or set the epochs of each part."
                )
            least, over = divmod(total, self.parts)
            epochs = [least + (number >= self.parts - over) for number in range(self.parts)]
        said = f"{stage.part}, " if stage.part else ""
        return [
            replace(stage, part=f"{said}unfreezing {number} of {self.parts}", epochs=each)
            for number, each in enumerate(epochs, start=1)
        ]

    def parameters_to_train(self, network: Network, stage: Stage, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Of each group what this part trains; groups of which nothing is left are left out.

        Raises:
            ConfigError: Nothing is left of any group.
        """
        found = PART.search(stage.part)
        if found is None:
            return groups
        number, parts = (int(word) for word in found.groups())
        distances = distances_from_head(network, coarse=True)
        reach = -(-max(distances.values()) * (number - 1) // (parts - 1))
        kept = [
            {**group, "params": [parameter for parameter in group["params"] if distances.get(parameter, 0) <= reach]}
            for group in groups
        ]
        kept = [group for group in kept if group["params"]]
        if not kept:
            raise ConfigError(
                f"GradualUnfreezing: part {number} of {parts} has nothing to train, because the learning strategy "
                f"trains neither the head nor the last {reach} layer groups. Use fewer parts, or omit the recipe."
            )
        return kept

    def after_experience(self, moment: Moment) -> None:
        """Say so where there is nothing to unfreeze."""
        tell_frozen(self, moment)
