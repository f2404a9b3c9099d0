"""Checks a configuration that the user did not name: model and data are built from it with known classes only."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Callback, Trainer

from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.errors import ConfigError
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.trainer_options import STRATEGIES
from lightning_vision.program.argument_types import hints_of, is_plain, is_text, leaves_of
from lightning_vision.program.known_classes import KINDS, TORCHVISION, Family, registered
from lightning_vision.storage.cache_folder import foreign_cache

NOT_TAKEN = (
    *("run_name", "overwrite", "keep_checkpoints", "stop_after", "budget", "tune_on", "probe"),
    *("energy", "wandb", "ckpt_path", "trust_run"),
)
"""Options of ``fit`` that do not concern model and data."""
TRAINER_NOT_TAKEN = ("default_root_dir", "logger", "profiler")
"""Options of a Trainer for its output, which no evaluation uses."""
STOCK_CALLBACKS = ("lightning.pytorch.callbacks.", "pytorch_lightning.callbacks.")
"""Callbacks for training, which a Trainer for evaluation does not get."""
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps", "tpu", "hpu")
TRANSFORMS = ("train_transforms", "eval_transforms", "batch_transforms")
_SPEC = {"class_path", "init_args", "dict_kwargs"}


class UntrustedError(ConfigError):
    """A configuration that the user did not name contains more than model and data of known classes."""


def take_foreign(config: Mapping[str, Any], source: Path, named: Collection[str] = ()) -> dict[str, Any]:
    """Extract the safe part of a configuration that the user did not name.

    The result contains model and data, built from registered classes (of this package, or of installed plugins by entry
    point), torch.optim's optimizers and schedulers and torchvision's transforms, with plain arguments; and the trainer's
    options that an evaluation needs. Nothing is written to folders that the configuration names: caches are beside the data
    if they exist there, otherwise in the user's cache folder. The weights come from a checkpoint, so none are downloaded.

    Args:
        config: The configuration as plain values. It is not changed.
        source: The file that it is from, for messages.
        named: Dotted paths of classes that the user named on the command line: these are trusted.

    Returns:
        A configuration that contains nothing else.

    Raises:
        UntrustedError: It contains something else; the message names the key and the value.
    """
    return _Taking(source, frozenset(named)).whole(config)


def take_foreign_data(data: Any, source: Path) -> Any:
    """The same for the section ``data`` alone.

    Raises:
        UntrustedError: It contains more than a datamodule of known classes.
    """
    return _Taking(source, frozenset()).component(data, StreamDataModule, "data")


@dataclass
class _Taking:
    """Checks one configuration."""

    source: Path
    named: frozenset[str]
    _hints: dict[type, dict[str, Any]] = field(default_factory=dict)

    def whole(self, config: Mapping[str, Any]) -> dict[str, Any]:
        sections = {key: value for key, value in config.items() if key not in NOT_TAKEN}
        taken: dict[str, Any] = {}
        for key, value in sections.items():
            if key == "seed_everything":
                taken[key] = self.plain(value, key)
            elif key == "data":
                taken[key] = self.component(value, StreamDataModule, key)
            elif key == "model":
                without = {"pretrained": False, "backbone_weights": None, "base_checkpoint": None}
                taken[key] = {**self.arguments(ContinualClassifier, value, key), **without}
            elif key == "trainer":
                taken[key] = self.trainer(value)
            else:
                raise self.refused(
                    str(key), value, f"one of seed_everything, trainer, model, data, {', '.join(NOT_TAKEN)}"
                )
        return taken

    def trainer(self, section: Any) -> dict[str, Any]:
        if not isinstance(section, Mapping):
            raise self.refused("trainer", section, "options")
        given = {key: value for key, value in section.items() if key not in TRAINER_NOT_TAKEN}
        for key, words in (("accelerator", ACCELERATORS), ("strategy", STRATEGIES)):
            if (value := given.pop(key, None)) is not None and value not in words:
                raise self.refused(f"trainer.{key}", value, f"one of {', '.join(words)}")
        callbacks = given.pop("callbacks", None)
        listed = callbacks if isinstance(callbacks, list) else [] if callbacks is None else [callbacks]
        taken = self.arguments(Trainer, given, "trainer")
        kept = [
            self.component(item, Callback, f"trainer.callbacks.{number}")
            for number, item in enumerate(listed)
            if not _path_of(item).startswith(STOCK_CALLBACKS)
        ]
        own = {key: section[key] for key in ("accelerator", "strategy") if section.get(key) is not None}
        return {**taken, **own, "callbacks": kept or None}

    def component(self, value: Any, kind: type, key: str) -> Any:
        """A class of a kind with its arguments; None stays None."""
        if value is None:
            return None
        spec = {"class_path": value} if isinstance(value, str) else value
        if not (isinstance(spec, Mapping) and isinstance(spec.get("class_path"), str) and spec.keys() <= _SPEC):
            raise self.refused(key, value, f"a {kind.__name__} by its class_path and init_args")
        path = str(spec["class_path"])
        found = self.find(path, kind, key)
        arguments = self.arguments(found, spec.get("init_args") or {}, f"{key}.init_args")
        if issubclass(found, StreamDataModule) and "cache_dir" in self.hints(found):
            arguments["cache_dir"] = foreign_cache(arguments.get("root"))
            arguments |= {"download": False} if "download" in arguments else {}  # it would write to a place it chooses
        taken = {
            "class_path": path if "." in path else f"{found.__module__}.{found.__qualname__}",
            "init_args": arguments,
        }
        if more := spec.get("dict_kwargs"):
            taken["dict_kwargs"] = self.plain(more, f"{key}.dict_kwargs")
        return taken

    def find(self, path: str, kind: type, key: str) -> type:
        """The registered class that a path names."""
        found = registered(path, kind)
        if found is None and path in self.named:  # the command line imports it anyway
            module, _, name = path.rpartition(".")
            try:
                found = getattr(import_module(module), name, None)
            except ImportError as error:
                raise ConfigError(f"{key}: {path} cannot be imported: {error}.") from error
        if not (inspect.isclass(found) and issubclass(found, kind)):
            raise self.refused(key, path, f"a {kind.__name__} of this package or of an installed plugin")
        return found

    def arguments(self, cls: type, given: Any, key: str) -> dict[str, Any]:
        """A class's arguments, each checked by its type."""
        if not isinstance(given, Mapping):
            raise self.refused(key, given, f"the options of {cls.__name__}")
        hints, families = self.hints(cls), self.families(cls)
        taken: dict[str, Any] = {}
        for name, value in given.items():
            where = f"{key}.{name}"
            if not (isinstance(name, str) and name.isidentifier() and not name.startswith("_")):
                raise self.refused(where, value, f"the name of an option of {cls.__name__}")
            if issubclass(cls, StreamDataModule) and name in TRANSFORMS:
                taken[name] = self.transforms(value, where)
            elif name in families:
                taken[name] = self.class_name(value, families[name], where)
            else:
                taken[name] = self.argument(value, hints.get(name, Any), where, tuple(families.values()))
        return taken

    def argument(self, value: Any, hint: Any, key: str, families: tuple[Family | None, ...]) -> Any:
        leaves = list(leaves_of(hint))
        kinds = [kind for kind in KINDS for leaf in leaves if inspect.isclass(leaf) and issubclass(leaf, kind)]
        if kinds and not isinstance(value, int | float):
            several = isinstance(value, list)
            items = [self.component(item, kinds[0], key) for item in (value if several else [value])]
            return items if several else items[0]
        if all(is_plain(leaf) for leaf in leaves):
            return self.plain(value, key, tuple(each for each in families if each), is_text(leaves))
        if _holds_text(value) or isinstance(value, Mapping):  # its name would be imported
            raise self.refused(key, value, "numbers, or nothing")
        return self.plain(value, key)

    def class_name(self, value: Any, family: Family | None, key: str) -> Any:
        """An argument that names a class or function by dotted path."""
        if value is None or (isinstance(value, str) and value.isidentifier()):  # a name of its own package
            return value
        if family is None or not (isinstance(value, str) and family.has(value)):
            wanted = "a value that imports nothing" if family is None else f"a {family.base} of {family.package}"
            raise self.refused(key, value, wanted)
        return value

    def transforms(self, value: Any, key: str) -> Any:
        """Names of presets and torchvision's transforms, with plain options."""
        if isinstance(value, list):
            return [self.transforms(item, f"{key}.{number}") for number, item in enumerate(value)]
        if isinstance(value, str) and "." in value and not TORCHVISION.has(value):
            raise self.refused(key, value, "a preset, or a transform of torchvision")
        return self.plain(value, key, (TORCHVISION,))

    def plain(self, value: Any, key: str, families: tuple[Family, ...] = (), text: bool = False) -> Any:
        """Numbers, text, lists and mappings; a class within them must be of one of the families.

        Args:
            value: The value of an argument whose type does not determine its contents.
            key: Its name.
            families: The classes that it may name.
            text: Text is used literally, so it cannot name anything.
        """
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            if not text and _stands_for_options(value):
                raise self.refused(key, value, "plain text, not options within it")
            return value
        if isinstance(value, list):
            return [self.plain(item, f"{key}.{number}", families, text) for number, item in enumerate(value)]
        if not isinstance(value, Mapping):
            raise self.refused(key, value, "numbers, text, lists and mappings")
        for name in value:
            if isinstance(name, str) and ("." in name or name.startswith("__")):
                raise self.refused(f"{key}.{name}", value[name], "a name without dots")
        if "class_path" in value and not any(family.has(str(value["class_path"])) for family in families):
            known = " or ".join(f"a {family.base} of {family.package}" for family in families)
            raise self.refused(key, value["class_path"], known or "no class")
        return {name: self.plain(item, f"{key}.{name}", families, text) for name, item in value.items()}

    def hints(self, cls: type) -> dict[str, Any]:
        """The arguments of a class and their types, including those that it passes on to its bases."""
        if cls not in self._hints:
            self._hints[cls] = hints_of(cls)
        return self._hints[cls]

    def families(self, cls: type) -> dict[str, Family | None]:
        named: Mapping[str, str | None] = getattr(cls, "named_classes", {})
        return {name: None if base is None else Family.of(base) for name, base in named.items()}

    def refused(self, key: str, found: Any, expected: str) -> UntrustedError:
        shown = repr(found)
        return UntrustedError(
            f"{self.source}: {key}: expected {expected}, found {shown[:200]}. The configuration of a run directory must not "
            "run arbitrary code. If you trust the source of this run, give --trust_run true; or give a --config of your own."
        )


def _path_of(spec: Any) -> str:
    found = spec.get("class_path") if isinstance(spec, Mapping) else spec
    return found if isinstance(found, str) else ""


def _holds_text(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and any(_holds_text(item) for item in value))


def _stands_for_options(text: str) -> bool:
    """Whether text would be read as YAML that holds a mapping."""
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return False
    return _holds_mapping(found)


def _holds_mapping(value: Any) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list) and any(_holds_mapping(item) for item in value))
