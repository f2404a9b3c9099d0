"""The subcommand ``predict --model F.onnx IMAGES``: images in, a table and a page out, without torch."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from lightning_vision.deployed.gallery import write_gallery
from lightning_vision.deployed.given_walk import walk_of
from lightning_vision.deployed.head_file import head_path
from lightning_vision.deployed.model_file import DeployedModel
from lightning_vision.deployed.prediction_table import PredictionTable
from lightning_vision.errors import ConfigError
from lightning_vision.terminal.messages import print_line
from lightning_vision.terminal.option_parser import WordsParser
from lightning_vision.terminal.wording import figure, plural, printable

GALLERY = 48
"""Images of each kind on the page."""
SHOWN = 5
"""Unreadable images that are listed in the terminal."""


def predict(words: Sequence[str]) -> int:
    """Predict for a folder of images, or other images.

    Args:
        words: The command line after ``predict``.

    Returns:
        The exit code.

    Raises:
        UserError: The exported file cannot be used, or no image can be read.
    """
    given = _parser().parse_args(list(words))
    most = _gallery_size(given.gallery)
    if given.batch_size < 1:
        raise ConfigError(f"--batch_size: expected 1 or more, found {given.batch_size}.")
    console = Console()
    walk, model = walk_of(given.images), DeployedModel(given.model)
    print_line(printable(_described(model)))
    if walk.remark:
        print_line(printable(walk.remark))
    if given.head == "auto" and (head := model.learned_head()) is not None:
        model.head = head
        learned, file = int(head.counts.sum()), head_path(model.path)
        print_line(
            printable(
                f"Using the head {file}, trained on {plural(learned, 'image')} on this device (--head none: do not use it)."
            )
        )
    table = PredictionTable(model, walk, given.output, given.batch_size, most)
    started = time.perf_counter()
    columns = (TextColumn("{task.completed:,.0f} images"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_interactive) as progress:
        task = progress.add_task("", total=None)
        table.write(lambda done: progress.advance(task, done))
    speed = table.tally.count / (time.perf_counter() - started)
    print_line(printable(f"Predicted: {table.tally.count:,}, {figure(speed)} a second. Written: {given.output}"))
    _report(table)
    if most:
        page = given.output.with_suffix(".html")
        write_gallery(page, table)
        print_line(printable(f"Page: {page}"))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = WordsParser(
        prog="lightning-vision predict",
        allow_abbrev=False,
        description="Predict for a folder of images, and all folders in it, or other images, with an exported classifier (without --model: "
        "with a checkpoint, see lightning-vision predict --help).",
    )
    parser.add_argument(
        "--model", required=True, type=Path, metavar="F.onnx", help="a file that lightning-vision export wrote"
    )
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGES",
        help="a folder of images; or image files, folders, archives, patterns such as 'photos/*.jpg', and text files that list these, "
        "in any number; folders named after a class give the true class",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("predictions.csv"),
        metavar="OUT.csv",
        help="the table; the page is OUT.html; default: %(default)s",
    )
    parser.add_argument("--batch_size", type=int, default=32, metavar="N", help="images at once; default: %(default)s")
    parser.add_argument(
        "--gallery",
        default="true",
        metavar="true|false|N",
        help=f"a page with the N least confident predictions; default: {GALLERY}",
    )
    parser.add_argument(
        "--head",
        choices=("auto", "none"),
        default="auto",
        help="whether to use the head that was trained on this device (F.head.npz), if there is one; default: %(default)s",
    )
    return parser


def _gallery_size(text: str) -> int:
    if text in ("true", "false"):
        return GALLERY if text == "true" else 0
    if not text.isdecimal():
        raise ConfigError(f"--gallery: expected true, false or a number of images, found {text!r}.")
    return int(text)


def _described(model: DeployedModel) -> str:
    facts, threshold = model.facts, "no rejection threshold"
    if model.threshold is not None:
        threshold = f"rejected below a confidence of {figure(model.threshold)}"
    return (
        f"{model.path}: {len(model.class_names)} classes, {facts.backbone}{' in int8' if facts.quantized else ''}, "
        f"{facts.strategy}; temperature {figure(model.temperature)}, {threshold}."
    )


def _report(table: PredictionTable) -> None:
    tally = table.tally
    if rejected := int(tally.rejected.sum()):
        print_line(printable(f"Rejected: {rejected:,} of {tally.count:,}."))
    if known := int(tally.true.sum()):
        text = f"Accuracy: {tally.right.sum() / known:.4f} on {known:,} images in folders named after a class"
        if 0 < tally.true_and_kept < known:
            kept = tally.right_and_kept.sum() / tally.true_and_kept
            text += f"; {kept:.4f} on the {tally.true_and_kept:,} that were not rejected"
        print_line(printable(f"{text}."))
    if table.unread_count:
        print_line(printable(f"Not read: {table.unread_count:,}, listed in {table.unread.path}. The first:"))
        for reason in table.reasons[:SHOWN]:
            print_line(printable(f"  {reason}"))
    if table.walk.skipped:
        print_line(printable(f"Skipped: {table.walk.counted()}."))
