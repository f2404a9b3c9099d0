"""Unpacks the images of an archive, and what labels them."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

from lightning_vision.errors import DataError
from lightning_vision.images.archive_entries import FOREIGN, Content, Entry, has_suffix
from lightning_vision.images.file_kinds import HEAD_BYTES, HEIC, KINDS_BY_EXTENSION, TEXT, VIDEO, is_image, kind_of
from lightning_vision.images.image_files import ANOTHER_KIND, EXTENSIONS, HEIC_EXTENSIONS, extension_of, is_hidden
from lightning_vision.terminal.wording import few, plural, printable

TABLES = frozenset(
    {
        *(".csv", ".tsv", ".tab", ".txt", ".lst", ".json", ".jsonl", ".ndjson", ".parquet", ".pq", ".mat", ".xml"),
        *(".yaml", ".yml", ".names", ".data"),
    }
)
"""Extensions of files that label images."""
FREE_BYTES = 1 << 30
"""Archives may unpack to so many bytes whatever their size: blank images compress well."""
MOST_RATIO = 100
"""Beyond that, to so many times their size: images are compressed already."""
SPARE_BYTES = 64 << 20
"""What unpacking leaves free on the disk."""
CHUNK = 1 << 20
"""Bytes of a step."""


@dataclass
class Record:
    """What was unpacked."""

    files: int = 0
    images: int = 0
    bytes: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


class Unpacking:
    """One archive and the folder to which it is unpacked."""

    def __init__(self, archive: Path, target: Path, record: Record) -> None:
        self.archive, self.target, self.record = archive, target, record
        self.most = max(FREE_BYTES, MOST_RATIO * archive.stat().st_size)
        self.free = shutil.disk_usage(target).free - SPARE_BYTES
        self.total = 0

    def run(self, content: Content, advance: Callable[[], None]) -> None:
        """Write the files that are images, videos or tables.

        Raises:
            DataError: The archive is refused.
        """
        self._check(content.size or 0)
        links: dict[str, str] = {}
        done = 0
        for entry in content.entries:
            links.pop(entry.path, None)
            if entry.open is None:
                links[entry.path] = entry.link
                continue
            self._take(entry, entry.open)
            while done < content.position() // CHUNK:
                done += 1
                advance()
        self._copy(links)
        if otherwise := content.spelt_otherwise:
            shown = few([repr(printable(name)) for name in otherwise], 3)
            self.record.remarks.append(
                f"{self.archive}: {plural(len(otherwise), 'name')} not in UTF-8, read in code page 437, as the format prescribes: {shown}. "
                "If this looks wrong, pack the archive again with names in UTF-8."
            )

    def _check(self, size: int) -> None:
        """Refuse what unpacks to more than images can be, or than the disk holds.

        Raises:
            DataError: It does.
        """
        if size > self.most:
            raise DataError(
                f"{self.archive} ({self.archive.stat().st_size:,} bytes) unpacks to at least {size:,} bytes, more than {MOST_RATIO} times "
                f"its size: images do not compress as much. Nothing was unpacked. {FOREIGN}"
            )
        if size > self.free:
            raise DataError(
                f"{self.archive} unpacks to at least {size:,} bytes, and {max(self.free, 0):,} bytes can be used in {self.target.parent}. "
                "Nothing was unpacked. Free some space, unpack it on another disk and give the folder, or set data.cache_dir."
            )

    def _take(self, entry: Entry, opens: Callable[[], IO[bytes]]) -> None:
        """Write a file, or count it if it is left out."""
        self.total += entry.size
        self._check(self.total)
        with opens() as file:
            head = file.read(HEAD_BYTES)
            reason = self._reason_to_leave(entry.path, head)
            if reason is None:
                self._write(entry, head, file)
            else:
                self._leave(reason)

    def _leave(self, reason: str, count: int = 1) -> None:
        self.record.left_out[reason] = self.record.left_out.get(reason, 0) + count

    def _reason_to_leave(self, path: str, head: bytes) -> str | None:
        """Why a file is not unpacked; None if it is.

        Raises:
            DataError: It is an archive.
        """
        *folders, name = path.split("/")
        if name.lower() in ("thumbs.db", "desktop.ini") or any(is_hidden(part) for part in (*folders, name)):
            return "hidden"
        if has_suffix(name):
            raise DataError(
                f"{self.archive} contains another archive, {printable(path)!r}, and archives within archives are not read. Unpack "
                f"{self.archive.name} and give the folder: archives in a folder are read if no image is beside them."
            )
        extension = extension_of(name)
        kind = KINDS_BY_EXTENSION.get(extension)
        if kind == VIDEO or extension in EXTENSIONS | HEIC_EXTENSIONS | TABLES:
            return None
        if kind is None:
            found = kind_of(head)
            is_text = not extension and bool(head) and b"\0" not in head and not found  # as some annotations are
            if found == HEIC or is_image(found) or is_text:
                return None
        return f"{ANOTHER_KIND} ({extension or 'no extension'}{'' if kind in ('', TEXT, None) else f': {kind}'})"

    def _write(self, entry: Entry, head: bytes, rest: IO[bytes]) -> None:
        path, file = entry.path, self.target / entry.path
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            if file.is_file():  # tar archives may have a newer version of a file at their end
                self._count(path, head, -file.stat().st_size, -1)
                self._leave("replaced by a later file of the same path")
            with file.open("wb") as written:
                written.write(head)
                shutil.copyfileobj(rest, written, CHUNK)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise DataError(
                f"{self.archive} contains {printable(path)!r}, or a part of it, as a file and as a folder. Pack it again."
            ) from error
        if entry.seconds > 0:  # the time of a photo, if it has no other
            os.utime(file, (entry.seconds, entry.seconds))
        self._count(path, head, file.stat().st_size, 1)

    def _count(self, path: str, head: bytes, size: int, files: int) -> None:
        self.record.files += files
        self.record.bytes += size
        extension = extension_of(path.rpartition("/")[2])
        if extension not in TABLES and (extension or kind_of(head)):
            self.record.images += files

    def _copy(self, links: dict[str, str]) -> None:
        """Files in the place of links within the archive; a link may lead to another."""
        while ready := [path for path, to in links.items() if (self.target / to).is_file()]:
            for path in ready:
                source = self.target / links.pop(path)
                facts = source.stat()
                self._take(Entry(path, facts.st_size, facts.st_mtime, None), partial(io.FileIO, source))
        if links:
            self._leave("links to folders or to what is left out", len(links))
