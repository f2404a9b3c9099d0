"""CIFAR-10 as an online stream of five experiences of two classes, each image learned from once, beside published figures.

    python -m benchmarks.reference.online_cifar10 --cifar10 FOLDER --seeds 0 1 2 3 4

Source: github.com/ContinualAI/continual-learning-baselines, experiments/split_cifar10 (online_replay.py, er_ace.py); README.md has
the protocol and what differs.
"""

import sys
from collections.abc import Sequence

from benchmarks.reference.cells import make_parser
from benchmarks.reference.settings import Setting, run_settings, with_settings

COMMON = (
    "--data.stream=ClassIncremental",
    "--data.stream.experiences=5",
    "--data.stream.online=true",
    "--data.val_fraction=0",
    "--data.batch_size=10",
    "--model.backbone=slim_resnet18",
    "--model.restore_best=false",
    "--model.optimizer=torch.optim.SGD",
    "--trainer.max_epochs=1",
)
MEMORY = ("--model.strategy.memory_size=1000", "--model.strategy.memory_batch_size=10")
DIFFERS = "JPEG copies; the memory is a reservoir, theirs is balanced by class"
SETTINGS = (
    Setting(
        "online replay",
        (50.0, None),
        ("--model.strategy=ER", *MEMORY, "--model.optimizer.lr=0.1"),
        f"{DIFFERS}; theirs leaves out 5 % of the training images",
    ),
    Setting(
        "online ER-ACE",
        (45.0, None),
        ("--model.strategy=ERACE", *MEMORY, "--model.optimizer.lr=0.05", '--data.train_transforms=["resize"]'),
        "JPEG copies; the memory is a reservoir, theirs is balanced by class and takes an experience's images before it begins; the "
        "learning rate is 0.05 because their loss is half as large, at 0.1",
    ),
    Setting(
        "online ER-ACE, augmented",
        (52.0, None),
        ("--model.strategy=ERACE", *MEMORY, "--model.optimizer.lr=0.05"),
        "JPEG copies; published in the paper (arXiv 2104.05025), whose learning rate and augmentation were not compared",
    ),
)


def main(words: Sequence[str] | None = None) -> int:
    parser = with_settings(make_parser(__doc__), SETTINGS)
    return run_settings(SETTINGS, parser.parse_args(words), COMMON)


if __name__ == "__main__":
    sys.exit(main())
