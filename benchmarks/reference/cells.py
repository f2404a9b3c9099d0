"""Cells of a table: runs of the program, each done once."""

import argparse
import hashlib
import signal
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import benchmarks.reference.cifar_resnet  # noqa: F401 - makes its networks known to timm
from lightning_vision.cli import main
from lightning_vision.results.schema import Results, read_results

COMMON = (
    "--data=ImageFolder",
    "--data.image_size=32",
    '--data.train_transforms=[{"RandomCrop": {"size": 32, "padding": 4}}, "horizontal_flip"]',
    '--data.eval_transforms=["resize"]',
    "--model.pretrained=false",
    "--trainer.devices=1",
    "--trainer.enable_progress_bar=false",
    "--wandb.mode=disabled",
)
"""Images of 32 x 32 as they are, shifted by up to 4 pixels and mirrored in training."""


STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
"""Exit codes of a run that was asked to stop."""


class CellError(SystemExit):
    """A cell's run failed; the others need not."""


@dataclass(frozen=True)
class Cell:
    """One strategy with one seed."""

    name: str
    seed: int
    options: tuple[str, ...]
    common: tuple[str, ...] = COMMON

    def run_name(self, images: Path, folder: Path) -> str:
        """Bears a digest of the options, so that with other options it is another run."""
        words = "\n".join([images.name, *self.common, *self.options]).replace(str(folder), "")
        return f"{self.name}-seed={self.seed}-{hashlib.sha256(words.encode()).hexdigest()[:8]}".replace(" ", "-")


def complete(run: Path) -> bool:
    """Whether a run directory holds all experiences of its stream."""
    return (run / "results.json").is_file() and read_results(run / "results.json").run.complete


def finish(cell: Cell, images: Path, folder: Path, cache: Path | None = None) -> Path:
    """The directory of a cell's complete run, which is started, resumed, or already complete.

    Args:
        cell: Its options.
        images: ``data.root``.
        folder: Where runs are kept.
        cache: The folder of caches. None: one of its own, so that no cell profits from features that another computed.

    Raises:
        CellError: The run failed.
        SystemExit: It was asked to stop, by Ctrl-C or SIGTERM, and so are the others.
    """
    run = folder / cell.run_name(images, folder)
    if complete(run):
        print(f"{run.name}: complete", flush=True)
        return run
    words = ["fit", *cell.common, *cell.options, f"--seed_everything={cell.seed}", f"--data.root={images}"]
    words += [f"--data.cache_dir={cache or folder / 'caches' / run.name}", f"--trainer.default_root_dir={folder}"]
    code = main([*words, f"--run_name={run.name}", "--ckpt_path=last"])
    if code in STOPPED:
        raise SystemExit(code)
    if code:
        raise CellError(f"{run.name} ended with {code}; the same command resumes it.")
    return run


def results_of(run: Path) -> Results:
    """What a run found."""
    return read_results(run / "results.json")


def percent(values: Sequence[float | None], digits: int = 2) -> str:
    """Mean and standard deviation over the seeds of shares, in percent; of a single seed the value."""
    known = [100 * value for value in values if value is not None]
    if not known:
        return "-"
    mean = f"{statistics.mean(known):.{digits}f}"
    return f"{mean} ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else mean


def mean(values: Sequence[float | None], form: str) -> str:
    """Mean over the seeds; "-" where nothing was measured."""
    known = [value for value in values if value is not None]
    return format(statistics.mean(known), form) if known else "-"


def machine(results: Results) -> str:
    """What a run ran on."""
    place = results.environment
    energy = f"energy {results.energy.mode}" if results.energy else "energy not tracked"
    return f"{place.device}, torch {place.torch}, lightning {place.lightning}, precision {place.precision}, {energy}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """As Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """The options that all scripts here have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path, required=True, help="CIFAR-10, as a folder or a tar (see the README)")
    parser.add_argument("--folder", type=Path, default=Path("runs/reference"), help="where images and runs are kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--per-class", type=int, help="training images of each class; 0 for all")
    parser.add_argument("--test-per-class", type=int, help="test images of each class; 0 for all")
    parser.add_argument("--backbone", help="a network of cifar_resnet.py, or of timm")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--workers", type=int, default=2, help="processes that load images")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        help="a further option of fit, such as --option=--model.channels_last=true",
    )
    return parser
