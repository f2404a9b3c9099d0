"""The distance of a backbone's layers to the head."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from torch import nn

from lightning_vision.errors import ConfigError
from lightning_vision.learning.network import Network
from lightning_vision.learning.recipe import Moment, Recipe


def distances_from_head(network: Network, *, coarse: bool = False) -> dict[nn.Parameter, int]:
    """The number of timm's layer groups from the head down to each parameter of the backbone.

    1 is the backbone's last group, the largest number its stem. What timm counts to the classifier's own group, such as
    a last norm, has 0, as the head itself would have; the head is not in the answer.

    Args:
        network: Has the backbone.
        coarse: Groups are the backbone's stages and not its blocks, where it has both.

    Raises:
        ConfigError: timm cannot group this backbone.
    """
    from timm.models import group_parameters  # takes seconds to import

    backbone = network.backbone
    matcher = getattr(backbone, "group_matcher", None)
    if matcher is None:
        raise ConfigError(
            f"The layers of {network.facts.name} cannot be grouped: expected a timm backbone with a group_matcher. "
            "Choose another model.backbone, or omit the recipe that uses layer groups."
        )
    classifier = (getattr(backbone, "pretrained_cfg", None) or {}).get("classifier") or "fc"
    name = f"{classifier if isinstance(classifier, str) else classifier[0]}.weight"
    # The backbone has lost its classifier, which tells where the head's group begins.
    named = [*backbone.named_parameters(), (name, None)]
    whole = cast(nn.Module, SimpleNamespace(named_parameters=lambda: iter(named)))
    place = group_parameters(whole, matcher(coarse=coarse), reverse=True)
    last = max(place.values())
    return {parameter: last - place[key] for key, parameter in backbone.named_parameters()}


def tell_frozen(recipe: Recipe, moment: Moment) -> None:
    """Note that a recipe which goes by layers changed nothing in an experience, where the backbone was frozen."""
    learner = moment.model.learner
    if learner.kind == "gradient" and learner.freezes_backbone:
        moment.note(
            f"{type(recipe).__name__} had no effect in experience {moment.experience.index}: {type(learner).__name__} "
            "trains nothing of the backbone."
        )
