"""A run as a repository of the Hugging Face Hub: its files without what is private to the machine, hashed and with a card."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.errors import CheckpointError, ConfigError
from lightning_vision.exporting.hub_card import PushedRun, hub_card
from lightning_vision.learning.checkpoints import find_checkpoint, read_checkpoint
from lightning_vision.learning.hub_run import HASHES, WEIGHTS
from lightning_vision.learning.tensor_file import ENTRIES, write_tensors
from lightning_vision.program.known_classes import registered
from lightning_vision.program.plugins import load_plugins
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.results.schema import Results, read_results
from lightning_vision.storage.atomic_write import write_text_atomically
from lightning_vision.storage.file_hashes import FileHashes
from lightning_vision.storage.hub_address import HubAddress, read_address
from lightning_vision.storage.hub_repository import check_login, upload
from lightning_vision.storage.links_out import refuse_links_out
from lightning_vision.tracking.wandb_logger import mask_secrets
from lightning_vision.trust.kept_calibration import Trusted, read_trusted
from lightning_vision.trust.report import read_trust_report

CARD = "README.md"
COPIED = (
    *("metrics.csv", "predictions.npz", "accuracy_matrix.csv", "confusion_matrix.csv"),
    *("accuracy_matrix.png", "confusion_matrix.png", "curves.png", "sweep.png"),
)
"""Files that are pushed as they are, if the run has them. errors.png shows images of the data, and emissions.csv the place."""
_FOLDER = re.compile(r"(?:/|~/|[A-Za-z]:[\\/])[^\n]+")
_CREDENTIALS = re.compile(r"://[^/@\s]+@")
"""A name and a password in an address, as of a logger's server."""


@dataclass(frozen=True, repr=False)
class Pushed:
    """A run on the Hub.

    Args:
        address: The repository at the commit.
        files: The names of its files.
    """

    address: HubAddress
    files: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Pushed {len(self.files)} files: {self.address}"


def push_run(run: Path, name: str, *, private: bool | None = None, trust_run: bool = False) -> Pushed:
    """Put a run into a repository of the Hugging Face Hub, which is created if it does not exist.

    Args:
        run: The run directory.
        name: The repository, ``owner/name``.
        private: Whether a new repository is private; None: as the account's default is.
        trust_run: The run directory may have links to other places.

    Raises:
        CheckpointError: The directory holds no finished experience.
        ConfigError: The name is malformed, nobody is logged in, or the login may not write there.
        TrainingError: The Hub cannot be reached.
    """
    address = _repository(name)
    with tempfile.TemporaryDirectory(prefix="lightning_vision-push-") as folder:
        check_login()
        files = write_repository(run, address.name, Path(folder), trust_run=trust_run)
        commit = upload(Path(folder), address, f"A run of lightning_vision {_version()}", private)
    return Pushed(HubAddress(address.name, commit), tuple(files))


def write_repository(run: Path, name: str, folder: Path, *, trust_run: bool = False) -> list[str]:
    """Write the files of a repository into a folder, and upload nothing.

    Args:
        run: The run directory.
        name: The repository, ``owner/name``, for the card.
        folder: The folder. It is created, and must be empty.
        trust_run: See ``push_run``.

    Returns:
        The names of the files.

    Raises:
        CheckpointError: See ``push_run``.
        ConfigError: The name is malformed, the folder is not empty, or the run has links to other places.
    """
    address, directory = _repository(name), RunDirectory(run)
    if not directory.exists():
        raise CheckpointError(
            f"push: expected a run directory (with config.yaml and results.json), found none at {run}."
        )
    if not trust_run:
        refuse_links_out(run)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"--output: expected an empty folder or none, found {folder}. Choose another one.")
    path = find_checkpoint(run)
    if not directory.results.is_file():
        raise CheckpointError(f"push: expected {directory.results}, found none. Restore it, or resume the run.")
    checkpoint, results, config = read_checkpoint(path), read_results(directory.results), directory.read_config()
    folder.mkdir(parents=True, exist_ok=True)
    private = PrivatePlaces.of(config, results, run)
    write_tensors({**checkpoint, **private.removed({key: checkpoint[key] for key in ENTRIES if key in checkpoint})},
                  folder / WEIGHTS)  # fmt: skip
    cleaned = mask_secrets(private.removed(config))
    write_text_atomically(folder / "config.yaml", yaml.safe_dump(cleaned, sort_keys=False, allow_unicode=True))
    _write_json(directory.results, folder / "results.json", private)
    for file in (*COPIED, *results.files.values()):
        if (run / file).is_file():
            shutil.copyfile(run / file, folder / file)
    trust_file = run / "trust" / "trust.json"
    trust = read_trust_report(trust_file) if trust_file.is_file() else None
    if trust is not None:
        (folder / "trust").mkdir()
        _write_json(trust_file, folder / "trust" / "trust.json", private)
    names = [each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file()]
    FileHashes.of(folder, names, _version()).write(folder / HASHES)
    identity = checkpoint["lightning_vision"]
    trust = trust if trust is not None and trust.experience == identity["experience"] else None
    seen = [bool(value) for value in checkpoint["state_dict"]["network.seen"]]
    trusted = read_trusted(path) or Trusted()
    pushed = PushedRun(
        read_results(folder / "results.json"), cleaned, identity, seen, trusted, trust, _data_class(results)
    )
    write_text_atomically(folder / CARD, hub_card(pushed, address.name))
    return sorted([*names, HASHES, CARD])


@dataclass(frozen=True)
class PrivatePlaces:
    """The folders of the machine that the files of a run name, which are nobody else's concern.

    Args:
        places: Absolute paths, the longest first.
    """

    places: tuple[str, ...]

    @classmethod
    def of(cls, config: Any, results: Results, run: Path) -> PrivatePlaces:
        """The absolute paths among the options, the home folder, the working directory and the run's own."""
        found = {*_paths_in(config), *_paths_in(results.run.data), str(results.base.from_checkpoint or "")}
        found |= {str(Path.home()), str(Path.cwd()), str(run.resolve()), str(run.resolve().parent)}
        usable = (place.rstrip("/\\") for place in found)
        return cls(tuple(sorted({place for place in usable if len(place) > 1}, key=lambda place: (-len(place), place))))

    def removed(self, value: Any) -> Any:
        """The same value with the last part of each path alone."""
        if isinstance(value, dict):
            return {key: self.removed(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.removed(item) for item in value]
        if not isinstance(value, str):
            return value
        value = _CREDENTIALS.sub("://***@", value)
        for place in self.places:  # a whole path or the beginning of one: /a is not in val/accuracy
            value = re.sub(
                rf"(?<![\w./\\~-]){re.escape(place)}(?![\w.-])", Path(place).name.replace("\\", r"\\"), value
            )
        return value


def _paths_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _paths_in(item)
    elif isinstance(value, str) and _FOLDER.fullmatch(value):
        yield value


def _write_json(source: Path, target: Path, private: PrivatePlaces) -> None:
    content = private.removed(json.loads(source.read_text(encoding="utf-8")))
    write_text_atomically(target, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _data_class(results: Results) -> type[StreamDataModule] | None:
    load_plugins()
    return registered(str(results.run.data["class_path"]), StreamDataModule)


def _repository(name: str) -> HubAddress:
    address = read_address(name)
    if address.revision is not None:
        raise ConfigError(
            f"push: expected owner/name, found the revision {address.revision!r} too. A push makes a new commit."
        )
    return address


def _version() -> str:
    return metadata.version("lightning_vision")
