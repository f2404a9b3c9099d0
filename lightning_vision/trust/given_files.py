"""Image files as a user names them: files, patterns, folders, archives, videos, and text files that list them."""

from __future__ import annotations

import glob
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_vision.data.data_problems import DataProblems
from lightning_vision.data.inspection import inspect_files
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.images.archive_entries import is_archive
from lightning_vision.images.file_kinds import KINDS_BY_EXTENSION, VIDEO
from lightning_vision.images.image_files import count_reasons, extension_of, place_of, reason_to_skip
from lightning_vision.images.image_sources import FileImages
from lightning_vision.images.video_frames import extract_frames, frame_path, video_facts
from lightning_vision.storage.cache_folder import cache_folder
from lightning_vision.terminal.messages import print_notice
from lightning_vision.terminal.wording import few, in_lines, listed, natural_key, near, plural, printable
from lightning_vision.trust.image_folder import read_image_folder, said

if TYPE_CHECKING:
    from lightning_vision.data.datamodule import StreamDataModule

LISTS = (".txt", ".lst")
"""Extensions of text files that list paths."""
EXPECTED = "an image, a video, a folder, an archive, a pattern such as 'photos/*.jpg', or a text file that lists them"


@dataclass(frozen=True)
class Frame:
    """The place of an image in a video."""

    number: int
    """From 0."""
    seconds: float
    """Since the beginning, by the average frame rate; NaN if the video does not tell it."""


@dataclass
class GivenFiles:
    """N images in the order in which they were given."""

    names: list[str] = field(default_factory=list)
    """As they were given; of an image in a folder, the path from there, behind the folder's name if it was not given alone."""
    paths: list[Path] = field(default_factory=list)
    """Their files."""
    frames: list[Frame | None] = field(default_factory=list)
    """None of images that are no frames."""

    @property
    def files(self) -> FileImages:
        """Opens them."""
        return FileImages(self.paths)


def find_files(words: Sequence[str | Path], datamodule: StreamDataModule, every: int = 1) -> GivenFiles:
    """The images that a user named; what is left out is counted in a message.

    Args:
        words: Files, patterns with ``*``, ``?`` or ``[``, folders, archives, videos, and text files with one of these a line.
        datamodule: Has the options for unreadable images and for the cache.
        every: Take each ``every``-th frame of a video, from the first on.

    Raises:
        ConfigError: ``every`` is below 1, or nothing that reads videos is installed.
        DataError: Something is missing, is no image, or cannot be read.
    """
    if not isinstance(every, Integral) or every < 1:
        raise ConfigError(f"--every: expected 1 or more, found {every!r}.")
    search = _Search(datamodule, every, alone=len(words) == 1)
    for word in words:
        search.add(str(word))
    return search.checked()


class _Search:
    """Finds images word by word."""

    def __init__(self, datamodule: StreamDataModule, every: int, alone: bool) -> None:
        self.datamodule, self.every, self.alone = datamodule, every, alone
        self.found = GivenFiles()
        self.unchecked: list[int] = []
        """Places of images that were not inspected yet."""

    def add(self, word: str, base: Path | None = None) -> None:
        """Add what a word means.

        Args:
            word: As the user wrote it.
            base: The folder of the text file in which it stands; paths may start there.

        Raises:
            DataError: It means nothing that can be predicted.
        """
        if not word:  # which would be the working directory
            raise DataError(f"predict: expected {EXPECTED}; found an empty name.")
        path = place_of(word, base)
        if path.is_dir() or is_archive(path):
            self._add_folder(word, path)
        elif path.is_file():
            if base is None and extension_of(path.name) in LISTS:
                self._add_list(word, path)
            elif reason := self._add_file(word, path):
                raise DataError(f"predict: expected {EXPECTED}; {printable(word)} is {reason}.")
        elif glob.has_magic(word):
            self._add_pattern(word, path, base)
        else:
            raise DataError(f"predict: {_missing(word, path)}")

    def checked(self) -> GivenFiles:
        """All images, without those that cannot be read if ``on_bad_image`` says so.

        Raises:
            DataError: There are such images, or none is left.
        """
        found, problems = self.found, DataProblems()
        chosen = FileImages([found.paths[place] for place in self.unchecked])
        inspection = inspect_files(chosen, max(1, self.datamodule.num_workers), None, self.datamodule.inspect)
        bad = {}
        for place, reason in zip(self.unchecked, inspection.reason, strict=True):
            if reason:
                bad[place] = reason
                problems.bad(found.names[place], str(reason))
        problems.check("predict", self.datamodule.on_bad_image)
        if bad:
            print_notice(f"predict: skipped {plural(len(bad), 'file')} ({problems.counted()}).")
        left = [place for place in range(len(found.names)) if place not in bad]
        if not left:
            raise DataError(f"predict: no image is left of {plural(len(found.names), 'file')}: {problems.counted()}.")
        return GivenFiles(
            [found.names[place] for place in left],
            [found.paths[place] for place in left],
            [found.frames[place] for place in left],
        )

    def _append(self, name: str, path: Path, frame: Frame | None = None) -> None:
        self.found.names.append(name)
        self.found.paths.append(path)
        self.found.frames.append(frame)

    def _add_folder(self, word: str, path: Path) -> None:
        folder = read_image_folder(path, self.datamodule, "predict")
        for name in folder.paths:
            self._append(name if self.alone else f"{word.rstrip('/')}/{name}", folder.root / name)
        if folder.skipped:
            print_notice(f"predict: {printable(word)}: {said(folder)}.")

    def _add_file(self, name: str, path: Path) -> str | None:
        """Add an image or the frames of a video; otherwise the reason why it is neither."""
        if KINDS_BY_EXTENSION.get(extension_of(path.name)) == VIDEO:
            self._add_video(name, path)
            return None
        reason = reason_to_skip(path)
        if reason is not None and reason != "hidden":
            return reason
        self.unchecked.append(len(self.found.names))
        self._append(name, path)
        return None

    def _add_video(self, name: str, video: Path) -> None:
        facts = video_facts(video)
        numbers = range(0, facts.frames, self.every)
        folder = cache_folder(video, self.datamodule.cache_dir)
        reason = extract_frames({video: numbers}, folder, video.parent).get(video)
        there = [number for number in numbers if frame_path(folder, video.parent, video, number).is_file()]
        if not there:
            raise DataError(f"predict: the video {printable(video)} cannot be read: {reason}. Repair or remove it.")
        for number in there:
            seconds = number / facts.frames_per_second if facts.frames_per_second else math.nan
            self._append(name, frame_path(folder, video.parent, video, number), Frame(number, seconds))
        lost = f"; {reason}" if reason else ""
        print_notice(f"predict: {printable(name)}: {plural(len(there), 'frame')} of {facts.frames}{lost}.")

    def _add_pattern(self, word: str, path: Path, base: Path | None) -> None:
        names = _matches(path)
        if not names and base is not None:
            names = _matches(base / path)
        left_out: Counter[str] = Counter()
        before = len(self.found.names)
        for name in names:
            reason = "folders" if Path(name).is_dir() else self._add_file(name, Path(name))
            if reason:
                left_out[reason] += 1
        told = f", left out: {count_reasons(left_out)}" if left_out else ""
        if len(self.found.names) == before:
            matches = "matches no file" if not names else f"matches no image{told}"
            raise DataError(f"predict: the pattern {printable(word)!r} {matches}.{_nearby(path)}")
        if told:
            print_notice(f"predict: {printable(word)}: {plural(len(self.found.names) - before, 'image')}{told}.")

    def _add_list(self, word: str, path: Path) -> None:
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise DataError(
                f"predict: expected {EXPECTED}; {printable(word)} is no text in UTF-8. Save it in UTF-8."
            ) from error
        named = [(number, line.strip()) for number, line in enumerate(lines, 1)]
        named = [(number, line) for number, line in named if line and not line.startswith("#")]
        if not named:
            raise DataError(f"predict: {printable(word)} lists no path. Expected one of an image in each line.")
        problems = []
        for number, line in named:
            try:
                self.add(line, path.parent)
            except DataError as error:
                problems.append(f"line {number}: {str(error).removeprefix('predict: ')}")
        if problems:
            raise DataError(f"predict: {plural(len(problems), 'problem')} in {printable(word)}:\n{in_lines(problems)}")


def _matches(pattern: Path) -> list[str]:
    """The files and folders that a pattern means, in natural order."""
    return sorted(glob.glob(str(pattern), recursive=True), key=natural_key)  # noqa: PTH207 - Path's takes no absolute pattern


def _missing(word: str, path: Path) -> str:
    shown = printable(word)
    if not path.parent.is_dir():
        return f"{shown} does not exist, nor does the folder {printable(path.parent)}. Expected {EXPECTED}."
    similar = near(path.name, (other.name for other in path.parent.iterdir()))
    hint = f"Similar names there: {listed(map(printable, similar))}" if similar else f"Expected {EXPECTED}"
    return f"{shown} does not exist. {hint}."


def _nearby(pattern: Path) -> str:
    """What is in the folder of a pattern."""
    folder = pattern.parent
    if glob.has_magic(str(folder)):
        return ""
    if not folder.is_dir():
        return f" The folder {printable(folder)} does not exist."
    names = sorted((path.name for path in folder.iterdir()), key=natural_key)
    return f" The folder {printable(folder)} contains {few(map(printable, names), 5) or 'nothing'}."
