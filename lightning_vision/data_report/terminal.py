"""The description of the data as tables in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lightning_vision.data.leaks import LeakPair
from lightning_vision.data.sample_table import SPLITS
from lightning_vision.data_report.checkpoint_labels import LabelReport
from lightning_vision.data_report.report import SPLIT_NAMES, DataReport
from lightning_vision.terminal.messages import print_line
from lightning_vision.terminal.wording import SHOWN, few, figure, plural, printable

NOT_MEASURED = ("Not evaluated", "No validation images")
"""How remarks begin that say what cannot be measured."""
BAR_LENGTH = 16
"""Characters of the longest bar in the terminal."""


def print_report(report: DataReport, console: Console, most_classes: int = 30) -> None:
    """Print a summary of the page.

    Args:
        report: The description of the data.
        console: The console.
        most_classes: With more classes, only the smallest and the largest are shown.
    """

    def line(text: str, style: str = "") -> None:
        console.print(_safe(text), style=style, soft_wrap=True, highlight=False)

    console.print()
    console.rule(_safe(f"{report.source}: {report.root}"))
    splits = [f"{count:,} {SPLIT_NAMES[part]}" for part, count in zip(SPLITS, report.totals.tolist(), strict=True)]
    images = "image" if report.totals.sum() == 1 else "images"
    classes = "class" if len(report.class_names) == 1 else "classes"
    line(f"{int(report.totals.sum()):,} {images}, {len(report.class_names):,} {classes}: {', '.join(splits)}.")
    console.print(_class_table(report, most_classes), soft_wrap=False)
    for part, names in report.without.items():
        line(f"No {SPLIT_NAMES[part]} images: {few(names, 10)}.")
    console.print(_stream_table(report), soft_wrap=False)
    console.print(_size_table(report), soft_wrap=False)
    kinds = [f"{count:,} {' '.join(filter(None, (kind, mode))) or 'unknown'}" for kind, mode, count in report.formats]
    line(f"Files: {', '.join(kinds)}.")
    for item in report.groups:
        line(f"Groups in the {SPLIT_NAMES[item.split]} data: {item.groups:,}, the largest of {item.largest:,} images.")
    line(
        f"Mean {_channels(report.mean)}, standard deviation {_channels(report.deviation)} (red, green, blue, from 0 to "
        f"1; {report.measured:,} of {report.measurable:,} training images, evaluation transform)."
    )
    weights = report.class_weights
    told = "all alike" if weights is None else f"from {min(weights):.3g} to {max(weights):.3g}"
    line(f"Sampler: {report.sampler}. Class weights in the loss: {told}.")
    if report.times is not None and report.times.clock == "EXIF":
        firsts, lasts = ([getattr(span, end) for span in report.times.spans] for end in ("first", "last"))
        line(f"EXIF dates of {report.times.known:,} of {report.times.images:,} images: {min(firsts)} to {max(lasts)}.")
        if told := report.times.warning():
            line(told, "bold red")
    sentence = report.leaks.sentence()
    if sentence or not report.leaks.undecoded:
        line(f"Leaks: {sentence or 'none found'}.", "bold red" if sentence else "")
    if limits := report.leaks.limits():
        line(limits)
    pairs = [f"  {report.paths[p.second]} {_pair_words(p)} {report.paths[p.first]}" for p in report.leaks.pairs]
    _print_first(pairs, 5, line)
    _print_first([f"Skipped: {plural(len(paths), 'file')}, {why}." for why, paths in report.skipped], SHOWN, line)
    _print_first([f"Unusable: {path}: {reason}." for path, reason in report.unusable], SHOWN, line)
    for remark in sorted(report.remarks, key=lambda text: text.startswith(NOT_MEASURED)):  # these are read last
        line(f"Note: {' '.join(remark.split())}")


def print_labels(labels: LabelReport, class_names: Sequence[str], paths: Sequence[str], most: int = 5) -> None:
    """Print how many labels are doubtful, and the most doubtful ones.

    Args:
        labels: What was found.
        class_names: The names of the labels.
        paths: The paths of the rows of the sample table.
        most: Maximum number of images that are named.
    """
    doubts = labels.doubts
    print_line(f"Labels: {doubts.sentence()}.")
    for row, label, suggested in zip(doubts.rows[:most], doubts.label, doubts.suggested, strict=False):
        print_line(
            f"  {printable(paths[row])}: {printable(class_names[label])}, or {printable(class_names[suggested])}?"
        )
    if labels.note:
        print_line(f"Note: {labels.note}")


def _print_first(lines: Sequence[str], most: int, line: Callable[[str], None]) -> None:
    for text in lines[:most]:
        line(text)
    if len(lines) > most:
        line(f"  and {len(lines) - most} more; see the page")


def _pair_words(pair: LeakPair) -> str:
    """The relation of the second image of a pair to the first."""
    if pair.kind == "near":
        return f"looks like ({plural(pair.distance, 'bit')} of 64 differ)"
    return {"exact": "is a copy of", "label": "has a different label than its copy"}[pair.kind]


def _class_table(report: DataReport, most: int) -> Table:
    table = Table(title="Images per class", caption_justify="left")
    table.add_column("class", overflow="fold")
    for part in SPLITS:
        table.add_column(part, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    order = np.argsort(-report.counts.sum(axis=1), kind="stable")
    shown = set(
        order.tolist() if len(order) <= most else [*order[: most // 2].tolist(), *order[-(most - most // 2) :].tolist()]
    )
    longest = max(1, int(report.counts.sum(axis=1).max(initial=0)))
    for label, name in enumerate(report.class_names):
        if label in shown:
            row = report.counts[label]
            bar = "█" * max(1, round(BAR_LENGTH * int(row.sum()) / longest)) if row.sum() else ""
            table.add_row(_safe(name), *(f"{count:,}" for count in row.tolist()), bar)
    if len(order) > most:
        table.caption = f"The largest and the smallest of {len(order)} classes; the page shows all."
    return table


def _stream_table(report: DataReport, most: int = 30) -> Table:
    table = Table(title=f"The stream: {escape(report.scenario)}", caption_justify="left")
    table.add_column("", justify="right")
    table.add_column("experience", overflow="fold")
    for heading in (*SPLITS, "new classes"):
        table.add_column(heading, justify="right")
    for number, cut in enumerate(report.cuts[:most]):
        counts = (cut.train, cut.val, cut.test, cut.new_classes)
        table.add_row(str(number), _safe(cut.name), *(f"{count:,}" for count in counts))
    if len(report.cuts) > most:
        table.caption = f"The first {most} of {len(report.cuts)} experiences; the page shows more."
    return table


def _size_table(report: DataReport) -> Table:
    table = Table(title="Sizes")
    for heading in ("", "lowest", "median", "highest"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for histogram in report.sizes:
        unit = f" ({histogram.unit})" if histogram.unit else ""
        figures = (histogram.lowest, histogram.median, histogram.highest)
        table.add_row(f"{histogram.title}{unit}", *(figure(value) for value in figures))
    return table


def _channels(values: Sequence[float]) -> str:
    return " ".join(f"{value:.3f}" for value in values)


def _safe(text: object) -> str:
    return escape(printable(text))
