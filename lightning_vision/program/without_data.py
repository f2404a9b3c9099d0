"""Builds the classifier of a run whose data is not here, to predict images that are given."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name
from typing import Any, cast

from jsonargparse import Namespace

from lightning_vision.data.absent_data import AbsentData
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.errors import DataError, UserError
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.results.schema import read_results
from lightning_vision.terminal.messages import print_notice

KEPT = (
    "batch_size",
    "num_workers",
    "image_size",
    "eval_transforms",
    "on_bad_image",
    "cache_dir",
    "cache_gb",
    "inspect",
)
"""Options of the data on which predictions of other images depend."""


def use_absent_data(config: Namespace, error: Exception) -> bool:
    """Replace the data of a configuration by what the run directory of its checkpoint says about it.

    Args:
        config: Of the subcommand; it is changed.
        error: What building the data has raised: a ``DataError``, or an error of jsonargparse around it.

    Returns:
        Whether it was replaced: not if something else is wrong, or there is no results.json.
    """
    problem: BaseException | None = error
    while problem is not None and not isinstance(problem, DataError):
        problem = problem.__cause__ or problem.__context__
    if problem is None:
        return False
    path = Path(config.ckpt_path)
    directory = RunDirectory(path if path.is_dir() else path.parent.parent)
    try:
        results = read_results(directory.results)
    except UserError:
        return False
    options = vars(config.data.init_args)
    given: dict[str, Any] = {name: options[name] for name in KEPT if name in options}
    given |= {
        "root": str(directory.path),
        "classes": results.class_names,
        "experiences": [each.classes for each in results.experiences],
        "has_base": results.run.base_strategy is not None,
        "kind": cast(type[StreamDataModule], resolve_name(config.data.class_path)),
    }
    print_notice(
        f"The data of the run cannot be read: {str(problem).splitlines()[0]} The given images are predicted without it, by what "
        f"{directory.path} holds."
    )
    config.data = cast(Any, Namespace)(
        class_path=f"{AbsentData.__module__}.{AbsentData.__qualname__}", init_args=cast(Any, Namespace)(**given)
    )
    return True
