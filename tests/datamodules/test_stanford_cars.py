"""Stanford Cars in its three layouts: one table, whichever of them lies on disk."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dataset_maker import (
    CARS,
    cars,
    write_car_annotations,
    write_cars_devkit,
    write_cars_folders,
    write_cars_one_folder,
    write_rows,
)
from scipy.io import savemat

from datamodules.stanford_cars import StanfordCars
from lightning_vision.errors import ConfigError, DataError

ANNOTATIONS = "cars_test_annos_withlabels.mat"
# Header lines of copies: one that is about, and one with the devkit's names in another order.
HEADERS = (
    ["image_name", "x_min", "y_min", "x_max", "y_max", "label"],
    ["class", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "fname"],
)


def read(root: Path, **options: object) -> StanfordCars:
    return StanfordCars(root, **{"num_workers": 0, "image_size": 16, "val_fraction": 0.25, **options})  # type: ignore[arg-type]


def file_names(data: StanfordCars) -> list[str]:
    return [path.rpartition("/")[2] for path in data.samples["path"]]


@pytest.fixture(scope="module")
def devkit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cars_devkit(tmp_path_factory.mktemp("devkit"), labels_in_devkit=False)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cars_folders(tmp_path_factory.mktemp("folders"))


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[Path], Path]:
    return lambda root: Path(shutil.copytree(root, tmp_path / "copy"))


class TestLayouts:
    def test_devkit(self, devkit: Path, capsys: pytest.CaptureFixture[str]) -> None:
        data = read(devkit)
        assert data.class_names == list(CARS)
        assert data.samples["split"].value_counts().to_dict() == {"train": 18, "val": 6, "test": 9}
        train = data.samples[data.samples["split"] != "test"]
        assert train["path"].tolist()[:2] == ["cars_train/00001.jpg", "cars_train/00002.jpg"]
        assert train["label"].tolist() == [0, 1, 2] * 8
        assert data.prepared.official_test
        said = capsys.readouterr().err
        assert "8,144 training and 8,041 test images of 196 classes; found 24 and 9 of 3" in said

    def test_boxes_count_from_0_and_exclude_the_far_edge(self, devkit: Path) -> None:
        first = cars()[0]
        assert first.box == (5, 4, 40, 36)
        assert read(devkit).samples["box_xyxy"].iloc[0] == (4.0, 3.0, 40.0, 36.0)

    def test_the_layouts_agree(self, devkit: Path, folders: Path) -> None:
        """Image by image: label, box, and the side of the cut."""
        one, two = read(devkit), read(folders)
        assert one.class_names == two.class_names == list(CARS)
        assert file_names(one) == file_names(two)
        for column in ("label", "split", "box_xyxy"):
            assert one.samples[column].tolist() == two.samples[column].tolist()
        assert two.samples["path"].iloc[2] == "car_data/car_data/train/Ram C-V Cargo Van Minivan 2012/00003.jpg"
        assert [row.tolist() for row in one.stream[0].indices[:1]] == [
            row.tolist() for row in two.stream[0].indices[:1]
        ]

    @pytest.mark.parametrize("level", ["car_data", "car_data/car_data"])
    def test_class_folders_from_any_level(self, folders: Path, level: str) -> None:
        """The tables lie above."""
        data = read(folders / level)
        assert data.class_names == list(CARS)
        assert data.samples["box_xyxy"].notna().all()
        assert (
            data.samples["path"].iloc[0]
            == f"{'car_data/train' if level == 'car_data' else 'train'}/{CARS[0]}/00001.jpg"
        )

    def test_below_stanford_cars_as_torchvision_has_it(self, devkit: Path, tmp_path: Path) -> None:
        (tmp_path / "stanford_cars").symlink_to(devkit)
        assert read(tmp_path).samples["path"].iloc[0] == "stanford_cars/cars_train/00001.jpg"

    def test_folders_inside_folders_of_their_name(self, devkit: Path, copy: Callable[[Path], Path]) -> None:
        """And the name that a browser gives a second download."""
        root = copy(devkit)
        (root / "cars_test").rename(root / "inner")
        (root / "cars_test").mkdir()
        (root / "inner").rename(root / "cars_test" / "cars_test")
        (root / ANNOTATIONS).rename(root / "devkit" / "cars_test_annos_withlabels (1).mat")
        assert read(root).samples["path"].iloc[-1] == "cars_test/cars_test/00009.jpg"

    def test_one_folder(self, devkit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """The same classes, split and boxes as the devkit; file names count on from training to test images."""
        for root in (tmp_path, tmp_path / "stanford_cars"):
            write_cars_one_folder(root)
            data, other = read(root.parent if root.name == "stanford_cars" else root), read(devkit)
            assert data.class_names == other.class_names
            assert data.samples["label"].tolist() == other.samples["label"].tolist()
            assert data.samples["box_xyxy"].tolist() == other.samples["box_xyxy"].tolist()
            assert (data.samples["split"] == other.samples["split"]).all()
            shutil.rmtree(root / "car_ims")
            (root / "cars_annos.mat").unlink()
        assert "Stanford Cars has 8,144 training" in capsys.readouterr().err

    def test_one_folder_with_errors(self, tmp_path: Path) -> None:
        root = write_cars_one_folder(tmp_path, flag=2)
        (root / "car_ims" / "000002.jpg").unlink()
        (root / "car_ims" / "999999.jpg").touch()
        with pytest.raises(
            DataError, match=r"cars_annos\.mat row 1: test is 2, expected 0 or 1\n.*car_ims/000002\.jpg: file not"
        ):
            read(root)

    @pytest.mark.parametrize("header", HEADERS, ids=lambda header: header[0])
    def test_tables_with_a_header_line(self, folders: Path, header: list[str], copy: Callable[[Path], Path]) -> None:
        root = copy(folders)
        for split in ("train", "test"):
            rows = [car.row() for car in cars() if car.split == split]
            ordered = rows if header[0] == "image_name" else [[row[5], *row[1:5], row[0]] for row in rows]
            write_rows(root / f"anno_{split}.csv", [header, *ordered], "utf-8-sig")
        write_rows(root / "names.csv", [["class_names"], *([name] for name in CARS)])
        one, two = read(folders), read(root)
        assert one.split_hash == two.split_hash
        assert one.samples["box_xyxy"].tolist() == two.samples["box_xyxy"].tolist()

    def test_class_folders_alone(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        root = write_cars_folders(tmp_path, tables=False)
        data = read(root)
        assert data.class_names == [CARS[1], CARS[0], "Ram C-V Cargo Van Minivan 2012"]
        assert "box_xyxy" not in data.samples
        assert "labels differ from those of the devkit" in capsys.readouterr().err
        with pytest.raises(
            DataError, match=r"crop_to_box needs boxes, and 'anno_train.csv', 'anno_test.csv' are neither"
        ):
            read(root, crop_to_box=True)

    def test_options_are_recorded(self, devkit: Path) -> None:
        asked = read(devkit, crop_to_box=True, context=0.2).describe()["init_args"]
        assert asked["crop_to_box"] is True and asked["context"] == 0.2
        with pytest.raises(ConfigError, match=r"data\.context must be 0 or more, not -1"):
            read(devkit, context=-1)


class TestImages:
    def test_cropped_to_the_box(self, devkit: Path) -> None:
        """All around the box is black."""
        whole, cropped = read(devkit), read(devkit, crop_to_box=True)
        for row in (1, 2, 30):
            x1, y1, x2, y2 = (int(side) for side in cropped.samples["box_xyxy"].iloc[row])
            assert cropped.image(row).shape == (3, y2 - y1, x2 - x1)
            assert np.array_equal(cropped.image(row).numpy(), whole.image(row).numpy()[:, y1:y2, x1:x2])
            assert cropped.image(row).float().mean() > 1.2 * whole.image(row).float().mean()
        assert read(devkit, crop_to_box=True, context=0.2).image(1).shape[2] > cropped.image(1).shape[2]

    def test_grey_images_are_made_colour(self, devkit: Path) -> None:
        assert read(devkit).image(0).shape[0] == 3


class TestOdd:
    """What the tables say that cannot be."""

    def annotate(self, root: Path, **changes: object) -> None:
        """Change the first training row."""
        rows = [car for car in cars() if car.split == "train"]
        rows[0] = type(rows[0])(**{**vars(rows[0]), **changes})
        write_car_annotations(root / "devkit" / "cars_train_annos.mat", rows)

    @pytest.mark.parametrize("number", [0, 4])
    def test_classes_count_from_1(self, devkit: Path, number: int, copy: Callable[[Path], Path]) -> None:
        root = copy(devkit)
        self.annotate(root, number=number)
        with pytest.raises(DataError, match=rf"cars_train_annos\.mat row 1: class {number}; classes count from 1 to 3"):
            read(root)

    def test_a_box_without_an_area(self, devkit: Path, copy: Callable[[Path], Path]) -> None:
        """It is in the way only if images are cut to it."""
        root = copy(devkit)
        self.annotate(root, box=(20, 10, 10, 30))
        assert read(root).samples["box_xyxy"].isna().sum() == 1
        with pytest.raises(DataError, match=r"cars_train/00001\.jpg: its box has no area"):
            read(root, crop_to_box=True)
        assert len(read(root, crop_to_box=True, on_bad_image="skip").samples) == 32

    def test_missing_and_unnamed_files(
        self, devkit: Path, copy: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        root = copy(devkit)
        (root / "cars_test" / "00002.jpg").rename(root / "cars_test" / "99999.jpg")
        (root / "cars_train" / ".DS_Store").touch()
        (root / "cars_train" / "notes.txt").touch()
        with pytest.raises(DataError, match=r"1 problem:\n  cars_test/00002\.jpg: file not found"):
            read(root)
        assert len(read(root, on_bad_image="skip").samples) == 32
        said = capsys.readouterr().err
        assert (
            "1 image of cars_test/ not used, because cars_test_annos_withlabels.mat has no line for '99999.jpg'" in said
        )
        assert "skipped 3 files" in said and "1 hidden" in said and "1 of another kind" in said

    def test_tables_that_contradict_the_folders(self, folders: Path, copy: Callable[[Path], Path]) -> None:
        """All at once: a class counted from 0, another folder, a file named twice, a line too short, no number."""
        root = copy(folders)
        rows = [car.row() for car in cars() if car.split == "train"]
        rows[0][5], rows[1][5], rows[2][0], rows[3], rows[4][1] = 0, 1, "00002.jpg", ["00004.jpg", 1], "left"
        write_rows(root / "anno_train.csv", rows)
        (root / "car_data/car_data/test" / CARS[0]).rename(root / "car_data/car_data/test/AM General Hummer SUV 2001")
        with pytest.raises(DataError) as caught:
            read(root)
        for words in (
            "the folder 'AM General Hummer SUV 2001' is not a class of names.csv (where '/' becomes '-'); similar classes: 'AM General",
            "anno_train.csv line 4: 2 fields, expected 6",
            "anno_train.csv line 5: x1 is 'left', expected a whole number",
            "anno_train.csv line 3: fname '00002.jpg' is already in line 2",
            "anno_train.csv line 1: class 0; classes count from 1 to 3",
            f"anno_train.csv line 2: 00002.jpg has class 1 ('{CARS[0]}') but is in the folder '{CARS[1]}'",
        ):
            assert words in str(caught.value)

    def test_images_without_a_line(
        self, folders: Path, copy: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        root = copy(folders)
        write_rows(root / "anno_train.csv", [car.row() for car in cars() if car.split == "train"][1:])
        assert read(root).samples["box_xyxy"].isna().sum() == 1
        assert (
            "anno_train.csv has no line for 1 image, such as 'car_data/car_data/train/AM Gen" in capsys.readouterr().err
        )
        with pytest.raises(DataError, match=r"00001\.jpg: no box in anno_train\.csv"):
            read(root, crop_to_box=True)

    def test_a_missing_image_of_the_class_folders(self, folders: Path, copy: Callable[[Path], Path]) -> None:
        root = copy(folders)
        (root / "car_data/car_data/test" / CARS[1] / "00002.jpg").unlink()
        with pytest.raises(DataError, match=r"car_data/car_data/test/Acura RL Sedan 2012/00002\.jpg: file not found"):
            read(root)

    def test_a_class_name_that_stands_twice(self, devkit: Path, copy: Callable[[Path], Path]) -> None:
        root = copy(devkit)
        savemat(root / "devkit" / "cars_meta.mat", {"class_names": np.array([CARS[0], CARS[1], CARS[0]], dtype=object)})
        with pytest.raises(DataError, match="class name 'AM General Hummer SUV 2000' occurs twice"):
            read(root)


class TestMissing:
    def test_test_labels(self, devkit: Path, copy: Callable[[Path], Path]) -> None:
        root = copy(devkit)
        (root / ANNOTATIONS).unlink()
        with pytest.raises(
            DataError,
            match=r"Missing: 'devkit/cars_test_annos_withlabels\.mat'\. cars_test_annos\.mat cannot be used instead, because it has no "
            r"classes\.(.|\n)*Download the missing files from https://",
        ):
            read(root)

    def test_several_parts(self, devkit: Path, copy: Callable[[Path], Path]) -> None:
        root = copy(devkit)
        shutil.rmtree(root / "cars_train")
        (root / "devkit" / "cars_meta.mat").unlink()
        with pytest.raises(DataError, match=r"Missing: 'devkit/cars_meta\.mat', 'cars_train/'\."):
            read(root)

    def test_another_folder(self, devkit: Path, folders: Path, tmp_path: Path) -> None:
        (tmp_path / "data" / "cars").mkdir(parents=True)
        (tmp_path / "data" / "cars" / "devkit").symlink_to(devkit / "devkit")
        with pytest.raises(
            DataError, match=r"which contains the folder 'cars'\. This is one level too high; use .*data/cars\."
        ):
            read(tmp_path / "data")
        with pytest.raises(DataError, match=rf"This is too deep; use {folders}/car_data/car_data\."):
            read(folders / "car_data" / "car_data" / "train")
        with pytest.raises(
            DataError, match=r"nowhere, which does not exist\.\nExpected one of\n  <root>/devkit/(.|\n)*Download it"
        ):
            read(tmp_path / "nowhere")
        (tmp_path / "cars.7z").touch()
        with pytest.raises(DataError, match="which is a file; if it is an archive, unpack it"):
            read(tmp_path / "cars.7z")
