"""Closed forms on a backbone that was adapted to the first experience, against the same on the backbone as it was pretrained.

    python -m benchmarks.first_session --cifar10 cifar10-images.tar.gz --weights lite0.safetensors --per_class 200 --seeds 0 1 2

tf_efficientnet_lite0 with ImageNet weights (see benchmarks.lite0), CIFAR-10 as JPEG files, class-incremental: five experiences of two
classes. For each seed and mode of FirstSession the base is trained once, and each closed form starts from it; ``none`` leaves the
backbone as it is, and ``fine_tune_statistics`` also moves the running statistics of batch norm. A run that is complete is not repeated,
and an interrupted one is resumed. The table shows the accuracy on all ten classes after the last experience and the mean over the
experiences, in %.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.reference.cells import machine, percent, table
from benchmarks.reference.cifar10 import image_folder
from lightning_vision.cli import main as program
from lightning_vision.results.schema import Results, read_results

MODES = {
    "none": ("--model.base_strategy=HeadOnly", "--model.base_epochs=0"),
    "scale_shift": ("--model.base_strategy=FirstSession", "--model.base_strategy.mode=scale_shift"),
    "fine_tune": ("--model.base_strategy=FirstSession", "--model.base_strategy.mode=fine_tune"),
    "fine_tune_statistics": (
        "--model.base_strategy=FirstSession",
        "--model.base_strategy.mode=fine_tune",
        "--model.base_strategy.keep_statistics=false",
    ),
}
FORMS = ("NearestMean", "StreamingLDA", "RanPAC", "FeCAM")


def learned(name: str, asked: argparse.Namespace, images: Path, seed: int, options: Sequence[str]) -> Results:
    """The results of a run that is started, resumed, or complete already.

    Raises:
        SystemExit: It failed.
    """
    run: Path = asked.folder / name
    if (run / "results.json").is_file() and read_results(run / "results.json").run.complete:
        return read_results(run / "results.json")
    words = [
        "fit", "--data=ImageFolder", f"--data.root={images}", f"--data.image_size={asked.image_size}",
        "--data.stream=ClassIncremental", "--data.stream.experiences=5", "--data.stream.base_classes=2",
        f"--data.batch_size={asked.batch_size}", f"--data.num_workers={asked.workers}",
        f"--data.cache_dir={asked.folder / 'caches'}", "--model.backbone=tf_efficientnet_lite0", "--model.pretrained=false",
        f"--model.backbone_weights={asked.weights}", "--model.restore_best=false", f"--trainer.accelerator={asked.accelerator}",
        "--trainer.devices=1", "--trainer.max_epochs=1", "--trainer.enable_progress_bar=false", "--wandb.mode=disabled",
        f"--trainer.default_root_dir={asked.folder}", f"--run_name={name}", f"--seed_everything={seed}", "--ckpt_path=last",
    ]  # fmt: skip
    if code := program([*words, *options]):
        raise SystemExit(f"{name} ended with {code}; the same command resumes it.")
    return read_results(run / "results.json")


def rate(mode: str, asked: argparse.Namespace) -> float:
    """The learning rate of a mode."""
    return float(asked.scale_shift_lr if mode == "scale_shift" else asked.fine_tune_lr)


def labelled(mode: str, asked: argparse.Namespace) -> str:
    """The mode with what else makes it another run."""
    training = "" if mode == "none" else f"-lr={rate(mode, asked):g}-epochs={asked.epochs}"
    return f"{mode}{training}-{asked.per_class}-{asked.image_size}"


def adapted(mode: str, asked: argparse.Namespace, images: Path, seed: int) -> Path:
    """The run that trains the base in a mode."""
    name = f"base-{labelled(mode, asked)}-seed={seed}"
    options = list(MODES[mode])
    if mode != "none":
        options += [
            f"--model.base_epochs={asked.epochs}", "--model.base_optimizer=SGD", "--model.base_optimizer.momentum=0.9",
            f"--model.base_optimizer.lr={rate(mode, asked)}", "--model.base_optimizer.weight_decay=5.0e-4",
            "--model.base_lr_scheduler=CosineAnnealingLR", f"--model.base_lr_scheduler.T_max={asked.epochs}",
        ]  # fmt: skip
    run: Path = asked.folder / name
    if not (run / "checkpoints" / "experience=0000.ckpt").is_file():
        learned(name, asked, images, seed, [*options, "--model.strategy=NearestMean", "--stop_after=0"])
    return run / "checkpoints" / "experience=0000.ckpt"


def main(words: Sequence[str] | None = None) -> int:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path, required=True, help="CIFAR-10, as a folder or a tar")
    parser.add_argument("--weights", type=Path, required=True, help="file of tf_efficientnet_lite0's weights")
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/first_session"), help="where images and runs are kept"
    )
    parser.add_argument("--per_class", type=int, default=200, help="training images of each class; 0 for all")
    parser.add_argument("--test_per_class", type=int, default=100, help="test images of each class; 0 for all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=10, help="of the first experience")
    parser.add_argument("--fine_tune_lr", type=float, default=2e-4)
    parser.add_argument("--scale_shift_lr", type=float, default=2e-3)
    parser.add_argument("--image_size", type=int, default=160)
    parser.add_argument("--batch_size", type=int, default=48)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=list(MODES))
    parser.add_argument("--forms", nargs="+", default=list(FORMS), choices=list(FORMS))
    asked = parser.parse_args(words)
    asked.folder, asked.weights = asked.folder.resolve(), asked.weights.resolve()
    images = image_folder(asked.cifar10, asked.folder, asked.per_class or None, asked.test_per_class or None)
    rows, results = [], None
    for form in asked.forms:
        cells = []
        for mode in asked.modes:
            last, average = [], []
            for seed in asked.seeds:
                base = f"--model.base_checkpoint={adapted(mode, asked, images, seed)}"
                name = f"{form}-{labelled(mode, asked)}-seed={seed}"
                results = learned(name, asked, images, seed, [f"--model.strategy={form}", base])
                seen = [value for value in results.seen_accuracy if value is not None]
                last.append(seen[-1])
                average.append(sum(seen) / len(seen))
            cells.append(f"{percent(last, 1)} ({percent(average, 1)})")
        rows.append([form, *cells])
    if results is not None:
        print(f"{machine(results)}; {asked.per_class} training images a class, seeds {asked.seeds}; last (average)")
    print(table(["", *asked.modes], rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
