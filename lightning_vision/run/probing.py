"""The linear probe of a run: after each experience, what a new head on the backbone's features would reach."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from lightning_vision.array_types import Rows
from lightning_vision.data.process_group import gather_from_processes, sum_over_processes
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
            predicted, ridge, images = self._probe(experience)
        context.features.for_evaluation(model.strategy)
        record, parts = context.record, len(context.datamodule.stream)
        label = record.last_predictions.label
        past = record.probe or Probe.missing(experience.index, parts)
        seen = np.isin(label, experience.seen_classes)
        record.probe = past.with_next(predicted == label, seen, record.test_parts, parts, ridge, images, task.seconds)
        record.predictions_file.add_probe(predicted)
        if model.learner.freezes_backbone and not any("The probe" in note for note in context.record.notes):
            name = type(model.learner).__name__
            context.note(
                f"The probe: {name} freezes the backbone, so its features do not change. The probe depends on the classes seen alone, "
                "and is the same for all strategies that freeze this backbone."
            )

    def _probe(self, experience: Experience) -> tuple[Rows, float, int]:
        """The predictions (N,) for the test images, the chosen penalty, and the number of images that it was fitted to."""
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
        pairs = [torch.empty(0, 2, dtype=torch.int64, device=device)]  # of an image its row and its prediction
        for features, _, index in self._features(experience, context.record.test_index):
            pairs.append(torch.stack([index, fitted.classes[predict(features, weights, bias)[0]]], dim=1))
        found = torch.cat(gather_from_processes(torch.cat(pairs)))
        predicted: Rows = found[found[:, 0].argsort(), 1].cpu().numpy()  # the test images' rows ascend
        return predicted, RIDGES[chosen], int(fitted.count.item())

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
