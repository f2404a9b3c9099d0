"""Frames of videos: each video is decoded once to image files."""

from __future__ import annotations

import json
import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import simplejpeg

from lightning_vision.errors import DataError
from lightning_vision.images.video_decoders import Decoder, Pixels, VideoFacts, find_decoder
from lightning_vision.storage.atomic_write import replacing
from lightning_vision.storage.cache_folder import locked
from lightning_vision.terminal.progress_bar import progress_bar

VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"})
QUALITY = 95
"""Of the JPEG files; colour is kept at full resolution."""
RECORD = "record.json"
PAUSE_SECONDS = 0.05
"""Between two looks at a video that another process has."""


def video_facts(video: Path) -> VideoFacts:
    """Number and size of a video's frames, from its container where that tells them.

    Raises:
        DataError: It cannot be read, or has no frames.
    """
    if not video.is_file():
        raise DataError(f"The video {video} does not exist.")
    decoder = find_decoder()
    try:
        facts = decoder.facts(video)
    except decoder.errors as error:
        raise DataError(f"The video {video} cannot be read ({_short(error, video)}). Repair or remove it.") from error
    if facts.frames < 1:
        raise DataError(f"The video {video} has no frames. Repair or remove it.")
    return facts


def count_frames(video: Path) -> int:
    """Number of a video's frames, from its container where that tells it.

    Raises:
        DataError: As ``video_facts``.
    """
    return video_facts(video).frames


def files_of_rows(samples: pd.DataFrame, root: Path, folder: Path, workers: int) -> tuple[list[str], dict[Path, str]]:
    """The image file of each row of a sample table; frames of videos are decoded for it.

    Args:
        samples: With the column ``frame`` where there are videos.
        root: What paths start from.
        folder: Where frames are kept.
        workers: As for ``extract_frames``.

    Returns:
        A file a row, and the reason for each video that cannot be read; its rows keep the video's own path.
    """
    files = [os.path.join(root, path) for path in samples["path"].tolist()]  # noqa: PTH118 - a Path takes ten times as long
    if "frame" not in samples:
        return files, {}
    frames = {
        row: (Path(files[row]), int(frame))
        for row, frame in enumerate(samples["frame"])
        if frame >= 0 and Path(files[row]).suffix.lower() in VIDEO_SUFFIXES
    }
    wanted: dict[Path, list[int]] = {}
    for video, frame in frames.values():
        wanted.setdefault(video, []).append(frame)
    failed = extract_frames(wanted, folder, root, workers) if wanted else {}
    for row, (video, frame) in frames.items():
        if video not in failed:
            files[row] = str(frame_path(folder, root, video, frame))
    return files, failed


def frame_path(folder: Path, root: Path, video: Path, frame: int) -> Path:
    """The image file of a frame.

    Args:
        folder: Where caches are kept.
        root: Folder of the data.
        video: The file, below root.
        frame: Its number, from 0.
    """
    return _place(folder, root, video) / f"{frame:06d}.jpg"


def extract_frames(videos: Mapping[Path, Sequence[int]], folder: Path, root: Path, workers: int = 1) -> dict[Path, str]:
    """Write the missing frames as JPEG files (see ``frame_path``).

    Each video is decoded by one thread of one process at a time; others continue with the next video. A changed video
    is decoded again, and an interrupted one is resumed.

    Args:
        videos: The wanted frames of each video, numbers from 0.
        folder: Where caches are kept.
        root: Folder of the data, which holds the videos.
        workers: Videos that this process decodes at a time.

    Returns:
        The videos of which frames are lacking, and why.

    Raises:
        ConfigError: There are frames to decode, and no package for it is installed.
        DataError: A frame cannot be written.
    """
    jobs = [
        _Job(video, _place(folder, root, video), sorted({int(number) for number in frames}))
        for video, frames in videos.items()
        if len(frames)
    ]
    jobs = [job for job in jobs if job.lacking()]
    if not jobs:
        return {}
    decoder = find_decoder()
    workers = min(max(1, workers), len(jobs))
    threads = max(1, (os.cpu_count() or 1) // workers)
    waiting, stopped, counting = deque(jobs), threading.Event(), threading.Lock()
    reasons: dict[Path, str] = {}

    with progress_bar("decoding frames of videos", sum(len(job.wanted) for job in jobs)) as count:

        def advance() -> None:
            with counting:
                count()

        def work() -> None:
            while waiting and not stopped.is_set():
                try:
                    job = waiting.popleft()
                except IndexError:  # another thread was faster
                    return
                with job.locked() as held:
                    if held:
                        if reason := job.run(decoder, threads, advance, stopped):
                            reasons[job.video] = reason
                        continue
                waiting.append(job)
                stopped.wait(PAUSE_SECONDS)

        def work_or_stop_all() -> None:
            try:
                work()
            except BaseException:
                stopped.set()
                raise

        with ThreadPoolExecutor(workers) as pool:
            try:
                for future in [pool.submit(work_or_stop_all) for _ in range(workers)]:
                    future.result()
            finally:  # an error or Ctrl-C ends the other threads at their next frame
                stopped.set()
    return {job.video: reasons[job.video] for job in jobs if job.video in reasons}


@dataclass(frozen=True)
class _Job:
    """The frames of one video and their folder."""

    video: Path
    place: Path
    wanted: list[int]

    def lacking(self) -> list[int]:
        """The wanted frames that are not known to be there."""
        record = self._record()
        if record is None:
            return self.wanted
        there = set(record["frames"]) & self._files()
        return [number for number in self.wanted if number not in there]

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Whether this thread has the lock of the video during the block."""
        with ExitStack() as stack:
            with _written(self.place):
                self.place.mkdir(parents=True, exist_ok=True)
                held = stack.enter_context(locked(self.place, "", wait=False))
            yield held

    def run(self, decoder: Decoder, threads: int, advance: Callable[[], None], stopped: threading.Event) -> str | None:
        """Decode the missing frames, while the lock is held.

        Returns:
            Why frames are still missing.
        """
        if not self.video.is_file():
            return "file not found"
        lacking = self._begin()
        for _ in range(len(self.wanted) - len(lacking)):
            advance()
        if not lacking:
            return None
        left = set(lacking)
        reason = None
        try:
            for number, pixels in decoder.frames(self.video, lacking, threads):
                self._write(number, pixels)
                left.discard(number)
                advance()
                if stopped.is_set():
                    return "interrupted"
        except decoder.errors as error:
            reason = f"it cannot be decoded ({_short(error, self.video)})"
        self._keep(sorted(self._files()))  # frames that were not whole are gone
        if not left:
            return None
        if reason is None:
            reason = f"it has no frame {min(left)} (frames count from 0)"
        return reason if left == set(self.wanted) else f"lacks frames ({len(left)} of {len(self.wanted)}: {reason})"

    def _begin(self) -> list[int]:
        """Remove files of killed processes, and return the frames that must be decoded.

        Frames of a killed process that are not in the record are checked.
        """
        with _written(self.place):
            for stale in (*self.place.glob(".*.tmp.*"), *self.place.glob("*.tmp")):  # the latter are of version 0.1
                stale.unlink()
            record = self._record()
            files = self._files()
            if record is None:
                for number in files:  # of another version of the video
                    self._file(number).unlink()
                files = set()
            vouched = set() if record is None else set(record["frames"])
            whole = {number for number in files if number in vouched or _is_whole(self._file(number))}
            for number in files - whole:
                self._file(number).unlink()
        self._keep(sorted(whole))
        return [number for number in self.wanted if number not in whole]

    def _record(self) -> dict[str, Any] | None:
        """The record of this version of the video; None if there is none."""
        try:
            record: dict[str, Any] = json.loads((self.place / RECORD).read_text(encoding="utf-8"))
            version = self._version()
            if {key: record[key] for key in version} == version and "frames" in record:
                return record
        except (OSError, ValueError, KeyError, TypeError):  # it is written again
            return None
        return None

    def _version(self) -> dict[str, int]:
        stat = self.video.stat()
        # As of all files: the last one also changes if other content has the time of the former one.
        return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "ctime_ns": stat.st_ctime_ns}

    def _keep(self, frames: list[int]) -> None:
        """Record the version of the video and its complete frames."""
        text = json.dumps({"video": self.video.name, **self._version(), "frames": frames})
        self._replace(self.place / RECORD, text.encode())

    def _files(self) -> set[int]:
        try:
            names = [file.name for file in self.place.iterdir()]
        except OSError:
            return set()
        return {int(match[1]) for name in names if (match := re.fullmatch(r"(\d{6,})\.jpg", name))}

    def _file(self, number: int) -> Path:
        return self.place / f"{number:06d}.jpg"

    def _write(self, number: int, pixels: Pixels) -> None:
        encoded = simplejpeg.encode_jpeg(
            np.ascontiguousarray(pixels), quality=QUALITY, colorspace="RGB", colorsubsampling="444"
        )
        self._replace(self._file(number), encoded)

    def _replace(self, file: Path, content: bytes) -> None:
        # Not durable: each frame of a video is checked by its end mark, and thousands of them would wait for the disk.
        with _written(file), replacing(file, durable=False) as temporary:
            temporary.write_bytes(content)


def _place(folder: Path, root: Path, video: Path) -> Path:
    """The folder of a video's frames. It has the suffix, because there may be ``a.mp4`` and ``a.avi``."""
    return folder / "frames" / video.relative_to(root)


def _is_whole(image: Path) -> bool:
    """Whether a JPEG file has its end mark."""
    return image.read_bytes().endswith(b"\xff\xd9")


def _short(error: Exception, video: Path) -> str:
    """An error's reason in one line, without the path, which stands beside it."""
    text = " ".join(str(error).replace(str(video), video.name).split())
    return f"{type(error).__name__}: {text}"[:300]


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"Cannot write {path}: {error.strerror or error}. Free some space, or set data.cache_dir to another folder."
        ) from error
