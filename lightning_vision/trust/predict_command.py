"""``predict --ckpt_path RUN photo.jpg ...``: predictions for images that a user gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lightning_vision.learning.hub_run import output_folder
from lightning_vision.learning.loaded_checkpoint import LoadedCheckpoint
from lightning_vision.storage.atomic_write import write_atomically
from lightning_vision.terminal.first_rank import is_first
from lightning_vision.terminal.messages import print_line
from lightning_vision.terminal.wording import plural, printable
from lightning_vision.trust.options import PredictOptions
from lightning_vision.trust.predict_images import predict_images

SHOWN = 10
"""Predictions that are printed."""


def predict_given(checkpoint: LoadedCheckpoint, images: Sequence[str], options: PredictOptions) -> None:
    """Predict images, print the first predictions, and write a table.

    Args:
        checkpoint: The classifier.
        images: See ``find_files``.
        options: What is written, and where.

    Raises:
        UserError: See ``find_files``; or the table cannot be written.
    """
    table = predict_images(checkpoint, list(images), options.every)
    if not is_first():
        return
    run = checkpoint.directory.path
    target = Path(options.output).expanduser() if options.output else output_folder(run) / "predicted.csv"
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, lambda temporary: table.to_csv(temporary, index=False, errors="backslashreplace"))
    for row in table.head(SHOWN).to_dict("records"):
        print_line(printable(_line(row)))
    if len(table) > SHOWN:
        print_line(f"... and {len(table) - SHOWN:,} more")
    rejected = int(table["rejected"].sum())
    frames = int(table["frame"].notna().sum()) if "frame" in table else 0
    kinds = [plural(count, noun) for count, noun in ((len(table) - frames, "image"), (frames, "frame")) if count]
    print_line(
        printable(
            f"Predicted: {' and '.join(kinds)}{f', {rejected:,} rejected' if rejected else ''}. Written: {target}"
        )
    )


def _line(row: dict[Any, Any]) -> str:
    place = ""
    if "frame" in row and not pd.isna(row["frame"]):
        place = f" frame {row['frame']}" + ("" if pd.isna(row["seconds"]) else f" ({row['seconds']:.2f} s)")
    return f"{row['path']}{place}: {row['predicted']} {row['confidence']:.4f}{' (rejected)' if row['rejected'] else ''}"
