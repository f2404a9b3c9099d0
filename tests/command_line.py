"""The program as a user starts it, in this process, on data and a network that take a second."""

from pathlib import Path
from typing import Any

import torch

from lightning_vision.cli import main
from lightning_vision.learning.checkpoints import find_checkpoint, read_checkpoint

QUICK = (
    "--trainer.accelerator=cpu",
    "--trainer.devices=1",
    "--trainer.max_epochs=1",
    "--trainer.enable_progress_bar=false",
    "--energy.enabled=false",
    "--wandb.mode=disabled",
    "--model.backbone=test_resnet",
    "--model.pretrained=false",
    "--data=coloured_squares.ColouredSquares",
    "--data.stream=InstanceIncremental",
    "--data.stream.experiences=3",
)


def start(folder: Path, name: str, *options: str) -> int:
    """The exit code of ``fit`` with the quick options, those given last winning."""
    return main(["fit", *QUICK, f"--trainer.default_root_dir={folder}", f"--run_name={name}", *options])


def fit(folder: Path, name: str, *options: str) -> Path:
    """The run directory of a run that must succeed."""
    assert start(folder, name, *options) == 0
    return folder / name


def checkpoint_of(run: Path, experience: int | None = None) -> dict[str, Any]:
    """The checkpoint at the end of an experience, the last one if none is named."""
    path = find_checkpoint(run) if experience is None else run / "checkpoints" / f"experience={experience:04d}.ckpt"
    return read_checkpoint(path)


def weights_of(run: Path, experience: int | None = None) -> dict[str, torch.Tensor]:
    """What ``checkpoint_of`` holds of the classifier."""
    state: dict[str, torch.Tensor] = checkpoint_of(run, experience)["state_dict"]
    return state


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """The names of network tensors that are not bit-identical."""
    names = [name for name in before if name.startswith("network.")]
    return {name for name in names if not torch.equal(before[name], after[name])}
