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
    """False where every validation picture is right, so that no temperature is best: it is left at 1."""
    validation_pictures: int
    nll_before: float
    """Mean negative log likelihood of the validation pictures, in nats, at T = 1."""
    nll_after: float
    test_pictures: int
    ece_before: float | None
    """Expected calibration error of the test pictures at T = 1, over 15 bins; null without test pictures."""
    ece_after: float | None


class Accepted(_Model):
    """What a threshold does on some pictures."""

    pictures: int
    accepted: int
    coverage: float
    risk: float | None
    """Share of errors among those accepted; null if there are none."""
    risk_bound: float | None
    """What the risk is below with 95 % certainty."""


class Rejection(_Model):
    """The threshold on the calibrated confidence, fitted on validation pictures."""

    target: Literal["coverage", "risk"]
    wanted: float
    threshold: float
    validation: Accepted
    test: Accepted | None
    aurc: float | None
    """Area under the curve of risk over coverage on the test pictures."""
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
    """Test pictures of the classes seen."""
    training_features: int
    neighbours: int
    """k of the nearest neighbours."""
    accuracy: float
    mean_confidence_known: float
    mean_confidence_unknown: float
    threshold: float | None
    """The confidence that a share ``coverage`` of the validation pictures has; null without validation pictures."""
    accepted_known: float | None
    accepted_unknown: float | None
    detectors: dict[str, Separation]
    taken_for: list[TakenFor]
    """Up to five, the most frequent first."""
    by_head: bool
    """Whether the scores are logits of the network's head; those of a closed form may be distances or the like."""


class Unknown(_Model):
    """Strangers: pictures of no known class."""

    folders: list[str]
    pictures: int
    skipped: str
    coverage: float
    checkpoints: list[AtCheckpoint]
    """In the stream's order; the last is the one that was asked about."""


class Finding(_Model):
    """One comparison of two sets of pictures."""

    about: str
    words: str
    warning: bool
    figures: dict[str, float | None]


class NewPictures(_Model):
    """Accuracy on new pictures whose sub-folders name their class."""

    labelled: int
    right: int
    accuracy: float
    test_accuracy: float | None
    per_class: dict[str, float]


class Shift(_Model):
    """What new pictures have and training pictures have not."""

    folder: str
    pictures: int
    skipped: str
    labels: NewPictures | None
    """Null if no sub-folder bears the name of a class."""
    new: list[Finding]
    """The new pictures against the training pictures."""
    test: list[Finding]
    """The test pictures against the training pictures."""
    one_shoot: Finding | None
    """Whether training and test pictures seem to come from one shoot; null without test pictures."""


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
            "--unknown_data or --new_pictures again."
        ) from error
