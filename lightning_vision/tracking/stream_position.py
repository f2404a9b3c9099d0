"""The position of a run in the stream, as an axis of everything that is logged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lightning.pytorch.loggers import Logger

EXPERIENCE_KEY = "stream/experience"


STEP_KEY = "stream/step"


@dataclass
class StreamPosition:
    """The position in the stream: changed by the run, read by every logger that follows it.

    Args:
        experience: Number of the experience that is being learned.
        step_offset: Steps of all former experiences, because each has its own Trainer, whose global_step begins at 0.
    """

    experience: int = 0
    step_offset: int = 0


class _StreamLog:
    """A wrapper of a logger's `log_metrics`."""

    def __init__(self, log: Callable[..., None], position: StreamPosition) -> None:
        self.log = log
        self.position = position
        self.last_step = 0

    def __call__(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        # Lightning logs a training epoch's metrics one step before the validation's that ran within it.
        self.last_step = max(self.last_step, self.position.step_offset + (step or 0))
        where = {EXPERIENCE_KEY: float(self.position.experience), STEP_KEY: self.last_step}
        self.log({**metrics, **where}, self.last_step)


def follow_stream(logger: Logger, position: StreamPosition) -> None:
    """Make a Lightning logger count its steps over the whole stream.

    `log_metrics(metrics, step)` then adds `position.step_offset` to the step, and "stream/experience" and "stream/step"
    to the metrics. The step never decreases: an earlier step, or None, is logged as the last one. A second call for the
    same logger replaces the position.
    """
    log = vars(logger).get("log_metrics")
    if isinstance(log, _StreamLog):
        log.position = position
    else:
        vars(logger)["log_metrics"] = _StreamLog(logger.log_metrics, position)


def leave_stream(logger: Logger) -> None:
    """Makes a logger count as it did before `follow_stream`."""
    log = vars(logger).get("log_metrics")
    if isinstance(log, _StreamLog):
        del vars(logger)["log_metrics"]
        if logger.log_metrics != log.log:  # somebody else's stood there
            vars(logger)["log_metrics"] = log.log
