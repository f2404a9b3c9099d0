"""GDumb on CIFAR-10 with its authors' training, beside their figures.

    python -m benchmarks.reference.gdumb_cifar10 --cifar10 FOLDER --seeds 0 1 2

Source: github.com/drimpossible/GDumb, README.md and scripts/replicate.sh; README.md has the protocol and what differs.
"""

import sys
from collections.abc import Sequence

from benchmarks.reference.cells import make_parser
from benchmarks.reference.settings import Setting, run_settings, with_settings

COMMON = (
    "--data.stream=Joint",
    "--data.val_fraction=0",
    "--data.batch_size=16",
    '--data.batch_transforms=[{"CutMix": {"alpha": 1.0, "p": 0.5}}]',
    "--model.backbone=cifar_resnet18",
    "--model.restore_best=false",
    "--model.strategy=GDumb",
    "--model.optimizer=torch.optim.SGD",
    "--model.optimizer.lr=0.05",
    "--model.optimizer.momentum=0.9",
    "--model.optimizer.weight_decay=1e-6",
    "--model.lr_scheduler=torch.optim.lr_scheduler.CosineAnnealingWarmRestarts",
    "--model.lr_scheduler.T_0=1",
    "--model.lr_scheduler.T_mult=2",
    "--model.lr_scheduler.eta_min=5e-4",
    "--trainer.gradient_clip_val=10.0",
)
PUBLISHED = {200: (35.0, 0.4), 500: (45.4, 1.9), 1000: (61.2, 1.0)}
DIFFERS = "ResNet-18 as usual, theirs has batch norm behind the last layer, which is better here; JPEG copies; the last pass, theirs is the best on the test images"
SETTINGS = tuple(
    Setting(f"GDumb {size}", figure, (f"--model.strategy.memory_size={size}",), DIFFERS)
    for size, figure in PUBLISHED.items()
)


def main(words: Sequence[str] | None = None) -> int:
    parser = with_settings(make_parser(__doc__), SETTINGS)
    parser.add_argument(
        "--passes", type=int, default=255, help="over the memory: 2^k - 1 end with a cycle of the learning rate"
    )
    given = parser.parse_args(words)
    return run_settings(SETTINGS, given, (*COMMON, f"--trainer.max_epochs={given.passes}"))


if __name__ == "__main__":
    sys.exit(main())
