"""Published figures of methods for pretrained networks, beside ours: ViT-B/16, CIFAR-100 and ImageNet-R in 10 experiences.

    python -m benchmarks.reference.pretrained --data FOLDER --dataset cifar100 --methods ranpac coda-prompt --seeds 1993 1994 1995

For a GPU. Each method runs with the published normalisation of pixels and with that of the weights; the class order is NumPy's permutation
of the seed. A run is one cell: the same command resumes interrupted ones and does not repeat complete ones. README.md has the protocol
and what differs; pretrained_methods.py has the source of each number.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.reference.cells import Cell, CellError, complete, finish, machine, mean, percent, results_of, table
from benchmarks.reference.pretrained_methods import METHODS, Options, Setting, Trial
from lightning_vision.errors import ConfigError
from lightning_vision.learning.backbones import build_backbone
from lightning_vision.results.schema import Results

PIXELS = ("published", "right")
HEAD = (
    *("method", "published: last", "average", "ours, pixels as published: last", "average"),
    *("ours, right pixels: last", "average", "seconds", "kWh", "differs"),
)
DOWNLOADS = {
    "cifar100": "`--download` fetches it",
    "imagenet_r": "https://github.com/hendrycks/imagenet-r has it",
}


@dataclass
class Row:
    """A method with its finished runs."""

    name: str
    setting: Setting
    runs: dict[str, list[Results]] = field(default_factory=lambda: {pixels: [] for pixels in PIXELS})

    def cells(self) -> list[str]:
        """As it stands in the table; seconds and kWh are those of all runs, on average."""
        costs = [run.totals for runs in self.runs.values() for run in runs]
        return [
            self.name,
            *("-" if figure is None else f"{figure:g}" for figure in (self.setting.last, self.setting.average)),
            *(text for pixels in PIXELS for text in accuracies(self.runs[pixels])),
            mean([cost.seconds for cost in costs], ",.0f"),
            mean([cost.energy_kwh for cost in costs], ".2g"),
            self.setting.differs,
        ]


def accuracies(runs: Sequence[Results]) -> tuple[str, str]:
    """Last and average accuracy on the classes seen so far."""
    seen = [[value for value in run.seen_accuracy if value is not None] for run in runs]
    count = f" ({len(runs)})" if runs else ""
    return percent([each[-1] for each in seen]) + count, percent([sum(each) / len(each) for each in seen])


def data_options(given: argparse.Namespace) -> Options:
    """The datamodule that reads the folder.

    Raises:
        SystemExit: The folder is not there, or holds something else.
    """
    root: Path = given.data
    if given.dataset == "cifar100" and not ((root / "train").is_dir() and (root / "test").is_dir()):
        if not (root / "cifar-100-python").is_dir() and not given.download:
            raise SystemExit(
                f"--data {root}: expected the folder that holds cifar-100-python, or folders train/<class> and test/<class>; "
                f"{'there is neither' if root.is_dir() else 'there is no such folder'}. {DOWNLOADS['cifar100']}."
            )
        download = ("--data.download=true",) if given.download else ()
        return ("--data=TorchvisionDataset", "--data.dataset=CIFAR100", *download)
    if not root.is_dir():
        raise SystemExit(
            f"--data {root}: expected a folder of images by class; there is none. {DOWNLOADS[given.dataset]}."
        )
    if given.test_list is not None:
        return ("--data=ImageFolder", f"--data.test_list={given.test_list.resolve()}")
    return ("--data=ImageFolder", *(() if (root / "test").is_dir() else ("--data.test_fraction=0.2",)))


def common(given: argparse.Namespace) -> Options:
    """Options of all runs."""
    return (
        *data_options(given),
        f"--data.image_size={given.image_size}",
        "--data.val_fraction=0",
        f"--data.num_workers={given.workers}",
        "--model.restore_best=false",
        f"--trainer.accelerator={given.accelerator}",
        f"--trainer.precision={given.precision}",
        "--trainer.devices=1",
        "--trainer.enable_progress_bar=false",
        "--wandb.mode=disabled",
    )


def stream(seed: int, experiences: int) -> Options:
    """The class order of a seed: that of configs/streams/cifar100_10x10.yaml and imagenet_r_10x20.yaml."""
    return (
        "--data.stream=ClassIncremental",
        f"--data.stream.experiences={experiences}",
        f"--data.stream.class_order_seed={seed}",
    )


def weights(name: str, given: argparse.Namespace) -> Options:
    """The backbone, and where its weights are from."""
    if given.pretrained == "false":
        return (f"--model.backbone={name}", "--model.pretrained=false")
    if (file := weight_file(name, given)) is not None:
        return (f"--model.backbone={name}", f"--model.backbone_weights={file}")
    return (f"--model.backbone={name}", "--model.pretrained=true")


def weight_file(name: str, given: argparse.Namespace) -> Path | None:
    """A local file of the weights."""
    file = None if given.weights is None else given.weights.resolve() / f"{name}.safetensors"
    return file if file is not None and file.is_file() else None


def planned(given: argparse.Namespace) -> list[tuple[Row, str, Cell]]:
    """Every cell: the row that it belongs to, the normalisation, and its options."""
    trial = Trial(given.image_size, given.epochs, given.projections, given.experiences)
    shared, cells = common(given), []
    for name in given.methods:
        row = Row(name, METHODS[name](given.dataset, trial))
        for pixels in given.pixels:
            own = row.setting.pixels if pixels == "published" else ()
            options = (*row.setting.options, *weights(given.backbone or row.setting.weights, given), *own)
            for seed in given.seeds:
                words = (*options, *stream(seed, given.experiences))
                cells.append((row, pixels, Cell(f"{given.dataset}-{name}-{pixels}", seed, words, shared)))
    return cells


def check_weights(names: Sequence[str], given: argparse.Namespace) -> None:
    """Fetch the weights once, before any run begins.

    Raises:
        SystemExit: They cannot be had.
    """
    for name in dict.fromkeys(names):
        file = weight_file(name, given)
        try:
            build_backbone(name, pretrained=True, weights=file, image_size=given.image_size)
        except ConfigError as error:
            raise SystemExit(
                f"{error}\nNothing was run. Weights can also be given as {name}.safetensors in the folder --weights; --pretrained false "
                "tries the commands with random ones."
            ) from error


def main(words: Sequence[str] | None = None) -> int:
    """Run what is missing, and print the table of what is there."""
    given = make_options().parse_args(words)
    given.folder, given.data = given.folder.resolve(), given.data.resolve()
    cells = planned(given)
    missing = [row for row, _, cell in cells if not complete(given.folder / cell.run_name(given.data, given.folder))]
    if given.pretrained == "true":
        check_weights([given.backbone or row.setting.weights for row in missing], given)
    failed = []
    for row, pixels, cell in cells:
        try:
            row.runs[pixels].append(results_of(finish(cell, given.data, given.folder)))
        except CellError as error:
            failed.append(str(error))
    print_table(list({id(row): row for row, _, _ in cells}.values()), given)
    for text in failed:
        print(text)
    return 1 if failed else 0


def print_table(rows: Sequence[Row], given: argparse.Namespace) -> None:
    """The table, and where its numbers are from."""
    first = next((run for row in rows for runs in row.runs.values() for run in runs), None)
    if first is None:
        return
    print(f"\n{given.dataset}, {given.experiences} experiences, seeds {given.seeds}; {machine(first)}\n")
    print(table(HEAD, [row.cells() for row in rows]))
    print()
    for row in rows:
        print(f"{row.name}: {given.backbone or row.setting.weights}; {row.setting.source}")
    if given.backbone or given.pretrained == "false" or given.epochs or given.experiences != 10:
        print("\nThis is not the published protocol: the figures cannot be compared.")


def make_options() -> argparse.ArgumentParser:
    """The options of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the images")
    parser.add_argument("--dataset", choices=["cifar100", "imagenet_r"], required=True)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS), metavar="NAME", help=", ".join(METHODS))  # fmt: skip
    parser.add_argument("--seeds", type=int, nargs="+", default=[1993, 1994, 1995])
    parser.add_argument("--pixels", nargs="+", choices=PIXELS, default=list(PIXELS), help="normalisation of the pixels")
    parser.add_argument("--download", action="store_true", help="download CIFAR-100")
    parser.add_argument("--test-list", type=Path, help="ImageNet-R: file that names the test images")
    parser.add_argument("--folder", type=Path, default=Path("runs/pretrained"), help="where runs are kept")
    parser.add_argument("--weights", type=Path, help="folder with <timm's name>.safetensors, in place of a download")
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--workers", type=int, default=8, help="processes that load images")
    trial = parser.add_argument_group("to try the commands")
    trial.add_argument("--backbone", help="in place of the published one")
    trial.add_argument("--pretrained", choices=["true", "false"], default="true")
    trial.add_argument("--image-size", type=int, default=Trial.image_size)
    trial.add_argument("--epochs", type=int, help="of everything that is trained")
    trial.add_argument("--projections", type=int, default=Trial.projections, help="of RanPAC")
    trial.add_argument("--experiences", type=int, default=Trial.experiences)
    return parser


if __name__ == "__main__":
    sys.exit(main())
