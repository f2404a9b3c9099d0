"""Image files in folders, and reasons for skipping others."""

import errno
import os
from pathlib import Path

EXTENSIONS = {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
HEIC_EXTENSIONS = {".heic", ".heif"}


def is_hidden(name: str) -> bool:
    """Whether a folder is hidden or created by an operating system."""
    return name.startswith(".") or name in ("__MACOSX", "@eaDir")


def reason_to_skip(path: "Path | os.DirEntry[str]") -> str | None:
    """Why a file is not a readable image, by its name and size; None if it may be one."""
    name = path.name.lower()
    dot = name.rfind(".")
    extension = name[dot:] if dot > 0 else ""
    if name.startswith(".") or name in ("thumbs.db", "desktop.ini"):
        return "hidden"
    if extension in HEIC_EXTENSIONS and not _heic_can_be_read():
        return "HEIC, which needs pip install pillow-heif"
    if extension not in EXTENSIONS | HEIC_EXTENSIONS:
        return "of another kind"
    if not _is_file(path):
        return "broken links"
    return None if path.stat().st_size else "empty"


def _is_file(path: "Path | os.DirEntry[str]") -> bool:
    try:
        return path.is_file()
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link that leads back to itself
            return False
        raise


def _heic_can_be_read() -> bool:
    try:
        import pillow_heif  # an optional package, and only for these files
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True
