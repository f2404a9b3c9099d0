"""Progress of a run: experience, epoch, remaining time. A live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import importlib.util
import sys
import time
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from lightning_vision.terminal.messages import speaks
from lightning_vision.terminal.wording import plural, printable, printable_lines

if TYPE_CHECKING:
    from lightning_vision.data.stream import Experience
    from lightning_vision.results.schema import Results


class StreamProgress(Callback):
    """Show the run's progress on rank 0.

    Args:
        console: The console; standard output by default.
        enabled: If False, only messages of ``say`` are shown.
    """

    def __init__(self, console: Console | None = None, enabled: bool = True) -> None:
        self.console = console or make_console()
        self.enabled = enabled and speaks()
        self._live: Progress | None = None
        self._task = TaskID(0)
        self._plan: list[float] = []
        self._done = self._done_at_start = 0.0
        self._started = time.monotonic()
        self._title = self._detail = ""
        self._cost, self._stage, self._unreported = 1.0, "", False

    def begin(self, plan: list[float], done: int) -> None:
        """Start the clock.

        Args:
            plan: The work of each experience, in images through the network.
            done: Experiences finished by an earlier part of the run.
        """
        self._plan = plan
        self._title = "before the first experience" if not done else "resumed"
        self._start_clock(done)
        if self.enabled and (self.console.is_interactive or shows_widgets(self.console)):
            self._live = Progress(
                TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"), TextColumn("{task.fields[left]}"),
                console=self.console, transient=True, refresh_per_second=4,
            )  # fmt: skip
            self._task = self._live.add_task("", total=sum(plan) or 1, left="")
            self._live.update(self._task, completed=self._done)
            self._live.start()

    def _start_clock(self, done: int) -> None:
        self._done = self._done_at_start = sum(self._plan[:done])
        self._started = time.monotonic()

    def close(self) -> None:
        """Remove the live line."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, text: str) -> None:
        """Print a line."""
        if speaks():
            self.console.print(escape(printable_lines(text)), soft_wrap=True)

    def experience(self, experience: Experience) -> None:
        """An experience begins. Evaluation before the first one is not in the plan."""
        if self._done_at_start == sum(self._plan[: experience.index]):
            self._start_clock(experience.index)
        self._title = f"experience {experience.index + 1} of {len(self._plan)} ({experience.name})"
        self._show("")

    def stage(self, stage: str, cost: float) -> None:
        """A stage begins.

        Args:
            stage: Its name.
            cost: Work of training on one image, in forward passes.
        """
        self._cost, self._unreported = cost, False
        self._stage = f"{stage} " if stage else ""

    def experience_done(self, results: Results) -> None:
        """An experience is finished: its figures, in one line."""
        t = len(results.experiences) - 1
        record = results.experiences[t]
        self._done = sum(self._plan[: t + 1])
        if self.enabled:
            accuracy, seen = results.test_accuracy[t], results.seen_accuracy[t]
            figures = [f"test accuracy {_percent(accuracy)}"]
            if seen != accuracy:
                figures.append(f"on the classes seen {_percent(seen)}")
            if results.picked_variant and results.picked_variant[t]:
                figures.append(f"picked {results.picked_variant[t]}")
            energy = "" if record.energy_kwh is None else f", {record.energy_kwh:.2g} kWh"
            figures.append(f"{plural(record.epochs, 'epoch')}, {record.seconds:.1f} s{energy}")
            self.say(f"{self._title}: {', '.join(figures)} · {self._left()}")
        self._show("")

    # ---- callbacks -------------------------------------------------------------------------------------------------

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The figures of the previous epoch, which are complete now, and the number of this one."""
        self._report(trainer)
        self._unreported = True
        of = f" of {trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
        self._show(f"{self._stage}epoch {trainer.current_epoch + 1}{of}")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Some work done."""
        self._advance(self._cost * len(batch["label"]) * trainer.world_size)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Some work done."""
        self._advance(len(batch["label"]) * trainer.world_size)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The figures of the last epoch."""
        self._report(trainer)

    def _report(self, trainer: Trainer) -> None:
        """An epoch's figures, as a line if there is no live line."""
        unreported, self._unreported = self._unreported, False
        if unreported and self.enabled and self._live is None:
            keys = (("loss", "train/loss"), ("validation accuracy", "val/accuracy"))
            found = [
                f"{name} {float(trainer.callback_metrics[key]):.3f}"
                for name, key in keys
                if key in trainer.callback_metrics
            ]
            self.say(" · ".join([self._title, self._detail, *found, self._left()]))

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluation begins."""
        self._show("evaluation")

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Some work done."""
        self._advance(len(batch["label"]) * trainer.world_size)

    def _advance(self, work: float) -> None:
        self._done += work
        self._show(self._detail)

    def _left(self) -> str:
        """The remaining time, estimated from the work since the start."""
        worked, total = self._done - self._done_at_start, sum(self._plan)
        if worked <= 0:
            return ""
        seconds = (time.monotonic() - self._started) * max(0.0, total - self._done) / worked
        minutes, hours = int(seconds + 30) // 60, int(seconds) // 3600
        return (
            f"{hours} h {minutes % 60:02d} min left"
            if hours
            else f"{minutes} min left"
            if seconds >= 90
            else f"{seconds:.0f} s left"
        )

    def _show(self, detail: str) -> None:
        self._detail = detail
        if self._live is not None:
            text = escape(printable(f"{self._title} · {detail}" if detail else self._title))
            self._live.update(self._task, description=text, completed=self._done, left=self._left())


def make_console() -> Console:
    """Standard output; if it is not a terminal, wide enough for the tables.

    In a notebook rich prints into the cell, even where standard output is redirected, as for the cells of a comparison.
    """
    in_cell = None if type(sys.stdout).__module__.startswith("ipykernel") else False
    console = Console(highlight=False, force_jupyter=in_cell)
    if console.is_terminal:
        return console
    return Console(highlight=False, force_jupyter=in_cell, width=max(console.width, 110))


def shows_widgets(console: Console) -> bool:
    """Whether this is a notebook in which a live line can be shown; rich needs ipywidgets for it."""
    return console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None


def _percent(value: float | None) -> str:
    return "not evaluated" if value is None else f"{100 * value:.1f} %"
