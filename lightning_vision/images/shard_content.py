"""Recognises shards of a WebDataset that were given as an archive, or a folder of archives, of images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from lightning_vision.errors import DataError
from lightning_vision.images.archive_unpacking import Record
from lightning_vision.images.image_files import ANOTHER_KIND
from lightning_vision.terminal.wording import few

LABELS = f"{ANOTHER_KIND} (.cls)"
TABLES_OF_TOOLS = ("shapes", "imagePath")
"""Fields of the files that labelme writes beside its images."""


def refuse_shards(given: Path, archives: Mapping[str, Path], unpacked: Path, record: Record) -> None:
    """Refuse archives whose images have labels beside them, as in the shards of a WebDataset, where they were unpacked.

    Their names or numbers would be taken for classes. Labels are files .cls, which mean nothing else; or files .json, if
    each image at the top of archives whose names end in a number, such as 00000.tar, has one, and nothing else is there.

    Args:
        given: What the user gave.
        archives: The archives by the place of their content.
        unpacked: The folder of these places.
        record: What was unpacked.

    Raises:
        DataError: They are shards; the datamodule that reads them is named.
    """
    if 2 * record.left_out.get(LABELS, 0) > record.images:
        raise DataError(
            f"{given}: each image has a file .cls with its label beside it, as in the shards of a WebDataset. If the images are in "
            f"them, read it with --data WebDataset --data.root {_root(given)}."
        )
    if any(not _is_numbered_tar(file) for file in archives.values()):
        return
    fields = {place: _fields_beside(unpacked / place) for place in archives}
    if not all(fields.values()):
        return
    found = list(dict.fromkeys(name for names in fields.values() for name in names or ()))
    raise DataError(
        f"{given}: each image has a file .json beside it, as in the shards of a WebDataset; the names of the archives are no classes. "
        f"If the labels are in these files, whose fields are {few(found)}, read it with --data WebDataset --data.root {_root(given)} "
        f"--data.label_extension json.FIELD. If each archive is a class, unpack them into folders."
    )


def _root(given: Path) -> Path:
    return given.parent if given.is_file() else given


def _is_numbered_tar(file: Path) -> bool:
    stem, dot, rest = file.name.partition(".tar")
    return bool(dot) and rest in ("", ".gz", ".bz2", ".xz") and stem[-1:].isdecimal()


def _fields_beside(folder: Path) -> tuple[str, ...]:
    """The fields of the first JSON file of a folder of images with such files; nothing if others or folders are there."""
    entries = list(folder.iterdir())
    tables = {path.name for path in entries if path.suffix == ".json"}
    others = {path.name for path in entries} - tables
    if (
        any(path.is_dir() for path in entries)
        or not tables
        or {Path(name).stem for name in others} != {name.removesuffix(".json") for name in tables}
    ):
        return ()
    try:
        first = json.loads((folder / min(tables)).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return ()
    fields = tuple(map(str, first)) if isinstance(first, dict) else ()
    return () if set(fields) & set(TABLES_OF_TOOLS) else fields
