"""Options that are chosen on the validation images of the first experiences: what is seen, what is chosen, what is said."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from small_comparison import OFF, results_of, words, write_config

from lightning_vision.cli import main
from lightning_vision.data.datasets import SampleDataset
from lightning_vision.results.schema import read_results, without_measurements

TUNE = ("--tune", "model.optimizer.lr=1e-5,1e-2", "--tune_on", "2")
ASKED = ("--strategies", "FullFineTune", "--seeds", "0", "1", *TUNE, OFF)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp("tuning"))


@pytest.fixture(scope="module")
def done(folder: Path) -> Path:
    assert main(words(folder, "done", *ASKED)) == 0
    return folder / "done"


def test_each_cell_gets_the_value_that_was_best_in_its_trials(done: Path) -> None:
    tuning = json.loads((done / "tuning.json").read_text())
    assert tuning["tune_on"] == 2 and len(tuning["cells"]) == 2
    trials, cells = results_of(done, "tuning"), results_of(done)
    for cell in tuning["cells"]:
        by_value = {tried["settings"]["model.optimizer.lr"]: tried["accuracy"] for tried in cell["tried"]}
        assert list(by_value) == [1e-5, 1e-2]
        best = max(by_value, key=lambda value: by_value[value])
        assert cell["picked"] == {"model.optimizer.lr": best}
        name = f"{cell['method']}-seed={cell['seed']}"
        config = yaml.safe_load((done / "cells" / f"{name}.yaml").read_text())
        assert float(config["model"]["optimizer"]["init_args"]["lr"]) == best
        assert cells[name].run.complete and cells[name].run.tune_on is None
        tried = [trials[f"{name}-trial={number}"] for number in (0, 1)]
        assert [each.average_accuracy for each in tried] == list(by_value.values())
        assert all(len(each.experiences) == 2 and each.run.tune_on == 2 for each in tried)
        assert [each["steps"] for each in cell["tried"]] == [sum(r.steps or 0 for r in t.experiences) for t in tried]
        assert [each["images"] for each in cell["tried"]] == [t.totals.backbone_images for t in tried]


def test_the_trials_are_in_the_report_and_not_in_the_ranking(done: Path) -> None:
    page = (done / "report" / "report.html").read_text(encoding="utf-8")
    assert "validation images of the first 2 experiences" in page and 'id="tuning-1"' in page
    assert len(pd.read_csv(done / "report" / "ranking.csv")) == 1
    table = pd.read_csv(done / "report" / "tuning.csv")
    assert len(table) == 4 and table["picked"].sum() == 2
    assert "could not be used" not in page
    assert "tuning, 4 trials" in page and "model.optimizer.lr: 1e-05, 0.01" in page


def test_no_test_image_and_no_later_experience_is_touched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows that trials open are of training and validation images of the first two experiences."""
    opened: dict[int, Any] = {}
    original = SampleDataset.__getitem__

    def spy(self: SampleDataset, draw: Any) -> Any:
        found = original(self, draw)
        opened[int(found["index"])] = int(found["experience"])
        return found

    monkeypatch.setattr(SampleDataset, "__getitem__", spy)
    base = ["fit", "--config", str(folder / "config.yaml"), f"--trainer.default_root_dir={folder}", OFF]
    assert main([*base, "--run_name=trial", "--tune_on=2", "--model.strategy=FullFineTune"]) == 0
    with np.load(folder / "trial" / "predictions.npz") as file:
        tested, part = set(file["index"].tolist()), set(file["part"].tolist())
    assert part == {0, 1} and tested <= set(opened)
    monkeypatch.undo()
    whole = main([*base, "--run_name=whole", "--model.strategy=FullFineTune"])
    assert whole == 0
    with np.load(folder / "whole" / "predictions.npz") as file:
        test_rows = set(file["index"].tolist())
    assert not test_rows & set(opened) and set(opened.values()) == {0, 1}


def test_the_same_command_runs_nothing_again(done: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in done.rglob("results.json")}
    tuning = (done / "tuning.json").read_text()
    assert main(words(folder, "done", *ASKED)) == 0
    assert "Ran " not in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in done.rglob("results.json")}
    assert tuning == (done / "tuning.json").read_text()
    assert main(["compare", "--config", str(done / "comparison.yaml"), "--dry_run", OFF]) == 0
    assert "remaining: 0 images" in capsys.readouterr().out


def test_trials_of_earlier_calls_stay_in_the_report(
    done: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As their cells do; the totals had the cost of the last call's alone."""
    shutil.copytree(done, folder / "more")
    more = ("--strategies", "HeadOnly", "--seeds", "0", OFF)
    assert main(words(folder, "more", *more, *TUNE[:2], "--tune_on", "3")) == 2
    said = capsys.readouterr().err
    assert "--tune_on 3: FullFineTune, seed 0, was tuned on the first 2 experiences" in said
    assert main(words(folder, "more", *more, "--tune", "data.batch_size=8")) == 0
    before, now = (json.loads((at / "tuning.json").read_text()) for at in (done, folder / "more"))
    assert now["cells"][:2] == before["cells"] and [cell["method"] for cell in now["cells"][2:]] == ["HeadOnly"]
    assert now["options"] == ["model.optimizer.lr", "data.batch_size"]
    table = pd.read_csv(folder / "more" / "report" / "tuning.csv")
    assert len(table) == 5 and table["data.batch_size"].notna().sum() == 1
    assert "tuning, 5 trials" in (folder / "more" / "report" / "ranking.md").read_text()


def test_a_trial_is_deterministic(done: Path, folder: Path) -> None:
    name = "FullFineTune-seed=0-trial=1"
    config = str(done / "cells" / f"{name}.yaml")
    assert main(["fit", "--config", config, f"--trainer.default_root_dir={folder}", "--run_name=again"]) == 0
    one, other = (without_measurements(read_results(at / "results.json")) for at in (done / "tuning" / name, folder / "again"))  # fmt: skip
    for each in (one, other):
        del each["run"]["name"]
    assert one == other


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--tune", "model.optimizer.no_such=1,2"), "no_such"),
        (("--tune", "model.optimizer.lr=fast,slow"), "fast"),
        (("--tune", "model.optimizer.lr"), "--tune: expected KEY=VALUE,VALUE"),
        (("--tune", "model.optimizer.lr=1,1"), "expected different values"),
        (
            ("--tune", "data.stream.experiences=2,3"),
            "expected an option of the model, the trainer or the training data",
        ),
        (("--tune", "data.test_fraction=0.1,0.2"), "expected an option of the model"),
        ((*TUNE[:2], "--tune_on", "0"), "--tune_on: expected a number of experiences, from 1 on, found 0"),
        ((*TUNE[:2], "--tune_on", "1"), "experience 0 is the base"),
        ((*TUNE[:2], "--tune_on", "4"), "expected at most the 3 experiences of the stream, found 4"),
        ((*TUNE, "--axis", "model.optimizer.lr=1,2"), "the axis model.optimizer.lr sets it too"),
        (("--budget", "steps=1", "--budget", "kwh=1"), "expected one of steps=N and kwh=X, found steps=1 and kwh=1"),
        (("--budget", "steps=0"), "expected steps=N"),
    ],
)
def test_what_cannot_be_tuned(
    options: tuple[str, ...], text: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(folder, "refused", "--strategies", "HeadOnly", *options, OFF)) == 2
    assert text in capsys.readouterr().err
    assert not (folder / "refused").exists()
