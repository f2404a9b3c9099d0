"""``fit``: run a stream from Python."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, Literal

import torch

from lightning_vision.api.run import Run
from lightning_vision.class_path import arguments_of, class_path
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.errors import ConfigError, UserError
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.stop_signals import StopRequestedError
from lightning_vision.learning.strategy import Strategy
from lightning_vision.program.dispatch import prepare_process
from lightning_vision.program.kept_parsers import keep_parsers
from lightning_vision.program.library_errors import explained
from lightning_vision.program.python_fit import PythonFit, PythonOptions, config_folder
from lightning_vision.program.stream_cli import without_own_words
from lightning_vision.results.unwritten import MARK
from lightning_vision.run.process_state import process_state_restored
from lightning_vision.terminal.messages import muted

OF_PARAMETERS = {"optimizer", "lr_scheduler", "base_optimizer", "base_lr_scheduler"}
"""Options of the classifier that are made anew for each experience."""
_ONE_AT_A_TIME = threading.Lock()


def fit(
    data: StreamDataModule | str | Mapping[str, Any],
    strategy: Strategy | str | Mapping[str, Any] | None = None,
    *,
    classifier: ContinualClassifier | None = None,
    max_epochs: int | None = None,
    trainer: Mapping[str, Any] | None = None,
    seed: int = 0,
    name: str | None = None,
    root: str | Path = "runs",
    resume: bool | Literal["auto"] = False,
    overwrite: bool = False,
    keep_checkpoints: Literal["last", "all"] | int = "last",
    stop_after: int | None = None,
    budget: str | None = None,
    tune_on: int | None = None,
    probe: bool = False,
    wandb: Literal["offline", "online", "disabled"] | Mapping[str, Any] | None = None,
    energy: bool | Mapping[str, Any] = True,
    progress: bool = True,
    **model: Any,
) -> Run:
    """Run a stream of experiences with one learning strategy, as ``lightning-vision fit`` does.

    The given objects are not changed: the run builds new ones from their constructor arguments, or works on copies.
    ``config.yaml`` in the run directory repeats the run from the command line; ``run.config.not_written`` names what it
    cannot hold, such as a lambda.

    Args:
        data: The data; also ``{"class_path": ..., "init_args": {...}}`` as in a configuration.
        strategy: The learning strategy, or its name; None: full fine-tuning.
        classifier: An existing classifier: the run starts from its weights and uses its strategies and optimizers.
        max_epochs: Epochs of each experience.
        trainer: Options of Lightning's Trainer. Callbacks are copied for each stage; loggers are used as they are.
        seed: The seed of all random numbers except the split, for which ``data`` has a seed.
        name: The run directory's name; None: strategy, scenario and seed.
        root: The folder in which the run directory is created.
        resume: True: continue the run of that name, or start it if nothing is saved; ``"auto"``: continue it if there is
            one. A finished run is returned unchanged.
        overwrite: Delete a run of that name first.
        keep_checkpoints: Checkpoints of finished experiences to keep: ``"last"`` (the base and the last), ``"all"``, or a
            number n (the base and the last n).
        stop_after: The number of the experience after which the run stops; it can be resumed.
        budget: What all increments together may spend on training: ``"steps=N"`` or ``"kwh=X"``.
        tune_on: Learn this many first experiences alone, and evaluate on their validation images in place of test images.
        probe: Fit a linear probe on the backbone's features after each experience, and evaluate it too.
        wandb: The mode, or ``{"mode": ..., "project": ..., "group": ...}``; None: the variable WANDB_MODE, else offline.
        energy: False: measure only time; otherwise ``{"country": ..., "power_watts": ...}``.
        progress: False: print nothing.
        **model: Further options of ``ContinualClassifier``: ``backbone``, ``pretrained``, ``base_strategy``, ``optimizer``, ...

    Returns:
        The run; it is finished unless ``stop_after`` is given.

    Raises:
        UserError: Something that the user can fix; ``lightning_vision.errors`` has the classes.
        KeyboardInterrupt: The run was interrupted. Progress is saved, and ``resume=True`` continues it.
    """
    check_kinds(
        root=(root, str | PurePath, "a folder"),
        classifier=(classifier, ContinualClassifier | None, "a lightning_vision.ContinualClassifier"),
        overwrite=(overwrite, bool, "True or False"),
    )
    if resume not in (True, False, "auto"):
        raise ConfigError(f"resume: expected True, False or 'auto', found {resume!r}.")
    if classifier is not None and (model or strategy is not None):
        raise ConfigError(
            f"Expected no other options of the model beside classifier, found {', '.join(model) or 'strategy'}: give these to ContinualClassifier(...)."
        )
    options = run_options(data, strategy, classifier, max_epochs, trainer, wandb, energy, progress, model)
    options["trainer"].setdefault("default_root_dir", root)
    options |= {
        "seed_everything": seed,
        "run_name": name,
        "stop_after": stop_after,
        "budget": budget,
        "tune_on": tune_on,
        "probe": probe,
        "keep_checkpoints": keep_checkpoints,
    }
    parts = PythonOptions.of(options)
    if classifier is not None:
        weights = f"{MARK}the run starts from the weights of the {class_path(classifier)} that was given"
        parts.marked["model.backbone_weights"] = weights
    more = ["--overwrite=true"] if overwrite else []
    if resume and resume != "auto":
        more.append("--ckpt_path=last")
    with muted(not progress), as_in_python(), config_folder() as folder:
        words = [*parts.words(folder), *more]
        try:
            with explained():
                made = PythonFit(words, parts, classifier, quiet=not progress, resume_if_there=resume == "auto")
                keep_parsers(made)
        except UserError as error:
            raise type(error)(str(error).replace(f"{folder / 'config.yaml'}: ", "")) from error
    if not made.launch.trained:  # the run was finished before
        return Run(made.launch.directory.path, trust_run=True, fit=fit)
    made.model.trainer = None  # it holds callbacks and loaders
    return Run(made.launch.directory.path, classifier=made.model.eval(), datamodule=made.datamodule, fit=fit)


def run_options(
    data: object,
    strategy: object,
    classifier: ContinualClassifier | None,
    max_epochs: int | None,
    trainer: Mapping[str, Any] | None,
    wandb: object,
    energy: object,
    progress: bool,
    model: Mapping[str, Any],
) -> dict[str, Any]:
    """The options of a run by section, as in config.yaml; see ``fit``."""
    if not isinstance(data, StreamDataModule | str | Mapping):
        raise ConfigError(f"data: expected a StreamDataModule, found {data!r}. Its docstring says how to write one.")
    check_strategy(strategy)
    check_kinds(
        trainer=(
            trainer,
            Mapping | None,
            "a mapping of options of Lightning's Trainer, such as {'precision': 'bf16-mixed'}",
        ),
        energy=(energy, bool | Mapping, "True, False, or a mapping with country and power_watts"),
        progress=(progress, bool, "True or False"),
    )
    for name in OF_PARAMETERS & model.keys():
        if isinstance(made := model[name], torch.optim.Optimizer | torch.optim.lr_scheduler.LRScheduler):
            raise ConfigError(
                f"{name}: expected a callable that makes one for each experience, such as functools.partial(torch.optim.SGD, "
                f"lr=0.01) or functools.partial(torch.optim.lr_scheduler.StepLR, step_size=5); found one that was made before, "
                f"{type(made).__name__}."
            )
    chosen = dict(trainer or {})
    if max_epochs is not None and chosen.setdefault("max_epochs", max_epochs) != max_epochs:
        raise ConfigError(f"max_epochs={max_epochs} and trainer={{'max_epochs': {chosen['max_epochs']}}}: give one.")
    if not progress:
        chosen["enable_progress_bar"] = False
    if classifier is not None:
        model = {k: v for k, v in arguments_of(classifier).items() if k not in ("class_names", "image_size")}
    else:
        model = {**model, "strategy": strategy}
    return {
        "trainer": chosen,
        "model": dict(model),
        "data": data,
        "energy": {"enabled": energy} if isinstance(energy, bool) else energy,
        "wandb": wandb if isinstance(wandb, Mapping) else {"mode": wandb},
    }


def check_kinds(**given: tuple[object, Any, str]) -> None:
    """Check arguments that no parser reads: each is given with its type, and the words for what was expected.

    Raises:
        ConfigError: One is of another type.
    """
    for name, (value, kind, expected) in given.items():
        if not isinstance(value, kind):
            raise ConfigError(f"{name}: expected {expected}, found {value!r}.")


def check_strategy(strategy: object) -> None:
    """Check that this is a learning strategy.

    Raises:
        ConfigError: It is not one.
    """
    is_class = isinstance(strategy, type) and issubclass(strategy, Strategy)
    if not (strategy is None or is_class or isinstance(strategy, Strategy | str | Mapping)):
        raise ConfigError(f"strategy: expected a lightning_vision.Strategy or the name of one, found {strategy!r}.")
    if isinstance(strategy, Mapping) and "class_path" not in strategy:
        raise ConfigError(f"strategy: expected a mapping with class_path, found {dict(strategy)!r}.")


@contextmanager
def as_in_python() -> Iterator[None]:
    """Run the program inside another one: restore the state of the process, and do not exit.

    Raises:
        ConfigError: Another run is active in this process.
        KeyboardInterrupt: Ctrl-C stopped the run.
    """
    if not _ONE_AT_A_TIME.acquire(blocking=False):
        raise ConfigError(
            "Another run is active in this process, and both would use the same random state. Wait until it has ended, "
            "or start one of them in a process of its own."
        )
    try:
        with process_state_restored(), without_own_words():
            prepare_process(own_process=False)
            yield
    except StopRequestedError as stop:
        if stop.signum != signal.SIGINT:  # pass the signal on to the restored handlers
            signal.raise_signal(stop.signum)
        raise KeyboardInterrupt("Progress is saved; resume=True continues the run.") from stop
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # from a callback: Lightning exits the process
            raise KeyboardInterrupt(*error.__context__.args) from error
        if isinstance(error.code, int) and error.code > 128:  # a comparison that was stopped by a signal
            signal.raise_signal(error.code - 128)
        raise
    finally:
        _ONE_AT_A_TIME.release()
