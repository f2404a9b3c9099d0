"""Images that files label, in the layouts of the tools and datasets that write them."""

import json
from collections.abc import Callable
from pathlib import Path

import label_maker as maker
import pytest
from labelled_reading import LAYOUTS, counts, labels_by_number, read, read_boxes

from lightning_vision.errors import DataError


class TestLayouts:
    @pytest.mark.parametrize("name", LAYOUTS)
    def test_recognised_and_asked_for(self, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write, expected = LAYOUTS[name]
        write(tmp_path)
        data = read(tmp_path)
        assert data.class_names == ["cup", "plate"] and labels_by_number(data)
        assert counts(data) == expected
        assert "labels are read from" in capsys.readouterr().err
        asked = read(tmp_path, labels=tmp_path)
        assert asked.split_hash == data.split_hash

    def test_unlabelled_images_are_counted(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        read(maker.write_kaggle(tmp_path))
        said = capsys.readouterr().err
        assert "image from 'id_code', label from 'diagnosis'" in said
        assert "4 images not named in train.csv: unlabelled, not used (4 in test_images/)" in said

    @pytest.mark.parametrize(
        ("write", "classes", "expected"),
        [
            (maker.write_cub, ["001.Gull", "002.Wren"], {"train": 8, "test": 4}),
            (lambda root: maker.write_cub(root, whole=False), ["001.Gull", "002.Wren"], {"train": 8, "test": 4}),
            (maker.write_food, ["apple_pie", "waffles"], {"train": 8, "test": 4}),
            (maker.write_pets, ["Abyssinian", "american_bulldog"], {"train": 8, "test": 4}),
            (maker.write_flowers, ["1", "2"], {"train": 6, "val": 2, "test": 4}),
            (maker.write_tiny_imagenet, ["n01443537", "n01629819"], {"train": 8, "test": 4}),
            (maker.write_aircraft, ["707-320", "Gulfstream IV"], {"train": 4, "val": 4, "test": 4}),
        ],
    )
    def test_official_splits(
        self,
        write: Callable[[Path], Path],
        classes: list[str],
        expected: dict[str, int],
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        data = read(write(tmp_path))
        assert data.class_names == classes
        assert counts(data) == expected
        assert "its labels and official split are used" in capsys.readouterr().err

    def test_words_for_synsets(self, tmp_path: Path) -> None:
        data = read(maker.write_tiny_imagenet(tmp_path), label_names="words.txt")
        assert data.class_names == ["goldfish, Carassius auratus", "salamander"]

    def test_the_folder_of_images(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for name, write in (("cub", maker.write_cub), ("food", maker.write_food)):
            assert len(read(write(tmp_path / name) / "images").samples) == 12
            assert f"To use its official split, set data.root to {tmp_path / name}" in capsys.readouterr().err

    def test_the_folder_above_a_dataset(self, tmp_path: Path) -> None:
        maker.write_food(tmp_path / "food-101")
        with pytest.raises(DataError, match=r"one level too high for Food-101: use .*food-101"):
            read(tmp_path)

    def test_datasets_of_other_datamodules(self, tmp_path: Path) -> None:
        maker.draw_all(tmp_path / "car_ims")
        (tmp_path / "cars_annos.mat").touch()
        with pytest.raises(DataError, match=r"is Stanford Cars .*Read it with the datamodule StanfordCars"):
            read(tmp_path)

    def test_a_table_beside_the_folder_of_images(self, tmp_path: Path) -> None:
        root = maker.write_kaggle(tmp_path) / "train_images"
        with pytest.raises(
            DataError, match=r"in no class folders, and '.*train\.csv' beside it labels them. Set data\.labels"
        ):
            read(root)
        assert labels_by_number(read(root, labels="../train.csv"))

    def test_voc_beside_images_of_the_same_names(self, tmp_path: Path) -> None:
        for split in ("train", "test"):
            for name in maker.draw_all(tmp_path / split, 6):
                label = maker.CLASSES[(int(name) + (split == "test")) % 2]
                text = maker.voc_annotation(f"{name}.jpg", [(label, (5, 7, 24, 26))])
                (tmp_path / split / f"{name}.xml").write_text(text, encoding="utf-8")
        data = read_boxes(tmp_path, labels=tmp_path)
        for path, label, split in zip(data.samples["path"], data.samples["label"], data.samples["split"], strict=True):
            assert path.split("/")[0] == split and label == (int(path[-7:-4]) + (split == "test")) % 2

    def test_yolo_states_its_split(self, tmp_path: Path) -> None:
        for folder, count, first in (("images/a", 12, 0), ("images/b", 4, 50)):
            for name in maker.draw_all(tmp_path / folder, count, first=first):
                label = tmp_path / folder.replace("images", "labels") / f"{name}.txt"
                label.parent.mkdir(parents=True, exist_ok=True)
                label.write_text(f"{int(name) % 2} 0.5 0.5 0.4 0.4\n")
        text = "path: /data/x\ntrain: ../x/images/a\n{}names: [cup, plate]\n"
        (tmp_path / "data.yaml").write_text(text.format("test: images/b\n"))
        assert counts(read(tmp_path)) == {"train": 12, "test": 4}
        (tmp_path / "data.yaml").write_text(text.format("val: images/a\n"))
        assert len(read(tmp_path).samples) == 16

    def test_the_folder_of_yolos_text_files(self, tmp_path: Path) -> None:
        root = maker.write_yolo(tmp_path)
        assert labels_by_number(read(root, labels="labels"))
        (root / "data.yaml").unlink()
        with pytest.raises(DataError, match=r"the class names are missing: expected data\.yaml or classes\.txt in"):
            read(root, labels="labels")
        (root / "labels" / "classes.txt").write_text("cup\nplate\n")
        assert labels_by_number(read(root, labels="labels"))

    def test_the_folder_of_vocs_files(self, tmp_path: Path) -> None:
        data = read(maker.write_voc(tmp_path), labels="Annotations")
        assert counts(data) == {"train": 12, "test": 4}

    def test_no_known_dataset(self, tmp_path: Path) -> None:
        maker.draw_all(tmp_path)
        with pytest.raises(
            DataError, match=r"labels_format=dataset: .* has the files of none of 'CUB-200', 'Food-101'"
        ):
            read(tmp_path, labels_format="dataset")

    def test_coco_with_captions_beside_it(self, tmp_path: Path) -> None:
        for split, count, first in (("train", 12, 0), ("val", 4, 50)):
            names = maker.draw_all(tmp_path / f"{split}2017", count, first=first)
            document = maker.coco_document([f"{name}.jpg" for name in names])
            (tmp_path / "annotations").mkdir(exist_ok=True)
            (tmp_path / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(document))
            del document["categories"]
            (tmp_path / "annotations" / f"captions_{split}2017.json").write_text(json.dumps(document))
        data = read(tmp_path)
        assert labels_by_number(data) and (data.samples["split"] != "train").sum() >= 4
        old = tmp_path / "annotations" / "person_train2017.json"
        old.write_text((tmp_path / "annotations" / "instances_train2017.json").read_text())
        with pytest.raises(DataError, match=r"hold annotations of the same images\. Choose one with data\.labels"):
            read(tmp_path)

    def test_caltech(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        root = tmp_path / "101_ObjectCategories"
        for kind, name in enumerate(("BACKGROUND_Google", "accordion")):
            for item in range(4):
                maker.draw(root / name / f"image_{item:04d}.jpg", kind, item)
        assert len(read(root).class_names) == 2
        assert "'BACKGROUND_Google' is Caltech's folder of clutter" in capsys.readouterr().err
        with pytest.raises(DataError, match="101_ObjectCategories"):
            read(tmp_path)
