"""The libraries that read videos, behind one interface."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lightning_vision.errors import ConfigError

Pixels = npt.NDArray[np.uint8]
"""(h, w, 3) RGB."""


@dataclass(frozen=True)
class VideoFacts:
    """What the container says, or a look at every frame where it says nothing."""

    frames: int
    height: int
    """Of the upright image, in pixels, as ``width``: the container may say that the camera was turned."""
    width: int
    frames_per_second: float = 0.0
    """On average; 0 if the container does not say it."""


class Decoder(Protocol):
    """A library that reads videos. What it raises on broken ones differs, and is named in ``errors``."""

    errors: tuple[type[Exception], ...]

    def facts(self, video: Path) -> VideoFacts:
        """Number, size and rate of the frames."""

    def frames(self, video: Path, wanted: Sequence[int], threads: int) -> Iterator[tuple[int, Pixels]]:
        """The wanted frames, upright, counted from 0 and given in ascending order, as far as there are such."""


class PyAV:
    """The package ``av``, which brings its own FFmpeg."""

    def __init__(self) -> None:
        import av  # optional

        self._av = av
        self.errors: tuple[type[Exception], ...] = (av.FFmpegError, ValueError, EOFError, OSError)

    def facts(self, video: Path) -> VideoFacts:
        """Number, size and rate of the frames."""
        with self._av.open(str(video)) as container:
            stream = self._stream(container)
            frames = container.decode(stream)
            first = next(frames, None)  # it alone says how the camera was held
            if first is None:
                return VideoFacts(0, 0, 0)
            sides = (first.width, first.height) if first.rotation % 180 else (first.height, first.width)
            # Some containers do not say how many frames they hold: Matroska, AVI that was cut.
            count, rate = int(stream.frames or 1 + sum(1 for _ in frames)), float(stream.average_rate or 0)
            return VideoFacts(count, int(sides[0]), int(sides[1]), rate)

    def frames(self, video: Path, wanted: Sequence[int], threads: int) -> Iterator[tuple[int, Pixels]]:
        """The wanted frames; decoding ends at the last of them."""
        left, last = set(wanted), max(wanted)
        with self._av.open(str(video)) as container:
            stream = self._stream(container)
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = threads
            for number, frame in enumerate(container.decode(stream)):
                if number in left:
                    yield number, np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
                if number == last:
                    return

    @staticmethod
    def _stream(container: Any) -> Any:
        if not container.streams.video:
            raise ValueError("it contains no images")
        return container.streams.video[0]


class TorchCodec:
    """The package ``torchcodec``, which needs the libraries of an FFmpeg on this machine."""

    CHUNK = 16
    """Frames that are decoded at once: 100 MB at 1920x1080."""

    errors: tuple[type[Exception], ...] = (RuntimeError, ValueError, IndexError, OSError)

    def __init__(self) -> None:
        self._open = import_module("torchcodec.decoders").VideoDecoder  # optional, and rarely installed
        try:
            self._open(b"")
        except self.errors as error:  # no video is refused in any case; what counts is whether its libraries load
            if "libtorchcodec" in str(error):
                raise ImportError(str(error)) from error

    def facts(self, video: Path) -> VideoFacts:
        """Number, size and rate of the frames."""
        decoder = self._open(str(video), seek_mode="approximate")
        count = decoder.metadata.num_frames_from_header or len(self._open(str(video)))
        facts = decoder.metadata
        return VideoFacts(int(count), int(facts.height), int(facts.width), float(facts.average_fps or 0))

    def frames(self, video: Path, wanted: Sequence[int], threads: int) -> Iterator[tuple[int, Pixels]]:
        """The wanted frames."""
        decoder = self._open(str(video), dimension_order="NHWC", num_ffmpeg_threads=threads)
        there = [number for number in wanted if number < len(decoder)]
        for start in range(0, len(there), self.CHUNK):
            numbers = there[start : start + self.CHUNK]
            yield from zip(numbers, decoder.get_frames_at(indices=numbers).data.numpy(), strict=True)


@functools.cache
def find_decoder() -> Decoder:
    """The library that is installed: torchcodec where it works, else PyAV.

    Raises:
        ConfigError: Neither is.
    """
    kinds: tuple[Callable[[], Decoder], ...] = (TorchCodec, PyAV)
    for kind in kinds:
        try:
            return kind()
        except (ImportError, OSError, RuntimeError):  # torchcodec's libraries fail to load in all of these ways
            continue
    raise ConfigError(
        "This data contains videos, and no package that reads them is installed. Run pip install "
        "'lightning_vision[video]'."
    )
