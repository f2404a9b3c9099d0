"""A run on the Hugging Face Hub as a run directory on this machine."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from lightning_vision.errors import CheckpointError, TrainingError
from lightning_vision.learning.tensor_file import tensors_to_checkpoint
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.storage.cache_folder import user_cache
from lightning_vision.storage.file_hashes import FileHashes
from lightning_vision.storage.hub_address import HubAddress, is_hub_address, read_address
from lightning_vision.storage.hub_repository import download

HASHES = "lightning_vision.json"
"""The file with the hashes of the others, which also marks a run directory that is from the Hub."""
WEIGHTS = "model.safetensors"
NEEDED = (WEIGHTS, "config.yaml", "results.json")


def local_run(address: str) -> Path:
    """Download a run, check its files by their hashes, and write it as a run directory.

    The directory is in the user's cache folder, one for each commit; what a user writes into it stays there. The files that
    were downloaded are checked each time, and nothing in them is executed.

    Args:
        address: ``hf://owner/name``, with ``@revision`` for a commit, branch or tag.

    Returns:
        The run directory.

    Raises:
        ConfigError: The address is malformed.
        CheckpointError: There is no such run, its files were altered, or the Hub cannot be reached.
        TrainingError: The cache folder cannot be written.
    """
    asked = read_address(address)
    listed, commit = download(asked, HASHES)
    hashes = FileHashes.read(listed, str(asked))
    if missing := [name for name in NEEDED if name not in hashes.files]:
        raise CheckpointError(f"{asked} holds no run: expected {', '.join(NEEDED)}, without {', '.join(missing)}.")
    at_commit = HubAddress(asked.name, commit)
    files = {name: download(at_commit, name)[0] for name in hashes.files}
    for name, path in files.items():
        hashes.check(name, path, str(asked))
    target = user_cache() / "hub" / asked.name.replace("/", "--") / commit
    if not target.is_dir():
        try:
            _write(target, {HASHES: listed, **files})
        except OSError as error:
            raise TrainingError(
                f"{asked}: the run cannot be written to {target}: {error.strerror or error}. Free some space, or choose another "
                "cache folder by the variable XDG_CACHE_HOME."
            ) from error
    return target


def with_local_run(path: str | Path) -> Path:
    """A path as it is, or the run directory of an address on the Hub; see ``local_run``."""
    return local_run(str(path)) if is_hub_address(path) else Path(path)


def is_from_hub(run: Path) -> bool:
    """Whether a run directory was downloaded, so that the images of its data need not be there."""
    return (run / HASHES).is_file()


def output_folder(run: Path) -> Path:
    """Where files about a run are written by default: into its directory, or into the working directory if it was downloaded.

    The directory of a downloaded run is in a cache, where nobody would look for them.
    """
    return Path() if is_from_hub(run) else run


def name_of(run: Path) -> str:
    """The name of a run directory; of a downloaded one, whose directory is named by the commit, that of the repository."""
    return run.parent.name.rpartition("--")[2] if is_from_hub(run) else run.name


def _write(target: Path, files: dict[str, Path]) -> None:
    """Write a run directory that appears whole: another process may open the same run."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as folder:
        made = Path(folder) / "run"
        for name, path in files.items():
            if name != WEIGHTS:
                (made / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, made / name)
        tensors_to_checkpoint(files[WEIGHTS], RunDirectory(made).checkpoints)
        if not target.is_dir():
            made.rename(target)
