"""The configs of labelled images: each runs through the command line on a small folder."""

import json
from collections.abc import Callable
from pathlib import Path

import label_maker as maker
import pytest
from parquet_maker import write_hub_folder
from test_configs import SMALL, SMALL_PHOTOS, fit

from lightning_vision.program.shipped_configs import config_folder


def write_coco_file(root: Path) -> Path:
    names = [f"images/{name}.jpg" for name in maker.draw_all(root / "images")]
    (root / "annotations.coco.json").write_text(json.dumps(maker.coco_document(names)), encoding="utf-8")
    return root


def write_named(root: Path) -> Path:
    for number in range(12):
        maker.draw(root / f"{maker.CLASSES[number % 2]}_{number:04d}.jpg", number % 2, number)
    return root


MAKERS: dict[str, Callable[[Path], Path]] = {
    "table": maker.write_kaggle,
    "annotations": maker.write_cvat,
    "boxes": write_coco_file,
    "file_names": write_named,
    "official_split": maker.write_cub,
    "parquet": write_hub_folder,
}
NAMES = {"official_split": ["001.Gull", "002.Wren"], "parquet": ["ant", "cat"]}
"""Of the classes; those of the others are ``CLASSES``."""


def test_every_config_is_run() -> None:
    assert {path.stem for path in (config_folder() / "labels").glob("*.yaml")} == MAKERS.keys()


@pytest.mark.parametrize("name", MAKERS)
def test_a_base(name: str, tmp_path: Path) -> None:
    root = MAKERS[name](tmp_path / "data")
    few = {"trainer.limit_train_batches": 1, "data.init_args.batch_size": 4, "data.root": root}
    results = fit(tmp_path / "runs", name, [f"configs/labels/{name}.yaml"], {**SMALL, **SMALL_PHOTOS, **few})
    assert results.run.complete
    assert results.class_names == NAMES.get(name, list(maker.CLASSES))
