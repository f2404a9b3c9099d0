"""The command line of ``compare``."""

from __future__ import annotations

import argparse

from lightning_vision.terminal.option_parser import WordsParser, add_table_option

MAX_CELLS = 200
TUNE_ON = 2
EXECUTORS = ("here", "local", "slurm", "ray")


def make_parser() -> argparse.ArgumentParser:
    """The options of ``compare`` itself; all others are passed on to each cell's ``fit``."""
    parser = WordsParser(
        prog="lightning-vision compare",
        allow_abbrev=False,
        description="Compare learning strategies, seeds and settings on one stream, and write a report. The base is "
        "trained once for each seed and setting. The same command resumes an interrupted comparison, and runs nothing twice.",
        epilog="All options of `lightning-vision fit` (--data.root, --trainer.max_epochs, ...) apply to every cell. A config "
        "may hold these options in a section `compare`.",
    )
    parser.add_argument("--config", action="append", default=[], metavar="FILE", help="as in fit; several are combined")
    parser.add_argument(
        "--strategies", nargs="+", metavar="S", help="learning strategies: names, or configs that choose one"
    )
    parser.add_argument(
        "--seeds", nargs="+", type=int, metavar="N", help="seeds of initialisation and stream; the split stays the same"
    )
    parser.add_argument(
        "--axis",
        nargs="+",
        action="extend",
        metavar="KEY=A,B",
        help="an option of fit and its values; several axes are crossed",
    )
    parser.add_argument(
        "--zip", nargs="+", action="append", metavar="KEY", help="axes of equal length that move together, not crossed"
    )
    parser.add_argument(
        "--skip",
        action="append",
        metavar="KEY=A,KEY=B",
        help="leave out the cells that match (strategy=, seed=, an axis=)",
    )
    parser.add_argument(
        "--bounds",
        nargs="?",
        const="true",
        choices=("true", "false"),
        help="add FullFineTune and Retrain, the lower and the upper bound, if they are not among the strategies; default: false",
    )
    parser.add_argument("--output", metavar="DIR", help="the comparison's folder; default: runs/comparison")
    parser.add_argument("--executor", choices=EXECUTORS, help="where cells run; default: here, one after another")
    parser.add_argument("--workers", type=int, metavar="N", help="number of cells that run at once (local, slurm)")
    parser.add_argument("--address", metavar="A", help="address of the Ray cluster; default: auto")
    parser.add_argument(
        "--executor_options",
        metavar="{K: V}",
        help="options of the executor: time and partition for slurm, gpus_per_cell for ray",
    )
    parser.add_argument(
        "--log_variants",
        choices=("series", "runs"),
        help="log each epsilon of a sweep as a W&B run of its own, or as a series",
    )
    parser.add_argument("--max_cells", type=int, metavar="N", help=f"refuse more cells than this; default: {MAX_CELLS}")
    parser.add_argument(
        "--tune",
        nargs="+",
        action="extend",
        metavar="KEY=A,B",
        help="options and values to try; each strategy gets those that are best on validation images of the first experiences",
    )
    parser.add_argument(
        "--tune_on",
        type=int,
        metavar="N",
        help=f"number of first experiences on which --tune chooses; default: {TUNE_ON}",
    )
    parser.add_argument(
        "--budget",
        action="append",
        metavar="steps=N|kwh=X",
        help="what each cell may spend on training its increments, in equal shares",
    )
    add_table_option(parser)
    parser.add_argument("--dry_run", action="store_true", help="print the cells and their cost, and run nothing")
    parser.add_argument(
        "--trust_run",
        nargs="?",
        const="true",
        choices=("true", "false"),
        help="trust the source of the comparison's folder: its files may be links to other places",
    )
    return parser
