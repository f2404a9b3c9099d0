"""Split CIFAR-10, class-incremental: five experiences of two classes, against the published table (arXiv 2004.07211).

    python -m benchmarks.reference.split_cifar10 --cifar10 FOLDER --full      # the published protocol, for a GPU
    python -m benchmarks.reference.split_cifar10 --cifar10 FOLDER --reduced   # smaller in all, for a CPU: the order, not the figures

README.md has the protocol, the source of each figure, and what differs.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.reference.cells import Cell, CellError, finish, machine, make_parser, mean, percent, results_of, table
from benchmarks.reference.cifar10 import image_folder
from lightning_vision.results.schema import Results

SOURCE = (
    "Buzzega et al., NeurIPS 2020, arXiv 2004.07211v2, Table 2, S-CIFAR-10, Class-IL: mean and deviation of 10 runs"
)
CLASS_INCREMENTAL = ("--data.stream=ClassIncremental", "--data.stream.experiences=5")


@dataclass(frozen=True)
class Method:
    """A row of the table."""

    name: str
    published: tuple[float, float]
    """Mean and standard deviation of the accuracy over all ten classes at the end, in percent."""
    lr: float
    options: tuple[str, ...]
    stream: tuple[str, ...] = CLASS_INCREMENTAL


def replay(size: int) -> tuple[str, ...]:
    return (f"--model.strategy.memory_size={size}", "--model.strategy.memory_batch_size=32")


def der(size: int, alpha: float, beta: float) -> tuple[str, ...]:
    weights = (f"--model.strategy.alpha={alpha}", f"--model.strategy.beta={beta}")
    return ("--model.strategy=DERpp", *replay(size), *weights)


# Learning rates and weights are those in the authors' code (aimagelab/mammoth, utils/best_args.py at 0d727a7). Their EWC
# multiplies the sum of squares by e_lambda = 10 where ours has lambda/2: 20.
EWC = (
    "--model.strategy=EWC",
    "--model.strategy.mode=online",
    "--model.strategy.gamma=1.0",
)
LWF = (
    "--model.strategy=LwF",
    "--model.strategy.alpha=3.0",
    "--model.strategy.temperature=2.0",
    "--model.strategy.cross_entropy=seen",
)
METHODS = (
    Method("joint", (92.20, 0.15), 0.1, ("--model.strategy=FullFineTune",), ("--data.stream=Joint",)),
    Method("fine-tuning", (19.62, 0.05), 0.1, ("--model.strategy=FullFineTune",)),
    Method("online EWC", (19.49, 0.12), 0.03, EWC),
    Method("LwF", (19.61, 0.05), 0.01, (*LWF, "--model.optimizer.weight_decay=5e-4")),
    Method("ER 200", (44.79, 1.86), 0.1, ("--model.strategy=ER", *replay(200))),
    Method("ER 500", (57.74, 0.27), 0.1, ("--model.strategy=ER", *replay(500))),
    Method("DER++ 200", (64.88, 1.17), 0.03, der(200, 0.1, 0.5)),
    Method("DER++ 500", (72.70, 1.36), 0.03, der(500, 0.2, 0.5)),
)  # fmt: skip


def cell(method: Method, seed: int, given: argparse.Namespace) -> Cell:
    """A method with a seed."""
    options = (
        # The classes come in the order of their names, which is the published one. Nothing is cut off for validation.
        *method.stream,
        "--data.val_fraction=0",
        "--model.restore_best=false",
        f"--data.batch_size={given.batch_size}",
        f"--data.num_workers={given.workers}",
        f"--model.backbone={given.backbone}",
        "--model.optimizer=torch.optim.SGD",
        f"--model.optimizer.lr={method.lr}",
        *method.options,
        f"--trainer.max_epochs={given.epochs}",
        f"--trainer.accelerator={given.accelerator}",
        f"--trainer.precision={given.precision}",
        *given.option,
    )
    if method.options == EWC:
        fisher = given.fisher_samples or "null"
        options += (f"--model.strategy.ewc_lambda={given.ewc_lambda:g}", f"--model.strategy.fisher_samples={fisher}")
    return Cell(f"split-cifar10-{method.name}", seed, options)


def methods_table(found: Sequence[tuple[Method, Sequence[Results]]]) -> str:
    """Published and ours side by side, over the seeds."""
    rows = []
    for method, runs in found:
        ours = [one.test_accuracy[-1] for one in runs]
        centre, deviation = method.published
        difference = [value - centre / 100 for value in ours if value is not None]
        rows.append([
            method.name, f"{centre:.2f} ± {deviation:.2f}", percent(ours), mean([100 * d for d in difference], "+.2f"),
            percent([one.forgetting for one in runs]), mean([one.totals.seconds for one in runs], ",.0f"),
            mean([one.totals.energy_kwh for one in runs], ".2g"),
        ])  # fmt: skip
    return table(["method", "published, %", "ours, %", "difference", "forgetting, points", "seconds", "kWh"], rows)


def main(words: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__)
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--full", action="store_true", help="ResNet-18, 50 epochs, all images")
    size.add_argument(
        "--reduced", action="store_true", help="a slim ResNet-18, 10 epochs, a third of the training images"
    )
    parser.add_argument("--epochs", type=int, help="of each experience")
    parser.add_argument("--fisher-samples", type=int, help="of EWC, for each experience; 0 for all")
    parser.add_argument("--ewc-lambda", type=float, help="of EWC; 20, and 1 where networks are far from converged")
    names = [method.name for method in METHODS]
    parser.add_argument("--methods", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    given = parser.parse_args(words)
    defaults: dict[str, float | str] = {
        "per_class": 0 if given.full else 1667,
        "test_per_class": 0,
        "epochs": 50 if given.full else 10,
        "backbone": "cifar_resnet18" if given.full else "cifar_resnet18_slim",
        "batch_size": 32,
        "fisher_samples": 0 if given.full else 500,
        "ewc_lambda": 20 if given.full else 1,
    }
    for key, value in defaults.items():
        if getattr(given, key) is None:
            setattr(given, key, value)
    given.folder = given.folder.absolute()
    images = image_folder(given.cifar10, given.folder, given.per_class or None, given.test_per_class or None)
    found: list[tuple[Method, list[Results]]] = []
    failed: list[str] = []
    for method in METHODS:
        if method.name in given.methods:
            try:
                runs: list[Path] = [finish(cell(method, seed, given), images, given.folder) for seed in given.seeds]
            except CellError as error:
                failed.append(str(error))
                continue
            found.append((method, [results_of(run) for run in runs]))
    if found:
        print_figures(found, given)
    for text in failed:
        print(text)
    return 1 if failed else 0


def print_figures(found: Sequence[tuple[Method, Sequence[Results]]], given: argparse.Namespace) -> None:
    """The table, and what it can be compared with."""
    one = found[0][1][0]
    size_words = f"{given.per_class or 'all'} training images a class, {given.epochs} epochs, seeds {given.seeds}"
    print(f"\n{one.network.backbone}, {size_words}; {machine(one)}\n")
    print(methods_table(found))
    print(f"\nPublished: {SOURCE}.")
    if not given.full or given.epochs != 50:
        print("This is not the published protocol: only the order of the methods can be compared.")


if __name__ == "__main__":
    sys.exit(main())
