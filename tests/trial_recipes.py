"""Recipes that use one hook of the interface each, as a third party would write them."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer

from lightning_vision import Network, Strategy
from lightning_vision.learning.recipe import Moment, Recipe
from lightning_vision.learning.stage import Stage


class Watching(Recipe):
    """Records its calls in their order; a resumed run continues its list."""

    seen: list["Watching"] = []  # noqa: RUF012 - of the class, so that a test finds the instances of a run

    def __init__(self) -> None:
        self.calls: list[str] = []
        Watching.seen.append(self)

    def before_stage(self, moment: Moment) -> None:
        assert moment.stage is not None and not moment.model.network.training
        again = " again" if moment.resumed else ""
        self.calls.append(f"{moment.experience.index}: {moment.stage.title or 'all'}{again}")

    def after_experience(self, moment: Moment) -> None:
        self.calls.append(f"{moment.experience.index}: over")
        moment.note(f"watched {len(self.calls)}")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.calls.append(f"{trainer.max_epochs} epochs")

    def state_dict(self) -> dict[str, Any]:
        return {"calls": list(self.calls)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.calls = [*state_dict["calls"], "loaded"]


class HeadAtTheEnd(Recipe):
    """One more epoch for the head alone, on images that are not augmented."""

    def stages(self, learner: Strategy, stages: list[Stage], max_epochs: int) -> list[Stage]:
        return [*stages, Stage(stages[-1].name, "head at the end", epochs=1, augment=False)]

    def parameters_to_train(self, network: Network, stage: Stage, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{"params": network.head.parameters()}] if stage.part else groups


class SlowBackbone(Recipe):
    """A tenth of the learning rate for the backbone, a half for the head."""

    def parameters_to_train(self, network: Network, stage: Stage, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {"params": network.backbone.parameters(), "lr_scale": 0.1},
            {"params": network.head.parameters(), "lr_scale": 0.5},
        ]


class FoundRate(Recipe):
    """A learning rate of its own, and half the batch size, from experience 1 on."""

    def before_stage(self, moment: Moment) -> None:
        if moment.experience.index:
            moment.model.found_learning_rate = 0.02
            moment.datamodule.batch_size = 4


class RatesSeen(Recipe):
    """Writes down the learning rates that training starts with, and the images' seeds."""

    seen: list[list[float]] = []  # noqa: RUF012 - of the class, so that a test finds them

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        RatesSeen.seen.append([group["lr"] for group in trainer.optimizers[0].param_groups])


class Mirrored(Recipe):
    """Evaluates each image and its mirror image."""

    needs_images = True

    def before_run(self, model: Any, datamodule: Any) -> None:
        model.augmented_prediction = lambda predict, image: (predict(image) + predict(torch.flip(image, (3,)))) / 2
        datamodule.test_transform = datamodule.eval_transform
