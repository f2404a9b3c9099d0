"""What a report is about: runs, the methods that they repeat over seeds, and the groups that can be ranked together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lightning_vision.errors import DataError
from lightning_vision.report.predictions import RunPredictions, read_predictions
from lightning_vision.report.proportion import Interval
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.results.schema import ExperienceRecord, Results

Verdict = Literal["best", "different", "not told apart", "cannot tell"]


@dataclass(frozen=True, eq=False)
class ReportRun:
    """One run directory: one learning strategy on one stream with one seed."""

    path: Path
    results: Results
    config: dict[str, Any]
    """config.yaml as plain values; {} where there is none."""
    method: str
    """What the runs that differ by seed alone are called."""
    strategy: str
    """Short name of the learning strategy's class; "Base" for a base."""
    seed: int
    is_base: bool
    """Whether it is the base alone, that other runs start from: stopped after experience 0."""
    unfinished: str | None
    """How far it came, and why no further; None when it is complete."""
    file_classes: list[str]
    """C class names in the order of its own files; ``results.class_names`` is the order of its group."""
    point: str = ""
    """Where it stands on the axes of its comparison, the same text for the same settings; "" where there are none."""

    @property
    def accuracy(self) -> float | None:
        """Test accuracy after the last finished experience, on the whole test set."""
        return self.results.test_accuracy[-1]

    @property
    def increments(self) -> list[ExperienceRecord]:
        """The experiences that the learning strategy learned: all but the base."""
        has_base = self.results.run.base_strategy is not None
        return [record for record in self.results.experiences if record.index > 0 or not has_base]

    @property
    def trained_base(self) -> bool:
        """Whether it trained a base itself, rather than starting from a given one."""
        return self.results.base.from_checkpoint is None and self.results.base.seconds > 0

    @property
    def learning_seconds(self) -> float:
        """Wall-clock seconds of learning, without training the base and without evaluating.

        What a strategy does with the data of a given base (Fisher information, class means) is part of it. Where the run
        trained the base itself the two cannot be told apart, and both are left out.
        """
        seconds = sum(record.seconds for record in self.results.experiences)
        return max(0.0, seconds - self.results.base.seconds) if self.trained_base else seconds

    @property
    def energy_kwh(self) -> float | None:
        """Energy of what ``learning_seconds`` counts, in kWh; None where it is not known."""
        return self._price([record.energy_kwh for record in self.results.experiences], self.results.base.energy_kwh)

    @property
    def co2eq_kg(self) -> float | None:
        """Its greenhouse gas, in kg of CO2 equivalent; None where it is not known."""
        return self._price([record.co2eq_kg for record in self.results.experiences], self.results.base.co2eq_kg)

    @property
    def epochs(self) -> float:
        """Mean number of epochs per increment; of the base where it is the base alone."""
        learned = self.increments or self.results.experiences
        return sum(record.epochs for record in learned) / len(learned)

    @property
    def trainable_parameters(self) -> int:
        """The most parameters that could change while it learned an increment, or the base where it is that alone."""
        return max(record.trainable_parameters for record in self.increments or self.results.experiences)

    def predictions(self) -> RunPredictions | None:
        """predictions.npz, read anew at each call; None where there is none that fits results.json.

        Labels and predictions count the classes in the order of ``results.class_names``.
        """
        try:
            return self.read_predictions()
        except DataError:
            return None  # where there is a file, ``gather`` has remarked on it

    def read_predictions(self) -> RunPredictions:
        """The same, and why not.

        Raises:
            DataError: There is no predictions.npz, it cannot be read, or it does not go with results.json.
        """
        path, done = RunDirectory(self.path).predictions, len(self.results.experiences)
        found = read_predictions(path, self.file_classes, self.results.class_names)
        if len(found.predicted) < done:
            raise DataError(f"{path} holds {len(found.predicted)} of the {done} experiences in results.json.")
        if found.part is not None and not np.isin(found.part, np.arange(self.results.run.experiences)).all():
            raise DataError(f"{path}: it names test parts beyond the {self.results.run.experiences} experiences.")
        reached, counted = self.accuracy, found.correct[done - 1].mean() if len(found.label) else None
        if reached is not None and (counted is None or abs(reached - counted) * len(found.label) > 0.5):
            share = "nothing" if counted is None else f"{100 * counted:.2f} %"
            raise DataError(
                f"{path} does not go with results.json: it has {share} right at the end and that {100 * reached:.2f} %."
            )
        # A run that was killed between writing the two files has one experience more in this one.
        return replace(found, predicted=found.predicted[:done], confidence=found.confidence[:done])

    def _price(self, values: list[float | None], base: float | None) -> float | None:
        known = [value for value in values if value is not None]
        if len(known) < len(values) or (self.trained_base and base is None):
            return None
        return max(0.0, sum(known) - (base or 0.0)) if self.trained_base else sum(known)


@dataclass(frozen=True)
class Method:
    """One learning strategy with its settings, repeated over seeds."""

    label: str
    strategy: str
    runs: list[ReportRun]
    """Sorted by seed, one a seed; unfinished ones too."""

    @property
    def point(self) -> str:
        """Where it stands on the axes of its comparison; see ``ReportRun.point``."""
        return self.runs[0].point

    @property
    def complete(self) -> list[ReportRun]:
        """The runs that a ranking counts: the whole stream is learned and its test accuracy is known."""
        return [run for run in self.runs if run.unfinished is None and run.accuracy is not None]


@dataclass(frozen=True)
class RankedMethod:
    """A row of the ranking: means over the seeds of complete runs."""

    label: str
    strategy: str
    seeds: list[int]
    accuracy: Interval
    """Test accuracy after the last experience, with its 95 % interval for new seeds and new images."""
    seed_free: bool
    """Whether all of its seeds predict the very same."""
    difference: Interval | None
    """Mean difference to the best on the seeds and images that both have; None for the best and without a common seed."""
    p_value: float | None
    """Of that difference: with one common seed of two trained models, by the exact McNemar test. None where not tested."""
    p_holm: float | None
    """The same by Holm's correction over the pairs of one stream and one point of the axes; None under 3 common seeds."""
    test: str
    """The method of the test; "" without one."""
    verdict: Verdict
    why: str
    """Why it cannot tell; "" where it can."""
    macro_f1: Interval | None
    average_incremental: float | None
    forgetting: Interval | None
    total_parameters: int | None
    trainable_parameters: int | None
    macs: int | None
    epochs: float
    """Per increment."""
    fit_seconds: float
    """Of learning the increments, the base apart, as are the following two."""
    energy_kwh: float | None
    co2eq_kg: float | None
    on_front_energy: bool
    on_front_time: bool


@dataclass(frozen=True)
class Ranking:
    """Which method is best, and whether that can be told."""

    methods: list[RankedMethod]
    """Best first."""
    words: str
    """The answer in a sentence or two."""
    can_tell: bool
    """Whether at least one pair of methods has enough in common for a verdict."""
    how_many: str = ""
    """How many seeds, and how many test images, would tell the best from the second; "" where that is told, or not known."""


@dataclass(frozen=True)
class Group:
    """Runs that may be ranked together: same test images, same classes, same scenario, as many experiences."""

    name: str
    class_names: list[str]
    """In the first run's order; other orders are matched by name."""
    methods: list[Method]
    """Best mean first, those without a complete run last."""
    bases: list[ReportRun]
    """Runs of the base alone; where there are none the first experience of each run stands for its base."""
    ranking: Ranking
    remarks: list[str]
    """What a reader must know: unbalanced seeds, unfinished runs, other streams."""

    @property
    def runs(self) -> list[ReportRun]:
        """All runs of the methods, without the bases."""
        return [run for method in self.methods for run in method.runs]


@dataclass(frozen=True)
class LeftOut:
    """A directory that could not be used."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Comparison:
    """All that a report is made of."""

    title: str
    command: str | None
    """The command that made it, where it is known."""
    groups: list[Group]
    left_out: list[LeftOut]
