"""Image files in folders, and reasons for skipping others."""

import errno
import os
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from lightning_vision.images.file_kinds import (
    HEIC,
    HEIC_HELP,
    KINDS_BY_EXTENSION,
    NO_IMAGE,
    TEXT,
    is_image,
    kind_of_file,
)
from lightning_vision.terminal.wording import few

EXTENSIONS = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".avifs", ".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc", ".tga"),
    *(".qoi", ".psd", ".pcx", ".sgi", ".ras", ".dds"),
}
"""Of files that are read as images whatever they hold: the decoder goes by the content."""
HEIC_EXTENSIONS = {".heic", ".heif", ".hif"}
ANOTHER_KIND = "of another kind"
NEEDS_HEIC = f"HEIC, which needs {HEIC_HELP}"


def is_hidden(name: str) -> bool:
    """Whether a folder is hidden or created by an operating system."""
    return name.startswith(".") or name in ("__MACOSX", "@eaDir")


def extension_of(name: str) -> str:
    """The extension in small letters, with its dot; empty if there is none."""
    name = name.lower()
    dot = name.rfind(".")
    return name[dot:] if dot > 0 else ""


def place_of(word: str, base: Path | None = None) -> Path:
    """The place that a user names; in a text file that lists places, it may be relative to the file's folder, ``base``."""
    path = Path(word).expanduser()
    return base / path if base is not None and not path.exists() and (base / path).exists() else path


def reason_to_skip(path: "Path | os.DirEntry[str]") -> str | None:
    """Why a file is not a readable image; None if it may be one.

    The content is looked at only if the extension does not tell what it is, and for HEIC that cannot be read.
    """
    extension = extension_of(path.name)
    if path.name.startswith(".") or path.name.lower() in ("thumbs.db", "desktop.ini"):
        return "hidden"
    if extension in KINDS_BY_EXTENSION:
        kind = KINDS_BY_EXTENSION[extension]
        return f"{ANOTHER_KIND} ({extension}{'' if kind in ('', TEXT) else f': {kind}'})"
    if not _is_file(path):
        return "broken links"
    if not path.stat().st_size:
        return "empty"
    if extension in EXTENSIONS or (extension in HEIC_EXTENSIONS and heic_can_be_read()):
        return None
    kind = kind_of_file(os.fspath(path))
    if kind == HEIC or (extension in HEIC_EXTENSIONS and not is_image(kind)):
        return None if heic_can_be_read() else NEEDS_HEIC
    if is_image(kind):
        return None
    return f"{ANOTHER_KIND} ({extension or 'no extension'}{f': {kind}' if kind else ''})"


def count_reasons(counts: Mapping[str, int]) -> str:
    """The number of files by reason, the most frequent first, those of another kind with their extensions.

    Text in brackets after any other reason is about one file and is left out.
    """
    totals: Counter[str] = Counter()
    extensions: Counter[str] = Counter()
    for reason, count in counts.items():
        plain, _, detail = reason.removeprefix(NO_IMAGE).partition(" (")
        totals[plain] += count
        if plain == ANOTHER_KIND and detail:
            extensions[detail.rstrip(")").partition(":")[0]] += count
    shown = few([f"{number} {extension}" for extension, number in extensions.most_common()])
    return ", ".join(
        f"{count} {plain}{f' ({shown})' if plain == ANOTHER_KIND and shown else ''}"
        for plain, count in totals.most_common()
    )


def _is_file(path: "Path | os.DirEntry[str]") -> bool:
    try:
        return path.is_file()
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link that leads back to itself
            return False
        raise


@cache
def _register_heic() -> bool:
    import pillow_heif  # an optional package, and only for these files

    pillow_heif.register_heif_opener()
    return True


def heic_can_be_read() -> bool:
    """Whether Pillow reads HEIC files; it is told how if the package is there."""
    try:
        return _register_heic()
    except ImportError:
        return False
