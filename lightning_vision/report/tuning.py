"""What a comparison chose by tuning, and what that cost, from its tuning.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, Field, JsonValue

from lightning_vision.report.means import mean_of_known
from lightning_vision.terminal.wording import few, figure, plural

TUNING = "tuning.json"


class Tried(BaseModel):
    """One trial."""

    settings: dict[str, JsonValue]
    run: str
    accuracy: float | None
    error: str = ""
    steps: int | None = None
    seconds: float | None = None
    energy_kwh: float | None = None
    co2eq_kg: float | None = None
    images: int | None = None
    """Images that were run through the backbone; files of earlier versions do not have it."""


class TunedCell(BaseModel):
    """What was chosen for a method and a seed."""

    method: str
    seed: int
    cell: str
    picked: dict[str, JsonValue]
    tried: list[Tried]


class TuningFile(BaseModel):
    """tuning.json."""

    schema_version: Literal[1] = Field(alias="schema")
    tune_on: int
    options: list[str]
    cells: list[TunedCell]


@dataclass(frozen=True)
class TuningCost:
    """What some trials cost, learning and evaluation, without the bases that they start from."""

    trials: int
    failed: int
    """Trials of which no cost is known; the other figures are without them."""
    steps: int
    seconds: float
    images: int | None
    """Images that were run through the backbone; None if it is not known of all."""
    energy_kwh: float | None
    co2eq_kg: float | None

    @property
    def words(self) -> str:
        """The cost in one line."""
        failed = f" ({self.failed} failed, whose cost is not known)" if self.failed else ""
        images = "an unknown number of images" if self.images is None else f"{self.images:,} images"
        energy = "energy not known" if self.energy_kwh is None else f"{figure(self.energy_kwh)} kWh"
        return (
            f"{plural(self.trials, 'trial')}{failed}: {figure(self.seconds)} s, {images} through the backbone, {energy}"
        )


@dataclass(frozen=True)
class TunedMethod:
    """A row of the page: what was chosen for a method, and the cost of all its trials."""

    method: str
    picked: list[str]
    """Each choice with the seeds that have it."""
    cost: TuningCost


def tuned_methods(file: TuningFile) -> list[TunedMethod]:
    """The methods in the order of the file."""
    by_method: dict[str, list[TunedCell]] = {}
    for cell in file.cells:
        by_method.setdefault(cell.method, []).append(cell)
    found = []
    for method, cells in by_method.items():
        choices: dict[str, list[int]] = {}
        for cell in cells:
            choices.setdefault(settings_text(cell.picked), []).append(cell.seed)
        picked = [f"{text} (seed {', '.join(map(str, sorted(set(seeds))))})" for text, seeds in choices.items()]
        found.append(TunedMethod(method, picked if len(picked) > 1 else list(choices), _cost_of(cells)))
    return found


def tuning_cost(files: Sequence[TuningFile]) -> TuningCost:
    """The cost of all trials of some comparisons."""
    return _cost_of([cell for file in files for cell in file.cells])


def words_on_tuning(file: TuningFile) -> str:
    """How the options were chosen, in sentences."""
    each = mean_of_known([float(len(cell.tried)) for cell in file.cells]) or 0.0
    return (
        f"{few(file.options)} {'was' if len(file.options) == 1 else 'were'} chosen for each strategy and seed among "
        f"{each:.0f} candidates ({'; '.join(_candidates(file))}): those with the highest mean accuracy on the validation images of the first "
        f"{plural(file.tune_on, 'experience')}, after learning these; ties go to the first candidate. Later experiences and test "
        "images were not used. The cost of the trials is not part of the cost of the methods; the totals have it."
    )


def tuning_rows(file: TuningFile) -> list[dict[str, Any]]:
    """A row for each trial, for tuning.csv."""
    return [
        {
            "method": cell.method,
            "seed": cell.seed,
            **{key: tried.settings.get(key) for key in file.options},
            "picked": tried.settings == cell.picked,
            "validation accuracy (%)": None if tried.accuracy is None else 100 * tried.accuracy,
            "steps": tried.steps,
            "time (s)": tried.seconds,
            "images": tried.images,
            "energy (kWh)": tried.energy_kwh,
            "error": tried.error,
            "run": tried.run,
        }
        for cell in file.cells
        for tried in cell.tried
    ]


def settings_text(settings: dict[str, JsonValue]) -> str:
    """Options and values in one line."""
    return ", ".join(f"{key}={value}" for key, value in settings.items())


def _candidates(file: TuningFile) -> list[str]:
    """Each option with the values that were tried."""
    tried = [each.settings for cell in file.cells for each in cell.tried]
    return [f"{key}: {few(dict.fromkeys(str(one[key]) for one in tried if key in one))}" for key in file.options]


def _cost_of(cells: Sequence[TunedCell]) -> TuningCost:
    tried = [each for cell in cells for each in cell.tried]
    done = [each for each in tried if not each.error]
    images = _total([each.images for each in done])
    return TuningCost(
        trials=len(tried),
        failed=len(tried) - len(done),
        steps=sum(each.steps for each in done if each.steps is not None),
        seconds=sum(each.seconds for each in done if each.seconds is not None),
        images=None if images is None else int(images),
        energy_kwh=_total([each.energy_kwh for each in done]),
        co2eq_kg=_total([each.co2eq_kg for each in done]),
    )


def _total(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None
