"""The state that the parts of a run share."""

from pathlib import Path
from typing import Any

import pytest
from coloured_squares import ColouredSquares

from lightning_vision.data.scenarios import InstanceIncremental
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.stop_signals import StopSignals
from lightning_vision.learning.trainer_factory import TrainerFactory
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.run.run_context import RunContext
from lightning_vision.run.run_options import RunOptions
from lightning_vision.tracking.energy import EnergyMeter
from lightning_vision.tracking.progress import StreamProgress
from strategies import HeadOnly


@pytest.mark.parametrize(("given", "epochs"), [(7, 7), (None, 1)])
def test_the_options_are_built_once_for_the_number_of_epochs(given: int | None, epochs: int, tmp_path: Path) -> None:
    """Building them instantiates every callback of the user's; an experience asks for the epochs several times."""
    built: list[dict[str, Any]] = []

    def build() -> dict[str, Any]:
        built.append({"max_epochs": given})
        return built[-1]

    data = ColouredSquares(stream=InstanceIncremental(experiences=3))
    model = ContinualClassifier(
        strategy=HeadOnly(), backbone="test_resnet", pretrained=False, class_names=data.class_names, image_size=32
    )
    context = RunContext(
        model,
        data,
        TrainerFactory(build, tmp_path, []),
        RunDirectory(tmp_path),
        EnergyMeter(tmp_path, "FRA", None, False),
        StopSignals(),
        StreamProgress(enabled=False),
        RunOptions(name="mine", seed=0),
    )
    before = len(built)
    assert [context.max_epochs for _ in range(3)] == [epochs] * 3
    assert len(built) == before + 1
