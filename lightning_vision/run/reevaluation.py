"""Repeats the evaluation after a run's last experience, and rewrites the figures that depend on it."""

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
    *("cache_dir", "cache_gb", "views", "feature_cache_gb", "split_folders", "classes_from"),
    *("labels", "labels_format", "label_columns", "label_names", "label_pattern", "new_classes"),
}
"""Options of the data that do not change a test image; hashes identify the set of images."""


def why_another(
    directory: RunDirectory, results: Results, datamodule: StreamDataModule, trainers: TrainerFactory, experience: int
) -> str:
    """The reason why an evaluation differs from the run's last one; empty if it does not.

    The earlier rows of the accuracy matrix were measured on the run's test set and with the run's options. A last row
    from another evaluation would not be comparable with them.

    Args:
        directory: The run directory.
        results: Its results.json.
        datamodule: The present data, with the classifier's classes.
        trainers: Hold the present recipes.
        experience: The experience of the checkpoint.
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
    return f"images are evaluated differently from the run ({', '.join(differing)})" if differing else ""


def evaluation_options(described: Mapping[str, Any]) -> dict[str, Any]:
    """The options of described data that change a test image; ``test_data`` is described by its own options."""
    options = {}
    for key, value in (described.get("init_args") or {}).items():
        if key not in LEARNING:
            nested = isinstance(value, dict) and "init_args" in value
            options[key] = (value["class_path"], evaluation_options(value)) if nested else value
    return options


def rewrite_run(
    directory: RunDirectory, results: Results, datamodule: StreamDataModule, predictions: Predictions
) -> Results:
    """Replace the last evaluation by another one, in all files that hold figures of it.

    Rows of earlier experiences belong to earlier checkpoints and are kept. Everything that depends on the last row is
    computed again.

    Args:
        directory: The run directory.
        results: Its results.json.
        datamodule: The run's data.
        predictions: The predictions of the last checkpoint, all variants.

    Raises:
        CheckpointError: predictions.npz does not match results.json or the evaluation.
    """
    known = results.base_classes
    if known is not None:
        datamodule.prepared.start_from(known)
    record = StreamRecord(datamodule.stream, results.class_names, test_parts(datamodule.stream), base_classes=known)
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
    """Options of each recipe of the run's evaluation, from its config.yaml."""
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
