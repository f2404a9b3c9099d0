"""Features of images on the disk: what one run has computed with a backbone, no other run computes again.

A store is a folder with a table a backbone, transform and precision. A table is three files that only grow:

- ``table.json`` says what the features are of; its hash is the table's name;
- ``keys.bin`` holds 16 bytes an image, the hash of its content; an image's row is its place in this file;
- ``rows.bin`` holds for each image its feature vector and a checksum of it.

A row counts as there if its checksum fits. So a process that is killed, a file that is cut short and two processes that
write the same row at once leave nothing behind that could be taken for a feature, and nothing needs to be repaired.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from lightning_vision.array_types import Rows
from lightning_vision.storage.atomic_write import write_text_atomically
from lightning_vision.storage.cache_folder import keep, locked
from lightning_vision.terminal.wording import listed

KEY_BYTES = 16
PREFIX = "features-"


class FeatureTable:
    """The feature vectors of one backbone with one transform, by image. It stays valid while the object lives.

    Args:
        folder: Where its files lie; it is there.
        dimension: D, the length of a vector.
    """

    def __init__(self, folder: Path, dimension: int) -> None:
        self.folder, self.dimension = folder, dimension
        self.row = np.dtype([("values", np.float32, (dimension,)), ("checksum", np.uint32)])
        self._row_of: dict[bytes, int] = {}
        self._there = np.zeros(0, dtype=np.bool_)  # the rows whose checksum was found to fit
        self._rows = np.zeros(0, dtype=self.row)
        # Whoever clears up leaves a table alone that others hold open: a lock that many share, which filelock has not.
        self._in_use = (folder / "in_use.lock").open("ab")
        fcntl.flock(self._in_use, fcntl.LOCK_SH)

    def places(self, keys: npt.NDArray[np.uint8]) -> Rows:
        """The rows (N,) of images with these keys (N, 16); new images are given one."""
        wanted = [bytes(key) for key in keys]
        if any(key not in self._row_of for key in wanted):
            self._add(wanted)
        return np.array([self._row_of[key] for key in wanted], dtype=np.int64)

    def missing(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Which of these rows (N,) hold no feature vector yet."""
        unsure = np.unique(rows[~self._there[rows]])
        for row in unsure[self._rows["checksum"][unsure] != 0]:
            values, checksum = self._rows[row]
            self._there[row] = _checksum(values) == checksum
        absent: npt.NDArray[np.bool_] = ~self._there[rows]
        return absent

    def write(self, rows: Rows, values: npt.NDArray[np.float32]) -> None:
        """Keep the vectors (N, D) of these rows (N,).

        Raises:
            OSError: The disk is full, or cannot be written to.
        """
        records = np.empty(len(rows), dtype=self.row)
        records["values"] = values
        records["checksum"] = [_checksum(vector) for vector in records["values"]]
        with (self.folder / "rows.bin").open("r+b", buffering=0) as file:
            # Not through the mapping: a disk that is full would end the process there.
            for row, record in zip(rows, records, strict=True):
                if os.pwrite(file.fileno(), record.tobytes(), int(row) * self.row.itemsize) < self.row.itemsize:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._there[rows] = True

    def read(self, rows: Rows) -> npt.NDArray[np.float32]:
        """The vectors (N, D) of rows (N,).

        Raises:
            LookupError: Some of them hold none: a file's hole reads as zeros, which are no features.
        """
        if not self._there[rows].all() and (absent := self.missing(rows)).any():
            raise LookupError(f"{self.folder}: the rows {listed(np.unique(rows[absent]), 5)} hold no features.")
        values: npt.NDArray[np.float32] = self._rows["values"][rows]
        return values

    @property
    def pace(self) -> float:
        """Seconds that an image took when features were last computed; 0 if that is not known."""
        try:
            return float((self.folder / "pace.txt").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0.0

    @pace.setter
    def pace(self, seconds: float) -> None:
        keep("Measurements of how long features take", self.folder, lambda: self._keep_pace(seconds))

    def _keep_pace(self, seconds: float) -> None:
        with locked(self.folder, "pace"):
            write_text_atomically(self.folder / "pace.txt", repr(seconds))

    def close(self) -> None:
        """Let others clear it up."""
        self._in_use.close()

    def _add(self, wanted: list[bytes]) -> None:
        with locked(self.folder, "keys"):
            path = self.folder / "keys.bin"
            data = path.read_bytes() if path.is_file() else b""
            known = len(data) // KEY_BYTES
            self._row_of = {data[KEY_BYTES * row : KEY_BYTES * (row + 1)]: row for row in range(known)}
            new = [key for key in dict.fromkeys(wanted) if key not in self._row_of]
            with path.open("ab") as file:
                file.truncate(known * KEY_BYTES)  # a key that was not written to its end is no key
                file.write(b"".join(new))
            self._row_of |= {key: known + place for place, key in enumerate(new)}
            with (self.folder / "rows.bin").open("ab") as rows:
                count = max(len(self._row_of), rows.seek(0, os.SEEK_END) // self.row.itemsize)
                rows.truncate(count * self.row.itemsize)  # a hole costs no space; what was cut short is absent
        there = np.zeros(count, dtype=np.bool_)
        there[: len(self._there)] = self._there
        self._there = there
        self._rows = np.memmap(self.folder / "rows.bin", dtype=self.row, mode="r", shape=(count,))


class FeatureStore:
    """The tables in one folder, within a limit.

    Args:
        folder: Where the tables lie; it is there.
        most_bytes: What all tables together may take on the disk; those not used for longest make room.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.folder, self.most_bytes = folder, most_bytes

    def open(self, description: Mapping[str, Any], dimension: int, count: int) -> FeatureTable | None:
        """The table of what is described; it is made if there is none.

        Args:
            description: All that a feature depends on beside the image, as plain values.
            dimension: D.
            count: Images for which there must be room.

        Returns:
            None if so many features are more than the limit.
        """
        text = json.dumps({**description, "dimension": dimension, "dtype": "float32"}, sort_keys=True, indent=1)
        folder = self.folder / f"{PREFIX}{hashlib.sha256(text.encode()).hexdigest()[:32]}"
        with locked(self.folder, "features"):
            if not self._make_room(count * 4 * (dimension + 1), folder):
                return None
            told = folder / "table.json"
            if folder.is_dir() and not _says(told, text):  # another's features, whatever they are
                shutil.rmtree(folder)
            folder.mkdir(exist_ok=True)
            write_text_atomically(told, text)
            return FeatureTable(folder, dimension)

    def _make_room(self, needed: int, wanted: Path) -> bool:
        """Drop the tables that were opened longest ago until the wanted one fits."""
        tables = sorted(self.folder.glob(f"{PREFIX}*/table.json"), key=lambda path: path.stat().st_mtime_ns)
        others = [path.parent for path in tables if path.parent != wanted]
        if needed > self.most_bytes:
            return False
        sizes = {folder: _bytes_on_disk(folder) for folder in others}
        for folder in others:
            if sum(sizes.values()) + needed <= self.most_bytes:
                break
            with _unused(folder) as unused:
                if unused:
                    shutil.rmtree(folder, ignore_errors=True)
                    sizes[folder] = 0
        return sum(sizes.values()) + needed <= self.most_bytes


def _says(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False


@contextmanager
def _unused(folder: Path) -> Iterator[bool]:
    """Whether nobody holds a table open; nobody can open it meanwhile."""
    file: BinaryIO
    with (folder / "in_use.lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _bytes_on_disk(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.iterdir())


def _checksum(vector: npt.NDArray[np.float32]) -> int:
    """Never 0, which is what a row holds that was not written."""
    return zlib.crc32(np.ascontiguousarray(vector).tobytes()) or 1
