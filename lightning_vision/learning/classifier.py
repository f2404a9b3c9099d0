"""The LightningModule: it gives a learning strategy its batches and measures what comes of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable, ReduceLROnPlateau
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own custom
from torchmetrics.aggregation import MeanMetric

from lightning_vision.class_path import class_path
from lightning_vision.data.batch import Batch
from lightning_vision.data.process_group import in_group
from lightning_vision.data.stream import Experience
from lightning_vision.errors import ConfigError, TrainingError
from lightning_vision.images.batch_transforms import BatchTransforms
from lightning_vision.learning.backbones import build_backbone
from lightning_vision.learning.checkpoint_identity import CHECKPOINT_SCHEMA
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy, frozen_children, grouped, trainable
from lightning_vision.results.predictions import Collector, in_stream_order
from lightning_vision.seeding import derive_seed

Predict = Callable[[Tensor], Tensor | Mapping[str, Tensor]]
Groups = list[dict[str, Any]]


class ContinualClassifier(LightningModule):
    """A classifier that learns a stream of experiences with a learning strategy.

    Args:
        backbone: A timm model name (or resnext101_32x48d).
        pretrained: Start from the backbone's published weights.
        backbone_weights: A local weight file for the backbone, instead of a download.
        strategy: The learning strategy, by name (MoveToData) or dotted path. Default: full fine-tuning.
        base_strategy: How experience 0 is learned. Default: full fine-tuning.
        optimizer: The optimizer, built anew for each experience.
        lr_scheduler: The learning-rate scheduler, built anew for each experience.
        base_optimizer: The optimizer of experience 0. Default: as ``optimizer``.
        base_lr_scheduler: The scheduler of experience 0. Default: as ``lr_scheduler`` if ``base_optimizer`` is not given.
        base_epochs: Epochs of experience 0. Default: trainer.max_epochs.
        base_checkpoint: A checkpoint or a run directory to start from: experience 0 is then not trained.
        head_hidden: Width of a hidden layer in the head; 0 for a linear head.
        head_dropout: Dropout before the last linear layer.
        drop_rate: Dropout in the backbone.
        drop_path_rate: Stochastic depth in the backbone.
        label_smoothing: Share of each training target that is spread evenly over the classes seen.
        channels_last: Keep images and weights in the channels-last memory format.
        compile: Compile the backbone with torch.compile.
        restore_best: After each experience go back to the epoch that was best on its own validation part.
        monitor: What "best" means: val/accuracy or val/loss.
        class_names: The C classes; set by the datamodule.
        image_size: Side of the images in pixels; set by the datamodule.
    """

    def __init__(
        self,
        backbone: str = "resnet18",
        pretrained: bool = True,
        backbone_weights: str | None = None,
        strategy: Strategy | None = None,
        base_strategy: Strategy | None = None,
        optimizer: OptimizerCallable = lambda p: torch.optim.AdamW(p, lr=1e-3),
        lr_scheduler: LRSchedulerCallable | None = None,
        base_optimizer: OptimizerCallable | None = None,
        base_lr_scheduler: LRSchedulerCallable | None = None,
        base_epochs: int | None = None,
        base_checkpoint: str | None = None,
        head_hidden: int = 0,
        head_dropout: float = 0.0,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        label_smoothing: float = 0.0,
        channels_last: bool = True,
        compile: bool = False,
        restore_best: bool = True,
        monitor: str = "val/accuracy",
        class_names: list[str] | None = None,
        image_size: int = 224,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        for key in [key for key, value in self.hparams.items() if not _is_plain(value)]:
            del self.hparams[key]  # objects built in Python would make the checkpoint unsafe to load
        if not class_names:
            raise ConfigError("The classifier needs class_names: they come from the datamodule, or give them.")
        if monitor not in {"val/accuracy", "val/loss"}:
            raise ConfigError(f"model.monitor: expected val/accuracy or val/loss, found {monitor!r}.")
        if base_epochs is not None and base_epochs < 0:
            raise ConfigError(f"model.base_epochs: expected 0 or more, found {base_epochs}.")
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"model.label_smoothing: expected a share from 0 to below 1, found {label_smoothing}.")
        self.class_names = list(class_names)
        self.image_size = image_size
        self.base_checkpoint = base_checkpoint
        self.base_epochs = base_epochs
        self.monitor, self.restore_best = monitor, restore_best
        self.channels_last = channels_last
        module, facts = build_backbone(
            backbone,
            pretrained=pretrained,
            weights=backbone_weights,
            image_size=image_size,
            drop_rate=drop_rate,
            drop_path_rate=drop_path_rate,
        )
        self.network = Network(module, facts, len(class_names), head_hidden=head_hidden, head_dropout=head_dropout)
        self.network.label_smoothing = label_smoothing
        if channels_last:
            self.network.backbone.to(memory_format=torch.channels_last)
        if compile:
            self.network.backbone.compile()
        self.strategy = strategy or Strategy()
        self.base_strategy = base_strategy or Strategy()
        self._optimizer_makers = (base_optimizer or optimizer, optimizer)
        scheduler = base_lr_scheduler if base_optimizer or base_lr_scheduler else lr_scheduler
        self._scheduler_makers = (scheduler, lr_scheduler)
        self._groups: list[Any] = []
        self.experience: Experience | None = None
        self.base_statistics = False
        """The base is trained, and a closed form now gathers its data's statistics."""
        self.seed = 0
        self.picked_variant = ""
        """The variant of the strategy's prediction that is the network's head; empty where there are none."""
        self.batch_transform: BatchTransforms | None = None
        """Of whole training batches, on the device; set from the datamodule."""
        self.found_learning_rate: float | None = None
        """In place of the optimizer's own, in the present stage: its first group is given it, the others in proportion."""
        self.augmented_prediction: Callable[[Predict, Tensor], Tensor | Mapping[str, Tensor]] | None = None
        """Predicts images (N, 3, H', W') from several views of each, by a function that predicts (N, 3, H, W)."""
        self.collectors: list[Collector] = []
        self._pending: tuple[int, Tensor] | None = None
        self._logits: Tensor | None = None
        self.correct: Tensor | None = None
        """(B,) bool: which of the newest training batch's images its first logits got right; None if the loss made none."""
        self.network.head.register_forward_hook(self._keep_logits)
        self.train_loss, self.train_accuracy = MeanMetric(), MeanMetric()
        self.val_loss, self.val_accuracy = MeanMetric(), MeanMetric()
        for metric in (self.train_loss, self.train_accuracy):
            metric.persistent(True)  # an epoch that is resumed half-way keeps its sums
        self.measured: dict[str, float] = {}
        """The newest mean of each figure in this stage."""

    @property
    def seed(self) -> int:
        """``seed_everything`` of the run, from which all random numbers derive; the strategies are told."""
        return self._seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self._seed = seed
        for strategy in (self.strategy, self.base_strategy):
            strategy.run_seed = seed

    # ---- what is trained -------------------------------------------------------------------------------------------

    @property
    def learner(self) -> Strategy:
        """The strategy that learns the present experience."""
        base = self.experience is not None and self.experience.is_base and not self.base_statistics
        return self.base_strategy if base else self.strategy

    @property
    def followers(self) -> list[Strategy]:
        """Whose ``after_backward`` and ``after_step`` run: the learner's, and the learning strategy's if it follows the base."""
        learner, strategy = self.learner, self.strategy
        follows = strategy is not learner and strategy.follows_base and learner.kind == "gradient"
        return [learner, strategy] if follows else [learner]

    def begin_experience(self, experience: Experience) -> None:
        """Let the strategies prepare, then mark the experience's classes as seen."""
        self.experience = experience
        strategies = [self.base_strategy, self.strategy] if experience.is_base else [self.strategy]
        for strategy in strategies:
            strategy.before_experience(self.network, experience)
        self.network.see(experience.classes)

    def begin_stage(self, stage: str, change: Callable[[Groups], Groups] | None = None) -> list[nn.Parameter]:
        """Choose what is trained in a stage.

        Args:
            stage: The learner's.
            change: Makes other groups of the optimizer's.

        Returns:
            The parameters that are trained by gradient.
        """
        learner = self.learner
        learner.stage = stage
        self.measured = {}
        for metric in (self.train_loss, self.train_accuracy):
            metric.reset()  # the weights that were gone back to bring the sums of their epoch
        self.network.requires_grad_(False)
        if learner.kind == "closed_form":
            # DistributedDataParallel refuses a module with nothing to train: the head stands in, no gradient reaches it.
            self._groups, flat = trainable(self.network.head.parameters())
        else:
            self._groups, flat = trainable(learner.parameters_to_train(self.network))
            if change is not None:
                self._groups, flat = trainable(change(grouped(self._groups)))
        for parameter in flat:
            parameter.requires_grad_(True)
        if learner.freezes_backbone and any(p.requires_grad for p in self.network.backbone.parameters()):
            raise ConfigError(
                f"{type(learner).__name__} declares freezes_backbone and trains backbone parameters: mend one of the two."
            )
        if not flat:
            raise ConfigError(f"{type(learner).__name__}.parameters_to_train returned nothing to train.")
        self.automatic_optimization = learner.kind == "gradient"
        # Strategy buffers are the same on every rank by construction, and may be large: DDP need not broadcast them.
        self._ddp_params_and_buffers_to_ignore = [
            name for name, _ in self.named_buffers() if name.startswith(("strategy.", "base_strategy."))
        ]
        return [] if learner.kind == "closed_form" else flat

    def configure_optimizers(self) -> Any:
        """Optimizer and scheduler, anew for each stage of each experience."""
        which = 0 if self.experience is not None and self.experience.is_base else 1
        if self.learner.kind == "closed_form":
            # Stepped once a batch so that Lightning counts steps; without gradients it changes nothing.
            return torch.optim.SGD(self._groups, lr=0.0)
        optimizer, scheduler = self._make_optimizer(which, self._groups)
        if scheduler is None:
            return optimizer
        entry: dict[str, Any] = {"scheduler": scheduler}
        if isinstance(scheduler, ReduceLROnPlateau):
            entry |= {"monitor": scheduler.monitor, "strict": False}  # on_train_epoch_end says what is missing
        elif isinstance(scheduler, torch.optim.lr_scheduler.OneCycleLR):
            entry["interval"] = "step"
        return {"optimizer": optimizer, "lr_scheduler": entry}

    def check_optimizers(self) -> None:
        """Build both optimizers once for a stand-in, so that bad options are refused before anything is trained."""
        for which in (1, 0):
            self._make_optimizer(which, [nn.Parameter(torch.zeros(2, 2))])

    def _make_optimizer(self, which: int, groups: list[Any]) -> tuple[torch.optim.Optimizer, Any]:
        """Optimizer and scheduler (or None) of experience 0 (``which`` 0) or of the others (1).

        Raises:
            ConfigError: Their options are refused.
        """
        make_scheduler = self._scheduler_makers[which]
        try:
            # An optimizer writes its options into the groups that it is given; another may be built of them.
            optimizer = self._optimizer_makers[which]([dict(g) if isinstance(g, dict) else g for g in groups])
            self._scale_rates(optimizer)
            return optimizer, None if make_scheduler is None else make_scheduler(optimizer)
        except (ValueError, TypeError) as error:
            name = ("base_optimizer or model.base_lr_scheduler", "optimizer or model.lr_scheduler")[which]
            raise ConfigError(f"model.{name} cannot be built with these options: {error}") from error

    def _scale_rates(self, optimizer: torch.optim.Optimizer) -> None:
        """Put the learning rate that was found in place of the optimizer's own, then each group's ``lr_scale`` on it."""
        groups = optimizer.param_groups
        found = 1.0 if self.found_learning_rate is None else self.found_learning_rate / groups[0]["lr"]
        for group in groups:
            group["lr"] *= found * group.get("lr_scale", 1.0)

    # ---- training --------------------------------------------------------------------------------------------------

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Normalise on the device; a batch that is to be changed as a whole is left to ``training_step``, which is seeded."""
        if self._changes_batches():
            return batch
        return self._normalised(batch)

    def _changes_batches(self) -> bool:
        training = self._trainer is not None and self.trainer.training
        return bool(training and self.batch_transform and self.learner.kind == "gradient")

    def _changed(self, batch: Batch) -> Batch:
        """The batch after its transforms, normalised."""
        transform = self.batch_transform
        if transform is None:
            return batch
        batch["image"] = transform.change(batch["image"])
        batch = self._normalised(batch)
        batch["image"], target = transform.mix(batch["image"], batch["label"], self.network.num_classes)
        if target is not None:
            batch["target"] = target
        return batch

    def _normalised(self, batch: Batch) -> Batch:
        image = self.network.normalise(batch["image"])
        if self.channels_last and image.dim() == 4:
            image = image.contiguous(memory_format=torch.channels_last)
        batch["image"] = image
        if "memory" in batch:
            batch["memory"] = self._normalised(batch["memory"])
        return batch

    def on_train_start(self) -> None:
        """An epoch that is resumed half-way has no start of its own; a loss left by another Trainer was looked at there."""
        self._pending = None
        self.on_train_epoch_start()

    def on_train_epoch_start(self) -> None:
        """Training mode, but for what is frozen: its running statistics must not move."""
        self.network.train(self.learner.kind == "gradient")
        for module in frozen_children(self.network):
            module.eval()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Random numbers as a function of the position alone, so that a resumed run draws the same."""
        experience = self.experience.index if self.experience is not None else -1
        words = (self.seed, "step", experience, self.learner.stage, self.current_epoch, batch_idx, self.global_rank)
        seed = derive_seed(*words)
        # torch.manual_seed would format the stack once for each kind of device that is not there: a millisecond a batch.
        torch.default_generator.manual_seed(seed)
        if self.device.type != "cpu":
            torch.get_device_module(self.device).manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """One batch: the strategy's loss, or its closed-form update."""
        learner = self.learner
        total: int = self.trainer.train_dataloader.batch_sampler.global_sizes[batch_idx]  # type: ignore[union-attr]
        if learner.kind == "closed_form":
            self._closed_form_step(batch, batch_idx, total)
            return None
        self._check_loss()
        self._logits = None
        if self._changes_batches():
            batch = self._changed(batch)
        loss = learner.loss(self.network, batch)
        self._pending = (batch_idx, loss.detach())
        self.correct = self._told_right(batch)
        mine = int(batch["valid"].sum()) if self.trainer.world_size > 1 else len(batch["label"])
        if mine:
            self.train_loss.update(loss.detach(), mine)
            if self.correct is not None:
                self.train_accuracy.update(self.correct.float())
        self.log("train/loss_step", loss.detach(), on_step=True, on_epoch=False)
        # DDP averages over the ranks: weighted so, the average is the mean over the images of the global batch.
        return loss * (mine * self.trainer.world_size / total) if self.trainer.world_size > 1 else loss

    @torch.no_grad()
    def _closed_form_step(self, batch: Batch, batch_idx: int, total: int) -> None:
        features = self.network.features(batch["image"]).float()[batch["valid"]]
        if not torch.isfinite(features).all():
            raise TrainingError(
                f"The features of {self._place(batch_idx)} are not finite, so nothing can be learned from them. The checkpoint of the "
                "last experience is kept. Look at the base's training, or use trainer.precision=32-true."
            )
        labels = batch["label"][batch["valid"]]
        with _full_precision(features):
            self.learner.update(self.network, in_stream_order(features, total), in_stream_order(labels, total))
        optimizer = self.optimizers()
        optimizer.step()  # type: ignore[union-attr]
        self.learner.after_step(self.network)

    def _keep_logits(self, _: nn.Module, __: Any, logits: Tensor) -> None:
        if self._logits is None and self.training:
            self._logits = logits.detach()

    def _told_right(self, batch: Batch) -> Tensor | None:
        """Which images (B,) were told right by the first logits that the loss made, of which the first B are the batch's."""
        labels, logits = batch["label"], self._logits
        if logits is None or logits.dim() != 2 or len(logits) < len(labels):
            return None
        return self.network.mask_unseen(logits[: len(labels)]).argmax(dim=1) == labels

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """The strategy's turn once all gradients are there."""
        for strategy in self.followers:
            strategy.after_backward(self.network)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """The strategy's turn after a step: before any callback may write a checkpoint of it."""
        super().optimizer_step(*args, **kwargs)
        for strategy in self.followers:
            strategy.after_step(self.network)

    def on_train_epoch_end(self) -> None:
        """Log the epoch's means over all processes."""
        self._check_loss()
        if self.learner.kind == "closed_form":
            return
        self._log_mean("train/loss", self.train_loss)
        self._log_mean("train/accuracy", self.train_accuracy)
        for config in self.trainer.lr_scheduler_configs:
            if config.reduce_on_plateau:
                self._step_plateau(config)

    def _log_mean(self, key: str, metric: MeanMetric) -> None:
        value = metric.compute()
        if not torch.isnan(value):
            self.log(key, value)
            self.measured[key] = float(value)
        metric.reset()

    def _step_plateau(self, config: LRSchedulerConfig) -> None:
        """Step a scheduler that looks at a metric.

        Lightning does so after the epoch's checkpoint and leaves it out where an epoch was resumed half-way, so that a
        resumed run would go on with another learning rate.
        """
        key = str(config.monitor)
        found = self.measured.get(key, self.trainer.callback_metrics.get(key))
        if found is None:
            known = sorted({*self.measured, *self.trainer.callback_metrics})
            raise ConfigError(f"lr_scheduler.monitor: expected one of {', '.join(known)}, found {key!r}.")
        config.scheduler.step(float(found))  # type: ignore[arg-type] # typed as the schedulers without a metric

    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        """Step a scheduler, but for those that look at a metric: see ``_step_plateau``."""
        if metric is None:
            scheduler.step()

    def _check_loss(self) -> None:
        """Look at the last loss one step late, when a GPU need not be waited for.

        Raises:
            TrainingError: It is NaN or infinite.
        """
        if self._pending is None:
            return
        (batch, loss), self._pending = self._pending, None
        if not torch.isfinite(loss):
            raise TrainingError(
                f"The loss is {loss.item()} in {self._place(batch)}. "
                "Training stopped; the checkpoints from before are kept. Ways out: a smaller learning rate, "
                "trainer.gradient_clip_val=1.0, trainer.precision=32-true, or look at that batch's images."
            )

    def _place(self, batch: int) -> str:
        """Where in the stream a batch is, for a message."""
        if self.experience is None:
            return f"batch {batch}"
        name, index = self.experience.name, self.experience.index
        return f"batch {batch} of epoch {self.current_epoch} of experience {index} ({name})"

    # ---- evaluation ------------------------------------------------------------------------------------------------

    def predict_logits(self, batch: Batch) -> Tensor | Mapping[str, Tensor]:
        """Logits of the strategy's prediction, before the mask; several variants as a mapping."""
        if self.augmented_prediction is not None:
            return self.augmented_prediction(self._predict, batch["image"])
        return self._predict(batch["image"])

    def _predict(self, image: Tensor) -> Tensor | Mapping[str, Tensor]:
        features = self.network.features(image).to(self.network.classifier.weight.dtype)
        with _full_precision(features):
            return self.learner.predict(self.network, features)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss and accuracy on the experience's own validation part."""
        logits = self.predict_logits(batch)
        if isinstance(logits, Mapping):
            # In training none is picked yet; a finished checkpoint is judged by the one that was.
            finished = self.trainer.state.fn == TrainerFn.VALIDATING
            logits = logits[self.picked_variant if finished and self.picked_variant else next(iter(logits))]
        logits = self.network.mask_unseen(logits.float())
        labels, valid = batch["label"], batch["valid"]
        self.val_accuracy.update((logits.argmax(dim=1) == labels)[valid].float())
        known = valid & self.network.seen[labels]  # the loss of a class that was never seen is infinite
        if known.any():
            self.val_loss.update(F.cross_entropy(logits[known], labels[known]), int(known.sum()))

    def on_validation_epoch_end(self) -> None:
        """Log the validation part's means over all processes."""
        self._log_mean("val/loss", self.val_loss)
        self._log_mean("val/accuracy", self.val_accuracy)

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Collect the predictions of one evaluation pass."""
        self.collectors[dataloader_idx].add(batch, self.predict_logits(batch), self.network.mask_unseen)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, C) of images (N, 3, H, W), uint8 or normalised, as the learning strategy predicts them.

        Of several variants it is the picked one; classes never seen get -inf.
        """
        logits = self._predict(self.network.normalise(image))
        if isinstance(logits, Mapping):
            logits = logits[self.picked_variant] if self.picked_variant else next(iter(logits.values()))
        return self.network.mask_unseen(logits)

    # ---- checkpoints -----------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep beside the weights what says where they fit."""
        self._check_loss()
        checkpoint["lightning_vision"] = self.identity()
        checkpoint["lightning_vision_measured"] = dict(self.measured)
        if in_group():
            for key in self._sums_of_epoch():  # a checkpoint holds what rank 0 has: the sums of all, then
                total = checkpoint["state_dict"][key].clone()
                torch.distributed.all_reduce(total)
                checkpoint["state_dict"][key] = total

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the figures that a scheduler may look at; the sums of an epoch go on with rank 0."""
        self.measured = dict(checkpoint["lightning_vision_measured"])
        if self.global_rank:
            for key in self._sums_of_epoch():
                checkpoint["state_dict"][key] = torch.zeros_like(checkpoint["state_dict"][key])

    def _sums_of_epoch(self) -> list[str]:
        return [key for key in self.state_dict() if key.startswith(("train_loss.", "train_accuracy."))]

    def identity(self) -> dict[str, Any]:
        """What must be equal for weights to fit, and where in the stream they are from."""
        head = self.network.head
        return {
            "schema": CHECKPOINT_SCHEMA,
            "backbone": self.network.facts.name,
            "head": [list(p.shape) for p in head.parameters()],
            "class_names": list(self.class_names),
            "image_size": self.image_size,
            "mean": [float(value) for value in self.network.facts.mean],
            "std": [float(value) for value in self.network.facts.std],
            "strategy": class_path(self.strategy),
            "base_strategy": class_path(self.base_strategy),
            "experience": self.experience.index if self.experience is not None else -1,
            "picked_variant": self.picked_variant,
            "seed": self.seed,
            "is_base": bool(self.experience is not None and self.experience.is_base),
        }


def _full_precision(features: Tensor) -> torch.autocast:
    """The head without mixed precision: bfloat16 cannot tell the heads of a sweep apart, and the head costs little."""
    return torch.autocast(features.device.type, enabled=False)


def _is_plain(value: Any) -> bool:
    """Whether a value is made of what a safe checkpoint may hold."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    return value is None or type(value) in (bool, int, float, str)
