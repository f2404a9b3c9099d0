"""Every recipe of the optimisation with every gradient strategy: each run ends, and ends elsewhere than without.

All five together with each strategy, and one alone with each, so that each is tried alone with two strategies or three.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from coloured_squares import ColouredSquares
from command_line import changed
from torch import Tensor

import strategies
from lightning_vision.data.scenarios import InstanceIncremental
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.recipe import Recipe
from lightning_vision.learning.stop_signals import StopSignals
from lightning_vision.learning.strategy import Strategy
from lightning_vision.learning.trainer_factory import TrainerFactory
from lightning_vision.learning.trainer_options import TRAINER_DEFAULTS
from lightning_vision.recipes import ErrorReplay, GradualUnfreezing, LayerDecay, MovingAverage, WarmupCosine
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.run.stream_run import RunOptions, StreamRun
from lightning_vision.tracking.energy import EnergyMeter
from lightning_vision.tracking.progress import StreamProgress

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning repeats itself; the program quietens it
GRADIENT = [name for name in sorted(strategies.__all__) if getattr(strategies, name).kind == "gradient"]
NEEDED = {"AvalanchePlugin": {"plugin_args": {"ewc_lambda": 1.0}}}
RECIPES: dict[str, Callable[[], Recipe]] = {
    "LayerDecay": LayerDecay,
    "GradualUnfreezing": partial(GradualUnfreezing, parts=2),
    "MovingAverage": MovingAverage,
    "ErrorReplay": ErrorReplay,
}
ON_VIT = {"CODAPrompt", "DualPrompt", "L2P"}
SCHEDULER = "WarmupCosine"
# What goes by layers changes nothing where the head alone is trained.
BY_LAYERS = {"LayerDecay", "GradualUnfreezing"}


def weights(folder: Path, name: str, *recipes: str) -> dict[str, Tensor]:
    """Those that a run of a learning strategy ends with; built by hand, as a command line takes longer than the run."""
    torch.manual_seed(0)
    options = {**TRAINER_DEFAULTS, "accelerator": "cpu", "devices": 1, "max_epochs": 2}
    strategy: Strategy = getattr(strategies, name)(**NEEDED.get(name, {}))
    backbone, side = ("test_vit", 32) if name in ON_VIT else ("test_resnet", 16)
    options_of_data: dict[str, Any] = {
        "per_class": 12,
        "noise": 90,
        "batch_size": 8,
        "image_size": side,
        "cache_dir": folder,
    }
    datamodule = ColouredSquares(stream=InstanceIncremental(experiences=2), **options_of_data)
    model = ContinualClassifier(
        backbone=backbone,
        pretrained=False,
        strategy=strategy,
        optimizer=partial(torch.optim.SGD, lr=0.05),
        lr_scheduler=partial(WarmupCosine, epochs=2) if SCHEDULER in recipes else None,
        base_epochs=0,  # the base learns nothing: what differs is what the strategy learned
        restore_best=False,
        class_names=datamodule.class_names,
        image_size=side,
    )
    directory = RunDirectory(folder / ("-".join(recipes) or "plain"))
    directory.prepare(resume=False, overwrite=False)
    run = StreamRun(
        model,
        datamodule,
        TrainerFactory(
            lambda: {**options, "callbacks": [RECIPES[each]() for each in recipes if each != SCHEDULER]}, folder, []
        ),
        directory,
        EnergyMeter(directory.path, enabled=False),
        StopSignals(),
        StreamProgress(enabled=False),
        RunOptions(name=directory.path.name),
    )
    run.prepare()
    run.fit()
    run.close()
    return {key: value.clone() for key, value in model.state_dict().items()}


@pytest.fixture(scope="module", params=GRADIENT)
def plain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Tensor]]:
    strategy: str = request.param
    return strategy, weights(tmp_path_factory.mktemp(strategy), strategy)


def test_all_together(tmp_path: Path, plain: tuple[str, dict[str, Tensor]]) -> None:
    strategy, expected = plain
    found = weights(tmp_path, strategy, *RECIPES, SCHEDULER)
    assert "network.head.weight" in changed(found, expected)
    assert all(torch.isfinite(value).all() for key, value in found.items() if key.startswith("network."))


def test_one_alone(tmp_path: Path, plain: tuple[str, dict[str, Tensor]]) -> None:
    strategy, expected = plain
    recipe = [*RECIPES, SCHEDULER][GRADIENT.index(strategy) % 5]
    frozen = getattr(strategies, strategy).freezes_backbone
    moved = changed(weights(tmp_path, strategy, recipe), expected)
    assert bool(moved) != (frozen and recipe in BY_LAYERS), (recipe, moved)
