"""The command-line options of a run besides model, data, trainer and loggers."""

from __future__ import annotations

from typing import Literal

from jsonargparse import ActionYesNo
from lightning.pytorch.cli import LightningArgumentParser


def add_run_arguments(parser: LightningArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--run_name",
        type=str | None,
        default=None,
        help="The run directory's name, below trainer.default_root_dir.",
    )
    parser.add_argument(
        "--overwrite", action=ActionYesNo, nargs="?", default=False, help="Delete a run of that name first."
    )
    parser.add_argument(
        "--keep_checkpoints", type=Literal["last", "all"] | int, default="last",
        help="Checkpoints of finished experiences that are kept: the base and the last, the base and the last n, or all.",
    )  # fmt: skip
    parser.add_argument(
        "--stop_after", type=int | None, default=None,
        help="Stop after the experience of this number (0: the base alone); --ckpt_path last resumes the run.",
    )  # fmt: skip
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
