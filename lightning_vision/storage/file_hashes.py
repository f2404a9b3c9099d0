"""A list of files with their SHA-256, by which files that were altered on their way are found."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_vision.errors import CheckpointError
from lightning_vision.storage.atomic_write import write_text_atomically
from lightning_vision.terminal.wording import printable

SCHEMA = 1
_NAME = re.compile(
    r"(?:[A-Za-z0-9_][A-Za-z0-9_.=+-]*/)?[A-Za-z0-9_][A-Za-z0-9_.=+-]*\.(?:json|yaml|csv|npz|png|safetensors)"
)


@dataclass(frozen=True)
class FileHashes:
    """The files of a folder.

    Args:
        files: The SHA-256 of each, by its path in the folder.
        written_by: The version that wrote them.
    """

    files: dict[str, str]
    written_by: str

    @classmethod
    def of(cls, folder: Path, names: Iterable[str], written_by: str) -> FileHashes:
        """Hash files of a folder."""
        return cls({name: sha256_of(folder / name) for name in sorted(names)}, written_by)

    @classmethod
    def read(cls, path: Path, place: str) -> FileHashes:
        """Read a list.

        Args:
            path: The file.
            place: Where it is from, for messages.

        Raises:
            CheckpointError: It is no such list, was written by a later version, or names files that no run has.
        """
        try:
            content: Any = json.loads(path.read_text(encoding="utf-8"))
            schema, files = content["schema"], content["files"]
            fits = isinstance(schema, int) and all(_is_hash(name, found) for name, found in files.items())
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError(_damaged(place, path.name, " ".join(str(error).split()))) from error
        if fits and schema > SCHEMA:
            raise CheckpointError(
                f"{place}: a later version of lightning_vision wrote it: expected schema {SCHEMA} of {path.name}, found "
                f"{schema}. Update lightning_vision to read it."
            )
        if not fits:
            wrong = [name for name, found in files.items() if not _is_hash(name, found)]
            raise CheckpointError(_damaged(place, path.name, f"found {printable(wrong or schema)!s:.200}"))
        return cls(dict(files), str(content.get("lightning_vision", "")))

    def write(self, path: Path) -> None:
        """Write the list."""
        content = {"schema": SCHEMA, "lightning_vision": self.written_by, "files": self.files}
        write_text_atomically(path, json.dumps(content, indent=2) + "\n")

    def check(self, name: str, path: Path, place: str) -> None:
        """Compare a file with its hash.

        Raises:
            CheckpointError: They differ.
        """
        if (found := sha256_of(path)) != self.files[name]:
            raise CheckpointError(
                f"{place}: {name} was altered after the run was pushed: expected the SHA-256 {self.files[name]}, found {found}. "
                "Nothing of it was used. Ask its owner to push the run again, or open the commit of the push, "
                "hf://owner/name@COMMIT."
            )


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_hash(name: object, found: object) -> bool:
    named = isinstance(name, str) and _NAME.fullmatch(name) is not None
    return named and isinstance(found, str) and re.fullmatch(r"[0-9a-f]{64}", found) is not None


def _damaged(place: str, name: str, found: str) -> str:
    return (
        f"{place}: {name} is damaged: expected the names of a run's files with a SHA-256 for each; {found}. Ask its owner to "
        "push the run again."
    )
