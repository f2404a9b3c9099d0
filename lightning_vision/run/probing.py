"""The linear probe of a run: after each experience, what a new head on the backbone's features would reach."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from lightning_vision.array_types import Rows
from lightning_vision.data.process_group import sum_over_processes
from lightning_vision.data.stream import Experience
from lightning_vision.learning.linear_probe import RIDGES, WITHOUT_VALIDATION, LinearProbe, predict
from lightning_vision.learning.placement import place
from lightning_vision.results.probe import Probe
from lightning_vision.run.experience_batches import ExperienceBatches
from lightning_vision.run.run_context import RunContext


class Probing:
    """Fits a probe on the training images of all experiences so far, and evaluates it on the test images of their classes.

    No strategy may use all these images, so the probe is a measurement and changes nothing: neither weights, nor random numbers,
    nor the cost of learning. Its accuracy minus that of the classifier was lost in the head, and what is missing to the probe of
    a jointly trained network was lost in the backbone (Davari et al., Probing Representation Forgetting in Supervised and
    Unsupervised Continual Learning, CVPR 2022, arXiv 2203.13381, who fit it to one task at a time).

    Args:
        context: The run.
    """

    def __init__(self, context: RunContext) -> None:
        self.context = context

    @torch.no_grad()
    def probe(self, experience: Experience) -> None:
        """Probe after an experience, and add the result to the record."""
        context, model = self.context, self.context.model
        place(model, context.process.device)
        model.network.eval()
        context.features.for_predictions()
        with context.meter.task(f"experience {experience.index}: probe") as task:
            found = self._probe(experience)
        context.features.for_evaluation(model.strategy)
        past = context.record.probe or Probe.missing(experience.index, len(context.datamodule.stream))
        context.record.probe = past.with_next(*found, task.seconds)
        if model.learner.freezes_backbone and not any("The probe" in note for note in context.record.notes):
            name = type(model.learner).__name__
            context.note(
                f"The probe: {name} freezes the backbone, so its features do not change. The probe depends on the classes seen alone, "
                "and is the same for all strategies that freeze this backbone."
            )

    def _probe(self, experience: Experience) -> tuple[float | None, list[float | None], float, int]:
        """Accuracy on the test images of seen classes and by test part, the chosen penalty, and the number of images."""
        context, t = self.context, experience.index
        stream, device = context.datamodule.stream, context.process.device
        classes = sorted(experience.seen_classes)
        rows = np.concatenate([each.indices for each in list(stream)[: t + 1]])
        fitted = LinearProbe(context.model.network.facts.num_features, classes, device)
        for features, label, _ in self._features(experience, rows):
            fitted.update(features, label)
        fitted.reduce(sum_over_processes)
        weights, bias = fitted.weights()
        chosen = self._choose(experience, fitted.classes, weights, bias)
        weights, bias = weights[chosen, None], bias[chosen, None]
        known = torch.zeros(len(context.model.class_names), dtype=torch.bool, device=device)
        known[fitted.classes] = True
        parts = torch.from_numpy(self._part_of_row()).to(device)
        sums = torch.zeros(3, len(stream), device=device)  # by part: images, images of seen classes, correct ones
        for features, label, index in self._features(experience, stream.rows_to_evaluate("test")):
            right = fitted.classes[predict(features, weights, bias)[0]] == label
            for row, of in enumerate((torch.ones_like(right), known[label], right)):
                sums[row].index_add_(0, parts[index], of.to(sums))
        images, seen, correct = sum_over_processes(sums).tolist()
        by_part = [c / n if n and n == s else None for n, s, c in zip(images, seen, correct, strict=True)]
        accuracy = sum(correct) / sum(seen) if sum(seen) else None
        return accuracy, by_part, RIDGES[chosen], int(fitted.count.item())

    def _choose(self, experience: Experience, classes: Tensor, weights: Tensor, bias: Tensor) -> int:
        """The penalty with the highest accuracy on the validation images so far, ties to the largest; a fixed one without."""
        rows = self.context.datamodule.stream.rows_to_evaluate("val", experience.index)
        correct = torch.zeros(len(RIDGES), device=self.context.process.device)
        for features, label, _ in self._features(experience, rows):
            correct += (classes[predict(features, weights, bias)] == label).sum(1)
        correct = sum_over_processes(correct)
        if not len(rows):
            return RIDGES.index(WITHOUT_VALIDATION)
        return len(RIDGES) - 1 - int(correct.flip(0).argmax().item())

    def _features(self, experience: Experience, rows: Rows) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Features (B, D), labels and rows (B,) of some images, batch by batch; each process has a part of them."""
        if not len(rows):
            return
        network = self.context.model.network
        for batch in ExperienceBatches(self.context, experience, rows):
            valid = batch["valid"]
            yield network.features(batch)[valid], batch["label"][valid], batch["index"][valid]

    def _part_of_row(self) -> Rows:
        """(N,) the experience of each test row of the sample table."""
        part: Rows = np.zeros(len(self.context.datamodule.samples), dtype=np.int64)
        for each in self.context.datamodule.stream:
            part[each.test_indices] = each.index
        return part
