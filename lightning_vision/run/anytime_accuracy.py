"""The accuracy along an online stream, measured between its batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_vision.data.online_stream import MeasurementPlan, rows_to_measure
from lightning_vision.data.process_group import sum_over_processes
from lightning_vision.data.stream import Experience
from lightning_vision.learning.prediction import pick_variant
from lightning_vision.results import schema
from lightning_vision.run.run_context import RunContext
from lightning_vision.run.usage_of_nodes import usage_of_nodes
from lightning_vision.tracking.energy import Usage

KEY = "online/accuracy"
"""The name of the figure in the loggers."""


class AnytimeAccuracy(Callback):
    """Measures the accuracy on test images of the classes seen so far, between the batches of one experience.

    The network predicts as it stands after a batch, before ``after_experience``. Training does not depend on the measurements: modes
    are restored, and every batch seeds the random numbers anew. Their cost counts as evaluation.

    Its state is in the checkpoints of the stage, so that a run that resumes in the midst of an experience keeps its measurements.

    Args:
        context: The run.
        experience: The experience that is learned.
    """

    def __init__(self, context: RunContext, experience: Experience) -> None:
        self.context, self.experience = context, experience
        self.plan = plan_of(context)
        data, scenario = context.datamodule, context.datamodule.scenario
        labels = data.samples["label"].to_numpy()
        tested = data.rows_to_evaluate("test")
        self.rows = rows_to_measure(tested, labels[tested], scenario.evaluate_images, scenario.seed)
        self.labels = labels[self.rows]
        self.accuracy: list[float | None] = []
        self.used = Usage()
        self.images = self.backbone_images = 0
        """Images that were evaluated, and those that passed the backbone, over all processes."""

    def state_dict(self) -> dict[str, Any]:
        """The measurements so far and their cost, as plain values."""
        used = {"seconds": self.used.seconds, "energy_kwh": self.used.energy_kwh, "co2eq_kg": self.used.co2eq_kg}
        images = {"images": self.images, "backbone_images": self.backbone_images}
        return {"accuracy": list(self.accuracy), "used": used, **images}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the measurements of an interrupted attempt."""
        self.accuracy, self.used = list(state_dict["accuracy"]), Usage(**state_dict["used"])
        self.images, self.backbone_images = state_dict["images"], state_dict["backbone_images"]

    def prepare(self) -> None:
        """Compute the features of the test images, where features are served while the stage is trained."""
        with self._aside():
            self.context.features.compute(self.rows)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure, if it is time to."""
        batches = len(trainer.train_dataloader)  # type: ignore[arg-type] # a DataLoader of the stream
        if not self.plan.measures_after(self.experience.index, batch_idx, batches):
            return
        accuracy = self._measured(trainer)
        self.accuracy.append(accuracy)
        if accuracy is not None:
            for logger in trainer.loggers:
                logger.log_metrics({KEY: accuracy}, step=max(0, trainer.global_step - 1))

    def _measured(self, trainer: Trainer) -> float | None:
        """The accuracy as the network stands; None without a test image of the classes seen."""
        model, process = self.context.model, self.context.process
        seen = model.network.seen.cpu().numpy()
        rows = self.rows[seen[self.labels]]
        if not len(rows):
            return None
        counts = torch.zeros(2, dtype=torch.int64, device=process.device)
        with self._aside():
            loader = self.context.datamodule.evaluation_loader(rows, None, process.rank, process.world_size)
            for loaded in loader:
                batch = model.normalised(move_data_to_device(loaded, process.device))
                with trainer.precision_plugin.forward_context():
                    logits = pick_variant(model.predict_logits(batch), model.picked_variant)
                right = model.network.mask_unseen(logits.float()).argmax(dim=1) == batch["label"]
                counts += torch.stack([(right & batch["valid"]).sum(), batch["valid"].sum()])
        correct, images = sum_over_processes(counts).tolist()
        self.images += images
        return float(correct / images)

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """Evaluate in the midst of training: the cost is not that of learning, and the modes of all modules are restored."""
        model, device = self.context.model, self.context.process.device
        training = [module for module in model.modules() if module.training]
        before = model.network.backbone_images
        with self.context.meter.aside(f"experience {self.experience.index}: anytime accuracy") as task:
            model.eval()
            try:
                with torch.no_grad():
                    yield
            finally:
                for module in training:
                    module.training = True
                passed = torch.tensor(model.network.backbone_images - before, device=device)
                model.network.backbone_images = before
        self.used += usage_of_nodes(task.used, self.context.meter, device)
        self.backbone_images += int(sum_over_processes(passed))

    def added_to(self, cost: schema.Evaluation) -> schema.Evaluation:
        """The cost of evaluation after the experience, with that of the measurements."""
        total = Usage(cost.seconds, cost.energy_kwh, cost.co2eq_kg) + self.used
        passed = (cost.backbone_images or 0) + self.backbone_images
        return schema.Evaluation(
            seconds=total.seconds,
            energy_kwh=total.energy_kwh,
            co2eq_kg=total.co2eq_kg,
            images=cost.images + self.images,
            backbone_images=passed,
        )


def plan_of(context: RunContext) -> MeasurementPlan:
    """After which batches of the stream the accuracy is measured.

    Raises:
        ConfigError: The stream ends before the first measurement.
    """
    data = context.datamodule
    size = data.batch_size * context.process.world_size
    return MeasurementPlan.of(data.stream, data.scenario.evaluate_every, size)


def anytime_accuracy(context: RunContext, experience: Experience) -> AnytimeAccuracy | None:
    """The measurements of an experience; None if it is the base, or if the stream is not online."""
    online = context.datamodule.scenario.online and not experience.is_base
    return AnytimeAccuracy(context, experience) if online else None
