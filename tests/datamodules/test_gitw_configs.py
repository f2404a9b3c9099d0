"""The configs of Grasping in the Wild: each runs through the command line on a small tree of real videos."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gitw_maker import CLASSES, ENOUGH, write_gitw
from test_configs import SMALL, SMALL_PHOTOS, fit, options_of

from lightning_vision.program.shipped_configs import config_folder
from lightning_vision.results.schema import Results

FLAVOURS = ("gitw_saliency", "gitw_boxes")
STRATEGIES = {
    "head_only": "strategies.HeadOnly",
    "full_fine_tune": "strategies.FullFineTune",
    "move_to_data": "strategies.MoveToData",
}
ON_SALIENCY = ("gitw_boxes", "test_on_saliency")
FRAMES = 3
"""Of each sequence that show the object."""
EXPERIENCES = "data.init_args.stream.init_args.experiences"
# The learning strategies are run with one increment, and one of them with all five.


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("gitw_configs")
    write_gitw(place / "GITW", ENOUGH, count=FRAMES + 1)
    return place


def run(place: Path, folder: str, name: str, **more: Any) -> Results:
    options = {**SMALL, **SMALL_PHOTOS, "data.root": place / "GITW", **more}
    results = fit(place / "runs", f"{folder}-{name}", [f"configs/{folder}/{name}.yaml"], options)
    assert results.run.complete and results.class_names == list(CLASSES)
    return results


def frames(results: Results, experience: int) -> tuple[int, int]:
    """How many are trained on or validated with, and tested on."""
    record = results.experiences[experience]
    return record.train_samples + record.val_samples, record.test_samples


def test_every_config_is_run() -> None:
    there = {(path.parent.name, path.stem) for path in config_folder().glob("gitw_*/*.yaml")}
    assert there == {(folder, name) for folder in FLAVOURS for name in ("base", *STRATEGIES)} | {ON_SALIENCY}


def test_a_base_learns_what_the_crops_show(place: Path) -> None:
    """The classes differ in the colour of the object, which fills its crop: labels and boxes belong to their frames."""
    learning: dict[str, Any] = {
        "trainer.limit_train_batches": 1.0,
        "model.base_epochs": 12,
        "model.base_optimizer.init_args.lr": 3e-3,
        "data.init_args.image_size": 16,
        "data.init_args.batch_size": 6,
        "data.init_args.val_fraction": 0.0,  # a few images of one class would pick the epoch
        "data.init_args.train_transforms": "resize",
        "data.init_args.eval_transforms": "resize",
    }
    results = run(place, "gitw_saliency", "base", **learning)
    assert [record.name for record in results.experiences] == ["base"]
    assert frames(results, 0) == (ENOUGH["train1"] * len(CLASSES) * FRAMES, ENOUGH["test1"] * len(CLASSES) * FRAMES)
    assert results.test_accuracy[-1] == 1.0


def test_a_base_on_boxes(place: Path) -> None:
    results = run(place, "gitw_boxes", "base")
    assert [record.name for record in results.experiences] == ["base"]
    assert frames(results, 0) == (ENOUGH["train1"] * len(CLASSES) * FRAMES, ENOUGH["test1"] * len(CLASSES) * FRAMES)
    (file,) = (place / "runs").glob("gitw_boxes-base*/predictions.npz")
    with np.load(file, allow_pickle=False) as predictions:
        _, sizes = np.unique(predictions["group"], return_counts=True)
    assert sizes.tolist() == [FRAMES] * (ENOUGH["test1"] * len(CLASSES)), "the frames of a sequence are one group"


@pytest.mark.parametrize("folder", FLAVOURS)
@pytest.mark.parametrize("name", STRATEGIES)
def test_a_base_and_increments(folder: str, name: str, place: Path) -> None:
    count = 6 if (folder, name) == ("gitw_saliency", "move_to_data") else 2
    results = run(place, folder, name, **{EXPERIENCES: count})
    assert results.run.strategy.class_path == STRATEGIES[name]
    assert [record.name for record in results.experiences] == ["base", *(f"increment {t}" for t in range(1, count))]
    assert frames(results, 0)[0] == ENOUGH["train1"] * len(CLASSES) * FRAMES, "train1 is the base"
    learned = sum(frames(results, index)[0] for index in range(1, count))
    assert learned == ENOUGH["test2"] * len(CLASSES) * FRAMES, "test2 is the increments"


def test_trained_on_boxes_and_tested_on_saliency_maps(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = "data.init_args.test_data.init_args.root"
    more: dict[str, Any] = {EXPERIENCES: 2, root: place / "GITW"}
    results = run(place, *ON_SALIENCY, **more)
    tested = ENOUGH["test1"] * len(CLASSES) * FRAMES
    assert sum(scores["support"] for scores in results.test.per_class.values()) == tested
    told = capsys.readouterr().err
    assert f"{tested} test images of {place / 'GITW'} are not used: data.test_data is." in told
    assert "black saliency maps" in told and "frames without the object" in told


def test_all_configs_share_what_they_say_of_the_data() -> None:
    """A base that is trained alone and the runs of the strategies can be compared."""
    said: list[dict[str, Any]] = []
    for folder, name in [(folder, name) for folder in FLAVOURS for name in ("base", *STRATEGIES)] + [ON_SALIENCY]:
        options = options_of(f"configs/{folder}/{name}.yaml")
        data = {key: value for key, value in options.items() if key[:5] == "data." and "test_data" not in key}
        assert data.pop("data.class_path") == (
            "datamodules.SaliencyMaps" if "saliency" in folder else "datamodules.BoundingBoxes"
        )
        assert data.pop("data.init_args.split.test") == "test1"
        parts = {key.rsplit(".", 1)[-1]: data.pop(key) for key in list(data) if ".split." in key}
        assert parts == ({"train": "train1"} if name == "base" else {"base": "train1", "increments": "test2"})
        assert data.pop(EXPERIENCES) == (1 if name == "base" else 6)
        del data["data.init_args.stream.init_args.base_fraction"]
        said.append({**data, "backbone": options["model.backbone"]})
    assert all(data == said[0] for data in said)
