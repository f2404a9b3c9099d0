"""Zip and tar archives of images as folders: unpacked once into the folder of the caches."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from filelock import FileLock, Timeout

from lightning_vision.errors import DataError
from lightning_vision.images.archive_entries import SUFFIXES, has_suffix, is_archive, opened, stem_of
from lightning_vision.images.archive_unpacking import CHUNK, Record, Unpacking
from lightning_vision.images.file_kinds import KINDS_BY_EXTENSION, VIDEO
from lightning_vision.images.image_files import (
    EXTENSIONS,
    count_reasons,
    extension_of,
    is_hidden,
    reason_to_skip,
)
from lightning_vision.images.shard_content import refuse_shards
from lightning_vision.storage.cache_folder import cache_folder, locked
from lightning_vision.storage.file_facts import file_versions
from lightning_vision.terminal.progress_bar import progress_bar
from lightning_vision.terminal.wording import few, nfc, plural, printable

FOLDER = "unpacked"
RECORD = "record.json"
PARTIAL = ".partial"
IN_USE = ".in_use.lock"
VERSION = 1
"""Changes when other files are unpacked than before, or to other places."""


@dataclass(frozen=True)
class ImageRoot:
    """The folder in which given images lie."""

    path: Path
    remark: str = ""
    """What was unpacked to it, and what was left out; empty if nothing was."""


def image_root(given: Path, cache_dir: str | Path | None = None, gigabytes: float = 4.0) -> ImageRoot:
    """The folder of images that a user gave, who may have given an archive, or a folder that holds archives and no image.

    Archives are unpacked once into the folder of the caches: image files, videos and tables. One process unpacks while
    others wait. Versions of a changed archive are removed, the least recently used first, if all together exceed
    ``gigabytes``; the one that is needed is unpacked whatever its size, and those in use are kept.

    Args:
        given: A folder or a file; it may not exist.
        cache_dir: See ``cache_folder``.
        gigabytes: Size of all versions.

    Returns:
        The folder. An outer folder that holds nothing but another folder of folders is left out of it. In the place of
        each archive of a folder there is a folder of its name; other files are links.

    Raises:
        DataError: An archive cannot be unpacked.
    """
    if is_archive(given):
        archives = {"": given}
    elif given.is_dir() and (found := _archives_in(given)):
        archives = found
    else:
        return ImageRoot(given)
    home = cache_folder(given, cache_dir) / FOLDER
    name = stem_of(given.name) if given.is_file() else given.resolve().name
    place = home / _key(archives)
    with _written(given, home):
        home.mkdir(exist_ok=True)
        with locked(home, FOLDER):
            record = _read(place)
            if record is None or not _is_whole(place, record):
                _remove_partial(home)
                _make_room(home, place, sum(file.stat().st_size for file in archives.values()), gigabytes)
                record = _unpack(given, archives, place, name)
                _make_room(home, place, record.bytes, gigabytes)
            os.utime(place)
            _hold(place)
            if given.is_dir():
                _link_others(given, archives, place / name)
    inner = _innermost(place / name)
    return ImageRoot(inner, _remark(given, archives, inner, record))


def _archives_in(folder: Path) -> dict[str, Path]:
    """The archives below a folder by the place of their content in it; none if there is an image or a video.

    Raises:
        DataError: Two have one place.
    """
    found: dict[str, Path] = {}
    for above, names in _walk(folder):
        for name in names:
            file = above / name
            if has_suffix(name, SUFFIXES) and not name.startswith(".") and file.is_file():
                place = (file.parent / stem_of(name)).relative_to(folder).as_posix()
                if place in found or (folder / place).exists():
                    other = found.get(place, folder / place)
                    raise DataError(
                        f"{file} and {other} would both be the folder {place!r}. Rename or remove one of them."
                    )
                found[place] = file
            elif KINDS_BY_EXTENSION.get(extension_of(name)) == VIDEO or reason_to_skip(file) is None:
                return {}
    return dict(sorted(found.items()))


def _walk(folder: Path, above: tuple[str, ...] = ()) -> Iterator[tuple[Path, list[str]]]:
    """A folder and those below it that are not hidden, with the names of their files; links are followed, but not to a folder above.

    Args:
        folder: The folder.
        above: The real paths of the folders through which the walk came here. They need not lie above it.
    """
    above = (*above, os.path.realpath(folder))
    _, below, names = next(os.walk(folder), (folder, [], []))
    yield folder, names
    for name in below:
        if not is_hidden(name) and os.path.realpath(folder / name) not in above:
            yield from _walk(folder / name, above)


def _key(archives: Mapping[str, Path]) -> str:
    versions, _ = file_versions([str(file) for file in archives.values()])
    facts = [
        (place, file.name, *version) for (place, file), version in zip(archives.items(), versions.tolist(), strict=True)
    ]
    return hashlib.sha256(repr((VERSION, facts)).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _read(place: Path) -> Record | None:
    """What was unpacked to a place; None if nothing was."""
    try:
        return Record(**json.loads((place / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # it is unpacked again
        return None


def _is_whole(place: Path, record: Record) -> bool:
    """Whether all that was unpacked is still there."""
    sizes = [path.stat().st_size for path in _files_below(place)]
    return (len(sizes), sum(sizes)) == (record.files, record.bytes)


def _files_below(place: Path) -> Iterator[Path]:
    """The unpacked files, without links to others."""
    for above, below, names in os.walk(place):
        if Path(above) == place:
            names = []
        below[:] = [name for name in below if not name.endswith(".lightning_vision")]
        for name in names:
            if not (path := Path(above, name)).is_symlink():
                yield path


def _unpack(given: Path, archives: Mapping[str, Path], place: Path, name: str) -> Record:
    """Unpack all archives beside the place, and move them there when they are whole.

    Raises:
        DataError: One cannot be unpacked, or there is no image.
        OSError: The disk is full, or cannot be written to.
    """
    unfinished = place.with_name(f"{place.name}{PARTIAL}")
    record = Record()
    megabytes = sum(file.stat().st_size for file in archives.values()) // CHUNK
    try:
        with progress_bar(f"unpacking {printable(given.name)}, in MB", megabytes) as advance:
            for inner, archive in archives.items():
                target = unfinished / name / inner
                target.mkdir(parents=True, exist_ok=True)
                with opened(archive) as content:
                    Unpacking(archive, target, record).run(content, advance)
                if inner:
                    _without_own_name(target)
        if not record.images:
            raise DataError(_no_image(given, record))
        refuse_shards(given, archives, unfinished / name, record)
        (unfinished / RECORD).write_text(json.dumps(asdict(record)), encoding="utf-8")
        _remove(place)  # if something of it is missing
        unfinished.replace(place)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return record


def _no_image(given: Path, record: Record) -> str:
    found = plural(record.files, "table")
    if record.left_out:
        found += f", and {count_reasons(record.left_out)}"
    return (
        f"{given}: no image in {'the archive' if given.is_file() else 'its archives'}, which {'holds' if given.is_file() else 'hold'} "
        f"{found}. Expected image files ({few(['.jpg', '.png', *sorted(EXTENSIONS - {'.jpg', '.png'})])}). Give an archive that holds the "
        "images, or the folder."
    )


def _without_own_name(folder: Path) -> None:
    """Lift the content of ``cats/cats`` to ``cats``: archives often hold a folder of their own name."""
    entries = list(folder.iterdir())
    if len(entries) == 1 and entries[0].is_dir() and nfc(entries[0].name).casefold() == nfc(folder.name).casefold():
        outer = folder.rename(folder.with_name(f"{folder.name}{PARTIAL}"))
        (outer / entries[0].name).rename(folder.with_name(entries[0].name))
        outer.rmdir()


def _innermost(folder: Path) -> Path:
    """The folder without outer ones that hold nothing but a folder of folders."""
    while True:
        inner = list(islice((path for path in folder.iterdir() if not path.name.startswith(".")), 2))
        if len(inner) != 1 or not inner[0].is_dir() or not any(path.is_dir() for path in inner[0].iterdir()):
            return folder
        folder = inner[0]


def _link_others(given: Path, archives: Mapping[str, Path], root: Path) -> None:
    """Links to the files beside the archives, such as tables."""
    for path in list(root.rglob("*")):
        if path.is_symlink() and not path.exists():
            path.unlink()
    packed = set(archives.values())
    for above, names in _walk(given):
        for file in (above / name for name in names if not name.startswith(".")):
            link = root / file.relative_to(given)
            if file in packed or (link.is_symlink() and link.readlink() == file.absolute()):
                continue
            if link.exists():
                raise DataError(f"{file} is in one of the archives too. Remove or rename one of the two.")
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file.absolute())


def _remark(given: Path, archives: Mapping[str, Path], root: Path, record: Record) -> str:
    what = "" if given.is_file() else f" {plural(len(archives), 'archive')},"
    tables = record.files - record.images
    beside = f" and {plural(tables, 'table')}" if tables else ""
    said = f"{given}:{what} {plural(record.images, 'image')}{beside} unpacked to {root}"
    if record.left_out:
        said += f"; left out: {count_reasons(record.left_out)}"
    return " ".join([f"{said}.", *(record.remarks)])


# ---- the folder of all versions ----------------------------------------------------------------------------------------

_held: dict[Path, FileLock] = {}
"""The versions that this process uses, until it ends."""


def _hold(place: Path) -> None:
    """Mark a version as in use."""
    if place not in _held or not _held[place].is_locked:
        own = place / f"{socket.gethostname()}-{os.getpid()}{IN_USE}"
        _held[place] = FileLock(own, thread_local=False, fallback_to_soft=False)
        _held[place].acquire()


def _in_use(place: Path) -> bool:
    for file in place.glob(f"*{IN_USE}"):
        lock = FileLock(file, thread_local=False, fallback_to_soft=False)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return True
        lock.release()
        file.unlink(missing_ok=True)
    return False


def _remove(place: Path) -> None:
    if (lock := _held.pop(place, None)) is not None:
        lock.release()
    if place.exists():
        shutil.rmtree(place)


def _remove_partial(home: Path) -> None:
    """Remove what killed processes left; the lock is held."""
    for place in home.glob(f"*{PARTIAL}"):
        shutil.rmtree(place)


def _make_room(home: Path, place: Path, needed: int, gigabytes: float) -> None:
    """Remove other versions, the least recently used first, until there is room."""
    others = {other: record.bytes for other in home.iterdir() if other != place and (record := _read(other))}
    for other in sorted(others, key=lambda other: other.stat().st_mtime_ns):
        if sum(others.values()) + needed <= gigabytes * 1e9:
            return
        if not _in_use(other):
            shutil.rmtree(other)
            del others[other]


@contextmanager
def _written(given: Path, home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise DataError(
            f"{given} cannot be unpacked to {home}: {error.strerror or error}{where}. Free some space or make it readable, "
            "unpack it elsewhere and give the folder, or set data.cache_dir."
        ) from error
