"""Tables of published settings: what was published, what the program finds with the same options, at what cost, and what differs."""

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.reference.cells import Cell, CellError, finish, machine, mean, percent, results_of, table
from benchmarks.reference.cifar10 import image_folder
from lightning_vision.results.schema import Results

FAR_OFF = 2.0
"""Published standard deviations, beyond which a difference is marked."""


@dataclass(frozen=True)
class Setting:
    """A row of a table."""

    name: str
    published: tuple[float, float | None]
    """Mean and standard deviation of the accuracy over all classes at the end, in percent; None: it was not published."""
    options: tuple[str, ...]
    """Of ``lightning-vision fit``."""
    differs: str
    """What of the published setting is not the same here."""

    @property
    def published_text(self) -> str:
        """As it stands in the table."""
        centre, deviation = self.published
        return f"{centre:g}" if deviation is None else f"{centre:.1f} ± {deviation:.1f}"


def run_settings(settings: Sequence[Setting], given: argparse.Namespace, common: Sequence[str]) -> int:
    """Run each setting with each seed and print the table; the exit code is 1 if a run failed.

    Args:
        settings: The rows.
        given: The options of ``make_parser`` and ``--settings``.
        common: Further options of all runs.
    """
    given.folder = given.folder.absolute()
    images = image_folder(given.cifar10, given.folder, given.per_class or None, given.test_per_class or None)
    found: list[tuple[Setting, list[Results]]] = []
    failed: list[str] = []
    for setting in settings:
        if setting.name not in given.settings:
            continue
        options = (*common, *setting.options, f"--data.num_workers={given.workers}")
        options += (f"--trainer.accelerator={given.accelerator}", f"--trainer.precision={given.precision}")
        options += () if given.backbone is None else (f"--model.backbone={given.backbone}",)
        options += () if given.batch_size is None else (f"--data.batch_size={given.batch_size}",)
        options += tuple(given.option)
        runs = []
        for seed in given.seeds:
            try:
                runs.append(results_of(finish(Cell(setting.name, seed, options), images, given.folder)))
            except CellError as error:
                failed.append(str(error))
        if runs:
            found.append((setting, runs))
    if found:
        print(f"\n{found[0][1][0].network.backbone}, seeds {given.seeds}; {machine(found[0][1][0])}\n")
        print(table(HEAD, [row(*each) for each in found]))
    for text in failed:
        print(text)
    return 1 if failed else 0


HEAD = ("setting", "published, %", "ours, % (runs)", "anytime, %", "seconds", "kWh", "differs")


def row(setting: Setting, runs: Sequence[Results]) -> list[str]:
    """Published and ours side by side, over the seeds."""
    last = [one.test_accuracy[-1] for one in runs]
    known = [100 * value for value in last if value is not None]
    centre, deviation = setting.published
    mark = ""
    if known and deviation is not None and abs(statistics.mean(known) - centre) > FAR_OFF * deviation:
        mark = f", off by more than {FAR_OFF:g} deviations"
    anytime = [one.average_anytime_accuracy for one in runs]
    return [
        setting.name,
        setting.published_text,
        f"{percent(last)} ({len(runs)}){mark}",
        percent(anytime),
        mean([one.totals.seconds for one in runs], ",.0f"),
        mean([one.totals.energy_kwh for one in runs], ".2g"),
        setting.differs,
    ]


def with_settings(parser: argparse.ArgumentParser, settings: Sequence[Setting]) -> argparse.ArgumentParser:
    """The parser with ``--settings``, all by default."""
    names = [setting.name for setting in settings]
    parser.add_argument("--settings", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    return parser
