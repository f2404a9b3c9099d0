"""FixRes: trained small, tested larger, its end fitted to that."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import changed, fit, start, weights_of
from tiny_network import tiny_network
from torch import nn
from trial_images import Shown

from lightning_vision import Strategy
from lightning_vision.errors import ConfigError
from lightning_vision.learning.stage import Stage
from lightning_vision.recipes import FixRes
from lightning_vision.recipes.fixres import last_batch_norm
from lightning_vision.results.schema import read_results

FIX = Stage("", "fix", epochs=5, augment=False)
COMMON = (
    "--model.strategy=FullFineTune",
    "--model.restore_best=false",
    "--data.image_size=32",
    "--data.stream.experiences=2",
)


def callbacks(options: str) -> str:
    recipe = f"{{class_path: lightning_vision.recipes.FixRes, init_args: {options}}}"
    return f"--trainer.callbacks=[{recipe}, {{class_path: trial_images.Shown}}]"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fixres")


@pytest.fixture(scope="module")
def small(place: Path) -> Path:
    """Trained small, and no more."""
    return fit(place, "small", *COMMON, "--data.batch_transforms=MixUp", callbacks("{train_size: 24, epochs: 0}"))


@pytest.fixture(scope="module")
def fixed(place: Path, small: Path) -> Path:
    Shown.seen.clear()
    mixed = "--data.batch_transforms=MixUp"
    return fit(place, "fixed", *COMMON, mixed, callbacks("{train_size: 24, epochs: 2, learning_rate: 0.01}"))


def test_it_trains_small_and_ends_at_the_test_size(fixed: Path) -> None:
    stages = ((0, 24, True), (0, 32, False), (1, 32, False))  # epoch, side, mixed
    assert set(Shown.seen) == {(t, *stage) for t in (0, 1) for stage in stages}
    assert [record.epochs for record in read_results(fixed / "results.json").experiences] == [3, 3]


def test_the_last_stage_trains_the_classifier_and_the_last_batch_norm_alone(small: Path, fixed: Path) -> None:
    before, after = weights_of(small, 0), weights_of(fixed, 0)
    norms = [name.removesuffix(".running_mean") for name in before if name.endswith("running_mean")]
    parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    assert changed(before, after) == {
        "network.head.weight",
        "network.head.bias",
        *(f"{norms[-1]}.{part}" for part in parts),
    }


def test_without_a_last_stage_the_network_is_tested_as_it_is(small: Path) -> None:
    results = read_results(small / "results.json")
    assert [record.epochs for record in results.experiences] == [1, 1] and not results.notes


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--model.backbone=test_vit",), [0, 1]),
        (("--model.strategy=HeadOnly",), [1]),  # the base has a batch norm that is trained
    ],
)
def test_it_says_where_there_is_no_batch_norm_to_fit(place: Path, options: tuple[str, ...], said: list[int]) -> None:
    name = options[0].rpartition("=")[2]
    run = fit(place, name, *COMMON, *options, callbacks("{train_size: 16, epochs: 1}"))
    notes = [
        note for note in read_results(run / "results.json").notes if "FixRes fine-tuned only the classifier" in note
    ]
    assert [note.split(":")[0] for note in notes] == [f"after experience {t}" for t in said]
    assert all("at 32 pixels" in note for note in notes)


def test_a_closed_form_takes_no_part_in_it(place: Path) -> None:
    run = fit(place, "closed", *COMMON, "--model.strategy=NearestMean", callbacks("{train_size: 16, epochs: 1}"))
    assert [record.epochs for record in read_results(run / "results.json").experiences] == [2 + 1, 1]


def test_groups_keep_their_options_and_what_the_learner_leaves_out_stays_out() -> None:
    network = tiny_network(norm=True)
    norm = last_batch_norm(network.backbone)
    _, linear, third, *_ = network.backbone.children()
    head = network.classifier
    assert norm is third and norm is not None and isinstance(linear, nn.Linear)
    groups: list[dict[str, Any]] = [
        {"params": [linear.weight, norm.weight], "weight_decay": 0.1},
        {"params": [linear.bias]},
        {"params": [head.weight], "lr": 0.5, "lr_scale": 0.75},
    ]
    chosen = FixRes(8, learning_rate=0.01).parameters_to_train(network, FIX, groups)
    assert [(len(group["params"]), group.get("lr"), group.get("lr_scale")) for group in chosen] == [
        (1, 0.01, None),
        (1, 0.01, 0.75),
    ]
    assert chosen[0]["params"][0] is norm.weight and chosen[0]["weight_decay"] == 0.1
    assert FixRes(8).parameters_to_train(network, FIX, groups)[1]["lr"] == 0.5
    assert FixRes(8).parameters_to_train(network, Stage(), groups) is groups
    with pytest.raises(ConfigError, match="the learning strategy trains neither"):
        FixRes(8).parameters_to_train(network, FIX, [{"params": [linear.weight]}])


def test_nothing_is_fitted_where_nothing_was_trained() -> None:
    assert FixRes(8).stages(Strategy(), [Stage()], max_epochs=0) == [Stage()]
    assert FixRes(8).stages(Strategy(), [Stage("a"), Stage("b")], max_epochs=1)[2:] == [replace(FIX, name="b")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_size": 0}, "train_size: expected at least 1 pixel, found 0"),
        ({"train_size": 8, "epochs": -1}, "epochs: expected 0 or more, found -1"),
        ({"train_size": 8, "learning_rate": 0.0}, "learning_rate: expected a number above 0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=f"FixRes.{message}"):
        FixRes(**options)  # type: ignore[arg-type] # of several kinds


def test_a_size_that_the_backbone_cannot_take_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert start(tmp_path, "tiny", *COMMON, "--model.backbone=test_convnext", callbacks("{train_size: 24}")) == 2
    assert "FixRes.train_size: test_convnext does not support images of 24 pixels" in capsys.readouterr().err
    assert not (tmp_path / "tiny" / "results.json").exists()
