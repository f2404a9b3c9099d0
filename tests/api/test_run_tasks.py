"""What is done with a run's classifier: test, explain, export, learn; the files are those of the subcommands."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import fit

import lightning_vision as lv
from lightning_vision.cli import main
from lightning_vision.results.schema import without_measurements
from lightning_vision.testing.squares import ColouredSquares
from strategies import MoveToData

OPTIONS = ("--data.per_class=120", "--data.noise=150", "--data.batch_size=32", "--model.base_epochs=2")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(tmp_path_factory.mktemp("api"), "run", "--model.strategy=MoveToData", "--keep_checkpoints=all", *OPTIONS)


@pytest.fixture
def path(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def test_test_does_what_the_subcommand_does(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    twin = shutil.copytree(path, tmp_path / "twin" / "run")
    before = lv.open_run(path).results
    tested = lv.open_run(path).test(calibrate=True, coverage=0.9)
    assert capsys.readouterr().out == ""
    assert tested.scores == before.test and tested.scores.accuracy == before.test_accuracy[-1]
    assert main(["test", "--ckpt_path", str(twin), "--calibrate", "true", "--coverage", "0.9"]) == 0
    printed = capsys.readouterr().out
    ours, theirs = (json.loads((run / "trust" / "trust.json").read_text()) for run in (path, twin))
    for found in (ours, theirs):
        del found["checkpoint"]
    assert ours == theirs
    assert tested.assessed is not None and tested.assessed.page == path / "trust" / "trust.html"
    for line in tested.lines:
        assert line.replace(str(path), str(twin)) in printed
    html = tested._repr_html_()
    assert "Temperature" in html and "macro F1" in html and "Temperature" in printed
    after = lv.open_run(path).results
    assert without_measurements(after) == without_measurements(before)


def test_explain_writes_the_page_and_shows_its_figures(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    explained = lv.open_run(path).explain(n=3, measured=10, neighbours=5, pairs=1, correct=2)
    assert capsys.readouterr().out == ""
    assert explained.page == path / "explain" / "explain.html" and explained.page.is_file()
    assert all(gallery.is_file() for gallery in explained.galleries.values())
    assert list(explained.figures) == list(explained.galleries)
    for figure in explained.figures.values():
        assert figure.axes
    assert explained.measured is not None and len(explained.measured) == 10
    assert max(len(section.cases) for section in explained.sections if section.key == "most-confident-errors") <= 3


def test_export_gives_the_file_and_its_card(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exported = lv.open_run(path).export("pt2", check_images=5)
    assert capsys.readouterr().out == ""
    assert exported.path == path / "export" / "run.pt2" and exported.path.is_file()
    assert exported.card is not None and exported.card.is_file() and exported.difference.agreement == 1
    assert f"Model card: {exported.card}" in repr(exported)


def test_new_data_is_learned_from_where_the_run_ended(path: Path) -> None:
    run = lv.open_run(path)
    new = ColouredSquares(seed=3, noise=100, stream=lv.InstanceIncremental(experiences=2, base_fraction=0))
    quick = {"trainer": {"accelerator": "cpu", "devices": 1}, "wandb": "disabled", "energy": False, "progress": False}
    learned = run.learn(new, strategy=MoveToData(epsilon=[1e-3, 1e-2]), name="today", **quick)
    assert learned.path == path.parent / "today" and learned.complete
    assert learned.results.base.from_checkpoint is not None and str(path) in learned.results.base.from_checkpoint
    assert learned.results.network.backbone == run.results.network.backbone
    # Before it learns anything it predicts what the run did.
    loaded = run.predict(torch.stack([new.image(int(row)) for row in learned.predictions["index"]]))
    right = loaded["predicted"].to_numpy() == learned.predictions["true"].to_numpy()
    assert learned.results.initial_accuracy == pytest.approx(np.mean(right))
    again = learned.learn(new, strategy="NearestMean", name="tomorrow", **quick)
    assert again.complete and again.path == path.parent / "tomorrow"


def test_a_run_of_this_process_is_used_as_it_is(tmp_path: Path) -> None:
    """Its optimizer is a lambda: config.yaml alone could not build it."""
    made = lv.fit(
        ColouredSquares(), "HeadOnly", backbone="test_resnet", pretrained=False, max_epochs=1, root=tmp_path, name="mine",
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1), trainer={"accelerator": "cpu"},
        wandb="disabled", energy=False, progress=False,
    )  # fmt: skip
    assert list(made.config.not_written) == ["model.optimizer"]
    known = made.predictions
    images = torch.stack([ColouredSquares().image(int(row)) for row in known["index"]])
    for run in (made, lv.open_run(made.path)):
        np.testing.assert_allclose(run.predict(images)["confidence"], known["confidence"], rtol=1e-5)
    assert made.test().scores == made.results.test
    assert made.export(check_images=2).path.is_file()


def test_options_that_do_not_exist_and_runs_that_finished_nothing(path: Path) -> None:
    run = lv.open_run(path)
    with pytest.raises(lv.ConfigError, match=r"Expected one of the options method, .*, found 'methods'"):
        run.explain(methods="CAM")
    with pytest.raises(lv.ConfigError, match=r"Expected one of the options format, .*, found 'opsets'"):
        run.export(opsets=17)
    wrong: list[tuple[Callable[[], Any], str]] = [
        (lambda: run.explain(split="tests"), r"split: expected one of test, val, train, found 'tests'"),
        (lambda: run.explain(n="all"), r"errors: expected int, found 'all'"),  # type: ignore[arg-type]
        (lambda: run.export("torchscript"), r"format: expected one of onnx, pt2, pte, found 'torchscript'"),  # type: ignore[arg-type]
        (lambda: run.test(calibrate="no"), r"calibrate: expected bool, found 'no'"),  # type: ignore[arg-type]
        (lambda: run.test(coverage="most"), r"coverage: expected float or None, found 'most'"),  # type: ignore[arg-type]
    ]
    for attempt, message in wrong:
        with pytest.raises(lv.ConfigError, match=message):
            attempt()
    with pytest.raises(lv.ConfigError, match=r"coverage.*risk"):
        run.test(coverage=0.9, risk=0.1)
    with pytest.raises(lv.ConfigError, match=r"open_run\(.*\)\.learn"):
        lv.Run(path).learn(ColouredSquares())
    for name in (path / "checkpoints").iterdir():
        name.unlink()
    for call in (run.classifier, run.test, run.export, run.explain, lambda: run.learn(ColouredSquares())):
        with pytest.raises(lv.CheckpointError, match="at least one finished experience"):
            call()
