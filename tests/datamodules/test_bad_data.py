"""Bad data of every kind, as users have it: refused in words, skipped with a count, or read as what it is."""

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
    halves,
    write_animated,
    write_claiming,
    write_cut_short,
    write_empty_screen,
    write_turned,
    write_video_without_frames,
)
from command_line import QUICK
from dataset_maker import (
    CARS,
    DOGS,
    Car,
    cars,
    dog_annotation,
    product_rows,
    write_car_annotations,
    write_cars_devkit,
    write_cars_folders,
    write_dog_list,
    write_dogs,
    write_products,
)
from gitw_maker import COLOURS, box_lines, draw, write_map, write_sequence, write_video
from photo_folder import write_photos
from PIL import Image
from scipy.io import savemat
from spoiling import (
    Spoil,
    add,
    append,
    as_from_windows,
    cut_in_half,
    every,
    instead,
    link_to_itself,
    link_to_nothing,
    no_rights,
    nothing,
    put,
    recode,
    remove,
    swap,
    together,
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


UNDECODABLE = (
    ("truncated JPEG", "x.jpg", write_cut_short, "OSError: image file is truncated"),
    ("truncated PNG", "x.png", lambda file: write_cut_short(file, "PNG"), "OSError: image file is truncated"),
    ("PNG of 0x0", "x.png", lambda file: write_claiming(file, 0, 0), "UnidentifiedImageError"),
    ("text named .jpg", "x.jpg", lambda file: file.write_text("no image"), "UnidentifiedImageError"),
    ("decompression bomb", "x.png", lambda file: write_claiming(file, 40_000, 40_000), "DecompressionBombError: Image size (1600000000"),
    ("a smaller bomb", "x.png", lambda file: write_claiming(file, 17_000, 17_000), "it has 17000 x 17000 pixels, more than 268 million"),
    ("32-bit TIFF", "x.tiff", lambda file: Image.fromarray(np.zeros((9, 9), np.float32)).save(file), "its pixels are floating-point numbers of 32 bits"),
)  # fmt: skip
PASSED_OVER: tuple[tuple[str, Callable[[Path], object], str], ...] = (
    ("empty file", Path.touch, "empty"),
    ("broken link", link_to_nothing, "broken links"),
    ("looping link", link_to_itself, "broken links"),
    ("pipe named .jpg", os.mkfifo, "broken links"),
    ("folder named .jpg", Path.mkdir, "folders named like an image"),
)
LONG = "x" * 251 + ".png"
IMAGES = [
    *(
        each
        for name, file, write, reason in UNDECODABLE
        for each in bad(name, PHOTOS, add(f"cats/{file}", write), f"cats/{file}", f"cannot be decoded ({reason}", 8, one("cannot be decoded"))
    ),
    *(
        case(name, PHOTOS, add("cats/x.jpg", write), Skipped(8, one(told)))
        for name, write, told in PASSED_OVER
    ),
    *bad("no permission", PHOTOS, no_rights("cats/0002.jpg"), "cats/0002.jpg", "no permission to read it", 7, one("no permission to read it")),
    case("folder without permission", PHOTOS, no_rights("cats"), Refused("no permission to read DATA/cats. Allow it")),
    case("breed without permission", DOG_FOLDERS, no_rights(f"images/Images/{DOGS[1]}"), Refused(f"no permission to read DATA/images/Images/{DOGS[1]}. Allow it")),
    case("table without permission", SHOP, no_rights(TABLE), Refused(f"DATA/{TABLE} cannot be read: Permission denied")),
    case("class folder that is a looping link", PHOTOS, add("birds", link_to_itself), Fine(rows(8))),
    fine_image("1x1", lambda file: Image.new("RGB", (1, 1), RED).save(file), check=serves_all),
    fine_image("3000x1", lambda file: Image.new("RGB", (3000, 1), RED).save(file), check=serves_all),
    fine_image("16 bits", lambda file: Image.fromarray(np.full(SIZE[::-1], 40_000, np.uint16)).save(file), check=shows("cats/x.png", (156,) * 3, (156,) * 3)),
    fine_image("CMYK", lambda file: halves().convert("CMYK").save(file, quality=95), "x.jpg", shows("cats/x.jpg", within=40)),
    fine_image("greyscale", lambda file: halves().convert("L").save(file), check=shows("cats/x.png", (83,) * 3, (41,) * 3)),
    fine_image("palette", lambda file: halves().quantize(4).save(file)),
    fine_image("palette with a transparent colour", lambda file: halves().quantize(2).save(file, transparency=halves().quantize(2).getpixel((0, 0))), check=shows("cats/x.png", left=(255, 255, 255))),
    fine_image("alpha", lambda file: Image.merge("RGBA", [*halves().split(), Image.new("L", SIZE, 0)]).save(file), check=shows("cats/x.png", (255,) * 3, (255,) * 3)),
    fine_image("animated GIF", write_animated, "x.gif"),
    fine_image("animated WebP", write_animated, "x.webp", shows("cats/x.webp", within=40)),
    fine_image("animated PNG", write_animated, "x.png"),
    fine_image("GIF with a screen of 0x0", write_empty_screen, "x.gif", sized("cats/x.gif", 4, 4)),
    fine_image("EXIF-rotated", write_turned, "x.jpg"),
    fine_image("EXIF that is none", lambda file: halves().save(file, exif=b"Exif\0\0rubbish", quality=95), "x.jpg"),
    fine_image("PNG named .jpg", lambda file: halves().save(file, "PNG"), "x.jpg"),
    fine_image("non-ASCII name", lambda file: halves().save(file), "Äpfel 苹果 🍎.png"),
    fine_image("name that is no UTF-8", lambda file: halves().save(os.fsencode(file)), "\udcff\udcfe.png"),
    fine_image("name with a line break", lambda file: halves().save(file), "a\nb.png"),
    fine_image("name of 255 letters", lambda file: halves().save(file), LONG),
    fine_image("93 megapixels", lambda file: Image.new("P", (9500, 9800)).save(file), check=sized("cats/x.png", 9800, 9500)),
    case("root with a name of 255 letters", PHOTOS, lambda root: root.rename(root.with_name("x" * 255)), Fine(rows(8)), at="../" + "x" * 255),
]  # fmt: skip

LAYOUT_OF = {
    "ImageFolder": (PHOTOS, "Expected <root>/<class>/<images> or <root>/{train,val,test}/<class>/<images>"),
    "StanfordCars": (DEVKIT, "Expected one of\n  <root>/devkit/{cars_meta,cars_train_annos,"),
    "StanfordDogs": (DOG_LISTS, "Expected one of\n  <root>/Images/n<number>-<breed>/*.jpg"),
    "Products": (SHOP, f"Expected one of\n  <root>/{TABLE} and"),
    "BoundingBoxes": (BOXED_VIDEOS, "Expected one of\n  <root>/[<part>/]<Class>/<Seq>/ with"),
    "SaliencyMaps": (GAZED_VIDEOS, "Expected one of\n  <root>/[<part>/]<Class>/<Seq>/ with"),
}
TOO_DEEP = (
    ("ImageFolder", PHOTOS, "cats", "use the folder above it, DATA."),
    ("StanfordCars", DEVKIT, "cars_train", "This is too deep; use DATA."),
    ("StanfordCars, devkit", DEVKIT, "devkit", "This is too deep; use DATA."),
    ("StanfordCars, folders", CAR_FOLDERS, f"{KAGGLE}/train", f"This is too deep; use DATA/{KAGGLE}."),
    ("StanfordDogs", DOG_LISTS, "Images", "This is too deep; use DATA."),
    ("Products", SHOP, "Flipkart/Images", "This is too deep; use DATA/Flipkart."),
    ("BoundingBoxes", BOXED_VIDEOS, "Bowl", "This is too deep; use DATA."),
    ("SaliencyMaps", GAZED_VIDEOS, SEQUENCE, "This is too deep; use DATA."),
)
ROOTS = [
    *(
        case(f"{name}: root missing", tree, nothing, Refused("DATA/nowhere", "does not exist", layout), at="nowhere")
        for name, (tree, layout) in LAYOUT_OF.items()
    ),
    *(
        case(f"{name}: root empty", tree, add("empty", Path.mkdir), Refused("DATA/empty, which is empty", layout), at="empty")
        for name, (tree, layout) in LAYOUT_OF.items()
    ),
    *(
        case(f"{name}: root is a file", tree, put("data.zip", "PK"), Refused("DATA/data.zip", "is a file", layout), at="data.zip")
        for name, (tree, layout) in LAYOUT_OF.items()
    ),
    *(
        case(f"{name}: root one level too high", tree, nothing, Refused("one level too high", "use TMP/data", layout), at="..")
        for name, (tree, layout) in LAYOUT_OF.items()
    ),
    *(case(f"{name}: root too deep", tree, nothing, Refused(hint), at=at) for name, tree, at, hint in TOO_DEEP),
    case("root is a looping link", SHOP, add("round", link_to_itself), Refused("which does not exist"), at="round"),
    case("looping link beside the data", DEVKIT, add("../round", link_to_itself), Refused("which contains", "use TMP/data"), at=".."),
    case("boxes CSV: root missing", BOXED, nothing, Refused("data.root: DATA/nowhere does not exist", "to which the paths in TMP/data/boxes.csv are relative"), at="nowhere", boxes="TMP/data/boxes.csv"),
]  # fmt: skip

FIRST = f"{1:032d}"
"""A product's uniq_id."""
TABLES: dict[str, tuple[Tree, str]] = {
    "products": (SHOP, TABLE),
    "cars": (CAR_FOLDERS, "anno_train.csv"),
    "boxes": (BOXED, "boxes.csv"),
    "metadata": (FACTS, "facts.csv"),
}
TABLE_ROWS = {"products": 12, "cars": 9, "boxes": 4, "metadata": 8}
LAST_FIELD = {"products": "Product 1,", "cars": "00001.jpg,", "boxes": "0.png,", "metadata": "cats/0000.jpg,"}
"""A field of the first record, with the comma behind it."""
LINE = {"products": 2, "cars": 1, "boxes": 2, "metadata": 2}
CSV_FAULTS = [
    *(
        case(
            f"{name}: broken quotation",
            tree,
            swap(file, LAST_FIELD[name], f'"{LAST_FIELD[name][:3]}"{LAST_FIELD[name][3:]}'),
            Refused(f"{Path(file).name} line", f"{LINE[name]}", "broken quotation", "double quotation marks inside"),
        )
        for name, (tree, file) in TABLES.items()
    ),
    *(
        case(
            f"{name}: semicolons",
            tree,
            recode(file, lambda text: text.replace(b",", b";")),
            Refused(f"DATA/{file}: its columns are separated by semicolons, expected commas. Save it as CSV with commas"),
        )
        for name, (tree, file) in TABLES.items()
    ),
    *(
        case(f"{name}: byte-order mark and CRLF", tree, recode(file, as_from_windows), Fine(rows(TABLE_ROWS[name])))
        for name, (tree, file) in TABLES.items()
    ),
    *(
        case(
            f"{name}: UTF-16",
            tree,
            recode(file, lambda text: text.decode().encode("utf-16")),
            Refused(f"DATA/{file} is not UTF-8 text: line 1 contains the byte 0xff. Save it as CSV in UTF-8"),
        )
        for name, (tree, file) in TABLES.items()
    ),
    *(
        case(
            f"{name}: a field too many",
            tree,
            swap(file, LAST_FIELD[name], LAST_FIELD[name] + "more,"),
            Refused("1 problem", f"{Path(file).name} line {LINE[name]}: ", "fields, expected "),
        )
        for name, (tree, file) in TABLES.items()
    ),
    *(
        case(f"{name}: empty table", tree, put(file, ""), Refused(f"DATA/{file} is empty. Expected a table with the columns"))
        for name, (tree, file) in TABLES.items()
    ),
    case("quotation that never ends", FACTS, append("facts.csv", '"cats/0001.jpg,g,home\nx,y,z\n'), Refused("facts.csv line 10: a quotation mark is opened here and never closed; the rest was not read")),
    case("products: missing column", SHOP, swap(TABLE, "product_category_tree", "tree"), Refused(f"DATA/{TABLE} lacks the column 'product_category_tree'; its first line has 'uniq_id'")),
    case("cars: missing column", CAR_FOLDERS, recode("anno_train.csv", lambda text: b"fname,x1,y1,x2,y2\n1.jpg,1,1,9,9\n"), Refused("DATA/anno_train.csv lacks the column 'class'; its first line has 'fname'")),
    case("cars: missing column, no header", CAR_FOLDERS, recode("anno_train.csv", lambda text: text.replace(b",1\r\n", b"\r\n").replace(b",2\r\n", b"\r\n").replace(b",3\r\n", b"\r\n")), Refused("6 problems", "anno_train.csv line 1: 5 fields, expected 6", "anno_train.csv line 6: 5 fields")),
    case("boxes: missing column", BOXED, swap("boxes.csv", "class", "kind"), Refused("DATA/boxes.csv lacks the column 'class'; its first line has 'path', 'x', 'y', 'w', 'h', 'kind'")),
    case("metadata: missing column", FACTS, swap("facts.csv", "path", "file"), Refused("DATA/facts.csv lacks the column 'path'; its first line has 'file', 'group', 'place'")),
    case("metadata: column twice", FACTS, swap("facts.csv", "place", "group"), Refused("DATA/facts.csv has the column 'group' twice. Remove one of them")),
    case("metadata: column that is made", FACTS, swap("facts.csv", "place", "box_xyxy"), Refused("DATA/facts.csv must not have the column 'box_xyxy'", "Rename or remove")),
    case("metadata: frame that is no number", FACTS, swap("facts.csv", "place", "frame"), Refused("8 problems", "facts.csv line 2: frame is 'home', expected a whole number")),
    case("products: unknown class", SHOP, nothing, Refused("the table has no top category 'Watch'. Its categories, similar names first: 'Watches'"), categories=["Watch"]),
    case("products: no category tree", SHOP, swap(TABLE, '"[""Baby Care', '"[Baby Care'), Refused(f"{Path(TABLE).name} line 2: product_category_tree is '[Baby Care", "expected [\"A >> B >> C\"]")),
    case("cars: unknown class", CAR_FOLDERS, swap("anno_train.csv", ",1\r\n", ",9\r\n"), Refused("anno_train.csv line 1: class 9; classes count from 1 to 3")),
    case("cars: labels from 0", CAR_FOLDERS, swap("anno_train.csv", ",1\r\n", ",0\r\n"), Refused("anno_train.csv line 1: class 0; classes count from 1 to 3")),
    case("cars: another class than the folder", CAR_FOLDERS, swap("anno_train.csv", ",1\r\n", ",2\r\n"), Refused(f"anno_train.csv line 1: 00001.jpg has class 2 ('{CARS[1]}') but is in the folder '{CARS[0]}'; classes count from 1")),
    case("cars: unknown class folder", CAR_FOLDERS, add(f"{KAGGLE}/train/Acura RL Sedan 2013", Path.mkdir), Refused("the folder 'Acura RL Sedan 2013' is not a class of names.csv", f"similar classes: '{CARS[1]}'")),
    case("boxes: unknown class", BOXED, nothing, Refused("'c'", "'a', 'b'"), classes=["a", "c"]),
    case("metadata: unknown split", FACTS, together(swap("facts.csv", "place", "split"), swap("facts.csv", "home", "tset"), swap("facts.csv", "home", "train", -1)), Refused("1 problem", "facts.csv line 2: split is 'tset', expected train, val, test or an empty field")),
    case("products: duplicate row", SHOP, lambda root: append(TABLE, f'{FIRST},,,"[""Baby Care""]",{FIRST}.jpg,\r\n')(root), Refused(f"uniq_id '{FIRST}' is already in line 2")),
    case("cars: duplicate row", CAR_FOLDERS, append("anno_train.csv", "00001.jpg,5,4,40,36,1\r\n"), Refused("anno_train.csv line 7: fname '00001.jpg' is already in line 1")),
    case("boxes: duplicate row", BOXED, append("boxes.csv", "0.png,10,8,20,20,a\n"), Refused("boxes.csv line 6: duplicate of an image and box in a previous line")),
    case("metadata: duplicate row", FACTS, append("facts.csv", "cats\\0000.jpg,g9,home\n"), Refused("facts.csv line 10: path 'cats/0000.jpg' is already in line 2")),
    case("products: table missing", SHOP, remove(TABLE), Refused("table or images of Products was not found in DATA", "Download it from")),
    case("cars: table missing", CAR_FOLDERS, remove("anno_test.csv"), Refused("data.crop_to_box needs boxes, and 'anno_test.csv' is neither in DATA nor", "Move the file there"), crop_to_box=True),
    case("boxes: table missing", BOXED, remove("boxes.csv"), Refused("data.boxes: the file does not exist; searched 'boxes.csv', 'DATA/boxes.csv'")),
    case("metadata: table missing", FACTS, remove("facts.csv"), Refused("metadata file does not exist; searched 'facts.csv', 'DATA/facts.csv'", "Give its path")),
    *bad("products: file missing", SHOP, remove(f"Flipkart/Images/{FIRST}.jpg"), f"Flipkart/Images/{FIRST}.jpg", NO_FILE, 11, one(NO_FILE)),
    *bad("products: broken link", SHOP, instead(f"Flipkart/Images/{FIRST}.jpg", link_to_nothing), f"Flipkart/Images/{FIRST}.jpg", NO_FILE, 11, one(NO_FILE)),
    *bad("products: looping link", SHOP, instead(f"Flipkart/Images/{FIRST}.jpg", link_to_itself), f"Flipkart/Images/{FIRST}.jpg", "cannot be read (Too many levels of symbolic links)", 11, one("cannot be read")),
    *bad("products: folder named .jpg", SHOP, instead(f"Flipkart/Images/{FIRST}.jpg", Path.mkdir), f"Flipkart/Images/{FIRST}.jpg", "cannot be read (Is a directory)", 11, one("cannot be read")),
    *bad("products: empty image", SHOP, put(f"Flipkart/Images/{FIRST}.jpg", ""), f"Flipkart/Images/{FIRST}.jpg", "the file is empty", 11, one("the file is empty")),
    case("products: all images missing", SHOP, instead("Flipkart/Images", Path.mkdir), Refused("DATA: no image is left to learn from. Skipped: 12 files (12 file not found)"), on_bad_image="skip"),
    *bad("cars: file missing", CAR_FOLDERS, remove(f"{KAGGLE}/train/{CARS[0]}/00001.jpg"), f"{KAGGLE}/train/{CARS[0]}/00001.jpg", NO_FILE, 8, one(NO_FILE)),
    *bad("boxes: file missing", BOXED, remove("1.png"), "1.png", f"{NO_FILE}, listed in boxes.csv", 3, one(f"{NO_FILE}, listed in boxes.csv")),
    *bad("boxes: path that is too long", BOXED, append("boxes.csv", "x" * 300 + ".png,1,1,9,9,a\n"), "x" * 300 + ".png", NO_FILE, 4, one(f"{NO_FILE}, listed in boxes.csv")),
    case("boxes: path out of the root", BOXED, append("boxes.csv", "../0.png,1,1,9,9,a\n/0.png,1,1,9,9,a\n"), Refused("boxes.csv line 6: path is '../0.png', expected a path relative to DATA", "boxes.csv line 7: path is '/0.png'")),
    *bad("metadata: file missing", FACTS, remove("dogs/0003.jpg"), "facts.csv line 9", "image not found (dogs/0003.jpg; paths are relative to DATA)", 7, one("image not found")),
    case("products: extra file", SHOP, add("Flipkart/Images/extra.jpg", halves().save), Fine(rows(12), ("1 image of Flipkart/Images/ not used, because", "has no line for 'extra.jpg'"))),
    case("cars: extra file", CAR_FOLDERS, add(f"{KAGGLE}/train/{CARS[1]}/extra.jpg", halves().save), Fine(rows(10), ("anno_train.csv has no line for 1 image, such as", "extra.jpg"))),
    case("cars: extra file and no box", CAR_FOLDERS, add(f"{KAGGLE}/train/{CARS[1]}/extra.jpg", halves().save), Refused("extra.jpg: no box in anno_train.csv", WAY_OUT), crop_to_box=True),
    case("dogs: extra file", DOG_LISTS, add(f"Images/{DOGS[0]}/extra.jpg", halves().save), Skipped(9, one("in neither list"))),
]  # fmt: skip

COCO = "test/_annotations.coco.json"
LABELS = [
    *bad("labels: file missing", LABELLED, remove("train_images/003.jpg"), "train.csv line 5", "image not found (003)", 11, one("image not found")),
    *bad("labels: broken image", LABELLED, put("train_images/003.jpg", "no image"), "train_images/003.jpg", "cannot be decoded", 11, one("cannot be decoded")),
    case("labels: table missing", LABELLED, remove("train.csv"), Refused("data.labels: there is no file or folder; searched 'train.csv', 'DATA/train.csv'")),
    case("labels: all images missing", LABELLED, remove("train_images"), Refused("DATA/train.csv: no column names images of the folder (its first row: id_code '000', diagnosis 'cup')", "set data.root to their folder")),
    case("labels: no image at all", LABELLED, remove("train_images", "test_images"), Refused("data.root: there is no image in DATA that DATA/train.csv could label")),
    case("labels: Latin-1", LABELLED, recode("train.csv", lambda text: text.replace(b"cup", b"caf\xe9", 1)), Refused("DATA/train.csv is not UTF-8 text: line 2 contains the byte 0xe9")),
    case("labels: two columns of labels", LABELLED, recode("train.csv", lambda text: text.replace(b"\n", b",x\n").replace(b"diagnosis,x", b"diagnosis,label")), Refused("the columns 'label', 'diagnosis' could be the label")),
    case("labels: unknown column", LABELLED, nothing, Refused("no column 'diagnoses' (for label). Its columns, nearest first: 'diagnosis', 'id_code'"), label_columns={"label": "diagnoses"}),
    case("labels: unclosed quotation", LABELLED, append("train.csv", '"000,cup\n'), Refused("train.csv line 14: a quotation mark is opened here and never closed")),
    case("labels: image twice", LABELLED, append("train.csv", "000,plate\n"), Refused("1 image of 12 has several labels: train_images/000.jpg ('cup', 'plate')")),
    case("labels: one class", LABELLED, recode("train.csv", lambda text: text.replace(b"plate", b"cup")), Exits(1, ("There is one class, 'cup'",)), command="fit"),
    case("labels: cut JSON", BOXED_COCO, lambda root: cut_in_half(root / COCO), Refused(f"DATA/{COCO} is not valid JSON", "export or download it again")),
    case("labels: unknown category", BOXED_COCO, recode(COCO, lambda text: text.replace(b'"category_id": 1', b'"category_id": 7')), Refused("_annotations.coco.json annotation 1: category_id 7 is not in the list categories")),
    case("labels: several classes an image", BOXED_COCO, recode(COCO, lambda text: text.replace(b'"image_id": 1,', b'"image_id": 0,')), Refused("boxes with two classes in")),
    *bad("labels: box outside", BOXED_COCO, recode(COCO, lambda text: text.replace(b"[4.0, 6.0", b"[90.0, 6.0", 1)), "test/100.jpg", "the box lies outside the image", 15, one("the box lies outside the image")),
    case("fit: labels that are missing", LABELLED, remove("train.csv"), Exits(1, ("data.labels: there is no file or folder",)), command="fit"),
    case("data: labels", LABELLED, nothing, Exits(0, ("4 images not named in train.csv",)), command="data"),
]  # fmt: skip

MAT = "devkit/cars_train_annos.mat"
MATLAB = [
    case("struct without a field", DEVKIT, lambda root: savemat(root / MAT, {"annotations": np.array([(1, "x.jpg")], dtype=[("class", object), ("fname", object)])}), Refused(f"DATA/{MAT}: 'annotations' must be a struct array with the fields", "It lacks 'bbox_x1'", "has 'class', 'fname'")),
    case("no class names", DEVKIT, lambda root: savemat(root / "devkit/cars_meta.mat", {"names": np.array(CARS, dtype=object)}), Refused("DATA/devkit/cars_meta.mat has no 'class_names', only 'names'")),
    case("list without labels", DOG_LISTS, lambda root: savemat(root / "lists/train_list.mat", {"file_list": np.array([["x"]], dtype=object)}), Refused("DATA/lists/train_list.mat has no 'labels', only 'file_list'")),
    case("web page named .mat", DEVKIT, put(MAT, "<html>Not found"), Refused(f"DATA/{MAT} is not a readable .mat file", "begins with b'<html>", "download the file again")),
    case("cut .mat", DEVKIT, lambda root: cut_in_half(root / MAT), Refused(f"DATA/{MAT} is not a readable .mat file")),
    case(".mat missing", DEVKIT, remove(MAT), Refused("contains only a part of Stanford Cars. Missing: 'devkit/cars_train_annos.mat'", "Download the missing files from")),
    case("one list missing", DOG_LISTS, remove("lists/test_list.mat"), Refused("'test_list.mat' does not", "or remove the other list")),
    case("cars: label out of range", DEVKIT, car_table(lambda car: replace(car, number=4)), Refused("cars_train_annos.mat row 1: class 4; classes count from 1 to 3")),
    case("cars: labels from 0 in .mat", DEVKIT, car_table(zero_based, every_row=True), Refused("2 problems", "cars_train_annos.mat row 1: class 0; classes count from 1 to 3")),
    case("cars: file missing in .mat", DEVKIT, remove("cars_test/00002.jpg"), Refused("cars_test/00002.jpg: file not found", WAY_OUT)),
    case("dogs: label out of range", DOG_LISTS, dog_lists(lambda path, label: (path, label + 119)), Refused("train_list.mat row 3: class 121; classes count from 1 to 120", "test_list.mat row 3: class 122")),
    case("dogs: labels from 0", DOG_LISTS, dog_lists(lambda path, label: (path, label - 1)), Refused("train_list.mat row 1: class 0; classes count from 1 to 120")),
    case("dogs: labels that disagree", DOG_LISTS, dog_lists(lambda path, label: (path, 3 if path.endswith("0_1.jpg") else label)), Refused(f"the folder {DOGS[0]} has more than one class in the lists: '3', '1'")),
    *bad("dogs: file missing", DOG_LISTS, remove(f"Images/{DOGS[1]}/n02085936_2.jpg"), f"Images/{DOGS[1]}/n02085936_2.jpg", NO_FILE, 8, one(NO_FILE)),
]  # fmt: skip

OUTSIDE = "the box lies outside the image"
NO_PIXELS = "the box has no pixels"
NO_FRAME = "frame not found"
FRAMES = "path,frame,x,y,w,h,class\n0.png,,1,1,9,9,a\n1.png,,1,1,9,9,b\n"
BAD_BOXES = [
    *bad("box outside of its frame", BOXED_VIDEOS, put(BOXES, "0 1 80 5 4 4\n1 1 5 5 4 4\n2 0\n3 0\n"), f"{VIDEO} frame 0", f"{OUTSIDE} (from 80, 5 to 84, 9; the image has 64 x 48 pixels)", 4, f"4 files (3 frames without the object, 1 {OUTSIDE})"),
    *bad("box outside of its image", BOXED, append("boxes.csv", "3.png,-20,-20,9,9,a\n"), "3.png", f"{OUTSIDE} (from -20, -20 to -11, -11", 4, one(OUTSIDE)),
    *bad("car's box outside", DEVKIT, car_table(lambda car: replace(car, box=(400, 300, 500, 400))), "cars_train/00001.jpg", OUTSIDE, 8, one(OUTSIDE), crop_to_box=True),
    *bad("dog's box outside", DOG_LISTS, put(CHIHUAHUA, dog_annotation([(400, 300, 500, 400)], (0, 0))), f"Images/{DOGS[0]}/n02085620_2.jpg", OUTSIDE, 8, one(OUTSIDE), crop_to_box=True),
    case("box over the border", BOXED, append("boxes.csv", "3.png,-10,40,20,20,a\n"), Fine(last_is_clamped)),
    *bad("box inverted", BOXED_VIDEOS, put(BOXES, "0 0\n1 1 20 20 -5 -5\n2 0\n3 1 9 9 9 9\n"), f"{BOXES} line 2", f"{NO_PIXELS} (-5 wide and -5 high; are these corners?", 4, f"4 files (3 frames without the object, 1 {NO_PIXELS})"),
    *bad("box inverted in a table", BOXED, append("boxes.csv", "3.png,20,20,-5,-5,a\n"), "boxes.csv line 6", f"{NO_PIXELS} (-5 wide and -5 high; are these corners?", 4, one(NO_PIXELS)),
    *bad("car's box inverted", DEVKIT, car_table(lambda car: replace(car, box=(40, 30, 9, 9))), "cars_train/00001.jpg", "its box has no area", 8, one("its box has no area"), crop_to_box=True),
    *bad("dog's box inverted", DOG_LISTS, put(CHIHUAHUA, dog_annotation([(40, 30, 9, 9)])), f"Images/{DOGS[0]}/n02085620_2.jpg", "its box has no area", 8, one("its box has no area"), crop_to_box=True),
    *bad("box empty", BOXED, append("boxes.csv", "3.png,20,20,0,9,a\n"), "boxes.csv line 6", f"{NO_PIXELS} (0 wide and 9 high)", 4, one(NO_PIXELS)),
    *bad("dog without a box", DOG_LISTS, put(CHIHUAHUA, "<annotation/>"), f"Images/{DOGS[0]}/n02085620_2.jpg", "its annotation has no box", 8, one("its annotation has no box"), crop_to_box=True),
    *bad("dog without an annotation", DOG_LISTS, remove(CHIHUAHUA), f"Images/{DOGS[0]}/n02085620_2.jpg", "no annotation file", 8, one("no annotation file"), crop_to_box=True),
    case("car's box from 0", DEVKIT, car_table(lambda car: replace(car, box=(0, 0, 20, 20))), Fine(rows(9, box_xyxy=[(-1.0, -1.0, 20.0, 20.0)]), ("Boxes that begin before the first pixel, 1: 1.", "count from 0?"))),
    case("box that is no number", BOXED, append("boxes.csv", "3.png,a,1,9,9,a\n"), Refused("boxes.csv line 6: expected four numbers x, y, w and h, or none, found 'a, 1, 9, 9'")),
    case("boxes off by one frame", BOXED_VIDEOS, put(BOXES, box_lines(4, first=1)), Refused(f"{BOXES} counts frames from 1 (its last frame is 4, the last existing frame is 3); frames count from 0")),
    case("table off by one frame", BOXED, put("boxes.csv", FRAMES + "".join(f"clip.mp4,{frame},1,1,9,9,a\n" for frame in (1, 2, 3, 4))), Refused("boxes.csv, for clip.mp4, counts frames from 1", "frames count from 0")),
    *bad("box for a frame that does not exist", BOXED_VIDEOS, append(BOXES, "9 1 5 5 4 4\n"), f"{BOXES} line 5", f"{NO_FRAME} (9; the video has 4 frames, counted from 0)", 6, f"3 files (2 frames without the object, 1 {NO_FRAME})"),
    *bad("table for a frame that does not exist", BOXED, put("boxes.csv", FRAMES + "clip.mp4,2,1,1,9,9,a\nclip.mp4,9,1,1,9,9,a\n"), "boxes.csv line 5", f"{NO_FRAME} (9; the video has 4 frames, counted from 0)", 3, one(NO_FRAME)),
    *bad("video without a frame in the table", BOXED, append("boxes.csv", "clip.mp4,1,1,9,9,a\n"), "boxes.csv line 6", "a video needs a frame number", 4, one("a video needs a frame number, from 0, in the column 'frame'")),
    case("no object in any frame", BOXED_VIDEOS, every("*_bboxes.txt", lambda file: file.write_text("0 0\n1 0\n2 0\n3 0\n")), Refused("DATA: no image is left to learn from. Skipped: 8 files (8 frames without the object)")),
]  # fmt: skip

MAP = f"{MAPS}/Saliency_00002.png"
BLACK = "2 black saliency maps"
BAD_MAPS = [
    case("map all black", GAZED_VIDEOS, add(MAP, black), Skipped(5, "3 files (3 black saliency maps)")),
    case("maps of a class all black", GAZED_VIDEOS, every("Bowl/**/Saliency_*.png", black), Skipped(3, "5 files (5 black saliency maps)", ("No class for 'Bowl'",))),
    case("maps all black", GAZED_VIDEOS, every("Saliency_*.png", black), Refused("DATA: no image is left to learn from. Skipped: 8 files (8 black saliency maps)")),
    *bad("map of another size", GAZED_VIDEOS, add(MAP, lambda file: write_map(file, (1, 1, 9, 9), (24, 32))), MAP, "the saliency map and its frame differ in size (32x24 pixels, the frame has 64x48)", 5, f"3 files ({BLACK}, 1 the saliency map and its frame differ in size)"),
    case("map missing", GAZED_VIDEOS, remove(MAP), Skipped(5, f"3 files ({BLACK}, 1 frames without a saliency map)")),
    case("maps of a sequence missing", GAZED_VIDEOS, remove(MAPS), Skipped(3, "2 files (1 sequences without saliency maps and gaze points, 1 black saliency maps)", ("No class for 'Bowl'",))),
    *bad("map that is no image", GAZED_VIDEOS, put(MAP, "no image"), MAP, "cannot be decoded (UnidentifiedImageError", 5, f"3 files ({BLACK}, 1 cannot be decoded)"),
    *bad("map that is a bomb", GAZED_VIDEOS, add(MAP, lambda file: write_claiming(file, 17_000, 17_000)), MAP, "cannot be decoded (it has 17000 x 17000 pixels", 5, f"3 files ({BLACK}, 1 cannot be decoded)"),
    *bad("map of a frame that does not exist", GAZED_VIDEOS, add(f"{MAPS}/Saliency_00009.png", lambda file: write_map(file, (1, 1, 9, 9))), f"{MAPS}/Saliency_00009.png", f"{NO_FRAME} (9; the video has 4 frames, counted from 0)", 6, f"3 files ({BLACK}, 1 {NO_FRAME})"),
    case("maps off by one frame", GAZED_VIDEOS, lambda root: [(root / MAPS / f"Saliency_{number:05d}.png").rename(root / MAPS / f"Saliency_{number + 1:05d}.png") for number in (3, 2, 1, 0)], Refused(f"{MAPS} counts frames from 1", "frames count from 0")),
]  # fmt: skip

ABSENT = "frames without the object"
BAD_VIDEOS = [
    *bad("video that does not decode", BOXED_VIDEOS, put(VIDEO, "no video"), VIDEO, "cannot be read (InvalidDataError", 3, f"2 files (1 {ABSENT}, 1 cannot be read)"),
    *bad("video cut in half", GAZED_VIDEOS, add(VIDEO, cut_in_half), VIDEO, "cannot be read (InvalidDataError", 3, "2 files (1 black saliency maps, 1 cannot be read)"),
    *bad("video of zero frames", GAZED_VIDEOS, add(VIDEO, write_video_without_frames), VIDEO, "has no frames", 3, "2 files (1 black saliency maps, 1 has no frames)"),
    *bad("video of a table that does not decode", BOXED, together(put("boxes.csv", FRAMES + "clip.mp4,1,1,1,9,9,a\n"), put("clip.mp4", "no video")), "clip.mp4", "cannot be read (InvalidDataError", 2, one("cannot be read")),
    *bad("video that is a looping link", BOXED_VIDEOS, instead(VIDEO, link_to_itself), VIDEO, "does not exist", 3, f"2 files (1 {ABSENT}, 1 does not exist)"),
    *bad("neither video nor frames", GAZED_VIDEOS, remove(VIDEO), SEQUENCE, "the sequence has neither a video nor a folder Frames", 3, "2 files (1 black saliency maps, 1 the sequence has neither a video nor a folder Frames)"),
    case("first frame broken and not used", GAZED_VIDEOS, to_frames(0), Skipped(6, f"2 files ({BLACK})")),
    *bad("frame that is no image", BOXED_VIDEOS, to_frames(1), f"{SEQUENCE}/Frames/Frame_40.jpg", "cannot be decoded (UnidentifiedImageError", 5, f"3 files (2 {ABSENT}, 1 cannot be decoded)"),
    *bad("no frame is an image", BOXED_VIDEOS, to_frames(0, 1, 2, 3), f"{SEQUENCE}/Frames", "none of these frames can be decoded", 3, f"2 files (1 {ABSENT}, 1 none of these frames can be decoded)"),
]  # fmt: skip

CLASSES = [
    case("one class", PHOTOS, remove("dogs"), Fine(rows(4, label=[0, 0, 0, 0]))),
    case("class with one image", PHOTOS, remove(*(f"cats/{number:04d}.jpg" for number in range(3))), Fine(one_is_trained)),
    case("class folder that is empty", PHOTOS, add("emus", Path.mkdir), Fine(rows(8), ("no class for 'emus', because it contains no image",))),
    case("breed without images", DOG_FOLDERS, every(f"images/Images/{DOGS[0]}/*", Path.unlink), Fine(rows(8), (f"Classes without an image: '{DOGS[0]}'",))),
    case("name without images", CAR_FOLDERS, append("names.csv", "Tesla Model S Sedan 2012\n"), Fine(rows(9), ("Classes without an image: 'Tesla Model S Sedan 2012'",))),
    case("class missing from the training data", SPLIT_PHOTOS, remove("train/dogs"), Refused("The test data has a class that the training data never has: 'dogs'. Give training images of it, or take it out")),
    case("car missing from the training data", CAR_FOLDERS, remove(f"{KAGGLE}/train/{CARS[0]}", "anno_train.csv", "anno_test.csv"), Refused(f"the training data never has: '{CARS[0]}'")),
    case("class missing from the test data", SPLIT_PHOTOS, remove("test/dogs"), Fine(rows(12))),
    case("all images empty", DOG_FOLDERS, every("*.jpg", lambda file: file.write_bytes(b"")), Refused("DATA: no image is left to learn from. Skipped: 12 files (12 the file is empty)"), on_bad_image="skip"),
]  # fmt: skip

COMMANDS = [
    case("fit: root missing", SHOP, remove("Flipkart"), Exits(1, ("Products was not found in DATA, which is empty", "Download it from")), command="fit"),
    case("fit: unknown category", SHOP, nothing, Exits(2, ("no top category 'Watch'",)), command="fit", categories=["Watch"]),
    case("fit: one class", PHOTOS, remove("dogs"), Exits(1, ("There is one class, 'cats', and a classifier needs at least 2", "model.base_checkpoint")), command="fit"),
    case("data: truncated image", PHOTOS, add("cats/x.jpg", write_cut_short), Exits(1, ("cats/x.jpg: cannot be decoded", WAY_OUT)), command="data"),
    case("data: class missing from the test data", SPLIT_PHOTOS, remove("test/dogs"), Exits(0, ("No test images: dogs.",)), command="data"),
]  # fmt: skip


@pytest.mark.parametrize(
    "case", [*IMAGES, *ROOTS, *CSV_FAULTS, *LABELS, *MATLAB, *BAD_BOXES, *BAD_MAPS, *BAD_VIDEOS, *CLASSES, *COMMANDS]
)
def test_bad_data(
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
                assert "skipped" not in told
            else:
                assert len(read.samples) == expected.rows
                assert f": skipped {expected.told}.\n" in told
    for word in expected.words:
        assert filled(word) in told
