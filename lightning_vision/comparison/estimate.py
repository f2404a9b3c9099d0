"""Estimates the cost of a comparison before it is run."""

from __future__ import annotations

import contextlib
import io
import time
from dataclasses import dataclass

import torch
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lightning_vision.comparison.folder import ComparisonFolder
from lightning_vision.comparison.plan import Plan, PlannedRun
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.program.outlook import look_ahead
from lightning_vision.results.resume_options import binding
from lightning_vision.terminal.wording import plural, printable

TRIAL_SECONDS = 0.5


@dataclass(frozen=True)
class Cost:
    """The work of a run."""

    images: int
    """Images through the network in all epochs and evaluations; a backward pass counts as two more."""
    seconds: float


def print_estimate(plan: Plan, folder: ComparisonFolder, console: Console) -> None:
    """Print every run of a plan with its work: nothing is trained and nothing is written.

    The time is that of the network alone, measured on this machine with images of zeros. Loading images takes additional
    time; the savings of strategies with a frozen backbone by the feature cache are not counted.
    """
    table = Table(
        title="What will be run: images through the network, and a lower bound of the time", box=box.SIMPLE_HEAD
    )
    for heading in ("run", "state", "images", "at least"):
        table.add_column(heading, justify="left" if heading in ("run", "state") else "right", overflow="fold")
    costs: dict[str, Cost] = {}
    speeds: dict[tuple[str, int], float] = {}
    left, images = 0.0, 0
    for run in [*plan.bases, *plan.cells]:
        state = folder.state(run)
        cost = _cost(run, costs, speeds)
        if state != "done":
            left, images = left + cost.seconds, images + cost.images
        table.add_row(escape(printable(run.name)), state, f"{cost.images:,}", _time(cost.seconds))
    console.print(table)
    console.print(
        f"{plural(len(plan.cells), 'cell')} and {plural(len(plan.bases), 'base')}; remaining: {images:,} images through "
        f"the network, at least {_time(left)} on this machine, one after another."
    )
    shared = sum(cell.base is not None for cell in plan.cells) - len(plan.bases)
    if shared > 0:
        console.print(f"Sharing the bases saves the training of {plural(shared, 'more base')}.")


def _cost(run: PlannedRun, costs: dict[str, Cost], speeds: dict[tuple[str, int], float]) -> Cost:
    """Computed once for runs that differ only in the seed."""
    alike = {
        key: value
        for key, value in binding(run.config).items()
        if not key.endswith("seed") and key != "seed_everything"
    }
    key = repr(sorted(alike.items())) + run.kind + str(run.base is None)
    if key not in costs:
        said = io.StringIO()  # the runs print the remarks about the data
        with contextlib.redirect_stdout(said):
            prospect = look_ahead(run.dumped)
        kind = (prospect.model.network.facts.name, prospect.model.image_size)
        if kind not in speeds:
            speeds[kind] = seconds_per_image(prospect.model)
        costs[key] = Cost(prospect.images, prospect.images * speeds[kind])
    return costs[key]


def seconds_per_image(model: ContinualClassifier, batch: int = 8) -> float:
    """Seconds of one image's forward pass on this machine, on the processor or the first GPU."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = model.network.to(device).eval()
    images = torch.zeros(batch, 3, model.image_size, model.image_size, device=device)
    with torch.inference_mode():
        network.head(network.backbone(images))
        passes, started = 0, time.perf_counter()
        while time.perf_counter() - started < TRIAL_SECONDS:
            network.head(network.backbone(images)).sum().item()
            passes += 1
    return (time.perf_counter() - started) / (passes * batch)


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
