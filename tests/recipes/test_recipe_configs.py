"""The configs of configs/recipes: each runs through the command line, beside others, on the layouts of the datasets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from dataset_maker import write_cars_devkit, write_dogs, write_products

from lightning_vision.cli import main
from lightning_vision.program.shipped_configs import config_folder
from lightning_vision.results.schema import read_results

MAKERS: dict[str, Callable[[Path], Path]] = {
    "stanford_cars": write_cars_devkit,
    "stanford_dogs": write_dogs,
    "products": write_products,
}
QUICK = (
    "--trainer.accelerator=cpu", "--trainer.limit_train_batches=2", "--trainer.enable_progress_bar=false", "--model.backbone=test_resnet",
    "--model.pretrained=false", "--data.image_size=32", "--data.num_workers=0", "--data.batch_size=4", "--stop_after=0",
    "--energy.enabled=false", "--wandb.mode=disabled",
)  # fmt: skip
# Every recipe once, with others beside it; the epochs that the Trainer is told, and those that come of them.
COMBINED: tuple[tuple[str, tuple[str, ...], int, int], ...] = (
    ("stanford_cars", ("gradual_unfreezing", "fixres", "moving_average"), 4, 4 + 5),
    ("stanford_dogs", ("warmup_cosine", "layer_decay", "progressive_resizing"), 4, 4),
    ("products", ("cam_blur", "error_replay", "test_time_augmentation"), 1, 1 + 2),
)
# test_finders.py runs what they name: a hundred steps of a trial take their time.
PARSED = ("batch_size_finder", "learning_rate_finder")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("recipe_configs")
    for folder, make in MAKERS.items():
        make(place / folder)
    return place


def recipes_of(config: dict[str, Any]) -> list[Any]:
    """What it adds to the callbacks, or a scheduler."""
    callbacks = [item["class_path"] for item in config.get("trainer", {}).get("callbacks+", [])]
    return callbacks or [config["model"]["lr_scheduler"]["class_path"]]


def read(name: str) -> dict[str, Any]:
    text = (config_folder() / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))


def test_every_config_is_run() -> None:
    assert {path.stem for path in (config_folder() / "recipes").glob("*.yaml")} == {
        *PARSED,
        *(name for _, names, _, _ in COMBINED for name in names),
    }


@pytest.mark.parametrize(
    ("folder", "names", "told", "epochs"),
    COMBINED,
    ids=lambda word: "+".join(word) if isinstance(word, tuple) else None,
)
def test_recipes_are_combined_and_run(folder: str, names: tuple[str, ...], told: int, epochs: int, place: Path) -> None:
    parts = [f"configs/recipes/{name}.yaml" for name in names]
    configs = [word for config in (f"configs/{folder}/full_fine_tune.yaml", *parts) for word in ("--config", config)]
    run = place / "runs" / folder / names[0]
    where = (f"--data.root={place / folder}", f"--trainer.default_root_dir={run.parent}", f"--run_name={run.name}")
    assert main(["fit", *configs, *QUICK, f"--trainer.max_epochs={told}", *where]) == 0
    assert [record.epochs for record in read_results(run / "results.json").experiences] == [epochs]
    kept = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    used = {item["class_path"] for item in kept["trainer"]["callbacks"] or []}
    used.add((kept["model"]["lr_scheduler"] or {}).get("class_path"))
    assert {recipe for name in names for recipe in recipes_of(read(name))} <= used


def test_the_finders_are_understood_together(capsys: pytest.CaptureFixture[str]) -> None:
    configs = [word for name in PARSED for word in ("--config", f"configs/recipes/{name}.yaml")]
    assert main(["fit", "--config", "configs/quickstart.yaml", *configs, "--print_config"]) == 0
    understood = yaml.safe_load(capsys.readouterr().out)["trainer"]["callbacks"]
    asked = [item for name in PARSED for item in read(name)["trainer"]["callbacks+"]]
    assert [item["class_path"] for item in understood] == [item["class_path"] for item in asked]
    assert all(asked[n]["init_args"].items() <= understood[n]["init_args"].items() for n in range(len(asked)))
