"""A run as an object: what it found, and what can be done with its classifier."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from rich.console import Console
from rich.markup import escape

from lightning_vision.api import run_tables
from lightning_vision.api.html_view import html_view
from lightning_vision.api.run_figures import RunFigures
from lightning_vision.errors import CheckpointError
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.results.schema import Results, read_results
from lightning_vision.run.run_figures import figures_of
from lightning_vision.run.summary import print_summary
from lightning_vision.storage.links_out import refuse_links_out
from lightning_vision.terminal.wording import plural, printable

if TYPE_CHECKING:
    from lightning_vision.data.datamodule import StreamDataModule
    from lightning_vision.learning.classifier import ContinualClassifier


class Run:
    """One learning strategy on one stream with one seed, finished or not; ``fit`` and ``open_run`` give it.

    Tables and figures are read from the run directory at each access, so that a run that is still learning shows what it
    has finished. Nothing in the directory is executed.

    Args:
        path: The run directory.
        classifier: The trained classifier, where the run was made in this process.
        datamodule: Its data, set up.
        trust_run: Its config.yaml may name any class, which is code that is run, and its files may be links to elsewhere.

    Raises:
        CheckpointError: There is no run.
        ConfigError: Its files are links to elsewhere.
    """

    def __init__(
        self,
        path: Path,
        *,
        classifier: ContinualClassifier | None = None,
        datamodule: StreamDataModule | None = None,
        trust_run: bool = False,
    ) -> None:
        self.path = Path(path)
        self._directory = RunDirectory(self.path)
        self._classifier, self._datamodule = classifier, datamodule
        self._trusted = trust_run or classifier is not None
        if not self._directory.exists():
            raise CheckpointError(f"Expected a run directory (with config.yaml and results.json), {_found(self.path)}.")
        if not self._trusted:
            refuse_links_out(self.path)

    @property
    def results(self) -> Results:
        """The fields of results.json as attributes, after the last finished experience; docs/results.md says what each is.

        Raises:
            CheckpointError: No experience is finished yet, or the file is damaged.
        """
        if not self._directory.results.is_file():
            raise CheckpointError(
                f"Expected the results of at least one finished experience in {self.path}, found none yet. Resume the run: "
                "the same fit with resume=True, or its command with --ckpt_path last."
            )
        return read_results(self._directory.results)

    @property
    def complete(self) -> bool:
        """Whether all experiences of the stream are finished."""
        return self._directory.results.is_file() and self.results.run.complete

    @property
    def accuracy_matrix(self) -> pd.DataFrame:
        """Accuracy (t, T): a row after each finished experience, a column for each test part; NaN where it is not defined."""
        return run_tables.accuracy_matrix(self.results)

    @property
    def per_class(self) -> pd.DataFrame:
        """A row for each class on the test set: support (images), recall, precision, F1, recall before and its change."""
        return run_tables.class_table(self.results)

    @property
    def confusion(self) -> pd.DataFrame:
        """Counts (C, C) on the test set: a row for each true class, a column for each predicted one."""
        return run_tables.confusion_table(self.results)

    @property
    def curves(self) -> pd.DataFrame:
        """A row for each epoch, counted through the stream: experience, training and validation loss and accuracy."""
        return run_tables.curve_table(self._directory)

    @property
    def predictions(self) -> pd.DataFrame:
        """A row for each test image after the last finished experience: true and predicted class, confidence, correct."""
        return run_tables.prediction_table(self._directory, self.results)

    @property
    def figures(self) -> RunFigures:
        """Matplotlib Figures by name (confusion_matrix, accuracy_matrix, curves, sweep), drawn when they are asked for."""
        results = self.results
        return RunFigures(figures_of(results, run_tables.experience_names(results), self._directory))

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}: {self._state()})"

    def _repr_html_(self) -> str:
        """The tables that the terminal prints at the end of a run."""

        def draw(console: Console) -> None:
            if self._directory.results.is_file():
                print_summary(self.results, console)
            console.print(escape(printable(f"{self.path}: {self._state()}")), soft_wrap=True)

        return html_view(draw)

    def _state(self) -> str:
        if not self._directory.results.is_file():
            return "unfinished, no experience is finished yet"
        results = self.results
        if results.run.complete:
            return f"finished, {plural(results.run.experiences, 'experience')}"
        return f"unfinished, {len(results.experiences)} of {plural(results.run.experiences, 'experience')}; resume=True finishes it"


def open_run(path: str | Path, trust_run: bool = False) -> Run:
    """Open the directory of any run, finished or not, wherever it was made.

    Args:
        path: The run directory.
        trust_run: See ``Run``; without it only registered classes are built from its configuration.

    Raises:
        CheckpointError: There is no run.
        ConfigError: Its files are links to elsewhere.
    """
    return Run(Path(path), trust_run=trust_run)


def _found(path: Path) -> str:
    """What is there in place of a run."""
    if path.is_dir():
        return f"found neither file in {path}"
    return f"found the file {path}" if path.exists() else f"found nothing at {path}"
