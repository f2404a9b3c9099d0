"""Comparisons on data and a network that take a second."""

from pathlib import Path

import yaml

from lightning_vision.results.schema import Results, read_results

CONFIG = {
    "trainer": {"accelerator": "cpu", "devices": 1, "max_epochs": 2, "enable_progress_bar": False},
    "model": {"backbone": "test_resnet", "pretrained": False, "base_epochs": 2, "strategy": {"class_path": "strategies.MoveToData"}},
    "data": {
        "class_path": "coloured_squares.ColouredSquares",
        "init_args": {"stream": {"class_path": "lightning_vision.InstanceIncremental", "init_args": {"experiences": 3}}},
    },
    "energy": {"enabled": False},
}  # fmt: skip
OFF = "--wandb.mode=disabled"


def write_config(folder: Path) -> Path:
    """The folder, with the configuration that ``words`` names."""
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    return folder


def words(folder: Path, name: str, *more: str) -> list[str]:
    """The command line of a comparison into ``folder / name``."""
    return ["compare", "--config", str(folder / "config.yaml"), "--output", str(folder / name), *more]


def results_of(folder: Path, kind: str = "runs") -> dict[str, Results]:
    """What its cells (``runs``) or its bases (``bases``) found, by name."""
    return {path.parent.name: read_results(path) for path in sorted((folder / kind).glob("*/results.json"))}
