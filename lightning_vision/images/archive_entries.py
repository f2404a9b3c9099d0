"""What zip and tar archives hold, one entry after the other, with checked names."""

from __future__ import annotations

import bz2
import gzip
import lzma
import posixpath
import re
import stat
import struct
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from lightning_vision.errors import DataError
from lightning_vision.images.file_kinds import TAR, kind_of_file
from lightning_vision.terminal.wording import listed, printable

SUFFIXES = (".zip", ".tar", *(".tar.gz", ".tgz"), *(".tar.bz2", ".tbz2", ".tbz"), *(".tar.xz", ".txz"))
"""Of archives that are read."""
OTHER_SUFFIXES = (".7z", ".rar", ".tar.zst", ".tzst")
"""Of archives that are not."""
LARGEST_HEADER = 64 << 20
"""Bytes that are read at once: only the header of a malicious tar archive is larger."""
ENCRYPTED = 0x1
UTF_8 = 0x800
"""Flags of an entry in a zip archive."""
DAMAGES = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, ValueError, struct.error)
"""Errors that the libraries raise for archives that are damaged."""
AGAIN = "Download or copy it again."
FOREIGN = "Unpack it only if you trust its source, and give the folder."


class Entry(NamedTuple):
    """A file in an archive."""

    path: str
    """In the archive, with ``/``; below it in any case."""
    size: int
    """In bytes, as the archive says."""
    seconds: float
    """When it was written, since 1970; 0 if that is not known."""
    open: Callable[[], IO[bytes]] | None
    """Its content, to be read before the next entry is asked for; None of a link."""
    link: str = ""
    """The path in the archive that a link leads to."""


class Content(NamedTuple):
    """An archive that is open."""

    entries: Iterator[Entry]
    """Files and links in the archive's order; a later entry replaces earlier ones of its path."""
    size: int | None
    """Bytes of all files, if the archive says so at its beginning."""
    position: Callable[[], int]
    """How many bytes of the archive were read so far, about."""
    spelt_otherwise: list[str]
    """Names of a zip archive that are not in UTF-8 and were read as code page 437, which the format prescribes."""


def is_archive(path: Path) -> bool:
    """Whether a file is an archive that can be read, by its name or its content."""
    if not path.is_file():
        return False
    return has_suffix(path.name, SUFFIXES) or kind_of_file(path).startswith(("a zip archive", TAR))


def has_suffix(name: str, suffixes: tuple[str, ...] = (*SUFFIXES, *OTHER_SUFFIXES)) -> bool:
    """Whether a name ends as that of an archive."""
    return name.lower().endswith(suffixes)


def stem_of(name: str) -> str:
    """The name of an archive without its suffix."""
    suffix = max((each for each in SUFFIXES if name.lower().endswith(each)), key=len, default="")
    return name[: len(name) - len(suffix)] or name


@contextmanager
def opened(archive: Path) -> Iterator[Content]:
    """Open an archive.

    Raises:
        DataError: It is damaged or encrypted, or an entry has a name, a link or a type that is refused; also while the
            entries and their content are read in the block.
    """
    zipped = zipfile.is_zipfile(archive) or archive.name.lower().endswith(".zip")
    try:
        with _open_zip(archive) if zipped else _open_tar(archive) as content:
            yield content
    except NotImplementedError as error:  # zipfile's, for methods of compression
        raise DataError(
            f"{archive} cannot be unpacked: {error}. Unpack it with '7z x', and give the folder, or pack it as a plain zip archive."
        ) from error
    except (*DAMAGES, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk, and not of gzip or bz2
            raise
        raise DataError(_damaged(archive, "zip" if zipped else "tar", error)) from error


def _damaged(archive: Path, form: str, error: Exception) -> str:
    kind = kind_of_file(archive)
    if not archive.stat().st_size:
        return f"{archive} is empty; expected a {form} archive. {AGAIN}"
    if kind and "archive" not in kind:
        return f"{archive}: expected a {form} archive, found {kind}."
    return f"{archive} is no whole {form} archive: {error}. The download may not be finished, or the file is damaged. {AGAIN}"


@contextmanager
def _open_zip(archive: Path) -> Iterator[Content]:
    with archive.open("rb") as raw, zipfile.ZipFile(raw) as file:
        infos = [info for info in file.infolist() if not info.is_dir()]
        locked = [info.filename for info in infos if info.flag_bits & ENCRYPTED]
        if locked:
            raise DataError(
                f"{archive} is encrypted ({listed(map(printable, locked), 1)}). Unpack it with its password, for example with '7z x', "
                "and give the folder."
            )
        otherwise: list[str] = []
        named = [(_zip_name(info, otherwise), info) for info in infos]
        paths = [(_checked(archive, name.replace("\\", "/")), info) for name, info in named]
        last = {path: info for path, info in paths}

        def entries() -> Iterator[Entry]:
            for path, info in paths:
                if last[path] is not info:
                    continue
                mode = info.external_attr >> 16 if info.create_system == 3 else 0  # 3: Unix
                if stat.S_ISLNK(mode):
                    target = file.read(info)[:4096].decode("utf-8", "surrogateescape")
                    yield Entry(path, 0, 0, None, _target(archive, path, target))
                elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                    raise _refused(archive, path, "a device or a pipe")
                else:
                    yield Entry(path, info.file_size, _zip_time(info), partial(file.open, info))

        yield Content(entries(), sum(info.file_size for info in last.values()), raw.tell, otherwise)


def _zip_name(info: zipfile.ZipInfo, otherwise: list[str]) -> str:
    """The name of an entry. Without the flag for UTF-8 it often is UTF-8 nevertheless, which zipfile does not try."""
    if info.flag_bits & UTF_8 or info.filename.isascii():
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        otherwise.append(info.filename)
        return info.filename


def _zip_time(info: zipfile.ZipInfo) -> float:
    """Zip archives hold local times."""
    try:
        return time.mktime((*info.date_time, 0, 0, -1))
    except (ValueError, OverflowError):  # such as the 0th of month 0
        return 0.0


@contextmanager
def _open_tar(archive: Path) -> Iterator[Content]:
    with archive.open("rb") as raw, _decompressed(raw) as plain:
        careful = _Careful(plain, archive)
        with tarfile.open(fileobj=cast(IO[bytes], careful), mode="r:") as file:
            yield Content(_tar_entries(archive, file, careful), None, raw.tell, [])


def _tar_entries(archive: Path, file: tarfile.TarFile, plain: _Careful) -> Iterator[Entry]:
    for member in file:
        file.members = []  # type: ignore[attr-defined]  # all that were read, which would grow with the archive
        if member.isdir():
            continue
        path = _checked(archive, member.name)
        if member.isreg():
            yield Entry(path, member.size, float(member.mtime), partial(_of_member, file, member))
        elif member.issym():
            yield Entry(path, 0, 0, None, _target(archive, path, member.linkname))
        elif member.islnk():
            yield Entry(path, 0, 0, None, _checked(archive, member.linkname))
        else:
            raise _refused(archive, path, "a device or a pipe")
    plain.seek(file.offset)  # tarfile ends in silence at a header that it cannot read
    if any(plain.read(tarfile.BLOCKSIZE) or b"no end"):
        raise tarfile.ReadError("its end is missing")
    for _ in range(LARGEST_HEADER // tarfile.RECORDSIZE):  # the checksum of what is compressed is at the end
        if not plain.read(tarfile.RECORDSIZE):
            return
    raise tarfile.ReadError("other data follows its end")


def _of_member(file: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    return cast(IO[bytes], file.extractfile(member))


def _decompressed(raw: IO[bytes]) -> IO[bytes]:
    head = raw.read(6)
    raw.seek(0)
    if head.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw))
    if head.startswith(b"BZh"):
        return cast(IO[bytes], bz2.BZ2File(raw))
    if head.startswith(b"\xfd7zXZ\0"):
        return cast(IO[bytes], lzma.LZMAFile(raw))
    return raw


class _Careful:
    """A file that is not read into memory in one piece, whatever a header says."""

    def __init__(self, file: IO[bytes], archive: Path) -> None:
        self.file, self.archive = file, archive

    def read(self, size: int) -> bytes:
        """So many bytes.

        Raises:
            DataError: They are more than any header has.
        """
        if size > LARGEST_HEADER:
            raise DataError(f"{self.archive} has a header of {size:,} bytes, which no image needs. {FOREIGN}")
        return self.file.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def _checked(archive: Path, name: str) -> str:
    """A path that stays below the folder to which it is unpacked.

    Raises:
        DataError: It is absolute, or leads out.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or re.match("[A-Za-z]:", name) or ".." in parts or "\0" in name or not parts:
        raise _refused(archive, name, "a path outside the folder to which it is unpacked")
    return "/".join(parts)


def _target(archive: Path, path: str, link: str) -> str:
    """The path in the archive that a symbolic link leads to.

    Raises:
        DataError: It leads out.
    """
    target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
    if not link or posixpath.isabs(link) or target == ".." or target.startswith("../") or "\0" in link:
        raise _refused(archive, path, f"a link to {printable(link)}, which is outside the archive")
    return target


def _refused(archive: Path, name: str, what: str) -> DataError:
    return DataError(
        f"{archive}: expected files below one folder, found {printable(name)!r}, {what}. Nothing was unpacked. {FOREIGN}"
    )
