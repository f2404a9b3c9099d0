"""The evaluation after a run's last experience, done again: whether it is the run's own, and the figures that follow from it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from lightning_vision.class_path import init_args_of, plain, short_name
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.learning.recipe import Recipe
from lightning_vision.learning.trainer_factory import TrainerFactory
from lightning_vision.results.predictions import Predictions
from lightning_vision.results.record import StreamRecord, test_parts
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.results.schema import Results, write_results
from lightning_vision.run.run_figures import draw_run

LEARNING = {
    *("root", "metadata", "batch_size", "num_workers", "stream", "seed", "split", "val_fraction", "test_fraction"),
    *("train_transforms", "batch_transforms", "sampler", "class_weights", "annotations", "on_leak", "on_bad_image"),
    *("cache_dir", "cache_gb", "views", "feature_cache_gb"),
}
"""Options of the data that do not change what a test image looks like; which images there are is told by the hashes."""


def why_another(
    directory: RunDirectory, results: Results, datamodule: StreamDataModule, trainers: TrainerFactory, experience: int
) -> str:
    """Why a pass over the test set is not the one that a run's last figures came from; empty if it is.

    The rows of the accuracy matrix before the last were measured on the run's test set and in the run's way. A last row
    from another would be compared with them.

    Args:
        directory: The run's.
        results: Its results.json.
        datamodule: The data now, with the classifier's classes.
        trainers: Know the recipes that evaluate now.
        experience: The checkpoint's.
    """
    same = results.run.split_hash == datamodule.split_hash and results.run.stream_hash == datamodule.stream.hash
    if not same:
        return "the test data differs"
    if experience != len(results.experiences) - 1:
        return f"the checkpoint is from experience {experience}, not the last"
    before, now = evaluation_options(results.run.data), evaluation_options(datamodule.describe())
    differing = [f"data.{key}" for key in sorted(before.keys() & now.keys()) if before[key] != now[key]]
    then, here = _recipes_of_run(directory), _recipes_here(trainers)
    differing += [name for name in sorted(then.keys() | here.keys()) if then.get(name) != here.get(name)]
    return f"images are evaluated differently than in the run ({', '.join(differing)})" if differing else ""


def evaluation_options(described: Mapping[str, Any]) -> dict[str, Any]:
    """The options of described data that change what a test image looks like; other data for testing by its own."""
    options = {}
    for key, value in (described.get("init_args") or {}).items():
        if key not in LEARNING:
            nested = isinstance(value, dict) and "init_args" in value
            options[key] = (value["class_path"], evaluation_options(value)) if nested else value
    return options


def rewrite_run(
    directory: RunDirectory, results: Results, datamodule: StreamDataModule, predictions: Predictions
) -> Results:
    """Put another pass over the test set in place of the last one, in all files that hold figures of it.

    Rows of earlier experiences belong to earlier checkpoints and stay. What is computed from the last row is computed anew.

    Args:
        directory: The run's.
        results: Its results.json.
        datamodule: The run's data.
        predictions: The last checkpoint's, all variants.

    Raises:
        CheckpointError: predictions.npz does not go with results.json, or with the pass.
    """
    record = StreamRecord(datamodule.stream, results.class_names, test_parts(datamodule.stream))
    record.restore(results, directory)
    record.replace_last(predictions)
    found = record.results(
        results.run,
        results.network,
        results.energy,
        results.environment,
        features=results.features,
        memory_bytes=results.memory_bytes,
    )
    record.rewrite_predictions(directory.predictions)
    write_results(found, directory.results)
    names = [experience.name for experience in datamodule.stream]
    draw_run(found, names, record.last_predictions, datamodule.image, directory)
    return found


def _recipes_here(trainers: TrainerFactory) -> dict[str, Any]:
    recipes = [item for item in trainers.standing.values() if isinstance(item, Recipe) and item.changes_evaluation]
    return {type(recipe).__name__: init_args_of(recipe, Recipe) for recipe in recipes}


def _recipes_of_run(directory: RunDirectory) -> dict[str, Any]:
    """Options of each recipe that the run was evaluated with, as its config.yaml names them."""
    if not directory.config.is_file():
        return {}
    known = {cls.__name__: cls for cls in _subclasses(Recipe) if cls.changes_evaluation}
    listed = (directory.read_config().get("trainer") or {}).get("callbacks") or []
    found: dict[str, Any] = {}
    for entry in listed if isinstance(listed, list) else [listed]:
        cls = known.get(short_name(entry, "")) if isinstance(entry, dict) and "class_path" in entry else None
        if cls is not None:
            defaults = {name: each.default for name, each in inspect.signature(cls).parameters.items()}
            found[cls.__name__] = plain(defaults | (entry.get("init_args") or {}))
    return found


def _subclasses(cls: type[Recipe]) -> Iterator[type[Recipe]]:
    for below in cls.__subclasses__():
        yield below
        yield from _subclasses(below)
