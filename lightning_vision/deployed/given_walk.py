"""The images that a user names: files, patterns, folders, archives, and text files that list them."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from lightning_vision.deployed.image_walk import ImageWalk
from lightning_vision.errors import DataError
from lightning_vision.images.archive_entries import is_archive
from lightning_vision.images.file_kinds import KINDS_BY_EXTENSION, VIDEO
from lightning_vision.images.image_files import count_reasons, extension_of, place_of, reason_to_skip
from lightning_vision.terminal.wording import natural_key, printable

LISTS = (".txt", ".lst")
"""Extensions of text files that list paths."""
EXPECTED = "an image, a folder, an archive, a pattern such as 'photos/*.jpg', or a text file that lists them"


def walk_of(words: Sequence[str]) -> ImageWalk | GivenWalk:
    """The images that words name; of a folder or an archive that is given alone, by their paths in it.

    Raises:
        DataError: A word names nothing that can be predicted.
    """
    alone = Path(words[0]).expanduser()
    return ImageWalk(alone) if len(words) == 1 and (alone.is_dir() or is_archive(alone)) else GivenWalk(words)


class GivenWalk:
    """Images by the names that were given, in this order.

    Args:
        words: Files, patterns with ``*``, ``?`` or ``[``, folders, archives, and text files with one of these a line.

    Raises:
        DataError: A word names nothing that can be predicted.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.shown = printable(", ".join(words[:3]) + (f" and {len(words) - 3} more" if len(words) > 3 else ""))
        self._parts: list[tuple[str, Path | ImageWalk]] = []
        self._others: Counter[str] = Counter()
        self._remarks: list[str] = []
        for word in words:
            self._add(word)

    def __iter__(self) -> Iterator[tuple[str, Path]]:
        for name, part in self._parts:
            if isinstance(part, Path):
                yield name, part
            else:
                yield from ((f"{name.rstrip('/')}/{inner}", file) for inner, file in part)

    def file(self, path: str) -> Path:
        """The file of an image by its name."""
        for name, part in self._parts:
            if isinstance(part, Path):
                if name == path:
                    return part
            elif path.startswith(before := f"{name.rstrip('/')}/"):
                return part.file(path.removeprefix(before))
        raise KeyError(path)

    @property
    def remark(self) -> str:
        """What was unpacked; empty if nothing was."""
        return " ".join(self._remarks)

    @property
    def skipped(self) -> Counter[str]:
        """What was left out so far, by reason."""
        walks = (part.skipped for _, part in self._parts if isinstance(part, ImageWalk))
        return sum(walks, Counter(self._others))

    def counted(self) -> str:
        """What was left out so far, in words."""
        return count_reasons(self.skipped)

    def _add(self, word: str, base: Path | None = None) -> None:
        """Add what a word names; ``base`` is the folder of the text file in which it stands."""
        path = place_of(word, base)
        if path.is_dir() or is_archive(path):
            self._add_folder(word, path)
        elif path.is_file():
            if base is None and extension_of(path.name) in LISTS:
                self._add_list(path)
            elif KINDS_BY_EXTENSION.get(extension_of(path.name)) == VIDEO:
                raise DataError(
                    f"{printable(word)} is a video. An exported classifier predicts images: use predict --ckpt_path RUN VIDEO, or save its "
                    "frames as images."
                )
            elif reason := reason_to_skip(path):
                raise DataError(f"predict: expected {EXPECTED}; {printable(word)} is {reason}.")
            else:
                self._parts.append((word, path))
        elif glob.has_magic(word):
            self._add_pattern(word, path, base)
        else:
            raise DataError(f"predict: expected {EXPECTED}; {printable(word)} does not exist.")

    def _add_folder(self, name: str, path: Path) -> None:
        walk = ImageWalk(path)
        self._remarks += [walk.remark] if walk.remark else []
        self._parts.append((name, walk))

    def _add_pattern(self, word: str, path: Path, base: Path | None) -> None:
        """Add the images and folders that match; other files are counted."""
        found = sorted(glob.glob(str(path), root_dir=base, recursive=True), key=natural_key)  # noqa: PTH207 - Path's takes no absolute pattern
        before = len(self._parts)
        for name in found:
            place = Path(name) if base is None else base / name
            if place.is_dir():
                self._add_folder(name, place)
            elif reason := reason_to_skip(place):
                self._others[reason] += 1
            else:
                self._parts.append((name, place))
        if len(self._parts) == before:
            raise DataError(f"predict: no image matches {printable(word)!r}, which matches {len(found)} other files.")

    def _add_list(self, path: Path) -> None:
        try:
            lines = path.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
        except OSError as error:
            raise DataError(f"{printable(path)} cannot be read: {error.strerror or error}.") from error
        for number, line in enumerate((line.strip() for line in lines), start=1):
            if line and not line.startswith("#"):
                try:
                    self._add(line, path.parent)
                except DataError as error:
                    raise DataError(f"{printable(path)} line {number}: {error}") from error
