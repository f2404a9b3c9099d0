"""Names that modules had before 0.2, so that configs, checkpoints and programs that use them still load.

Every former module is listed here once, with the modules that hold its contents now. Importing one gives a stand-in that
finds each name there, with a ``DeprecationWarning``.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from lightning_vision.errors import ConfigError

PACKAGE = "lightning_vision."
FORMER_MODULES = {
    "backbones": "learning.backbones",
    "batch": "data.batch",
    "cache_folder": "storage.cache_folder",
    "canvas": "drawing.canvas",
    "checkpoint_tasks": "run.checkpoint_tasks",
    "checkpoints": "learning.checkpoints",
    "class_weights": "data.class_weights",
    "classifier": "learning.classifier",
    "comparison.pictures_of_runs": "comparison.run_images",
    "comparison.wandb_runs": "comparison.wandb_logging",
    "component": "class_path",
    "country": "tracking.country",
    "curves": "drawing.curves",
    "data_page": "data_report.page",
    "data_report": "data_report.report",
    "datamodule": "data.datamodule",
    "decoded_pictures": "images.decoded_cache",
    "decoding": "images.decoding",
    "deployed.picture_walk": "deployed.image_walk",
    "energy": "tracking.energy",
    "evaluation": "results.predictions",
    "explain_errors": "program.parser_errors",
    "explanation.case_pictures": "explanation.case_images",
    "explanation.earlier": "learning.earlier_checkpoints",
    "explanation.earlier_checkpoint": "learning.earlier_checkpoints",
    "feature_pass": "features.feature_pass",
    "feature_serving": "features.feature_serving",
    "feature_store": "features.feature_store",
    "findings": "data.data_problems",
    "heatmap": "drawing.heatmap",
    "inspection": "data.inspection",
    "inventory": "program.inventory",
    "kept_facts": "storage.file_facts",
    "kept_features": "features.feature_cache",
    "leaks": "data.leaks",
    "loading": "data.datasets",
    "loggers": "tracking.loggers",
    "network": "learning.network",
    "ondevice": "deployed.on_device",
    "page_template": "drawing.page_template",
    "picture_files": "images.image_files",
    "pictures": "drawing.figures",
    "pillow_decoding": "images.pillow_decoding",
    "plugins": "program.plugins",
    "processes": "run.rank_processes",
    "program": "program.stream_cli",
    "progress": "tracking.progress",
    "recipe": "learning.recipe",
    "recipes.blurred_pictures": "recipes.blurred_images",
    "recipes.picture_size": "recipes.image_size",
    "recipes.training_pictures": "recipes.training_dataset",
    "record": "results.record",
    "report.finding": "report.find_runs",
    "results": "results.schema",
    "row_file": "storage.csv_log",
    "run_directory": "results.run_directory",
    "run_pictures": "run.run_figures",
    "samples": "data.sample_table",
    "scenarios": "data.scenarios",
    "scores": "results.scores",
    "shipped_configs": "program.shipped_configs",
    "sources": "images.image_sources",
    "splits": "data.split_options",
    "strategy": "learning.strategy",
    "stream_run": "run.stream_run",
    "summary": "run.summary",
    "thumbnail": "drawing.thumbnail",
    "trainers": "learning.trainer_factory",
    "transforming": "images.apply_transform",
    "transforms": "images.transforms",
    "trust.picture_folder": "trust.image_folder",
    "trust.scored": "trust.scored_images",
    "trust.shooting": "trust.capture_sessions",
    "trust.kept_checkpoints": "learning.earlier_checkpoints",
    "trust.trusted": "trust.kept_calibration",
    "trust.unknown": "trust.out_of_distribution",
    "video": "images.video_frames",
    "video_decoders": "images.video_decoders",
    "wording": "terminal.wording",
    "words_parser": "terminal.option_parser",
}
"""Former modules and their present names, both within ``lightning_vision``."""

MOVED_NAMES: dict[str, dict[str, tuple[str, ...]]] = {
    "classifier": {
        "learning.checkpoint_identity": ("CHECKPOINT_SCHEMA",),
    },
    "data_report": {
        "data_report.terminal": ("print_report", "BAR_LENGTH"),
    },
    "datamodule": {
        "data.stream_loaders": ("Entered",),
    },
    "inspection": {
        "data.image_facts": ("SMALLEST_SIDE", "THUMBNAIL"),
        "terminal.progress_bar": ("progress_bar", "PATIENCE_SECONDS"),
    },
    "loading": {
        "data.batch_order": ("Draw", "TrainBatches", "balanced_order", "EvalBatches"),
        "data.loaders": ("StreamLoader", "make_feature_loader", "make_loader"),
    },
    "loggers": {
        "tracking.metrics_csv": ("MetricsCSV",),
        "tracking.stream_position": ("StreamPosition", "follow_stream", "EXPERIENCE_KEY", "STEP_KEY"),
        "tracking.wandb_logger": (
            "StreamWandbLogger",
            "ONCE_AN_EXPERIENCE",
            "earlier_run_id",
            "make_wandb_logger",
            "mask_secrets",
            "WANDB_MODES",
            "WANDB_START_SECONDS",
            "SECRET_KEY",
            "MASK",
        ),
    },
    "processes": {
        "terminal.first_rank": ("is_first",),
    },
    "program": {
        "program.argument_parser": ("StreamArgumentParser",),
        "program.dispatch": ("run", "prepare_process"),
        "program.fit_config": ("ReadConfig", "read_fit_config"),
        "program.options": ("FROM_CHECKPOINT", "OPTIONS"),
        "program.outlook": ("Prospect", "look_ahead"),
        "tracking.options": ("EnergyOptions", "WandbOptions"),
    },
    "recipe": {
        "learning.stage": ("Stage",),
    },
    "record": {
        "results.environment": ("environment", "path_hashes"),
    },
    "run_directory": {
        "results.resume_options": ("FREE_ON_RESUME", "flatten", "binding", "is_free"),
        "storage.atomic_write": ("write_text_atomically", "write_atomically"),
    },
    "samples": {
        "array_types": ("Rows",),
        "data.stratified_split": ("deal", "split_samples"),
        "seeding": ("derive_seed",),
        "terminal.wording": ("natural_key", "plural", "listed", "SHOWN"),
    },
    "scenarios": {
        "data.stream": ("Experience", "Stream"),
    },
    "stream_run": {
        "learning.network_cost": ("count_macs",),
        "run.plan_checks": ("check_plan",),
        "run.work_plan": ("epochs_of", "work", "served"),
    },
    "trainers": {
        "learning.stage_checkpoints": ("MovableCheckpoint", "last_checkpoint", "best_checkpoint"),
        "learning.stage_tally": ("Trained", "TALLY", "TallyInCheckpoint", "Unfinished"),
        "learning.step_limit": ("StepLimit",),
        "learning.stop_signals": ("StopRequestedError", "StopSignals"),
        "learning.trainer_options": (
            "TRAINER_DEFAULTS",
            "STRATEGIES",
            "PRECISIONS",
            "REFUSED",
            "check_trainer_options",
        ),
    },
    "transforms": {
        "images.batch_transforms": ("BatchTransforms",),
    },
}
"""Names that moved to another module than the rest of theirs, by former module and new module."""


def home_of(module: str, name: str) -> str:
    """The module that now holds a name of a former module; both within ``lightning_vision``."""
    homes = MOVED_NAMES.get(module, {})
    return next((home for home, names in homes.items() if name in names), FORMER_MODULES[module])


def find(module: str, name: str) -> Any:
    """The object with this name in a former module.

    Args:
        module: The former module, within ``lightning_vision``.
        name: The name in it.

    Raises:
        AttributeError: There is no such object.
    """
    home = home_of(module, name)
    found = None if name.startswith("__") else getattr(import_module(PACKAGE + home), name, None)
    if found is None:
        raise AttributeError(f"module {PACKAGE + module!r} has no attribute {name!r}")
    message = f"{PACKAGE}{module}.{name} is now {PACKAGE}{home}.{name}; the former name works until 0.3."
    warnings.warn(message, DeprecationWarning, stacklevel=3)
    return found


def finder_of(module: str, names: Sequence[str] = ()) -> Callable[[str], Any]:
    """A ``__getattr__`` that finds the contents of a former module.

    Args:
        module: The former module's full name.
        names: The names that are found; empty: all. A package with the name of a former module lists its former names,
            because Python also asks it for its submodules.
    """

    def get(name: str) -> Any:
        if names and name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return find(module.removeprefix(PACKAGE), name)

    return get


def present_path(path: str) -> str:
    """The present dotted path of a class, from a path that may be a former one; nothing is imported.

    Args:
        path: A class in a configuration, a checkpoint or results.json.
    """
    module, _, name = path.rpartition(".")
    former = module.removeprefix(PACKAGE)
    known = module.startswith(PACKAGE) and former in FORMER_MODULES
    return f"{PACKAGE}{home_of(former, name)}.{name}" if known else path


def with_present_paths(value: Any) -> Any:
    """Plain values in which every ``class_path`` is the present one.

    Args:
        value: Values of a configuration, from YAML or JSON.
    """
    if isinstance(value, list):
        return [with_present_paths(item) for item in value]
    if not isinstance(value, dict):
        return value
    changed = {key: with_present_paths(item) for key, item in value.items()}
    path = changed.get("class_path")
    return changed | {"class_path": present_path(path)} if isinstance(path, str) else changed


FORMER_OPTIONS: dict[str, dict[str, str]] = {
    "lightning_vision.explanation.panel.ExplainPanel": {"pictures": "images"},
    "lightning_vision.exporting.options.ExportOptions": {
        "check_pictures": "check_images",
        "calibration_pictures": "calibration_images",
    },
    "lightning_vision.trust.options.TrustOptions": {"new_pictures": "new_images", "unknown_data": "ood_data"},
}
"""Former names of options and their present ones, by class."""


def with_present_options(value: Any, tell: Callable[[str], object] = lambda _: None) -> Any:
    """Plain values in which the options of every class have their present names.

    Args:
        value: Values of a configuration with the present class paths.
        tell: Called with a sentence for each former name.

    Raises:
        ConfigError: An option is given by both names.
    """
    if isinstance(value, list):
        return [with_present_options(item, tell) for item in value]
    if not isinstance(value, dict):
        return value
    changed = {key: with_present_options(item, tell) for key, item in value.items()}
    path, options = changed.get("class_path"), changed.get("init_args")
    if isinstance(path, str) and isinstance(options, dict) and path in FORMER_OPTIONS:
        changed["init_args"] = rename_options(options, FORMER_OPTIONS[path], f"{path.rpartition('.')[2]}.", tell)
    return changed


def rename_options(
    given: dict[str, Any], present: Mapping[str, str], owner: str, tell: Callable[[str], object]
) -> dict[str, Any]:
    """Options under their present names, in the given order.

    Args:
        given: The options.
        present: The present names of renamed options.
        owner: The prefix of a name in messages: ``--``, or a class and a dot.
        tell: Called with a sentence for each former name.

    Raises:
        ConfigError: An option is given by both names.
    """
    for old in given.keys() & present.keys():
        if present[old] in given:
            raise ConfigError(
                f"{owner}{old} is the former name of {owner}{present[old]}, and both are given. Give only the second."
            )
        tell(former_option(f"{owner}{old}", f"{owner}{present[old]}"))
    return {present.get(name, name): value for name, value in given.items()}


def former_option(old: str, new: str) -> str:
    """The notice for an option that is given by its former name."""
    return f"{old} is now called {new}; the former name works until 0.3."


class FormerModules(MetaPathFinder, Loader):
    """Finds former modules if there is no module of that name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A stand-in for a former module; None for other names."""
        known = fullname.startswith(PACKAGE) and fullname.removeprefix(PACKAGE) in FORMER_MODULES
        return ModuleSpec(fullname, self) if known else None

    def create_module(self, spec: ModuleSpec) -> None:
        """An ordinary module."""

    def exec_module(self, module: ModuleType) -> None:
        """Make it find its names in the modules that hold them now."""
        module.__getattr__ = finder_of(module.__name__)  # type: ignore[method-assign]


def install() -> None:
    """Make former modules importable; a second call does nothing."""
    if not any(isinstance(finder, FormerModules) for finder in sys.meta_path):
        sys.meta_path.append(FormerModules())
