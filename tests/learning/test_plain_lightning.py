"""One experience with Lightning's own Trainer: as in a stream run, with any callback and logger."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from command_line import start
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset

from datamodules import Digits
from lightning_vision.data.scenario import Scenario
from lightning_vision.data.scenarios import ClassIncremental, InstanceIncremental
from lightning_vision.errors import CheckpointError, ConfigError, DataError
from lightning_vision.learning.checkpoints import read_checkpoint, use_classes
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.prediction import Prediction
from lightning_vision.learning.strategy import Strategy
from lightning_vision.recipes.moving_average import MovingAverage
from strategies import ER, EWC, WA, ICaRL, LinearProbeThenFineTune, LwF, MoveToData, NearestMean, Replay

SIZE = 16


@pytest.fixture(autouse=True)
def no_seed_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # restored after each test
    monkeypatch.delenv("PL_GLOBAL_SEED")


class JointOnly(Strategy):
    """Refuses streams of several experiences."""

    scenarios = frozenset({"Joint"})


def digits(**options: Any) -> Digits:
    return Digits(**{"image_size": SIZE, "batch_size": 64, "stream": InstanceIncremental(experiences=4), **options})


def classifier(**options: Any) -> ContinualClassifier:
    torch.manual_seed(0)
    return ContinualClassifier(**{"backbone": "test_resnet", "pretrained": False, **options})


def trainer(epochs: int = 1, **options: Any) -> Trainer:
    quiet = {
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "logger": False,
    }
    return Trainer(**{"max_epochs": epochs, "accelerator": "cpu", "devices": 1, **quiet, **options})


def test_callbacks_and_a_logger_and_all_four_verbs(tmp_path: Path) -> None:
    data, model = digits(), classifier(image_size=None)
    best = ModelCheckpoint(tmp_path, monitor="val/accuracy", mode="max")
    stopping = EarlyStopping("train/loss", patience=0, min_delta=1e9)
    fitted = trainer(
        5,
        callbacks=[best, stopping, LearningRateMonitor("step")],
        enable_checkpointing=True,
        logger=CSVLogger(tmp_path),
        log_every_n_steps=1,
    )
    fitted.fit(model, data)
    assert model.class_names == data.class_names and model.image_size == SIZE
    assert fitted.current_epoch == 2, "no loss is better by so much, so that patience ends in the second epoch"
    rows = pd.read_csv(Path(str(fitted.log_dir)) / "metrics.csv")
    assert {"train/loss", "train/accuracy", "val/loss", "val/accuracy", "lr-AdamW"} <= set(rows.columns)
    assert model.network.seen.all() and not model.network.training

    validated = trainer().validate(model, data, verbose=False)[0]
    tested = trainer().test(model, data, verbose=False)[0]
    assert validated.keys() == {"val/loss", "val/accuracy"} and tested.keys() == {"test/loss", "test/accuracy"}
    batches: Any = trainer().predict(model, data)
    assert all(isinstance(batch, Prediction) for batch in batches)
    logits, probability, predicted, row = (torch.cat(parts) for parts in zip(*batches, strict=True))
    torch.testing.assert_close(probability, logits.softmax(dim=1))
    assert row.tolist() == data.rows_to_evaluate("test").tolist()
    label = torch.from_numpy(data.samples["label"].to_numpy()[row.numpy()])
    assert (predicted == label).float().mean().item() == pytest.approx(tested["test/accuracy"])

    loaded = ContinualClassifier.load_from_checkpoint(best.best_model_path, weights_only=True)
    assert loaded.class_names == data.class_names and loaded.image_size == SIZE
    score = best.best_model_score
    assert score is not None
    assert trainer().validate(loaded, data, verbose=False)[0]["val/accuracy"] == pytest.approx(score.item())


@pytest.mark.parametrize(
    ("strategy", "dotted"),
    [
        (EWC(), ["--model.strategy=EWC"]),
        (Replay(), ["--model.strategy=Replay"]),
        (NearestMean(), ["--model.strategy=NearestMean"]),
        (MoveToData([1e-3, 1e-2]), ["--model.strategy=MoveToData", "--model.strategy.epsilon=[1e-3,1e-2]"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Strategy) else "",
)
def test_it_learns_what_a_stream_run_learns(strategy: Strategy, dotted: list[str], tmp_path: Path) -> None:
    """Experience by experience the same weights, state of the strategy and picked variant, bit for bit."""
    options = ["--data=Digits", f"--data.image_size={SIZE}", "--data.batch_size=64", "--data.stream.experiences=3"]
    options += ["--model.restore_best=false", "--keep_checkpoints=all", "--seed_everything=3", "--stop_after=1"]
    assert start(tmp_path, "run", *options, "--data.feature_cache_gb=0", *dotted) == 0
    finished = [read_checkpoint(tmp_path / "run" / "checkpoints" / f"experience=000{t}.ckpt") for t in (0, 1)]

    data = digits(stream=InstanceIncremental(experiences=3))
    seed_everything(3)
    model = ContinualClassifier(
        "test_resnet", pretrained=False, class_names=data.class_names, image_size=SIZE, strategy=strategy
    )
    for t, expected in enumerate(finished):
        data.enter(t, 0)
        trainer().fit(model, data)
        state = model.state_dict()
        learned = [key for key in expected["state_dict"] if key.startswith(("network.", "strategy."))]
        assert [key for key in learned if not torch.equal(state[key], expected["state_dict"][key])] == []
        assert model.picked_variant == expected["lightning_vision"]["picked_variant"]


def test_a_strategy_built_in_python_is_given_again(tmp_path: Path) -> None:
    data, model = digits(), classifier(strategy=NearestMean())
    fitted = trainer()
    fitted.fit(model, data)
    path = tmp_path / "kept.ckpt"
    fitted.save_checkpoint(path)
    with pytest.raises(CheckpointError, match=r"load_from_checkpoint\(path, strategy=NearestMean\(...\)\)"):
        ContinualClassifier.load_from_checkpoint(path)
    loaded = ContinualClassifier.load_from_checkpoint(path, strategy=NearestMean())
    expected, found = (trainer().test(each, data, verbose=False)[0] for each in (model, loaded))
    assert found == expected, "the means of the base's data predict, in both"
    data.enter(1, 0)
    for each in (model, loaded):
        trainer().fit(each, data)
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in model.state_dict().items())


def check_resumes_to_the_same(
    whole: ContinualClassifier, resumed: ContinualClassifier, data: Digits, folder: Path
) -> None:
    """One classifier trains two epochs; another, from a checkpoint within the second, ends with the same network."""
    steps = len(data.train_dataloader()) + 2
    half = ModelCheckpoint(folder, "half", every_n_train_steps=steps, enable_version_counter=False)
    trainer(2, callbacks=[half], enable_checkpointing=True).fit(whole, data)
    assert read_checkpoint(folder / "half.ckpt")["global_step"] == steps
    trainer(2).fit(resumed, data, ckpt_path=folder / "half.ckpt", weights_only=True)
    names = [name for name in whole.state_dict() if name.startswith("network.")]
    assert [n for n in names if not torch.equal(whole.state_dict()[n], resumed.state_dict()[n])] == []


def test_training_resumes_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    """The batches that are done are not trained again, and the seed is the checkpoint's."""
    data, whole, resumed = digits(), classifier(), classifier()
    whole.seed = 5
    check_resumes_to_the_same(whole, resumed, data, tmp_path)
    data.enter(1, 0)
    with pytest.raises(CheckpointError, match="written in experience 0, and the datamodule's current experience is 1"):
        trainer(2).fit(classifier(), data, ckpt_path=tmp_path / "half.ckpt", weights_only=True)


@pytest.mark.parametrize(
    ("build", "stream"),
    [
        (LwF, ClassIncremental(experiences=5)),
        (LwF, InstanceIncremental(experiences=4)),
        (partial(LwF, cross_entropy="seen"), ClassIncremental(experiences=5)),
        (partial(ICaRL, 40), ClassIncremental(experiences=5)),
        (partial(WA, 40), ClassIncremental(experiences=5)),
        (partial(Replay, 40), ClassIncremental(experiences=5)),
        (partial(ER, 40), ClassIncremental(experiences=5)),
    ],
)
def test_what_is_remembered_resumes_in_the_middle_of_an_epoch(
    build: Callable[[], Strategy], stream: Scenario, tmp_path: Path
) -> None:
    """The memory, the former network and the classes that it knows are the checkpoint's: a new classifier has seen nothing."""
    data = digits(stream=stream)
    whole, resumed = classifier(strategy=build()), classifier(strategy=build())
    trainer().fit(whole, data)
    data.use_experience(1)
    check_resumes_to_the_same(whole, resumed, data, tmp_path)


def test_the_seed_is_that_of_seed_everything() -> None:
    """It moves the order of the images; two fits with one seed are equal."""
    data, states = digits(), []
    for seed in (1, 1, 2):
        seed_everything(seed)
        model = classifier()
        trainer().fit(model, data)
        assert model.seed == seed
        states.append(model.state_dict()["network.head.weight"])
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])
    assert os.environ["PL_GLOBAL_SEED"] == "2"


def test_a_subset_of_the_classes_is_relabelled() -> None:
    """What a classifier of more classes, or of another order, is given later."""
    names = ["ten", *reversed(Digits.CLASS_NAMES)]
    data = digits()
    trainer().validate(classifier(class_names=names, image_size=SIZE), data, verbose=False)
    assert data.class_names == names


@pytest.mark.parametrize(
    ("data", "options", "epochs", "error", "said"),
    [
        ({}, {"class_names": ["cat", "dog"]}, 1, DataError, "classes that the classifier does not know: '0'"),
        (
            {},
            {"image_size": 64},
            1,
            ConfigError,
            "takes images of 64 pixels a side, and the datamodule gives images of 16",
        ),
        ({}, {"base_strategy": NearestMean()}, 2, ConfigError, r"expected Trainer\(max_epochs=1\), found 2"),
        ({}, {"base_strategy": LinearProbeThenFineTune()}, 1, ConfigError, "trains in 2 stages"),
        ({}, {"base_checkpoint": "runs/base"}, 1, ConfigError, "is loaded by a stream run only"),
        (
            {},
            {"base_strategy": JointOnly()},
            1,
            ConfigError,
            "JointOnly cannot learn in the scenario InstanceIncremental; it can in Joint",
        ),
        (
            {"val_fraction": 0.0},
            {"base_strategy": MoveToData([0.1, 0.2])},
            1,
            ConfigError,
            "picks one of several variants on validation data",
        ),
        (
            {},
            {"base_strategy": MoveToData()},
            1,
            ConfigError,
            "MoveToData changes a trained classifier, so it cannot learn",
        ),
        (
            {"stream": ClassIncremental(online=True)},
            {"strategy": ICaRL(20)},
            2,
            ConfigError,
            "expected trainer.max_epochs: 1, found 2",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    data: dict[str, Any], options: dict[str, Any], epochs: int, error: type[Exception], said: str
) -> None:
    model = classifier(**options)
    with pytest.raises(error, match=said):
        trainer(epochs).fit(model, digits(**data))


def test_a_classifier_that_was_set_up_with_other_classes() -> None:
    """Its head is not made anew behind the user's back."""
    model = classifier()
    trainer().validate(model, digits(stream=ClassIncremental(experiences=2)), verbose=False)
    model.class_names[0] = "nought"
    with pytest.raises(DataError, match="a class that the classifier does not know: '0'"):
        trainer().fit(model, digits())


def test_what_a_plain_trainer_cannot_be_given(tmp_path: Path) -> None:
    data = digits()
    with pytest.raises(ConfigError, match="found dataloaders alone"):
        trainer().fit(classifier(), data.train_dataloader())
    with pytest.raises(ConfigError, match="MovingAverage is a recipe, and recipes need a stream run"):
        trainer(callbacks=[MovingAverage()]).fit(classifier(), data)
    with pytest.raises(ConfigError, match="no network yet, because it does not know its classes"):
        classifier()(torch.zeros(1, 3, SIZE, SIZE))
    with pytest.raises(ConfigError, match="takes images of 224 pixels a side"):  # a ViT that was built for them
        trainer().fit(classifier(backbone="test_vit", class_names=data.class_names), data)
    torch.save({"state_dict": {}, "pytorch-lightning_version": "2.6.0"}, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match="was not written by lightning_vision"):
        trainer().test(classifier(), data, ckpt_path=tmp_path / "other.ckpt", verbose=False)


def test_loaders_of_ones_own_are_evaluated() -> None:
    data, model = digits(), classifier()
    trainer().fit(model, data)
    whole = trainer().test(model, data, verbose=False)
    assert trainer().test(model, data.evaluation_loader("test"), verbose=False) == whole


@pytest.mark.parametrize("found", ["a list", "a Tensor", "'image'"])
def test_batches_of_another_form_are_refused(found: str) -> None:
    model = classifier(class_names=list(Digits.CLASS_NAMES), image_size=SIZE)
    images = torch.zeros(4, 3, SIZE, SIZE, dtype=torch.uint8)
    made: Any = {
        "a list": TensorDataset(images, torch.zeros(4, dtype=torch.int64)),
        "a Tensor": images,
        "'image'": [{"image": image} for image in images],
    }[found]
    with pytest.raises(ConfigError, match=rf"mappings with 'image', 'label', 'index', 'valid'; found {found}\."):
        trainer().predict(model, DataLoader(made, batch_size=2))


def test_a_trainer_that_has_trained_is_refused() -> None:
    """Lightning would train nothing, and say so in its log alone."""
    data, model, used = digits(), classifier(), trainer()
    used.fit(model, data)
    data.use_experience(1)
    with pytest.raises(ConfigError, match=r"has trained its max_epochs=1 before.*Make a new Trainer for each fit"):
        used.fit(model, data)
    assert model.experience is not None and model.experience.index == 0
    trainer().fit(model, data)
    assert model.experience.index == 1


def test_a_run_builds_the_network_too() -> None:
    data, model = digits(), classifier()
    use_classes(model, data, data.class_names)
    assert model.network.num_classes == len(model.class_names) == 10 and model.image_size == SIZE
    assert model.hparams["class_names"] == data.class_names and model.hparams["image_size"] == SIZE
