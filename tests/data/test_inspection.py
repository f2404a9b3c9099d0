"""Every image is looked at once."""

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules import ImageFolder
from lightning_vision.data import inspection
from lightning_vision.data.inspection import inspect_files
from lightning_vision.data.scenarios import Joint
from lightning_vision.errors import ConfigError
from lightning_vision.images.image_sources import FileImages
from lightning_vision.storage.cache_folder import beside, cache_folder


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    rows: list[int] = []
    look = inspection._look_at_file

    def counted(files: FileImages, row: int) -> inspection._Found:
        rows.append(row)
        return look(files, row)

    monkeypatch.setattr(inspection, "_look_at_file", counted)
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
