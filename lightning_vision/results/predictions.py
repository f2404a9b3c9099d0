"""What one pass over labelled images leaves behind: for each image and variant the prediction and its confidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_vision.data.batch import Batch
from lightning_vision.data.process_group import gather_from_processes
from lightning_vision.results.kept_logits import relative_logits
from lightning_vision.terminal.first_rank import is_first

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True)
class Predictions:
    """The predictions for N images by V variants, in the order of the sample table."""

    index: npt.NDArray[np.int64]
    """(N,) rows of the sample table."""
    label: npt.NDArray[np.int64]
    """(N,)"""
    predicted: npt.NDArray[np.int64]
    """(V, N)"""
    confidence: npt.NDArray[np.float32]
    """(V, N), the probability of the predicted class among the classes seen."""
    variants: tuple[str, ...]
    """V names; ("",) for a strategy that predicts one thing."""
    probability: npt.NDArray[np.float32] | None = None
    """(V, N, C) at the collector's temperature, kept only if asked for."""
    task_predicted: npt.NDArray[np.int64] | None = None
    """(V, N) the prediction among the classes of the image's experience; None where experiences share classes."""
    logits: npt.NDArray[np.float16] | None = None
    """(V, N, C), less the largest of each image, kept only if asked for, and on the first process; see ``kept_logits``."""
    largest_logit: npt.NDArray[np.float32] | None = None
    """(V, N), likewise."""
    probe_predicted: npt.NDArray[np.int64] | None = None
    """(N,) the prediction of the linear probe, which all variants share; None without one."""

    def accuracy(self, rows: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.float64]:
        """Accuracy per variant (V,), over all images or those of a mask (N,); NaN without any."""
        correct = self.predicted == self.label
        if rows is not None:
            correct = correct[:, rows]
        return correct.mean(axis=1) if correct.shape[1] else np.full(len(self.variants), np.nan)

    def one(self, variant: str) -> Predictions:
        """The predictions of one variant."""
        v = self.variants.index(variant)

        def of_variant(values: npt.NDArray[T] | None) -> npt.NDArray[T] | None:
            return None if values is None else values[v : v + 1]

        return Predictions(
            self.index,
            self.label,
            self.predicted[v : v + 1],
            self.confidence[v : v + 1],
            (variant,),
            of_variant(self.probability),
            of_variant(self.task_predicted),
            of_variant(self.logits),
            of_variant(self.largest_logit),
            self.probe_predicted,
        )

    def picked(self, variant: str) -> Predictions:
        """The predictions of the variant that was picked; all, where there are no variants of that name."""
        return self.one(variant) if variant in self.variants else self


class Collector:
    """Gathers the predictions of one pass, batch by batch, then over all processes.

    Args:
        keep_probability: Keep the probability of each class as well; it takes V x N x C floats.
        task_of_class: (C,) int64, the experience of each class, to predict within each image's experience as well; None: not.
        keep_logits: Keep the logits of each class as float16 on the first process.
        temperature: Logits are divided by it for the probabilities that are kept, not for the confidence.
    """

    def __init__(
        self,
        keep_probability: bool = False,
        task_of_class: Tensor | None = None,
        keep_logits: bool = False,
        temperature: float = 1.0,
    ) -> None:
        self.keep_probability, self.keep_logits, self.temperature = keep_probability, keep_logits, temperature
        self.task_of_class = task_of_class
        self.variants: tuple[str, ...] = ("",)
        self._whole: list[Tensor] = []  # (B, 2 + V) int64
        self._real: list[Tensor] = []  # (B, V) or (B, V + V * C) float32
        self._logits: list[Tensor] = []  # (B, V, C) float16
        self._largest: list[Tensor] = []  # (B, V) float32

    def add(self, batch: Batch, logits: Tensor | Mapping[str, Tensor], mask: Callable[[Tensor], Tensor]) -> None:
        """Take in the logits (B, C) of one batch, or of several variants."""
        named = logits if isinstance(logits, Mapping) else {"": logits}
        self.variants = tuple(named)
        masked = torch.stack([mask(values.float()) for values in named.values()], dim=1)  # (B, V, C)
        confidence, predicted = masked.softmax(dim=2).max(dim=2)  # (B, V)
        keep = batch["valid"]
        whole = [batch["index"][:, None], batch["label"][:, None], predicted]
        if self.task_of_class is not None:
            whole.append(predict_within_task(masked, batch["label"], self.task_of_class.to(masked.device)))
        self._whole.append(torch.cat(whole, dim=1)[keep])
        parts = [confidence]
        if self.keep_probability:
            parts.append((masked / self.temperature).softmax(dim=2).flatten(1))
        self._real.append(torch.cat(parts, dim=1)[keep])
        if self.keep_logits:
            relative, largest = relative_logits(masked[keep])
            self._logits.append(relative)
            self._largest.append(largest)

    def result(self, device: torch.device) -> Predictions:
        """All predictions of all processes, each image once, sorted by index."""
        columns = 3 if self.task_of_class is None else 4
        none = torch.empty(0, columns, dtype=torch.int64, device=device)
        whole = _gather(torch.cat(self._whole) if self._whole else none)
        real = _gather(torch.cat(self._real) if self._real else torch.empty(0, 1, device=device))
        order = torch.argsort(whole[:, 0])
        whole, real = whole[order], real[order]
        logits, largest = self._gathered_logits(order)
        v = len(self.variants)
        probability = None
        if self.keep_probability:
            probability = real[:, v:].reshape(len(real), v, -1).transpose(0, 1).numpy()
        return Predictions(
            index=whole[:, 0].numpy(),
            label=whole[:, 1].numpy(),
            predicted=whole[:, 2 : 2 + v].T.contiguous().numpy(),
            confidence=real[:, :v].T.contiguous().numpy(),
            variants=self.variants,
            probability=probability,
            task_predicted=None if self.task_of_class is None else whole[:, 2 + v :].T.contiguous().numpy(),
            logits=logits,
            largest_logit=largest,
        )

    def _gathered_logits(self, order: Tensor) -> tuple[npt.NDArray[np.float16] | None, npt.NDArray[np.float32] | None]:
        """The logits (V, N, C) of all processes and the largest ones (V, N), on the first process."""
        if not self.keep_logits or not self._logits:
            return None, None
        logits, largest = _gather(torch.cat(self._logits)), _gather(torch.cat(self._largest))
        if not is_first():  # which writes them
            return None, None
        return logits[order].transpose(0, 1).numpy(), largest[order].T.numpy()


def predict_within_task(logits: Tensor, label: Tensor, task_of_class: Tensor) -> Tensor:
    """The predictions where each image's experience is given: the best of that experience's classes.

    Args:
        logits: (B, V, C) of V variants.
        label: (B,) int64 true classes, which say what experience an image is of.
        task_of_class: (C,) int64, the experience of each class.

    Returns:
        (B, V) int64.
    """
    elsewhere = task_of_class != task_of_class[label][:, None]  # (B, C)
    return logits.masked_fill(elsewhere[:, None], -torch.inf).argmax(dim=2)


def _gather(rows: Tensor) -> Tensor:
    """The rows (n, K) of all processes, one process after the other, on the CPU."""
    return torch.cat(gather_from_processes(rows)).cpu()


def in_stream_order(values: Tensor, total: int) -> Tensor:
    """The global batch (total, ...) from each process's striped part (n, ...): process r holds rows r, r+W, r+2W, ..."""
    parts = gather_from_processes(values)
    if len(parts) == 1:
        return values
    whole = values.new_empty(total, *values.shape[1:])
    for rank, part in enumerate(parts):
        whole[rank :: len(parts)] = part
    return whole
