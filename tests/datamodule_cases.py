"""Every datamodule on tiny data, with other values of the arguments that are its own."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import label_maker
import pandas as pd
import pytest
import torch
from benchmark_maker import write_core50, write_filelists
from coloured_squares import ColouredSquares
from dataset_maker import cars, write_cars_devkit, write_dogs, write_products, write_rows
from dataset_saver import objects_feature, save_dataset
from gitw_maker import COLOURS, gaze_lines, write_sequence
from parquet_maker import write_hub_folder
from photo_folder import write_photos
from PIL import Image
from shard_maker import write_shards
from torch import Tensor
from torch.utils.data import Dataset
from torchvision_maker import write_eurosat, write_pets

import datamodules
from datamodules import ImageFolder
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.scenarios import Joint

QUICK = {
    "image_size": 16,
    "num_workers": 0,
    "val_fraction": 0.0,
    "test_fraction": 0.2,
    "stream": Joint(),
    "cache": "decoded",
}

NO_LABELS = {
    "labels": None, "labels_format": None, "label_columns": None, "label_names": None, "label_pattern": None,
    "test_list": None,
}  # fmt: skip
"""Options that other cases try: without a file of labels they change nothing."""


BY_NAMES = {"split_folders": "none", "classes_from": "folder"}
"""Options of folders that another case tries."""


class Darkened(ColouredSquares):
    """A third party's: its images are made in ``load_image`` by an option that nothing else knows of."""

    def __init__(self, shift: int = 0, **options: Any) -> None:
        self.shift = shift
        super().__init__(**options)

    def load_image(self, index: int) -> Tensor:
        return (super().load_image(index).int() - self.shift).clamp(0).to(torch.uint8)


class Framed(ImageFolder):
    """A third party's: the crop comes with the table."""

    def __init__(self, root: str | Path, margin: int = 0, zoom_out: float = 0.0, **options: Any) -> None:
        self.margin, self.zoom_out = margin, zoom_out
        self.crop_to_box, self.box_context = True, zoom_out
        super().__init__(root, **options)

    def read_samples(self) -> tuple[pd.DataFrame, list[str]]:
        samples, names = super().read_samples()
        box = (8.0 + self.margin, 8.0, 24.0, 24.0)
        return samples.assign(box_xyxy=pd.Series([box] * len(samples), dtype="object")), names


class Numbers(Dataset[tuple[Any, int]]):
    """Images of one colour, for a benchmark of Avalanche."""

    def __init__(self, count: int, blue: int) -> None:
        self.targets = [row % 2 for row in range(count)]
        self.blue = blue

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, row: int) -> tuple[Any, int]:
        return Image.new("RGB", (8, 8), (100 * self.targets[row], 3 * row, self.blue)), self.targets[row]


def benchmark(blue: int = 0) -> Any:
    from avalanche.benchmarks import nc_benchmark

    return nc_benchmark(Numbers(12, blue), Numbers(6, blue), n_experiences=1, task_labels=False, shuffle=False)


def bluer_benchmark() -> Any:
    return benchmark(90)


@dataclass
class Case:
    """How a datamodule is made, and other values of the arguments that are its own."""

    cls: type[StreamDataModule]
    options: dict[str, Any]
    others: dict[str, Any] = field(default_factory=dict)
    refused: tuple[str, ...] = ()
    """Arguments that all have but this one, which sets them itself."""
    without_effect: tuple[str, ...] = ()
    """Arguments whose other value changes no image here, though it does in other datamodules."""

    def make(self, cache_dir: Path, **changed: Any) -> StreamDataModule:
        given = {**QUICK, **self.options, "cache_dir": cache_dir, **changed}
        in_memory = self.cls.load_image is not StreamDataModule.load_image
        if given.get("annotations") or (in_memory and given.get("inspect")):
            given["cache"] = "none"  # the two are refused together
        return self.cls(**{name: value for name, value in given.items() if name not in self.refused})


def gitw(folder: Path) -> Path:
    """Two sequences with boxes and maps, and one that has its gaze points alone."""
    names = ("Bowl/BowlPlace1Subject1", "Mug/MugPlace2Subject1", "Mug/MugPlace3Subject1")
    for number, name in enumerate(names):
        write_sequence(folder / name, colour=COLOURS[number % len(COLOURS)], seed=number)
    shutil.rmtree(folder / names[2] / "SaliencyMaps")
    (folder / names[2] / "fixation_points.txt").write_text(gaze_lines(4))
    return folder


def bounding_boxes(folder: Path) -> Case:
    root = gitw(folder / "GITW")
    other, table = folder / "other_boxes", folder / "boxes.csv"
    other.mkdir()
    for file in root.rglob("*_2_bboxes.txt"):
        (other / file.name).write_text("".join(f"{frame} 1 2 3 {20 + frame} 18\n" for frame in range(4)))
    video = next(root.rglob("BowlPlace1Subject1.mp4")).relative_to(root).as_posix()
    rows = [[video, frame, 1, 2, 30, 20, name] for frame, name in enumerate(("Bowl", "Mug", "Bowl", "Mug"))]
    write_rows(table, [["path", "frame", "x", "y", "w", "h", "class"], *rows])
    others = {"context": 0.5, "annotations_root": str(other), "boxes": str(table), "classes": ["Mug"], **NO_LABELS}
    return Case(datamodules.BoundingBoxes, {"root": root}, others)


def labelled_boxes(folder: Path) -> Case:
    root = label_maker.write_coco(folder / "coco")
    (folder / "names.json").write_text('{"cup": "bowl", "plate": "dish"}')
    rows = [[f"train/{number:03d}.jpg", 1, 2, 30, 20, label_maker.class_of(f"{number:03d}")] for number in range(12)]
    table = write_rows(folder / "boxes.csv", [["path", "x1", "y1", "x2", "y2", "class"], *rows])
    others = {
        "context": 0.5, "labels": table, "labels_format": "coco", "label_names": folder / "names.json", "classes": ["cup"],
        "label_columns": None, "annotations_root": None, "boxes": None,
    }  # fmt: skip
    return Case(datamodules.BoundingBoxes, {"root": root, "labels": root}, others)


def saliency_maps(folder: Path) -> Case:
    others = {"threshold": 200, "sigma": 90.0, "classes": ["Mug"]}
    return Case(datamodules.SaliencyMaps, {"root": gitw(folder / "GITW")}, others)


def core50(folder: Path) -> Case:
    root = write_core50(folder / "core50")
    write_filelists(root)
    return Case(datamodules.CORe50, {"root": root}, {"level": "category", "filelists": "batches_filelists/NI_inc/run0"})


def stanford_cars(folder: Path) -> Case:
    root = write_cars_devkit(folder / "cars", cars({"train": 3, "test": 2}))
    return Case(datamodules.StanfordCars, {"root": root, "crop_to_box": True}, {"crop_to_box": False, "context": 0.5})


def stanford_dogs(folder: Path) -> Case:
    root = write_dogs(folder / "dogs", train=3, test=2)
    return Case(datamodules.StanfordDogs, {"root": root, "crop_to_box": True}, {"crop_to_box": False, "context": 0.5})


def products(folder: Path) -> Case:
    root = write_products(folder / "products")
    (table,) = root.rglob("*.csv")
    shutil.copy(table, folder / "table.csv")
    others = {"level": 2, "categories": ["Baby Care", "Watches"], "table": str(folder / "table.csv")}
    return Case(datamodules.Products, {"root": root}, others)


def image_folder(folder: Path) -> Case:
    root = write_photos(folder / "photos", per_class=4)
    paths = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.*g"))
    table = write_rows(folder / "metadata.csv", [["path", "group"], *([path, path[:3]] for path in paths)])
    labels = write_rows(folder / "labels.csv", [["path", "label"], *([path, path[-5]] for path in paths)])
    (folder / "test.txt").write_text("\n".join(paths[::3]), encoding="utf-8")
    tested = {"test_list": folder / "test.txt"}
    others = {**NO_LABELS, **tested, "metadata": table, "labels": labels, "label_pattern": r"(?P<label>\d)\.jpg"}
    return Case(ImageFolder, {"root": root}, {**others, "split_folders": "none", "classes_from": "parent"})


def framed(folder: Path) -> Case:
    options = {"root": write_photos(folder / "photos", per_class=4)}
    return Case(Framed, options, {**NO_LABELS, **BY_NAMES, "margin": 4, "zoom_out": 0.5, "metadata": None})


def digits(folder: Path) -> Case:
    return Case(datamodules.Digits, {}, {"domains": 3, "root": "elsewhere"})


def avalanche(folder: Path) -> Case:
    pytest.importorskip("avalanche")
    options = {"benchmark": "datamodule_cases.benchmark"}
    others = {"benchmark": "datamodule_cases.bluer_benchmark", "arguments": {"blue": 60}, "root": "elsewhere"}
    return Case(datamodules.Avalanche, options, others)


def torchvision_files(folder: Path) -> Case:
    options = {"dataset": "OxfordIIITPet", "root": write_eurosat(write_pets(folder / "published"))}
    others = {"dataset": "EuroSAT", "download": True, "splits": {"train": "trainval"}, "arguments": {}}
    return Case(datamodules.TorchvisionDataset, options, others, without_effect=("arguments",))


def torchvision_arrays(folder: Path) -> Case:
    made = {"size": 20, "image_size": [3, 8, 8], "num_classes": 2}
    options = {"dataset": "FakeData", "root": "", "arguments": made}
    others = {
        "dataset": "FakeData", "root": "elsewhere", "download": True, "splits": None,
        "arguments": {**made, "random_offset": 7},
    }  # fmt: skip
    return Case(datamodules.TorchvisionDataset, options, others)


def hugging_face(folder: Path) -> Case:
    pytest.importorskip("datasets")
    other = save_dataset(folder / "other", {"train": 12, "validation": 6}, start=50)
    options = {"dataset": str(save_dataset(folder / "saved", {"train": 12, "test": 6}, objects=objects_feature()))}
    others = {
        "dataset": str(other), "root": "elsewhere", "config_name": "default", "revision": "main",
        "splits": {"train": "test", "test": "train"}, "image_column": "image", "label_column": "label",
        "columns": ["camera"], "crop_to_boxes": True,
    }  # fmt: skip
    return Case(datamodules.HuggingFaceDataset, options, others)


def web_dataset(folder: Path) -> Case:
    root = write_shards(folder / "shards", {"train": 2, "test": 1})
    (root / "names.txt").write_text("0 zero\n1 one\n", encoding="utf-8")
    others = {
        "root": str(write_shards(folder / "other", {"train": 2, "test": 1}, start=50)),
        "shards": {"train": "test-*.tar", "test": "train-{0000..0001}.tar"}, "image_extension": "png", "label_extension": "cls",
        "label_names": "names.txt",
    }  # fmt: skip
    return Case(datamodules.WebDataset, {"root": root}, others)


def parquet_images(folder: Path) -> Case:
    pytest.importorskip("pyarrow")
    root = write_hub_folder(folder / "hub")
    (root / "names.txt").write_text("cat Cat\nant Ant\n", encoding="utf-8")
    others = {
        "root": str(write_hub_folder(folder / "other", start=50)), "labels": "data/train-00000-of-00001.parquet",
        "image_column": "image", "label_columns": {"label": "camera"}, "label_names": "names.txt",
    }  # fmt: skip
    return Case(datamodules.ParquetImages, {"root": root}, others)


def coloured_squares(folder: Path) -> Case:
    others = {
        "classes": ["red", "grey"], "per_class": 8, "noise": 5.0, "least_held_out": 2, "root": "elsewhere",
        "arrivals": [{"red": 8, "green": 8, "blue": 8, "grey": 8}],
    }  # fmt: skip
    return Case(ColouredSquares, {"per_class": 6, "val_fraction": 0.2}, others, ("test_fraction",))


def darkened(folder: Path) -> Case:
    base = coloured_squares(folder)
    return Case(Darkened, base.options, {**base.others, "shift": 30}, base.refused)


CASES: dict[str, Callable[[Path], Case]] = {
    "BoundingBoxes": bounding_boxes,
    "SaliencyMaps": saliency_maps,
    "CORe50": core50,
    "StanfordCars": stanford_cars,
    "StanfordDogs": stanford_dogs,
    "Products": products,
    "ImageFolder": image_folder,
    "Digits": digits,
    "Avalanche": avalanche,
    "TorchvisionDataset": torchvision_files,
    "TorchvisionDataset in memory": torchvision_arrays,
    "HuggingFaceDataset": hugging_face,
    "WebDataset": web_dataset,
    "ParquetImages": parquet_images,
    "ColouredSquares": coloured_squares,
    "Darkened": darkened,
    "Framed": framed,
    "LabelledBoxes": labelled_boxes,
}
