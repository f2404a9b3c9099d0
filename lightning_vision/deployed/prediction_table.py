"""Predictions for images as a CSV file, written row by row: memory does not grow with a folder."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np

from lightning_vision.deployed.given_walk import GivenWalk
from lightning_vision.deployed.image_walk import ImageWalk
from lightning_vision.deployed.model_file import DeployedModel
from lightning_vision.deployed.preprocessing import Pixels
from lightning_vision.deployed.tally import Tally
from lightning_vision.errors import DataError
from lightning_vision.storage.atomic_write import write_atomically
from lightning_vision.storage.csv_log import RowFile
from lightning_vision.terminal.wording import printable

MOST_LISTED = 50
"""Images that could not be read of which the reason is remembered; all are in a file."""


class PredictionTable:
    """One pass of a classifier over a folder, or other images.

    Columns: ``path`` from the folder (of other images as it was given), ``predicted``, ``confidence``, ``rejected``, ``probability/<class>``, and ``true``, the
    class that a folder of the path is named after. Images that cannot be read get a file of their own, ``path`` and
    ``reason``, beside the table.

    Args:
        model: Predicts.
        walk: Finds the images.
        output: The table.
        batch_size: Images that are predicted at once.
        most: Cases of each kind that ``tally`` remembers.
    """

    def __init__(
        self, model: DeployedModel, walk: ImageWalk | GivenWalk, output: Path, batch_size: int, most: int
    ) -> None:
        self.model, self.walk, self.output, self.batch_size = model, walk, output, batch_size
        self.tally = Tally(model.class_names, most)
        self.unread = RowFile(output.with_name(f"{output.stem}-unread.csv"))
        self.unread_count = 0
        self.reasons: list[str] = []
        """Why the first of them could not be read."""

    def write(self, batch_done: Callable[[int], None]) -> None:
        """Predict, and write; the table appears when it is whole.

        Args:
            batch_done: Called with the number of images of each batch.

        Raises:
            DataError: No image can be read.
            TrainingError: The table cannot be written.
        """
        self.output.parent.mkdir(parents=True, exist_ok=True)
        self.unread.path.unlink(missing_ok=True)

        def write(temporary: Path) -> None:
            try:
                for done in self._write_rows(temporary):
                    batch_done(done)
                if not self.tally.count:
                    raise DataError(self._nothing_read())
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise

        write_atomically(self.output, write)

    def _write_rows(self, file: Path) -> Iterator[int]:
        """Yields the number of images after each batch."""
        # A name that is no UTF-8 is spelt out, as on the page.
        with file.open("w", newline="", encoding="utf-8", errors="backslashreplace") as text:
            rows = csv.writer(text, lineterminator="\n")
            probabilities = [f"probability/{name}" for name in self.model.class_names]
            rows.writerow(["path", "predicted", "confidence", "rejected", *probabilities, "true"])
            for batch in self._decoded():
                read = [(path, pixels) for path, image in batch if (pixels := self._result(path, image)) is not None]
                if read:
                    found = self.model.predict_batch(np.stack([pixels for _, pixels in read]))
                    for (path, _), row, rejected in zip(
                        read, found.probability, self.model.rejected(found), strict=True
                    ):
                        case = self.tally.add(path, row, bool(rejected))
                        shares = [f"{share:.6g}" for share in row]
                        rows.writerow(
                            [path, case.predicted, f"{case.confidence:.6g}", case.rejected, *shares, case.true]
                        )
                yield len(batch)

    def _result(self, path: str, image: Future[Pixels]) -> Pixels | None:
        try:
            return image.result()
        except DataError as error:
            self.unread_count += 1
            self.unread.append({"path": printable(path), "reason": printable(error)})
            if len(self.reasons) < MOST_LISTED:
                self.reasons.append(str(error))
            return None

    def _decoded(self) -> Iterator[list[tuple[str, Future[Pixels]]]]:
        """Batches; the next one is decoded by all cores while one is predicted, and no more than that."""
        prepare, paths = self.model.facts.preprocessing, iter(self.walk)
        waiting: deque[list[tuple[str, Future[Pixels]]]] = deque()
        with ThreadPoolExecutor() as pool:
            while batch := list(islice(paths, self.batch_size)):
                waiting.append([(path, pool.submit(prepare, file)) for path, file in batch])
                if len(waiting) > 1:
                    yield waiting.popleft()
            yield from waiting

    def _nothing_read(self) -> str:
        root = self.walk.shown
        if self.reasons:
            return f"None of the {self.unread_count:,} images in {root} could be read. The first: {self.reasons[0]}"
        skipped = f" Skipped: {self.walk.counted()}." if self.walk.skipped else ""
        return f"Expected images in {root} or in folders below, found none.{skipped}"
