"""trust.json: what was found, as typed models, and how the file is written and read. docs/trust.md describes the fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lightning_vision.errors import CheckpointError
from lightning_vision.storage.atomic_write import write_text_atomically
from lightning_vision.trust.former_schema import from_schema_1
from lightning_vision.trust.separation import Separation

SCHEMA: Final = 2


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class Calibration(_Model):
    """The temperature, and what it does to the calibration error."""

    temperature: float
    determined: bool
    """False if every validation image is classified correctly: no temperature is best then, and T stays 1."""
    validation_images: int
    nll_before: float
    """Mean negative log likelihood of the validation images, in nats, at T = 1."""
    nll_after: float
    test_images: int
    ece_before: float | None
    """Expected calibration error of the test images at T = 1, over 15 bins; null without test images."""
    ece_after: float | None


class Accepted(_Model):
    """What a threshold does on some images."""

    images: int
    accepted: int
    coverage: float
    risk: float | None
    """Share of errors among those accepted; null if there are none."""
    risk_bound: float | None
    """Upper bound of the risk with 95 % confidence."""


class Rejection(_Model):
    """The threshold on the calibrated confidence, fitted on validation images."""

    target: Literal["coverage", "risk"]
    wanted: float
    threshold: float
    validation: Accepted
    test: Accepted | None
    aurc: float | None
    """Area under the curve of risk over coverage on the test images."""
    ood_accepted: float | None
    """Share of the out-of-distribution images that are accepted; null if none were given."""


class TakenFor(_Model):
    """A class that out-of-distribution images are taken for."""

    class_name: str
    count: int


class AtCheckpoint(_Model):
    """What one checkpoint of the run makes of out-of-distribution images. Confidences are those at T = 1, without calibration."""

    checkpoint: str
    experience: int
    experience_name: str
    seen_classes: int
    in_distribution: int
    """Test images of the classes seen."""
    training_features: int
    neighbours: int
    """k of the nearest neighbours."""
    accuracy: float
    mean_confidence_in_distribution: float
    mean_confidence_ood: float
    threshold: float | None
    """The confidence that a share ``coverage`` of the validation images reaches; null without validation images."""
    accepted_in_distribution: float | None
    accepted_ood: float | None
    detectors: dict[str, Separation]
    taken_for: list[TakenFor]
    """Up to five, the most frequent first."""
    by_head: bool
    """Whether the scores are logits of the network's head; a closed form may score by distances, for example."""


class OutOfDistribution(_Model):
    """Images of none of the classes."""

    folders: list[str]
    images: int
    skipped: str
    coverage: float
    checkpoints: list[AtCheckpoint]
    """In the stream's order; the last is the one that was assessed."""


class Finding(_Model):
    """One comparison of two sets of images."""

    about: str
    words: str
    warning: bool
    figures: dict[str, float | None]


class NewImages(_Model):
    """Accuracy on new images whose sub-folders name their class."""

    labelled: int
    correct: int
    accuracy: float
    test_accuracy: float | None
    per_class: dict[str, float]


class Shift(_Model):
    """How new images differ from the training images."""

    folder: str
    images: int
    skipped: str
    labels: NewImages | None
    """Null if no sub-folder has the name of a class."""
    new: list[Finding]
    """The new images against the training images."""
    test: list[Finding]
    """The test images against the training images."""
    same_session: Finding | None
    """Whether training and test images seem to come from the same capture session; null without test images."""


class TrustReport(_Model):
    """All that one call of ``test`` with these options found."""

    version: Literal[2] = Field(default=2, alias="schema")
    checkpoint: str
    experience: int
    backbone: str
    strategy: str
    class_names: list[str]
    calibration: Calibration | None = None
    rejection: Rejection | None = None
    out_of_distribution: OutOfDistribution | None = None
    shift: Shift | None = None
    notes: list[str] = []
    """What the user was told."""


def write_trust_report(report: TrustReport, path: Path) -> None:
    """Write trust.json, whole or not at all.

    Raises:
        TrainingError: It cannot be written.
    """
    write_text_atomically(path, report.model_dump_json(by_alias=True, indent=2) + "\n")


def read_trust_report(path: Path) -> TrustReport:
    """Read trust.json, of this schema or of schema 1.

    Raises:
        CheckpointError: It is missing, damaged, or of a later schema.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        schema = content.get("schema", 1) if isinstance(content, dict) else 1
        if isinstance(schema, int) and schema > SCHEMA:
            raise ValueError(f"schema {schema}, which a newer lightning_vision wrote: update lightning_vision")
        return TrustReport.model_validate(from_schema_1(content) if schema == 1 else content)
    except (OSError, ValueError) as error:
        reason = f"{error.error_count()} problems" if isinstance(error, ValidationError) else str(error)
        raise CheckpointError(
            f"Expected a trust.json of schema {SCHEMA} or earlier in {path}, found {reason}. Run `lightning-vision test` with "
            "--calibrate, --ood_data or --new_images again."
        ) from error
