"""Images inside Parquet files: copied once, read from their places, and what cannot be read is named."""

import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dataset_saver import stored
from label_maker import QUICK, hugging_face_objects
from parquet_maker import CLASSES, columns_of, write_hub_folder, write_parquet
from torchvision_maker import drawn

from datamodules import ImageFolder, ParquetImages
from datamodules.parquet_file import copy_images
from lightning_vision.data.scenarios import FromColumn
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.storage.cache_folder import beside

pytest.importorskip("pyarrow")


def read(root: Path, **options: Any) -> ParquetImages:
    return ParquetImages(root, **{**QUICK, **options})


def counts(data: ParquetImages) -> dict[str, int]:
    return {str(split): int(count) for split, count in data.samples["split"].value_counts().items()}


def pixels(number: int) -> torch.Tensor:
    return torch.from_numpy(drawn(number % 2, number, 24)).permute(2, 0, 1)


class TestFiles:
    def test_parts_labels_and_images(self, tmp_path: Path) -> None:
        data = read(write_hub_folder(tmp_path / "hub"))
        assert counts(data) == {"train": 12, "test": 4} and set(data.class_names) == set(CLASSES)
        for row, path in enumerate(data.samples["path"]):
            number = int(path.rpartition("/")[2]) + (12 if "train" not in path else 0)
            assert torch.equal(data.image(row), pixels(number))
            assert data.class_names[data.samples["label"][row]] == CLASSES[number % 2]
        row = data.samples["path"].tolist().index("data/train-00000-of-00001.parquet/0000007")
        assert data.prepared.digests[row].tobytes() == hashlib.blake2b(stored(1, 7), digest_size=16).digest()

    def test_a_binary_column(self, tmp_path: Path) -> None:
        write_parquet(tmp_path / "a" / "t.parquet", columns_of(10, binary=True), names=False)
        data = read(tmp_path / "a", labels="t.parquet")
        assert data.class_names == ["0", "1"] and torch.equal(data.image(9), pixels(9))

    def test_columns_join_the_table(self, tmp_path: Path) -> None:
        columns = {
            **columns_of(16),
            "split": ["train"] * 12 + ["test"] * 4,
            "patient_id": [f"p{n // 4}" for n in range(16)],
        }
        write_parquet(tmp_path / "a" / "t.parquet", columns)
        data = read(tmp_path / "a", stream=FromColumn("camera"))
        assert counts(data) == {"train": 12, "test": 4} and data.samples["group"].nunique() == 4
        assert [item.name for item in data.stream] == ["c0", "c1"]
        assert read(tmp_path / "a", label_columns={"label": "camera"}).class_names == ["c0", "c1"]

    def test_objects_of_one_category(self, tmp_path: Path) -> None:
        columns = {**columns_of(12), "objects": [hugging_face_objects(f"{row:03d}") for row in range(12)]}
        del columns["label"]
        features = {
            "objects": {"feature": {"category": {"names": list(CLASSES), "_type": "ClassLabel"}}, "_type": "Sequence"}
        }
        write_parquet(tmp_path / "a" / "t.parquet", columns, names=False, features=features)
        data = read(tmp_path / "a")
        assert len(data.samples) == 12 and set(data.class_names) == set(CLASSES)
        assert data.class_names[data.samples["label"][1]] == CLASSES[1]

    def test_only_a_few_images_are_in_memory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The size of the batches that are asked for, and that a worker process is given no images."""
        monkeypatch.setattr("datamodules.parquet_file.ROWS_AT_ONCE", 4)
        file = write_parquet(tmp_path / "a" / "t.parquet", columns_of(200), row_group_size=50)
        written: list[int] = []
        places = copy_images(file, "image", tmp_path / "copy", lambda: written.append(1))
        assert len(written) == len(places) == 200
        content = (tmp_path / "copy").read_bytes()
        assert [content[start : start + size] for start, size in places] == [stored(n % 2, n) for n in range(200)]
        data = read(tmp_path / "a", inspect="off")
        assert len(pickle.dumps(data._places)) < len(content) / 10

    def test_the_copy_is_made_once_for_each_version(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = write_parquet(tmp_path / "a" / "t.parquet", columns_of(10))
        first = read(tmp_path / "a")
        with monkeypatch.context() as patch:
            patch.setattr("datamodules.parquet_images.copy_images", lambda *given: pytest.fail("copied again"))
            assert np.array_equal(read(tmp_path / "a").prepared.digests, first.prepared.digests)
        write_parquet(file, columns_of(10, start=50))
        assert torch.equal(read(tmp_path / "a").image(0), pixels(50))
        for copy in beside(tmp_path / "a").glob("*.images"):  # one that was cut off is made again
            os.truncate(copy, 100)
        assert torch.equal(read(tmp_path / "a").image(9), pixels(59))


class TestRefused:
    def test_columns(self, tmp_path: Path) -> None:
        root = tmp_path / "a"
        columns = columns_of(8)
        write_parquet(root / "two.parquet", {**columns, "mask": columns["image"]})
        with pytest.raises(
            DataError, match=r"has the image columns 'image', 'mask'; choose one with data\.image_column"
        ):
            read(root, labels="two.parquet")
        assert len(read(root, labels="two.parquet", image_column="mask").samples) == 8
        with pytest.raises(ConfigError, match=r"'photo' is no column of images of .* It has 'image', 'mask'"):
            read(root, labels="two.parquet", image_column="photo")
        write_parquet(root / "none.parquet", {"file_name": ["a.jpg"], "label": [0]})
        with pytest.raises(
            DataError, match=r"no column of images; its columns are 'file_name', 'label'.*--data ImageFolder"
        ):
            read(root, labels="none.parquet")
        write_parquet(root / "bare.parquet", {"image": columns["image"], "one": [*"abcdefgh"], "two": [*"abcdefgh"]})
        with pytest.raises(DataError, match=r"no column is recognised as the label.*'one', 'two'.*label_columns"):
            read(root, labels="bare.parquet")
        with pytest.raises(ConfigError, match=r"has no column 'kind' \(for label\)"):
            read(root, labels="two.parquet", image_column="mask", label_columns={"label": "kind"})

    def test_rows(self, tmp_path: Path) -> None:
        columns = columns_of(10)
        columns["image"][2] = {"bytes": None, "path": "elsewhere.png"}
        columns["image"][4] = {"bytes": stored(0, 4)[:60], "path": None}
        write_parquet(tmp_path / "a" / "t.parquet", columns)
        with pytest.raises(DataError, match=r"t\.parquet row 3: it has no image"):
            read(tmp_path / "a")
        data = read(tmp_path / "a", on_bad_image="skip")
        assert len(data.samples) == 8 and torch.equal(data.image(7), pixels(9))
        columns["image"][2] = {"bytes": stored(0, 2), "path": None}
        write_parquet(tmp_path / "a" / "t.parquet", columns)
        with pytest.raises(DataError, match=r"t\.parquet/0000004"):
            read(tmp_path / "a")

    def test_files(self, tmp_path: Path) -> None:
        root = tmp_path / "a"
        root.mkdir()
        with pytest.raises(DataError, match=r"no \*\.parquet was found in .*, which is empty"):
            read(root)
        (root / "t.parquet").write_bytes(b"PAR1 no table")
        with pytest.raises(DataError, match=r"t\.parquet cannot be read as Parquet"):
            read(root)
        file = write_parquet(root / "t.parquet", columns_of(60))
        content = bytearray(file.read_bytes())
        content[2000:30000] = b"\0" * 28000
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"t\.parquet cannot be read as Parquet"):
            read(root)
        with pytest.raises(
            DataError, match=r"data\.labels: there is no file u\.parquet in .*contains the file 't\.parquet'"
        ):
            read(root, labels="u.parquet")

    def test_a_disk_that_is_full(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The message is about the copy, not about the Parquet file."""
        write_parquet(tmp_path / "a" / "t.parquet", columns_of(10))

        def full(*given: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("datamodules.parquet_images.copy_images", full)
        with pytest.raises(Exception, match=r"Cannot write .*\.images: No space left on device"):
            read(tmp_path / "a")

    def test_as_an_image_folder(self, tmp_path: Path) -> None:
        root = write_hub_folder(tmp_path / "hub")
        with pytest.raises(
            DataError, match=r"holds the images themselves .*--data ParquetImages --data\.root .*--data\.labels"
        ):
            ImageFolder(root, labels="data/train-00000-of-00001.parquet", **QUICK)
        with pytest.raises(DataError, match=r"--data ParquetImages --data\.root"):
            ImageFolder(root, **QUICK)
