"""The files of a trust report: trust.json, tables, charts, and a page that asks no network for anything."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.drawing import canvas
from lightning_vision.drawing.page_template import page_environment
from lightning_vision.drawing.thumbnail import jpeg_thumbnail
from lightning_vision.errors import TrainingError
from lightning_vision.storage.atomic_write import write_text_atomically
from lightning_vision.trust.calibration import calibration_error, reliability
from lightning_vision.trust.charts import ood_score_figure, reliability_figure, risk_coverage_figure
from lightning_vision.trust.detectors import ABOUT, DETECTORS
from lightning_vision.trust.image_folder import ImageFolder
from lightning_vision.trust.new_images import ShiftFound
from lightning_vision.trust.out_of_distribution import Evaluated
from lightning_vision.trust.rejection import Chosen, at_threshold, risk_coverage
from lightning_vision.trust.report import OutOfDistribution, TrustReport, write_trust_report
from lightning_vision.trust.scored_images import Scored
from lightning_vision.trust.verdict import sentences, warnings_first

CHARTS = {name: f"ood-score-{name.replace(' ', '-')}" for name in DETECTORS}
FORMER = ("unknown.csv", *(f"strangeness-{name.replace(' ', '-')}.png" for name in DETECTORS))
"""What version 0.1 wrote."""
FILES = (
    "trust.json", "out_of_distribution.csv", "reliability.png", "reliability.csv", "risk_coverage.png", "risk_coverage.csv",
    "trust.html", *(f"{name}.png" for name in CHARTS.values()), *FORMER,
)  # fmt: skip
MOST_EXAMPLES = 8
SIDE = 160
"""Longest side of a thumbnail, in pixels."""
PIXELATED = 64
"""Images with shorter sides are enlarged without smoothing, as they are."""
MOST_POINTS = 2_000
"""Rows of risk_coverage.csv and points of its curve."""


@dataclass(frozen=True)
class Seen:
    """The scores that the figures show."""

    tested: Scored
    """Test images of the classes seen."""
    chosen: Chosen | None
    """The threshold, on validation images."""
    evaluated: Evaluated | None
    ood: ImageFolder | None
    new: ImageFolder | None
    shift: ShiftFound | None


@dataclass(frozen=True)
class Thumbnail:
    """An image within the page."""

    uri: str
    width: int
    height: int
    alt: str
    caption: str
    pixelated: bool


def write_files(report: TrustReport, folder: Path, datamodule: StreamDataModule, seen: Seen) -> None:
    """Write the files, and delete those of an earlier call that this one does not write: all belong to one call.

    Raises:
        TrainingError: They cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise TrainingError(
            f"{folder} cannot be written: {error.strerror or error}. Choose another --output."
        ) from error
    charts: dict[str, Figure] = {}
    if report.out_of_distribution is not None and seen.evaluated is not None:
        _ood_csv(report.out_of_distribution, folder / "out_of_distribution.csv")
        charts |= _ood_scores(seen.evaluated)
    if report.calibration is not None and len(seen.tested):
        charts["reliability"] = _reliability(report.calibration.determined, seen.tested, folder)
    if report.rejection is not None and len(seen.tested):
        charts["risk_coverage"] = _risk_coverage(seen, folder)
    for name, figure in charts.items():
        canvas.save(figure, folder / f"{name}.png")
    write_trust_report(report, folder / "trust.json")
    page = (
        page_environment()
        .get_template("trust.html.j2")
        .render(
            report=report,
            answers=sentences(report),
            warnings_first=warnings_first,
            about=ABOUT,
            detectors=DETECTORS,
            charts={name: _embedded(folder / f"{name}.png") for name in charts},
            chart_of=CHARTS,
            **_examples(report, datamodule, seen),
        )
    )
    write_text_atomically(folder / "trust.html", page)


def _ood_csv(found: OutOfDistribution, path: Path) -> None:
    """A row for each checkpoint and score."""
    columns = ("auroc", "aupr_in_distribution", "aupr_ood", "fpr95")
    facts = (
        "mean_confidence_in_distribution", "mean_confidence_ood", "threshold", "accepted_in_distribution", "accepted_ood",
    )  # fmt: skip
    rows = [
        [
            item.experience, item.checkpoint, name, *(getattr(figures, column) for column in columns),
            *("" if getattr(item, fact) is None else getattr(item, fact) for fact in facts),
        ]
        for item in found.checkpoints
        for name, figures in item.detectors.items()
    ]  # fmt: skip
    canvas.write_rows(path, [["experience", "checkpoint", "score", *columns, *facts], *rows])


def _ood_scores(evaluated: Evaluated) -> dict[str, Figure]:
    return {
        CHARTS[name]: ood_score_figure(
            name,
            evaluated.in_distribution.ood_scores[:, column],
            evaluated.ood.ood_scores[:, column],
            evaluated.figures.detectors[name].auroc,
        )
        for column, name in enumerate(DETECTORS)
    }


def _reliability(determined: bool, tested: Scored, folder: Path) -> Figure:
    before, after = (reliability(each, tested.correct) for each in (tested.confidence, tested.calibrated))
    rows = [[name, *asdict(item).values()] for name, bins in (("before", before), ("after", after)) for item in bins]
    heading = ["calibration", "low", "high", "images", "confidence", "accuracy"]
    canvas.write_rows(folder / "reliability.csv", [heading, *rows])
    errors = calibration_error(before) or 0.0, calibration_error(after)
    return reliability_figure(before, after if determined else None, errors)


def _risk_coverage(seen: Seen, folder: Path) -> Figure:
    tested = seen.tested
    coverage, risk = risk_coverage(tested.calibrated, tested.correct)
    confidence = np.sort(tested.calibrated)[::-1]
    shown = np.unique(np.linspace(0, len(coverage) - 1, min(len(coverage), MOST_POINTS)).astype(int))
    rows = zip(confidence[shown].tolist(), coverage[shown].tolist(), risk[shown].tolist(), strict=True)
    canvas.write_rows(folder / "risk_coverage.csv", [["confidence", "coverage", "risk"], *rows])
    on_test = None if seen.chosen is None else at_threshold(tested.calibrated, tested.correct, seen.chosen.threshold)
    return risk_coverage_figure(coverage[shown], risk[shown], on_test)


def _embedded(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def _examples(report: TrustReport, datamodule: StreamDataModule, seen: Seen) -> dict[str, Sequence[Thumbnail]]:
    """Example images."""
    names = report.class_names
    shown: dict[str, Sequence[Thumbnail]] = {"most_confident": [], "unlike": [], "left": []}
    if seen.evaluated is not None and seen.ood is not None:
        ood = seen.evaluated.ood
        shown["most_confident"] = [
            _in_folder(
                seen.ood, int(ood.index[row]),
                f"predicted as {names[ood.predicted[row]]}, {100 * ood.calibrated[row]:.0f}\N{NO-BREAK SPACE}%",
            )
            for row in np.argsort(-ood.calibrated, kind="stable")[:MOST_EXAMPLES]
        ]  # fmt: skip
    if seen.shift is not None and seen.new is not None:
        shown["unlike"] = [_in_folder(seen.new, place, "") for place in seen.shift.unlike[:MOST_EXAMPLES]]
        shown["left"] = [
            _thumbnail(datamodule.image(int(row)), str(datamodule.samples["path"].iloc[row]), "")
            for row in seen.shift.left[:MOST_EXAMPLES]
        ]
    return shown


def _in_folder(folder: ImageFolder, place: int, words: str) -> Thumbnail:
    image = folder.files.open(place)
    return _thumbnail(image.pixels(None, (SIDE, SIDE)), folder.paths[place], words)


def _thumbnail(pixels: Tensor, path: str, words: str) -> Thumbnail:
    jpeg, (width, height) = jpeg_thumbnail(pixels, SIDE)
    uri = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
    alt = f"{path}, {words}" if words else path
    return Thumbnail(uri, width, height, alt, words or path, max(width, height) < PIXELATED)
