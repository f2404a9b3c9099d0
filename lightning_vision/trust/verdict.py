"""What a call found, in the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from lightning_vision.terminal.wording import printable
from lightning_vision.trust.report import Finding, TrustReport, Unknown

HARDLY = 0.6
"""An AUROC below is said to be hardly better than guessing."""
SLIGHT = 0.01
"""A change of the mean confidence below is none to speak of."""


def print_verdict(report: TrustReport, folder: Path, kept_in: Path | None) -> None:
    """Print the figures that matter, and where all of them are.

    Args:
        report: What was found.
        folder: Where it was written.
        kept_in: The checkpoint that now keeps temperature and threshold; None if nothing was fitted.
    """
    console = Console(soft_wrap=True, highlight=False)

    def say(text: str) -> None:
        console.print(printable(text), markup=False)

    for sentence in sentences(report):
        say(sentence)
    if report.unknown is not None:
        console.print(_scores(report.unknown))
        if len(report.unknown.checkpoints) > 1:
            console.print(_checkpoints(report.unknown))
    if report.shift is not None:
        for finding in warnings_first(report.shift.new):
            say(f"{'! ' if finding.warning else '  '}{finding.about}: {finding.words}")
        if report.shift.one_shoot is not None:
            say(f"{'! ' if report.shift.one_shoot.warning else '  '}{report.shift.one_shoot.words}")
    if kept_in is not None:
        say(f"Kept in the checkpoint: {kept_in}")
    say(f"The page: {folder / 'trust.html'}")


def warnings_first(findings: list[Finding]) -> list[Finding]:
    """Those that warn before those that do not."""
    return sorted(findings, key=lambda finding: not finding.warning)


def sentences(report: TrustReport) -> list[str]:
    """The answers in words: for the terminal and the top of the page."""
    found = []
    if report.unknown is not None:
        found += _about_strangers(report.unknown)
    if report.calibration is not None:
        calibration = report.calibration
        ece = ""
        if calibration.ece_before is not None and calibration.ece_after is not None:
            ece = (
                f" On {calibration.test_images} test images the calibration error goes from "
                f"{100 * calibration.ece_before:.1f} % to {100 * calibration.ece_after:.1f} %; no prediction changes."
            )
            if calibration.ece_after > calibration.ece_before:
                ece += " It does not shrink: one temperature does not suit these scores."
        found.append(
            f"Temperature {calibration.temperature:.3f}, fitted on {calibration.validation_images} validation images.{ece}"
        )
    if report.rejection is not None:
        rejection, test = report.rejection, report.rejection.test
        words = f"Reject below a confidence of {rejection.threshold:.4f} (validation: {rejection.target} {rejection.wanted:g})."
        if test is not None:
            risk = "none of them" if test.risk is None else f"{100 * test.risk:.1f} % of them"
            words += f" Of the test images {100 * test.coverage:.1f} % are answered, {risk} wrongly."
        if rejection.strangers_accepted is not None:
            words += f" Of the strangers {100 * rejection.strangers_accepted:.1f} % are answered."
        found.append(words)
    if report.shift is not None:
        odd = [finding.about for finding in report.shift.new if finding.warning]
        looked = f"worth a look: {', '.join(odd)}" if odd else "nothing sets them apart"
        found.append(f"The {report.shift.images} new images against training images: {looked}.")
    if report.shift is not None and report.shift.labels is not None:
        labels = report.shift.labels
        against = (
            "" if labels.test_accuracy is None else f", against {100 * labels.test_accuracy:.1f} % of the test images"
        )
        found.append(
            f"Of {labels.labelled} labelled new images {100 * labels.accuracy:.1f} % are predicted right{against}."
        )
    return found


def _about_strangers(unknown: Unknown) -> list[str]:
    last = unknown.checkpoints[-1]
    best = max(last.detectors, key=lambda name: last.detectors[name].auroc)
    guessing = "" if last.detectors[best].auroc >= HARDLY else ", hardly better than guessing (50 %)"
    found = [
        f"{best[0].upper()}{best[1:]} tells the {unknown.images} strangers best{guessing}: AUROC {100 * last.detectors[best].auroc:.1f} %; where "
        f"95 % of the known are accepted, {100 * last.detectors[best].fpr95:.1f} % of the strangers are too."
    ]
    if len(unknown.checkpoints) > 1:
        first = unknown.checkpoints[0]
        change = last.mean_confidence_unknown - first.mean_confidence_unknown
        known = last.mean_confidence_known - first.mean_confidence_known
        made = (
            "hardly changed how confident it is"
            if abs(change) < SLIGHT
            else f"made it {'more' if change > 0 else 'less'} confident"
        )
        found.append(
            f"From experience {first.experience} to {last.experience} learning has {made} about strangers: "
            f"{100 * first.mean_confidence_unknown:.1f} % to {100 * last.mean_confidence_unknown:.1f} % on average; about the "
            f"known by {100 * known:+.1f} points."
        )
    return found


def _scores(unknown: Unknown) -> Table:
    table = Table(title="strangers against the known, by score (percent)")
    for heading in ("score", "AUROC", "AUPR known", "AUPR strangers", "FPR at 95 %"):
        table.add_column(heading, justify="left" if heading == "score" else "right")
    for name, found in unknown.checkpoints[-1].detectors.items():
        shares = (found.auroc, found.aupr_known, found.aupr_unknown, found.fpr95)
        table.add_row(name, *(f"{100 * share:.1f}" for share in shares))
    return table


def _checkpoints(unknown: Unknown) -> Table:
    table = Table(title="confidence at T = 1, and accepted, by checkpoint (percent)")
    for heading in ("after", "sure: known", "strangers", "accepted: known", "strangers"):
        table.add_column(heading, justify="right")
    for item in unknown.checkpoints:
        shares = (item.mean_confidence_known, item.mean_confidence_unknown, item.accepted_known, item.accepted_unknown)
        table.add_row(str(item.experience), *("-" if share is None else f"{100 * share:.1f}" for share in shares))
    return table
