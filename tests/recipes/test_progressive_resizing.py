"""ProgressiveResizing: sizes, RandAugment, mixup and dropout by stage; resumable in the middle of any."""

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coloured_squares import COLOURS, ColouredSquares
from command_line import checkpoint_of, fit, start
from interruptions import interrupt
from test_resume import check_equal
from trial_images import Dropped, Shown

from lightning_vision.errors import ConfigError
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.recipes import ProgressiveResizing
from lightning_vision.recipes.progressive_resizing import Regime, stage_of
from lightning_vision.results.schema import read_results

SCHEDULE = "{preset: L, stages: 3, size: [16, 32]}"
COMMON = (
    "--model.strategy=FullFineTune",
    "--model.base_strategy=FullFineTune",
    "--data.image_size=32",
    "--data.per_class=12",
    "--data.stream.experiences=1",
    "--data.batch_size=8",
    "--data.noise=90",
    "--trainer.max_epochs=3",
    "--trainer.log_every_n_steps=1",
)


def callbacks(options: str, *more: str) -> str:
    recipe = f"{{class_path: lightning_vision.recipes.ProgressiveResizing, init_args: {options}}}"
    own = ("trial_images.Shown", "trial_images.Dropped", "interruptions.Interrupt")
    others = [f"{{class_path: {name}}}" for name in own]
    return f"--trainer.callbacks=[{', '.join([recipe, *more, *others])}]"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("progressive")


@pytest.fixture(scope="module")
def whole(place: Path) -> Path:
    Shown.seen.clear()
    Dropped.shares.clear()
    return fit(place, "whole", *COMMON, callbacks(SCHEDULE))


# ---- the schedule ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epochs", "stages"),
    [
        (8, [0, 0, 1, 1, 2, 2, 3, 3]),
        (4, [0, 1, 2, 3]),
        (6, [0, 1, 1, 2, 3, 3]),
        (2, [1, 3]),
        (1, [3]),
    ],
)
def test_the_epochs_are_dealt_out_and_the_last_is_in_the_last_stage(epochs: int, stages: list[int]) -> None:
    assert [stage_of(epoch, epochs, 4) for epoch in range(epochs)] == stages


@pytest.mark.parametrize(
    ("preset", "size", "expected"),
    [
        # Table 6 of the paper, at its own sizes.
        ("S", 300, [(128, 5, 0.0, 0.1), (185, 8, 0.0, 0.5 / 3), (243, 12, 0.0, 0.7 / 3), (300, 15, 0.0, 0.3)]),
        ("M", 380, [(128, 5, 0.0, 0.1), (212, 10, 0.2 / 3, 0.2), (296, 15, 0.4 / 3, 0.3), (380, 20, 0.2, 0.4)]),
        ("L", 380, [(128, 5, 0.0, 0.1), (212, 12, 0.5 / 3, 0.7 / 3), (296, 18, 1 / 3, 1.1 / 3), (380, 25, 0.5, 0.5)]),
        # Half as large: from 64 on.
        ("S", 150, [(64, 5, 0.0, 0.1), (93, 8, 0.0, 0.5 / 3), (121, 12, 0.0, 0.7 / 3), (150, 15, 0.0, 0.3)]),
    ],
)
def test_the_presets_are_those_of_the_paper(preset: Any, size: int, expected: list[tuple[float, ...]]) -> None:
    found = ProgressiveResizing(preset).schedule(size)
    assert [(r.size, r.rand_augment, r.mixup, r.dropout) for r in found] == [pytest.approx(row) for row in expected]


def test_without_a_preset_what_is_not_given_stays() -> None:
    assert ProgressiveResizing(None, size=[32, 64], stages=3).schedule(128) == [Regime(32), Regime(48), Regime(64)]
    assert ProgressiveResizing(None, dropout=[0.0, 0.5], stages=2).schedule(128) == [
        Regime(128, dropout=0.0),
        Regime(128, dropout=0.5),
    ]
    assert ProgressiveResizing("S", stages=1, mixup=[0.1, 0.2]).schedule(300) == [Regime(300, 15, 0.2, 0.3)]


# ---- a run -----------------------------------------------------------------------------------------------------------


def test_images_grow_and_are_mixed_stage_by_stage(whole: Path) -> None:
    assert set(Shown.seen) == {
        (0, epoch, side, mixed) for epoch, side, mixed in ((0, 16, False), (1, 24, True), (2, 32, True))
    }
    kept = [1 - float(np.mean(Dropped.shares[epoch])) for epoch in range(3)]
    assert [share / kept[0] for share in kept] == pytest.approx([1, 0.7 / 0.9, 0.5 / 0.9], abs=0.05)
    assert read_results(whole / "results.json").notes == [
        "after experience 0: ProgressiveResizing trained at 16, 24, 32 pixels in 3 epoch(s)."
    ]


@pytest.mark.parametrize(
    "points",
    [
        ("0::0:1", "0::2:0"),  # in the middle of an epoch
        ("0::1:3",),  # at the end of one
    ],
    ids=["within", "between"],
)
def test_a_run_that_was_stopped_anywhere_ends_the_same(
    place: Path, whole: Path, points: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"stopped-{points[0].replace(':', '-')}"
    command = (*COMMON, callbacks(SCHEDULE), "--ckpt_path=last")
    for point in points:
        for key, value in interrupt(point, signal.SIGTERM).items():
            monkeypatch.setenv(key, value)
        assert start(place, name, *command) == 128 + signal.SIGTERM
    check_equal(fit(place, name, *command), whole)


def test_a_fixed_training_size_is_where_the_sizes_end(place: Path) -> None:
    """A stage without augmentation is not changed, in any order of the two recipes."""
    fixres = "{class_path: lightning_vision.recipes.FixRes, init_args: {train_size: 24, epochs: 1}}"
    Shown.seen.clear()
    schedule = callbacks("{preset: M, stages: 2}", fixres)
    fit(place, "both", *COMMON, "--trainer.max_epochs=2", schedule)
    assert list(dict.fromkeys(Shown.seen)) == [(0, 0, 8, False), (0, 1, 24, True), (0, 0, 32, False)]


def test_nothing_of_it_is_left_in_the_checkpoint(whole: Path) -> None:
    state = checkpoint_of(whole)["state_dict"]
    assert not [name for name in state if "drop" in name or "recipe" in name]


# ---- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "XL"}, r"preset: expected S, M, L or null, found 'XL'"),
        ({"stages": 0}, r"stages: expected 1 or more, found 0"),
        ({"size": [16]}, r"size: expected two numbers of at least 1, for the first and the last stage, found \[16\]"),
        ({"rand_augment": [0, 31]}, r"rand_augment: expected two numbers from 0 to 30"),
        ({"dropout": [0.0, 1.0]}, r"dropout: expected two numbers from 0 to 0.99"),
        ({"mixup": [-1.0, 1.0]}, r"mixup: expected two numbers of at least 0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"ProgressiveResizing\.{message}"):
        ProgressiveResizing(**options)


def test_a_schedule_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"ProgressiveResizing has nothing to change\. Set a preset"):
        ProgressiveResizing(None)


@pytest.fixture(scope="module")
def model() -> ContinualClassifier:
    return ContinualClassifier("test_resnet", pretrained=False, class_names=list(COLOURS), head_dropout=0.1)


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        ({"size": [16, 64]}, {}, r"expected at most data.image_size \(32\), found 64. Increase data.image_size"),
        ({}, {}, "Omit model.drop_rate and model.head_dropout"),
        ({"preset": "M"}, {"batch_transforms": "MixUp"}, "Remove MixUp and CutMix from data.batch_transforms"),
        ({}, {"train_transforms": "rand_augment"}, "Remove rand_augment from data.train_transforms"),
        ({}, {"annotations": True}, "RandAugment cannot transform boxes and saliency maps"),
    ],
)
def test_what_contradicts_it_is_refused(
    recipe: dict[str, Any], options: dict[str, Any], message: str, model: ContinualClassifier
) -> None:
    data = ColouredSquares(per_class=4, image_size=32, **options)
    dropout = {} if "Omit model" in message else {"dropout": [0.0, 0.0]}
    with pytest.raises(ConfigError, match=message):
        ProgressiveResizing(**{**recipe, **dropout}).before_run(model, data)


def test_epochs_without_number_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = ("--trainer.max_epochs=-1", "--trainer.max_steps=2")
    assert start(tmp_path, "run", *COMMON, *steps, callbacks(SCHEDULE)) == 2
    assert "Set trainer.max_epochs to at least 1" in capsys.readouterr().err
