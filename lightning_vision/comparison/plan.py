"""The cells of a comparison: strategies x seeds x axes, each a whole configuration, and the bases that they share."""

from __future__ import annotations

import hashlib
import inspect
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from lightning_vision.class_path import DEFAULT_STRATEGY, short_name
from lightning_vision.comparison.options import BOUNDS, Choice, CompareOptions, Settings, read_yaml, words_of
from lightning_vision.errors import ConfigError
from lightning_vision.learning.budget import Budget
from lightning_vision.learning.strategy import Strategy
from lightning_vision.program.fit_config import FitReader, ReadConfig
from lightning_vision.results.resume_options import binding
from lightning_vision.results.run_directory import RunDirectory, safe_name
from lightning_vision.results.same_options import Kept, compare_options
from lightning_vision.terminal.wording import spelt

RUNS, BASES, TRIALS = "runs", "bases", "tuning"
OF_THE_BASE = ("data.", "model.backbone", "model.pretrained", "model.pixel_", "model.base_")
"""Settings of a learning strategy that its base must share: its data and network, and how the base is trained."""

UPPER = BOUNDS[-1]
OFFLINE = ("--data.stream.online=false", "--data.stream.evaluate_every=null")


@dataclass(frozen=True)
class PlannedRun:
    """One run directory of a comparison: a cell, or a base that cells share."""

    name: str
    method: str
    """A key that runs which differ only in the seed have in common."""
    strategy: str
    seed: int
    settings: dict[str, str]
    """The label of its point on each axis."""
    config: dict[str, Any]
    """The whole configuration of ``fit`` as plain values."""
    dumped: str
    """The same as YAML for ``fit --config``."""
    kind: str = RUNS
    base: str | None = None
    """The name of the base from which it starts; None: it trains its own, or has none."""
    label: str = ""
    """The label of its learning strategy; empty for a base."""
    cell: str = ""
    """Identifies the strategy, the point of the axes and the seed; empty for a base."""
    tried: dict[str, Any] = field(default_factory=dict)
    """The values of the tuned options: those that were chosen, or that a trial tries."""

    @property
    def directory(self) -> str:
        """Its run directory in the comparison's folder."""
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True)
class Plan:
    """The runs of a comparison."""

    cells: list[PlannedRun]
    bases: list[PlannedRun]
    remarks: list[str]
    common: dict[str, Any]
    """The configuration that all cells share, without the learning strategy if several are compared."""


def make_plan(options: CompareOptions, tried: Sequence[Settings] | None = None) -> Plan:
    """Plan the cells and their bases. Every configuration is parsed, so that errors appear before anything runs.

    Args:
        options: The options of the comparison, with what was chosen by tuning.
        tried: Plan trials with these values in place of each cell.

    Raises:
        ConfigError: An option of a cell cannot be used, no cell is left, or there are more than ``max_cells``.
    """
    points = options.points()
    wanted = [
        (seed, point, strategy)
        for seed in options.seeds
        for point in points
        for strategy in options.strategies or (Choice("", {}),)
        if not options.left_out(strategy, seed, point)
    ]
    if not wanted:
        raise ConfigError("No cell is left: the conditions of --skip leave out all of them.")
    count = len(wanted) * (1 if tried is None else len(tried))
    if count > options.max_cells:
        factors = f"{max(1, len(options.strategies))} strategies x {len(options.seeds)} seeds x {len(points)} settings"
        factors += "" if tried is None else f" x {len(tried)} combinations of --tune"
        raise ConfigError(
            f"This comparison has {count:,} {'cells' if tried is None else 'trials'} ({factors}); the maximum is {options.max_cells}. "
            f"If this is intended, give --max_cells {count}; otherwise use fewer values, --zip or --skip."
        )
    with _stripped(options.configs, drop_strategy=bool(options.strategies)) as configs, _base_parts(options) as parts:
        planner = _Planner(options, configs, parts)
        if tried is None:
            cells = [planner.cell(seed, point, strategy) for seed, point, strategy in wanted]
        else:
            cells = [planner.trial(*cell, number, values) for cell in wanted for number, values in enumerate(tried)]
        common = planner.common()
    names = [cell.name for cell in cells]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ConfigError(
            f"Two cells would be called {twice[0]}: give strategies and values of axes labels that differ."
        )
    return Plan(cells, list(planner.bases.values()), list(planner.remarks), common)


class _Planner:
    """Reads the configuration of each cell, and of its base."""

    def __init__(self, options: CompareOptions, configs: Sequence[str], base_parts: Mapping[str, str]) -> None:
        self.options, self.base_parts = options, base_parts
        self.configs = [word for config in configs for word in ("--config", config)]
        self.bases: dict[str, PlannedRun] = {}
        self.remarks: dict[str, None] = {}  # each once, in order
        self._reader = FitReader()
        self._known: dict[tuple[str, ...], ReadConfig] = {}
        """By the options without the seed: reading them takes longer than all else here."""
        self._streams: dict[tuple[str, ...], Literal["given", "default", "own"]] = {}
        """The source of the stream in a configuration of data."""

    def common(self) -> dict[str, Any]:
        """The options that all cells share, as a config."""
        config = self._reader.read([*self.configs, *self.options.fit_words]).config
        return {
            key: value for key, value in config.items() if key not in ("config", "ckpt_path", "overwrite", "run_name")
        }

    def cell(self, seed: int, point: Mapping[str, Choice], strategy: Choice) -> PlannedRun:
        """A cell, with the values that were chosen for it."""
        return self._cell(seed, point, strategy, self.options.picked.get(cell_key(strategy, point, seed), {}), RUNS, "")

    def trial(
        self, seed: int, point: Mapping[str, Choice], strategy: Choice, number: int, values: Settings
    ) -> PlannedRun:
        """A trial of values for a cell.

        Raises:
            ConfigError: The first experiences do not show the effect of the values, or are more than there are.
        """
        planned = self._cell(seed, point, strategy, values, TRIALS, f"-trial={number}")
        first, stream = self.options.tune_on, planned.config["data"].get("init_args", {}).get("stream") or {}
        experiences = (stream.get("init_args") or {}).get("experiences")
        if isinstance(experiences, int) and first > experiences:
            raise ConfigError(
                f"--tune_on: expected at most the {experiences} experiences of the stream, found {first}."
            )
        if first == 1 and planned.base is not None:
            raise ConfigError(
                "--tune_on 1: experience 0 is the base, on which tuned options have no effect. Give 2 or more."
            )
        return planned

    def _cell(
        self, seed: int, point: Mapping[str, Choice], strategy: Choice, tuned: Settings, kind: str, end: str
    ) -> PlannedRun:
        settings = [word for choice in point.values() for word in words_of(choice.settings)]
        more = dict(strategy.settings)
        chosen = words_of({"model.strategy": more.pop("model.strategy")}) if "model.strategy" in more else []
        entry = ["--config", strategy.config] if strategy.config else chosen
        words = [*entry, *self.options.fit_words, *words_of(more), *words_of(tuned), *settings]
        where = f"{strategy.label or 'the cells'}{''.join(f', {name}={c.label}' for name, c in point.items())}"
        read = self._read(seed, words, where)
        if self._is_bound_of_online(strategy, read):
            read = self._read(seed, [*words, *OFFLINE], where)
        made = strategy.made
        learner = short_name(read.config["model"]["strategy"], DEFAULT_STRATEGY) if made is None else made.__name__
        label = strategy.label or learner
        shared = words_of({key: value for key, value in {**more, **tuned}.items() if key.startswith(OF_THE_BASE)})
        own = ["--config", part] if (part := self.base_parts.get(strategy.config or "")) else []
        base = self._base(seed, point, own, [*shared, *settings], read, where, made)
        labels = {name: choice.label for name, choice in point.items()}
        told = {name: value for name, value in labels.items() if not is_fold(point[name])}
        method = ", ".join([label, *(f"{name.rsplit('.', 1)[-1]}={value}" for name, value in told.items())])
        name = safe_name(
            "-".join([label, *(f"{n.rsplit('.', 1)[-1]}={v}" for n, v in labels.items()), f"seed={seed}"]) + end
        )
        planned = self._planned(read, name, kind, method, learner, seed, labels, base)
        return replace(planned, label=label, cell=cell_key(strategy, point, seed), tried=dict(tuned))

    def _is_bound_of_online(self, strategy: Choice, cell: ReadConfig) -> bool:
        """Whether a cell is the upper bound of an online stream, which learns it offline; a remark says so."""
        stream = cell.config["data"].get("init_args", {}).get("stream") or {}
        online = bool((stream.get("init_args") or {}).get("online"))
        if not online or not self.options.bounds or dict(strategy.settings) != {"model.strategy": UPPER}:
            return False
        self.remarks[
            f"{UPPER}, the upper bound, learns the stream offline (data.stream.online: false), since it learns every image again."
        ] = None
        return True

    def _base(
        self,
        seed: int,
        point: Mapping[str, Choice],
        config: Sequence[str],
        settings: Sequence[str],
        cell: ReadConfig,
        where: str,
        made: type | None,
    ) -> PlannedRun | None:
        """The base of a cell, the same for all cells whose bases are trained with the same options; None if none is shared."""
        if not self._shares_base(cell, made):
            return None
        own = [*config, *without_strategy([*self.options.fit_words, *settings])]
        of_cells = ["--budget=null", "--probe=false"]
        read = self._read(seed, [*own, "--model.strategy=null", *of_cells], f"the base of {where}")
        key = base_key(read.config)
        if key not in self.bases:
            moved = {name: choice.label for name, choice in point.items()}
            name = self._earlier_base(read.config, seed) or safe_name(f"base-seed={seed}-{key[:8]}")
            self.bases[key] = self._planned(read, name, BASES, "Base", "Base", seed, moved, None)
        return self.bases[key]

    def _earlier_base(self, config: Mapping[str, Any], seed: int) -> str | None:
        """The equal base of an earlier call: an earlier version with other options may have named it differently."""
        for path in sorted((self.options.output / BASES).glob(f"base-seed={seed}-*")):
            directory = RunDirectory(path)
            if directory.config.is_file() and is_same_base(directory.read_config(), config):
                return path.name
        return None

    def _shares_base(self, cell: ReadConfig, made: type | None) -> bool:
        """Whether a cell can start from a shared base; a remark names the reason if not."""
        stream = cell.config["data"].get("init_args", {}).get("stream") or {}
        options = stream.get("init_args") or {}
        one = options.get("experiences") == 1 or str(stream.get("class_path", "")).endswith(".Joint")
        given = cell.config["model"]["base_checkpoint"] is not None or options.get("base_fraction") == 0
        if one or given:
            return False
        strategy = made or cell.strategy_class
        if strategy is None or not issubclass(strategy, Strategy):
            return True
        name = strategy.__name__
        if strategy.learns_base:
            self.remarks[
                f"{name} learns experience 0 itself, so its cells do not start from the base of the others."
            ] = None
        elif strategy.follows_base:
            remark = f"{name} observes the training of the base, so each of its cells trains the base itself, with the same options."
            self.remarks[remark] = None
        return not strategy.learns_base and not strategy.follows_base

    def _read(self, seed: int, words: Sequence[str], where: str) -> ReadConfig:
        whole = [*self.configs, *words, f"--seed_everything={seed}"]
        try:
            moved = self._moved_stream(whole, seed)
            if tuple(words) not in self._known:  # the base of many cells is the same
                self._known[tuple(words)] = self._reader.read([*whole, *moved])
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error
        seeds = {"seed_everything": seed} | ({"data.init_args.stream.init_args.seed": seed} if moved else {})
        return self._known[tuple(words)].with_values(seeds)

    def _moved_stream(self, words: Sequence[str], seed: int) -> list[str]:
        """The options by which the stream depends on the seed."""
        of_data = tuple(word for word in words if not word.startswith(("--seed", "--model.", "--trainer.")))
        if of_data not in self._streams:
            read = self._reader.read(list(words))
            own = inspect.signature(read.data_class).parameters if read.data_class is not None else {}
            given = read.config["data"].get("init_args", {}).get("stream") is not None
            # A datamodule that names ``stream`` itself would pass it on among the options otherwise.
            self._streams[of_data] = "given" if given else "own" if "stream" in own else "default"
            if self._streams[of_data] == "own":
                data = short_name(read.config["data"], "")
                remark = f"{data} has a fixed stream: seeds change initialisation and order, not the stream."
                self.remarks[remark] = None
        source = self._streams[of_data]
        named = ["--data.stream=InstanceIncremental"] if source == "default" else []
        return [] if source == "own" else [*named, f"--data.stream.seed={seed}"]

    def _planned(
        self, read: ReadConfig, name: str, kind: str, method: str, strategy: str, seed: int,
        settings: dict[str, str], base: PlannedRun | None,
    ) -> PlannedRun:  # fmt: skip
        """The run, with its place in the comparison's folder in its configuration."""
        output = self.options.output.resolve()
        if spelt(str(output)) != str(output):  # the configurations of its runs contain the whole path
            raise ConfigError(f"--output: expected a path in UTF-8, found {spelt(str(output))}.")
        if (budget := read.config.get("budget")) is not None:
            Budget.read(budget)
        changes: dict[str, Any] = {"run_name": name, "trainer.default_root_dir": str(output / kind)}
        if kind == BASES:
            changes |= {"stop_after": 0, "keep_checkpoints": "last"}
        if kind == TRIALS:
            changes |= {"tune_on": self.options.tune_on, "probe": False}
        if base is not None:
            changes["model.base_checkpoint"] = str(output / base.directory / "checkpoints" / "experience=0000.ckpt")
        changes["wandb.group"] = read.config["wandb"]["group"] or output.name
        config, dumped = read.with_changes(changes)
        return PlannedRun(
            name, method, strategy, seed, settings, config, dumped, kind, None if base is None else base.name
        )


def cell_key(strategy: Choice, point: Mapping[str, Choice], seed: int) -> str:
    """Identifies a cell by labels alone, before its configuration is read."""
    return json.dumps([strategy.label, {name: choice.label for name, choice in point.items()}, seed])


def base_key(config: Mapping[str, Any]) -> str:
    """A hash of the options that determine the training of the base, without those of the learning strategy."""
    kept = {key: value for key, value in binding(dict(config)).items() if not _is_no_matter(key, config)}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()


def is_same_base(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a base that was trained with a configuration, possibly of an earlier version, equals the wanted one."""
    return all(_is_no_matter(each.key, now) or isinstance(each, Kept) for each in compare_options(before, now))


def _is_no_matter(key: str, config: Mapping[str, Any]) -> bool:
    """Whether an option has no effect on the training of the base."""
    model = config["model"]
    ignored = ["model.strategy", "budget", "probe", "tune_on"]
    if model["base_optimizer"] is not None:
        ignored += ["model.optimizer", "model.lr_scheduler"]
    if model["base_epochs"] is not None:
        ignored.append("trainer.max_epochs")
    return any(key == name or key.startswith(f"{name}.") for name in ignored)


def without_strategy(words: Sequence[str]) -> list[str]:
    """Options of ``fit`` without those of the learning strategy, written as ``--key=value`` or ``--key value``."""
    kept, drops = [], False
    for word in words:
        if word.startswith("--"):
            key = word.removeprefix("--").partition("=")[0]
            drops = key == "model.strategy" or key.startswith("model.strategy.")
        if not drops:
            kept.append(word)
    return kept


def is_fold(choice: Choice) -> bool:
    """Whether a point of an axis is one fold of a cross-validation: folds are repetitions, like seeds."""
    split = choice.settings.get("data.split")
    return len(choice.settings) == 1 and isinstance(split, dict) and "folds" in split


@contextmanager
def _stripped(configs: Sequence[str], drop_strategy: bool) -> Iterator[list[str]]:
    """The configs without the options of the comparison.

    If the comparison names learning strategies, that of the configs is left out too: its options would stay for a
    strategy that has options with the same names.
    """
    contents = []
    for config in configs:
        content = read_yaml(config)
        content.pop("compare", None)
        content.pop("run_name", None)
        if drop_strategy and isinstance(content.get("model"), dict):
            content["model"].pop("strategy", None)
        contents.append((config, content))
    with _written(contents) as paths:
        yield paths


@contextmanager
def _base_parts(options: CompareOptions) -> Iterator[dict[str, str]]:
    """What the configs of learning strategies say of their bases, as a config of its own by path; nothing of those that say nothing."""
    found = {}
    for config in {strategy.config for strategy in options.strategies if strategy.config is not None}:
        content = read_yaml(config)
        model = content.get("model")
        of_model = (
            {k: v for k, v in model.items() if f"model.{k}".startswith(OF_THE_BASE)} if isinstance(model, dict) else {}
        )
        part = {"data": content.get("data"), "model": of_model}
        if any(part.values()):
            found[config] = {key: value for key, value in part.items() if value}
    with _written(list(found.items())) as paths:
        yield dict(zip(found, paths, strict=True))


@contextmanager
def _written(contents: Sequence[tuple[str, Any]]) -> Iterator[list[str]]:
    """Configs in files of their own, each given as the path of the one that it is made of, and its content."""
    with tempfile.TemporaryDirectory(prefix="lightning_vision-") as folder:
        paths = []
        for number, (config, content) in enumerate(contents):
            path = Path(folder) / f"{number}-{Path(config).name}"
            path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
            paths.append(str(path))
        yield paths
