"""A JSON schema of the configurations, from the signatures and docstrings of the classes that they name."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from enum import Enum
from importlib import metadata
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from docstring_parser import parse as parse_docstring
from lightning.pytorch import Callback, Trainer

import datamodules
import strategies
from lightning_vision import recipes
from lightning_vision.data import scenarios
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.scenarios import Scenario
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.recipe import Recipe
from lightning_vision.learning.strategy import Strategy
from lightning_vision.program.argument_types import hints_of
from lightning_vision.program.known_classes import KINDS
from lightning_vision.program.plugins import load_plugins
from lightning_vision.tracking.options import EnergyOptions, WandbOptions

Schema = dict[str, Any]
SIMPLE: Mapping[Any, str] = {NoneType: "null", bool: "boolean", int: "integer", float: "number", str: "string"}
OWN_OPTIONS: Mapping[str, Schema] = {
    "seed_everything": {"type": ["integer", "boolean"], "description": "The seed of the run."},
    "run_name": {
        "type": ["string", "null"],
        "description": "The run directory's name, below trainer.default_root_dir.",
    },
    "overwrite": {"type": "boolean", "description": "Delete a run of that name first."},
    "keep_checkpoints": {
        "anyOf": [{"enum": ["last", "all"]}, {"type": "integer"}],
        "description": "Checkpoints of finished experiences that are kept.",
    },
    "stop_after": {"type": ["integer", "null"], "description": "Stop after the experience of this number."},
    "budget": {"type": ["string", "null"], "description": "Stop training at a price: steps=N or kwh=X."},
    "tune_on": {
        "type": ["integer", "null"],
        "description": "Learn this many first experiences alone and evaluate on their validation images.",
    },
    "probe": {"type": "boolean", "description": "Fit a linear probe on the backbone's features after each experience."},
    "trust_run": {"type": "boolean"},
    "ckpt_path": {"type": ["string", "null"]},
    "compare": {"type": "object", "description": "The options of the subcommand compare; `compare --help` names them."},
}
SUBCLASSES_OF_OWN = "^(strategies|datamodules|lightning_vision)\\."
LINKED = {"ContinualClassifier": ("class_names", "image_size")}
"""Arguments that the program takes from the data, and that no configuration has."""


def schema_version() -> str:
    """The version in a schema's name: that of lightning_vision without the last part."""
    return ".".join(metadata.version("lightning_vision").split(".")[:2])


def schema_name() -> str:
    """The name of the file of this version's schema."""
    return f"schema-{schema_version()}.json"


def config_schema(plugins: bool = True) -> Schema:
    """The JSON schema (draft 2020-12) of ``--config``, also of its parts and of comparisons.

    Args:
        plugins: Include the classes of other installed packages.
    """
    return _Writer(_known_classes(plugins)).whole()


def _known_classes(plugins: bool) -> dict[type, list[type]]:
    """The classes that have short names, by kind."""
    own = {
        Strategy: [getattr(strategies, name) for name in strategies.__all__],
        StreamDataModule: [getattr(datamodules, name) for name in datamodules.__all__],
        Scenario: [found for _, found in inspect.getmembers(scenarios, inspect.isclass) if _is_scenario(found)],
        Callback: [getattr(recipes, name) for name in recipes.__all__],
    }
    known: dict[type, list[type]] = {
        kind: [found for found in each if inspect.isclass(found) and issubclass(found, kind)]
        for kind, each in own.items()
    }
    known[Callback] = [found for found in known[Callback] if issubclass(found, Recipe)]
    for plugin in load_plugins() if plugins else []:
        if inspect.isclass(plugin.found):
            known[Strategy if issubclass(plugin.found, Strategy) else StreamDataModule].append(plugin.found)
    return known


def _is_scenario(cls: type) -> bool:
    return issubclass(cls, Scenario) and not inspect.isabstract(cls) and not cls.__name__.startswith("_")


class _Writer:
    """Writes one schema; a class that several options take is written once."""

    def __init__(self, known: Mapping[type, list[type]]) -> None:
        self.known = known
        self.definitions: dict[str, Schema] = {}

    def whole(self) -> Schema:
        sections = {
            "trainer": self.arguments(Trainer),
            "model": self.arguments(ContinualClassifier),
            "data": self.component(StreamDataModule),
            "energy": self.arguments(EnergyOptions),
            "wandb": self.arguments(WandbOptions),
        }
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": f"Configurations of lightning_vision {schema_version()}",
            "type": "object",
            "additionalProperties": False,
            "properties": {"$schema": {"type": "string"}, **OWN_OPTIONS, **sections},
            "$defs": dict(sorted(self.definitions.items())),
        }

    def component(self, kind: type) -> Schema:
        """A class of a kind: its name, or its class path with arguments."""
        if kind.__name__ not in self.definitions:
            self.definitions[kind.__name__] = {}  # arguments may be of the same kind
            self.definitions[kind.__name__] = self._component(kind)
        return {"$ref": f"#/$defs/{kind.__name__}"}

    def _component(self, kind: type) -> Schema:
        known = self.known.get(kind, [])
        names = [name for cls in known for name in _names(cls)]
        path: Schema = {"type": "string"}
        if names:  # of this package's classes no other exists; a class of one's own is a dotted path
            path["anyOf"] = [{"enum": names}, {"pattern": r"\.", "not": {"pattern": SUBCLASSES_OF_OWN}}]
        chosen = [
            {
                "if": {"properties": {"class_path": {"enum": _names(cls)}}, "required": ["class_path"]},
                "then": {"properties": {"init_args": self.arguments(cls)}},
            }
            for cls in known
        ]
        whole: Schema = {
            "type": "object",
            "properties": {
                "class_path": path,
                "init_args": {"type": ["object", "null"]},
                "dict_kwargs": {"type": "object"},
            },
            "additionalProperties": False,
        }
        if chosen:
            whole["allOf"] = chosen
        return {"anyOf": [path, whole], "description": f"A {kind.__name__}, by its class_path and init_args."}

    def arguments(self, cls: type) -> Schema:
        """The arguments of a class's constructor."""
        told = _descriptions(cls)
        properties = {}
        for name, hint in hints_of(cls).items():
            if name not in ("self", *LINKED.get(cls.__name__, ())):
                found = {**self.value(hint), **({"description": told[name]} if name in told else {})}
                properties[name] = found
                if any(each.get("type") == "array" for each in (found, *found.get("anyOf", ()))):
                    properties[f"{name}+"] = {**found, "description": f"Added to the {name} of an earlier config."}
        return {"type": "object", "properties": properties, "additionalProperties": False}

    def value(self, hint: Any) -> Schema:
        """The values of a type; anything where the type does not say."""
        origin, inner = get_origin(hint), get_args(hint)
        if hint in SIMPLE:
            return {"type": SIMPLE[hint]}
        if hint is None:
            return {"type": "null"}
        if origin is Annotated:
            return self.value(inner[0])
        if origin is Literal:
            return {"enum": list(inner)}
        if origin in (Union, UnionType):
            return _any_of(self.value(each) for each in inner)
        if inspect.isclass(hint) and issubclass(hint, os.PathLike):
            return {"type": "string"}
        if inspect.isclass(hint) and issubclass(hint, Enum):
            return {"enum": [each.name for each in hint]}
        if inspect.isclass(hint) and (kind := next((kind for kind in KINDS if issubclass(hint, kind)), None)):
            return self.component(kind)
        if inspect.isclass(origin) and issubclass(origin, Callable):  # type: ignore[arg-type]
            return self.value(inner[-1]) if inner else {}
        if inspect.isclass(origin) and issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": self.value(inner[1])} if len(inner) == 2 else {}
        if inspect.isclass(origin) and issubclass(origin, Collection) and not issubclass(origin, str):
            return {"type": "array", "items": self.value(inner[0])} if inner else {"type": "array"}
        return {}


def _any_of(found: Iterable[Schema]) -> Schema:
    """One of several schemas; anything if one of them allows it."""
    each: list[Schema] = []
    for schema in found:
        if schema not in each:
            each.append(schema)
    if {} in each:
        return {}
    return each[0] if len(each) == 1 else {"anyOf": each}


def _names(cls: type) -> list[str]:
    """The names by which a class may be given, the usual one first."""
    whole = f"{cls.__module__}.{cls.__qualname__}"
    package = cls.__module__.split(".")[0]
    short = f"{package}.{cls.__name__}"
    recipe = [f"lightning_vision.recipes.{cls.__name__}"] if ".recipes." in whole else []
    return list(dict.fromkeys([*recipe, short, whole, cls.__name__]))


def _descriptions(cls: type) -> dict[str, str]:
    """What docstrings say about arguments, those of a class before those of its bases."""
    told: dict[str, str] = {}
    for owner in cls.__mro__:
        for text in (vars(owner).get("__doc__"), getattr(vars(owner).get("__init__"), "__doc__", None)):
            if owner is not object and text:
                for each in parse_docstring(text).params:
                    told.setdefault(each.arg_name, re.sub(r"\s+", " ", each.description or ""))
    return {name: text for name, text in told.items() if text}
