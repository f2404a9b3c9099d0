"""Training an experience: stopping, best weights, optimizers and schedulers of its own; and what a checkpoint is."""

import os
import shutil
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest
import torch
from command_line import checkpoint_of, fit, start, weights_of
from lightning.pytorch import Callback, LightningModule, Trainer
from timm.models import register_model
from torch import nn

from lightning_vision.errors import ConfigError
from lightning_vision.learning.backbones import build_backbone
from lightning_vision.learning.checkpoints import read_checkpoint
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.results.schema import read_results
from strategies import HeadOnly, MoveToData

NAMES = ["red", "green", "blue", "grey"]


def classifier(**options: Any) -> ContinualClassifier:
    torch.manual_seed(0)
    options = {"backbone": "test_resnet", "pretrained": False, "class_names": NAMES, "image_size": 16, **options}
    return ContinualClassifier(**options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"class_names": []}, "class_names: expected the names of the classes, found none"),
        ({"monitor": "val/f1"}, "model.monitor: expected val/accuracy or val/loss, found 'val/f1'"),
        ({"base_epochs": -1}, "model.base_epochs: expected 0 or more, found -1"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        classifier(**options)


def test_forward_takes_raw_images_and_never_predicts_an_unseen_class() -> None:
    model = classifier().eval()
    model.network.see([1, 3])
    image = torch.randint(0, 256, (5, 3, 16, 16), dtype=torch.uint8)
    logits = model(image)
    assert torch.isinf(logits[:, [0, 2]]).all() and torch.isfinite(logits[:, [1, 3]]).all()
    assert torch.equal(logits, model(model.network.normalise(image)))


def test_objects_built_in_python_are_no_hyperparameters() -> None:
    """They would make the checkpoint unsafe to load."""
    model = classifier(strategy=MoveToData(0.1), optimizer=lambda p: torch.optim.SGD(p, lr=0.1))
    assert {"strategy", "optimizer"}.isdisjoint(model.hparams)
    assert model.hparams["backbone"] == "test_resnet" and model.hparams["class_names"] == NAMES


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A learning rate of nothing: no epoch is better than the first, so that patience ends each experience early."""
    options = [
        "--trainer.max_epochs=7",
        "--trainer.callbacks=EarlyStopping",
        "--trainer.callbacks.monitor=val/accuracy",
        "--trainer.callbacks.mode=max",
        "--trainer.callbacks.patience=2",
        "--model.optimizer=torch.optim.SGD",
        "--model.optimizer.lr=0",
        "--model.strategy=HeadOnly",
        "--model.base_strategy=HeadOnly",
        "--model.lr_scheduler=torch.optim.lr_scheduler.StepLR",
        "--model.lr_scheduler.step_size=1",
        "--model.lr_scheduler.gamma=0.5",
        "--trainer.callbacks+=LearningRateMonitor",
    ]
    return fit(tmp_path_factory.mktemp("stopped"), "early", *options)


def test_each_experience_has_its_own_early_stopping(stopped: Path) -> None:
    """One that went on comparing with the former experience would stop later ones at once, or never."""
    experiences = read_results(stopped / "results.json").experiences
    assert [(e.epochs, e.stopped_early) for e in experiences] == [(3, True)] * 3


def test_a_stream_with_early_stopping_learns_by_closed_form_too(tmp_path: Path) -> None:
    """Callbacks that stop gradient training are left out in a closed form, for any monitored metric."""
    options = ["--trainer.callbacks=EarlyStopping", "--trainer.callbacks.monitor=train/loss", "--trainer.max_epochs=2"]
    run = fit(tmp_path, "closed", *options, "--model.strategy=MoveToData")
    assert [e.epochs for e in read_results(run / "results.json").experiences] == [2, 1, 1]


def test_each_experience_has_its_own_scheduler(tmp_path: Path) -> None:
    """The rate halves after each epoch and starts anew with each experience."""
    options = [
        "--trainer.max_epochs=3",
        "--trainer.log_every_n_steps=1",
        "--trainer.callbacks=LearningRateMonitor",
        "--trainer.callbacks.logging_interval=epoch",
        "--model.optimizer=torch.optim.SGD",
        "--model.optimizer.lr=0.08",
        "--model.lr_scheduler=torch.optim.lr_scheduler.StepLR",
        "--model.lr_scheduler.step_size=1",
        "--model.lr_scheduler.gamma=0.5",
    ]
    rows = pd.read_csv(fit(tmp_path, "halves", *options) / "metrics.csv")
    rates = rows["lr-SGD"].dropna().tolist()
    assert rates == pytest.approx([0.08, 0.04, 0.02] * 3)


def test_the_base_has_an_optimizer_a_scheduler_and_epochs_of_its_own(tmp_path: Path) -> None:
    options = [
        "--trainer.max_epochs=2",
        "--trainer.log_every_n_steps=1",
        "--trainer.callbacks=LearningRateMonitor",
        "--trainer.callbacks.logging_interval=epoch",
        "--model.optimizer=torch.optim.SGD",
        "--model.optimizer.lr=0.03",
        "--model.base_optimizer=torch.optim.AdamW",
        "--model.base_optimizer.lr=0.002",
        "--model.base_epochs=4",
        "--model.lr_scheduler=lightning.pytorch.cli.ReduceLROnPlateau",
        "--model.lr_scheduler.monitor=val/loss",
        "--model.lr_scheduler.patience=0",
        "--model.lr_scheduler.threshold=1000",
        "--model.lr_scheduler.factor=0.1",
    ]
    run = fit(tmp_path, "base", *options)
    rows = pd.read_csv(run / "metrics.csv")
    assert rows["lr-AdamW"].dropna().tolist() == pytest.approx([0.002] * 4), "an own optimizer, no scheduler"
    # No loss meets the threshold, so that the rate is cut after each epoch; the next experience begins anew.
    assert rows["lr-SGD"].dropna().tolist() == pytest.approx([0.03, 0.003] * 2)
    assert [e.epochs for e in read_results(run / "results.json").experiences] == [4, 2, 2]


def test_the_best_weights_are_restored(tmp_path: Path) -> None:
    """Each epoch's weights are kept by a stock callback; the experience ends with those of its best epoch."""
    options = [
        "--data.stream=Joint",
        "--data.noise=200",
        "--trainer.max_epochs=6",
        "--model.optimizer=torch.optim.SGD",
        "--model.optimizer.lr=0.3",
        "--model.monitor=val/loss",
        "--trainer.callbacks=ModelCheckpoint",
        "--trainer.callbacks.save_top_k=-1",
        f"--trainer.callbacks.dirpath={tmp_path / 'each'}",
        "--trainer.callbacks.filename={epoch}",
        "--trainer.callbacks.save_on_train_epoch_end=true",
    ]
    run = fit(tmp_path, "best", *options)
    losses = pd.read_csv(run / "metrics.csv")["val/loss"].dropna().tolist()
    best = min(range(6), key=losses.__getitem__)
    assert best != 5, "the last epoch being the best would prove nothing"
    kept = read_checkpoint(tmp_path / "each" / f"epoch={best}.ckpt")["state_dict"]
    end = weights_of(run)
    assert all(torch.equal(kept[name], end[name]) for name in kept if name.startswith("network."))
    again = fit(
        tmp_path, "last", *options, "--model.restore_best=false", f"--trainer.callbacks.dirpath={tmp_path / 'again'}"
    )
    last = read_checkpoint(tmp_path / "each" / "epoch=5.ckpt")["state_dict"]["network.head.weight"]
    assert torch.equal(weights_of(again)["network.head.weight"], last)


def test_a_loss_that_is_not_a_number_stops_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is the second batch of the second epoch: the first epoch is good, and its checkpoint stays."""
    options = ["--data.batch_size=8", "--trainer.max_epochs=3", "--model.strategy=trial_strategies.TurnsNotANumber"]
    assert start(tmp_path, "nan", *options) == 1
    error = capsys.readouterr().err
    assert "The loss is nan in batch 1 of epoch 1 of experience 1 (increment 1)" in error
    assert "a smaller learning rate" in error and "Traceback" not in error
    run = tmp_path / "nan"
    assert len(read_results(run / "results.json").experiences) == 1
    kept = read_checkpoint(run / "checkpoints" / "experience=0001-stage=0-last.ckpt")
    assert kept["epoch"] == 0
    assert all(torch.isfinite(value).all() for value in kept["state_dict"].values() if value.is_floating_point())


def test_a_loss_that_is_infinite_in_the_last_batch_is_not_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Looked at one step late, it must still be found before the epoch's checkpoints are written."""
    options = ["--data.batch_size=8", "--trainer.max_epochs=1", "--model.strategy=trial_strategies.TurnsNotANumber"]
    assert start(tmp_path, "late", *options, "--model.strategy.bad=2") == 1
    assert "The loss is nan in batch 1 of epoch 0 of experience 1" in capsys.readouterr().err
    assert not list((tmp_path / "late" / "checkpoints").glob("experience=0001*"))


@pytest.mark.parametrize(
    "options",
    [
        ["--trainer.accumulate_grad_batches=2", "--trainer.gradient_clip_val=0.5", "--data.batch_size=8"],
        ["--trainer.precision=bf16-mixed", "--model.channels_last=true"],
    ],
    ids=["accumulation and clipping", "bf16-mixed and channels-last"],
)
def test_trainer_options_that_change_the_step(options: list[str], tmp_path: Path) -> None:
    """For a gradient strategy and for a closed form alike."""
    full = fit(tmp_path, "full", *options, "--keep_checkpoints=all")
    base = f"--model.base_checkpoint={full / 'checkpoints' / 'experience=0000.ckpt'}"
    moved = fit(tmp_path, "moved", *options, base, "--model.strategy=MoveToData", "--model.strategy.epsilon=[1e-6,0.1]")
    for run in (full, moved):
        assert read_results(run / "results.json").run.complete
        assert all(v.dtype != torch.bfloat16 for v in weights_of(run).values()), "weights stay in full precision"
    assert [e.epochs for e in read_results(moved / "results.json").experiences] == [0, 1, 1]


def test_after_step_runs_once_an_optimizer_step(tmp_path: Path) -> None:
    """Of 5 batches with two accumulated the steps are 3: the odd one at the end of the epoch steps too."""
    options = ["--trainer.accumulate_grad_batches=2", "--trainer.max_epochs=2", "--model.restore_best=false"]
    options += ["--data.stream=Joint", "--data.batch_size=12"]
    run = fit(tmp_path, "steps", *options, "--model.strategy=trial_strategies.HeadThenAll")
    batches = -(-read_results(run / "results.json").experiences[0].train_samples // 12)
    assert batches == 5
    assert weights_of(run)["strategy.steps"].tolist() == [6, 6]


@register_model
def one_convolution(pretrained: bool = False, **_: object) -> nn.Module:
    """A backbone of a user's own in timm's registry, small enough to be compiled in a test."""
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def test_compile(tmp_path: Path) -> None:
    """The compiled backbone learns, and its checkpoint has the names of one that was not compiled."""
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("torch.compile needs a C++ compiler, and there is none on this machine")
    options = ["--data.stream=Joint", "--data.per_class=12", "--model.channels_last=true"]
    options += ["--model.backbone=one_convolution"]
    compiled, eager = (fit(tmp_path, f"compile={on}", *options, f"--model.compile={on}") for on in ("true", "false"))
    found, expected = weights_of(compiled), weights_of(eager)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-4)


def test_mixed_precision_is_the_backbones_alone() -> None:
    """In bfloat16 the heads of a sweep from 1e-6 to 1e-3 would all be one."""
    model = classifier(strategy=MoveToData([0.1, 0.2])).eval()
    weight = model.network.classifier.weight.detach()
    model.strategy.heads = torch.stack([weight, weight * (1 + 1e-5)]).double()
    batch = {"image": torch.randn(5, 3, 16, 16)}
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        one, two = model.predict_logits(batch).values()  # type: ignore[arg-type] # all it needs
    assert one.dtype == torch.float32 and not torch.equal(one, two)


class TestCheckpoint:
    @pytest.fixture(scope="class")
    def run(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return fit(tmp_path_factory.mktemp("checkpoint"), "run", "--model.strategy=MoveToData", "--model.head_hidden=8")

    def test_lightning_loads_it_as_it_is(self, run: Path) -> None:
        path = next((run / "checkpoints").glob("experience=0002.ckpt"))
        model = ContinualClassifier.load_from_checkpoint(path, weights_only=True)
        state = weights_of(run)
        assert model.state_dict().keys() == state.keys()
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
        assert isinstance(model.strategy, MoveToData) and model.class_names == NAMES
        image = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
        assert model.eval()(image).shape == (1, 4)

    def test_it_holds_plain_values_alone(self, run: Path) -> None:
        hparams = checkpoint_of(run)["hyper_parameters"]
        assert hparams["strategy"]["class_path"] == "strategies.MoveToData"
        assert hparams["class_names"] == NAMES

        def plain(value: object) -> bool:
            if isinstance(value, dict):
                return all(map(plain, value.values()))
            return (
                all(map(plain, value)) if isinstance(value, list) else isinstance(value, (str, int, float, type(None)))
            )

        assert plain(hparams)

    def test_it_says_where_it_fits(self, run: Path) -> None:
        identity = checkpoint_of(run)["lightning_vision"]
        _, facts = build_backbone("test_resnet", pretrained=False, image_size=16)
        assert identity["backbone"] == "test_resnet" and identity["class_names"] == NAMES
        assert identity["head"] == [[8, 96], [8], [4, 8], [4]] and identity["image_size"] == 16
        assert tuple(identity["mean"]) == pytest.approx(facts.mean) and identity["experience"] == 2


def test_evaluation_shows_each_image_to_the_backbone_once() -> None:
    """For any number of variants: the heads of a sweep share the features."""
    model = classifier(strategy=MoveToData([0.1, 0.2, 0.3]), base_strategy=HeadOnly()).eval()
    model.strategy.heads = torch.randn(3, 4, 96)
    index = torch.arange(5)
    batch = {
        "image": torch.zeros(5, 3, 16, 16),
        "label": index % 4,
        "index": index,
        "experience": index,
        "valid": index >= 0,
    }
    logits = model.predict_logits(batch)  # type: ignore[arg-type] # a plain dict will do
    assert isinstance(logits, dict) and len(logits) == 3
    assert model.network.backbone_images == 5


@pytest.mark.parametrize("experiences", [1, 4])
def test_evaluation_images_do_not_depend_on_the_number_of_experiences(experiences: int, tmp_path: Path) -> None:
    options = [f"--data.stream.experiences={experiences}", "--data.stream.base_fraction=0.25", "--model.base_epochs=1"]
    if experiences == 1:
        options = ["--data.stream=Joint"]
    results = read_results(fit(tmp_path, "counted", *options, "--trainer.max_epochs=1") / "results.json")
    test = sum(e.test_samples for e in results.experiences)
    validated = 0
    for record in results.experiences:
        validated += record.val_samples
        assert record.evaluation.images == test + validated
        assert record.backbone_images == record.train_samples + record.val_samples, (
            "an epoch, and a look at its validation part"
        )
    passed = sum(e.backbone_images + e.evaluation.images for e in results.experiences)
    assert results.totals.backbone_images == passed + test, "those for the level of chance are among them"


class LossesOfSteps(Callback):
    """Every step's loss, and at the end of each epoch what a callback is told of the last."""

    losses: ClassVar[list[float]] = []
    told: ClassVar[list[tuple[float, float]]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        self.losses.append(float(outputs["loss"]))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.told.append((self.losses[-1], float(trainer.callback_metrics["train/loss_step"])))


def test_a_callback_is_told_the_loss_of_an_epochs_last_step_however_seldom_steps_are_logged(tmp_path: Path) -> None:
    callback = "--trainer.callbacks=test_classifier.LossesOfSteps"
    run = fit(
        tmp_path, "run", callback, "--trainer.log_every_n_steps=3", "--data.batch_size=8", "--trainer.max_epochs=2"
    )
    assert len(LossesOfSteps.told) == 6 and all(last == told for last, told in LossesOfSteps.told)
    logged = pd.read_csv(run / "metrics.csv")["train/loss_step"].dropna()
    assert 2 <= len(logged) < len(LossesOfSteps.losses)
    assert set(logged.round(4)) <= {round(loss, 4) for loss in LossesOfSteps.losses}
