"""A datamodule of any class without its images, as a run from elsewhere predicts with it."""

import inspect
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentParser

import datamodules
from lightning_vision.data.absent_data import without_images
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.errors import DataError

EXPERIENCES = [("base", [0, 1]), ("more", [2])]


def absent(name: str, **options: Any) -> StreamDataModule:
    kind = getattr(datamodules, name)
    given = {"dataset": "CIFAR10", "root": "/nowhere/photos"}
    taken = inspect.signature(kind.__init__).parameters
    options = {**{key: value for key, value in given.items() if key in taken}, "image_size": 32, **options}
    return without_images(kind, options, ["a", "b", "c", "d"], EXPERIENCES, True)


# Avalanche's benchmarks are objects of that library, which builds them with their data.
@pytest.mark.parametrize("name", [name for name in datamodules.__all__ if name != "Avalanche"])
def test_nothing_is_read(name: str) -> None:
    data = absent(name)
    assert data.class_names == ["a", "b", "c", "d"], "also one that no experience has taught yet"
    assert [(each.name, each.classes, each.is_base) for each in data.stream] == [
        ("base", (0, 1), True),
        ("more", (2,), False),
    ]
    assert data.eval_transform(torch.zeros(3, 50, 40, dtype=torch.uint8)).shape == (3, 32, 32)
    with pytest.raises(DataError, match="images of this run's data are not on this machine"):
        data.image(0)


def test_options_about_the_images_that_are_not_there_are_left_out() -> None:
    others = {"labels": "labels.csv", "split": {"folds": 5, "fold": 0}, "class_weights": [1.0] * 4, "cache": "decoded"}
    data = absent("ImageFolder", **others, sampler="balanced", test_fraction=0.5, eval_transforms="resize")
    assert (data.split, data.sampler, data.cache, data.inspect) == ("official", "none", "none", None)
    assert data.eval_transforms == "resize"


def test_the_class_keeps_its_short_name() -> None:
    data = absent("ImageFolder")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(StreamDataModule, "data")
    assert (
        parser.parse_args(["--data=ImageFolder", "--data.root=photos"]).data.class_path == "datamodules.ImageFolder"
    ), data
