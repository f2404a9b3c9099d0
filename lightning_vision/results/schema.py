"""results.json: what a run found, as typed models, and how the file is written and read.

docs/results.md describes every field. A figure that is not defined is null.
"""

import functools
import json
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, with_config

# pydantic refuses typing.TypedDict before Python 3.12.
from typing_extensions import TypedDict

from lightning_vision.errors import CheckpointError
from lightning_vision.former_names import with_present_paths
from lightning_vision.results.array_rows import LARGEST
from lightning_vision.results.file_content import read_content
from lightning_vision.results.json_text import json_text, writable
from lightning_vision.results.matrix_file import (
    all_but,
    drop_other_matrices,
    large_matrices,
    longest_side,
    missing_files,
    put_back_matrices,
    put_in_place,
    write_matrices,
)
from lightning_vision.results.probe import Probe
from lightning_vision.storage.atomic_write import write_text_atomically
from lightning_vision.storage.sparse_counts import SparseCounts
from lightning_vision.terminal.wording import in_lines

SCHEMA: Final = 2


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


@with_config(ConfigDict(extra="forbid"))
class ClassScores(TypedDict):
    """How well one class is recognised."""

    precision: float | None
    recall: float | None
    f1: float | None
    support: int


@with_config(ConfigDict(extra="forbid"))
class Confusion(TypedDict):
    """One kind of error: images of one class that are taken for another."""

    true: str
    predicted: str
    count: int
    share: float


class Scores(_Model):
    """One set of predictions against the truth."""

    accuracy: float | None
    macro_f1: float | None
    ece: float | None
    per_class: dict[str, ClassScores]
    confusion_matrix: list[list[int]] | SparseCounts
    top_confusions: list[Confusion]


class Variant(_Model):
    """One of several heads that a strategy predicts with, such as one epsilon of a sweep."""

    key: str | None = None
    value: float | str | None = None
    test_accuracy: list[float | None]
    val_accuracy: list[float | None]
    accuracy_matrix: list[list[float | None]]
    test: Scores
    extra: dict[str, dict[str, float]] = {}


class Task(_Model):
    """Accuracy where each image's experience is given: the prediction is one of that experience's classes."""

    accuracy: list[float | None]
    accuracy_matrix: list[list[float | None]]


class ClassKind(_Model):
    """The classes that a given base knows, or those that are new, and the accuracy on their test images."""

    classes: list[str]
    images: int
    initial_accuracy: float | None
    accuracy: list[float | None]


class Component(_Model):
    """A class and the arguments it was made with."""

    class_path: str
    init_args: dict[str, JsonValue] = {}


class Run(_Model):
    """What was run."""

    name: str
    strategy: Component
    base_strategy: Component | None
    data: dict[str, JsonValue]
    scenario: str
    experiences: int
    seed: int
    stream_hash: str
    split_hash: str
    config_hash: str
    complete: bool
    tune_on: int | None = None


class Evaluation(_Model):
    """The cost of evaluation after one experience."""

    seconds: float
    energy_kwh: float | None
    co2eq_kg: float | None
    images: int
    backbone_images: int | None = None


class ExperienceRecord(_Model):
    """One finished experience: its data and the cost of learning it."""

    index: int
    name: str
    classes: list[int]
    train_samples: int
    val_samples: int
    test_samples: int
    epochs: int
    steps: int | None = None
    stopped_early: bool
    stopped_by_budget: bool = False
    seconds: float
    samples_per_second: float | None
    energy_kwh: float | None
    co2eq_kg: float | None
    trainable_parameters: int
    peak_memory_bytes: int | None
    backbone_images: int
    learning_rate: float | None = None
    batch_size: int | None = None
    evaluation: Evaluation


class Base(_Model):
    """Where the base came from and the cost of training it in this run."""

    seconds: float
    energy_kwh: float | None
    co2eq_kg: float | None
    from_checkpoint: str | None


class Network(_Model):
    """The size of the network."""

    backbone: str
    total_parameters: int
    macs: int | None


class Totals(_Model):
    """The cost of the whole run."""

    seconds: float
    energy_kwh: float | None
    co2eq_kg: float | None
    backbone_images: int


class Budget(_Model):
    """What all increments together might spend, what they spent, and the experiences that it ended."""

    kind: Literal["steps", "kwh"]
    limit: float
    spent: float
    stopped: list[int]


class Features(_Model):
    """What the feature cache did: whether it was used for learning, and what it took and saved."""

    cached: bool
    reason: str
    computed: int
    reused: int
    seconds: float
    saved_seconds: float
    smallest_cosine: float | None


class Energy(_Model):
    """How energy was determined."""

    mode: Literal["measured", "estimated"]
    country: str
    grid_gco2_per_kwh: float | None


class Environment(_Model):
    """What the run ran on; versions of further libraries are further fields."""

    model_config = ConfigDict(extra="allow")

    python: str
    torch: str
    lightning: str
    device: str
    devices: int
    precision: str
    git_commit: str | None


class Results(_Model):
    """The whole of results.json after t of T experiences."""

    schema_version: Literal[2] = Field(SCHEMA, alias="schema")
    run: Run
    class_names: list[str]
    accuracy_matrix: list[list[float | None]]
    test_accuracy: list[float | None]
    seen_accuracy: list[float | None]
    chance: list[float | None]
    initial_accuracy: float | None
    average_accuracy: float | None
    average_incremental_accuracy: float | None
    forgetting: float | None
    backward_transfer: float | None
    forward_transfer: float | None
    task: Task | None = None
    anytime_accuracy: list[float | None] | None = None
    average_anytime_accuracy: float | None = None
    anytime_every: int | None = None
    class_kinds: dict[Literal["base", "new"], ClassKind] | None = None
    test: Scores
    first_test: Scores
    picked_variant: list[str | None] | None
    variants: dict[str, Variant]
    experiences: list[ExperienceRecord]
    notes: list[str] = []
    base: Base
    network: Network
    totals: Totals
    memory_bytes: int | None = None
    budget: Budget | None = None
    probe: Probe | None = None
    features: Features | None = None
    energy: Energy | None
    environment: Environment
    files: dict[str, str] = {}

    @property
    def base_classes(self) -> list[str] | None:
        """The classes that the given base knows, where the run allows new ones beside them; else None."""
        return self.class_kinds["base"].classes if self.class_kinds else None

    @property
    def without_energy(self) -> int:
        """The number of finished experiences whose energy is not known; ``totals`` is the sum of the others."""
        return sum(None in (each.energy_kwh, each.evaluation.energy_kwh) for each in self.experiences)

    @property
    def accuracy_before(self) -> float | None:
        """Test accuracy before the learning strategy began: of the given base, or after the base; None without one."""
        if self.initial_accuracy is not None:
            return self.initial_accuracy
        return self.test_accuracy[0] if len(self.test_accuracy) > 1 else None


def write_results(results: Results, path: str | Path) -> None:
    """Write results.json so that a reader finds the old file or the new one, never half of one.

    NaN and infinity become null. Matrices of more than 200 rows or columns go to files beside it, which ``files`` names.

    Args:
        results: what to write.
        path: the file. Its folder exists. Only one process writes it.

    Raises:
        ValidationError: a value has the wrong type, or is not finite in a field that cannot be null.
        TrainingError: the file cannot be written.
    """
    path = Path(path)
    matrices = large_matrices(results)
    records = _written_records(results.experiences)
    left_out = all_but(matrices) | ({} if records is None else {"experiences": True})
    values = writable(results.model_dump(by_alias=True, warnings=False, exclude=left_out))
    put_in_place(values, {place: [] for place in matrices})
    # Once more, since lists and dicts can have been changed after they were checked.
    checked = Results.model_validate({"experiences": [], **values}).model_dump(mode="json", by_alias=True)
    if records is not None:
        checked["experiences"] = records
    matrices |= large_matrices(checked)  # such as those with True for 1, which are numbers now
    apart = {place: matrix for place, matrix in matrices.items() if longest_side(matrix) > LARGEST}
    put_in_place(checked, {**matrices, **dict.fromkeys(apart, None)})
    checked["files"] = write_matrices(apart, path.parent)
    write_text_atomically(path, json_text(checked) + "\n")
    drop_other_matrices(path.parent, checked["files"].values())


def _written_records(records: list[ExperienceRecord]) -> list[dict[str, Any]] | None:
    """What results.json holds of each experience; None if one of them has a value that cannot be written as it is."""
    try:
        return [_written_record(record.model_dump_json(by_alias=True, warnings=False)) for record in records]
    except (
        AttributeError,
        TypeError,
        ValueError,
    ):  # also those of pydantic: the check of all results says what is wrong
        return None


@functools.lru_cache(maxsize=4096)
def _written_record(text: str) -> dict[str, Any]:
    """A checked record. All but the last of a long stream's were written after the experience before."""
    checked = ExperienceRecord.model_validate(writable(json.loads(text)))
    return checked.model_dump(mode="json", by_alias=True)


def read_results(path: str | Path) -> Results:
    """Read results.json, of this schema or an earlier one, with the matrices that it keeps in a file beside it.

    Raises:
        CheckpointError: the file is missing, truncated, of a later schema or holds wrong values; or its matrices are missing.
    """
    path = Path(path)
    content = read_content(path, SCHEMA)
    if missing_files(content, path.parent):
        content = read_content(path, SCHEMA)  # a run has replaced both files since
    put_back_matrices(content, path)
    if "run" in content:  # classes are named there alone; the rest may be a million numbers
        content["run"] = with_present_paths(content["run"])
    try:
        return Results.model_validate(content, strict=True)
    except ValidationError as error:
        raise CheckpointError(
            f"Expected results of schema {SCHEMA} in {path} as docs/results.md describes them, found "
            f"{error.error_count()} problem(s):\n{_problems(error)}\nRestore the file from a copy, or run again."
        ) from error


def without_measurements(results: Results) -> dict[str, Any]:
    """What must be equal when a run is repeated: all but time, energy, memory, passes of the backbone and environment.

    Returns:
        The fields of results.json without those that are measured anew in every run.
    """
    cost = {"seconds", "samples_per_second", "energy_kwh", "co2eq_kg", "peak_memory_bytes", "backbone_images"}
    return results.model_dump(
        mode="json",
        by_alias=True,
        exclude={
            "environment": True,
            "energy": True,
            "features": True,
            "budget": {"spent"},
            "probe": {"seconds"},
            "base": cost,
            "totals": cost,
            "experiences": {"__all__": dict.fromkeys(cost, True) | {"evaluation": cost}},
        },
    )


def _problems(error: ValidationError, most: int = 10) -> str:
    """A line per problem: the field, what is wrong, what was found."""
    lines = (
        f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}, found {str(problem['input'])[:80]!r}"
        for problem in error.errors(include_url=False)
    )
    return in_lines(lines, most)
