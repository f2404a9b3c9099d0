"""The configs of Cars, Dogs, products and own photos: each runs through the command line on a small tree."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dataset_maker import CARS, PRODUCTS, write_cars_folders, write_dogs, write_products
from photo_folder import write_photos
from test_configs import SMALL, SMALL_PHOTOS, fit, options_of

from lightning_vision.program.shipped_configs import config_folder
from lightning_vision.results.schema import Results

MAKERS: dict[str, Callable[[Path], Path]] = {
    "stanford_cars": write_cars_folders,
    "stanford_dogs": write_dogs,
    "products": write_products,
    "image_folder": write_photos,
}
CLASS_NAMES = {
    "stanford_cars": list(CARS),
    "stanford_dogs": ["Chihuahua", "Maltese_dog", "flat-coated_retriever"],
    "products": list(PRODUCTS),
    "image_folder": ["birds", "cats", "dogs"],
}
STRATEGIES = {
    "head_only": "strategies.HeadOnly",
    "full_fine_tune": "strategies.FullFineTune",
    "move_to_data": "strategies.MoveToData",
}
# Of the folder image_folder these only are complete runs on one folder; the others have their tests in test_configs.py.
RUNS = [(folder, name) for folder in MAKERS for name in STRATEGIES]
BASES = [("stanford_cars", "base"), ("stanford_dogs", "base"), ("products", "base")]
FIXRES = ("stanford_dogs", "base_resnext50")
EXPERIENCES = "data.init_args.stream.init_args.experiences"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data, a folder for each dataset."""
    place = tmp_path_factory.mktemp("dataset_configs")
    for folder, make in MAKERS.items():
        make(place / folder)
    return place


def run(place: Path, folder: str, name: str, **more: Any) -> Results:
    few = {"trainer.limit_train_batches": 1, "data.init_args.batch_size": 4}  # crops of 224 pixels take their time
    options = {**SMALL, **SMALL_PHOTOS, **few, "data.root": place / folder, **more}
    results = fit(place / "runs", f"{folder}-{name}", [f"configs/{folder}/{name}.yaml"], options)
    assert results.run.complete and results.class_names == CLASS_NAMES[folder]
    return results


def test_every_config_of_the_datasets_is_run() -> None:
    there = {(path.parent.name, path.stem) for folder in MAKERS for path in (config_folder() / folder).glob("*.yaml")}
    there -= {("image_folder", "base"), ("image_folder", "increment")}
    assert there == {*RUNS, *BASES, FIXRES}


@pytest.mark.parametrize(("folder", "name"), RUNS, ids=lambda word: word)
def test_a_base_and_increments(folder: str, name: str, place: Path) -> None:
    results = run(place, folder, name, **{EXPERIENCES: 2})
    assert results.run.strategy.class_path == STRATEGIES[name]
    assert [record.name for record in results.experiences] == ["base", "increment 1"]


@pytest.mark.parametrize(("folder", "name"), BASES, ids=lambda word: word)
def test_a_base_alone(folder: str, name: str, place: Path) -> None:
    assert [record.name for record in run(place, folder, name).experiences] == ["base"]


def test_the_two_steps_of_fixres(place: Path) -> None:
    """One run takes both; it trains as much smaller than it is tested as the paper tells."""
    results = run(place, *FIXRES)
    asked = options_of("configs/" + "/".join(FIXRES) + ".yaml")
    recipe = "trainer.callbacks.0.init_args"
    assert [record.epochs for record in results.experiences] == [1 + asked[f"{recipe}.epochs"]]
    assert 1.15 <= asked["data.init_args.image_size"] / asked[f"{recipe}.train_size"] <= 1.7


def test_all_configs_share_what_they_say_of_the_data() -> None:
    """A base that is trained alone and the runs of the strategies can be compared."""
    for folder in ("stanford_cars", "stanford_dogs", "products"):
        said = [
            {key: value for key, value in options_of(f"configs/{folder}/{name}.yaml").items() if key[:5] == "data."}
            for name in ("base", *STRATEGIES)
        ]
        for options in said:
            del options[EXPERIENCES], options["data.init_args.stream.init_args.base_fraction"]
        assert all(options == said[0] for options in said)
