"""The configs of configs/compare: each runs through the command line on a small tree in the layout of its data."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from dataset_maker import write_cars_folders, write_dogs, write_products
from gitw_maker import ENOUGH, write_gitw
from photo_folder import write_photos

from lightning_vision.cli import main
from lightning_vision.comparison.options import read_options
from lightning_vision.program.shipped_configs import config_folder
from lightning_vision.results.schema import Results, read_results

QUICK = (
    "--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu",
    "--model.pretrained=false", "--model.backbone=test_resnet", "--data.num_workers=0", "--energy.enabled=false",
    "--wandb.mode=disabled", "--seeds", "0",
)  # fmt: skip


@dataclass(frozen=True)
class Table:
    """A config, the data it runs on, the options that make it small, and what must come of it."""

    data: str
    methods: int
    more: tuple[str, ...] = ()
    groups: int = 1


TABLES = {
    "quickstart": Table(
        "",
        2,
        (
            "--strategies",
            "HeadOnly",
            "configs/strategy/move_to_data.yaml",
            "--model.base_epochs=1",
            "--data.stream.experiences=2",
        ),
    ),
    "gitw_strategies": Table("gitw", 4, ("--data.image_size=32", "--data.stream.experiences=2")),
    "stanford_cars_transforms": Table("cars", 8, ("--data.image_size=32",)),
    "stanford_cars_size": Table("cars", 2, ("--axis", "data.image_size=24,32")),
    "stanford_cars_split": Table("cars", 2, ("--data.image_size=32",), groups=2),
    "stanford_cars_batch_and_rate": Table(
        "cars", 2, ("--data.image_size=32", "--axis", "data.batch_size=4,8", "model.optimizer.lr=1e-3")
    ),
    "products_backbones": Table("products", 4, ("--data.image_size=32",)),
    "stanford_dogs_sizes": Table("dogs", 3, ("--axis", "data.image_size=24")),
    "photos_cross_validation": Table("photos", 1, ("--data.image_size=32", "--strategies", "HeadOnly")),
}
MAKERS: dict[str, Callable[[Path], object]] = {
    "cars": write_cars_folders,
    "dogs": write_dogs,
    "products": write_products,
    "photos": write_photos,
    "gitw": lambda root: write_gitw(root, ENOUGH, count=4),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("compare_configs")
    for name, make in MAKERS.items():
        make(place / name)
    return place


def test_every_config_is_run() -> None:
    assert {path.stem for path in (config_folder() / "compare").glob("*.yaml")} == TABLES.keys()


@pytest.mark.parametrize("name", TABLES)
def test_it_runs_to_a_report(name: str, place: Path) -> None:
    table, output = TABLES[name], place / "out" / name
    data = () if not table.data else ("--data.root", str(place / table.data))
    words = ("--config", f"configs/compare/{name}.yaml", *QUICK, *table.more, *data, "--output", str(output))
    assert main(["compare", *words]) == 0
    cells: list[Results] = [read_results(path) for path in (output / "runs").glob("*/results.json")]
    assert cells and all(cell.run.complete for cell in cells)
    ranking = pd.read_csv(output / "report" / "ranking.csv")
    assert (len(ranking), ranking["group"].nunique()) == (table.methods, table.groups)
    assert (output / "report" / "report.html").stat().st_size > 100_000


def test_what_the_tables_ask_for() -> None:
    """The settings of the experiments, apart from what a test makes small."""
    options = {name: read_options(["--config", str(config_folder() / "compare" / f"{name}.yaml")]) for name in TABLES}
    cells = {name: len(o.points()) * len(o.strategies) * len(o.seeds) for name, o in options.items()}
    assert cells["quickstart"] == 15 and cells["gitw_strategies"] == 12 and cells["stanford_dogs_sizes"] == 27
    sizes = [c.settings["data.image_size"] for c in options["stanford_cars_size"].axes["data.image_size"]]
    assert sizes == [256, 400]
    splits = [c.settings["data.split"] for c in options["stanford_cars_split"].axes["data.split"]]
    assert splits == ["50/50", "70/30"]
    assert [s.settings.get("model.backbone", "") for s in options["products_backbones"].strategies[1:3]] == [
        "tf_efficientnetv2_b1",
        "tf_efficientnetv2_b2",
    ]
    folds = [c.settings["data.split"] for c in options["photos_cross_validation"].axes["fold"]]
    assert folds == [{"folds": 5, "fold": fold} for fold in range(5)]
