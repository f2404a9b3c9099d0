"""Every image is looked at once, as thoroughly as ``data.inspect`` says."""

import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coloured_squares import ColouredSquares
from PIL import Image
from torch import Tensor
from unprivileged import rights_count

from datamodules import ImageFolder
from lightning_vision.data import image_facts, inspection
from lightning_vision.data.image_facts import DECODED, HEADER, UNOPENED, ImageFacts
from lightning_vision.data.inspection import How, Inspection, inspect_files
from lightning_vision.data.scenarios import Joint
from lightning_vision.errors import ConfigError
from lightning_vision.images import decoding, image_sources
from lightning_vision.images.image_sources import FileImages
from lightning_vision.images.pillow_decoding import DECODING_VERSION
from lightning_vision.storage import array_file
from lightning_vision.storage.cache_folder import beside, cache_folder


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    rows: list[int] = []
    look = image_facts.look_at_file

    def counted(files: FileImages, row: int, decode: bool) -> ImageFacts:
        rows.append(row)
        return look(files, row, decode)

    monkeypatch.setattr(inspection, "look_at_file", counted)
    return rows


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    for number in range(4):
        Image.new("RGB", (40 + number, 50), (60 * number, 20, 30)).save(tmp_path / f"{number}.png")
    return [tmp_path / f"{number}.png" for number in range(4)]


def test_facts(files: list[Path]) -> None:
    Image.new("L", (64, 48)).save(files[1], format="JPEG")
    files[2].write_bytes(b"")
    files[3].write_text("text")
    found = inspect_files(FileImages(files), 2, None)
    assert found.height.tolist() == [50, 48, 0, 0] and found.width.tolist() == [40, 64, 0, 0]
    assert found.format.tolist()[:2] == ["PNG", "JPEG"] and found.mode.tolist()[:2] == ["RGB", "L"]
    assert found.bytes[0] == files[0].stat().st_size
    assert found.reason.tolist()[:3] == ["", "", "the file is empty"]
    assert "cannot be decoded" in found.reason[3] and str(files[3]) not in found.reason[3]


def test_the_second_time_only_what_changed_is_looked_at(
    files: list[Path], tmp_path: Path, looked_at: list[int]
) -> None:
    kept = tmp_path / "kept.npz"
    first = inspect_files(FileImages(files), 1, kept)
    assert len(looked_at) == 4
    again = inspect_files(FileImages(files), 1, kept)
    assert len(looked_at) == 4
    assert np.array_equal(first.digest, again.digest)
    Image.new("RGB", (33, 44)).save(files[2])
    os.utime(files[2], ns=(1, 1))
    changed = inspect_files(FileImages(files[::-1]), 1, kept)
    assert len(looked_at) == 5, "the order may be another one"
    assert changed.width.tolist() == [43, 33, 41, 40]


def test_facts_by_former_rules_of_reading_are_not_used(
    files: list[Path], tmp_path: Path, looked_at: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept.npz"
    with monkeypatch.context() as before:
        before.setattr(inspection, "DECODING_VERSION", DECODING_VERSION - 1)
        inspect_files(FileImages(files), 1, kept)
    inspect_files(FileImages(files), 1, kept)
    assert len(looked_at) == 8
    inspect_files(FileImages(files), 1, kept)
    assert len(looked_at) == 8


@pytest.mark.parametrize("content", [b"", b"PK no archive", b"\x93NUMPY"])
def test_a_broken_record_is_made_anew(content: bytes, files: list[Path], tmp_path: Path, looked_at: list[int]) -> None:
    kept = tmp_path / "kept.npz"
    kept.write_bytes(content)
    inspect_files(FileImages(files), 1, kept)
    inspect_files(FileImages(files), 1, kept)
    assert len(looked_at) == 4


def test_processes_wait_for_each_other(files: list[Path], tmp_path: Path) -> None:
    kept = tmp_path / "kept.npz"
    context = multiprocessing.get_context("fork")
    with context.Pool(3) as pool:
        found = pool.starmap(inspect_files, [(FileImages(files), 1, kept)] * 3)
    assert all(np.array_equal(item.digest, found[0].digest) for item in found)
    assert not list(tmp_path.glob("*.tmp*"))


def test_boxes_that_lie_beside_the_image(files: list[Path]) -> None:
    boxes = np.array([[5, 5, 20, 20], [-9, -9, 12, 99], [41, 3, 60, 9], [9, 9, 3, 30]], dtype=np.float32)
    boxes[2] += 50
    found = inspect_files(FileImages(files, boxes, cut=True), 1, None)
    assert list(zip(found.height.tolist(), found.width.tolist(), strict=True))[:2] == [(15, 15), (50, 12)]
    assert found.reason[2] == "the box lies outside the image (from 91, 53 to 110, 59; the image has 42 x 50 pixels)"
    assert found.reason[3] == "the box is empty or inverted (from 9, 9 to 3, 30)"


def test_an_image_that_could_not_be_read_is_looked_at_again(
    files: list[Path], tmp_path: Path, looked_at: list[int]
) -> None:
    """Its reason may be gone: rights were given, or a decoder was installed."""
    kept = tmp_path / "kept.npz"
    files[3].write_text("text")
    files[1].chmod(0)
    with rights_count():
        first = inspect_files(FileImages(files), 1, kept)
    assert first.reason.tolist()[:3] == ["", "no permission to read it", ""] and "cannot be decoded" in first.reason[3]
    files[1].chmod(0o644)
    looked_at.clear()
    again = inspect_files(FileImages(files), 1, kept)
    assert looked_at == [1, 3], "nothing is known of these two"
    assert again.reason[1] == "" and "cannot be decoded" in again.reason[3]
    files[0].chmod(0)
    with rights_count():
        assert inspect_files(FileImages(files), 1, kept).reason[0] == "no permission to read it", (
            "though it was read before"
        )


def test_other_content_with_the_size_and_the_time_of_the_former(
    files: list[Path], tmp_path: Path, looked_at: list[int]
) -> None:
    """As after ``cp -p``: the time of the inode tells."""
    kept = tmp_path / "kept.npz"
    first = inspect_files(FileImages(files), 1, kept)
    before = files[2].stat()
    content = bytearray(files[2].read_bytes())
    content[-1] ^= 1  # of a checksum that Pillow does not need
    files[2].write_bytes(content)
    os.utime(files[2], ns=(before.st_atime_ns, before.st_mtime_ns))
    looked_at.clear()
    again = inspect_files(FileImages(files), 1, kept)
    assert looked_at == [2]
    assert not np.array_equal(first.digest[2], again.digest[2])


def test_an_interrupted_inspection_keeps_what_it_has_seen(
    files: list[Path], tmp_path: Path, looked_at: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, counted = tmp_path / "kept.npz", image_facts.look_at_file

    def interrupted(files: FileImages, row: int, decode: bool) -> ImageFacts:
        if row == 2:
            raise KeyboardInterrupt
        return counted(files, row, decode)

    with monkeypatch.context() as patch:
        patch.setattr(inspection, "look_at_file", interrupted)
        with pytest.raises(KeyboardInterrupt):
            inspect_files(FileImages(files), 1, kept)
    looked_at.clear()
    found = inspect_files(FileImages(files), 1, kept)
    assert looked_at == [2, 3]
    assert (found.depth == DECODED).all()
    same(found, inspect_files(FileImages(files), 1, None))


def test_a_long_inspection_is_stored_from_time_to_time(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed process stores nothing at its end."""
    monkeypatch.setattr(inspection, "CHUNK", 1)
    monkeypatch.setattr(inspection, "STORED_EVERY", 0.0)
    known: list[int] = []
    write = array_file.write_arrays

    def counted(path: Path, arrays: dict[str, Any]) -> None:
        known.append(len(arrays["height"]))
        write(path, arrays)

    monkeypatch.setattr(inspection, "write_arrays", counted)
    inspect_files(FileImages(files), 1, tmp_path / "kept.npz")
    assert known == [1, 2, 3, 4, 4]


def same(one: Inspection, two: Inspection) -> None:
    for item in fields(Inspection):
        assert np.array_equal(getattr(one, item.name), getattr(two, item.name)), item.name


class TestHow:
    """``data.inspect``: full, headers, off, and what is chosen where none is given."""

    @pytest.fixture
    def cut_short(self, files: list[Path]) -> list[Path]:
        """The last one can be opened and not be decoded, and there is a copy."""
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(files[3], format="JPEG")
        files[3].write_bytes(files[3].read_bytes()[:2000])
        files[1].write_bytes(files[0].read_bytes())
        return files

    @pytest.fixture
    def decoded(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
        """The files that were decoded."""
        names: list[Path] = []
        decode_region = decoding.decode_region

        def counted(header: Any, *args: Any) -> Tensor:
            names.append(header.path)
            return decode_region(header, *args)

        monkeypatch.setattr(image_sources, "decode_region", counted)
        yield names

    def test_headers(self, cut_short: list[Path], tmp_path: Path, decoded: list[Path], looked_at: list[int]) -> None:
        kept = tmp_path / "kept.npz"
        found = inspect_files(FileImages(cut_short), 2, kept, "headers")
        assert decoded == [] and (found.depth == HEADER).all() and found.undecoded == 4
        assert found.height.tolist() == [50, 50, 50, 64] and found.reason.tolist() == [""] * 4
        assert len({bytes(digest) for digest in found.digest}) == 4, "of copies it is not known that they are"
        assert not found.phash.any() and not found.thumbnail.any()
        looked_at.clear()
        same(found, inspect_files(FileImages(cut_short), 2, kept, "headers"))
        assert looked_at == []
        os.utime(cut_short[2], ns=(1, 1))
        again = inspect_files(FileImages(cut_short), 2, kept, "headers")
        assert looked_at == [2]
        assert (again.digest != found.digest).any(axis=1).tolist() == [False, False, True, False]

    def test_a_full_inspection_afterwards_decodes_all(self, cut_short: list[Path], tmp_path: Path) -> None:
        kept = tmp_path / "kept.npz"
        headers = inspect_files(FileImages(cut_short), 1, kept, "headers")
        full = inspect_files(FileImages(cut_short), 1, kept, "full")
        assert "cannot be decoded" in full.reason[3] and np.array_equal(full.digest[0], full.digest[1])
        same(full, inspect_files(FileImages(cut_short), 1, None, "full"))
        same(headers, inspect_files(FileImages(cut_short), 1, kept, "headers"))

    def test_off(self, cut_short: list[Path], decoded: list[Path], looked_at: list[int]) -> None:
        cut_short[2].unlink()
        found = inspect_files(FileImages(cut_short), 1, None, "off")
        assert not decoded and not looked_at and (found.depth == UNOPENED).all()
        assert found.reason.tolist() == ["", "", "file not found", ""]
        assert found.bytes[0] == cut_short[0].stat().st_size and not found.height.any()
        assert len({bytes(digest) for digest in found.digest}) == 4

    def test_by_default_an_inspection_of_less_than_a_minute_is_full(self, files: list[Path], tmp_path: Path) -> None:
        found = inspect_files(FileImages(files), 1, tmp_path / "kept.npz", None)
        assert (found.depth == DECODED).all()

    def test_by_default_one_that_takes_longer_reads_headers(
        self, cut_short: list[Path], tmp_path: Path, decoded: list[Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(inspection, "MEASURED", 2)  # the first and the last, which is damaged
        monkeypatch.setattr(inspection, "MOST_SECONDS", 0.0)
        kept = tmp_path / "kept.npz"
        found = inspect_files(FileImages(cut_short), 1, kept, None)
        assert 0 < len(decoded) <= 2
        assert found.reason.tolist() == [""] * 4, "the next start would not decode the same ones"
        decoded.clear()
        again = inspect_files(FileImages(cut_short), 1, kept, None)
        assert decoded == [], "the pace is stored"
        same(found, again)
        same(found, inspect_files(FileImages(cut_short), 1, None, "headers"))
        inspect_files(FileImages(cut_short[:3]), 1, kept, "full")
        assert (inspect_files(FileImages(cut_short[:3]), 1, kept, None).depth == DECODED).all()

    @pytest.mark.parametrize("how", ["headers", "off"])
    def test_nobody_says_that_there_are_no_copies(
        self, how: How, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        root = tmp_path / "photos"
        for name in ("a", "b"):
            (root / name).mkdir(parents=True)
            for number in range(8):
                Image.new("RGB", (40, 40), (9, 9, 9)).save(root / name / f"{number}.png")
        full = ImageFolder(root, image_size=16, stream=Joint())
        assert full.leaks.counts()["exact"] and full.describe()["not_inspected"] == 0
        capsys.readouterr()
        data = ImageFolder(root, image_size=16, stream=Joint(), inspect=how)
        told = capsys.readouterr().err
        assert (
            told.count("data.inspect=full") == 1 and "copies and near copies among them were not searched for" in told
        )
        assert ("only the headers were read" in told) == (how == "headers")
        assert data.describe()["not_inspected"] == 16
        assert data.describe()["leaks"] == {"exact": None, "near": None, "label": None, "groups": 0}
        assert "were not searched among 16 images" in data.leaks.limits()
        assert data.split_hash == full.split_hash and data.stream.hash == full.stream.hash

    def test_decoded_images_need_sizes(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"cache=decoded needs the sizes.*data\.inspect to headers or full"):
            ImageFolder(tmp_path, stream=Joint(), cache="decoded", inspect="off")
        with pytest.raises(ConfigError, match=r"images that are not files were not inspected: set data\.inspect=full"):
            ColouredSquares(per_class=4, cache="decoded", cache_dir=tmp_path, inspect="headers")


class TestImagesInMemory:
    @pytest.fixture
    def loaded(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """Rows that were loaded."""
        rows: list[int] = []
        load = ColouredSquares.load_image

        def counted(data: ColouredSquares, index: int) -> Tensor:
            rows.append(index)
            return load(data, index)

        monkeypatch.setattr(ColouredSquares, "load_image", counted)
        return rows

    def test_each_is_loaded_and_hashed_once(self, loaded: list[int]) -> None:
        data = ColouredSquares(per_class=4)
        assert sorted(loaded) == list(range(len(data.samples)))
        assert np.array_equal(data.prepared.digests, data.inspection.digest)
        assert len(loaded) == len(data.samples)

    @pytest.mark.parametrize("how", ["headers", "off"])
    def test_otherwise_when_a_cache_first_needs_their_hash(self, how: How, loaded: list[int]) -> None:
        data = ColouredSquares(per_class=4, inspect=how)
        assert loaded == [] and (data.inspection.depth == UNOPENED).all()
        digests = data.prepared.digests
        assert sorted(loaded) == list(range(len(data.samples)))
        assert data.prepared.digests is digests and len(loaded) == len(data.samples)
        order = {str(path): row for row, path in enumerate(data.samples["path"])}
        full = ColouredSquares(per_class=4)
        same_row = [order[str(path)] for path in full.samples["path"]]
        assert np.array_equal(full.inspection.digest, digests[same_row])

    def test_by_default_many_are_not_loaded_before_training(
        self, loaded: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(inspection, "MEASURED", 3)
        monkeypatch.setattr(inspection, "MOST_SECONDS", 0.0)
        data = ColouredSquares(per_class=4)
        assert len(loaded) <= 3 and data.inspection.undecoded == len(data.samples)


class TestCacheFolder:
    def test_beside_the_data(self, tmp_path: Path) -> None:
        (tmp_path / "photos").mkdir()
        assert cache_folder(tmp_path / "photos") == tmp_path / ".photos.lightning_vision"

    def test_where_it_is_asked_for_each_root_has_its_own(self, tmp_path: Path) -> None:
        one, two = (cache_folder(tmp_path / name, tmp_path / "caches") for name in ("one", "two"))
        assert one.parent == two.parent == tmp_path / "caches" and one != two

    def test_a_root_that_cannot_be_written_to(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As root one can write anywhere but into a file."""
        root = tmp_path / "data"
        root.mkdir()
        beside(root).write_text("in the way")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
        assert cache_folder(root).is_relative_to(tmp_path / "home" / "lightning_vision")
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        with pytest.raises(ConfigError, match=r"No writable folder for caches.*data\.cache_dir"):
            cache_folder(root)

    def test_nothing_is_written_into_the_data(self, tmp_path: Path) -> None:
        """torchvision's ImageFolder takes any folder for a class, and refuses one without images."""
        root = tmp_path / "photos"
        for name in ("a", "b"):
            (root / name).mkdir(parents=True)
            for number in range(6):
                Image.new("RGB", (20, 20), (40 * number, 9, 9)).save(root / name / f"{number}.png")
        before = sorted(root.rglob("*"))
        ImageFolder(root, image_size=16, stream=Joint(), cache="decoded")
        assert sorted(root.rglob("*")) == before
        assert beside(root).is_dir()
