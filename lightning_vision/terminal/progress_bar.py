"""A progress bar for work that takes several seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lightning_vision.terminal.messages import speaks

PATIENCE_SECONDS = 2.0
"""Work that takes longer shows a progress bar."""


@contextmanager
def progress_bar(text: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a bar on standard error, on rank 0, if the work takes several seconds; yields a function that advances it by one.

    If standard error is no terminal, or one that cannot move the cursor, one line describes the work: erasing a bar leaves
    blank lines there.
    """
    began, done = time.monotonic(), 0
    console = Console(stderr=True)
    live = console.is_interactive or console.is_jupyter
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=console, transient=True)
    task = progress.add_task(text, total=total)
    shown = False

    def advance() -> None:
        nonlocal done, shown
        done += 1
        if not shown and speaks() and time.monotonic() - began > PATIENCE_SECONDS:
            shown = True
            if live:
                progress.start()
            else:
                console.print(f"{text} ({total:,})", highlight=False)
        if shown and live:
            progress.update(task, completed=done)

    try:
        yield advance
    finally:
        if shown and live:
            progress.stop()
