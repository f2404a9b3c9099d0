"""Loss and accuracy of an evaluation."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own custom
from torchmetrics.aggregation import MeanMetric

from lightning_vision.data.batch import Batch
from lightning_vision.learning.network import Network
from lightning_vision.learning.training_figures import log_mean


class EvaluationFigures:
    """Loss and accuracy over the images of one pass.

    Args:
        measured: Receives the newest mean of each figure.
    """

    def __init__(self, measured: dict[str, float]) -> None:
        self.measured = measured
        self.loss, self.accuracy = MeanMetric(), MeanMetric()

    def begin(self) -> None:
        """Reset the sums. They may be tensors of inference mode, to which training cannot add."""
        self.loss.reset()
        self.accuracy.reset()

    def add(self, network: Network, batch: Batch, logits: Tensor) -> None:
        """Add the logits (B, C) of a batch, before the mask."""
        logits = network.mask_unseen(logits.float())
        labels, valid = batch["label"], batch["valid"]
        self.accuracy.update((logits.argmax(dim=1) == labels)[valid].float())
        known = valid & network.seen[labels]  # the loss of a class that was never seen is infinite
        if known.any():
            self.loss.update(F.cross_entropy(logits[known], labels[known]), int(known.sum()))

    def log(self, log: Callable[[str, Tensor], None], part: str) -> None:
        """Log the means over all processes as ``part/loss`` and ``part/accuracy``."""
        log_mean(log, f"{part}/loss", self.loss, self.measured)
        log_mean(log, f"{part}/accuracy", self.accuracy, self.measured)
