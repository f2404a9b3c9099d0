"""A CSV file that is written row by row and loses no row at a kill -9."""

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lightning_vision.errors import TrainingError
from lightning_vision.storage.atomic_write import replacing

Row = Mapping[str, object]


class RowFile:
    """A CSV file to which rows are appended and written immediately.

    Any row may add columns; the file is then replaced atomically. The file is opened for each row and not kept open.
    Nothing is changed before the first row is written.

    Args:
        path: The file. An existing file is continued; an incomplete last line is dropped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._columns: list[str] = []
        self._last: dict[str, str] = {}
        self._last_offset = 0  # bytes, where the last row begins
        self._size = 0  # bytes
        self._opened = False

    @property
    def last(self) -> dict[str, str]:
        """The cells of the last row; empty if there is none."""
        self._open()
        return dict(self._last)

    def append(self, row: Row) -> None:
        """Append a row."""
        self._open()
        cells = _cells(row)
        if self._grow(cells):
            self._write_all([*self._read(), cells])
        else:
            self._write_at(self._size, cells)

    def update_last(self, row: Row) -> None:
        """Add or replace cells of the last row."""
        self._open()
        cells = self._last | {name: cell for name, cell in _cells(row).items() if cell}
        if self._grow(cells) or len(self._line(cells)) < self._size - self._last_offset:
            self._write_all([*self._read()[:-1], cells])
        else:
            self._write_at(self._last_offset, cells)

    def keep(self, wanted: Callable[[dict[str, str]], bool]) -> None:
        """Keep only the rows that are wanted; if all are wanted the file is not changed."""
        self._open()
        rows = self._read()
        kept = [row for row in rows if wanted(row)]
        if len(kept) < len(rows):
            self._write_all(kept)

    def _open(self) -> None:
        if self._opened:
            return
        self._opened = True
        data = self.path.read_bytes() if self.path.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            os.truncate(self.path, len(whole))
        self._columns = next(csv.reader([whole.decode().partition("\n")[0]]), [])
        self._remember(whole, self._read()[-1:])

    def _read(self) -> list[dict[str, str]]:
        if not self._columns or not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            return [
                {name: cell for name, cell in row.items() if name is not None and cell} for row in csv.DictReader(file)
            ]

    def _grow(self, cells: Mapping[str, str]) -> bool:
        new = [name for name in cells if name not in self._columns]
        self._columns += new
        return bool(new)

    def _line(self, cells: Mapping[str, str]) -> bytes:
        return _encode([cells.get(name, "") for name in self._columns])

    def _write_at(self, offset: int, cells: dict[str, str]) -> None:
        line = self._line(cells)
        try:
            self.path.touch()
            with self.path.open("r+b", buffering=0) as file:
                file.seek(offset)
                # One call, so that a kill leaves the old or the new row.
                if (file.write(line) or 0) < len(line):
                    file.truncate(offset)
                    raise OSError("only a part of the row was written")
        except OSError as error:
            raise self._cannot_write(error) from error
        self._last, self._last_offset, self._size = cells, offset, offset + len(line)

    def _write_all(self, rows: Sequence[dict[str, str]]) -> None:
        data = _encode(self._columns) + b"".join(self._line(row) for row in rows)
        try:
            with replacing(self.path, durable=False) as temporary:
                temporary.write_bytes(data)
        except OSError as error:
            raise self._cannot_write(error) from error
        self._remember(data, rows[-1:])

    def _remember(self, data: bytes, last: Sequence[dict[str, str]]) -> None:
        self._size = len(data)
        self._last = dict(last[0]) if last else {}
        self._last_offset = data.rfind(b"\n", 0, len(data) - 1) + 1 if last else len(data)

    def _cannot_write(self, error: OSError) -> TrainingError:
        return TrainingError(
            f"Cannot write a row to {self.path}: {error.strerror or error}. Free some space or choose another "
            "trainer.default_root_dir, then run the same command again (fit: with --ckpt_path last)."
        )


def _cells(row: Row) -> dict[str, str]:
    # One row is one line, so that incomplete rows can be detected.
    return {name: "" if value is None else " ".join(str(value).splitlines()) for name, value in row.items()}


def _encode(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()
