"""Blur the regions that led to errors, and continue training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own custom
from torchvision.transforms import v2

from lightning_vision.array_types import Rows
from lightning_vision.data.batch_order import EvalBatches
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.datasets import SampleDataset
from lightning_vision.data.loaders import make_loader
from lightning_vision.errors import ConfigError
from lightning_vision.explanation.maps import class_maps
from lightning_vision.explanation.methods import check_method
from lightning_vision.explanation.target_layers import find_target_layer
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.recipe import Moment, Recipe
from lightning_vision.learning.stage import Stage
from lightning_vision.learning.strategy import Strategy
from lightning_vision.learning.strategy_features import check_follows_backbone
from lightning_vision.recipes.blurred_images import BlurredImages
from lightning_vision.recipes.training_dataset import training_dataset
from lightning_vision.results.predictions import in_stream_order
from lightning_vision.terminal.wording import plural

PART = "cam blur"
SIDE = 32
"""Of the masks that are kept: finer than the last feature map of any backbone at usual sizes."""


class CamBlur(Recipe):
    """Continue training with those regions blurred that led to errors.

    Each experience ends with an additional stage. Before this stage the strategy predicts its training images with the
    evaluation transform. For each misclassified image, a class-activation map of the predicted class for the whole
    image shows which region led to the error. The image is blurred where the map is at least ``threshold``, before any
    other transform, so the correct class must be learned from the rest. If all training images are correctly
    classified, the stage has no effect, and a message is printed.

    Args:
        epochs: Number of epochs of this stage.
        method: Method of the maps: GradCAM or another method of ``explain``.
        threshold: Value of the map, from 0 to 1, from which a region is blurred.
        sigma: Width of the blur, as a share of the image's shorter side.
        most: Maximum number of blurred images; the most confident errors are used.
        layer: Name of the target layer. None: the last layer with spatial positions.

    Raises:
        ConfigError: An option is out of range.
    """

    needs_images = True

    def __init__(
        self,
        epochs: int = 2,
        method: str = "GradCAM",
        threshold: float = 0.5,
        sigma: float = 0.1,
        most: int = 1000,
        layer: str | None = None,
    ) -> None:
        for name, value, right in (
            ("epochs: expected 1 or more", epochs, epochs >= 1),
            ("threshold: expected a number above 0 and at most 1", threshold, 0 < threshold <= 1),
            ("sigma: expected a number above 0 and at most 1", sigma, 0 < sigma <= 1),
            ("most: expected 1 or more", most, most >= 1),
        ):
            if not right:
                raise ConfigError(f"CamBlur.{name}, found {value}.")
        self.epochs, self.method, self.threshold, self.sigma = epochs, method, threshold, sigma
        self.most, self.layer = most, layer
        self._active, self._told = False, ""
        self._forget()

    def _forget(self) -> None:
        self.rows = torch.empty(0, dtype=torch.int64)  # (n,)
        self.masks = torch.empty(0, SIDE, SIDE, dtype=torch.uint8)  # (n, SIDE, SIDE)

    def before_run(self, model: ContinualClassifier, datamodule: StreamDataModule) -> None:
        """Refuse a map that cannot be had.

        Raises:
            ConfigError: The method is not known, the backbone has no layer with places, or a strategy computes features in its
                own way.
        """
        check_method(self.method)
        for strategy in (model.strategy, model.base_strategy):
            check_follows_backbone(strategy, "CamBlur")
        find_target_layer(model.network.backbone, datamodule.image_size, self.layer)

    def stages(self, learner: Strategy, stages: list[Stage], max_epochs: int) -> list[Stage]:
        """One more, unless nothing was trained."""
        return [*stages, Stage(stages[-1].name, PART, epochs=self.epochs)] if max_epochs else stages

    # ---- what is blurred -------------------------------------------------------------------------------------------

    def before_stage(self, moment: Moment) -> None:
        """Find the errors and their regions; a resumed stage has both in its checkpoint."""
        self._active = moment.stage is not None and PART in moment.stage.part.split(", ")
        self._forget()
        if not self._active or moment.resumed:
            return
        rows = moment.datamodule.rows_to_train()
        predicted, confidence = self._predictions(moment, rows)
        wrong = np.flatnonzero(predicted != moment.datamodule.samples["label"].to_numpy()[rows])
        if len(wrong) == 0:
            self._told = f"CamBlur found no error among {plural(len(rows), 'training image')}, and blurs nothing."
            return
        taken = wrong[np.argsort(-confidence[wrong], kind="stable")[: self.most]]
        masks = self._regions(moment, rows[taken], predicted[taken])
        seen = (masks > 0).flatten(1).any(dim=1)  # a map may be empty
        self.rows, self.masks = torch.from_numpy(rows[taken])[seen], masks[seen]
        share = float((self.masks > 0).float().mean()) if len(self.masks) else 0.0
        which = "" if len(wrong) <= self.most else " (the most confident errors)"
        self._told = (
            f"CamBlur: {len(wrong)} of {len(rows)} training images are misclassified; in {len(self.rows)} of them{which} "
            f"{share:.0%} of the area was blurred."
        )

    def _predictions(self, moment: Moment, rows: Rows) -> tuple[Rows, npt.NDArray[np.float32]]:
        """The predicted class (N,) of some rows, and its probability (N,)."""
        found = [torch.empty(0, 2, device=moment.device)]
        for image in self._images(moment, moment.datamodule.image_dataset(), rows):
            with torch.no_grad():
                found.append(torch.stack(moment.model(image).float().softmax(dim=1).max(dim=1), dim=1))  # (B, 2)
        gathered = in_stream_order(torch.cat(found), len(rows)).cpu().numpy()
        return gathered[:, 1].astype(np.int64), gathered[:, 0]

    def _regions(self, moment: Moment, rows: Rows, predicted: Rows) -> Tensor:
        """Where the network looks in each image for the class that it took it for: (n, SIDE, SIDE) uint8, 0 or 255."""
        size = moment.datamodule.image_size
        whole = moment.datamodule.image_dataset(v2.Compose([v2.Resize([size, size], antialias=True)]))
        mine = torch.from_numpy(predicted[moment.rank :: moment.world_size]).to(moment.device)
        found, done = [torch.empty(0, SIDE, SIDE, dtype=torch.uint8, device=moment.device)], 0
        for image in self._images(moment, whole, rows):
            classes = mine[done : done + len(image)]
            maps = class_maps(moment.model, image, classes, self.method, self.layer)
            small = F.interpolate(maps[:, None], (SIDE, SIDE), mode="bilinear", antialias=True)[:, 0]
            found.append((small >= self.threshold).to(torch.uint8) * 255)
            done += len(image)
        return in_stream_order(torch.cat(found), len(rows)).cpu()

    def _images(self, moment: Moment, dataset: SampleDataset, rows: Rows) -> Iterator[Tensor]:
        """This process's share of some rows, batch by batch: uint8 (B, 3, H, W) on its device."""
        data = moment.datamodule
        nowhere = np.zeros(len(data.samples), dtype=np.int64)
        batches = EvalBatches(rows, nowhere, data.batch_size, moment.rank, moment.world_size)
        for batch in make_loader(dataset, batches, data.num_workers):
            if batch["valid"].all():  # a stand-in is alone in its batch
                yield batch["image"].to(moment.device)

    # ---- training --------------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Blur before the loader starts its workers."""
        if self._active and len(self.rows):
            dataset = training_dataset(trainer)
            dataset.source = BlurredImages(dataset.source, self.rows.numpy(), self.masks, self.sigma)

    def after_experience(self, moment: Moment) -> None:
        """Say what was blurred."""
        told, self._told = self._told, ""
        if told:
            moment.note(f"after experience {moment.experience.index}: {told}")

    def state_dict(self) -> dict[str, Any]:
        """The blurred rows and masks, so that a resumed run blurs the same regions."""
        return {"rows": self.rows, "masks": self.masks, "told": self._told}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore them."""
        self.rows, self.masks = state_dict["rows"].cpu(), state_dict["masks"].cpu()
        self._told = state_dict["told"]
