"""Closed forms on one set of features, beside what other implementations predict on the same features in the same order.

    python -m benchmarks.reference.closed_forms --cifar10 FOLDER --weights lite0.safetensors
    python -m benchmarks.reference.closed_forms --cifar10 FOLDER --weights lite0.safetensors --theirs FOLDER

CIFAR-10 in five experiences of two classes, tf_efficientnet_lite0 with ImageNet weights (see benchmarks.lite0). The first command runs
each method and writes, beside the runs, what another implementation needs: features.npz and the random numbers of each method. The
second one also reads the other side's predictions. README.md describes the files.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.reference.cells import Cell, CellError, finish, machine, make_parser, mean, percent, results_of, table
from benchmarks.reference.cifar10 import image_folder
from lightning_vision.features.checkpoint_features import CheckpointFeatures
from lightning_vision.program.open_checkpoint import open_checkpoint
from lightning_vision.storage.atomic_write import write_atomically

Labels = npt.NDArray[np.int64]

BACKBONE = "tf_efficientnet_lite0"
EXPERIENCES = 5
HEAD = ("method", "theirs, %", "ours, % (runs)", "equal predictions, %", "seconds", "kWh", "differs")
EQUAL = "nothing"


@dataclass(frozen=True)
class Method:
    """A row of the table."""

    name: str
    """Also in the name of the other side's file."""
    options: tuple[str, ...]
    differs: str
    """What the two sides do differently with these options."""


def strategy(name: str, **options: object) -> tuple[str, ...]:
    """Options of ``lightning-vision fit`` for a learning strategy."""
    return (f"--model.strategy={name}", *(f"--model.strategy.{key}={value}" for key, value in options.items()))


SELECTED_ON = (
    "lambda: ours is selected on a fifth of all images so far, theirs on the last fifth of the present experience"
)
METHODS = (
    Method("nearest-mean", strategy("NearestMean"), EQUAL),
    Method("ridge", strategy("RanPAC", projections="null", ridge=1000), EQUAL),
    Method("ridge-selected", strategy("RanPAC", projections="null"), SELECTED_ON),
    Method("RanPAC", strategy("RanPAC", projections=2000, ridge=1000000), EQUAL),
    Method("RanPAC-selected", strategy("RanPAC", projections=2000), SELECTED_ON),
    Method("FeCAM", strategy("FeCAM"), "V_2: ours is the mean over all entries, theirs over those that are not 0"),
    Method("DeepSLDA", strategy("StreamingLDA", shrinkage=1e-4, covariance="oas"), EQUAL),
    Method(
        "DeepSLDA-selected", strategy("StreamingLDA"), "ours selects the shrinkage; theirs is 1e-4, starting from OAS"
    ),
    Method("ACIL", strategy("ACIL", expansion=2048, gamma=100), "theirs updates the inverse recursively, ours sums"),
    Method("KLDA", strategy("KLDA", expansion=500, shrinkage=0), EQUAL),
    Method(
        "KLDA-selected",
        strategy("KLDA"),
        "ours selects the shrinkage; theirs does not shrink, so that rounding decides while there are fewer images than M",
    ),
)
DRAWN = ("RanPAC", "ACIL", "KLDA")
"""Strategies whose random numbers are exported."""


def common(given: argparse.Namespace) -> tuple[str, ...]:
    """Options of all runs."""
    return (
        "--data=ImageFolder", f"--data.image_size={given.image_size}", "--data.eval_transforms=[resize]",
        "--data.stream=ClassIncremental", f"--data.stream.experiences={EXPERIENCES}", "--data.val_fraction=0",
        f"--data.batch_size={given.batch_size}", f"--data.num_workers={given.workers}", f"--model.backbone={given.backbone}",
        "--model.pretrained=false", *(() if given.weights is None else (f"--model.backbone_weights={given.weights}",)),
        "--model.base_strategy=HeadOnly", "--model.base_epochs=0", "--model.restore_best=false",
        f"--trainer.accelerator={given.accelerator}", f"--trainer.precision={given.precision}", "--trainer.devices=1",
        "--trainer.enable_progress_bar=false", "--wandb.mode=disabled",
    )  # fmt: skip


def write_features(run: Path, cache: Path, target: Path) -> None:
    """Write the features that the closed forms of a run were given, their order and their split.

    Args:
        run: A complete run of a closed form.
        cache: Where it left the features.
        target: The file: ``features`` (N, D) float32, ``label`` (N,), ``path`` (N,), ``class_names`` (C,), ``train`` (n,) the rows in the
            order in which they are learned, ``experience`` (n,) that of each, ``test`` (m,) the rows that are predicted, in order.
    """
    loaded = open_checkpoint(run, {"data.cache_dir": cache})
    data = loaded.datamodule
    rows = np.arange(len(data.samples))
    with CheckpointFeatures(loaded.model, data, loaded.trainers.evaluation()) as passing:
        features = torch.cat([batch.features for batch in passing.batches(data, rows, "all images")]).numpy()
    experiences = [each.indices for each in data.stream]
    with np.load(run / "predictions.npz", allow_pickle=False) as file:
        tested = file["index"]
    write_arrays(
        target,
        features=features,
        label=data.samples["label"].to_numpy(dtype=np.int64),
        path=data.samples["path"].to_numpy(dtype=str),
        class_names=np.array(data.class_names),
        train=np.concatenate(experiences),
        experience=np.repeat(np.arange(len(experiences)), [len(indices) for indices in experiences]),
        test=tested,
    )


def write_draws(run: Path, target: Path) -> None:
    """Write the random numbers of a run's strategy, and the regulariser that it selected.

    Args:
        run: A complete run.
        target: The file: ``projection`` (D, M) float32 of RanPAC and ACIL; (D + 1, M) of KLDA, omega and then b; ``picked`` (), lambda
            or the shrinkage, where it was selected.
    """
    buffers = dict(open_checkpoint(run, images=False).model.strategy.named_buffers())
    write_arrays(target, **{key: buffers[key].numpy() for key in ("projection", "picked") if key in buffers})


def write_arrays(target: Path, **arrays: Any) -> None:
    """An .npz, whole or not at all."""
    write_atomically(target, lambda temporary: np.savez(temporary, **arrays))


def read_theirs(folder: Path, name: str, seed: int, ours: Labels) -> Labels | None:
    """The other side's predictions (t, m): after the last t experiences; None if there is no file.

    Args:
        folder: Holds ``<method>-seed=<seed>.npz`` with the array ``predicted``, or ``.npy``.
        name: The method.
        seed: The seed of its random numbers.
        ours: (T, m)

    Raises:
        SystemExit: The file holds something else.
    """
    files = [folder / f"{name}-seed={seed}{ending}" for ending in (".npz", ".npy")]
    file = next((each for each in files if each.is_file()), None)
    if file is None:
        return None
    experiences, images = ours.shape
    wanted = f"expected whole numbers ({images},) or ({experiences}, {images}), the predicted class of each row of `test` in features.npz"
    try:
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            found = loaded
        else:
            with loaded:
                found = loaded["predicted"]
    except (OSError, ValueError, KeyError) as error:
        raise SystemExit(
            f"{file}: {wanted}, in an .npz under the name `predicted`; it cannot be read: {error}"
        ) from error
    if found.dtype.kind not in "iu" or found.shape not in ((images,), (experiences, images)):
        raise SystemExit(f"{file}: {wanted}; found {found.dtype} {found.shape}.")
    return np.atleast_2d(found).astype(np.int64)


@dataclass(frozen=True)
class Compared:
    """The predictions of a run beside the other side's."""

    ours: float
    """Share of right predictions after the last experience."""
    theirs: float | None
    equal: float | None
    """Share of equal predictions, after all experiences that the other side has."""

    @classmethod
    def of(cls, run: Path, method: Method, seed: int, theirs: Path | None) -> "Compared":
        """Read both."""
        with np.load(run / "predictions.npz", allow_pickle=False) as file:
            predicted, label = file["predicted"].astype(np.int64), file["label"]
        own = float((predicted[-1] == label).mean())
        other = None if theirs is None else read_theirs(theirs, method.name, seed, predicted)
        if other is None:
            return cls(own, None, None)
        return cls(own, float((other[-1] == label).mean()), float((other == predicted[-len(other) :]).mean()))


def row(method: Method, runs: Sequence[Path], seeds: Sequence[int], theirs: Path | None) -> list[str]:
    """Both sides, over the seeds."""
    found = [Compared.of(run, method, seed, theirs) for run, seed in zip(runs, seeds, strict=True)]
    costs = [results_of(run) for run in runs]
    return [
        method.name,
        percent([each.theirs for each in found]),
        f"{percent([each.ours for each in found])} ({len(runs)})",
        percent([each.equal for each in found], 3),
        mean([one.totals.seconds for one in costs], ",.1f"),
        mean([one.totals.energy_kwh for one in costs], ".2g"),
        method.differs,
    ]


def run_methods(given: argparse.Namespace, images: Path) -> tuple[list[list[str]], list[str]]:
    """Run each method with each seed, and export what it drew; the rows of the table, and what failed."""
    cache, options = given.folder / "cache", common(given)
    rows, failed = [], []
    for method in METHODS:
        if method.name not in given.methods:
            continue
        runs, seeds = [], []
        for seed in given.seeds:
            try:
                run = finish(Cell(method.name, seed, method.options, options), images, given.folder, cache)
            except CellError as error:
                failed.append(str(error))
                continue
            runs.append(run)
            seeds.append(seed)
            draws = given.folder / f"{method.name}-seed={seed}.npz"
            if results_of(run).run.strategy.class_path.rsplit(".", 1)[-1] in DRAWN and not draws.is_file():
                write_draws(run, draws)
        if runs:
            rows.append(row(method, runs, seeds, given.theirs))
    return rows, failed


def main(words: Sequence[str] | None = None) -> int:
    """Run what is missing, write the files, and print the table."""
    given = make_options().parse_args(words)
    if given.theirs is not None and not given.theirs.is_dir():
        raise SystemExit(
            f"--theirs {given.theirs}: expected a folder with the other side's predictions; there is none."
        )
    given.folder, given.weights = given.folder.resolve(), given.weights and given.weights.resolve()
    images = image_folder(given.cifar10, given.folder, given.per_class or None, given.test_per_class or None)
    try:  # images pass the backbone here, and nowhere else
        first = finish(
            Cell("pass", 0, strategy("NearestMean"), common(given)), images, given.folder, given.folder / "cache"
        )
    except CellError as error:
        print(error)
        return 1
    features = given.folder / f"features-{first.name[len('pass-') :]}.npz"
    if not features.is_file():
        write_features(first, given.folder / "cache", features)
    rows, failed = run_methods(given, images)
    passed = results_of(first)
    print(f"\n{passed.network.backbone}, {given.image_size} px, seeds {given.seeds}; {machine(passed)}")
    if passed.features is not None:
        cost = f"{passed.features.seconds:,.0f} s (the run that did it: {passed.totals.energy_kwh or 0:.2g} kWh)"
        print(f"{passed.features.computed:,} images passed the backbone in {cost}; the methods found their features")
    print(f"{features}\n")
    print(table(HEAD, rows))
    for text in failed:
        print(text)
    return 1 if failed else 0


def make_options() -> argparse.ArgumentParser:
    """The options of the script."""
    parser = make_parser(__doc__)
    parser.set_defaults(
        per_class=500, test_per_class=200, batch_size=64, backbone=BACKBONE, folder=Path("runs/closed_forms")
    )
    parser.add_argument("--weights", type=Path, help=f"file of the weights of {BACKBONE}; without it they are random")
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--theirs", type=Path, help="folder of the other side's predictions")
    names = [method.name for method in METHODS]
    parser.add_argument("--methods", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    return parser


if __name__ == "__main__":
    sys.exit(main())
