"""The cells of a comparison whose strategies, data or optimizers are Python objects: they run in this process."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from lightning_vision.class_path import arguments_of
from lightning_vision.comparison.options import Choice
from lightning_vision.comparison.plan import Plan, PlannedRun
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.scenarios import InstanceIncremental
from lightning_vision.errors import ConfigError, UserError
from lightning_vision.learning.stop_signals import StopRequestedError
from lightning_vision.learning.strategy import Strategy
from lightning_vision.program.kept_parsers import keep_parsers
from lightning_vision.program.library_errors import explained
from lightning_vision.program.python_fit import PythonFit, PythonOptions, build_again, config_folder
from lightning_vision.program.written import is_written, written
from lightning_vision.results.unwritten import config_text
from lightning_vision.storage.plain_yaml import load_yaml


@dataclass
class PythonCells:
    """The parts of a comparison that are objects, and their cells.

    Args:
        shared: The options of all cells.
        strategies: The learning strategies that cannot be written to a configuration, by label.
        cells: The options of each planned run, by name.
    """

    shared: PythonOptions
    strategies: dict[str, Strategy] = field(default_factory=dict)
    cells: dict[str, PythonOptions] = field(default_factory=dict)

    def choices(self, strategies: Mapping[str, Any]) -> list[Choice]:
        """The strategies in the form of a section ``compare``."""
        found = []
        for label, strategy in strategies.items():
            text = written(strategy)
            if is_written(text):
                found.append(Choice(label, {"model.strategy": text}))
            else:
                self.strategies[label] = strategy
                found.append(Choice(label, {"model.strategy": None}, made=type(strategy)))
        return found

    def axes(self, axes: Mapping[str, Any]) -> dict[str, Any]:
        """The axes in plain values.

        Raises:
            ConfigError: A value cannot be written, or an axis changes a part that is an object.
        """
        found = {
            key: written(
                list(values) if isinstance(values, Iterable) and not isinstance(values, Mapping | str) else values
            )
            for key, values in axes.items()
        }
        for key, values in found.items():
            if not is_written(values):
                raise ConfigError(f"axes: {key}: expected values that a configuration can hold, found {axes[key]!r}.")
            if any(key == held or key.startswith(f"{held}.") for held in self.shared.objects):
                raise ConfigError(
                    f"axes: {key} cannot be changed: it belongs to an object that no configuration can hold. Give data and model "
                    "by classes that can be imported, with plain arguments."
                )
        return found

    def amend(self, plan: Plan) -> Plan:
        """The plan with the objects as config.yaml shows them; stores the objects of each run."""
        return replace(
            plan,
            cells=[self._amended(run) for run in plan.cells],
            bases=[self._amended(run) for run in plan.bases],
            common=self.shared.mark(plan.common),
        )

    def _amended(self, run: PlannedRun) -> PlannedRun:
        options = self.shared
        if run.label in self.strategies:
            options = options.with_object("model.strategy", self.strategies[run.label])
        if "data" in options.objects:
            options = options.with_object("data", _with_stream_of(options.objects["data"], run.seed))
        self.cells[run.name] = options
        if not options.marked:
            return run
        return replace(run, config=options.mark(run.config), dumped=config_text(options.mark(load_yaml(run.dumped))))

    def run(self, words: list[str]) -> int:
        """Run a cell in this process; its errors are printed to its log, as on the command line.

        Args:
            words: Its command line: ``fit --config CELL.yaml ...``.
        """
        path = Path(words[2])
        options = self.cells[path.stem]
        try:
            with config_folder() as folder, explained():
                read = options.words_from(path, folder) if options.marked else words[:3]
                keep_parsers(PythonFit([*read, *words[3:]], options))
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return error.exit_code
        except StopRequestedError as stop:
            return 128 + stop.signum
        except Exception as error:
            traceback.print_exc()
            print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
            return 1
        return 0


def _with_stream_of(data: StreamDataModule, seed: int) -> StreamDataModule | partial[StreamDataModule]:
    """A partial that builds the data with the stream of a seed; the data itself if its class has its own stream."""
    scenario = arguments_of(data).get("stream")
    if scenario is None and "stream" in inspect.signature(type(data)).parameters:
        return data
    options = {} if scenario is None else arguments_of(scenario)
    made_by = InstanceIncremental if scenario is None else type(scenario)
    return build_again(data, stream=made_by(**(options | {"seed": seed})))
