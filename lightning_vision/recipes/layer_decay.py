"""Layer-wise learning-rate decay (arXiv 2003.10555)."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from torch import nn

from lightning_vision.errors import ConfigError
from lightning_vision.learning.network import Network
from lightning_vision.learning.recipe import Moment, Recipe
from lightning_vision.learning.stage import Stage
from lightning_vision.recipes.layer_groups import distances_from_head, tell_frozen


class LayerDecay(Recipe):
    r"""Lower learning rates for layers further from the head (ELECTRA, arXiv 2003.10555; BEiT, 2106.08254).

    lr_l = lr * decay ** l, where l is the number of timm's layer groups between the head and the layer: 0 for the head, 1
    for the backbone's last block. Each of the optimizer's groups is split in this way, and a group with its own rate is
    scaled from that rate. The first layers contain general features and are changed less.

    The grouping is that of ``timm.optim.param_groups_layer_decay``. That function builds its groups from a whole timm
    model and would ignore the strategy's selection of parameters. Weight decay is that of the optimizer.

    Args:
        decay: Factor per layer group, above 0 and at most 1.
    """

    def __init__(self, decay: float = 0.75) -> None:
        if not 0 < decay <= 1:
            raise ConfigError(f"LayerDecay.decay: expected a number above 0 and at most 1, found {decay}.")
        self.decay = decay

    def parameters_to_train(self, network: Network, stage: Stage, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Each group, split by the distance from the head, the nearest first."""
        distances = distances_from_head(network)

        def distance(parameter: nn.Parameter) -> int:
            return distances.get(parameter, 0)

        return [
            {**group, "params": list(parameters), "lr_scale": group.get("lr_scale", 1.0) * self.decay**away}
            for group in groups
            for away, parameters in groupby(sorted(group["params"], key=distance), key=distance)
        ]

    def after_experience(self, moment: Moment) -> None:
        """Say so where there is nothing to scale."""
        tell_frozen(self, moment)
