"""What is shown a second time, drawn by seed; in runs with and without interruption, on one process and two."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from coloured_squares import ColouredSquares
from command_line import fit, start
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_vision import Batch, Network, Strategy
from lightning_vision.data.scenarios import Joint
from lightning_vision.errors import ConfigError
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.recipes import ErrorReplay
from lightning_vision.recipes.error_replay import with_errors
from lightning_vision.results.schema import read_results
from lightning_vision.seeding import derive_seed

ROWS = np.arange(100, 120)


def drawn(errors: list[int], cap: float, seed: int = 0) -> list[int]:
    found = with_errors(ROWS, np.array(errors, dtype=np.int64), cap, np.random.default_rng(seed))
    return [int(row) for row in found]


@pytest.mark.parametrize(
    ("errors", "cap", "again"),
    [
        ([], 0.25, 0),
        ([103, 110], 0.25, 2),
        (list(range(100, 110)), 0.25, 5),  # a quarter of twenty
        (list(range(100, 118)), 1.0, 2),  # as many places as were right
        (list(range(100, 120)), 1.0, 0),
        ([3, 110, 500], 0.25, 1),  # rows that are not in this epoch
    ],
)
def test_errors_take_the_places_of_what_was_right(errors: list[int], cap: float, again: int) -> None:
    found = drawn(errors, cap)
    assert len(found) == len(ROWS) and set(found) <= set(ROWS.tolist())
    wrong = set(errors) & set(ROWS.tolist())
    counts = {row: found.count(row) for row in ROWS.tolist()}
    assert sorted(counts[row] for row in wrong) == [1] * (len(wrong) - again) + [2] * again
    assert sorted(counts[row] for row in set(ROWS.tolist()) - wrong) == [0] * again + [1] * (20 - len(wrong) - again)
    assert found == drawn(errors, cap), "the same seed draws the same"
    assert ROWS.tolist() == list(range(100, 120))


def test_another_seed_draws_others() -> None:
    errors = list(range(100, 110))
    assert len({tuple(drawn(errors, 0.25, seed)) for seed in range(8)}) > 4


@pytest.mark.parametrize("cap", [0.0, -1.0, 1.5])
def test_an_impossible_cap(cap: float) -> None:
    with pytest.raises(ConfigError, match=r"ErrorReplay.cap: expected a share above 0 and at most 1"):
        ErrorReplay(cap)


# ---- in runs -------------------------------------------------------------------------------------------------------


class Witness(Callback):
    """Writes down each batch's epoch, rows, whether they were right, and images."""

    batches: ClassVar[list[tuple[int, list[int], list[bool], Tensor]]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, _: int
    ) -> None:
        if not isinstance(pl_module, ContinualClassifier) or pl_module.figures.correct is None:
            raise TypeError("Expected a classifier that knows what it got right.")
        self.batches.append(
            (trainer.current_epoch, batch["index"].tolist(), pl_module.figures.correct.tolist(), batch["image"])
        )


REPLAY = (
    "--trainer.callbacks=lightning_vision.recipes.ErrorReplay",
    "--trainer.callbacks.cap=0.2",
    "--trainer.callbacks+=test_error_replay.Witness",
    "--trainer.max_epochs=3",
    "--data.stream=Joint",
    "--data.noise=120",
)


def shown(epoch: int) -> tuple[list[int], set[int]]:
    """The rows of an epoch, ascending, and those that were wrong once at least."""
    batches = [(index, correct) for number, index, correct, _ in Witness.batches if number == epoch]
    rows = [row for index, _ in batches for row in index]
    wrong = {row for index, correct in batches for row, right in zip(index, correct, strict=True) if not right}
    return sorted(rows), wrong


@pytest.mark.parametrize("options", [("--data.batch_size=16",), ("--model.strategy=HeadOnly", "--data.views=0")])
def test_each_epoch_shows_again_what_the_one_before_got_wrong(tmp_path: Path, options: tuple[str, ...]) -> None:
    """On images, and on features of a frozen backbone."""
    Witness.batches.clear()
    run = fit(tmp_path, "run", *REPLAY, *options)
    features = read_results(run / "results.json").features
    assert (features is not None and features.cached) == ("--data.views=0" in options)
    rows = ColouredSquares(noise=120, stream=Joint()).stream[0].indices
    found, wrong = shown(0)
    assert found == sorted(rows.tolist()), "the first epoch shows all alike"
    for epoch in (1, 2):
        chance = np.random.default_rng(derive_seed(0, "order", 0, epoch))
        expected = with_errors(rows, np.array(sorted(wrong)), 0.2, chance)
        found, now = shown(epoch)
        assert len(set(found)) < len(found) == len(rows)
        assert sorted(expected.tolist()) == found
        wrong = now


def test_a_image_that_is_shown_twice_is_augmented_anew(tmp_path: Path) -> None:
    Witness.batches.clear()
    fit(tmp_path, "run", *REPLAY, "--trainer.max_epochs=2")
    of: dict[int, list[Tensor]] = {}
    for epoch, index, _, images in Witness.batches:
        for row, image in zip(index, images, strict=True):
            if epoch == 1:
                of.setdefault(row, []).append(image)
    twice = [images for images in of.values() if len(images) == 2]
    assert twice and any(not torch.equal(one, other) for one, other in twice)


class NoLogits(Strategy):
    """Its loss goes by the features."""

    def loss(self, network: Network, batch: Batch) -> Tensor:
        return network.features(batch["image"]).square().mean()


def test_a_strategy_that_makes_no_logits_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        start(tmp_path, "run", *REPLAY[:2], "--model.strategy=test_error_replay.NoLogits", "--data.stream=Joint") == 1
    )
    assert (
        "ErrorReplay cannot find the errors of NoLogits, because its loss does not compute the logits"
        in capsys.readouterr().err
    )
