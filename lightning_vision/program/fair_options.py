"""Options of a run that make it comparable with others: its price, its tuning, and where it lost accuracy."""

from __future__ import annotations

from jsonargparse import ActionYesNo
from lightning.pytorch.cli import LightningArgumentParser


def add_fair_options(parser: LightningArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--budget", type=str | None, default=None,
        help="Stop training at a price: steps=N optimizer steps or kwh=X for all increments together, in equal shares.",
    )  # fmt: skip
    parser.add_argument(
        "--tune_on", type=int | None, default=None,
        help="Learn this many first experiences alone and evaluate on their validation images, never on test images.",
    )  # fmt: skip
    parser.add_argument(
        "--probe", action=ActionYesNo, nargs="?", default=False,
        help="After each experience, fit a linear probe on the backbone's features and evaluate it too.",
    )  # fmt: skip
