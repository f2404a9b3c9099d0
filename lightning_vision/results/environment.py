"""Versions, hardware and the commit that a run ran on."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata

import numpy as np
import numpy.typing as npt

from lightning_vision.results import schema
from lightning_vision.results.record import digits


def path_hashes(paths: list[str]) -> npt.NDArray[np.str_]:
    """Sixteen hexadecimal digits for each image's path (N,), to match images across runs."""
    return np.array([digits(path) for path in paths])


def environment(device: str, devices: int, precision: str) -> schema.Environment:
    """Versions, hardware and the commit that a run ran on."""
    packages = (
        "torch",
        "torchvision",
        "lightning",
        "timm",
        "torchmetrics",
        "numpy",
        "codecarbon",
        "wandb",
        "lightning_vision",
    )
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    facts = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device,
        "devices": devices,
        "precision": precision,
        "git_commit": _git_commit(),
    }
    return schema.Environment.model_validate(facts | versions)


def _git_commit() -> str | None:
    """The commit of the folder that the user works in, with a mark if it was changed since."""
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
