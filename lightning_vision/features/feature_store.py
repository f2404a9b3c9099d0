"""Features of images on the disk: all runs with the same backbone share them.

A store is a folder with a table for each backbone, transform and precision. A table consists of three files that only
grow:

- ``table.json`` describes the features; its hash is the table's name;
- ``keys.bin`` holds 16 bytes for each image, the hash of its content; an image's row is its position in this file;
- ``rows.bin`` holds the feature vector of each image and a checksum of it and of its key.

A row is valid if its checksum fits. So nothing that a killed process, a truncated file or two processes that write the
same row leave is ever read as a feature, and nothing needs to be repaired.
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
        folder: The existing folder of its files.
        dimension: D, the length of a vector.
    """

    def __init__(self, folder: Path, dimension: int) -> None:
        self.folder, self.dimension = folder, dimension
        self.row = np.dtype([("values", np.float32, (dimension,)), ("checksum", np.uint32)])
        self._row_of: dict[bytes, int] = {}
        self._keys = b""  # of all rows, one after the other
        self._there = np.zeros(0, dtype=np.bool_)  # the rows whose checksum fits
        self._rows = np.zeros(0, dtype=self.row)
        # A table that others hold open is not deleted: this needs a shared lock, which filelock does not have.
        self._in_use = (folder / "in_use.lock").open("ab")
        fcntl.flock(self._in_use, fcntl.LOCK_SH)
        # A row's byte in it is locked by the process that computes the row; all are free when that process ends.
        self._claims = (folder / "claims.lock").open("ab")

    def places(self, keys: npt.NDArray[np.uint8]) -> Rows:
        """The rows (N,) of images with these keys (N, 16); new images get a row."""
        wanted = [bytes(key) for key in keys]
        if any(key not in self._row_of for key in wanted):
            self._add(wanted)
        return np.array([self._row_of[key] for key in wanted], dtype=np.int64)

    def missing(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Whether each of these rows (N,) has no feature vector yet."""
        unsure = np.unique(rows[~self._there[rows]])
        for row in unsure[self._rows["checksum"][unsure] != 0]:
            values, checksum = self._rows[row]
            self._there[row] = self._checksum(row, values) == checksum
        absent: npt.NDArray[np.bool_] = ~self._there[rows]
        return absent

    def write(self, rows: Rows, values: npt.NDArray[np.float32]) -> None:
        """Write the vectors (N, D) of these rows (N,).

        Raises:
            OSError: The disk is full, or cannot be written.
        """
        records = np.empty(len(rows), dtype=self.row)
        records["values"] = values
        records["checksum"] = [
            self._checksum(row, vector) for row, vector in zip(rows.tolist(), records["values"], strict=True)
        ]
        with (self.folder / "rows.bin").open("r+b", buffering=0) as file:
            # Not through the memory map: a full disk would kill the process there.
            for row, record in zip(rows, records, strict=True):
                if os.pwrite(file.fileno(), record.tobytes(), int(row) * self.row.itemsize) < self.row.itemsize:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._there[rows] = True

    def read(self, rows: Rows) -> npt.NDArray[np.float32]:
        """The vectors (N, D) of rows (N,).

        Raises:
            LookupError: Some rows have none: a hole in a file reads as zeros, which are not features.
        """
        if not self._there[rows].all() and (absent := self.missing(rows)).any():
            raise LookupError(f"{self.folder}: the rows {listed(np.unique(rows[absent]), 5)} hold no features.")
        values: npt.NDArray[np.float32] = self._rows["values"][rows]
        return values

    def claim(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Claim the rows (N,) that are missing and that no other process is computing; returns (N,) which these are."""
        own = np.zeros(len(rows), dtype=np.bool_)
        for place, row in enumerate(rows.tolist()):
            try:
                fcntl.lockf(self._claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, row)
            except (BlockingIOError, PermissionError):  # POSIX leaves open which
                continue
            own[place] = True
        there = own & ~self.missing(rows)  # another process has written them just before
        self.release(rows[there])
        return own & ~there

    def release(self, rows: Rows) -> None:
        """End the claims of these rows (N,)."""
        for row in rows.tolist():
            fcntl.lockf(self._claims, fcntl.LOCK_UN, 1, row)

    def wait(self, rows: Rows) -> None:
        """Wait until no other process is computing any of these rows (N,). This one must have no claims: the others may wait too."""
        for row in rows.tolist():
            fcntl.lockf(self._claims, fcntl.LOCK_EX, 1, row)
            fcntl.lockf(self._claims, fcntl.LOCK_UN, 1, row)

    @property
    def pace(self) -> float:
        """Seconds per image when features were last computed; 0 if unknown."""
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
        """Allow others to delete the table."""
        self._in_use.close()
        self._claims.close()

    def _add(self, wanted: list[bytes]) -> None:
        with locked(self.folder, "keys"):
            path = self.folder / "keys.bin"
            data = path.read_bytes() if path.is_file() else b""
            known = len(data) // KEY_BYTES
            self._row_of = {data[KEY_BYTES * row : KEY_BYTES * (row + 1)]: row for row in range(known)}
            new = [key for key in dict.fromkeys(wanted) if key not in self._row_of]
            with path.open("ab") as file:
                file.truncate(known * KEY_BYTES)  # an incomplete key is not a key
                file.write(b"".join(new))
            self._row_of |= {key: known + place for place, key in enumerate(new)}
            self._keys = data[: known * KEY_BYTES] + b"".join(new)
            with (self.folder / "rows.bin").open("ab") as rows:
                count = max(len(self._row_of), rows.seek(0, os.SEEK_END) // self.row.itemsize)
                rows.truncate(count * self.row.itemsize)  # a hole takes no space; truncated rows are absent
        there = np.zeros(count, dtype=np.bool_)
        there[: len(self._there)] = self._there
        self._there = there
        self._rows = np.memmap(self.folder / "rows.bin", dtype=self.row, mode="r", shape=(count,))

    def _checksum(self, row: int, vector: npt.NDArray[np.float32]) -> int:
        """Of a row's key and vector: where keys were lost, the vector of another image may be in a row.

        Never 0, which is the checksum of an unwritten row.
        """
        key = self._keys[KEY_BYTES * row : KEY_BYTES * (row + 1)]
        return zlib.crc32(np.ascontiguousarray(vector).tobytes(), zlib.crc32(key)) or 1


class FeatureStore:
    """The tables in one folder, within a limit.

    Args:
        folder: The existing folder of the tables.
        most_bytes: Maximum size of all tables on the disk; the least recently used are deleted.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.folder, self.most_bytes = folder, most_bytes

    def open(self, description: Mapping[str, Any], dimension: int, count: int) -> FeatureTable | None:
        """The table with a description; it is created if it does not exist.

        Args:
            description: Everything on which a feature depends beside the image, as plain values.
            dimension: D.
            count: Number of images for which there must be room.

        Returns:
            None if this many features exceed the limit.
        """
        text = json.dumps({**description, "dimension": dimension, "dtype": "float32"}, sort_keys=True, indent=1)
        folder = self.folder / f"{PREFIX}{hashlib.sha256(text.encode()).hexdigest()[:32]}"
        with locked(self.folder, "features"):
            if not self._make_room(count * 4 * (dimension + 1), folder):
                return None
            told = folder / "table.json"
            if folder.is_dir() and not _says(told, text):  # features of another origin
                shutil.rmtree(folder)
            folder.mkdir(exist_ok=True)
            write_text_atomically(told, text)
            return FeatureTable(folder, dimension)

    def _make_room(self, needed: int, wanted: Path) -> bool:
        """Delete the least recently opened tables until the wanted one fits."""
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
    """Whether no process holds a table open; none can open it during the check."""
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
