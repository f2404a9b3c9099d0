"""Small trees in the real layouts of Stanford Cars, Stanford Dogs and the products: real .mat, XML, CSV and JPEG files."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

# In the devkit's order, which is not that of the folders; one name has a character that a folder's cannot have.
CARS = ("AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Ram C/V Cargo Van Minivan 2012")
DOGS = ("n02085620-Chihuahua", "n02085936-Maltese_dog", "n02099267-flat-coated_retriever")
PRODUCTS = {
    "Baby Care": ("Baby Bedding", "Infant Wear"),
    "Home Decor & Festive Needs": ("Showpieces", "Wall Decor & Clocks"),
    "Watches": ("Clocks", "Wrist Watches"),
}
COLOURS = ((200, 60, 60), (60, 190, 60), (70, 70, 210), (190, 180, 50), (60, 180, 180), (180, 60, 180))
SIZE = (48, 40)
"""Width and height of the images."""
SIDES = ("x1", "y1", "x2", "y2")
PRODUCT_COLUMNS = ("uniq_id", "crawl_timestamp", "product_name", "product_category_tree", "image", "description")


@dataclass(frozen=True)
class Car:
    """An image of the Cars; box and number count from 1, as on disk."""

    split: str
    name: str
    number: int
    box: tuple[int, int, int, int]

    def write(self, file: Path) -> None:
        """The image; the first of each split is grey."""
        x1, y1, x2, y2 = self.box
        seed = int(self.name[:5]) + 1000 * (self.split == "test")
        write_image(file, self.number - 1, (x1 - 1, y1 - 1, x2, y2), seed, grey=self.name.startswith("00001"))

    def row(self) -> list[Any]:
        """As in the Kaggle tables."""
        return [self.name, *self.box, self.number]


def write_image(
    file: Path,
    kind: int,
    box: tuple[int, int, int, int] | None,
    seed: int,
    grey: bool = False,
    kind_of_file: str = "JPEG",
) -> None:
    """Noise on black, and on the colour of its kind inside the box (x2, y2 excluded; None: everywhere)."""
    file.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    width, height = SIZE
    x1, y1, x2, y2 = box or (0, 0, width, height)
    pixels = np.zeros((height, width, 3))
    pixels[y1:y2, x1:x2] = COLOURS[kind % len(COLOURS)]
    blocks = generator.normal(0, 25, (5, 6, 1))  # coarse enough to differ from a near copy
    pixels += np.kron(blocks, np.ones((8, 8, 1))) * (pixels > 0)
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    (image.convert("L") if grey else image).save(file, kind_of_file, quality=95)


def cars(per_class: dict[str, int] | None = None) -> list[Car]:
    """The images, in the order of the tables; file names repeat across training and test data."""
    found = []
    for split, count in (per_class or {"train": 8, "test": 3}).items():
        for place in range(count * len(CARS)):
            box = (5 + place % 4, 4 + place % 3, 40 + place % 5, 36)
            found.append(Car(split, f"{place + 1:05d}.jpg", place % len(CARS) + 1, box))
    return found


def write_car_annotations(file: Path, rows: list[Car], with_class: bool = True) -> None:
    """A devkit's ``annotations``."""
    fields = [*(f"bbox_{side}" for side in SIDES), *(["class"] if with_class else []), "fname"]
    values = [(*car.box, *([car.number] if with_class else []), car.name) for car in rows]
    file.parent.mkdir(parents=True, exist_ok=True)
    savemat(file, {"annotations": np.array(values, dtype=[(field, object) for field in fields])})


def write_cars_devkit(root: Path, rows: list[Car] | None = None, labels_in_devkit: bool = True) -> Path:
    """The layout of the authors; returns root."""
    rows = cars() if rows is None else rows
    devkit = root / "devkit"
    devkit.mkdir(parents=True)
    savemat(devkit / "cars_meta.mat", {"class_names": np.array(CARS, dtype=object)})
    of = {split: [car for car in rows if car.split == split] for split in ("train", "test")}
    write_car_annotations(devkit / "cars_train_annos.mat", of["train"])
    write_car_annotations(devkit / "cars_test_annos.mat", of["test"], with_class=False)
    place = devkit if labels_in_devkit else root
    write_car_annotations(place / "cars_test_annos_withlabels.mat", of["test"])
    for car in rows:
        car.write(root / f"cars_{car.split}" / car.name)
    return root


def write_cars_folders(root: Path, rows: list[Car] | None = None, tables: bool = True) -> Path:
    """Kaggle's layout; returns root."""
    rows = cars() if rows is None else rows
    for car in rows:
        folder = root / "car_data" / "car_data" / car.split / CARS[car.number - 1].replace("/", "-")
        car.write(folder / car.name)
    if tables:
        (root / "names.csv").write_text("".join(f"{name}\n" for name in CARS), encoding="utf-8")
        for split in ("train", "test"):
            write_rows(root / f"anno_{split}.csv", [car.row() for car in rows if car.split == split])
    return root


def write_cars_one_folder(root: Path, flag: int | None = None) -> Path:
    """The authors' second form: car_ims/ and cars_annos.mat; ``flag`` replaces that of the first row."""
    fields = ["relative_im_path", *(f"bbox_{side}" for side in SIDES), "class", "test"]
    values = []
    for number, car in enumerate(cars(), start=1):
        path = f"car_ims/{number:06d}.jpg"
        test = flag if flag is not None and number == 1 else int(car.split == "test")
        values.append((path, *car.box, car.number, test))
        car.write(root / path)
    annotations = np.array(values, dtype=[(field, object) for field in fields])
    savemat(root / "cars_annos.mat", {"annotations": annotations, "class_names": np.array(CARS, dtype=object)})
    return root


def write_rows(file: Path, rows: list[list[Any]], encoding: str = "utf-8") -> Path:
    """A CSV file with the line ends that a spreadsheet writes; returns it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding=encoding, newline="") as opened:
        csv.writer(opened, lineterminator="\r\n").writerows(rows)
    return file


def dog_annotation(boxes: list[tuple[int, int, int, int]], size: tuple[int, int] = SIZE) -> str:
    """The XML of an image: a dog in each box."""
    objects = "".join(
        f"<object><name>dog</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>"
        "</object>"
        for x1, y1, x2, y2 in boxes
    )
    return f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>{objects}</annotation>"


def write_dogs(root: Path, kaggle: bool = False, train: int = 6, test: int = 3) -> Path:
    """Stanford Dogs in the layout of the authors, or of Kaggle; every image has a small dog and a large one."""
    images = root / ("images/Images" if kaggle else "Images")
    annotations = root / ("annotations/Annotation" if kaggle else "Annotation")
    listed: dict[str, list[tuple[str, int]]] = {"train": [], "test": []}
    for kind, folder in enumerate(DOGS):
        for place in range(train + test):
            stem = f"{folder.partition('-')[0]}_{place + 1}"
            box = (6 + place, 4, 44, 30)
            kind_of_file = "PNG" if (kind, place) == (1, 0) else "JPEG"  # as one of the real ones, called .jpg too
            write_image(images / folder / f"{stem}.jpg", kind, box, 100 * kind + place, kind_of_file=kind_of_file)
            (annotations / folder).mkdir(parents=True, exist_ok=True)
            xml = dog_annotation([(0, 0, 5, 5), box], size=(0, 0) if place == 0 else SIZE)
            (annotations / folder / stem).write_text(xml, encoding="utf-8")
            listed["train" if place < train else "test"].append((f"{folder}/{stem}.jpg", kind + 1))
    if not kaggle:
        for split, rows in listed.items():
            write_dog_list(root / "lists" / f"{split}_list.mat", rows)
    return root


def write_dog_list(file: Path, rows: list[tuple[str, int]]) -> None:
    """A list of files with their labels from 1."""
    file.parent.mkdir(parents=True, exist_ok=True)
    names = np.empty((len(rows), 1), dtype=object)
    names[:, 0] = [name for name, _ in rows]
    labels = np.array([[label] for _, label in rows], dtype=np.uint8)
    savemat(file, {"file_list": names, "annotation_list": names, "labels": labels})


def product_rows(per_class: int = 5) -> list[list[str]]:
    """The table with its header: products whose category tree has two levels and a name, in turns of the classes."""
    rows = [list(PRODUCT_COLUMNS)]
    for place in range(per_class):
        for top, below in PRODUCTS.items():
            for category in below:
                key = f"{len(rows):032d}"
                tree = json.dumps([f"{top} >> {category} >> Product, No. {len(rows)}..."])
                day = f"2016-01-{place + 1:02d} 03:22:56 +0000"
                text = f'Two lines,\nand a "quotation", of {category}'
                rows.append([key, day, f"Product {len(rows)}", tree, f"{key}.jpg", text])
    return rows


def write_products(root: Path, rows: list[list[str]] | None = None, folder: str = "Flipkart") -> Path:
    """Table and images in ``folder`` of root; returns root."""
    rows = product_rows() if rows is None else rows
    write_rows(root / folder / "flipkart_com-ecommerce_sample_1050.csv", [list(row) for row in rows])
    classes = [f"{top} >> {category}" for top, below in PRODUCTS.items() for category in below]
    for number, row in enumerate(rows[1:]):
        kind = next((kind for kind, name in enumerate(classes) if name in row[3]), 0)
        write_image(root / folder / "Images" / row[4], kind, None, number)
    return root


def write_all(folder: Path) -> Path:
    """Every dataset under the name that the pages of docs/ give it, large enough for five experiences."""
    rows = cars({"train": 32, "test": 3})
    write_cars_devkit(folder / "stanford_cars", rows)
    write_cars_folders(folder / "cars", rows)
    write_dogs(folder / "stanford_dogs", train=32)
    write_dogs(folder / "dogs", kaggle=True, train=32)
    return write_products(folder, product_rows(per_class=20))
