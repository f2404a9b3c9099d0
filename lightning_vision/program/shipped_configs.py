"""Finds the configs that are installed with the package."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

from lightning_vision.errors import ConfigError
from lightning_vision.terminal.messages import print_notice
from lightning_vision.terminal.wording import near

MODELINE = "# yaml-language-server: $schema="
"""The beginning of a config's first line, by which editors find its JSON schema."""


def find_config(value: str) -> str:
    """The path of a config: in the working directory, otherwise among the installed ones.

    Raises:
        ConfigError: It does not exist.
    """
    if Path(value).is_dir():
        raise ConfigError(f"--config: expected a YAML file, {value!r} is a folder.")
    if Path(value).exists():
        _tell_of_another_schema(Path(value))
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


def _tell_of_another_schema(path: Path) -> None:
    """Say that a config names the JSON schema of another version, whose options may differ."""
    try:
        with path.open(encoding="utf-8") as file:
            found = re.match(rf"{re.escape(MODELINE)}.*\bschema-(\d+\.\d+)\.json", file.readline())
    except (OSError, UnicodeDecodeError):  # whoever reads it next says so
        return
    here = ".".join(metadata.version("lightning_vision").split(".")[:2])
    if found and found[1] != here:
        print_notice(
            f"{path} names the schema of lightning_vision {found[1]}, and this is {here}: options may have other names or defaults. "
            f"Write the schema of this version with `lightning-vision schema`, and name it in the first line: schema-{here}.json."
        )


def config_folder() -> Path:
    """The shipped configs: inside the package in a wheel, beside it in an editable install."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"
