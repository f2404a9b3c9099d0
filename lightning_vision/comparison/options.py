"""The options of ``compare``: strategies, seeds and axes, from the command line and the section ``compare`` of a config."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Literal

import yaml

from lightning_vision.comparison.command_line import EXECUTORS, MAX_CELLS, TUNE_ON, make_parser
from lightning_vision.errors import ConfigError
from lightning_vision.program.shipped_configs import find_config
from lightning_vision.results.unwritten import MARK
from lightning_vision.storage.plain_yaml import with_keys_once

Settings = dict[str, Any]
"""Values by dotted key of the configuration; a label without values changes nothing."""


@dataclass(frozen=True)
class Choice:
    """One point of an axis, or one learning strategy: its label and its settings."""

    label: str
    settings: Settings
    config: str | None = None
    made: type | None = None
    """The class of a learning strategy that is given as an object and cannot be written as settings."""


@dataclass(frozen=True)
class CompareOptions:
    """All options of ``compare``; docs/compare.md describes them."""

    configs: tuple[str, ...]
    strategies: tuple[Choice, ...]
    seeds: tuple[int, ...] = (0,)
    axes: dict[str, tuple[Choice, ...]] = field(default_factory=dict)
    zipped: tuple[tuple[str, ...], ...] = ()
    skip: tuple[dict[str, Any], ...] = ()
    output: Path = Path("runs/comparison")
    log_variants: Literal["series", "runs"] = "series"
    executor: str = "here"
    workers: int = 2
    address: str = "auto"
    executor_options: dict[str, Any] = field(default_factory=dict)
    max_cells: int = MAX_CELLS
    dry_run: bool = False
    trust_run: bool = False
    tune: dict[str, tuple[Choice, ...]] = field(default_factory=dict)
    """Options of each learning strategy that are chosen before the comparison, and the values to try."""
    tune_on: int = TUNE_ON
    """The number of first experiences on whose validation images they are chosen."""
    picked: dict[str, Settings] = field(default_factory=dict)
    """What was chosen, by ``PlannedRun.cell``; filled during the comparison."""
    table: Literal["terminal", "latex", "markdown"] = "terminal"
    bounds: bool = False
    fit_words: tuple[str, ...] = ()
    """Options of ``fit`` for every cell."""

    def points(self) -> list[dict[str, Choice]]:
        """The combinations of the axes: crossed, except for zipped axes."""
        groups = [*self.zipped, *((name,) for name in self.axes if not any(name in zipped for zipped in self.zipped))]
        moves = []
        for group in groups:
            columns = [self.axes[name] for name in group]
            moves.append([dict(zip(group, step, strict=True)) for step in zip(*columns, strict=True)])
        return [{name: choice for part in parts for name, choice in part.items()} for parts in product(*moves)]

    def left_out(self, strategy: Choice, seed: int, point: Mapping[str, Choice]) -> bool:
        """Whether a condition of ``skip`` leaves out this cell: all parts of it must match."""
        facts: dict[str, Any] = {"strategy": strategy.label, "seed": seed}
        facts |= {name: _values_of(name, choice) for name, choice in point.items()}
        return any(all(_matches(facts[key], value) for key, value in condition.items()) for condition in self.skip)

    def plain(self) -> dict[str, Any]:
        """The section ``compare`` with the same options."""
        section = {
            "strategies": [_plain_choice(choice) for choice in self.strategies],
            "seeds": list(self.seeds),
            "axes": {name: {c.label: dict(c.settings) for c in choices} for name, choices in self.axes.items()},
            "zip": [list(group) for group in self.zipped],
            "skip": [dict(condition) for condition in self.skip],
            "tune": {name: {c.label: dict(c.settings) for c in choices} for name, choices in self.tune.items()},
            "tune_on": self.tune_on if self.tune else False,
            "bounds": self.bounds,
            "log_variants": self.log_variants,
        }
        return {key: value for key, value in section.items() if value not in ([], {}, False)}


def _values_of(name: str, choice: Choice) -> tuple[Any, ...]:
    """The names of a point of an axis in a condition: its label, or the value that it sets."""
    return (choice.label, *([choice.settings[name]] if name in choice.settings else []))


def _matches(fact: Any, asked: Any) -> bool:
    facts = fact if isinstance(fact, tuple) else (fact,)
    wanted = asked if isinstance(asked, list) else [asked]
    return any(fact == value or str(fact) == str(value) for fact in facts for value in wanted)


def _plain_choice(choice: Choice) -> Any:
    settings = dict(choice.settings)
    if choice.config:
        settings["config"] = choice.config
    if choice.made is not None:
        settings["model.strategy"] = f"{MARK}an object of the class {choice.made.__qualname__}"
    return choice.label if settings == {"model.strategy": choice.label} else {choice.label: settings}


def read_options(words: Sequence[str]) -> CompareOptions:
    """The options from the words after ``compare``; the command line takes precedence over configs.

    Raises:
        ConfigError: An option cannot be used.
    """
    given, fit_words = make_parser().parse_known_args(list(words))
    section: dict[str, Any] = {}
    for config in given.config:
        section |= _section(config)
    unknown = sorted(section.keys() - SECTION)
    if unknown:
        raise ConfigError(
            f"The section `compare` has no option {', '.join(unknown)}; it has {', '.join(sorted(SECTION))}."
        )
    asked = {
        key: value
        for key, value in vars(given).items()
        if value is not None and key not in ("config", "dry_run", "trust_run", "table")
    }
    axes = section.pop("axes", {}) if "axis" not in asked else section.pop("axes", {}) | _axes_of(asked.pop("axis"))
    if "skip" in asked:
        asked["skip"] = [_condition(text) for text in asked["skip"]]
    if "tune" in asked:
        asked["tune"] = _axes_of(asked["tune"], "--tune")
    if "budget" in asked:
        fit_words = [*fit_words, f"--budget={_one_budget(asked.pop('budget'))}"]
    if "bounds" in asked:
        asked["bounds"] = asked["bounds"] == "true"
    if "executor_options" in asked:
        asked["executor_options"] = yaml_value(asked["executor_options"], "--executor_options")
    return options_of(
        section | asked | {"axes": axes},
        given.config,
        dry_run=given.dry_run,
        trust_run=given.trust_run == "true",
        table=given.table or "terminal",
        fit_words=(*fit_words, *(["--trust_run=true"] if given.trust_run == "true" else [])),
    )


def options_of(section: Mapping[str, Any], configs: Sequence[str], **more: Any) -> CompareOptions:
    """The options from a section ``compare``.

    Args:
        section: The section; a strategy may be a ``Choice``.
        configs: The files that all cells share.
        more: Fields of ``CompareOptions`` that no section has.

    Raises:
        ConfigError: An option cannot be used.
    """
    axes = {str(name): _read_axis(str(name), v) for name, v in _mapping(section.get("axes", {}), "axes").items()}
    options = CompareOptions(
        configs=tuple(configs),
        strategies=with_bounds(
            tuple(_read_strategy(item) for item in _sequence(section.get("strategies", []), "strategies")),
            section.get("bounds", False),
        ),
        seeds=tuple(_read_seed(seed) for seed in _sequence(section.get("seeds", [0]), "seeds")),
        axes=axes,
        tune={str(name): _read_axis(str(name), v) for name, v in _mapping(section.get("tune", {}), "tune").items()},
        zipped=tuple(tuple(_sequence(group, "zip")) for group in _sequence(section.get("zip", []), "zip")),
        skip=tuple(_mapping(item, "skip") for item in _sequence(section.get("skip", []), "skip")),
        output=Path(section.get("output", CompareOptions.output)),
        **{key: section[key] for key in PLAIN & section.keys()},
        **more,
    )
    _check(options)
    return options


PLAIN = {"bounds", "tune_on", "executor", "workers", "address", "executor_options", "log_variants", "max_cells"}
BOUNDS = ("FullFineTune", "Retrain")
"""The learning strategies between which the report places the others: sequential fine-tuning, and all data so far."""
SECTION = PLAIN | {"strategies", "seeds", "axes", "tune", "zip", "skip", "output"}


def with_bounds(strategies: tuple[Choice, ...], wanted: Any) -> tuple[Choice, ...]:
    """The strategies with those of ``BOUNDS`` that are missing.

    Raises:
        ConfigError: ``wanted`` is neither true nor false, or no strategy is named.
    """
    if not isinstance(wanted, bool):
        raise ConfigError(f"--bounds: expected true or false, found {wanted!r}.")
    if wanted and not strategies:
        raise ConfigError("--bounds true adds learning strategies to those of --strategies, and found none there.")
    labels = {choice.label for choice in strategies}
    missing = [name for name in BOUNDS if name not in labels] if wanted else []
    return (*strategies, *(Choice(name, {"model.strategy": name}) for name in missing))


def _section(config: str) -> dict[str, Any]:
    found = read_yaml(config).get("compare")
    return {} if found is None else _mapping(found, f"{config}: compare")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A config as a mapping.

    Raises:
        ConfigError: It is none.
    """
    try:
        content = yaml.safe_load(with_keys_once(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    return _mapping({} if content is None else content, str(path))


def _check(options: CompareOptions) -> None:
    if options.workers < 1:
        raise ConfigError(f"--workers: expected 1 or more, found {options.workers}.")
    if options.executor not in EXECUTORS:
        raise ConfigError(f"--executor: expected one of {', '.join(EXECUTORS)}, found {options.executor!r}.")
    if len(set(options.seeds)) < len(options.seeds):
        raise ConfigError(f"--seeds: expected different numbers, found {list(options.seeds)}.")
    labels = [choice.label for choice in options.strategies]
    if len(set(labels)) < len(labels):
        raise ConfigError(
            f"--strategies: expected different strategies, found {', '.join(labels)}. Give each a label of its own."
        )
    for group in options.zipped:
        lengths = {name: len(options.axes[name]) for name in group if name in options.axes}
        if len(lengths) < len(group) or len(set(lengths.values())) != 1:
            raise ConfigError(
                f"--zip {' '.join(group)}: expected axes of equal length, found "
                f"{', '.join(f'{name} with {lengths[name]}' if name in lengths else f'no axis {name}' for name in group)}."
            )
    check_tuning(options)
    known = {"strategy", "seed", *options.axes}
    for condition in options.skip:
        if wrong := sorted(condition.keys() - known):
            raise ConfigError(f"--skip: expected {', '.join(sorted(known))}, found {', '.join(wrong)}.")


def check_tuning(options: CompareOptions) -> None:
    """Refuse what cannot be tuned.

    Raises:
        ConfigError: An option of the tuning cannot be used.
    """
    if isinstance(options.tune_on, bool) or not isinstance(options.tune_on, int) or options.tune_on < 1:
        raise ConfigError(f"--tune_on: expected a number of experiences, from 1 on, found {options.tune_on!r}.")
    for key in options.tune:
        moved = [name for name, choices in options.axes.items() if any(key in (name, *c.settings) for c in choices)]
        if moved:
            raise ConfigError(f"--tune {key}: the axis {moved[0]} sets it too. Remove one of the two.")
        if key.split(".")[0] not in ("model", "trainer", "data") or key.startswith(UNTUNED):
            raise ConfigError(
                f"--tune {key}: expected an option of the model, the trainer or the training data, such as model.optimizer.lr. The "
                "split, the stream and the evaluation are the same for all."
            )


UNTUNED = (
    "data.stream", "data.split", "data.seed", "data.root", "data.test_", "data.val_", "data.eval_", "model.base_", "trainer.limit_test",
    "trainer.limit_val",
)  # fmt: skip
"""Options that change what is learned or measured: a value that made the task easier would be chosen."""


def _read_seed(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**32:
        raise ConfigError(f"--seeds: expected numbers from 0 on, found {value!r}.")
    return value


def _read_strategy(item: Any) -> Choice:
    if isinstance(item, Choice):
        return item
    if isinstance(item, str):
        if item.endswith((".yaml", ".yml")):
            found = find_config(item)
            return Choice(_name_of_config(found), {}, config=found)
        return Choice(item.rsplit(".", 1)[-1], {"model.strategy": item})
    entry = _mapping(item, "strategies")
    if len(entry) != 1:
        raise ConfigError(f"strategies: expected a name, a config or one label with its settings, found {item!r}.")
    ((label, settings),) = entry.items()
    settings = dict(_mapping(settings, f"strategies: {label}"))
    config = settings.pop("config", None)
    return Choice(str(label), settings, None if config is None else find_config(str(config)))


def _name_of_config(path: str) -> str:
    """The short name of the learning strategy that a config chooses; the name of the file if it chooses none."""
    model = read_yaml(path).get("model")
    strategy = model.get("strategy") if isinstance(model, Mapping) else None
    chosen = strategy.get("class_path") if isinstance(strategy, Mapping) else strategy
    return str(chosen).rsplit(".", 1)[-1] if chosen else Path(path).stem


def _one_budget(texts: Sequence[str]) -> str:
    if len(texts) > 1:
        raise ConfigError(f"--budget: expected one of steps=N and kwh=X, found {' and '.join(texts)}.")
    return texts[0]


def _axes_of(texts: Sequence[str], option: str = "--axis") -> dict[str, list[Any]]:
    axes: dict[str, list[Any]] = {}
    for text in texts:
        key, eq, values = text.partition("=")
        if not (key and eq and values):
            raise ConfigError(f"{option}: expected KEY=VALUE,VALUE (as in data.image_size=32,64), found {text!r}.")
        read = yaml_value(f"[{values}]", f"{option} {key}")
        axes[key] = list(read)
    return axes


def _read_axis(name: str, values: Any) -> tuple[Choice, ...]:
    if isinstance(values, Mapping):
        choices = [Choice(str(label), dict(_mapping(found or {}, f"axes: {name}"))) for label, found in values.items()]
    else:
        choices = [Choice(_label(value), {name: value}) for value in _sequence(values, f"axes: {name}")]
    labels = [choice.label for choice in choices]
    if not labels or len(set(labels)) < len(labels):
        raise ConfigError(f"axes: {name}: expected different values, found {', '.join(labels) or 'none'}.")
    return tuple(choices)


def _label(value: Any) -> str:
    """A name for a value; that of a class is its short name."""
    if isinstance(value, Mapping) and "class_path" in value:
        return str(value["class_path"]).rsplit(".", 1)[-1]
    return value if isinstance(value, str) else json.dumps(value)


def _condition(text: str) -> dict[str, Any]:
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(key and eq for key, eq, _ in pairs):
        raise ConfigError(
            f"--skip: expected KEY=VALUE,KEY=VALUE (as in strategy=RanPAC,data.image_size=64), found {text!r}."
        )
    return {key: yaml_value(value, "--skip") for key, _, value in pairs}


def yaml_value(text: str, where: str) -> Any:
    """Parse a value as YAML, including numbers such as 1e-3.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        return _with_numbers(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: {text!r} cannot be read: {' '.join(str(error).split())}") from error


def _with_numbers(value: Any) -> Any:
    """Parse numbers such as 1e-3, which YAML 1.1 reads as text."""
    if isinstance(value, list):
        return [_with_numbers(item) for item in value]
    if isinstance(value, dict):
        return {key: _with_numbers(item) for key, item in value.items()}
    if isinstance(value, str) and value[:1].isdigit():
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: expected options with names, found {value!r}.")
    return {str(key): item for key, item in value.items()}


def _sequence(value: Any, where: str) -> list[Any]:
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise ConfigError(f"{where}: expected a list, found {value!r}.")
    return list(value)


def words_of(settings: Mapping[str, Any]) -> list[str]:
    """Settings as options of the command line."""
    return [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in settings.items()]


def command_of(words: Sequence[str]) -> str:
    """The command line of a comparison."""
    return shlex.join(["lightning-vision", "compare", *words])
