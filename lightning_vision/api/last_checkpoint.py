"""The last checkpoint of a run directory, opened once for all that a ``Run`` does with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lightning_vision.errors import CheckpointError, DataError
from lightning_vision.learning.checkpoints import find_checkpoint
from lightning_vision.learning.hub_run import is_from_hub
from lightning_vision.learning.loaded_checkpoint import LoadedCheckpoint
from lightning_vision.learning.trainer_factory import TrainerFactory
from lightning_vision.program.open_checkpoint import open_checkpoint
from lightning_vision.results.run_directory import RunDirectory

if TYPE_CHECKING:
    from lightning_vision.data.datamodule import StreamDataModule
    from lightning_vision.learning.classifier import ContinualClassifier
    from lightning_vision.storage.steady_path import SteadyPath


class LastCheckpoint:
    """The last checkpoint with model and data: those of this process, or built from the run's config.yaml.

    A run that was resumed or overwritten since has another one, which is opened anew.

    Args:
        run: The run directory.
        learned: The trained classifier with its data, set up, if the run was made in this process.
        trust_run: See ``open_run``.
        data_root: See ``open_run``.
    """

    def __init__(
        self,
        run: SteadyPath,
        learned: tuple[ContinualClassifier, StreamDataModule] | None,
        trust_run: bool,
        data_root: Path | None,
    ) -> None:
        self._run, self._learned, self._trusted, self._data_root = run, learned, trust_run, data_root
        self._opened: dict[tuple[bool, bool], LoadedCheckpoint] = {}
        self._file: tuple[Path, int, int] | None = None
        if learned is not None:
            self.keep()

    def open(
        self, *, evaluates: bool = True, anew: bool = False, own: bool = False, images: bool = True
    ) -> LoadedCheckpoint:
        """Open it, if it is not open yet.

        Args:
            evaluates: See ``open_checkpoint``.
            anew: Build it from config.yaml in any case.
            own: So too, and for the caller alone.
            images: See ``open_checkpoint``.

        Raises:
            CheckpointError: There is none, or it cannot be opened.
            DataError: The data cannot be read.
        """
        if self._found() != self._file:
            self._learned, self._opened = None, {}
            self.keep()
        if own:
            return self._read(evaluates, images)
        if self._learned is not None and not anew:
            return self._of_this_process(*self._learned)
        if (evaluates, images) not in self._opened or anew:
            self._opened[evaluates, images] = self._read(evaluates, images)
        return self._opened[evaluates, images]

    def keep(self) -> None:
        """What is open has the weights of the present file."""
        self._file = self._found()

    def _found(self) -> tuple[Path, int, int]:
        """Path, time and number of the file; a file of which anything changes is replaced."""
        path = find_checkpoint(self._run.path).absolute()
        if not path.exists():
            raise CheckpointError(f"Expected the directory of a run, found nothing at {self._run.path}.")
        facts = path.stat()
        return path, facts.st_mtime_ns, facts.st_ino

    def _of_this_process(self, model: ContinualClassifier, datamodule: StreamDataModule) -> LoadedCheckpoint:
        run, experience = self._run.path, model.experience
        chosen = RunDirectory(run).read_config().get("trainer") or {}
        trainer = {key: chosen[key] for key in ("accelerator", "precision") if isinstance(chosen.get(key), str | int)}
        factory = TrainerFactory(lambda: {**trainer, "devices": 1}, run, [])
        index = -1 if experience is None else experience.index
        return LoadedCheckpoint(model, datamodule, factory, find_checkpoint(run), index)

    def _read(self, evaluates: bool, images: bool) -> LoadedCheckpoint:
        """The checkpoint with model and data, built from config.yaml.

        Raises:
            DataError: The data cannot be read.
        """
        place = {} if self._data_root is None else {"data.root": str(self._data_root)}
        how = {"trust_run": self._trusted, "evaluates": evaluates, "images": images}
        try:
            return open_checkpoint(self._run.path, place, **how)
        except DataError as error:
            if not is_from_hub(self._run.path) or place:
                raise
            raise DataError(
                f"{error}\nA run from the Hub comes without the images of its data, which this needs: give their folder, "
                "open_run(..., data_root=FOLDER)."
            ) from error
