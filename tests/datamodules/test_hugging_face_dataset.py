"""Datasets of the library ``datasets``: saved folders, folders as on the Hub, and names without a network."""

import hashlib
import pickle
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dataset_saver import CLASSES, made, rows_of, save_dataset, stored
from PIL import Image
from test_configs import SMALL, SMALL_PHOTOS, fit
from torchvision_maker import drawn

from datamodules import HuggingFaceDataset
from lightning_vision.data.scenarios import FromColumn, Joint
from lightning_vision.errors import ConfigError, DataError

datasets = pytest.importorskip("datasets")


def read(dataset: Path | str, **options: Any) -> HuggingFaceDataset:
    quick: dict[str, Any] = {"image_size": 16, "num_workers": 0, "val_fraction": 0.0, "stream": Joint()}
    return HuggingFaceDataset(str(dataset), **{**quick, **options})


def counts(data: HuggingFaceDataset) -> dict[str, int]:
    return {str(split): int(count) for split, count in data.samples["split"].value_counts().items()}


def pixels(label: int, number: int) -> torch.Tensor:
    return torch.from_numpy(drawn(label, number, 24)).permute(2, 0, 1)


class TestSaved:
    def test_parts_classes_and_images(self, tmp_path: Path) -> None:
        data = read(save_dataset(tmp_path / "saved", {"train": 10, "validation": 4, "test": 6}))
        assert counts(data) == {"train": 10, "val": 4, "test": 6}
        assert data.class_names == list(CLASSES) and data.samples["label"].tolist()[:4] == [0, 1, 0, 1]
        assert data.samples["path"].iloc[[0, 10, 19]].tolist() == [
            "train/0000000",
            "validation/0000000",
            "test/0000005",
        ]
        assert torch.equal(data.image(3), pixels(1, 3)) and torch.equal(data.image(19), pixels(1, 2005))

    def test_one_part_without_a_name_is_split(self, tmp_path: Path) -> None:
        made(rows_of(20)).save_to_disk(str(tmp_path / "one"))
        assert counts(read(tmp_path / "one", test_fraction=0.3)) == {"train": 14, "test": 6}

    def test_parts_may_be_named(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        folder = save_dataset(tmp_path / "saved", {"train": 10, "validation": 4, "extra": 6})
        assert counts(read(folder, test_fraction=0.2)) == {"train": 8, "val": 4, "test": 2}
        assert "the parts 'extra' are not used" in capsys.readouterr().err
        assert counts(read(folder, splits={"train": "train", "test": "validation"})) == {"train": 10, "test": 4}

    def test_a_selection_keeps_its_order(self, tmp_path: Path) -> None:
        made(rows_of(20)).select([7, 2, 5, 4, 9, 0]).save_to_disk(str(tmp_path / "one"))
        data = read(tmp_path / "one", test_fraction=0.0)
        assert data.samples["label"].tolist() == [1, 0, 1, 0, 1, 0]
        assert torch.equal(data.image(0), pixels(1, 7)) and torch.equal(data.image(5), pixels(0, 0))

    def test_text_and_numbers_become_classes(self, tmp_path: Path) -> None:
        for kind, values, names in (
            ("string", ["b10", "b9"] * 5, ["b9", "b10"]),
            ("int64", [10, 9] * 5, ["9", "10"]),
        ):
            rows = {**rows_of(10), "label": values}
            made(rows, label=datasets.Value(kind)).save_to_disk(str(tmp_path / kind))
            data = read(tmp_path / kind, test_fraction=0.0)
            assert data.class_names == names and data.samples["label"].tolist()[:2] == [1, 0]

    def test_rows_without_a_label_are_counted(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        rows = {**rows_of(10), "label": [-1, None, *([1, 0] * 4)]}
        made(rows).save_to_disk(str(tmp_path / "one"))
        data = read(tmp_path / "one", test_fraction=0.0)
        assert len(data.samples) == 8 and data.samples["path"].iloc[0] == "all/0000002"
        assert torch.equal(data.image(0), pixels(0, 2)), "the image of its own row"
        assert "2 rows of 10 without a label not used" in capsys.readouterr().err

    def test_a_column_divides_the_stream(self, tmp_path: Path) -> None:
        folder = save_dataset(tmp_path / "saved", {"train": 16, "test": 8})
        data = read(folder, columns=["camera"], stream=FromColumn("camera"))
        assert [item.name for item in data.stream] == ["camera 0", "camera 1"]

    def test_images_as_paths(self, tmp_path: Path) -> None:
        Image.fromarray(drawn(0, 1, 24)).save(tmp_path / "a.png")
        rows = {**rows_of(4), "image": [{"bytes": None, "path": str(tmp_path / "a.png")}, *rows_of(4)["image"][1:]]}
        made(rows).save_to_disk(str(tmp_path / "one"))
        assert torch.equal(read(tmp_path / "one", test_fraction=0.0).image(0), pixels(0, 1))

    def test_the_orientation_is_applied(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[274] = 6
        file = tmp_path / "a.png"
        Image.fromarray(drawn(0, 1, 24)[:12]).save(file, exif=exif)
        rows = {**rows_of(4), "image": [{"bytes": file.read_bytes(), "path": None}, *rows_of(4)["image"][1:]]}
        made(rows).save_to_disk(str(tmp_path / "one"))
        assert read(tmp_path / "one", test_fraction=0.0).image(0).shape == (3, 24, 12)

    def test_content_identifies_an_image(self, tmp_path: Path) -> None:
        first = read(save_dataset(tmp_path / "a", {"train": 10, "test": 6}))
        second = read(save_dataset(tmp_path / "b", {"train": 10, "test": 6}))
        other = read(save_dataset(tmp_path / "c", {"train": 10, "test": 6}, start=5))
        assert np.array_equal(first.prepared.digests, second.prepared.digests)
        assert not np.array_equal(first.prepared.digests, other.prepared.digests)

    def test_digests_are_of_the_stored_bytes_and_decode_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = save_dataset(tmp_path / "saved", {"train": 10, "test": 6})
        inspected = read(folder).prepared.digests
        monkeypatch.setattr(HuggingFaceDataset, "load_image", lambda self, index: pytest.fail("decoded"))
        quick = read(folder, inspect="headers").prepared.digests
        assert np.array_equal(quick, inspected)
        assert quick[3].tobytes() == hashlib.blake2b(stored(1, 3), digest_size=16).digest()

    def test_images_stay_on_the_disk(self, tmp_path: Path) -> None:
        """What a worker process is given does not grow with the images."""
        data = read(save_dataset(tmp_path / "saved", {"train": 200, "test": 6}), inspect="off")
        assert len(pickle.dumps(data._parts)) < 206 * len(stored(0, 0)) / 5
        again = pickle.loads(pickle.dumps(data))
        assert torch.equal(again.load_image(17), pixels(1, 17))


class TestRefused:
    def test_columns(self, tmp_path: Path) -> None:
        label, image = datasets.ClassLabel(names=list(CLASSES)), datasets.Image()
        rows = rows_of(6)
        rows |= {"coarse": rows["label"], "other": rows["image"], "tags": [[0, 1]] * 6}
        cases: list[tuple[dict[str, Any], str]] = [
            (
                {"image": None},
                "no column of the type Image; expected one .*'label \\(ClassLabel\\)', 'camera \\(string\\)'",
            ),
            ({"other": image}, "the image columns 'image', 'other'; expected one \\(data.image_column chooses\\)"),
            ({"coarse": label}, "the label columns 'label', 'coarse'; expected one \\(data.label_column chooses\\)"),
            ({"label": None}, "has no label column; expected one"),
        ]
        for number, (changed, match) in enumerate(cases):
            made(rows, **changed).save_to_disk(str(tmp_path / str(number)))
            with pytest.raises(DataError, match=match):
                read(tmp_path / str(number))
        assert read(tmp_path / "1", image_column="other", test_fraction=0.5).num_classes == 2
        assert read(tmp_path / "2", label_column="coarse", test_fraction=0.5).num_classes == 2
        made(rows, tags=datasets.List(label)).save_to_disk(str(tmp_path / "tags"))
        with pytest.raises(DataError, match=r"'tags' is List; expected one class .* Several labels an image are not"):
            read(tmp_path / "tags", label_column="tags")
        for options, match in (
            ({"image_column": "camera"}, "'camera' is no column of images"),
            ({"label_column": "kind"}, "has no 'kind'. Its columns: 'image \\(Image\\)'"),
            ({"columns": ["tags"]}, "'tags' of .* cannot join the sample table"),
        ):
            with pytest.raises(ConfigError, match=match):
                read(tmp_path / "tags", **options)

    def test_parts(self, tmp_path: Path) -> None:
        folder = save_dataset(tmp_path / "saved", {"first": 4, "test": 4})
        with pytest.raises(DataError, match=r"the parts 'first', 'test', and so no part for training. Name them"):
            read(folder)
        with pytest.raises(ConfigError, match=r"found \{'train': 'second'\}\. .* has the parts 'first', 'test'"):
            read(folder, splits={"train": "second"})
        assert counts(read(folder, splits={"train": "first", "test": "test"})) == {"train": 4, "test": 4}
        folder = save_dataset(tmp_path / "doubled", {"train": 4, "training": 4})
        with pytest.raises(DataError, match="several parts for 'train'"):
            read(folder)

    def test_a_damaged_image_is_named(self, tmp_path: Path) -> None:
        rows = rows_of(8)
        rows["image"][2] = {"bytes": rows["image"][2]["bytes"][:60], "path": None}
        made(rows).save_to_disk(str(tmp_path / "one"))
        with pytest.raises(DataError, match=r"all/0000002"):
            read(tmp_path / "one")
        assert len(read(tmp_path / "one", on_bad_image="skip", test_fraction=0.0).samples) == 7

    def test_a_folder_that_was_not_saved(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(DataError, match=r"could not be read .*Expected a folder that save_to_disk wrote"):
            read(tmp_path / "empty", root=tmp_path / "cache")
        with pytest.raises(DataError, match=r"is no folder, and no name on the Hub, such as"):
            read(tmp_path / "absent")

    def test_without_the_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "datasets", None)
        with pytest.raises(ConfigError, match=r"pip install 'lightning_vision\[hub\]'"):
            read("beans")


class TestHub:
    def test_parquet_files_as_on_the_hub(self, tmp_path: Path) -> None:
        (tmp_path / "clone" / "data").mkdir(parents=True)
        for name, count in (("train", 8), ("test", 4)):
            made(rows_of(count)).to_parquet(str(tmp_path / "clone" / "data" / f"{name}-00000-of-00001.parquet"))
        data = read(tmp_path / "clone")
        assert counts(data) == {"train": 8, "test": 4} and data.class_names == list(CLASSES)

    def test_a_name_without_network(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*given: object, **options: object) -> None:
            raise OSError("no network")

        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HF_ENDPOINT"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(socket, "create_connection", refuse)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        slept: list[float] = []
        monkeypatch.setattr("time.sleep", slept.append)
        with pytest.raises(DataError, match=r"someone/beans is no folder here, and could not be loaded .*save_to_disk"):
            read("someone/beans", root=tmp_path)
        assert sum(slept) < 1, "it gives up at once"
        import huggingface_hub.constants

        assert not huggingface_hub.constants.HF_HUB_OFFLINE, "the library is left as it was"

    def test_offline_by_the_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
        monkeypatch.setattr(socket, "create_connection", lambda *given, **options: pytest.fail("asked the network"))
        with pytest.raises(DataError, match="HF_HUB_OFFLINE must not be 1 for a first download"):
            read("someone/beans", root=tmp_path)


def test_the_config(tmp_path: Path) -> None:
    few = {
        "data.init_args.dataset": save_dataset(tmp_path / "saved", {"train": 12, "test": 4}),
        "data.init_args.batch_size": 4,
    }
    results = fit(tmp_path / "runs", "run", ["configs/published/hugging_face.yaml"], {**SMALL, **SMALL_PHOTOS, **few})
    assert results.run.complete and results.class_names == list(CLASSES)
