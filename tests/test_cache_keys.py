"""Everything that changes an image changes the keys of its caches: every argument of every datamodule is tried.

An argument that is not tried here fails, by name: give it another valid value in ``COMMON`` or in its datamodule's case.
"""

import inspect
import json
import shutil
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coloured_squares import ColouredSquares
from datamodule_cases import CASES, Case, Darkened, coloured_squares, stanford_cars
from PIL import Image
from shard_maker import write_tar
from torch import Tensor, nn

import datamodules
from lightning_vision.class_path import init_args_of
from lightning_vision.data.batch_order import Draw
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.inspection import Inspection, inspect_files
from lightning_vision.data.scenarios import InstanceIncremental
from lightning_vision.features.cached_images import image_key, view_seed
from lightning_vision.images.image_sources import FileImage, FileImages, Opening

EVALUATION, VIEW = -1, 0
MOST_ROWS = 40
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
    "inspect": "headers",
    "new_classes": "allow",
}
"""Another valid value of each argument that all have; root, test_data and cache_dir are made as they are needed."""
CHANGES_NO_IMAGE = {
    "batch_size", "num_workers", "val_fraction", "test_fraction", "seed", "stream", "train_transforms", "batch_transforms",
    "split", "test_data", "on_leak", "on_bad_image", "sampler", "class_weights", "cache_gb", "cache_dir", "views",
    "feature_cache_gb", "new_classes", "classes", "level", "categories", "table", "metadata", "domains", "split_folders",
    "classes_from",
    "download", "labels_format", "label_columns", "label_names", "label_pattern", "test_list",
    "filelists",
}  # fmt: skip
"""Options of evaluation: the caches of one run serve the others for any use."""


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
    """An identity of an image, independent of transforms; the number of earlier boxes of its file."""
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
        found[name] = (f"{key} {data.prepared.digests[row].tobytes().hex()}", dataset[draw]["image"])
    return found


def served_as_made(data: StreamDataModule) -> None:
    """For any earlier contents, the caches serve what is computed without them."""
    if data.prepared.decoded is not None:
        for row in range(min(len(data.samples), MOST_ROWS)):
            kept = data.prepared.decoded.open(row).tensor
            assert torch.equal(kept, data.prepared.decoded._decode(row)), "a decoded image of another run is served"
    if data.cache_path is not None:
        files = data.prepared.own_source
        assert isinstance(files, FileImages)
        anew = inspect_files(files, 1, None, data.inspect).take(data.prepared.origin[~data.prepared.from_other])
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
    assert all(changes[argument] for argument in must & changes.keys() - set(case.without_effect)), (
        "the walk sees what they do"
    )


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
    """Does not change the images of noise by which transforms are compared, and does not describe its option."""

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


def test_a_file_in_an_archive_has_another_key_than_the_same_file_in_a_folder(tmp_path: Path) -> None:
    """It is decoded whole, and the other one at a reduced scale where it is much larger than wanted."""
    members = []
    for number in range(4):
        file = tmp_path / "photos" / str(number % 2) / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (160, 160, 3), dtype=np.uint8)
        Image.fromarray(noise).save(file)
        members += [(file.name, file.read_bytes()), (f"{number}.cls", str(number % 2).encode())]
    write_tar(tmp_path / "shards" / "0.tar", members)
    options: dict[str, Any] = {"image_size": 16, "num_workers": 0, "val_fraction": 0.0, "test_fraction": 0.0}
    one = datamodules.ImageFolder(tmp_path / "photos", **options)
    other = datamodules.WebDataset(tmp_path / "shards", cache_dir=tmp_path / "cache", **options)
    in_folder, in_archive = (int(data.samples["path"].str.contains("2").argmax()) for data in (one, other))
    assert np.array_equal(one.prepared.digests[in_folder], other.prepared.digests[in_archive]), "they are copies"
    assert not torch.equal(one.preview(in_folder), other.preview(in_archive))
    assert image_key(one, EVALUATION) != image_key(other, EVALUATION)
