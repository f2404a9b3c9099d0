"""Move-to-Data in its own setting (arXiv 2006.07152): a base on a part of CIFAR-10, then new images of the same classes.

    python -m benchmarks.reference.move_to_data --cifar10 FOLDER

The paper's claim is that moving the classifier's rows "yields similar performances as retraining but with drastically lower
computational cost". Beside a sweep of epsilon stand the head alone, the whole network on the new images, and training anew
on everything. All begin with one base: that of Retrain, which must have trained it itself to begin anew. What is counted is the
learning of the increments, evaluation apart; each cell computes its features itself.

The defaults take under half an hour on 2 cores: 1,000 training images a class, of which half make up the base, a slim
ResNet-18 without pretraining. README.md says what else differs from the paper.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.reference.cells import Cell, finish, machine, make_parser, mean, percent, results_of, table
from benchmarks.reference.cifar10 import image_folder
from lightning_vision.results.schema import Results

OTHERS = ("FullFineTune", "HeadOnly", "MoveToData")


def cells(given: argparse.Namespace, seed: int) -> dict[str, Cell]:
    """By name, Retrain first; the others lack the base that they begin with."""
    common = (
        f"--data.batch_size={given.batch_size or 128}",
        f"--data.num_workers={given.workers}",
        "--data.stream=InstanceIncremental",
        f"--data.stream.experiences={given.experiences}",
        f"--data.stream.base_fraction={given.base_fraction}",
        f"--model.backbone={given.backbone or 'cifar_resnet18_slim'}",
        f"--trainer.accelerator={given.accelerator}",
        f"--trainer.precision={given.precision}",
        *given.option,
    )

    def by_sgd(lr: float, epochs: int) -> tuple[str, ...]:
        return (
            f"--trainer.max_epochs={epochs}",
            "--model.optimizer=torch.optim.SGD",
            f"--model.optimizer.lr={lr}",
            "--model.optimizer.momentum=0.9",
            "--model.optimizer.weight_decay=5e-4",
            "--model.lr_scheduler=torch.optim.lr_scheduler.CosineAnnealingLR",
            f"--model.lr_scheduler.T_max={epochs}",
        )

    own: dict[str, tuple[str, ...]] = {
        "Retrain": ("--model.strategy=Retrain", *by_sgd(given.lr, given.epochs)),
        "FullFineTune": ("--model.strategy=FullFineTune", *by_sgd(given.lr / 10, given.tune_epochs)),
        # On features that are computed once: its epochs take nothing of the backbone.
        "HeadOnly": ("--model.strategy=HeadOnly", "--data.views=0", *by_sgd(given.lr / 10, given.tune_epochs)),
        "MoveToData": ("--model.strategy=MoveToData", f"--model.strategy.epsilon={given.epsilon}"),
    }
    chosen = ["Retrain", *(name for name in OTHERS if name in given.strategies)]
    return {name: Cell(f"move-to-data-{name}", seed, (*common, *own[name])) for name in chosen}


def run(given: argparse.Namespace, seed: int, images: Path) -> dict[str, Results]:
    """All strategies with one seed, from one base."""
    begun = cells(given, seed)
    retrained = finish(begun.pop("Retrain"), images, given.folder)
    found = {"Retrain": results_of(retrained)}
    base = f"--model.base_checkpoint={retrained / 'checkpoints' / 'experience=0000.ckpt'}"
    for name, cell in begun.items():
        found[name] = results_of(finish(Cell(cell.name, seed, (*cell.options, base)), images, given.folder))
    return found


def price(results: Results) -> tuple[float, float | None, int]:
    """Seconds, kWh and images through the backbone, of learning the increments."""
    increments = results.experiences[1:]
    energy = [one.energy_kwh for one in increments]
    kwh = None if None in energy else sum(value for value in energy if value is not None)
    return sum(one.seconds for one in increments), kwh, sum(one.backbone_images for one in increments)


def strategies_table(found: Sequence[dict[str, Results]]) -> str:
    """A row a strategy, over the seeds."""
    rows = []
    for name in found[0]:
        runs = [one[name] for one in found]
        first, last = ([one.test_accuracy[at] for one in runs] for at in (0, -1))
        gain = [b - a for a, b in zip(first, last, strict=True) if a is not None and b is not None]
        seconds, kwh, images = zip(*(price(one) for one in runs), strict=True)
        prices = [mean(seconds, ".1f"), mean(kwh, ".2g"), mean(images, ",.0f")]
        rows.append([name, percent(first), percent(last), percent(gain), *prices])
    head = ["strategy", "base, %", "at the end, %", "gain, points", "seconds", "kWh", "images through the backbone"]
    return table(head, rows)


def epsilons_table(found: Sequence[dict[str, Results]]) -> str:
    """A row an epsilon of the sweep, over the seeds."""
    runs = [one["MoveToData"] for one in found]
    rows = []
    for name in runs[0].variants:
        last = [one.variants[name].test_accuracy[-1] for one in runs]
        picked = sum((one.picked_variant or [None])[-1] == name for one in runs)
        rows.append([name.removeprefix("epsilon="), percent(last), f"{picked} of {len(runs)}"])
    return table(["epsilon", "at the end, %", "picked on validation data"], rows)


def main(words: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--experiences", type=int, default=3, help="the base and the increments")
    parser.add_argument("--base-fraction", type=float, default=0.5)
    parser.add_argument("--epochs", type=int, default=15, help="of the base, and of each training anew")
    parser.add_argument("--tune-epochs", type=int, default=10, help="of FullFineTune and HeadOnly on an increment")
    parser.add_argument("--lr", type=float, default=0.1, help="of the base; a tenth of it afterwards")
    parser.add_argument("--epsilon", type=float, nargs="+", default=[1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1])
    parser.set_defaults(per_class=1000)
    parser.add_argument("--strategies", nargs="+", choices=OTHERS, default=OTHERS, help="beside Retrain")
    given = parser.parse_args(words)
    given.folder = given.folder.absolute()
    images = image_folder(given.cifar10, given.folder, given.per_class or None, given.test_per_class or None)
    found = [run(given, seed, images) for seed in given.seeds]
    one = found[0]["Retrain"]
    sizes = ", ".join(str(experience.train_samples) for experience in one.experiences)
    print(f"\n{one.network.backbone}; {sizes} training images; seeds {given.seeds}; {machine(one)}\n")
    print(strategies_table(found))
    if "MoveToData" in given.strategies:
        print(f"\n{epsilons_table(found)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
