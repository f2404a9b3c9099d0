"""The accuracy along an online stream: what it is, what it costs, and that training does not notice it."""

import csv
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import QUICK, fit, weights_of
from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_vision.cli import main
from lightning_vision.results.schema import Results, read_results, without_measurements

ER = (
    "--data.stream=ClassIncremental",
    "--data.stream.experiences=3",
    "--data.noise=60",
    "--data.per_class=16",
    "--data.batch_size=4",
    "--data.val_fraction=0",
    "--model.strategy=ER",
    "--model.strategy.memory_size=10",
    "--model.strategy.memory_batch_size=4",
    "--model.strategy.cross_entropy=seen",  # over all classes the few test images give only three accuracies
    "--trainer.max_epochs=1",
)
ONLINE = ("--data.stream.online=true", "--data.stream.evaluate_every=1", "--data.stream.evaluate_images=null")


class Terminated(Callback):
    """Sends its own process SIGTERM after a batch of experience 1."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if "TERMINATE" in os.environ and pl_module.experience.index == 1 and batch_idx == 2:
            os.kill(os.getpid(), signal.SIGTERM)


def ends(results: Results) -> list[int]:
    """The number of batches up to the end of each experience."""
    counts = [-(-record.train_samples // 4) for record in results.experiences]
    return [sum(counts[: t + 1]) for t in range(len(counts))]


@pytest.fixture(scope="module")
def online(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(
        tmp_path_factory.mktemp("online"),
        "online",
        *ER,
        *ONLINE,
        "--trainer.callbacks=test_anytime_accuracy.Terminated",
    )


def test_the_measurement_after_the_last_batch_is_the_evaluation_after_the_experience(online: Path) -> None:
    results = read_results(online / "results.json")
    measured = results.anytime_accuracy
    assert measured is not None and len(measured) == ends(results)[-1] and results.anytime_every == 4
    assert [measured[end - 1] for end in ends(results)] == results.seen_accuracy
    assert len(set(measured)) > 3, "it changes on the way"
    known = [value for value in measured if value is not None]
    assert results.average_anytime_accuracy == pytest.approx(sum(known) / len(measured))


def test_training_does_not_notice_the_measurements(online: Path, tmp_path: Path) -> None:
    plain = fit(tmp_path, "plain", *ER)
    mine, others = weights_of(online), weights_of(plain)
    assert mine.keys() == others.keys() and all(torch.equal(mine[key], others[key]) for key in mine)
    one, other = (read_results(run / "results.json") for run in (online, plain))
    assert other.anytime_accuracy is None and other.average_anytime_accuracy is None and other.anytime_every is None
    assert one.accuracy_matrix == other.accuracy_matrix
    for a, b in zip(one.experiences, other.experiences, strict=True):
        assert a.backbone_images == b.backbone_images, "the cost of learning is without them"
        assert a.evaluation.images > b.evaluation.images
        assert (a.evaluation.backbone_images or 0) > (b.evaluation.backbone_images or 0)


def test_each_measurement_is_logged_at_its_step(online: Path) -> None:
    with (online / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["online/accuracy"]]
    results = read_results(online / "results.json")
    assert [float(row["online/accuracy"]) for row in rows] == results.anytime_accuracy
    assert [int(row["stream/step"]) for row in rows] == list(range(ends(results)[-1]))


def test_a_run_that_stops_within_an_experience_keeps_its_measurements(
    online: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("fit", *QUICK, *ER, *ONLINE, "--trainer.callbacks=test_anytime_accuracy.Terminated")
    place = (f"--trainer.default_root_dir={tmp_path}", "--run_name=online", "--ckpt_path=last")
    monkeypatch.setenv("TERMINATE", "1")
    assert main([*words, *place]) == 128 + signal.SIGTERM
    assert len(read_results(tmp_path / "online" / "results.json").experiences) == 1
    monkeypatch.delenv("TERMINATE")
    assert main([*words, *place]) == 0
    again, whole = (read_results(folder / "results.json") for folder in (tmp_path / "online", online))
    assert without_measurements(again) == without_measurements(whole)
    costs = [[record.evaluation.images for record in found.experiences] for found in (again, whole)]
    assert costs[0] == costs[1]


def test_a_base_is_learned_before_the_online_stream_and_a_closed_form_is_measured(tmp_path: Path) -> None:
    base = ("--model.base_epochs=2", "--model.strategy=NearestMean", "--data.stream.experiences=3")
    run = fit(tmp_path, "means", *ONLINE, *base, "--data.per_class=8", "--data.batch_size=4", "--trainer.max_epochs=7")
    results = read_results(run / "results.json")
    batches = [-(-record.train_samples // 4) for record in results.experiences]
    assert results.anytime_accuracy is not None and len(results.anytime_accuracy) == sum(batches[1:])
    assert results.anytime_accuracy[-1] == results.seen_accuracy[-1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--trainer.max_epochs=3",), "expected trainer.max_epochs: 1, found 3"),
        (("--model.strategy=Retrain",), "Retrain learns the data of all experiences so far again"),
        (("--model.strategy=LinearProbeThenFineTune",), "LinearProbeThenFineTune with these recipes has 2 stages"),
        (("--data.sampler=balanced",), "data.sampler=balanced repeats the images of small classes"),
        (("--data.stream.evaluate_every=1000",), "its accuracy would never be measured. Expected at most"),
        (("--data.stream.evaluate_every=0",), "evaluate_every must be at least 1, or null, not 0"),
        (
            ("--model.strategy.memory_size=1",),
            "the memory has 1 places, fewer than the 4 images that each batch takes from it",
        ),
    ],
)
def test_what_would_learn_from_an_image_twice_is_refused(
    options: Sequence[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without = ER if "--model.strategy=" not in options[0] else (*ER[:6], "--trainer.max_epochs=1")
    place = (f"--trainer.default_root_dir={tmp_path}", "--run_name=refused")
    assert main(["fit", *QUICK, *without, *ONLINE, *options, *place]) == 2
    assert words in " ".join(capsys.readouterr().err.split())
