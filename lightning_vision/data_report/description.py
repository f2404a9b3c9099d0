"""What the data is like, as an object."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data_report.checkpoint_labels import LabelReport, judge_labels, write_labels
from lightning_vision.data_report.page import write_page
from lightning_vision.data_report.report import DataReport, describe
from lightning_vision.data_report.terminal import print_report
from lightning_vision.errors import ConfigError
from lightning_vision.learning.loaded_checkpoint import LoadedCheckpoint
from lightning_vision.terminal.html_view import html_view


@dataclass(frozen=True)
class DataDescription:
    """What ``lightning-vision data`` prints, and the page that it writes."""

    report: DataReport
    page: Path
    labels: LabelReport | None = None
    """The most doubtful labels, if a checkpoint was given."""
    table: Path | None = None
    """The CSV of them."""

    def __repr__(self) -> str:
        return f"DataDescription({self.report.source}: {int(self.report.totals.sum())} images, {self.page})"

    def _repr_html_(self) -> str:
        return html_view(lambda console: print_report(self.report, console))


def describe_data(
    data: StreamDataModule,
    output: str | Path | None = None,
    seed: int = 0,
    checkpoint: LoadedCheckpoint | None = None,
) -> DataDescription:
    """Describe data: counts, sizes, the stream, leaks, what is odd; and write a page with sample images.

    Args:
        data: Any datamodule.
        output: The HTML page that is written. Default: ``runs/data-<datamodule>.html``.
        seed: Draws the images that are shown and measured, and deals the folds that judge labels.
        checkpoint: Of a run on ``data``: its features show which labels are doubtful. They are on the page and in
            ``<page>-labels.csv``.

    Raises:
        ConfigError: ``data`` is no datamodule, or ``output`` a folder.
        DataError: There are too few images to judge labels.
    """
    if not isinstance(data, StreamDataModule):
        raise ConfigError(f"describe_data: expected a StreamDataModule, found {type(data).__name__}.")
    page = Path("runs", f"data-{type(data).__name__}.html") if output is None else Path(output)
    if page.is_dir():
        raise ConfigError(f"output: expected an HTML file, found the folder {page}.")
    report = describe(data, seed)
    if checkpoint is None:
        write_page(report, data, page)
        return DataDescription(report, page)
    labels, table = judge_labels(checkpoint, seed), page.with_name(f"{page.stem}-labels.csv")
    write_page(report, data, page, labels)
    write_labels(labels, data.samples, list(data.class_names), table)
    return DataDescription(report, page, labels, table)
