"""The labels of methods: the learning strategy, and as few of the differing options as are needed to distinguish them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightning_vision.class_path import strategy_name
from lightning_vision.report.runs import ReportRun
from lightning_vision.results.resume_options import binding, flatten
from lightning_vision.terminal.wording import few, printable

LONGEST = 80
"""Characters of a label."""
_NOT_A_METHOD = ("seed_everything", "stop_after")
_ABSENT = "absent"

Options = dict[str, Any]
Mark = tuple[str, ...]
"""The values of the options that differ between runs."""


@dataclass(frozen=True)
class Given:
    """The label that a comparison gave to the method of a run."""

    comparison: str
    label: str


def label_runs(runs: Sequence[ReportRun], given: Sequence[Given | None]) -> list[str]:
    """A label for each run; runs with the same are one method, whose runs differ by seed alone.

    Two runs are one method if their options are the same but for paths, names, seeds and whatever else does not touch the
    result, or if their comparison says so.

    Args:
        runs: Runs of learning strategies in one group.
        given: What the comparison that made a run calls its method.
    """
    options = [_options(run) for run in runs]
    varying = _varying(runs, options)
    marks: list[Mark] = [tuple(_canonical(_value(key, option)) for key in varying) for option in options]
    # The label of a comparison takes precedence over its configurations, which may differ where it does not matter ...
    first: dict[Given, Mark] = {}
    marks = [mark if name is None else first.setdefault(name, mark) for mark, name in zip(marks, given, strict=True)]
    # ... or be the same for methods that it distinguishes, such as those of an axis over paths.
    kept_apart = {mark for mark, times in Counter((mark, name.comparison) for name, mark in first.items()).items() if times > 1}  # fmt: skip
    methods: dict[tuple[Mark, str], list[int]] = {}
    for place, (mark, name) in enumerate(zip(marks, given, strict=True)):
        apart = name is not None and (mark, name.comparison) in kept_apart
        methods.setdefault((mark, name.label if name is not None and apart else ""), []).append(place)
    labels = [""] * len(runs)
    for places, label in zip(
        methods.values(), _names(list(methods.values()), runs, options, varying, given), strict=True
    ):
        for place in places:
            labels[place] = label
    return labels


def other_differences(runs: Sequence[ReportRun]) -> str | None:
    """A sentence on options that differ between methods and are neither the learning strategy's nor in every label."""
    options = [_options(run) for run in runs]
    told = []
    for key in _varying(runs, options):
        short = _short_key(key)
        if key.startswith("strategy") or all(f"{short.rsplit('.', 1)[-1]}=" in run.method for run in runs):
            continue
        methods: dict[str, dict[str, None]] = {}
        for run, option in zip(runs, options, strict=True):
            if run.config:
                methods.setdefault(_short_value(option[key]) if key in option else "unset", {})[run.method] = None
        values = [f"{value} for {few(whose, 2)}" for value, whose in methods.items()]
        told.append(f"{short} ({'; '.join(values[:5])}{'; ...' if len(values) > 5 else ''})")
    if not told:
        return None
    return f"The methods differ in other options than those of the learning strategy: {few(told, 8)}."


def _options(run: ReportRun) -> Options:
    """What makes a method, by dotted key: the strategy's from results.json, the others from config.yaml if there is one."""
    component = run.results.run.strategy
    found: Options = {"strategy": (component.class_path.split(".", 1)[0], strategy_name(component.class_path))}
    found |= dict(flatten(component.init_args, "strategy")) if component.init_args else {}
    return found | {
        key: value
        for key, value in binding(run.config).items()
        if key and not key.startswith("model.strategy") and key not in _NOT_A_METHOD
    }


def _varying(runs: Sequence[ReportRun], options: Sequence[Options]) -> list[str]:
    """The keys that differ between runs, the strategy's own first; of a run without config.yaml its strategy alone is known."""
    keys = dict.fromkeys(key for option in options for key in option)
    found = []
    for key in keys:
        own = key.startswith("strategy")
        known = [
            (run.seed, _canonical(_value(key, option)))
            for run, option in zip(runs, options, strict=True)
            if own or (run.config and not _is_later(key, option))
        ]
        # A seed of its own, or a fold, makes a method only where it differs between runs of one seed_everything.
        counted = set(known) if key.rsplit(".", 1)[-1] in ("seed", "fold") else {(0, value) for _, value in known}
        if max(Counter(seed for seed, _ in counted).values(), default=0) > 1:
            found.append(key)
    return sorted(found, key=lambda key: (not key.startswith("strategy"), key.endswith("class_path")))


def _value(key: str, option: Options) -> Any:
    """An option's value. Those of ``fit`` itself, such as ``budget``, are null unless they are given, also in a version before them."""
    return option.get(key, _ABSENT if "." in key else None)


def _is_later(key: str, option: Options) -> bool:
    """Whether a run was written before an option was there: neither it is, nor what it is part of, nor a part of it."""
    return "." in key and not any(
        key == known or key.startswith(f"{known}.") or known.startswith(f"{key}.") for known in option
    )


def _names(
    methods: Sequence[Sequence[int]],
    runs: Sequence[ReportRun],
    options: Sequence[Options],
    varying: Sequence[str],
    given: Sequence[Given | None],
) -> list[str]:
    """A label for each method, given as the places of its runs."""
    labels: list[str | None] = []
    for places in methods:
        said = {name.label for name in (given[place] for place in places) if name is not None}
        labels.append(said.pop() if len(said) == 1 else None)
    taken = Counter(labels)
    labels = [label if taken[label] == 1 else None for label in labels]
    alike: dict[str, list[int]] = {}
    for number, places in enumerate(methods):
        alike.setdefault(runs[places[0]].strategy, []).append(number)
    for name, numbers in alike.items():
        own = [options[methods[number][0]] for number in numbers]
        for number, text in zip(numbers, _distinguished(name, own, varying), strict=True):
            labels[number] = labels[number] or text
    return unique([cut_middle(label or "?") for label in labels])


def _distinguished(name: str, options: Sequence[Options], varying: Sequence[str]) -> list[str]:
    """The name of the strategy with the fewest differing options, one after the other the one that parts the most."""
    labels = [name] * len(options)
    left = [key for key in varying if len({_canonical(_value(key, option)) for option in options}) > 1]
    while left and len(set(labels)) < len(labels):
        tried = {key: [_with(label, key, option) for label, option in zip(labels, options, strict=True)] for key in left}  # fmt: skip
        best = max(left, key=lambda key: len(set(tried[key])))
        if len(set(tried[best])) > len(set(labels)):
            labels = tried[best]
        left.remove(best)
    return labels


def _with(label: str, key: str, option: Options) -> str:
    if key not in option:
        return label
    if key == "strategy":
        return f"{option[key][0]}.{label}"
    return f"{label} {_short_key(key)}={_short_value(option[key])}"


def _short_key(key: str) -> str:
    """``model.optimizer.init_args.lr`` as ``optimizer.lr``."""
    parts = [part for part in key.split(".") if part not in ("init_args", "class_path")]
    return ".".join(parts[1:] if len(parts) > 1 and parts[0] in ("model", "trainer", "data", "strategy") else parts)


def _short_value(value: Any) -> str:
    if isinstance(value, str):
        path = value.rsplit(".", 1)
        return (
            path[-1]
            if len(path) == 2 and all(part.isidentifier() for part in value.split("."))
            else cut_middle(value, 30)
        )
    if isinstance(value, list) and value and all(isinstance(v, int | float) for v in value):
        if len(value) > 3:
            return f"{_short_value(min(value))}..{_short_value(max(value))} ({len(value)} values)"
        return ",".join(_short_value(v) for v in value)
    if isinstance(value, float):
        return f"{value:g}"
    return cut_middle(json.dumps(value, default=str, ensure_ascii=False), 30)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def cut_middle(text: str, longest: int = LONGEST) -> str:
    """The text on one line, shortened in the middle if it is too long: names often differ at both ends."""
    if len(text) > 4 * longest:
        text = f"{text[: 2 * longest]}…{text[-2 * longest :]}"
    line, half = printable(" ".join(text.split())), (longest - 1) // 2
    return line if len(line) <= longest else f"{line[:half].rstrip()}…{line[-half:].lstrip()}"


def unique(labels: Sequence[str]) -> list[str]:
    """The labels, with a number after repeated ones."""
    used: dict[str, None] = {}
    for label in labels:
        text, number = label, 1
        while text in used:
            number += 1
            text = f"{label} #{number}"
        used[text] = None
    return list(used)
