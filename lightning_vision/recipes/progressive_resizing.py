"""Increase image size and regularisation during training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own custom
from torch.utils.hooks import RemovableHandle
from torchvision.transforms import v2

from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.errors import ConfigError
from lightning_vision.images.apply_transform import Transform
from lightning_vision.images.batch_transforms import BatchTransforms
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.recipe import Moment, Recipe
from lightning_vision.recipes.image_size import at_size, check_sizes
from lightning_vision.recipes.training_dataset import training_dataset

Ends = tuple[float, float]
PRESETS: dict[str, dict[str, Ends]] = {
    "S": {"size": (128, 300), "rand_augment": (5, 15), "mixup": (0.0, 0.0), "dropout": (0.1, 0.3)},
    "M": {"size": (128, 380), "rand_augment": (5, 20), "mixup": (0.0, 0.2), "dropout": (0.1, 0.4)},
    "L": {"size": (128, 380), "rand_augment": (5, 25), "mixup": (0.0, 0.5), "dropout": (0.1, 0.5)},
}
"""Table 6 of the paper: the values of the first and the last stage."""
LIMITS: dict[str, Ends] = {"size": (1, float("inf")), "rand_augment": (0, 30), "mixup": (0, float("inf")), "dropout": (0, 0.99)}  # fmt: skip


@dataclass(frozen=True)
class Regime:
    """Options of one stage of the schedule; None keeps the configured value."""

    size: int
    """Side of the images, in pixels."""
    rand_augment: int | None = None
    """Magnitude, 0 (none) to 30."""
    mixup: float | None = None
    """Alpha; 0: nothing is mixed."""
    dropout: float | None = None


class ProgressiveResizing(Recipe):
    """EfficientNetV2's progressive learning: image size and regularisation increase together in stages.

    Stage i of M has size S_0 + (S_e - S_0) i / (M - 1), rounded. The same formula applies to the magnitude of
    RandAugment (at the end of the training transform; torchvision's, whose 31 bins are the magnitudes 0 to 30), the
    alpha of mixup and the dropout before the last linear layer. Early epochs are cheap, and late ones cost as much as
    without the recipe. Tan and Le, "EfficientNetV2: Smaller Models and Faster Training", arXiv 2104.00298, algorithm 1
    and table 6.

    The stage depends only on the epoch and ``trainer.max_epochs``. With fewer epochs than stages some stages are
    skipped, but not the last. Each Trainer runs the whole schedule, that is each experience and each part that another
    recipe adds, unless it trains on images without augmentation.

    Args:
        preset: S, M or L; with null only the options given below change.
        stages: Number of stages M.
        size: First and last side of the images in pixels. Default: the last is the size of the training transform
            (``data.image_size``, or that of ``FixRes``), and the first is the same share of it as in the preset:
            128/300 (S) or 128/380 (M, L).
        rand_augment: First and last magnitude of RandAugment.
        mixup: First and last alpha of mixup.
        dropout: First and last dropout rate.

    Raises:
        ConfigError: An option is out of range, or there is nothing to change.
    """

    needs_images = True

    _transform: Transform
    """Of training, and below that of whole batches, as they are without this recipe."""
    _batch_transform: BatchTransforms | None

    def __init__(
        self,
        preset: Literal["S", "M", "L"] | None = "S",
        stages: int = 4,
        size: list[int] | None = None,
        rand_augment: list[int] | None = None,
        mixup: list[float] | None = None,
        dropout: list[float] | None = None,
    ) -> None:
        if preset is not None and preset not in PRESETS:
            raise ConfigError(f"ProgressiveResizing.preset: expected {', '.join(PRESETS)} or null, found {preset!r}.")
        if stages < 1:
            raise ConfigError(f"ProgressiveResizing.stages: expected 1 or more, found {stages}.")
        asked = {"size": size, "rand_augment": rand_augment, "mixup": mixup, "dropout": dropout}
        given = {name: _ends(name, values) for name, values in asked.items() if values is not None}
        self.ends: dict[str, Ends] = {**({} if preset is None else PRESETS[preset]), **given}
        if not self.ends:
            raise ConfigError(
                "ProgressiveResizing has nothing to change. Set a preset (S, M, L), or size, rand_augment, mixup or "
                "dropout."
            )
        self.preset, self.count, self.size_given = preset, stages, size is not None
        self.regimes: list[Regime] = []
        """Of the present training, one a stage of the schedule."""
        self._active, self._trained, self._rate = False, "", 0.0
        self._dropping: RemovableHandle | None = None

    # ---- before it starts ------------------------------------------------------------------------------------------

    def before_run(self, model: ContinualClassifier, datamodule: StreamDataModule) -> None:
        """Refuse what cannot be scheduled.

        Raises:
            ConfigError: A size is beyond ``data.image_size``, or something is asked for twice.
        """
        if self.size_given and self.ends["size"][1] > datamodule.image_size:
            raise ConfigError(
                f"ProgressiveResizing.size: expected at most data.image_size ({datamodule.image_size}), found "
                f"{self.ends['size'][1]:.0f}. Increase data.image_size, or omit size."
            )
        hparams = model.hparams
        if self._changes("dropout") and (hparams["drop_rate"] or hparams["head_dropout"]):
            raise ConfigError(
                "ProgressiveResizing sets the dropout itself. Omit model.drop_rate and model.head_dropout, or use "
                "preset: null and set only the other options."
            )
        if self._changes("mixup") and datamodule.batch_transform.mixing is not None:
            raise ConfigError(
                "ProgressiveResizing mixes the images itself. Remove MixUp and CutMix from data.batch_transforms, or "
                "use preset: null and set only the other options."
            )
        if self._changes("rand_augment"):
            steps = getattr(datamodule.train_transform, "transforms", ())
            if any(isinstance(step, v2.RandAugment) for step in steps):
                raise ConfigError(
                    "ProgressiveResizing has its own RandAugment. Remove rand_augment from data.train_transforms."
                )
            if datamodule.annotations:
                raise ConfigError(
                    "RandAugment cannot transform boxes and saliency maps. Omit data.annotations, or use preset: null "
                    "for ProgressiveResizing and set only the other options."
                )

    def _changes(self, name: str) -> bool:
        return any(self.ends.get(name, ()))

    def before_stage(self, moment: Moment) -> None:
        """Settle the sizes; what is not augmented is left alone.

        Raises:
            ConfigError: The backbone cannot take one of the sizes.
        """
        stage = moment.stage
        self._active = stage is not None and stage.augment
        if not self._active:
            return
        own = moment.datamodule.preview(int(moment.datamodule.rows_to_train()[0]), seed=0).shape[-1]
        self.regimes = self.schedule(own)
        check_sizes(moment.model.network, [regime.size for regime in self.regimes], "ProgressiveResizing.size")

    def schedule(self, own_size: int) -> list[Regime]:
        """The M stages.

        Args:
            own_size: Side of the images that the training transform gives, in pixels.
        """
        first, last = self.ends.get("size", (own_size, own_size))
        sizes = (first, last) if self.size_given else (round(first / last * own_size), own_size)
        return [self._regime(sizes, number) for number in range(self.count)]

    def _regime(self, sizes: Ends, number: int) -> Regime:
        found = {name: between(ends, number, self.count) for name, ends in self.ends.items() if name != "size"}
        magnitude = found.pop("rand_augment", None)
        size = round(between(sizes, number, self.count))
        return Regime(size, None if magnitude is None else round(magnitude), **found)

    # ---- training --------------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """An epoch that is resumed half-way has no start of its own."""
        if not self._active:
            return
        if trainer.max_epochs is None or trainer.max_epochs < 1:
            raise ConfigError(
                "ProgressiveResizing divides the epochs into stages. Set trainer.max_epochs to at least 1."
            )
        model = _classifier(pl_module)
        self._transform, self._batch_transform = training_dataset(trainer).train_transform, model.batch_transform
        self._dropping = model.network.classifier.register_forward_pre_hook(self._drop)
        used = [self.regimes[stage_of(epoch, trainer.max_epochs, self.count)] for epoch in range(trainer.max_epochs)]
        sizes = [str(size) for size in dict.fromkeys(regime.size for regime in used)]
        self._trained = f"{', '.join(sizes)} pixels in {trainer.max_epochs} epoch(s)"
        self._take_up(trainer, model)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Change what is to change, before the loader starts its workers."""
        if self._active:
            self._take_up(trainer, _classifier(pl_module))

    def _take_up(self, trainer: Trainer, model: ContinualClassifier) -> None:
        regime = self.regimes[stage_of(trainer.current_epoch, trainer.max_epochs or 1, self.count)]
        transform = at_size(self._transform, regime.size)
        if regime.rand_augment:
            transform = v2.Compose([*transform.transforms, v2.RandAugment(magnitude=regime.rand_augment)])
        training_dataset(trainer).train_transform = transform
        if regime.mixup:
            plain = [] if self._batch_transform is None else self._batch_transform.plain
            model.batch_transform = BatchTransforms([*plain, {"MixUp": {"alpha": regime.mixup}}], model.image_size)
        else:
            model.batch_transform = self._batch_transform
        self._rate = regime.dropout or 0.0

    def _drop(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (F.dropout(inputs[0], self._rate, training=module.training), *inputs[1:])

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the model as it was."""
        if self._dropping is not None:
            self._dropping.remove()
            self._dropping = None
            _classifier(pl_module).batch_transform = self._batch_transform

    def after_experience(self, moment: Moment) -> None:
        """Say what the sizes were; later experiences are learned as the second is."""
        trained, self._trained = self._trained, ""
        if trained and moment.experience.index <= 1:
            moment.note(f"after experience {moment.experience.index}: ProgressiveResizing trained at {trained}.")

    def state_dict(self) -> dict[str, Any]:
        """Messages for the end of the experience."""
        return {"trained": self._trained}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore it."""
        self._trained = state_dict["trained"]


def stage_of(epoch: int, max_epochs: int, stages: int) -> int:
    """The stage of the schedule, from 0 on, that an epoch belongs to: the last epoch is always in the last stage."""
    return -(-(epoch + 1) * stages // max_epochs) - 1


def between(ends: Ends, stage: int, stages: int) -> float:
    """The value of a stage, on a straight line from the first stage to the last."""
    first, last = ends
    return last if stages == 1 else first + (last - first) * stage / (stages - 1)


def _ends(name: str, values: Sequence[float]) -> Ends:
    low, high = LIMITS[name]
    if len(values) != 2 or not all(low <= value <= high for value in values):
        span = f"from {low:g} to {high:g}" if high < float("inf") else f"of at least {low:g}"
        raise ConfigError(
            f"ProgressiveResizing.{name}: expected two numbers {span}, for the first and the last stage, found "
            f"{list(values)}."
        )
    return float(values[0]), float(values[1])


def _classifier(module: LightningModule) -> ContinualClassifier:
    if not isinstance(module, ContinualClassifier):
        raise TypeError(f"Expected a ContinualClassifier, found {type(module).__name__}.")
    return module
