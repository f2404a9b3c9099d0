"""Frames of real, short videos: decoded once, also after interruptions."""

import fcntl
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gitw_maker import HEIGHT, WIDTH, draw, level, write_video
from PIL import Image, JpegImagePlugin

from lightning_vision.errors import ConfigError, DataError
from lightning_vision.images import video_decoders
from lightning_vision.images.video_decoders import Decoder, Pixels, PyAV, TorchCodec, VideoFacts
from lightning_vision.images.video_frames import count_frames, extract_frames, frame_path, video_facts

FORK = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos of ten frames in two folders; read only."""
    root = tmp_path_factory.mktemp("videos")
    for number, name in enumerate(("a/one.mp4", "a/two.mp4", "b/three.mp4")):
        write_video(root / name, draw(10, seed=number))
    return root


@pytest.fixture
def videos(library: Path) -> list[Path]:
    return sorted(library.rglob("*.mp4"))


class Watched:
    """A decoder that writes down, in a file, every frame that it gives; it may take its time."""

    def __init__(self, log: Path, seconds: float = 0.0) -> None:
        self.decoder: Decoder = PyAV()
        self.errors = self.decoder.errors
        self.log, self.seconds = log, seconds

    def facts(self, video: Path) -> VideoFacts:
        return self.decoder.facts(video)

    def frames(self, video: Path, wanted: Sequence[int], threads: int) -> Iterator[tuple[int, Pixels]]:
        for number, pixels in self.decoder.frames(video, wanted, threads):
            with self.log.open("a") as file:
                file.write(f"{video.stem} {number} {os.getpid()}\n")
            time.sleep(self.seconds)
            yield number, pixels

    def given(self) -> list[str]:
        """Video and frame of each line so far."""
        return [line.rsplit(" ", 1)[0] for line in self.log.read_text().splitlines()] if self.log.exists() else []


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    watched = Watched(tmp_path / "log.txt")
    monkeypatch.setattr("lightning_vision.images.video_frames.find_decoder", lambda: watched)
    return watched


def grey(image: Path) -> float:
    """The mean grey of the corner that tells frames apart."""
    return float(np.asarray(Image.open(image).convert("L"))[2:14, 2:14].mean())


def record(folder: Path, root: Path, video: Path) -> dict[str, Any]:
    text = (frame_path(folder, root, video, 0).parent / "record.json").read_text()
    return dict(json.loads(text))


class TestFacts:
    def test_the_container_tells(self, videos: list[Path]) -> None:
        assert video_facts(videos[0]) == VideoFacts(10, HEIGHT, WIDTH, 25.0)
        assert count_frames(videos[0]) == 10

    def test_a_container_that_does_not_tell(self, tmp_path: Path) -> None:
        assert count_frames(write_video(tmp_path / "a.mkv", draw(7))) == 7

    def test_a_camera_that_was_turned(self, tmp_path: Path) -> None:
        video = write_video(tmp_path / "a.mp4", draw(3), turned=90)
        assert video_facts(video) == VideoFacts(3, WIDTH, HEIGHT, 25.0)
        assert extract_frames({video: [1]}, tmp_path, tmp_path) == {}
        image = np.asarray(Image.open(frame_path(tmp_path, tmp_path, video, 1)).convert("L"))
        assert image.shape == (WIDTH, HEIGHT)
        assert image[-14:-2, 2:14].mean() == pytest.approx(level(1), abs=6), "the upper left is now the lower left"

    @pytest.mark.parametrize(
        ("content", "match"),
        [
            (b"no video" * 50, r"a\.mp4 cannot be read \(.*Invalid data.*\)\. Repair or remove it"),
            (None, "does not exist"),
        ],
    )
    def test_refused(self, tmp_path: Path, content: bytes | None, match: str) -> None:
        if content is not None:
            (tmp_path / "a.mp4").write_bytes(content)
        with pytest.raises(DataError, match=match):
            count_frames(tmp_path / "a.mp4")

    def test_a_video_without_frames(self, tmp_path: Path) -> None:
        whole = write_video(tmp_path / "whole.mkv", draw(2)).read_bytes()
        video = tmp_path / "a.mkv"
        video.write_bytes(whole[: whole.index(b"\x1f\x43\xb6\x75")])  # where its frames begin
        with pytest.raises(DataError, match=r"a\.mkv (cannot be read|has no frames)"):
            count_frames(video)
        assert extract_frames({video: [0]}, tmp_path, tmp_path)[video].startswith("it ")


class TestExtract:
    def test_the_wanted_frames_and_no_others(self, library: Path, videos: list[Path], tmp_path: Path) -> None:
        wanted = {videos[0]: [7, 2, 2], videos[1]: list(range(10)), videos[2]: []}
        assert extract_frames(wanted, tmp_path, library, workers=2) == {}
        assert frame_path(tmp_path, library, videos[0], 7) == tmp_path / "frames" / "a" / "one.mp4" / "000007.jpg"
        assert sorted(path.name for path in (tmp_path / "frames/a/one.mp4").glob("*.jpg")) == [
            "000002.jpg",
            "000007.jpg",
        ]
        assert not (tmp_path / "frames/b").exists()
        for number in range(10):
            assert grey(frame_path(tmp_path, library, videos[1], number)) == pytest.approx(level(number), abs=4)
        with Image.open(frame_path(tmp_path, library, videos[0], 2)) as image:
            assert (image.format, image.size, JpegImagePlugin.get_sampling(image)) == ("JPEG", (WIDTH, HEIGHT), 0)
        assert record(tmp_path, library, videos[0])["frames"] == [2, 7]

    def test_what_is_there_is_not_decoded_again(
        self, library: Path, videos: list[Path], tmp_path: Path, watched: Watched
    ) -> None:
        for _ in range(2):
            assert extract_frames({videos[0]: [1, 3]}, tmp_path, library) == {}
            assert watched.given() == ["one 1", "one 3"]
        assert extract_frames({videos[0]: [3, 4]}, tmp_path, library) == {}
        assert watched.given()[2:] == ["one 4"]
        assert record(tmp_path, library, videos[0])["frames"] == [1, 3, 4]
        frame_path(tmp_path, library, videos[0], 3).unlink()
        assert extract_frames({videos[0]: [3, 4]}, tmp_path, library) == {}
        assert watched.given()[3:] == ["one 3"], "a frame that somebody deleted"

    def test_a_changed_video_is_decoded_anew(self, tmp_path: Path, watched: Watched) -> None:
        video = write_video(tmp_path / "one.mp4", draw(4))
        extract_frames({video: [1, 2]}, tmp_path, tmp_path)
        write_video(video, draw(4)[::-1])
        assert extract_frames({video: [1]}, tmp_path, tmp_path) == {}
        assert watched.given() == ["one 1", "one 2", "one 1"]
        assert grey(frame_path(tmp_path, tmp_path, video, 1)) == pytest.approx(level(2), abs=4)
        assert not frame_path(tmp_path, tmp_path, video, 2).exists(), "of the video that was"

    def test_another_video_with_the_size_and_the_time_of_the_former(self, tmp_path: Path, watched: Watched) -> None:
        video, other = (write_video(tmp_path / name, draw(4)) for name in ("one.avi", "other.avi"))
        other.write_bytes(other.read_bytes().ljust(video.stat().st_size, b"\0"))
        os.utime(video, ns=(1, 1))
        extract_frames({video: [1]}, tmp_path, tmp_path)
        video.write_bytes(other.read_bytes())
        os.utime(video, ns=(1, 1))
        assert extract_frames({video: [1]}, tmp_path, tmp_path) == {}
        assert watched.given() == ["one 1", "one 1"]

    def test_videos_that_differ_in_their_suffix_alone(self, tmp_path: Path) -> None:
        first, second = write_video(tmp_path / "a.mp4", draw(3)), write_video(tmp_path / "a.avi", draw(3)[::-1])
        assert extract_frames({first: [0], second: [0]}, tmp_path, tmp_path) == {}
        assert grey(frame_path(tmp_path, tmp_path, first, 0)) == pytest.approx(level(0), abs=4)
        assert grey(frame_path(tmp_path, tmp_path, second, 0)) == pytest.approx(level(2), abs=4)

    def test_what_cannot_be_decoded_is_reported_by_video(
        self, library: Path, videos: list[Path], tmp_path: Path
    ) -> None:
        root = tmp_path / "data"
        good = write_video(root / "good.mp4", draw(4))
        broken, gone = root / "broken.mp4", root / "gone.mp4"
        broken.write_bytes(b"no video" * 50)
        half = root / "half.mkv"
        whole = write_video(root / "whole.mkv", draw(10)).read_bytes()
        half.write_bytes(whole[: len(whole) // 2])
        reasons = extract_frames({broken: [0], gone: [1], half: [0, 9], good: [1, 4, 5]}, tmp_path, root, workers=2)
        assert reasons[broken].startswith("it cannot be decoded (") and "Invalid data" in reasons[broken]
        assert reasons[gone] == "file not found"
        assert reasons[half].startswith("lacks frames (1 of 2: it ")
        assert reasons[good] == "lacks frames (2 of 3: it has no frame 4 (frames count from 0))"
        assert frame_path(tmp_path, root, good, 1).exists() and frame_path(tmp_path, root, half, 0).exists()
        assert extract_frames({good: [1]}, tmp_path, root) == {}

    def test_a_folder_that_cannot_be_written_to(self, library: Path, videos: list[Path], tmp_path: Path) -> None:
        (tmp_path / "frames").write_text("a file")
        with pytest.raises(DataError, match=r"Cannot write .*\. Free some space, or set data\.cache"):
            extract_frames({video: [0] for video in videos}, tmp_path, library, workers=2)

    def test_progress_is_shown_if_it_takes_long(
        self,
        library: Path,
        videos: list[Path],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        extract_frames({videos[0]: [0]}, tmp_path, library)
        assert capsys.readouterr().err == ""
        monkeypatch.setattr("lightning_vision.terminal.progress_bar.PATIENCE_SECONDS", 0.0)
        monkeypatch.setenv("TTY_COMPATIBLE", "1")  # rich takes the captured stream for a terminal
        extract_frames({videos[1]: [0, 1]}, tmp_path, library)
        told = capsys.readouterr()
        assert "decoding frames of videos" in told.err and told.out == ""


class TestSeveralAtOnce:
    def test_two_processes_decode_each_frame_once(
        self, library: Path, videos: list[Path], tmp_path: Path, watched: Watched
    ) -> None:
        watched.seconds = 0.01
        wanted = {video: range(10) for video in videos}

        together = FORK.Barrier(2)

        def run() -> None:
            together.wait(20)
            sys.exit(len(extract_frames(wanted, tmp_path, library)))

        processes = [FORK.Process(target=run) for _ in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(30)
        assert [process.exitcode for process in processes] == [0, 0]
        assert sorted(watched.given()) == sorted(f"{video.stem} {number}" for video in videos for number in range(10))
        assert len({line.rsplit(" ", 1)[1] for line in watched.log.read_text().splitlines()}) == 2, (
            "both had some to do"
        )

    def test_killed_and_resumed(self, library: Path, videos: list[Path], tmp_path: Path, watched: Watched) -> None:
        watched.seconds = 0.1
        process = FORK.Process(target=extract_frames, args=({videos[0]: range(10)}, tmp_path, library))
        process.start()
        until = time.monotonic() + 20
        while len(watched.given()) < 4 and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        before = watched.given()
        place = frame_path(tmp_path, library, videos[0], 0).parent
        for name in ("000008.jpg.tmp", ".000009.tmp.jpg"):  # as if this version or the one before had been killed
            (place / name).write_bytes(b"half")
        (place / "000009.jpg").write_bytes(b"\xff\xd8 half, by a machine that lost its power")
        watched.seconds = 0.0
        assert extract_frames({videos[0]: range(10)}, tmp_path, library) == {}
        again = watched.given()[len(before) :]
        assert len(before) in (4, 5) and "one 0" not in again and again[-1] == "one 9"
        assert len(again) == 10 - len(before) + 1, "the frame that it had at that moment is decoded a second time"
        assert not list(place.glob("*.tmp*"))
        for number in range(10):
            assert grey(place / f"{number:06d}.jpg") == pytest.approx(level(number), abs=4)

    def test_another_video_is_taken_while_one_is_locked(
        self, library: Path, videos: list[Path], tmp_path: Path, watched: Watched
    ) -> None:
        lock = frame_path(tmp_path, library, videos[0], 0).parent / ".lock"
        lock.parent.mkdir(parents=True)
        with lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            thread = threading.Thread(target=extract_frames, args=({v: [0] for v in videos}, tmp_path, library))
            thread.start()
            until = time.monotonic() + 10
            while len(watched.given()) < 2 and time.monotonic() < until:
                time.sleep(0.01)
            assert watched.given() == ["two 0", "three 0"]
        thread.join(10)
        assert watched.given() == ["two 0", "three 0", "one 0"]

    def test_an_error_stops_the_other_threads(
        self, library: Path, videos: list[Path], tmp_path: Path, watched: Watched
    ) -> None:
        watched.seconds = 0.2
        frame_path(tmp_path, library, videos[2], 0).parent.parent.parent.mkdir(parents=True)
        (tmp_path / "frames" / "b").write_text("a file")
        began = time.monotonic()
        with pytest.raises(DataError, match="Cannot write"):
            extract_frames({video: range(10) for video in videos[::-1]}, tmp_path, library, workers=2)
        assert time.monotonic() - began < 1.5
        assert len(watched.given()) < 3


class TestDecoders:
    @pytest.fixture(params=[PyAV, TorchCodec])
    def decoder(self, request: pytest.FixtureRequest) -> Decoder:
        try:
            decoder: Decoder = request.param()
        except (ImportError, OSError, RuntimeError):
            pytest.skip(f"{request.param.__name__} does not work here")
        return decoder

    def test_they_give_the_same(self, decoder: Decoder, library: Path, videos: list[Path], tmp_path: Path) -> None:
        assert decoder.facts(videos[0]) == VideoFacts(10, HEIGHT, WIDTH, 25.0)
        assert decoder.facts(write_video(tmp_path / "a.mkv", draw(3))).frames == 3
        given = list(decoder.frames(videos[0], [2, 7, 10, 12], threads=1))
        assert [number for number, _ in given] == [2, 7]
        for number, pixels in given:
            assert pixels.shape == (HEIGHT, WIDTH, 3) and pixels.dtype == np.uint8
            assert np.abs(pixels.astype(int) - draw(10)[number]).mean() < 6
        turned = write_video(tmp_path / "turned.mp4", draw(3), turned=90)
        assert decoder.facts(turned) == VideoFacts(3, WIDTH, HEIGHT, 25.0)
        assert np.abs(next(decoder.frames(turned, [0], 1))[1] - np.rot90(draw(3)[0]).astype(int)).mean() < 6
        (tmp_path / "broken.mp4").write_bytes(b"no video")
        with pytest.raises(decoder.errors):
            list(decoder.frames(tmp_path / "broken.mp4", [0], 1))

    def test_none_is_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("av", "torchcodec", "torchcodec.decoders"):
            monkeypatch.setitem(sys.modules, name, None)
        video_decoders.find_decoder.cache_clear()
        with pytest.raises(ConfigError, match=r"pip install 'lightning_vision\[video\]'"):
            video_decoders.find_decoder()

    def test_one_that_does_not_load_is_not_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Decoders:
            @staticmethod
            def VideoDecoder(source: bytes) -> None:  # noqa: N802 (torchcodec's name)
                raise RuntimeError("Could not load libtorchcodec. Likely causes: ...")

        monkeypatch.setitem(sys.modules, "torchcodec", Decoders)
        monkeypatch.setitem(sys.modules, "torchcodec.decoders", Decoders)
        video_decoders.find_decoder.cache_clear()
        assert isinstance(video_decoders.find_decoder(), PyAV)
        video_decoders.find_decoder.cache_clear()
