"""predictions.npz, which grows by a row with each experience; docs/results.md describes its arrays.

In memory stay the predictions that are not saved yet, and the last ones: a stream may have hundreds of experiences, and a sweep
dozens of variants.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lightning_vision.errors import TrainingError
from lightning_vision.results.kept_logits import add_logits
from lightning_vision.results.predictions import Predictions
from lightning_vision.storage.atomic_write import write_atomically
from lightning_vision.terminal.wording import plural

PROBE = "probe_predicted"
TASK = "task_predicted"


class PredictionsFile:
    """The predictions of a run on the test set after each of its experiences."""

    def __init__(self) -> None:
        self._path: Path | None = None
        """The file with the rows that are saved."""
        self._saved = 0
        self._waiting: list[tuple[Predictions, str | None]] = []
        """Those after them, each with the variant that was picked."""
        self._last: tuple[Predictions, str | None] | None = None

    @property
    def last(self) -> Predictions:
        """The predictions after the last experience, all variants."""
        return self._newest[0]

    @property
    def last_picked(self) -> Predictions:
        """The predictions after the last experience, of the variant that was picked."""
        return _of(*self._newest)

    @property
    def keeps_logits(self) -> bool:
        """Whether the last predictions have logits, which are then saved too, of the variant that was picked."""
        return self.last.logits is not None

    @property
    def _newest(self) -> tuple[Predictions, str | None]:
        if self._last is None:
            raise ValueError("There are no predictions before the first experience is finished.")
        return self._last

    def add(self, predictions: Predictions, picked: str | None) -> None:
        """Add the predictions after the next experience.

        Args:
            predictions: On the whole test set, all variants.
            picked: The variant that was picked; None if there is but one.
        """
        self._last = predictions, picked
        self._waiting.append(self._last)

    def replace_last(self, predictions: Predictions) -> None:
        """Put other predictions of the same images and variants in place of the last ones; ``rewrite`` saves them."""
        self._last = predictions, self._newest[1]

    def add_probe(self, predicted: npt.NDArray[np.int64]) -> None:
        """Add the predictions (N,) of the linear probe after the last experience, which is not saved yet."""
        predictions, picked = self._newest
        self._last = replace(predictions, probe_predicted=predicted), picked
        self._waiting[-1] = self._last

    def save(self, path: Path, facts: Mapping[str, npt.NDArray[Any]], variants: Sequence[str]) -> None:
        """Write the file: the rows that are saved already, and those that are not.

        Args:
            path: The file.
            facts: What is the same after each experience, by name: (N,) ``path_hash``, ``part`` and others.
            variants: The variants of the last experience, if there are several.

        Raises:
            TrainingError: It cannot be written, or the rows that are saved cannot be read.
        """
        arrays: dict[str, npt.NDArray[Any]] = {"index": self.last.index, "label": self.last.label, **facts}
        try:
            arrays |= self._rows("", [_of(*each) for each in self._waiting])
            arrays |= self._probe_rows() | _among_own(self.last_picked)
            for name in variants:
                arrays |= self._rows(f"/{name}", [_of(found, name) for found, _ in self._waiting])
            self._write(path, arrays, [_of(*each) for each in self._waiting], self._path, self._saved)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise TrainingError(
                f"Expected the predictions after {plural(self._saved, 'experience')} in {self._path}, but: {error}. Restore the "
                "file from a copy, or start another run by --run_name."
            ) from error
        self._path, self._saved, self._waiting = path, self._saved + len(self._waiting), []

    def _write(
        self, path: Path, arrays: dict[str, Any], found: Sequence[Predictions], former: Path | None, kept: int
    ) -> None:
        """Write arrays, and the logits behind those of a former file if they are kept."""
        logits = [each.logits[0] for each in found if each.logits is not None]

        def write(temporary: Path) -> None:
            np.savez(temporary, **arrays)
            if logits:
                add_logits(temporary, logits, former, kept)

        write_atomically(path, write)

    def _rows(self, suffix: str, found: Sequence[Predictions]) -> dict[str, npt.NDArray[Any]]:
        """The arrays (t, N) of one variant: what is saved, and a row of each of the others."""
        kinds = {"predicted": np.int32, "confidence": np.float32, "largest_logit": np.float32}
        rows: dict[str, list[npt.NDArray[Any]]] = {
            "predicted": [each.predicted for each in found],
            "confidence": [each.confidence for each in found],
        }
        if not suffix and self.keeps_logits:
            rows["largest_logit"] = [each.largest_logit for each in found if each.largest_logit is not None]
        if self._path is not None and self._saved:
            with np.load(self._path, allow_pickle=False) as file:
                for kind, own in rows.items():  # before the first increment, all variants are the base
                    key = f"{kind}{suffix}" if f"{kind}{suffix}" in file.files else kind
                    own.insert(0, file[key][: self._saved])
        return {f"{kind}{suffix}": np.concatenate(own).astype(kinds[kind], copy=False) for kind, own in rows.items()}

    def _probe_rows(self) -> dict[str, npt.NDArray[Any]]:
        """The array (t, N) of the probe's predictions, -1 after experiences without a probe; nothing if there is none at all."""
        found = [each.probe_predicted for each, _ in self._waiting]
        saved: Sequence[npt.NDArray[Any]] | None = None
        if self._path is not None and self._saved:
            with np.load(self._path, allow_pickle=False) as file:
                saved = file[PROBE][: self._saved] if PROBE in file.files else None
        if saved is None and all(one is None for one in found):
            return {}
        none = np.full(len(self.last.index), -1, dtype=np.int32)
        before = [none] * self._saved if saved is None else saved
        rows = np.stack([*before, *(none if one is None else one for one in found)])
        return {PROBE: rows.astype(np.int32, copy=False)} if (rows >= 0).any() else {}

    def rewrite(self, path: Path, variants: Sequence[str]) -> None:
        """Put the last predictions into a file that has others; all else that it holds stays.

        Raises:
            TrainingError: It cannot be written.
        """
        with np.load(path, allow_pickle=False) as file:
            has_logits = self.keeps_logits and "logits" in file.files
            left_out = (
                {"logits"} if has_logits else {"logits", "largest_logit"}
            )  # the former's rows are copied in pieces
            arrays = {key: file[key] for key in file.files if key not in left_out}
        for suffix, one in [("", self.last_picked), *((f"/{name}", self.last.one(name)) for name in variants)]:
            arrays[f"predicted{suffix}"][-1] = one.predicted[0]
            arrays[f"confidence{suffix}"][-1] = one.confidence[0]
        arrays |= _among_own(self.last_picked)
        last = self.last_picked if has_logits else replace(self.last_picked, logits=None, largest_logit=None)
        if last.largest_logit is not None:
            arrays["largest_logit"][-1] = last.largest_logit[0]
        self._write(path, arrays, [last], path, len(arrays["predicted"]) - 1)

    def restore(self, path: Path, done: int, variants: Sequence[str], picked: str | None) -> None:
        """Take up the file of an earlier part of the run.

        Args:
            path: The file.
            done: The number of finished experiences. Later rows are of one that was not finished.
            variants: The variants of the last experience, if there are several.
            picked: The variant that was picked last.

        Raises:
            OSError, ValueError, KeyError, IndexError, BadZipFile: It is missing or damaged, or has not so many rows.
        """
        names = tuple(variants) or ("",)
        keys = [f"/{name}" if name else "" for name in names]
        with np.load(path, allow_pickle=False) as file:
            self._last = (
                Predictions(
                    index=file["index"],
                    label=file["label"],
                    predicted=np.stack([file[f"predicted{key}"][done - 1] for key in keys]).astype(np.int64),
                    confidence=np.stack([file[f"confidence{key}"][done - 1] for key in keys]),
                    variants=names,
                ),
                picked,
            )
        self._path, self._saved, self._waiting = path, done, []


def _among_own(last: Predictions) -> dict[str, npt.NDArray[Any]]:
    """The array (N,) of the last predictions among the classes of each image's experience; nothing where experiences share classes."""
    return {} if last.task_predicted is None else {TASK: last.task_predicted[0].astype(np.int32)}


def _of(predictions: Predictions, variant: str | None) -> Predictions:
    """One variant; all, which is one, where there is none of that name."""
    return predictions.one(variant) if variant and variant in predictions.variants else predictions
