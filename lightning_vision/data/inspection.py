"""Inspects images before training: whether they can be read, their size, and hashes by which copies are found.

The results are stored beside the data, so that the next inspection reads only new and changed files.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from lightning_vision.array_types import Rows
from lightning_vision.data.image_facts import (
    DECODED,
    HEADER,
    THUMBNAIL,
    UNOPENED,
    ImageFacts,
    digest_of_loaded,
    look_at_file,
    look_at_pixels,
)
from lightning_vision.images.image_sources import FileImages, ImageSource
from lightning_vision.images.pillow_decoding import DECODING_VERSION
from lightning_vision.storage.array_file import read_arrays, write_arrays
from lightning_vision.storage.cache_folder import keep, locked
from lightning_vision.storage.file_facts import file_versions, short_reason, threads
from lightning_vision.terminal.progress_bar import progress_bar
from lightning_vision.terminal.wording import plural

How = Literal["full", "headers", "off"]
"""How thoroughly images are inspected: each is decoded; only its header is read; it is not opened."""

MOST_SECONDS = 60.0
"""A full inspection that takes longer is made only if it is asked for."""
MEASURED, MEASURING_SECONDS = 256, 2.0
"""Number of images, and the seconds, after which the pace of a full inspection is known."""
CHUNK = 256
"""Images after which an inspection may be stored."""
OF_DECODED = ("digest", "phash", "thumbnail")
"""Facts that are stored of decoded images only."""
STORED = {
    *("identity", "version", "rules", "pace", "height", "width", "bytes", "depth", "taken"),
    *("format", "format_names", "mode", "mode_names"),
    *OF_DECODED,
}
"""Names of the arrays in the file of an inspection."""
STORED_EVERY = 60.0
"""Seconds after which an inspection that is still running is stored, in case the process is killed."""


@dataclass(frozen=True)
class Inspection:
    """Facts about N images."""

    height: npt.NDArray[np.int32]
    """(N,) in pixels, upright and cropped to the box; 0 if it cannot be read. As is ``width``."""
    width: npt.NDArray[np.int32]
    bytes: npt.NDArray[np.int64]
    """(N,) size of the file; 0 without a file."""
    format: npt.NDArray[np.object_]
    """(N,) texts: Pillow's format: JPEG, PNG, ...; empty without a file."""
    mode: npt.NDArray[np.object_]
    """(N,) texts: Pillow's mode: RGB, L, CMYK, ..."""
    digest: npt.NDArray[np.uint8]
    """(N, 16) identity of the image, for keys of caches. Of a decoded image the hash of the file and the crop, or of the
    pixels: equal for exact copies. Otherwise the hash of the path, the crop, and the file's size and times."""
    phash: npt.NDArray[np.uint64]
    """(N,) perceptual hash; images that look alike differ in few bits."""
    thumbnail: npt.NDArray[np.uint8]
    """(N, 8, 8, 3) RGB."""
    reason: npt.NDArray[np.object_]
    """(N,) texts: why it cannot be used; empty if it can. They are not stored: the next inspection looks again."""
    depth: npt.NDArray[np.uint8]
    """(N,) how far it was looked at: UNOPENED, HEADER or DECODED. Only of decoded images there are ``phash`` and ``thumbnail``,
    and only these are known to be undamaged."""

    taken: npt.NDArray[np.float64]
    """(N,) when it was taken by its EXIF: seconds since 1970 by the camera's clock; 0 if that is not known."""
    written: npt.NDArray[np.float64]
    """(N,) when its file was last changed: seconds since 1970; 0 without a file."""

    def __len__(self) -> int:
        return len(self.height)

    def table(self) -> pd.DataFrame:
        """One row for each image: height and width in pixels, bytes of the file, its format and mode."""
        names = ("height", "width", "bytes", "format", "mode")
        return pd.DataFrame({name: getattr(self, name) for name in names})

    def take(self, rows: Rows) -> Inspection:
        """The facts about some rows, in the given order."""
        return Inspection(**{item.name: getattr(self, item.name)[rows] for item in fields(self)})

    @property
    def undecoded(self) -> int:
        """Number of images that were not decoded: damages, copies and near copies among them are not known."""
        return int((self.depth < DECODED).sum())

    def limits(self, asked: How | None) -> str:
        """What is not known because images were not decoded, as sentences; empty if all were.

        Args:
            asked: How they were to be inspected; None: the program chose.
        """
        if not self.undecoded:
            return ""
        count = plural(self.undecoded, "image")
        looked = "only the headers were read" if (self.depth == HEADER).any() else "nothing was read"
        why = f", because decoding them takes more than {MOST_SECONDS:g} seconds" if asked is None else ""
        return (
            f"Of {count} {looked}{why} (data.inspect): damaged images, copies and near copies among them were not searched for. "
            "data.inspect=full decodes each image once and stores what it finds."
        )

    @staticmethod
    def blank(count: int) -> Inspection:
        """An inspection that has not looked at anything."""
        text = np.full(count, "", dtype=np.object_)
        return Inspection(
            height=np.zeros(count, dtype=np.int32),
            width=np.zeros(count, dtype=np.int32),
            bytes=np.zeros(count, dtype=np.int64),
            format=text,
            mode=text.copy(),
            digest=np.zeros((count, 16), dtype=np.uint8),
            phash=np.zeros(count, dtype=np.uint64),
            thumbnail=np.zeros((count, THUMBNAIL, THUMBNAIL, 3), dtype=np.uint8),
            reason=text.copy(),
            depth=np.zeros(count, dtype=np.uint8),
            taken=np.zeros(count),
            written=np.zeros(count),
        )

    @staticmethod
    def joined(parts: Sequence[Inspection]) -> Inspection:
        """Concatenate the rows of several inspections."""
        names = [item.name for item in fields(Inspection)]
        return Inspection(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def inspect_files(files: FileImages, workers: int, kept: Path | None, how: How | None = "full") -> Inspection:
    """Inspect image files.

    Args:
        files: The images.
        workers: Number of threads; decoders release the GIL.
        kept: File with an earlier inspection, in which this one is stored; None stores nothing.
        how: See ``How``. None: full, unless this takes more than ``MOST_SECONDS`` at the pace of the first images, and
            then headers. The pace is stored too, so that the next start chooses alike.
    """
    work = _FileInspection(files, workers, kept)
    if how == "off":
        return work.unopened()
    if kept is None:
        return work.run(how)
    with locked(kept.parent, kept.name):  # other processes of the run wait, then read the result
        return work.run(how)


def inspect_loaded(source: ImageSource, count: int, workers: int, how: How | None = "full") -> Inspection:
    """Inspect images that are not files; nothing is stored.

    Args:
        source: The images.
        count: Their number.
        workers: Number of threads.
        how: As for ``inspect_files``. There are no headers: with headers and off nothing is loaded, and the digests are zeros
            (see ``digests_of_loaded``).
    """
    found, rows = Inspection.blank(count), np.arange(count, dtype=np.int64)

    def look(row: int) -> ImageFacts:
        return look_at_pixels(source, row)

    if how is None:
        how, pace = "full", _Pace()
        if count > MEASURED:
            tried = _spread(rows)
            _look(look, tried, found, workers, "looking at the first images", pace=pace)
            rows = np.setdiff1d(rows, tried[: pace.images])
            how = pace.how(len(rows))
    if how == "full":
        _look(look, rows, found, workers, "looking at the images")
        return found
    return Inspection.blank(count)


def digests_of_loaded(source: ImageSource, rows: Rows, workers: int) -> npt.NDArray[np.uint8]:
    """The digests (N, 16) of images that are not files and were not inspected.

    Raises:
        DataError: An image cannot be loaded.
    """
    with threads(workers) as pool, progress_bar("hashing the images", len(rows)) as advance:
        found = []
        for digest in pool.map(lambda row: digest_of_loaded(source, row), rows.tolist()):
            found.append(digest)
            advance()
    return np.array(found, dtype=np.uint8).reshape(-1, 16)


class _Pace:
    """The pace of a full inspection.

    Args:
        seconds: For an image; 0: not known.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.images = seconds, 0

    def how(self, images: int) -> How:
        """How to inspect so many more images."""
        return "full" if self.seconds * images <= MOST_SECONDS else "headers"


class _FileInspection:
    """One inspection of image files; see ``inspect_files``."""

    def __init__(self, files: FileImages, workers: int, kept: Path | None) -> None:
        self.files, self.workers, self.kept = files, workers, kept
        self.identities = files.identities()
        self.versions, self.problems = file_versions(files.paths())
        self.found = Inspection.blank(len(files))
        self.found.written[:] = self.versions[:, 1] / 1e9
        self.pace = _Pace()

    def run(self, how: How | None) -> Inspection:
        """Look at what is not known, and store it, also if this is interrupted."""
        self._restore()
        before = self.found.depth.copy()
        try:
            if how is None:
                how = self._choose()
            if how == "full":
                self._look(np.flatnonzero(self.found.depth < DECODED), decode=True)
            else:
                self.found.reason[:] = ""  # of the images whose decoding was tried: the next start would not try them
                self._look(np.flatnonzero(self.found.depth < HEADER), decode=False)
        finally:
            if not np.array_equal(before, self.found.depth):
                self._store()
        return self.found if how == "full" else self._headers_only()

    def unopened(self) -> Inspection:
        """The sizes of the files, and which are missing."""
        self.found.bytes[:] = np.maximum(self.versions[:, 0], 0)
        self.found.digest[:] = self._digests()
        for row, error in self.problems.items():
            self.found.reason[row] = short_reason(error, self.files.path(row))
        self.found.reason[self.versions[:, 0] == 0] = "the file is empty"
        return self.found

    def _choose(self) -> How:
        """How to inspect the images of which too little is known; measures the pace if it is not stored."""
        missing = np.flatnonzero(self.found.depth < DECODED)
        if len(missing) > MEASURED and not self.pace.seconds:
            self._look(_spread(missing), decode=True, pace=self.pace)
        return self.pace.how(int((self.found.depth < DECODED).sum()))

    def _look(self, rows: Rows, decode: bool, pace: _Pace | None = None) -> None:
        text = "looking at the images" if decode else "reading the headers of the images"
        _look(
            lambda row: look_at_file(self.files, row, decode), rows, self.found, self.workers, text, self._store, pace
        )

    def _headers_only(self) -> Inspection:
        """The same facts of all images, also of those that were decoded earlier."""
        decoded = self.found.depth == DECODED
        self.found.depth[decoded], self.found.phash[decoded], self.found.thumbnail[decoded] = HEADER, 0, 0
        self.found.digest[:] = self._digests()
        return self.found

    def _digests(self) -> npt.NDArray[np.uint8]:
        """(N, 16) identities of images whose content was not read."""
        texts = np.concatenate([self.identities, self.versions.view(np.uint8).reshape(-1, 24)], axis=1).tobytes()
        hashes = [hashlib.blake2b(texts[at : at + 40], digest_size=16).digest() for at in range(0, len(texts), 40)]
        return np.frombuffer(b"".join(hashes), dtype=np.uint8).reshape(-1, 16)

    # ---- the file --------------------------------------------------------------------------------------------------

    def _restore(self) -> None:
        """Take what is known of files that are unchanged."""
        arrays = None if self.kept is None else read_arrays(self.kept)
        if arrays is None or not arrays.keys() >= STORED or arrays["rules"] != DECODING_VERSION:
            return  # sizes and modes too are by the rules of reading
        self.pace = _Pace(float(arrays["pace"]))
        places = _places(arrays["identity"], self.identities)
        places[places >= 0] = np.where(
            (arrays["version"][places] == self.versions).all(axis=1)[places >= 0], places[places >= 0], -1
        )
        rows = np.flatnonzero(places >= 0)
        for name in ("height", "width", "bytes", "depth", "taken"):
            getattr(self.found, name)[rows] = arrays[name][places[rows]]
        rows_decoded = np.flatnonzero(self.found.depth == DECODED)
        among_decoded = np.cumsum(arrays["depth"] == DECODED) - 1
        for name in OF_DECODED:
            getattr(self.found, name)[rows_decoded] = arrays[name][among_decoded[places[rows_decoded]]]
        for name in ("format", "mode"):
            texts = arrays[f"{name}_names"].astype(np.object_)
            getattr(self.found, name)[rows] = texts[arrays[name][places[rows]]]

    def _store(self) -> None:
        if self.kept is None:
            return
        known = np.flatnonzero(self.found.depth > UNOPENED)
        facts = self.found.take(known)
        arrays: dict[str, npt.NDArray[Any]] = {
            **{name: getattr(facts, name) for name in ("height", "width", "bytes", "depth", "taken")},
            **{name: getattr(facts, name)[facts.depth == DECODED] for name in OF_DECODED},
        }
        for name in ("format", "mode"):
            codes, texts = pd.factorize(getattr(facts, name))
            arrays[name], arrays[f"{name}_names"] = codes.astype(np.uint16), np.array(texts, dtype=np.str_)
        arrays |= {"identity": self.identities[known], "version": self.versions[known]}
        arrays |= {"pace": np.array(self.pace.seconds), "rules": np.array(DECODING_VERSION)}
        kept = self.kept
        keep("Facts about the images", kept, lambda: write_arrays(kept, arrays))


def _places(known: npt.NDArray[np.uint8], wanted: npt.NDArray[np.uint8]) -> Rows:
    """The position of each of the wanted keys (N, 16) among the known ones (M, 16); -1 if it is not among them."""
    if len(known) == 0:
        return np.full(len(wanted), -1, dtype=np.int64)
    one, two = (np.ascontiguousarray(keys).view(np.uint64) for keys in (known, wanted))  # (M, 2), (N, 2)
    order = np.argsort(one[:, 0], kind="stable")
    found = order[np.minimum(np.searchsorted(one[order, 0], two[:, 0]), len(order) - 1)]
    places: Rows = np.where((one[found] == two).all(axis=1), found, -1)
    return places


def _spread(rows: Rows) -> Rows:
    """``MEASURED`` of these rows from all parts of the table: its classes may have images of different sizes."""
    return rows[np.linspace(0, len(rows) - 1, MEASURED).astype(np.int64)]


def _look(
    look: Callable[[int], ImageFacts],
    rows: Rows,
    found: Inspection,
    workers: int,
    text: str,
    store: Callable[[], None] | None = None,
    pace: _Pace | None = None,
) -> None:
    """Look at images in threads and enter what is found, also before an interruption.

    Args:
        look: Looks at the image of a row.
        rows: The rows.
        found: Is filled in.
        workers: Number of threads.
        text: Title of the progress bar.
        store: Called every ``STORED_EVERY`` seconds.
        pace: Is measured: then looking ends after ``MEASURING_SECONDS``.
    """
    size = CHUNK if pace is None else max(1, workers) * 4
    began = stored = time.monotonic()
    with threads(workers) as pool, progress_bar(text, len(rows)) as advance:
        for start in range(0, len(rows), size):
            chunk, items = rows[start : start + size], list[ImageFacts]()
            try:
                for item in pool.map(look, chunk.tolist()):
                    items.append(item)
                    advance()
            finally:
                _enter(found, chunk[: len(items)], items)
            now = time.monotonic()
            if pace is not None:
                pace.images = start + len(items)
                pace.seconds = (now - began) / pace.images
                if now - began > MEASURING_SECONDS:
                    return
            if store is not None and now - stored > STORED_EVERY:
                store()
                stored = time.monotonic()


def _enter(found: Inspection, rows: Rows, items: Sequence[ImageFacts]) -> None:
    for item in fields(ImageFacts):
        column = getattr(found, item.name)
        for row, facts in zip(rows.tolist(), items, strict=True):
            column[row] = getattr(facts, item.name)
