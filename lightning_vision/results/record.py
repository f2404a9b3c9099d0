"""What a run has found so far, and how it becomes results.json and predictions.npz."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from lightning_vision.data.stream import Stream
from lightning_vision.errors import CheckpointError
from lightning_vision.results import schema, scores
from lightning_vision.results.anytime import Anytime
from lightning_vision.results.array_rows import GrowingRows, count_rows
from lightning_vision.results.class_kinds import ClassKinds
from lightning_vision.results.predictions import Predictions
from lightning_vision.results.predictions_file import PredictionsFile
from lightning_vision.results.probe import Probe
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.storage.sparse_counts import SparseCounts

Row = list[float | None]


@dataclass
class StreamRecord:
    """The figures of a run after t of its T experiences, one row an experience."""

    stream: Stream
    class_names: list[str]
    test_parts: npt.NDArray[np.int64]
    """(N,) the experience that each test image belongs to, in the order of its index."""
    chance: Row = field(default_factory=list)
    initial_accuracy: float | None = None
    accuracy_matrix: list[Row] = field(default_factory=list)
    test_accuracy: Row = field(default_factory=list)
    seen_accuracy: Row = field(default_factory=list)
    task_accuracy: Row = field(default_factory=list)
    task_matrix: list[Row] = field(default_factory=list)
    picked: list[str | None] = field(default_factory=list)
    variants: dict[str, schema.Variant] = field(default_factory=dict)
    experiences: list[schema.ExperienceRecord] = field(default_factory=list)
    first_test: schema.Scores | None = None
    """Before the learning strategy began: of the given base, else after the first experience."""
    test: schema.Scores | None = None
    base_from: str | None = None
    base_classes: list[str] | None = None
    """The classes that the given base knows, where the run allows new ones beside them."""
    notes: list[str] = field(default_factory=list)
    anytime: Anytime | None = None  # of an online stream
    probe: Probe | None = None
    _accuracy_rows: GrowingRows = field(default_factory=GrowingRows)
    _task_rows: GrowingRows = field(default_factory=GrowingRows)
    predictions_file: PredictionsFile = field(default_factory=PredictionsFile)

    def __post_init__(self) -> None:
        self._kinds = ClassKinds(self.class_names, self.base_classes)

    @property
    def test_index(self) -> npt.NDArray[np.int64]:
        """(N,) the test images' rows in the sample table."""
        return self.predictions_file.last.index

    @property
    def last_predictions(self) -> Predictions:
        """On the test set after the last finished experience, of the variant that was picked."""
        return self.predictions_file.last_picked

    @property
    def done(self) -> int:
        """t, the number of finished experiences."""
        return len(self.experiences)

    def row(self, t: int, predictions: Predictions, variant: int = 0) -> Row:
        """R[t]: accuracy on each experience's test part; None where it is not defined."""
        return self._row(t, predictions.label, predictions.predicted[variant])

    def _row(self, t: int, label: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64]) -> Row:
        def count(rows: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.int64]:
            """(T,) how many of all images, or of a mask (N,), are in each part."""
            return np.bincount(self.test_parts if rows is None else self.test_parts[rows], minlength=len(self.stream))

        images, correct = count(), count(predicted == label)
        defined = images > 0
        if not self.stream.full_matrix and t >= 0:
            unseen = ~np.isin(label, self.stream[t].seen_classes)
            defined[t + 1 :] &= count(unseen)[t + 1 :] == 0
        accuracy = correct / np.maximum(images, 1)
        return [value if there else None for value, there in zip(accuracy.tolist(), defined.tolist(), strict=True)]

    def start_from(self, path: str, before: Predictions | None) -> None:
        """Note the given base, and what it can before the first increment: one variant on the whole test set."""
        self.base_from = path
        if before is not None:
            self.initial_accuracy = _figure(before.accuracy()[0])
            self.first_test = self._scores(before)
            self._kinds.start(before)

    def add(
        self,
        predictions: Predictions,
        validation: Predictions,
        picked: str,
        facts: dict[str, dict[str, dict[str, float]]],
        record: schema.ExperienceRecord,
        key: str = "",
        values: Mapping[str, float | str] | None = None,
    ) -> None:
        """Take in the evaluation after the next experience.

        Args:
            predictions: On the whole test set, all variants.
            validation: On the validation parts so far, all variants.
            picked: The variant that was picked.
            facts: Per variant, further figures per class name.
            record: Data and cost of the experience.
            key: What the variants differ in, such as ``epsilon``.
            values: Its value in each variant, by name.
        """
        t = self.done
        chosen = predictions.one(picked)
        self.experiences.append(record)
        self.predictions_file.add(predictions, picked if len(predictions.variants) > 1 else None)
        self.accuracy_matrix.append([])
        self.test_accuracy.append(None)
        self.seen_accuracy.append(None)
        if has_tasks(self.stream):
            self.task_accuracy.append(None)
            self.task_matrix.append([None] * len(self.stream))
        self._measure(t, chosen)
        if len(predictions.variants) > 1:
            if not self.variants:  # before the first increment all variants are the base
                self.picked = [None] * t
            self.picked.append(picked)
            val_accuracy = (
                dict(zip(validation.variants, validation.accuracy(), strict=True)) if len(validation.index) else {}
            )
            for v, name in enumerate(predictions.variants):
                before = self.variants.get(name)
                one = predictions.one(name)
                value = (values or {}).get(name)
                self.variants[name] = schema.Variant(
                    key=key if value is not None else None,
                    value=value,
                    test_accuracy=[
                        *(before.test_accuracy if before else self.test_accuracy[:t]),
                        _figure(one.accuracy()[0]),
                    ],
                    val_accuracy=[*(before.val_accuracy if before else [None] * t), _figure(val_accuracy.get(name))],
                    accuracy_matrix=[
                        *(before.accuracy_matrix if before else self.accuracy_matrix[:t]),
                        self.row(t, predictions, v),
                    ],
                    test=self._scores(one),
                    extra=facts.get(name, {}),
                )

    def replace_last(self, predictions: Predictions) -> None:
        """Put another evaluation of the last finished experience, by the same weights, in place of the one there is.

        Args:
            predictions: On the whole test set, all variants.

        Raises:
            CheckpointError: It is of another test set, or of other variants.
        """
        t, before = self.done - 1, self.predictions_file.last
        same = np.array_equal(before.index, predictions.index) and np.array_equal(before.label, predictions.label)
        if not same or before.variants != predictions.variants:
            raise CheckpointError(
                "The run's predictions.npz is of other images, labels or variants than the checkpoint now predicts "
                f"({len(before.index)} images and {len(before.variants)} variant(s) in the file, {len(predictions.index)} and "
                f"{len(predictions.variants)} now), so nothing was rewritten. Restore the file from a copy."
            )
        self.predictions_file.replace_last(predictions)
        self._measure(t, self.last_predictions)
        for v, name in enumerate(self.variants):
            one, variant = predictions.one(name), self.variants[name]
            self.variants[name] = variant.model_copy(
                update={
                    "test_accuracy": [*variant.test_accuracy[:t], _figure(one.accuracy()[0])],
                    "accuracy_matrix": [*variant.accuracy_matrix[:t], self.row(t, predictions, v)],
                    "test": self._scores(one),
                }
            )

    def _measure(self, t: int, chosen: Predictions) -> None:
        """The figures after experience t, the last one, from the predictions of the picked variant."""
        self.accuracy_matrix[t] = self.row(t, chosen)
        self.test_accuracy[t] = _figure(chosen.accuracy()[0])
        seen = np.isin(chosen.label, self.stream[t].seen_classes)
        self.seen_accuracy[t] = _figure(chosen.accuracy(seen)[0])
        if chosen.task_predicted is not None and self.task_matrix:
            within = chosen.task_predicted[0]
            self.task_matrix[t] = self._row(t, chosen.label, within)
            self.task_accuracy[t] = float((within == chosen.label)[seen].mean()) if seen.any() else None
        self._kinds.measure(t, chosen)
        self.test = self._scores(chosen)
        if t == 0 and self.initial_accuracy is None:
            self.first_test = self.test

    def _scores(self, one: Predictions) -> schema.Scores:
        return scores.score_predictions(one.label, one.predicted[0], one.confidence[0], self.class_names, count_rows)

    def results(
        self,
        run: schema.Run,
        network: schema.Network,
        energy: schema.Energy | None,
        environment: schema.Environment,
        features: schema.Features | None = None,
        memory_bytes: int | None = None,
    ) -> schema.Results:
        """The whole of results.json."""
        if self.test is None or self.first_test is None:
            raise ValueError("There are no results before the first experience is finished.")
        accuracy_matrix = self._accuracy_rows.of(self.accuracy_matrix)
        matrix = accuracy_matrix.array.astype(np.float64, copy=False)
        first = self.experiences[0]
        is_base = self.stream[0].is_base
        spent = [used for record in self.experiences for used in (record, record.evaluation)]
        found = schema.Results(
            schema=schema.SCHEMA,
            run=run,
            class_names=self.class_names,
            accuracy_matrix=[],  # set below, unchecked
            test_accuracy=self.test_accuracy,
            seen_accuracy=self.seen_accuracy,
            chance=self.chance,
            initial_accuracy=self.initial_accuracy,
            average_accuracy=scores.average_accuracy(matrix),
            average_incremental_accuracy=scores.average_incremental_accuracy(matrix),
            forgetting=scores.forgetting(matrix),
            backward_transfer=scores.backward_transfer(matrix),
            forward_transfer=scores.forward_transfer(matrix, self.chance),
            task=schema.Task(accuracy=self.task_accuracy, accuracy_matrix=[]) if self.task_matrix else None,
            **({} if self.anytime is None else self.anytime.figures()),
            class_kinds=self._kinds.found,
            test=self.test,
            first_test=self.first_test,
            picked_variant=self.picked or None,
            variants=self.variants,
            experiences=self.experiences,
            notes=self.notes,
            base=schema.Base(
                seconds=first.seconds if is_base else 0.0,
                energy_kwh=first.energy_kwh if is_base else 0.0,
                co2eq_kg=first.co2eq_kg if is_base else 0.0,
                from_checkpoint=self.base_from,
            ),
            network=network,
            totals=schema.Totals(
                seconds=sum(used.seconds for used in spent),
                energy_kwh=_total([used.energy_kwh for used in spent]),
                co2eq_kg=_total([used.co2eq_kg for used in spent]),
                backbone_images=sum(r.backbone_images + _passed(r.evaluation) for r in self.experiences),
            ),
            memory_bytes=memory_bytes,
            probe=self.probe,
            features=features,
            energy=energy,
            environment=environment,
        )
        found.accuracy_matrix = accuracy_matrix
        if found.task is not None:
            found.task.accuracy_matrix = self._task_rows.of(self.task_matrix)
        return found

    def save_predictions(
        self, path: Path, path_hash: npt.NDArray[np.str_], group: npt.NDArray[np.str_] | None = None
    ) -> None:
        """Write predictions.npz.

        Args:
            path: The file.
            path_hash: (N,) of the test images, in the order of their index.
            group: (N,) see ``group_hashes``; None: the data has no groups, and the file no array of that name.
        """
        facts: dict[str, npt.NDArray[Any]] = {"path_hash": path_hash, "part": self.test_parts.astype(np.int32)}
        if group is not None:
            facts["group"] = group
        if self.predictions_file.keeps_logits:
            facts["class_names"] = np.array(self.class_names)
        self.predictions_file.save(path, facts, list(self.variants))

    def rewrite_predictions(self, path: Path) -> None:
        """Put the last evaluation into predictions.npz; all else that the file holds stays."""
        self.predictions_file.rewrite(path, list(self.variants))

    def restore(self, results: schema.Results, directory: RunDirectory) -> None:
        """Take up the record of an earlier part of the run.

        Raises:
            CheckpointError: predictions.npz is missing or does not go with results.json.
        """
        self.chance, self.initial_accuracy = results.chance, results.initial_accuracy
        self.accuracy_matrix, self.test_accuracy = results.accuracy_matrix, results.test_accuracy
        self.seen_accuracy, self.picked = results.seen_accuracy, results.picked_variant or []
        self.experiences = results.experiences
        self.variants = {
            name: variant.model_copy(update={"test": _held(variant.test)}) for name, variant in results.variants.items()
        }
        self.test, self.first_test = _held(results.test), _held(results.first_test)
        if has_tasks(self.stream):  # files of schema 1 do not have it
            none = schema.Task(accuracy=[None] * self.done, accuracy_matrix=[[None] * len(self.stream)] * self.done)
            task = results.task or none
            self.task_accuracy, self.task_matrix = task.accuracy, task.accuracy_matrix
        self.base_from, self.notes, self.probe = results.base.from_checkpoint, results.notes, results.probe
        self._kinds.found = results.class_kinds
        if self.anytime is not None:
            self.anytime.accuracy = list(results.anytime_accuracy or [])
        try:
            picked = self.picked[-1] if self.picked else None
            self.predictions_file.restore(directory.predictions, self.done, list(self.variants), picked)
        except (OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
            raise CheckpointError(
                f"{directory.predictions} does not go with {directory.results} ({error}). The run cannot be resumed: "
                "restore the file from a copy, or start another run by --run_name."
            ) from error


def test_parts(stream: Stream) -> npt.NDArray[np.int64]:
    """(N,) the experience that each test image belongs to, in the order of the sample table."""
    pairs = sorted((int(row), experience.index) for experience in stream for row in experience.test_indices)
    return np.array([part for _, part in pairs], dtype=np.int64)


def has_tasks(stream: Stream) -> bool:
    """Whether each class is of one of several experiences, so that an image's experience can be given."""
    brought = [label for experience in stream for label in experience.classes]
    return len(stream) > 1 and len(brought) == len(set(brought))


def task_of_class(stream: Stream, classes: int) -> Tensor | None:
    """(C,) int64, the experience that brings each class; None where experiences share classes, or there is but one.

    Args:
        stream: The experiences.
        classes: C. A class that no experience brings has -1.
    """
    if not has_tasks(stream):
        return None
    task = torch.full((classes,), -1, dtype=torch.int64)
    for experience in stream:
        task[list(experience.classes)] = experience.index
    return task


def group_hashes(samples: pd.DataFrame) -> npt.NDArray[np.str_] | None:
    """Sixteen hexadecimal digits for the group of each row of a sample table, alike in every run on the same data.

    Args:
        samples: N rows. One without a group is a group of its own.

    Returns:
        (N,); None where no row has a group.
    """
    if "group" not in samples or samples["group"].isna().all():
        return None
    frames = samples["frame"] if "frame" in samples else pd.Series(-1, index=samples.index)
    alone = samples["group"].isna()
    # The first part keeps a group from being taken for an image of that name.
    texts = [
        f"image {path} {frame}" if missing else f"group {group}"
        for path, frame, group, missing in zip(samples["path"], frames, samples["group"], alone, strict=True)
    ]
    return np.array([digits(text) for text in texts])


def digits(text: str) -> str:
    """Sixteen hexadecimal digits that stand for a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _passed(evaluation: schema.Evaluation) -> int:
    """Images that passed the backbone in an evaluation; older records do not say."""
    return evaluation.images if evaluation.backbone_images is None else evaluation.backbone_images


def _held(scores: schema.Scores) -> schema.Scores:
    """Scores that were read from a file, as a run holds them."""
    rows = count_rows(SparseCounts.of(scores.confusion_matrix))
    return scores.model_copy(update={"confusion_matrix": rows})


def _figure(value: float | np.floating[Any] | None) -> float | None:
    return None if value is None or np.isnan(value) else float(value)


def _total(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
