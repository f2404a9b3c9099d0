"""Bad data of every kind, as users have it: what is done to a tree, and what must come of reading it."""

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import label_maker as maker
import numpy as np
import pytest
import torch
from broken_images import (
    BLUE,
    RED,
    SIZE,
)
from command_line import QUICK
from dataset_maker import (
    DOGS,
    Car,
    cars,
    product_rows,
    write_car_annotations,
    write_cars_devkit,
    write_cars_folders,
    write_dog_list,
    write_dogs,
    write_products,
)
from gitw_maker import COLOURS, draw, write_map, write_sequence, write_video
from photo_folder import write_photos
from PIL import Image
from spoiling import (
    Spoil,
    add,
)
from unprivileged import rights_count

from datamodules import BoundingBoxes, ImageFolder, Products, SaliencyMaps, StanfordCars, StanfordDogs
from lightning_vision.cli import main
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.scenarios import Joint
from lightning_vision.errors import UserError

Check = Callable[[StreamDataModule], object]


# ---- what is expected ----------------------------------------------------------------------------------------------
# In words, DATA stands for the folder of the data and TMP for the one above it.


class Refused:
    """An error that a user can mend, whose text holds all these words."""

    def __init__(self, *words: str) -> None:
        self.words = words


@dataclass(frozen=True)
class Skipped:
    """The data is read without it, and it is told what was left out."""

    rows: int
    """That are left."""
    told: str
    """After "skipped ", to the end of the bracket."""
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fine:
    """It is read in any form."""

    check: Check
    words: tuple[str, ...] = ()
    """That are said nonetheless."""


@dataclass(frozen=True)
class Exits:
    """The program ends with this code and these words, and leaves nothing behind unless it is 0."""

    code: int
    words: tuple[str, ...]


# ---- the data ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tree:
    """A small tree in a real layout, and how it is read."""

    kind: type[StreamDataModule]
    make: Callable[[Path], object]
    options: Mapping[str, Any] = field(default_factory=dict)


def write_two_sequences(root: Path) -> None:
    """Of four frames each; the object is absent in the first."""
    for number, name in enumerate(("Bowl/BowlPlace1Subject1", "Mug/MugPlace2Subject1")):
        write_sequence(root / name, colour=COLOURS[number], seed=number)


def write_boxed_images(root: Path) -> None:
    """Four images of 64x48 in two classes, a video, and a table of boxes for the images."""
    for number in range(4):
        root.mkdir(exist_ok=True)
        Image.fromarray(draw(1, seed=number)[0]).save(root / f"{number}.png")
    write_video(root / "clip.mp4", draw(4))
    lines = [f"{number}.png,{10 + number},8,20,20,{'ab'[number % 2]}" for number in range(4)]
    (root / "boxes.csv").write_text("\n".join(["path,x,y,w,h,class", *lines]) + "\n")


def write_photos_with_facts(root: Path) -> None:
    """The photos, and a table that groups them."""
    write_photos(root, ("cats", "dogs"), 4)
    lines = [f"{name}/{number:04d}.jpg,g{number // 2},home" for name in ("cats", "dogs") for number in range(4)]
    (root / "facts.csv").write_text("\n".join(["path,group,place", *lines]) + "\n")


def write_labelled(root: Path) -> None:
    """Images in one folder and a table of their labels."""
    maker.write_kaggle(root)
    for name in ("test.csv", "sample_submission.csv"):
        (root / name).unlink()


def few_cars() -> list[Car]:
    return cars({"train": 2, "test": 1})


WHOLE: dict[str, Any] = {"val_fraction": 0, "test_fraction": 0}
TABLE = "Flipkart/flipkart_com-ecommerce_sample_1050.csv"
SEQUENCE = "Bowl/BowlPlace1Subject1"
VIDEO, BOXES, MAPS = (f"{SEQUENCE}/{name}" for name in (
    "BowlPlace1Subject1.mp4", "BowlPlace1Subject1_2_bboxes.txt", "SaliencyMaps",
))  # fmt: skip
CHIHUAHUA = f"Annotation/{DOGS[0]}/n02085620_2"
KAGGLE = "car_data/car_data"

PHOTOS = Tree(ImageFolder, lambda root: write_photos(root, ("cats", "dogs"), 4))
FACTS = Tree(ImageFolder, write_photos_with_facts, {"metadata": "facts.csv"})
SPLIT_PHOTOS = Tree(
    ImageFolder, lambda root: [write_photos(root / part, ("cats", "dogs"), 4, len(part)) for part in ("train", "test")]
)
LABELLED = Tree(ImageFolder, write_labelled, {"labels": "train.csv"})
BOXED_COCO = Tree(BoundingBoxes, maker.write_coco, {"labels": "."})
DEVKIT = Tree(StanfordCars, lambda root: write_cars_devkit(root, few_cars()))
CAR_FOLDERS = Tree(StanfordCars, lambda root: write_cars_folders(root, few_cars()))
DOG_LISTS = Tree(StanfordDogs, lambda root: write_dogs(root, train=2, test=1))
DOG_FOLDERS = Tree(StanfordDogs, lambda root: write_dogs(root, kaggle=True, train=3, test=1))
SHOP = Tree(Products, lambda root: write_products(root, product_rows(2)), {"split": "50/25/25"})
BOXED_VIDEOS = Tree(BoundingBoxes, write_two_sequences, WHOLE)
GAZED_VIDEOS = Tree(SaliencyMaps, write_two_sequences, WHOLE)
BOXED = Tree(BoundingBoxes, write_boxed_images, {"boxes": "boxes.csv", **WHOLE})


@dataclass(frozen=True)
class Case:
    """A tree, what is done to it, and what must come of reading it."""

    tree: Tree
    spoil: Spoil
    expected: Refused | Skipped | Fine | Exits
    at: str = ""
    """Root, from the folder of the data."""
    options: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""

    def read(self, root: Path) -> StreamDataModule:
        """The datamodule, as a configuration would build it."""
        quick = {"image_size": 16, "num_workers": 1, "batch_size": 4, "stream": Joint()}
        return self.tree.kind(root, **{**quick, **self.tree.options, **self.options})

    def run(self, root: Path, folder: Path) -> int:
        """The exit code of a command on this data, which would write to ``folder``."""
        given = {"root": root, "image_size": 16, "num_workers": 1, **self.tree.options, **self.options}
        words = [*QUICK, f"--data={self.tree.kind.__name__}", *(f"--data.{key}={given[key]}" for key in given)]
        words += ["--data.stream.experiences=1", f"--trainer.default_root_dir={folder}"]
        words += ["--run_name=run", "--model.strategy=HeadOnly"] if self.command == "fit" else []
        return main([self.command, *words])


# ---- what is done to it --------------------------------------------------------------------------------------------


def black(file: Path) -> None:
    """A saliency map without any value."""
    write_map(file, None)


def car_table(change: Callable[[Car], Car], every_row: bool = False) -> Spoil:
    """The training annotations of the devkit with the first car changed, or all."""

    def spoil(root: Path) -> None:
        rows = [car for car in few_cars() if car.split == "train"]
        rows = [change(car) if every_row or place == 0 else car for place, car in enumerate(rows)]
        write_car_annotations(root / "devkit" / "cars_train_annos.mat", rows)

    return spoil


def dog_lists(change: Callable[[str, int], tuple[str, int]]) -> Spoil:
    """Both lists with other rows."""

    def spoil(root: Path) -> None:
        for split, places in (("train", (1, 2)), ("test", (3,))):
            stems = [(folder, f"{folder.partition('-')[0]}_{place}.jpg") for folder in DOGS for place in places]
            rows = [change(f"{folder}/{name}", DOGS.index(folder) + 1) for folder, name in stems]
            write_dog_list(root / "lists" / f"{split}_list.mat", rows)

    return spoil


def to_frames(*bad: int) -> Spoil:
    """Image files in the place of the video, some of which are none."""

    def spoil(root: Path) -> None:
        (root / VIDEO).unlink()
        folder = root / SEQUENCE / "Frames"
        folder.mkdir()
        for number, pixels in enumerate(draw(4)):
            Image.fromarray(pixels).save(folder / f"Frame_{40 * number}.jpg")
        for number in bad:
            (folder / f"Frame_{40 * number}.jpg").write_text("no image")

    return spoil


def zero_based(car: Car) -> Car:
    return replace(car, number=car.number - 1)


# ---- how it is looked at afterwards --------------------------------------------------------------------------------


def pixels_of(data: StreamDataModule, path: str) -> torch.Tensor:
    rows = np.flatnonzero((data.samples["path"] == path).to_numpy())
    assert len(rows) == 1, data.samples["path"].tolist()
    return data.image(int(rows[0]))


def shows(path: str, left: tuple[int, ...] = RED, right: tuple[int, ...] = BLUE, within: int = 12) -> Check:
    """The image has these two halves, and all images can be put into batches."""

    def check(data: StreamDataModule) -> None:
        pixels = pixels_of(data, path)
        assert pixels.shape == (3, SIZE[1], SIZE[0]) and pixels.dtype == torch.uint8
        for colour, column in ((left, SIZE[0] // 4), (right, SIZE[0] * 3 // 4)):
            assert (pixels[:, SIZE[1] // 2, column].int() - torch.tensor(colour)).abs().max() <= within
        serves_all(data)

    return check


def serves_all(data: StreamDataModule) -> None:
    """Every image comes out of both transforms in the right size."""
    for row in range(len(data.samples)):
        for seed in (None, 1):
            assert data.preview(row, seed).shape == (3, 16, 16)


def rows(count: int, **columns: list[Any]) -> Check:
    """The table has so many rows, and begins with these values."""

    def check(data: StreamDataModule) -> None:
        assert len(data.samples) == count
        for name, values in columns.items():
            assert data.samples[name].tolist()[: len(values)] == values

    return check


def sized(path: str, height: int, width: int) -> Check:
    """An image has this size."""

    def check(data: StreamDataModule) -> None:
        row = data.samples["path"].tolist().index(path)
        assert (data.inspection.height[row], data.inspection.width[row]) == (height, width)

    return check


def last_is_clamped(data: StreamDataModule) -> None:
    """Of the last box, 20x20 from -10, 40, there is what lies in the image of 64x48."""
    assert data.image(len(data.samples) - 1).shape == (3, 8, 10)


def one_is_trained(data: StreamDataModule) -> None:
    """The only image of cats is trained on."""
    cats = data.samples[data.samples["label"] == 0]
    assert cats["split"].tolist() == ["train"] and data.class_names == ["cats", "dogs"]


# ---- the cases -----------------------------------------------------------------------------------------------------

WAY_OUT = "Repair or remove them, or skip and count them with data.on_bad_image=skip"
NO_FILE = "file not found"


def case(
    name: str,
    tree: Tree,
    spoil: Spoil,
    expected: Refused | Skipped | Fine | Exits,
    at: str = "",
    command: str = "",
    **options: Any,
) -> Any:
    return pytest.param(Case(tree, spoil, expected, at, options, command), id=name)


def bad(
    name: str, tree: Tree, spoil: Spoil, place: str, reason: str, left: int, told: str, **options: Any
) -> list[Any]:
    """An image that cannot be used: refused with its place and reason, or skipped and counted by it."""
    return [
        case(name, tree, spoil, Refused("DATA: 1 problem:", f"\n  {place}: {reason}", WAY_OUT), **options),
        case(f"{name}, skipped", tree, spoil, Skipped(left, told), on_bad_image="skip", **options),
    ]


def one(reason: str) -> str:
    return f"1 file (1 {reason})"


def fine_image(name: str, write: Callable[[Path], object], file: str = "x.png", check: Check | None = None) -> Any:
    return case(name, PHOTOS, add(f"cats/{file}", write), Fine(check or shows(f"cats/{file}")))


FIRST = f"{1:032d}"
"""A product's uniq_id."""


def check_bad_data(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but a ``UserError`` may come out, and nothing is passed over in silence."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))
    data = tmp_path / "data"

    def filled(words: str) -> str:
        return words.replace("DATA", str(data)).replace("TMP", str(tmp_path))

    case.tree.make(data)
    case.spoil(data)
    options = {key: filled(value) if isinstance(value, str) else value for key, value in case.options.items()}
    case = replace(case, options=options)
    root = Path(os.path.normpath(data / case.at))
    expected = case.expected
    with warnings.catch_warnings(), rights_count():
        # What is read as it is must not be warned of; what is refused may be.
        warnings.simplefilter("error" if isinstance(expected, Fine) else "ignore", Image.DecompressionBombWarning)
        if isinstance(expected, Exits):
            assert case.run(root, tmp_path / "runs") == expected.code
            told = "".join(capsys.readouterr())
            assert "Traceback" not in told
            assert expected.code == 0 or not (tmp_path / "runs").exists()
        elif isinstance(expected, Refused):
            with pytest.raises(UserError) as caught:
                case.read(root)
            told = str(caught.value)
        else:
            read = case.read(root)
            told = capsys.readouterr().err
            if isinstance(expected, Fine):
                expected.check(read)
                assert "skipped" not in told, told
            else:
                assert len(read.samples) == expected.rows
                assert f": skipped {expected.told}.\n" in told, told
    for word in expected.words:
        assert filled(word) in told, told
