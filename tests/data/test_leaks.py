"""Copies, near copies, groups and labels across the sides of a split."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageEnhance

from datamodules import ImageFolder
from lightning_vision.data.inspection import inspect_files
from lightning_vision.data.leaks import LeakPair, Leaks, find_leaks
from lightning_vision.data.scenarios import Joint
from lightning_vision.errors import DataError
from lightning_vision.images.image_sources import FileImages


def scene(seed: int) -> Image.Image:
    """An image that looks like no other: smooth random colours."""
    colours = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((96, 80), Image.Resampling.BICUBIC)


def leaks_of(files: list[Path], samples: pd.DataFrame) -> Leaks:
    return find_leaks(samples, inspect_files(FileImages(files), 1, None))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """0 to 5: scenes; 6: a copy of 0; 7: 1 saved anew, brighter and smaller; 8: a copy of 2."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(6):
        scene(number).save(folder / f"{number}.jpg", quality=92)
    (folder / "6.jpg").write_bytes((folder / "0.jpg").read_bytes())
    ImageEnhance.Brightness(scene(1)).enhance(1.03).resize((72, 60)).save(folder / "7.jpg", quality=70)
    (folder / "8.jpg").write_bytes((folder / "2.jpg").read_bytes())
    return [folder / f"{number}.jpg" for number in range(9)]


def table(split: list[str], label: list[int] | None = None, group: list[str] | None = None) -> pd.DataFrame:
    rows = pd.DataFrame({"path": [str(n) for n in range(9)], "label": label or [0] * 9, "split": split})
    return rows if group is None else rows.assign(group=group)


SIDES = ["train"] * 6 + ["test", "test", "val"]


def test_copies_and_near_copies(files: list[Path]) -> None:
    leaks = leaks_of(files, table(SIDES))
    assert {(p.kind, p.first, p.second) for p in leaks.pairs} == {("exact", 0, 6), ("near", 1, 7), ("exact", 2, 8)}
    assert leaks.drop.tolist() == [0, 1, 2], "training images go, the test set stays"
    assert leaks.sentence() == (
        "2 validation or test images with an exact copy on another side, "
        "1 validation or test image with a near copy on another side"
    )


def test_copies_on_one_side_are_no_leak(files: list[Path]) -> None:
    leaks = leaks_of(files, table(["train"] * 9))
    assert leaks.pairs == [] and leaks.sentence() == "" and len(leaks.drop) == 0


def test_labels_that_disagree(files: list[Path]) -> None:
    leaks = leaks_of(files, table(["train"] * 9, label=[0] * 6 + [1] * 3))
    assert leaks.pairs == [LeakPair("label", 0, 6), LeakPair("label", 2, 8)]
    assert leaks.drop.tolist() == [0, 2, 6, 8]
    assert leaks.sentence() == "2 copies of images with another label"


def test_groups_on_two_sides(files: list[Path]) -> None:
    groups = ["a", "a", "b", "b", "c", "c", "d", "c", "d"]
    leaks = leaks_of(files, table(["train"] * 6 + ["test"] * 3, group=groups))
    assert leaks.groups == ["c"]
    assert {4, 5} <= set(leaks.drop.tolist())


class TestOnLeak:
    @pytest.fixture
    def photos(self, files: list[Path], tmp_path: Path) -> Path:
        """The same, one class a split folder."""
        for number, side in enumerate(SIDES):
            for name, shift in (("a", 0), ("b", 1)):
                folder = tmp_path / "photos" / side / name
                folder.mkdir(parents=True, exist_ok=True)
                if shift:
                    scene(100 + number).save(folder / f"{number}.jpg")
                else:
                    (folder / f"{number}.jpg").write_bytes(files[number].read_bytes())
        return tmp_path / "photos"

    def read(self, photos: Path, **options: Any) -> ImageFolder:
        return ImageFolder(photos, image_size=16, num_workers=1, stream=Joint(), **options)

    def test_warn(self, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
        data = self.read(photos)
        assert data.leaks.counts() == {"exact": 2, "near": 1, "label": 0, "groups": 0}
        assert "Leaks: 2 validation or test images with an exact copy" in capsys.readouterr().err

    def test_drop(self, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
        data = self.read(photos, on_leak="drop")
        assert "3 training or validation images left out" in capsys.readouterr().err
        gone = {"train/a/0.jpg", "train/a/1.jpg", "train/a/2.jpg"}
        assert not gone & set(data.samples["path"]) and len(data.samples) == 15
        assert data.leaks.pairs == []
        for row, path in enumerate(data.samples["path"]):
            size = Image.open(photos / path).size
            assert data.image(row).shape[1:] == size[::-1], "rows and images stay together"
            assert data.facts()["width"][row] == size[0]

    def test_error(self, photos: Path) -> None:
        with pytest.raises(DataError, match=r"test/a/6\.jpg is a copy of train/a/0\.jpg(.|\n)*data\.on_leak=drop"):
            self.read(photos, on_leak="error")
