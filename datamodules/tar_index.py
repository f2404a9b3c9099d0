"""Where the samples of WebDataset's tar archives lie: an index of offsets gives random access without unpacking."""

from __future__ import annotations

import tarfile
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from lightning_vision.errors import DataError
from lightning_vision.terminal.wording import listed


class Member(NamedTuple):
    """A file in an archive."""

    offset: int
    size: int


class TarSample(NamedTuple):
    """The files of an archive with one key."""

    key: str
    files: dict[str, Member]
    """By extension: all behind the first dot of the name, in small letters."""


def index_archive(file: Path) -> list[TarSample]:
    """The samples of an archive in their order: consecutive files with one key, which is the name up to its first dot.

    Raises:
        DataError: It cannot be read, is no tar archive, compressed, cut off, or has a file twice.
    """
    samples: list[TarSample] = []
    try:
        size = file.stat().st_size
        with tarfile.open(file, "r:") as archive:  # not compressed: others have no offsets
            for member in archive:
                if not member.isreg() or member.issparse():
                    continue
                if member.offset_data + member.size > size:
                    raise DataError(f"{file} is cut off: {member.name} ends behind its end. Download or copy it again.")
                key, extension = split_key(member.name)
                if not extension:
                    continue
                if not samples or samples[-1].key != key:
                    samples.append(TarSample(key, {}))
                if extension in samples[-1].files:
                    raise DataError(f"{file} holds {member.name} twice. Every sample needs a key of its own.")
                samples[-1].files[extension] = Member(member.offset_data, member.size)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}.") from error
    except tarfile.TarError as error:
        raise DataError(
            f"{file} cannot be read as a tar archive: {error}. If it is compressed (.tar.gz), unpack it with gunzip, because "
            "images in a compressed archive cannot be found without reading all before them; otherwise download or copy it "
            "again."
        ) from error
    return samples


def split_key(name: str) -> tuple[str, str]:
    """The key and the extension of a file: ``a/b.c.jpg`` is a/b and c.jpg; hidden files have none."""
    folder, slash, base = name.removeprefix("./").rpartition("/")
    stem, _, extension = base.partition(".")
    return (f"{folder}{slash}{stem}", extension.lower()) if stem else ("", "")


def read_member(file: Path, member: Member) -> bytes:
    """The content of a file in an archive.

    Raises:
        DataError: The archive cannot be read, or is shorter than it was.
    """
    try:
        with file.open("rb", buffering=0) as archive:
            archive.seek(member.offset)
            content = archive.read(member.size)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}.") from error
    if len(content) != member.size:
        raise DataError(f"{file} is shorter than it was when the run began. Restore it.")
    return content


def shard_names(pattern: str) -> list[str]:
    """The names that a pattern with braces stands for: ``{00..12}`` counts with its zeros, ``{a,b}`` lists.

    Raises:
        DataError: Its braces do not match, or count downwards.
    """
    start, end = pattern.find("{"), pattern.find("}")
    if start < 0 and end < 0:
        return [pattern]
    if end < start or start < 0 or "{" in pattern[start + 1 : end]:
        raise DataError(f"data.shards: expected braces such as {{0000..0049}} or {{a,b}}, found {pattern!r}.")
    before, inside, after = pattern[:start], pattern[start + 1 : end], pattern[end + 1 :]
    first, dots, last = inside.partition("..")
    words = inside.split(",")
    if dots:
        if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
            raise DataError(f"data.shards: expected a range such as {{0000..0049}}, found {{{inside}}} in {pattern!r}.")
        words = [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    return [before + word + rest for word in words for rest in shard_names(after)]


def find_shards(root: Path, patterns: Collection[str]) -> list[Path]:
    """The archives that patterns with braces and wildcards stand for, below the root.

    Raises:
        DataError: One stands for no file.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        for name in shard_names(pattern):
            files = sorted(root.glob(name)) if any(sign in name for sign in "*?[") else [root / name]
            if absent := [file.name for file in files if not file.is_file()]:
                raise DataError(f"data.shards: {listed(absent)} of {pattern!r} is not in {root}.")
            if not files:
                raise DataError(f"data.shards: {pattern!r} stands for no file in {root}.")
            found |= dict.fromkeys(files)
    return list(found)
