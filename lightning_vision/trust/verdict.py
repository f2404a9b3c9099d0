"""The findings in words, for the terminal and the page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lightning_vision.terminal.wording import printable
from lightning_vision.trust.report import Finding, OutOfDistribution, TrustReport

HARDLY = 0.6
"""An AUROC below this is called hardly better than guessing."""
SLIGHT = 0.01
"""A smaller change of the mean confidence is called none."""


@dataclass(frozen=True)
class Assessed:
    """What an assessment of a checkpoint found."""

    report: TrustReport
    folder: Path
    """Where it was written."""
    kept_in: Path | None
    """The checkpoint that temperature and threshold were saved in; None if nothing was fitted."""

    @property
    def page(self) -> Path:
        """The page with all figures."""
        return self.folder / "trust.html"


def print_verdict(assessed: Assessed, console: Console) -> None:
    """Print the main figures, and where the others are.

    Args:
        assessed: What was found.
        console: Where to.
    """
    report = assessed.report

    def say(text: str) -> None:
        console.print(printable(text), markup=False, soft_wrap=True)

    for sentence in [*report.notes, *sentences(report)]:
        say(sentence)
    if report.out_of_distribution is not None:
        console.print(_scores(report.out_of_distribution))
        if len(report.out_of_distribution.checkpoints) > 1:
            console.print(_checkpoints(report.out_of_distribution))
    if report.shift is not None:
        for finding in warnings_first(report.shift.new):
            say(f"{'! ' if finding.warning else '  '}{finding.about}: {finding.words}")
        if report.shift.same_session is not None:
            say(f"{'! ' if report.shift.same_session.warning else '  '}{report.shift.same_session.words}")
    if assessed.kept_in is not None:
        say(f"Saved in: {assessed.kept_in}")
    say(f"Page: {assessed.page}")


def warnings_first(findings: list[Finding]) -> list[Finding]:
    """The findings, warnings first."""
    return sorted(findings, key=lambda finding: not finding.warning)


def sentences(report: TrustReport) -> list[str]:
    """The main results in sentences, for the terminal and the top of the page."""
    found = []
    if report.out_of_distribution is not None:
        found += _about_ood(report.out_of_distribution)
    if report.calibration is not None:
        calibration = report.calibration
        ece = ""
        if calibration.ece_before is not None and calibration.ece_after is not None:
            ece = (
                f" On {calibration.test_images} test images the calibration error changes from "
                f"{100 * calibration.ece_before:.1f} % to {100 * calibration.ece_after:.1f} %; predictions stay the same."
            )
            if calibration.ece_after > calibration.ece_before:
                ece += " It did not decrease: a single temperature does not fit these scores."
        found.append(
            f"Temperature {calibration.temperature:.3f}, fitted on {calibration.validation_images} validation images.{ece}"
        )
    if report.rejection is not None:
        rejection, test = report.rejection, report.rejection.test
        words = f"Images with a confidence below {rejection.threshold:.4f} are rejected ({rejection.target} {rejection.wanted:g} on the validation images)."
        if test is not None:
            risk = "" if test.risk is None else f", {100 * test.risk:.1f} % of them are wrong"
            words += f" {100 * test.coverage:.1f} % of the test images are accepted{risk}."
        if rejection.ood_accepted is not None:
            words += f" {100 * rejection.ood_accepted:.1f} % of the out-of-distribution images are accepted."
        found.append(words)
    if report.shift is not None:
        odd = [finding.about for finding in report.shift.new if finding.warning]
        differ = (
            f"differ from the training images in: {', '.join(odd)}"
            if odd
            else "do not differ noticeably from the training images"
        )
        found.append(f"The {report.shift.images} new images {differ}.")
    if report.shift is not None and report.shift.labels is not None:
        labels = report.shift.labels
        against = "" if labels.test_accuracy is None else f", and {100 * labels.test_accuracy:.1f} % on the test images"
        found.append(f"Accuracy on the {labels.labelled} labelled new images: {100 * labels.accuracy:.1f} %{against}.")
    return found


def _about_ood(found: OutOfDistribution) -> list[str]:
    last = found.checkpoints[-1]
    best = max(last.detectors, key=lambda name: last.detectors[name].auroc)
    guessing = "" if last.detectors[best].auroc >= HARDLY else ", hardly better than guessing (50 %)"
    sentences = [
        f"{best[0].upper()}{best[1:]} detects the {found.images} out-of-distribution images best: AUROC "
        f"{100 * last.detectors[best].auroc:.1f} %{guessing}. At the threshold that accepts 95 % of the in-distribution images, "
        f"{100 * last.detectors[best].fpr95:.1f} % of the out-of-distribution images are accepted."
    ]
    if len(found.checkpoints) > 1:
        first = found.checkpoints[0]
        before, after = first.mean_confidence_ood, last.mean_confidence_ood
        change = after - before
        how = "hardly changed" if abs(change) < SLIGHT else "rose" if change > 0 else "fell"
        known = last.mean_confidence_in_distribution - first.mean_confidence_in_distribution
        sentences.append(
            f"From experience {first.experience} to {last.experience}, the mean confidence on out-of-distribution images {how}, "
            f"from {100 * before:.1f} % to {100 * after:.1f} %; on in-distribution images it changed by {100 * known:+.1f} points."
        )
    return sentences


def _scores(found: OutOfDistribution) -> Table:
    table = Table(title="Out-of-distribution detection, by score (percent)")
    for heading in ("score", "AUROC", "AUPR in-distribution", "AUPR OOD", "FPR at 95 %"):
        table.add_column(heading, justify="left" if heading == "score" else "right")
    for name, figures in found.checkpoints[-1].detectors.items():
        shares = (figures.auroc, figures.aupr_in_distribution, figures.aupr_ood, figures.fpr95)
        table.add_row(name, *(f"{100 * share:.1f}" for share in shares))
    return table


def _checkpoints(found: OutOfDistribution) -> Table:
    table = Table(title="Mean confidence at T = 1, and share accepted, by checkpoint (percent)")
    for heading in ("after experience", "confidence", "confidence OOD", "accepted", "accepted OOD"):
        table.add_column(heading, justify="right")
    for item in found.checkpoints:
        shares = (
            item.mean_confidence_in_distribution,
            item.mean_confidence_ood,
            item.accepted_in_distribution,
            item.accepted_ood,
        )
        table.add_row(str(item.experience), *("-" if share is None else f"{100 * share:.1f}" for share in shares))
    return table
