"""``compare``: several learning strategies, seeds and settings on one stream, from Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from rich.console import Console

from lightning_vision.api.comparison import Comparison
from lightning_vision.api.fit import as_in_python, check_kinds, check_strategy, run_options
from lightning_vision.class_path import DEFAULT_STRATEGY
from lightning_vision.comparison.command import make_executor
from lightning_vision.comparison.comparison_run import run_comparison
from lightning_vision.comparison.options import SECTION, options_of
from lightning_vision.comparison.python_cells import PythonCells
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.errors import ConfigError, TrainingError
from lightning_vision.learning.strategy import Strategy
from lightning_vision.program.python_fit import PythonOptions, config_folder
from lightning_vision.program.written import written

OF_ONE_RUN = ("classifier", "name", "overwrite", "resume", "root", "seed", "stop_after", "strategy")
OF_COMPARE = SECTION - {"strategies", "seeds", "axes", "output"}


def compare(
    data: StreamDataModule | str | Mapping[str, Any],
    strategies: Mapping[str, Strategy | str | Mapping[str, Any] | None] | Sequence[Strategy | str],
    *,
    seeds: Iterable[int] = (0,),
    axes: Mapping[str, Any] | None = None,
    output: str | Path = "runs/comparison",
    max_epochs: int | None = None,
    trainer: Mapping[str, Any] | None = None,
    wandb: str | Mapping[str, Any] | None = None,
    energy: bool | Mapping[str, Any] = True,
    progress: bool = True,
    **options: Any,
) -> Comparison:
    """Run several strategies x seeds x settings on one stream and report, as ``lightning-vision compare`` does.

    A second call resumes interrupted cells and repeats failed ones. The base is trained once for each seed and setting.

    Args:
        data: See ``fit``.
        strategies: The learning strategies by their names in tables, or a list, in which the classes are the names.
        seeds: Seeds of initialisation and stream; the split does not depend on them.
        axes: Options of the configuration with their values, crossed: ``{"data.image_size": [32, 64]}``.
        output: The comparison's folder.
        max_epochs: See ``fit``.
        trainer: See ``fit``.
        wandb: See ``fit``.
        energy: See ``fit``.
        progress: False: print nothing.
        **options: Options of the command ``compare`` (``zip``, ``skip``, ``executor``, ``workers``, ``max_cells``, ...) and of
            ``ContinualClassifier``.

    Returns:
        The comparison; ``failures`` has the failed cells.

    Raises:
        UserError: Something that the user can fix; or all cells failed.
    """
    if wrong := sorted(options.keys() & set(OF_ONE_RUN)):
        raise ConfigError(
            f"compare has no option {', '.join(wrong)}, which is for a single run (see fit). It has seeds and output."
        )
    if isinstance(strategies, str) or not isinstance(strategies, Iterable):
        raise ConfigError(
            f"strategies: expected a list of strategies, or a mapping from names to them, found {strategies!r}."
        )
    check_kinds(
        seeds=(seeds, Iterable, "numbers, such as range(3)"),
        axes=(axes, Mapping | None, "a mapping such as {'data.image_size': [32, 64]}"),
        output=(output, str | PurePath, "a folder"),
    )
    section = {key: options.pop(key) for key in sorted(OF_COMPARE & options.keys())}
    kept = {key: options.pop(key) for key in ("keep_checkpoints", "budget", "probe") if key in options}
    common = run_options(data, None, None, max_epochs, trainer, wandb, energy, progress, options)
    shared = PythonOptions.of(common | kept)
    planned = PythonCells(shared)
    seeds = list(seeds)
    if not (seeds and strategies):
        raise ConfigError(f"compare: expected at least one strategy and one seed, found {strategies!r} and {seeds!r}.")
    section |= {
        "strategies": planned.choices(_by_label(strategies)),
        "seeds": written(seeds),
        "axes": planned.axes(axes or {}),
        "output": output,
    }
    console = Console(quiet=not progress, soft_wrap=True, highlight=False)
    with as_in_python(), config_folder() as folder:
        _, _, config = shared.words(folder)
        asked = options_of(section, [config])
        if (shared.objects or planned.strategies) and asked.executor != "here":
            held = [*shared.objects, *planned.strategies]
            raise ConfigError(
                f"executor={asked.executor!r} starts processes, which cannot receive {', '.join(held)}: these are objects that "
                "no configuration can hold. Use executor='here'."
            )
        executor = make_executor(asked, planned.run)
        command = f"lightning_vision.compare(..., output={str(output)!r})"
        run_comparison(asked, executor, command, console, planned.amend)
    comparison = Comparison(Path(output))
    if comparison.failures and not any(run.complete for run in comparison.runs.values()):
        (name, failure), *_ = comparison.failures.items()
        raise TrainingError(f"All cells failed. {name}: {failure.error}")
    return comparison


def _by_label(strategies: Mapping[str, Any] | Sequence[Any]) -> dict[str, Any]:
    """Strategies by their labels.

    Raises:
        ConfigError: Two of a list have the same name, or one is not a strategy.
    """
    named = isinstance(strategies, Mapping)
    found = list(strategies.values()) if isinstance(strategies, Mapping) else list(strategies)
    for strategy in found:
        check_strategy(strategy)
    labels = [str(label) for label in strategies] if named else [_label(strategy) for strategy in found]
    if len(set(labels)) < len(labels):
        raise ConfigError(
            f"strategies: expected different names, found {', '.join(labels)}. Give each a name of its own: "
            "strategies={'name': ..., 'other': ...}."
        )
    return dict(zip(labels, found, strict=True))


def _label(strategy: Any) -> str:
    named = strategy["class_path"] if isinstance(strategy, Mapping) else strategy
    if isinstance(named, str):
        return named.rsplit(".", 1)[-1]
    return (
        DEFAULT_STRATEGY if strategy is None else (strategy if isinstance(strategy, type) else type(strategy)).__name__
    )
