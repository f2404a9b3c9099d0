"""The subcommand compare: shared bases, runs that are not run twice, kills that lose nothing."""

import json
import re
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fork_server import ForkServer
from small_comparison import OFF, results_of, words, write_config
from wandb_offline import offline_runs, read_offline_run

from lightning_vision.cli import main
from lightning_vision.results.schema import without_measurements


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp("compare"))


@pytest.fixture(scope="module")
def done(folder: Path) -> Path:
    strategies = ("--strategies", "HeadOnly", "NearestMean", "Retrain", "SynapticIntelligence")
    assert main(words(folder, "done", *strategies, "--seeds", "0", "1", "--wandb.mode=offline")) == 0
    return folder / "done"


def test_the_base_is_trained_once_a_seed(done: Path) -> None:
    bases = results_of(done, "bases")
    assert len(bases) == 2 and all(
        len(base.experiences) == 1 and base.experiences[0].epochs == 2 for base in bases.values()
    )
    cells = results_of(done)
    assert len(cells) == 8
    for name, cell in cells.items():
        own = name.startswith("SynapticIntelligence")  # it follows the base's training
        passes = 1 if name.startswith("NearestMean") else 0  # it is given the base's data, and trains nothing
        assert cell.experiences[0].epochs == (2 if own else passes), name
        assert (cell.base.from_checkpoint is None) == own
        base = next(base for base in bases.values() if base.run.seed == cell.run.seed)
        assert passes or cell.test_accuracy[0] == base.test_accuracy[0], f"{name} starts from another base"


def test_a_seed_moves_the_stream_and_never_the_split(done: Path) -> None:
    cells = list(results_of(done).values())
    assert len({cell.run.split_hash for cell in cells}) == 1
    streams = {seed: {cell.run.stream_hash for cell in cells if cell.run.seed == seed} for seed in (0, 1)}
    assert all(len(hashes) == 1 for hashes in streams.values()) and streams[0] != streams[1]


@pytest.mark.parametrize("strategy", ["HeadOnly", "Retrain"])
def test_a_cell_finds_what_the_run_alone_finds(strategy: str, done: Path, folder: Path) -> None:
    alone = ["fit", "--config", str(folder / "config.yaml"), f"--model.strategy={strategy}", "--seed_everything=1",
             "--data.stream.seed=1", f"--trainer.default_root_dir={folder}", f"--run_name=alone-{strategy}", OFF]  # fmt: skip
    assert main(alone) == 0
    with (
        np.load(folder / f"alone-{strategy}" / "predictions.npz") as expected,
        np.load(done / "runs" / f"{strategy}-seed=1" / "predictions.npz") as found,
    ):
        assert np.array_equal(expected["predicted"], found["predicted"])
        assert np.array_equal(expected["confidence"], found["confidence"])


def test_what_is_done_is_not_run_again(done: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in done.rglob("results.json")}
    more = ("--strategies", "HeadOnly", "NearestMean", "--seeds", "0", "1", "2", "--wandb.mode=offline")
    assert main(words(folder, "done", *more)) == 0
    said = capsys.readouterr().out
    assert "Ran 3 runs" in said, "one base and two cells of the new seed"
    assert before == {path: path.stat().st_mtime_ns for path in before}
    plan = json.loads((done / "comparison.json").read_text())
    assert len(plan["cells"]) == 10 and len(plan["bases"]) == 3, "the cells of the first call stay"
    ranking = pd.read_csv(done / "report" / "ranking.csv")
    assert len(ranking) == 4


def test_comparison_yaml_asks_for_the_same(done: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--config", str(done / "comparison.yaml"), "--dry_run"]) == 0
    said = capsys.readouterr().out
    assert len(re.findall(r"\bdone\b", said)) == 9, "six cells and three bases"
    assert "remaining: 0 images" in said


def test_other_options_are_refused(done: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(folder, "done", "--strategies", "HeadOnly", "--trainer.max_epochs=3", OFF)) == 2
    said = capsys.readouterr().err
    assert "trainer.max_epochs: 2 then, 3 now" in said and "Give another --output" in said


def test_each_cell_is_a_wandb_run_of_the_group(done: Path) -> None:
    cells = [read_offline_run(path) for run in (done / "runs").iterdir() for path in offline_runs(run)]
    assert {cell.group for cell in cells} == {"done"}
    assert {cell.job_type for cell in cells} == {"HeadOnly", "NearestMean", "Retrain", "SynapticIntelligence"}
    assert len(cells) == 10
    whole = [read_offline_run(path) for path in offline_runs(done)]
    assert {run.run_id for run in whole} == {whole[0].run_id} and whole[0].job_type == "comparison"
    assert "comparison/ranking" in whole[0].summary
    assert any("report.html" in files for files in whole[0].artifacts.values())


def test_every_variant_can_be_a_run_of_its_own(folder: Path) -> None:
    strategy = "--model.strategy.epsilon=[0.001,0.1]"
    assert main(words(folder, "variants", strategy, "--log_variants", "runs", "--wandb.mode=offline")) == 0
    (cell,) = results_of(folder / "variants").values()
    place = folder / "variants" / "runs" / cell.run.name / "variants"
    runs = [read_offline_run(path) for each in sorted(place.iterdir()) for path in offline_runs(each)]
    assert [run.config["epsilon"] for run in runs] == [0.001, 0.1]
    for run, variant in zip(runs, cell.variants.values(), strict=True):
        assert run.group == "variants" and run.job_type == "MoveToData"
        assert [row["test/accuracy"] for row in run.history] == variant.test_accuracy
        assert run.axes["test/accuracy"] == "stream/experience"


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_and_resumed_it_gives_the_same_table(workers: int, folder: Path, done: Path, forks: ForkServer) -> None:
    """In a cell; the report is that of a comparison that nothing happened to."""
    executor = () if workers == 1 else ("--executor", "local", "--workers", str(workers))
    strategies = ("HeadOnly", "NearestMean")
    callback = "--trainer.callbacks=interruptions.Interrupt"
    command = words(folder, f"killed-{workers}", "--strategies", *strategies, callback, OFF, *executor)
    log = folder / f"killed-{workers}.log"
    # Experience 1 of the first gradient cell, HeadOnly with seed 0: its second epoch.
    from interruptions import interrupt

    ended = forks.start(command, log, **interrupt("1::1:0")).wait()
    assert ended == (-signal.SIGKILL if workers == 1 else 1), log.read_text()
    state = results_of(folder / f"killed-{workers}")
    cells = len(strategies)
    assert len(state) < cells or not all(cell.run.complete for cell in state.values())
    assert forks.start(command, log).wait() == 0, log.read_text()
    found, expected = (results_of(folder / name) for name in (f"killed-{workers}", "done"))
    assert found.keys() <= expected.keys() and len(found) == cells
    for name, cell in found.items():
        one, other = (without_measurements(each[name]) for each in (found, expected))
        for result in (one, other):
            result["run"].pop("config_hash")  # the callback is an option
            result["base"].pop("from_checkpoint")
        assert one == other, name
        assert cell.run.complete
