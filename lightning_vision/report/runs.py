"""What a report is about: runs, the methods that they repeat over seeds, and the groups that are ranked together."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lightning_vision.errors import DataError
from lightning_vision.report.means import mean_of_known
from lightning_vision.report.predictions import RunPredictions, read_predictions
from lightning_vision.report.proportion import Interval
from lightning_vision.report.tuning import TuningFile
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.results.schema import ExperienceRecord, Results

Verdict = Literal["best", "significant", "not significant", "not tested"]
"""Of a method's difference to the best: with Holm's correction, at the level of 0.05."""


@dataclass(frozen=True, eq=False)
class ReportRun:
    """One run directory: one learning strategy on one stream with one seed."""

    path: Path
    results: Results
    config: dict[str, Any]
    """config.yaml as plain values; {} where there is none."""
    method: str
    """The name of the runs that differ only in the seed."""
    strategy: str
    """Short name of the learning strategy's class; "Base" for a base."""
    seed: int
    is_base: bool
    """Whether it is only a base that other runs start from: stopped after experience 0."""
    unfinished: str | None
    """How far it got, and why it stopped; None if it is complete."""
    file_classes: list[str]
    """C class names in the order of its files; ``results.class_names`` has the order of its group."""
    point: str = ""
    """Its settings on the axes of the comparison, as text; "" if there are none."""

    @property
    def accuracy(self) -> float | None:
        """Test accuracy after the last finished experience, on the whole test set."""
        return self.results.test_accuracy[-1]

    @property
    def task_accuracy(self) -> float | None:
        """The last one that is given: see ``task_accuracies``."""
        return self.task_accuracies[-1]

    @property
    def task_accuracies(self) -> list[float | None]:
        """Accuracy on the classes seen where each image's experience is given, after each experience; None where they share classes."""
        return [None] * len(self.results.experiences) if self.results.task is None else self.results.task.accuracy

    @property
    def probe_accuracy(self) -> float | None:
        """Of the linear probe after the last finished experience, on the test images of the classes seen."""
        probe = self.results.probe
        return None if probe is None or not probe.accuracy else probe.accuracy[-1]

    @property
    def increments(self) -> list[ExperienceRecord]:
        """The experiences that the learning strategy learned: all except the base."""
        has_base = self.results.run.base_strategy is not None
        return [record for record in self.results.experiences if record.index > 0 or not has_base]

    @property
    def trained_base(self) -> bool:
        """Whether it trained its base, instead of starting from a given one."""
        return self.results.base.from_checkpoint is None and self.results.base.seconds > 0

    @property
    def learning_seconds(self) -> float:
        """Wall-clock seconds of learning, without training the base and without evaluation.

        It includes what a strategy does with the data of a given base (Fisher information, class means). If the run trained the
        base itself, the two were measured together, and neither is included.
        """
        seconds = sum(record.seconds for record in self.results.experiences)
        return max(0.0, seconds - self.results.base.seconds) if self.trained_base else seconds

    @property
    def energy_kwh(self) -> float | None:
        """Energy of learning as in ``learning_seconds``, in kWh; None if it is not known."""
        return self._cost([record.energy_kwh for record in self.results.experiences], self.results.base.energy_kwh)

    @property
    def co2eq_kg(self) -> float | None:
        """Its emissions, in kg of CO2 equivalent; None if they are not known."""
        return self._cost([record.co2eq_kg for record in self.results.experiences], self.results.base.co2eq_kg)

    @property
    def learning_accuracy(self) -> float | None:
        """Mean over i of R[i, i] (Riemer et al., ICLR 2019, arXiv 1810.11910); None where none is defined."""
        return mean_of_known(row[t] for t, row in enumerate(self.results.accuracy_matrix))

    @property
    def steps(self) -> int | None:
        """Optimizer steps of learning the increments; None if they were not recorded, as by earlier versions."""
        known = [record.steps for record in self.increments if record.steps is not None]
        return sum(known) if len(known) == len(self.increments) else None

    @property
    def epochs(self) -> float:
        """Mean number of epochs per increment; of the base if it is only a base."""
        learned = self.increments or self.results.experiences
        return sum(record.epochs for record in learned) / len(learned)

    @property
    def trainable_parameters(self) -> int:
        """The largest number of trainable parameters over the increments, or of the base if it is only a base."""
        return max(record.trainable_parameters for record in self.increments or self.results.experiences)

    def predictions(self) -> RunPredictions | None:
        """predictions.npz, read at each call; None if it is missing or does not match results.json.

        Labels and predictions count the classes in the order of ``results.class_names``.
        """
        try:
            return self.read_predictions()
        except DataError:
            return None  # ``gather`` has a remark on a file that cannot be used

    def read_predictions(self) -> RunPredictions:
        """The same, with the reason if it cannot be used.

        Raises:
            DataError: There is no predictions.npz, it cannot be read, or it does not match results.json.
        """
        path, done = RunDirectory(self.path).predictions, len(self.results.experiences)
        found = read_predictions(path, self.file_classes, self.results.class_names)
        if len(found.predicted) < done:
            raise DataError(f"{path} holds {len(found.predicted)} of the {done} experiences in results.json.")
        if found.part is not None and not np.isin(found.part, np.arange(self.results.run.experiences)).all():
            raise DataError(f"{path} has test parts beyond the {self.results.run.experiences} experiences.")
        reached, counted = self.accuracy, found.correct[done - 1].mean() if len(found.label) else None
        if reached is not None and (counted is None or abs(reached - counted) * len(found.label) > 0.5):
            share = "not defined" if counted is None else f"{100 * counted:.2f} %"
            raise DataError(
                f"{path} does not match results.json: its final accuracy is {share}, and {100 * reached:.2f} % in results.json."
            )
        # A run that was killed between writing the two files has one more experience in this one.
        probed = None if found.probe_predicted is None else found.probe_predicted[:done]
        return replace(
            found, predicted=found.predicted[:done], confidence=found.confidence[:done], probe_predicted=probed
        )

    def _cost(self, values: list[float | None], base: float | None) -> float | None:
        known = [value for value in values if value is not None]
        if len(known) < len(values) or (self.trained_base and base is None):
            return None
        return max(0.0, sum(known) - (base or 0.0)) if self.trained_base else sum(known)


@dataclass(frozen=True)
class Method:
    """A learning strategy with its settings, repeated over seeds."""

    label: str
    strategy: str
    runs: list[ReportRun]
    """Sorted by seed, one a seed; unfinished ones too."""

    @property
    def point(self) -> str:
        """Its settings on the axes of the comparison; see ``ReportRun.point``."""
        return self.runs[0].point

    @property
    def complete(self) -> list[ReportRun]:
        """The runs that are ranked: the stream is finished and the test accuracy is known."""
        return [run for run in self.runs if run.unfinished is None and run.accuracy is not None]


@dataclass(frozen=True)
class Gap:
    """The share of the gap between the bounds that a method closes."""

    share: Interval | None
    """(accuracy - lower bound) / (upper bound - lower bound); None where it is not defined, and for the bounds."""
    why: str
    """Why it is not defined; "" if it is, and for the bounds."""
    bound: Literal["", "lower", "upper"] = ""
    """Whether the method is a bound itself."""


@dataclass(frozen=True)
class RankedMethod:
    """A row of the ranking: means over the seeds of complete runs."""

    label: str
    strategy: str
    seeds: list[int]
    accuracy: Interval
    """Test accuracy after the last experience, with its 95 % interval over seeds and images."""
    seed_free: bool
    """Whether all seeds give the same predictions."""
    difference: Interval | None
    """Mean difference to the best, on the seeds and images that both have; None for the best and without a common seed."""
    p_value: float | None
    """Of that difference: with one common seed of two trained models, by the exact McNemar test. None where not tested."""
    p_holm: float | None
    """With Holm's correction over the pairs of one stream and one point of the axes; None with fewer than 3 common seeds."""
    test: str
    """The method of the test; "" without one."""
    verdict: Verdict
    why: str
    """Why it was not tested; "" if it was."""
    macro_f1: Interval | None
    average_incremental: Interval | None
    learning_accuracy: Interval | None
    """Mean accuracy on each experience right after it was learned."""
    forgetting: Interval | None
    gap: Gap
    task_accuracy: Interval | None
    """After the last experience, where each image's experience is given; None where experiences share classes."""
    average_anytime: Interval | None
    """The average anytime accuracy, with its interval; None where the stream is not online."""
    probe_accuracy: Interval | None
    """Of the linear probe on the backbone's features after the last experience; None without one."""
    probe_gain: Interval | None
    """The probe's accuracy minus the method's, on the same seeds and images: what was lost in the head."""
    memory_bytes: float | None
    """What the strategy keeps after the last experience."""
    total_parameters: int | None
    trainable_parameters: int | None
    macs: int | None
    epochs: float
    """Per increment."""
    steps: float | None
    """Optimizer steps of learning all increments; None if they were not recorded."""
    fit_seconds: float
    """Of learning the increments, without the base, like the following two."""
    energy_kwh: float | None
    co2eq_kg: float | None
    on_front_energy: bool
    on_front_time: bool


@dataclass(frozen=True)
class Ranking:
    """Which method is best, and which differences are significant."""

    methods: list[RankedMethod]
    """Best first."""
    words: str
    """The result in one or two sentences."""
    tested: bool
    """Whether at least one pair of methods was tested."""
    bounds: list[str] = field(default_factory=list)
    """Which methods are the bounds, in sentences, or why there are none."""
    how_many: str = ""
    """How many seeds and test images would make the difference of the first two significant; "" if it is, or if it is not known."""


@dataclass(frozen=True)
class Group:
    """Runs that are ranked together: same test images, classes, scenario and number of experiences."""

    name: str
    class_names: list[str]
    """In the order of the first run; other orders are matched by name."""
    methods: list[Method]
    """Best mean first, those without a complete run last."""
    bases: list[ReportRun]
    """Runs of only the base; if there are none, the first experience of each run is used as its base."""
    ranking: Ranking
    remarks: list[str]
    """Unbalanced seeds, unfinished runs, different streams, and the like."""

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
class GatheredRuns:
    """The runs of some folders, in groups: what a report is made of."""

    title: str
    command: str | None
    """The command of the comparison, if it is known."""
    groups: list[Group]
    left_out: list[LeftOut]
    tunings: list[TuningFile] = field(default_factory=list)
    """What the comparisons chose by tuning."""
