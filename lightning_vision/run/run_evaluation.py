"""Evaluates a run's network on validation and test images, and chooses a variant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from lightning_vision.data.process_group import sum_over_processes
from lightning_vision.data.stream import Experience
from lightning_vision.learning.placement import place
from lightning_vision.learning.prediction import select_best_variant
from lightning_vision.results import schema
from lightning_vision.results.predictions import Collector, Predictions
from lightning_vision.results.record import task_of_class
from lightning_vision.run.run_context import RunContext
from lightning_vision.run.usage_of_nodes import usage_of_nodes


@dataclass(frozen=True)
class Evaluated:
    """The results of the evaluation after an experience."""

    validation: Predictions
    """On the validation parts of the experiences so far, all variants."""
    test: Predictions
    """On the whole test set, all variants."""
    picked: str
    """The variant that was picked."""
    cost: schema.Evaluation


class RunEvaluation:
    """Evaluates the network of a run.

    Args:
        context: The run.
    """

    def __init__(self, context: RunContext) -> None:
        self.context = context
        self._passed = 0
        """Images that passed this process's backbone in passes that no experience's record has yet."""

    def evaluate(self, experience: Experience) -> Evaluated:
        """Evaluate after an experience, measure the cost, and pick a variant."""
        context = self.context
        with context.meter.task(f"experience {experience.index}: evaluation") as task:
            validation, test = self.predictions(["val", "test"], experience.index)
        used = usage_of_nodes(task.used, context.meter, context.process.device)
        passed = sum_over_processes(torch.tensor(self._passed, device=context.process.device))
        self._passed = 0
        context.features.update_record()
        cost = schema.Evaluation(
            seconds=used.seconds,
            energy_kwh=used.energy_kwh,
            co2eq_kg=used.co2eq_kg,
            images=len(validation.index) + len(test.index),
            backbone_images=int(passed),
        )
        return Evaluated(validation, test, self._pick(validation, test), cost)

    def predictions(self, parts: Sequence[Literal["val", "test"]], t: int) -> list[Predictions]:
        """Evaluate each part once.

        Args:
            parts: "val": the validation parts of experiences 0 to ``t``; "test": the whole test set.
            t: Index of the last experience so far.
        """
        context, model, datamodule = self.context, self.context.model, self.context.datamodule
        trainer = context.trainers.evaluation([context.progress, context.signals])
        passed_before = model.network.backbone_images
        context.features.for_predictions()
        for part in parts:
            context.features.compute(datamodule.rows_to_evaluate(part, t if part == "val" else None))
        loaders = [
            datamodule.evaluation_loader(part, t if part == "val" else None, trainer.global_rank, trainer.world_size)
            for part in parts
        ]
        tasks = task_of_class(datamodule.stream, len(model.class_names))
        collectors = [
            Collector(task_of_class=tasks, keep_logits=model.keep_logits) if part == "test" else Collector()
            for part in parts
        ]
        filled = [number for number, loader in enumerate(loaders) if len(loader)]
        model.collectors = [collectors[number] for number in filled]
        if filled:
            trainer.test(model, dataloaders=[loaders[number] for number in filled], verbose=False)
        place(model, context.process.device)
        self._passed += model.network.backbone_images - passed_before
        context.features.for_evaluation(model.strategy)  # what recipes are given next
        return [collector.result(context.process.device) for collector in collectors]

    def _pick(self, validation: Predictions, test: Predictions) -> str:
        """Pick a variant if the strategy predicts several; it becomes the network's head."""
        model, names = self.context.model, test.variants
        model.picked_variant = ""
        if names != ("",):
            model.picked_variant = select_best_variant(model.learner, model.network, names, lambda: validation)
        return model.picked_variant
