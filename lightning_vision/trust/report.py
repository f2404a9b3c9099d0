"""trust.json: what was found, as typed models, and how the file is written and read. docs/trust.md describes the fields."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lightning_vision.errors import CheckpointError
from lightning_vision.storage.atomic_write import write_text_atomically
from lightning_vision.trust.separation import Separation


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class Calibration(_Model):
    """The temperature, and what it does to the calibration error."""

    temperature: float
    determined: bool
    """False where every validation image is right, so that no temperature is best: it is left at 1."""
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
    """What the risk is below with 95 % certainty."""


class Rejection(_Model):
    """The threshold on the calibrated confidence, fitted on validation images."""

    target: Literal["coverage", "risk"]
    wanted: float
    threshold: float
    validation: Accepted
    test: Accepted | None
    aurc: float | None
    """Area under the curve of risk over coverage on the test images."""
    strangers_accepted: float | None
    """Share of the strangers that are accepted; null if there were none to look at."""


class TakenFor(_Model):
    """A class that strangers are taken for."""

    class_name: str
    count: int


class AtCheckpoint(_Model):
    """How a checkpoint of the run meets strangers. Confidences are those at T = 1: learning is to be seen, not calibration."""

    checkpoint: str
    experience: int
    experience_name: str
    seen_classes: int
    known: int
    """Test images of the classes seen."""
    training_features: int
    neighbours: int
    """k of the nearest neighbours."""
    accuracy: float
    mean_confidence_known: float
    mean_confidence_unknown: float
    threshold: float | None
    """The confidence that a share ``coverage`` of the validation images has; null without validation images."""
    accepted_known: float | None
    accepted_unknown: float | None
    detectors: dict[str, Separation]
    taken_for: list[TakenFor]
    """Up to five, the most frequent first."""
    by_head: bool
    """Whether the scores are logits of the network's head; those of a closed form may be distances or the like."""


class Unknown(_Model):
    """Strangers: images of no known class."""

    folders: list[str]
    images: int
    skipped: str
    coverage: float
    checkpoints: list[AtCheckpoint]
    """In the stream's order; the last is the one that was asked about."""


class Finding(_Model):
    """One comparison of two sets of images."""

    about: str
    words: str
    warning: bool
    figures: dict[str, float | None]


class NewImages(_Model):
    """Accuracy on new images whose sub-folders name their class."""

    labelled: int
    right: int
    accuracy: float
    test_accuracy: float | None
    per_class: dict[str, float]


class Shift(_Model):
    """What new images have and training images have not."""

    folder: str
    images: int
    skipped: str
    labels: NewImages | None
    """Null if no sub-folder bears the name of a class."""
    new: list[Finding]
    """The new images against the training images."""
    test: list[Finding]
    """The test images against the training images."""
    one_shoot: Finding | None
    """Whether training and test images seem to come from one shoot; null without test images."""


class TrustReport(_Model):
    """All that one call of ``test`` found."""

    version: Literal[1] = Field(default=1, alias="schema")
    checkpoint: str
    experience: int
    backbone: str
    strategy: str
    class_names: list[str]
    calibration: Calibration | None = None
    rejection: Rejection | None = None
    unknown: Unknown | None = None
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
    """Read trust.json.

    Raises:
        CheckpointError: It is missing, damaged, or of another schema.
    """
    try:
        return TrustReport.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = f"{error.error_count()} problems" if isinstance(error, ValidationError) else str(error)
        raise CheckpointError(
            f"Expected a trust.json of schema 1 in {path}, found {reason}. Run `lightning-vision test` with --calibrate, "
            "--ood_data or --new_images again."
        ) from error
