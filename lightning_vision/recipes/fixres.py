"""Train at a smaller size than in testing, then fine-tune the end of the network at the test size (FixRes)."""

from __future__ import annotations

from typing import Any

from torch import nn

from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.errors import ConfigError
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.network import Network
from lightning_vision.learning.recipe import Moment, Recipe
from lightning_vision.learning.stage import Stage
from lightning_vision.learning.strategy import Strategy
from lightning_vision.recipes.image_size import at_size, check_sizes

PART = "fix"
BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm


class FixRes(Recipe):
    """Train at one size and test at another (``data.image_size``), at which the end of the network is fine-tuned.

    RandomResizedCrop makes objects appear larger in training than a center crop does in testing. Testing on larger
    images compensates for this, but changes the statistics of the classifier's input. Each experience therefore ends
    with a stage at the test size and with the test transform, which trains only the classifier and the last batch norm
    of the backbone (weights and running statistics). Touvron et al., "Fixing the train-test resolution discrepancy",
    arXiv 1906.06423.

    The stage trains only what the strategy trains. If the strategy freezes the backbone, or the backbone has no batch
    norm, the stage trains only the classifier and prints a message.

    Args:
        train_size: Side of the training images in pixels, to which ``data.train_transforms`` are scaled. The paper
            tests at 1.15 to 1.7 times this size. Default: 4/5 of ``data.image_size``, a factor of 1.25.
        epochs: Number of epochs of the last stage; 0 omits it.
        learning_rate: Learning rate of the last stage. None: that of the optimizer.

    Raises:
        ConfigError: An option is out of range.
    """

    needs_images = True

    def __init__(self, train_size: int | None = None, epochs: int = 5, learning_rate: float | None = None) -> None:
        if train_size is not None and train_size < 1:
            raise ConfigError(f"FixRes.train_size: expected at least 1 pixel, found {train_size}.")
        if epochs < 0:
            raise ConfigError(f"FixRes.epochs: expected 0 or more, found {epochs}.")
        if learning_rate is not None and learning_rate <= 0:
            raise ConfigError(f"FixRes.learning_rate: expected a number above 0, found {learning_rate}.")
        self.train_size, self.epochs, self.learning_rate = train_size, epochs, learning_rate
        self._classifier_alone = False

    def before_run(self, model: ContinualClassifier, datamodule: StreamDataModule) -> None:
        """Scale the training transform.

        Raises:
            ConfigError: The backbone cannot take images of that size.
        """
        size = round(0.8 * datamodule.image_size) if self.train_size is None else self.train_size
        check_sizes(model.network, [size], "FixRes.train_size")
        datamodule.train_transform = at_size(datamodule.train_transform, size)

    def stages(self, learner: Strategy, stages: list[Stage], max_epochs: int) -> list[Stage]:
        """One more, unless nothing was trained."""
        if self.epochs == 0 or max_epochs == 0:
            return stages
        return [*stages, Stage(stages[-1].name, PART, epochs=self.epochs, augment=False)]

    def parameters_to_train(self, network: Network, stage: Stage, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """In the last stage, of what the learner trains, the classifier and the last batch norm.

        Raises:
            ConfigError: The learner trains neither.
        """
        if PART not in stage.part.split(", "):  # another recipe may have cut it further
            return groups
        norm = last_batch_norm(network.backbone)
        ends = {id(p) for p in [*network.head.parameters(), *([] if norm is None else norm.parameters())]}
        rate = {} if self.learning_rate is None else {"lr": self.learning_rate}
        chosen = [{**group, "params": [p for p in group["params"] if id(p) in ends], **rate} for group in groups]
        chosen = [group for group in chosen if group["params"]]
        if not chosen:
            raise ConfigError(
                "FixRes fine-tunes the classifier and the last batch norm at the test size, but the learning strategy "
                "trains neither. Omit the recipe, use another strategy, or set FixRes.epochs to 0."
            )
        trained = {id(p) for group in chosen for p in group["params"]}
        self._classifier_alone = norm is None or not trained & {id(p) for p in norm.parameters()}
        return chosen

    def before_stage(self, moment: Moment) -> None:
        """Mix no images in the last stage: it learns from what is tested."""
        fixing = moment.stage is not None and PART in moment.stage.part.split(", ")
        moment.model.batch_transform = None if fixing else moment.datamodule.batch_transform

    def after_experience(self, moment: Moment) -> None:
        """Say what could not be fitted; later experiences are learned as the second is."""
        alone, self._classifier_alone = self._classifier_alone, False
        if alone and moment.experience.index <= 1:
            moment.note(
                f"after experience {moment.experience.index}: FixRes fine-tuned only the classifier at "
                f"{moment.datamodule.image_size} pixels, because no batch norm of {moment.model.network.facts.name} is "
                "trained."
            )

    def state_dict(self) -> dict[str, Any]:
        """Messages for the end of the experience."""
        return {"classifier_alone": self._classifier_alone}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore it."""
        self._classifier_alone = state_dict["classifier_alone"]


def last_batch_norm(backbone: nn.Module) -> BatchNorm | None:
    """The last batch norm with weights, in the order in which the layers are written down; None if there is none."""
    norms = [module for module in backbone.modules() if isinstance(module, BatchNorm) and module.affine]
    return norms[-1] if norms else None
