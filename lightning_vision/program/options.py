"""The options of single subcommands, besides those of the model, the data and the trainer."""

from __future__ import annotations

from lightning_vision.explanation.options import ExplainOptions
from lightning_vision.exporting.options import ExportOptions
from lightning_vision.trust.options import PredictOptions, TrustOptions

FROM_CHECKPOINT = ("validate", "test", "predict", "explain", "export", "data")


OPTIONS: dict[str, type] = {
    "test": TrustOptions,
    "predict": PredictOptions,
    "explain": ExplainOptions,
    "export": ExportOptions,
}
"""Options of a subcommand besides those of all."""
