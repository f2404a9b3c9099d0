"""A comparison as an object: its ranking, its runs, its report."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from lightning_vision.api.open_run import open_run
from lightning_vision.api.run import Run
from lightning_vision.comparison.reporting import print_report, report
from lightning_vision.errors import CheckpointError
from lightning_vision.report.find_runs import COMPARISON, Cell, Failure, FoundComparison, find_runs
from lightning_vision.report.gather import gather
from lightning_vision.report.page import ReportFiles
from lightning_vision.report.tables import ranking_table
from lightning_vision.storage.links_out import refuse_links_out
from lightning_vision.storage.steady_path import SteadyPath
from lightning_vision.terminal.html_view import html_view
from lightning_vision.terminal.wording import plural


class Comparison:
    """Several strategies, seeds and settings on one stream, finished or not; ``compare`` and ``open_comparison`` return it.

    Args:
        path: The folder, with comparison.json.
        trust_run: See ``open_run``.

    Raises:
        CheckpointError: There is no comparison, or a run of it is outside the folder.
        ConfigError: Its files are links to other places.
    """

    def __init__(self, path: Path, *, trust_run: bool = False) -> None:
        self._place, self._trusted = SteadyPath(path), trust_run
        if not (self.path / COMPARISON).is_file():
            raise CheckpointError(
                f"Expected the folder of a comparison (with {COMPARISON}), found none at {self.path}."
            )
        if not trust_run:
            refuse_links_out(self.path)
        self._found()

    @property
    def path(self) -> Path:
        """The folder, as it was given; absolute once the working directory is another one."""
        return self._place.path

    @property
    def ranking(self) -> pd.DataFrame:
        """A row for each strategy and setting with a complete run, best first; a column for each axis.

        ``verdict`` states whether the difference to the best is significant. Accuracies are in percent; their 95 %
        intervals are for new seeds and new test images.
        """
        compared = gather([self.path])
        methods = {(group.name, method.label): method for group in compared.groups for method in group.methods}
        table = ranking_table(compared)
        if table.empty:
            return table
        points = [methods[key].point for key in zip(table["group"], table["method"], strict=True)]
        settings = pd.DataFrame([json.loads(point) if point else {} for point in points], index=table.index)
        return pd.concat([table, settings.drop(columns=table.columns, errors="ignore")], axis=1)

    @property
    def runs(self) -> dict[str, Run]:
        """The Run of each cell that has started, by its name, in the order of the plan, without bases."""
        return self._runs(self._found().file.cells)

    @property
    def bases(self) -> dict[str, Run]:
        """The Run of each base that cells share."""
        return self._runs(self._found().file.bases)

    @property
    def failures(self) -> dict[str, Failure]:
        """Exit code and error of each failed cell, by its name."""
        return self._found().failures

    def report(self, output: str | Path | None = None) -> ReportFiles:
        """Write the report; see ``lightning_vision.report``.

        Args:
            output: The output folder. Default: ``report`` in the comparison's folder.
        """
        return report([self.path], output)

    def __fspath__(self) -> str:
        """The folder, so that a comparison can be given where a path is expected."""
        return str(self.path)

    def __repr__(self) -> str:
        runs = self.runs
        complete = sum(run.complete for run in runs.values())
        cells = plural(len(self._found().file.cells), "cell")
        return f"Comparison({str(self.path)!r}: {cells}, {complete} complete)"

    def _repr_html_(self) -> str:
        """The ranking as the terminal prints it."""
        return html_view(lambda console: print_report(gather([self.path]), None, console))

    def _found(self) -> FoundComparison:
        """The present contents of comparison.json.

        Raises:
            CheckpointError: It cannot be read.
        """
        found = find_runs([self.path])
        mine = [comparison for comparison in found.comparisons if comparison.path == self.path]
        if not mine:
            why = [left.reason for left in found.left_out if left.path == self.path / COMPARISON]
            raise CheckpointError(f"{self.path / COMPARISON} cannot be read: {'; '.join(why)}.")
        return mine[0]

    def _runs(self, cells: list[Cell]) -> dict[str, Run]:
        runs = {}
        for cell in cells:
            path = self.path / cell.directory
            if not path.resolve().is_relative_to(self.path.resolve()) and not self._trusted:
                raise CheckpointError(
                    f"{self.path / COMPARISON}: {cell.name}: expected a run inside {self.path}, found {cell.directory!r}."
                )
            if (path / "config.yaml").is_file() or (path / "results.json").is_file():
                runs[cell.name] = open_run(path, self._trusted)
        return runs


def open_comparison(path: str | Path, trust_run: bool = False) -> Comparison:
    """Open the folder of any comparison, finished or not.

    Args:
        path: The folder.
        trust_run: See ``open_run``.

    Raises:
        CheckpointError: There is no comparison.
        ConfigError: Its files are links to other places.
    """
    return Comparison(Path(path), trust_run=trust_run)
