"""Folders that another datamodule reads, or that nothing labels: the message names the way out."""

from pathlib import Path

import label_maker as maker
import pytest
from label_maker import QUICK
from parquet_maker import write_hub_folder
from shard_maker import members_of, write_shards, write_tar

from datamodules import ImageFolder
from lightning_vision.errors import DataError


@pytest.mark.parametrize(
    ("name", "command"),
    [("train/data-00000-of-00001.arrow", "--data HuggingFaceDataset --data.dataset ")],
)
def test_images_inside_other_files(name: str, command: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"x" * 600)
    with pytest.raises(DataError, match=f"if the images are in them, read it with {command}"):
        ImageFolder(tmp_path, **QUICK)


@pytest.mark.parametrize("name", ["", "train-0000.tar"])
def test_shards_are_not_unpacked_as_archives_of_classes(name: str, tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", {"train": 2})
    with pytest.raises(DataError, match=r"read it with --data WebDataset --data\.root "):
        ImageFolder(tmp_path / "shards" / name, cache_dir=str(tmp_path / "cache"), **QUICK)


@pytest.mark.parametrize("name", ["", "00000.tar"])
def test_shards_with_labels_in_json(name: str, tmp_path: Path) -> None:
    """Their numbers would be two classes."""
    for number in range(2):
        members = [*members_of(6, 6 * number, form="json"), (f"{6 * number:06d}.txt", b"a caption")]
        write_tar(tmp_path / "shards" / f"{number:05d}.tar", members)
    with pytest.raises(
        DataError, match=r"fields are category, id, .*--data WebDataset --data\.root .*label_extension json"
    ):
        ImageFolder(tmp_path / "shards" / name, cache_dir=str(tmp_path / "cache"), **QUICK)


def test_archives_of_classes_with_facts_beside_the_images(tmp_path: Path) -> None:
    for number, name in enumerate(("cats", "dogs")):
        write_tar(tmp_path / "photos" / f"{name}.tar", members_of(6, 6 * number, form="json"))
    assert ImageFolder(tmp_path / "photos", cache_dir=str(tmp_path / "cache"), **QUICK).class_names == ["cats", "dogs"]


def test_images_inside_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match=r"read it with --data ParquetImages --data\.root "):
        ImageFolder(write_hub_folder(tmp_path), **QUICK)


@pytest.mark.parametrize("root", [".", "DCIM"])
def test_the_folders_of_a_camera(root: str, tmp_path: Path) -> None:
    for number, folder in enumerate(("100APPLE", "101APPLE")):
        maker.draw_all(tmp_path / "DCIM" / folder, 6, first=10 * number)
    with pytest.raises(
        DataError, match=r"in no class folders, give their labels in a table \(data\.labels\) or by a pattern"
    ):
        ImageFolder(tmp_path / root, **QUICK)


def test_the_same_remark_of_two_files_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ImageFolder(maker.write_coco(tmp_path), **QUICK)
    assert capsys.readouterr().err.count("no image has an annotation of 'things'") == 1
