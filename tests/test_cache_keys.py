"""Whatever changes an image changes the keys of all that is kept of it: every argument of every datamodule is tried.

An argument that is not tried here fails, by name: give it another valid value in ``COMMON`` or in its datamodule's case.
"""

import inspect
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from coloured_squares import ColouredSquares
from dataset_maker import cars, write_cars_devkit, write_dogs, write_products, write_rows
from gitw_maker import COLOURS, gaze_lines, write_sequence
from photo_folder import write_photos
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

import datamodules
from datamodules import ImageFolder
from lightning_vision.class_path import init_args_of
from lightning_vision.data.batch_order import Draw
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.inspection import Inspection, inspect_files
from lightning_vision.data.scenarios import InstanceIncremental, Joint
from lightning_vision.features.feature_cache import image_key, view_seed
from lightning_vision.images.image_sources import FileImage, FileImages, Opening

EVALUATION, VIEW = -1, 0
MOST_ROWS = 40
QUICK = {
    "image_size": 16,
    "num_workers": 0,
    "val_fraction": 0.0,
    "test_fraction": 0.2,
    "stream": Joint(),
    "cache": "decoded",
}
COMMON: dict[str, Any] = {
    "batch_size": 7,
    "num_workers": 1,
    "image_size": 24,
    "val_fraction": 0.3,
    "test_fraction": 0.4,
    "seed": 5,
    "stream": InstanceIncremental(2),
    "train_transforms": ["resize", "vertical_flip"],
    "eval_transforms": ["resize", {"RandomInvert": {"p": 1.0}}],
    "batch_transforms": ["MixUp"],
    "split": "70/30",
    "on_leak": "drop",
    "on_bad_image": "skip",
    "sampler": "balanced",
    "class_weights": "balanced",
    "annotations": True,
    "cache": "none",
    "cache_gb": 1.0,
    "views": 3,
    "feature_cache_gb": 1.0,
}
"""Another valid value of each argument that all have; root, test_data and cache_dir are made as they are needed."""
CHANGES_NO_IMAGE = {
    "batch_size", "num_workers", "val_fraction", "test_fraction", "seed", "stream", "train_transforms", "batch_transforms",
    "split", "test_data", "on_leak", "on_bad_image", "sampler", "class_weights", "cache_gb", "cache_dir", "views",
    "feature_cache_gb", "classes", "level", "categories", "table", "metadata", "domains",
}  # fmt: skip
"""Of evaluation: what is kept by one run serves the others, whatever they use of it and how they use it."""


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

    def make(self, cache_dir: Path, **changed: Any) -> StreamDataModule:
        given = {**QUICK, **self.options, "cache_dir": cache_dir, **changed}
        if given.get("annotations"):
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
    others = {"context": 0.5, "annotations_root": str(other), "boxes": str(table), "classes": ["Mug"]}
    return Case(datamodules.BoundingBoxes, {"root": root}, others)


def saliency_maps(folder: Path) -> Case:
    others = {"threshold": 200, "sigma": 90.0, "classes": ["Mug"]}
    return Case(datamodules.SaliencyMaps, {"root": gitw(folder / "GITW")}, others)


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
    return Case(ImageFolder, {"root": root}, {"metadata": table})


def framed(folder: Path) -> Case:
    options = {"root": write_photos(folder / "photos", per_class=4)}
    return Case(Framed, options, {"margin": 4, "zoom_out": 0.5, "metadata": None})


def digits(folder: Path) -> Case:
    return Case(datamodules.Digits, {}, {"domains": 3, "root": "elsewhere"})


def avalanche(folder: Path) -> Case:
    pytest.importorskip("avalanche")
    options = {"benchmark": "test_cache_keys.benchmark"}
    others = {"benchmark": "test_cache_keys.bluer_benchmark", "arguments": {"blue": 60}, "root": "elsewhere"}
    return Case(datamodules.Avalanche, options, others)


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
    "StanfordCars": stanford_cars,
    "StanfordDogs": stanford_dogs,
    "Products": products,
    "ImageFolder": image_folder,
    "Digits": digits,
    "Avalanche": avalanche,
    "ColouredSquares": coloured_squares,
    "Darkened": darkened,
    "Framed": framed,
}
WALK_ALL = ("BoundingBoxes", "Darkened")
"""One of files and one of arrays: with these the arguments that all have are tried too."""


def arguments_of(cls: type[StreamDataModule]) -> tuple[list[str], list[str]]:
    """Names of a datamodule's own arguments, and of those that it hands on."""
    own: dict[str, None] = {}
    for kind in cls.__mro__:
        if kind is StreamDataModule:
            break
        if "__init__" in vars(kind):
            parameters = list(inspect.signature(vars(kind)["__init__"]).parameters.values())[1:]
            own |= {p.name: None for p in parameters if p.kind is not p.VAR_KEYWORD}
    common = list(inspect.signature(StreamDataModule.__init__).parameters)[1:]
    return list(own), [name for name in common if name not in own]


def another_root(case: Case, folder: Path) -> Path:
    """A copy of the data in which an image is another, as far as there are image files."""
    root = Path(shutil.copytree(case.options["root"], folder / "another_root"))
    for file in sorted(path for path in root.rglob("*") if path.suffix in (".jpg", ".png"))[:1]:
        Image.new("RGB", Image.open(file).size, (9, 200, 9)).save(file)
    return root


def other_value(case: Case, name: str, folder: Path) -> Any:
    if name in case.others:
        return case.others[name]
    if name == "root":
        return another_root(case, folder)
    if name == "cache_dir":
        return folder / "another_cache"
    if name == "test_data":
        return case.make(folder / "cache", cache="none")
    if name not in COMMON:
        raise AssertionError(
            f"{case.cls.__name__} has the argument '{name}', which is not tried: what it does to images must be in the "
            f"keys of all caches (see Opening and SampleDataset.describe). Then give another valid value of it in {__file__}."
        )
    return COMMON[name]


def names_of(data: StreamDataModule) -> list[tuple[object, ...]]:
    """What tells an image from the others, whatever is done to it; how often its file came before, for several boxes."""
    columns = [name for name in ("source", "path", "frame") if name in data.samples]
    table = data.samples[columns].fillna("")
    return list(zip(*(table[name] for name in columns), table.groupby(columns).cumcount(), strict=True))


Seen = dict[tuple[object, ...], tuple[str, Tensor]]


def seen(data: StreamDataModule, view: int) -> Seen:
    """The key and the pixels of each image, by its name."""
    dataset, key = data.image_dataset(), json.dumps(image_key(data, view), sort_keys=True)
    found: Seen = {}
    for row, name in enumerate(names_of(data)[:MOST_ROWS]):
        draw = Draw(row, -1, view_seed(data, row, view), valid=True, memory=False)
        found[name] = (f"{key} {data.inspection.digest[row].tobytes().hex()}", dataset[draw]["image"])
    return found


def served_as_made(data: StreamDataModule) -> None:
    """Whatever the caches hold from before, what they serve is what is made without them."""
    if data.prepared.decoded is not None:
        for row in range(min(len(data.samples), MOST_ROWS)):
            kept = data.prepared.decoded.open(row).tensor
            assert torch.equal(kept, data.prepared.decoded._decode(row)), "a decoded image of another run is served"
    if data.cache_path is not None:
        files = data.prepared.own_source
        assert isinstance(files, FileImages)
        anew = inspect_files(files, 1, None).take(data.prepared.origin[~data.prepared.from_other])
        mine = data.inspection.take(np.flatnonzero(~data.prepared.from_other))
        for item in fields(Inspection):
            same = np.array_equal(getattr(mine, item.name), getattr(anew, item.name))
            assert same, f"the inspection of another run is served: {item.name}"


def check_argument(case: Case, name: str, folder: Path, before: Mapping[int, Seen]) -> int:
    """Change an argument; returns how many images it changed."""
    changed = case.make(**{"cache_dir": folder / "cache", name: other_value(case, name, folder)})
    served_as_made(changed)
    different = 0
    for view in (EVALUATION, VIEW):
        after = seen(changed, view)
        for image in before[view].keys() & after.keys():
            (key, pixels), (other_key, other_pixels) = before[view][image], after[image]
            same = torch.equal(pixels, other_pixels)
            assert same or key != other_key, f"{case.cls.__name__}.{name} changes {image} and not its key"
            if view == EVALUATION and name in CHANGES_NO_IMAGE:
                assert same and key == other_key, (
                    f"{case.cls.__name__}.{name} should change neither {image} nor its key"
                )
            different += not same
    return different


def test_every_datamodule_is_tried() -> None:
    assert set(datamodules.__all__) <= CASES.keys()


@pytest.mark.filterwarnings("ignore")  # Avalanche's
@pytest.mark.parametrize("name", list(CASES))
def test_an_argument_that_changes_an_image_changes_all_keys(name: str, tmp_path: Path) -> None:
    case = CASES[name](tmp_path)
    first = case.make(tmp_path / "cache")
    before = {view: seen(first, view) for view in (EVALUATION, VIEW)}
    own, common = arguments_of(case.cls)
    tried = own if name not in WALK_ALL else [*own, *(argument for argument in common if argument not in case.refused)]
    changes = {argument: check_argument(case, argument, tmp_path, before) for argument in tried}
    must = {
        "context",
        "crop_to_box",
        "shift",
        "margin",
        "zoom_out",
        "threshold",
        "sigma",
        "arguments",
        "benchmark",
        "noise",
    }
    assert all(changes[argument] for argument in must & changes.keys()), "the walk sees what they do"


def test_an_argument_that_nobody_tried_is_named(tmp_path: Path) -> None:
    class WithAnOption(Darkened):
        def __init__(self, contrast: float = 1.0, **options: Any) -> None:
            self.contrast = contrast
            super().__init__(**options)

    assert "contrast" in arguments_of(WithAnOption)[0]
    assert {"shift", "noise"} <= set(init_args_of(WithAnOption(per_class=6), StreamDataModule)), "handed on"
    with pytest.raises(AssertionError, match="WithAnOption has the argument 'contrast', which is not tried"):
        other_value(Case(WithAnOption, {}, coloured_squares(tmp_path).others), "contrast", tmp_path)


def test_all_that_a_file_is_opened_with_is_in_its_digest() -> None:
    """An option that ``FileImage`` is given is a field of ``Opening``, and changes what digests are made of."""
    assert list(Opening._fields) == list(inspect.signature(FileImage.__init__).parameters)[1:]
    plain = Opening(Path("a.jpg"))
    assert plain.treatment == Opening(Path("b.jpg")).treatment == b""
    boxed = plain._replace(box=(1.0, 2.0, 3.0, 4.0))
    others = [boxed._replace(box=(1.0, 2.0, 3.0, 5.0)), boxed._replace(context=0.5), plain]
    assert len({opening.treatment for opening in (boxed, *others)}) == 4
    assert {"box", "context"} == set(Opening._fields) - {"path"}, "a new field: try it here"


class BrightensLargeImages(nn.Module):
    """Does nothing to the images of noise that transforms are told apart by, and says nothing of its option."""

    def __init__(self, by: int) -> None:
        super().__init__()
        self.by = by

    def forward(self, image: Tensor) -> Tensor:
        return image + self.by if image.shape[-1] > 1000 else image


def test_a_transforms_settings_are_in_the_key() -> None:
    keys = [
        json.dumps(image_key(ColouredSquares(per_class=6, eval_transforms=[BrightensLargeImages(by)]), EVALUATION))
        for by in (1, 2, 1)
    ]
    assert keys[0] == keys[2] != keys[1]


def test_an_image_of_another_datamodule_has_the_key_of_what_is_done_to_it_there(tmp_path: Path) -> None:
    case = stanford_cars(tmp_path)
    wide = case.make(tmp_path / "cache", context=0.5, cache="none")
    data = case.make(tmp_path / "cache", test_data=wide)
    place = {str(row.path): number for number, row in enumerate(wide.samples.itertuples())}
    tested = data.samples.index[data.samples["source"] != ""]
    assert len(tested) == 6
    for row in tested:
        path = str(data.samples["path"][row])
        assert np.array_equal(data.inspection.digest[row], wide.inspection.digest[place[path]])
        assert torch.equal(data.image(row), wide.image(place[path]))
    served_as_made(data)
