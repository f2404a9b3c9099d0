"""The scenario card: what a reader needs to judge and to reproduce the figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath
from typing import Any

from lightning_vision.report.runs import Group, ReportRun
from lightning_vision.terminal.wording import few, figure, plural

MOST_VALUES = 8
"""The most values that are listed for one fact."""
UNKNOWN = "not recorded"
TRAINED_ON = {
    "in22k": "ImageNet-22k",
    "in21k": "ImageNet-21k",
    "in12k": "ImageNet-12k",
    "in1k": "ImageNet-1k",
    "laion2b": "LAION-2B",
    "openai": "OpenAI's WebImageText",
    "yfcc15m": "YFCC-15M",
    "lvd142m": "LVD-142M",
    "ig1b": "Instagram-1B",
    "swag": "Instagram-3.6B",
}
"""What the parts of timm's tags of weights stand for (tf_efficientnetv2_b3.in21k_ft_in1k)."""


@dataclass(frozen=True)
class Fact:
    """A line of the card."""

    name: str
    values: list[str]
    """More than one where the runs differ: each says of how many runs it holds."""
    is_code: bool = False


def scenario_card(group: Group) -> list[Fact]:
    """The facts of a group's runs, including bases; values that differ between runs are listed with the runs."""
    runs = [*group.runs, *group.bases]
    facts = [
        _fact("data", runs, _data),
        _fact("training, validation and test images", runs, _images),
        _fact("classes", runs, lambda run: figure(len(run.results.class_names))),
        _fact("stream", runs, lambda run: f"{run.results.run.scenario}, {plural(run.results.run.experiences, 'experience')}"),
        _fact("split hash", runs, lambda run: run.results.run.split_hash, is_code=True),
        _hashes_by_seed(runs),
        _fact("leaks between the splits", runs, _leaks),
        _fact("remarks on the data", runs, lambda run: _texts(run.results.run.data.get("remarks"))),
        Fact("seeds", [", ".join(str(seed) for seed in sorted({run.seed for run in runs}))]),
        _fact("backbone", runs, _backbone),
        _fact("data of the pretrained backbone", runs, lambda run: _weights(run)[1]),
        _views(runs),
        _fact("input size", runs, lambda run: str(_argument(run, "image_size"))),
        _fact("device", runs, _device),
        _fact("accuracy by kind of class", runs, _kinds),
        _fact("budget of the increments", runs, _budget),
        _fact("energy", runs, _energy),
        _fact("country and grid", runs, _grid),
        *_versions(runs),
        _fact("code", runs, lambda run: f"commit {run.results.environment.git_commit}" if run.results.environment.git_commit else UNKNOWN),
    ]  # fmt: skip
    return [fact for fact in facts if fact.values]


def _kinds(run: ReportRun) -> str:
    """The accuracy on the classes of a given base and on new ones; empty if the run allows no new classes."""
    told = []
    for kind, found in (run.results.class_kinds or {}).items():
        after = found.accuracy[-1] if found.accuracy else None
        accuracy = "not evaluated" if after is None else f"{100 * after:.1f} %"
        before = "" if found.initial_accuracy is None else f", {100 * found.initial_accuracy:.1f} % before"
        whose = {"base": "of the base", "new": "new"}[kind]
        told.append(f"{len(found.classes)} {whose}: {accuracy}{before}")
    return "; ".join(told)


def run_notes(group: Group, most: int = 30) -> list[str]:
    """The notes of the runs, each once, with the runs that have it."""
    told: dict[str, list[str]] = {}
    for run in group.runs:
        for note in run.results.notes:
            told.setdefault(" ".join(note.split()), []).append(f"{run.method}, seed {run.seed}")
    lines = [f"{few(dict.fromkeys(names), 3, '; ')}: {note}" for note, names in told.items()]
    return lines[:most] + (
        [f"... and {len(lines) - most} more, in the runs' results.json"] if len(lines) > most else []
    )


def _fact(name: str, runs: Sequence[ReportRun], tell: Callable[[ReportRun], str], *, is_code: bool = False) -> Fact:
    told: dict[str, list[ReportRun]] = {}
    for run in runs:
        told.setdefault(tell(run), []).append(run)
    if set(told) <= {""}:
        return Fact(name, [])
    if len(told) == 1:
        return Fact(name, list(told), is_code)
    values = [f"{value or UNKNOWN} ({_whose(of, runs)})" for value, of in told.items()]
    return Fact(name, _first(values), is_code)


def _first(values: list[str]) -> list[str]:
    left = len(values) - MOST_VALUES
    return values[:MOST_VALUES] + ([f"and {left} more"] if left > 0 else [])


def _whose(of: Sequence[ReportRun], runs: Sequence[ReportRun]) -> str:
    """The runs that something applies to, in few words."""
    seeds, methods = {run.seed for run in of}, {run.method for run in of}
    if all(run in of for run in runs if run.seed in seeds):
        return f"seed {', '.join(str(seed) for seed in sorted(seeds))}"
    if all(run in of for run in runs if run.method in methods):
        return few(sorted(methods), 4, "; ")
    return plural(len(of), "run")


def _hashes_by_seed(runs: Sequence[ReportRun]) -> Fact:
    found = {(run.results.run.stream_hash, run.seed) for run in runs}
    by_hash = {
        text: sorted(seed for other, seed in found if other == text)
        for text, _ in sorted(found, key=lambda one: one[1])
    }
    if len(by_hash) == 1:
        return Fact("stream hash", list(by_hash), is_code=True)
    lines = [f"{text} (seed {', '.join(map(str, seeds))})" for text, seeds in by_hash.items()]
    return Fact("stream hash", _first(lines), is_code=True)


def _argument(run: ReportRun, name: str) -> Any:
    """An argument of the datamodule, as results.json has it."""
    arguments = run.results.run.data.get("init_args")
    return arguments.get(name, UNKNOWN) if isinstance(arguments, dict) else UNKNOWN


def _option(run: ReportRun, name: str) -> Any:
    """An option of the model, as config.yaml has it."""
    model = run.config.get("model")
    return model.get(name) if isinstance(model, dict) else None


def _data(run: ReportRun) -> str:
    source, root = str(run.results.run.data.get("class_path", UNKNOWN)).rsplit(".", 1)[-1], _argument(run, "root")
    # Only the last part: the page is sent to others, who need not see the folders of this machine.
    folder = PurePath(root).name if isinstance(root, str) and root != UNKNOWN else ""
    return f"{source}, {folder}" if folder else source


def _images(run: ReportRun) -> str:
    samples, skipped = run.results.run.data.get("samples"), run.results.run.data.get("skipped")
    counts = [samples.get(part) for part in ("train", "val", "test")] if isinstance(samples, dict) else []
    if not counts or not all(isinstance(count, int) for count in counts):
        return UNKNOWN
    left = f"; {skipped} unreadable images were left out" if skipped else ""
    return ", ".join(f"{count:,}" for count in counts) + left


def _views(runs: Sequence[ReportRun]) -> Fact:
    fact = _fact("augmented views of training images", runs, _views_of)
    return fact if fact.values != ["none"] else Fact(fact.name, [])


def _views_of(run: ReportRun) -> str:
    views = _argument(run, "views")
    if not isinstance(views, int) or not views:
        return "none"
    return f"{views} of each image if the backbone is frozen, drawn with data.seed {_argument(run, 'seed')} and the same for all seeds"


def _leaks(run: ReportRun) -> str:
    leaks = run.results.run.data.get("leaks")
    if not isinstance(leaks, dict):
        return UNKNOWN
    kinds = {
        "exact": "exact copies",
        "near": "near copies",
        "label": "images with two labels",
        "groups": "groups in several splits",
    }
    found = [f"{leaks[kind]} {words}" for kind, words in kinds.items() if leaks.get(kind)]
    unsearched = [words for kind, words in kinds.items() if kind in leaks and leaks[kind] is None]
    found += [f"{', '.join(unsearched)} not searched"] if unsearched else []
    return ", ".join(found) or "none found"


def _texts(value: object) -> str:
    return " ".join(str(text) for text in value) if isinstance(value, list) else ""


def _backbone(run: ReportRun) -> str:
    network = run.results.network
    return f"{network.backbone}, {_weights(run)[0]}, {network.total_parameters:,} parameters"


def _weights(run: ReportRun) -> tuple[str, str]:
    """Where a backbone's weights are from, and what they were trained on, as far as timm's name of them says."""
    unseen = "overlap with the test images was not checked"
    if not run.config:
        return "origin of its weights not recorded", UNKNOWN
    if file := _option(run, "backbone_weights"):
        return f"weights of {PurePath(str(file)).name}", f"not known, the weights come from a file; {unseen}"
    if not _option(run, "pretrained"):
        return "random weights", "none"
    tag = run.results.network.backbone.partition(".")[2]
    what = " and ".join(name for token, name in TRAINED_ON.items() if token in tag.split("_"))
    if not what:
        what = f"see timm's tag {tag}" if tag else "see timm's default weights of that name"
    return "pretrained weights", f"{what}; {unseen}"


def _device(run: ReportRun) -> str:
    environment = run.results.environment
    processes = "one process" if environment.devices == 1 else f"{environment.devices} processes"
    return f"{environment.device}, {processes}, precision {environment.precision}"


def _budget(run: ReportRun) -> str:
    budget = run.results.budget
    if budget is None:
        return ""
    unit = {"steps": "optimizer steps", "kwh": "kWh"}[budget.kind]
    ended = f"used up in experience {', '.join(map(str, budget.stopped))}" if budget.stopped else "not used up"
    return f"{figure(budget.limit)} {unit}, {ended}"


def _energy(run: ReportRun) -> str:
    energy = run.results.energy
    if energy is None:
        return "not tracked"
    return (
        "measured by a power counter"
        if energy.mode == "measured"
        else "estimated from the load (no power counter was found)"
    )


def _grid(run: ReportRun) -> str:
    energy = run.results.energy
    if energy is None:
        return ""
    grid = energy.grid_gco2_per_kwh
    return f"{energy.country}, {UNKNOWN if grid is None else f'{grid:.0f} g CO2eq per kWh'}"


def _versions(runs: Sequence[ReportRun]) -> list[Fact]:
    """One fact for the versions that all runs share, and one for each that differs."""
    environments = [run.results.environment.model_dump() for run in runs]
    names = list(dict.fromkeys(name for environment in environments for name in environment))
    names = [name for name in names if name not in ("device", "devices", "precision", "git_commit")]
    alike = [name for name in names if len({str(environment.get(name)) for environment in environments}) == 1]
    shared = Fact("versions", [", ".join(f"{name} {environments[0][name]}" for name in alike)] if alike else [])
    differing = [name for name in names if name not in alike]
    return [shared, *(_fact(f"version of {name} (differs)", runs, partial(_version, name)) for name in differing)]


def _version(name: str, run: ReportRun) -> str:
    return str(run.results.environment.model_dump().get(name, UNKNOWN))
