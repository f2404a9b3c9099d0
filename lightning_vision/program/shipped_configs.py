"""Finds the configs that are installed with the package."""

from __future__ import annotations

from pathlib import Path

from lightning_vision.errors import ConfigError
from lightning_vision.terminal.wording import near


def find_config(value: str) -> str:
    """The path of a config: in the working directory, otherwise among the installed ones.

    Raises:
        ConfigError: It does not exist.
    """
    if Path(value).is_dir():
        raise ConfigError(f"--config: expected a YAML file, {value!r} is a folder.")
    if Path(value).exists():
        return value
    found = config_folder() / Path(value).relative_to("configs") if Path(value).parts[:1] == ("configs",) else None
    if found is not None and found.is_file():
        return str(found)
    known = sorted(
        f"configs/{path.relative_to(config_folder()).as_posix()}" for path in config_folder().rglob("*.yaml")
    )
    raise ConfigError(
        f"--config: there is no file {value!r}, neither in {Path.cwd()} nor among the installed configs. "
        f"Similar names: {', '.join(near(value, known, most=3) or known[:5])}. `lightning-vision list` shows all."
    )


def config_folder() -> Path:
    """The shipped configs: inside the package in a wheel, beside it in an editable install."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"
