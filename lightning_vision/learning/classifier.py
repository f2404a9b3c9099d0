"""The LightningModule: passes batches to a learning strategy and measures the results."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from lightning_vision.class_path import BuiltWith
from lightning_vision.data.batch import Batch
from lightning_vision.data.stream import Experience
from lightning_vision.images.batch_transforms import BatchTransforms
from lightning_vision.learning.batch_preparation import check_batch, normalised, transformed
from lightning_vision.learning.checkpoint_identity import (
    SUMMANDS,
    add_up_sums,
    check_loadable,
    identity_of,
    replay_grafts,
    share_out_sums,
)
from lightning_vision.learning.classifier_options import check_options, keep_plain
from lightning_vision.learning.closed_form import closed_form_step
from lightning_vision.learning.evaluation_figures import EvaluationFigures
from lightning_vision.learning.network import Network, no_network
from lightning_vision.learning.network_options import NetworkOptions
from lightning_vision.learning.one_experience import one_experience_of, take_place
from lightning_vision.learning.pixel_options import PixelOptions
from lightning_vision.learning.prediction import Prediction, pick_variant, predicted
from lightning_vision.learning.random_numbers import seed_generators
from lightning_vision.learning.run_trainer import RunTrainer
from lightning_vision.learning.stage_optimizer import Groups, StageOptimizer
from lightning_vision.learning.strategy import Strategy, followers_of, set_modes
from lightning_vision.learning.training_figures import TrainingFigures
from lightning_vision.results.predictions import Collector
from lightning_vision.seeding import derive_seed

UNCHANGED_BY_STEPS = ("strategy.", "base_strategy.", "network.original.")
"""Prefixes of the buffers that are the same on every rank."""
Predict = Callable[[Tensor], Tensor | Mapping[str, Tensor]]


class ContinualClassifier(LightningModule, BuiltWith):
    """A classifier that learns a stream of experiences with a learning strategy.

    With a plain Trainer, ``Trainer(max_epochs=2).fit(classifier, datamodule)`` learns the datamodule's current experience, and
    ``predict`` returns a ``Prediction`` for each batch. See "Plain Lightning" in docs/python.md.

    Args:
        backbone: A timm model name, or resnext101_32x48d, cifar_resnet18 or slim_resnet18.
        pretrained: Start from the backbone's published weights.
        backbone_weights: A local weight file for the backbone, instead of a download.
        pixel_mean: Mean of the pixels in [0, 1], one number or one a channel, in place of that of the backbone's weights.
        pixel_std: Standard deviation likewise. Mean 0 and deviation 1 leave the pixels as they are.
        strategy: The learning strategy, by name (MoveToData) or dotted path. Default: full fine-tuning.
        base_strategy: How experience 0 is learned. Default: full fine-tuning.
        optimizer: The optimizer, created for each experience.
        lr_scheduler: The learning-rate scheduler, created for each experience.
        base_optimizer: The optimizer of experience 0. Default: as ``optimizer``.
        base_lr_scheduler: The scheduler of experience 0. Default: as ``lr_scheduler`` if ``base_optimizer`` is not given.
        base_epochs: Epochs of experience 0. Default: trainer.max_epochs.
        base_checkpoint: A checkpoint or run directory, or hf://owner/name, to start from: experience 0 is then not trained.
        head_hidden: Width of a hidden layer in the head; 0 for a linear head.
        head_dropout: Dropout before the last linear layer.
        drop_rate: Dropout in the backbone.
        drop_path_rate: Stochastic depth in the backbone.
        label_smoothing: Share of each training target that is spread evenly over the classes seen.
        channels_last: Keep images and weights in the channels-last memory format.
        compile: Compile the backbone with torch.compile.
        restore_best: After each experience, restore the weights of the epoch that was best on its own validation part.
        monitor: The metric that decides which epoch is best: val/accuracy or val/loss.
        keep_logits: Store the logits of the test images after each experience in predictions.npz, as float16.
        class_names: The C classes. Default: the datamodule's; the network is then built when a Trainer is given both.
        image_size: Side of the images in pixels. Default: the datamodule's; without a datamodule 224.
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
        keep_logits: bool = False,
        class_names: list[str] | None = None,
        image_size: int | None = None,
        pixel_mean: list[float] | float | None = None,
        pixel_std: list[float] | float | None = None,
    ) -> None:
        super().__init__()
        with warnings.catch_warnings(action="ignore"):  # of a strategy being a module: its state is saved anyway
            self.save_hyperparameters()
        keep_plain(self.hparams)
        check_options(class_names, monitor, base_epochs, label_smoothing)
        pixels = PixelOptions.read(pixel_mean, pixel_std)
        self.class_names: list[str] = []
        self.image_size, self.image_size_given = image_size or 224, image_size is not None
        self.base_checkpoint, self.base_epochs, self.monitor = base_checkpoint, base_epochs, monitor
        self.restore_best, self.keep_logits, self.channels_last = restore_best, keep_logits, channels_last
        how = (drop_rate, drop_path_rate, head_hidden, head_dropout, label_smoothing, channels_last, compile, pixels)
        self._network_options = NetworkOptions(backbone, pretrained, backbone_weights, *how)
        self.network: Network = no_network()
        if class_names is not None:
            self.build_network(class_names, self.image_size)
        self.strategy, self.base_strategy = strategy or Strategy(), base_strategy or Strategy()
        self.found_learning_rate: float | None = None
        """Replaces the optimizer's own in the current stage; see ``StageOptimizer.build``."""
        self.stage_optimizer = StageOptimizer(optimizer, lr_scheduler, base_optimizer, base_lr_scheduler)
        self.experience: Experience | None = None
        self.base_statistics = False
        """The base is trained, and a closed form now gathers the statistics of the base's data."""
        self.seed, self.picked_variant = 0, ""
        """The variant of the strategy's prediction that is the network's head; empty without variants."""
        self.batch_transform: BatchTransforms | None = None
        """Transforms whole training batches on the device; set from the datamodule."""
        self.augmented_prediction: Callable[[Predict, Tensor], Tensor | Mapping[str, Tensor]] | None = None
        """Predicts images (N, 3, H', W') from several views of each, by a function that predicts (N, 3, H, W)."""
        self.collectors: list[Collector] = []
        self.loaded: Mapping[str, Any] | None = None  # identity of the checkpoint of load_from_checkpoint
        self.measured: dict[str, float] = {}
        """The newest mean of each figure in this stage."""
        self.figures = TrainingFigures(self.measured, self._place)
        self.train_loss, self.train_accuracy = self.figures.loss, self.figures.accuracy
        self.evaluation = EvaluationFigures(self.measured)
        self.val_loss, self.val_accuracy = self.evaluation.loss, self.evaluation.accuracy

    def build_network(self, class_names: list[str], image_size: int) -> None:
        """Build the network for C classes and square images with sides of ``image_size`` pixels."""
        self.network = self._network_options.build(len(class_names), image_size)
        self.network.head.register_forward_hook(self._keep_logits)
        self.class_names, self.image_size = list(class_names), image_size
        self.hparams["class_names"] = list(class_names)

    @property
    def seed(self) -> int:
        """``seed_everything`` of the run, from which all random numbers derive; the strategies get it too."""
        return self._seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self._seed = seed
        for strategy in (self.strategy, self.base_strategy):
            strategy.run_seed = seed

    @property
    def learner(self) -> Strategy:
        """The strategy that learns the current experience."""
        base = self.experience is not None and self.experience.is_base and not self.base_statistics
        return self.base_strategy if base else self.strategy

    @property
    def followers(self) -> list[Strategy]:
        """The strategies whose ``after_backward`` and ``after_step`` run: the learner, and the learning strategy if it follows the base."""
        return followers_of(self.learner, self.strategy)

    def begin_experience(self, experience: Experience) -> None:
        """Let the strategies prepare, then mark the experience's classes as seen."""
        self.experience = experience
        strategies = [self.base_strategy, self.strategy] if experience.is_base else [self.strategy]
        for strategy in strategies:
            strategy.before_experience(self.network, experience)
        self.network.see(experience.classes)

    def begin_stage(self, stage: str, change: Callable[[Groups], Groups] | None = None) -> list[nn.Parameter]:
        """Choose what a stage of the learner trains by gradient; ``change`` rewrites the optimizer's groups."""
        learner = self.learner
        learner.stage = stage
        self.figures.begin_stage()
        trained = self.stage_optimizer.choose(self.network, (self.strategy, self.base_strategy), learner, change)
        self.automatic_optimization = learner.kind == "gradient"
        # Strategy buffers are the same on every rank by construction, and may be large: DDP need not broadcast them.
        states = [name for name, _ in self.named_buffers() if name.startswith(UNCHANGED_BY_STEPS)]
        self._ddp_params_and_buffers_to_ignore = states
        return trained

    def configure_optimizers(self) -> Any:
        """New optimizer and scheduler for each stage of each experience."""
        base = self.experience is not None and self.experience.is_base
        return self.stage_optimizer.build(self.learner, base, self.found_learning_rate)

    def configure_callbacks(self) -> list[Callback]:
        """The callback that begins and ends the datamodule's current experience under a plain Trainer."""
        return [] if isinstance(self.trainer, RunTrainer) else one_experience_of(self, self.trainer)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Normalise on the device; ``training_step``, which is seeded, does so for batches with a batch transform."""
        check_batch(batch)
        return batch if self._changes_batches() else self.normalised(batch)

    def _changes_batches(self) -> bool:
        training = self._trainer is not None and self.trainer.training
        return bool(training and self.batch_transform and self.learner.kind == "gradient")

    def normalised(self, batch: Batch) -> Batch:
        """The batch with its images as the network expects them."""
        return normalised(batch, self.network, self.channels_last)

    def on_train_start(self) -> None:
        """Reset here too, for an epoch that resumes half-way has no start; another Trainer has checked its own last loss."""
        self.figures.begin_trainer()
        self.on_train_epoch_start()

    def on_train_epoch_start(self) -> None:
        """Training mode, except for frozen modules: their running statistics must not change."""
        set_modes(self.network, self.learner.kind == "gradient", self.learner.keeps_statistics)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed by the position alone, so that a resumed run draws the same random numbers."""
        experience = self.experience.index if self.experience is not None else -1
        words = (self.seed, "step", experience, self.learner.stage, self.current_epoch, batch_idx, self.global_rank)
        seed_generators(derive_seed(*words), self.device)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """One batch: the strategy's loss, or its closed-form update."""
        learner = self.learner
        total: int = self.trainer.train_dataloader.batch_sampler.global_sizes[batch_idx]  # type: ignore[union-attr]
        if learner.kind == "closed_form":
            self.update_closed_form(batch, batch_idx, total)
            self.optimizers().step()  # type: ignore[union-attr] # Lightning counts it
            learner.after_step(self.network)
            return None
        self.figures.begin_batch()
        if self.batch_transform is not None and self._changes_batches():
            batch = transformed(batch, self.batch_transform, self.network, self.channels_last)
        loss = learner.loss(self.network, batch)
        mine = len(batch["label"])
        if mine == 1 and self.trainer.world_size > 1:  # a stand-in is alone: else nothing is read from the device
            mine = int(batch["valid"].sum())
        self.figures.add(self.network, batch, batch_idx, loss, mine)
        self.figures.log_step(self.log, self.trainer, loss)
        # DDP averages over the ranks: with these weights the average is the mean over the images of the global batch.
        return loss * (mine * self.trainer.world_size / total) if self.trainer.world_size > 1 else loss

    def update_closed_form(self, batch: Batch, batch_idx: int, total: int) -> None:
        """Let a closed form learn this process's part of a global batch of ``total`` images."""
        closed_form_step(self.network, self.learner, batch, total, partial(self._place, batch_idx))

    def _keep_logits(self, _: nn.Module, __: Any, logits: Tensor) -> None:
        if self.training:
            self.figures.keep_logits(logits)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Call the strategies' ``after_backward`` once all gradients are computed."""
        for strategy in self.followers:
            strategy.after_backward(self.network)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Call the strategies' ``after_step``, before any callback may write a checkpoint."""
        super().optimizer_step(*args, **kwargs)
        for strategy in self.followers:
            strategy.after_step(self.network)

    def on_train_epoch_end(self) -> None:
        """Log the epoch's means over all processes."""
        self.figures.check_loss()
        if self.learner.kind == "closed_form":
            return
        self.figures.log_epoch(self.log)
        self.figures.step_plateaus(self.trainer.lr_scheduler_configs, self.trainer.callback_metrics)

    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        """Step a scheduler that needs no metric; for the others see ``TrainingFigures``."""
        if metric is None:
            scheduler.step()

    def _place(self, batch: int) -> str:
        """The position of a batch in the stream, for a message."""
        return f"batch {batch}" + ("" if self.experience is None else self.experience.place(self.current_epoch))

    def predict_logits(self, batch: Batch) -> Tensor | Mapping[str, Tensor]:
        """Logits of the strategy's prediction, before the mask; several variants as a mapping."""
        if self.augmented_prediction is not None:
            return self.augmented_prediction(self._predict, batch["image"])
        return self._predict(self.network.inputs(batch))

    def _predict(self, image: Tensor) -> Tensor | Mapping[str, Tensor]:
        return predicted(self.learner, self.network, image)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss and accuracy on the experience's own validation part."""
        # In training no variant is picked yet; a finished checkpoint is evaluated with the picked one.
        variant = self.picked_variant if self.trainer.state.fn == TrainerFn.VALIDATING else ""
        self.evaluation.add(self.network, batch, pick_variant(self.predict_logits(batch), variant))

    def on_validation_epoch_end(self) -> None:
        """Log the validation part's means over all processes."""
        self.evaluation.log(self.log, "val")

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Collect the predictions of a run's evaluation; without collectors, measure loss and accuracy."""
        logits = self.predict_logits(batch)
        if self.collectors:
            self.collectors[dataloader_idx].add(batch, logits, self.network.mask_unseen)
        else:
            self.evaluation.add(self.network, batch, pick_variant(logits, self.picked_variant))

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Prediction:
        """Logits, probabilities and class of each image of a batch, without the stand-ins of several processes."""
        logits = pick_variant(self.predict_logits(batch), self.picked_variant)
        return Prediction.of(self.network.mask_unseen(logits.float()), batch)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, C) of images (N, 3, H, W), uint8 or normalised, by the picked variant; unseen classes get -inf."""
        logits = self._predict(self.network.normalise(image))
        return self.network.mask_unseen(pick_variant(logits, self.picked_variant))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the classifier's identity to the checkpoint."""
        self.figures.check_loss()
        checkpoint["lightning_vision"] = self.identity()
        checkpoint["lightning_vision_measured"] = dict(self.measured)
        checkpoint[SUMMANDS] = add_up_sums(checkpoint["state_dict"])

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint that does not fit; load the figures that schedulers use, and the position of training."""
        check_loadable(checkpoint, self.identity(), list(self.state_dict()))
        replay_grafts(self.network, checkpoint["lightning_vision"])
        self.figures.take_measured(checkpoint["lightning_vision_measured"])
        share_out_sums(checkpoint, self.global_rank, 1 if self._trainer is None else self._trainer.world_size)
        if not isinstance(self._trainer, RunTrainer):
            take_place(self, self._trainer, checkpoint)

    def identity(self) -> dict[str, Any]:
        """What must be equal for weights to fit, and where in the stream they are from."""
        return identity_of(self)
