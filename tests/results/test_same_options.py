"""A run of an earlier version resumes if no option changes its behaviour; otherwise the option is named."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from command_line import fit, start
from small_comparison import OFF, results_of, words, write_config
from trial_strategies import LaterVersion

from lightning_vision.cli import main
from lightning_vision.errors import CheckpointError
from lightning_vision.learning.checkpoints import find_checkpoint, read_checkpoint
from lightning_vision.results.same_options import check_same_options, defaults_of, with_earlier_defaults
from lightning_vision.results.schema import read_results

RESUME = "--ckpt_path=last"
LATER = "--model.strategy=trial_strategies.LaterVersion"
NOW = {"seed": None, "over": "new", "added": 0.5}


def config(options: Mapping[str, Any] | None, **more: Any) -> dict[str, Any]:
    """A configuration with these options of the strategy, and more of the model."""
    component = {"class_path": "trial_strategies.LaterVersion"} | ({} if options is None else {"init_args": options})
    return {"model": {"strategy": component, **more}}


def compare(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> list[str]:
    """What is kept of the strategy's options."""
    return [str(kept) for kept in check_same_options(config(before), config(now), Path("runs/x"))]


class TestCheckSameOptions:
    def test_differing_options_are_named_with_both_values(self) -> None:
        before = {"trainer": {"max_epochs": 3}, "model": {"backbone": "resnet18"}, "wandb": {"mode": "online"}}
        now = {
            "trainer": {"max_epochs": 4},
            "model": {"backbone": "resnet18", "compile": True},
            "wandb": {"mode": None},
        }
        with pytest.raises(CheckpointError) as error:
            check_same_options(before, now, Path("runs/x"))
        assert "  trainer.max_epochs: 3 then, 4 now\n" in str(error.value)
        assert (
            "  model.compile: False then, True now (the option did not exist then; to resume, give --model.compile=false)"
            in str(error.value)
        )
        assert "backbone" not in str(error.value)
        assert "wandb" not in str(error.value)

    def test_many_differing_options_are_counted(self) -> None:
        with pytest.raises(CheckpointError, match=r"and 5 more"):
            check_same_options({f"key{n}": 0 for n in range(25)}, {f"key{n}": 1 for n in range(25)}, Path("runs/x"))

    def test_an_option_that_was_not_there_had_its_present_default(self) -> None:
        before, now = config({"seed": None, "over": "new"}), config(NOW, label_smoothing=0.0, compile=False)
        now["trainer"] = {"reload_dataloaders_every_n_epochs": 0, "max_epochs": None, "limit_test_batches": None}
        now["data"] = {"class_path": "nowhere.Data", "init_args": {"views": None}}
        before |= {"data": {"class_path": "nowhere.Data"}, "trainer": {}}
        assert check_same_options(before, now, Path("runs/x")) == []
        with pytest.raises(
            CheckpointError, match=r"strategy.init_args.added: 0.5 then, 0.7 now \(the option did not exist then"
        ):
            compare({"seed": None, "over": "new"}, {**NOW, "added": 0.7})

    def test_or_what_its_class_says(self) -> None:
        for before in ({"seed": None}, None):
            with pytest.raises(CheckpointError, match=r"'all' then, 'new' now .* give --model\.strategy\.over=all\)"):
                compare(before, NOW)
        assert compare({"seed": None}, {**NOW, "over": "all"}) == []

    def test_what_was_written_outlives_a_changed_default_and_nothing_else(self) -> None:
        kept = "model.strategy.seed: 0, as in the run; the default is now None"
        assert compare({**NOW, "seed": 0}, NOW) == [kept]
        for before, now in ((5, None), (0, 5), (None, 0)):
            with pytest.raises(CheckpointError, match=f"seed: {before} then, {now} now"):
                compare({**NOW, "seed": before}, {**NOW, "seed": now})

    def test_an_option_that_is_gone(self) -> None:
        assert compare({**NOW, "gone": 1, "unset": None}, NOW) == []
        for name in ("gone", "other"):
            with pytest.raises(CheckpointError, match=f"{name}: 2 then, None now .this version has no such option"):
                compare({**NOW, name: 2}, NOW)

    def test_another_class_is_not_compared_option_by_option(self) -> None:
        other = {"model": {"strategy": {"class_path": "strategies.HeadOnly"}}}
        with pytest.raises(
            CheckpointError, match=r"strategies.HeadOnly' then, 'trial_strategies.LaterVersion' now"
        ) as e:
            check_same_options(other, config(NOW), Path("runs/x"))
        assert "added" not in str(e.value)

    def test_in_lists_of_components(self) -> None:
        before, now = ({"trainer": {"callbacks": [config(options)["model"]["strategy"]]}} for options in ({}, NOW))
        with pytest.raises(CheckpointError, match=r"trainer.callbacks.0.init_args.over: 'all' then, 'new' now"):
            check_same_options(before, now, Path("runs/x"))
        with pytest.raises(CheckpointError, match=r"trainer.callbacks.0: None then, "):
            check_same_options({"trainer": {"callbacks": []}}, now, Path("runs/x"))

    def test_defaults_are_found_where_an_option_is_handed_on(self) -> None:
        class Handing(LaterVersion):
            def __init__(self, own: int = 1, **more: Any) -> None:
                super().__init__(**more)

        assert defaults_of(Handing) == {"own": 1, **NOW}


def test_what_a_configuration_could_not_know_is_filled_in() -> None:
    known = config({"seed": 3})["model"]["strategy"]
    assert with_earlier_defaults({"callbacks": [known], "root": "x"}) == {
        "callbacks": [{**known, "init_args": {"seed": 3, "over": "all"}}],
        "root": "x",
    }
    absent = {"class_path": "nowhere.Data", "init_args": {"views": None}}
    assert with_earlier_defaults(absent) == absent


def rewrite(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what a run's config.yaml says."""
    path = run / "config.yaml"
    written = yaml.safe_load(path.read_text())
    change(written)
    path.write_text(yaml.safe_dump(written))


def make_older(written: dict[str, Any]) -> None:
    """Take out what a version before could not know."""
    del written["model"]["label_smoothing"], written["data"]["init_args"]["views"], written["trainer"]["detect_anomaly"]


class TestFit:
    @pytest.fixture
    def older(self, tmp_path: Path) -> Path:
        """A run of an earlier version: it stopped after the base."""
        run = fit(tmp_path, "run", LATER, "--model.strategy.seed=0", "--stop_after=0")

        def change(written: dict[str, Any]) -> None:
            make_older(written)
            del written["model"]["strategy"]["init_args"]["added"]

        rewrite(run, change)
        return run

    def test_the_same_command_resumes_with_the_recorded_options(
        self, older: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert start(older.parent, "run", LATER, RESUME) == 0
        said = capsys.readouterr().out
        assert "Keeping model.strategy.seed: 0, as in the run; the default is now None." in said
        results = read_results(older / "results.json")
        assert results.run.complete and results.run.strategy.init_args == {"seed": 0, "over": "new", "added": 0.5}
        written = yaml.safe_load((older / "config.yaml").read_text())
        assert written["model"]["strategy"]["init_args"]["seed"] == 0 and written["model"]["label_smoothing"] == 0.0
        assert main(["validate", "--ckpt_path", str(older), "--trust_run"]) == 0

    def test_a_default_that_changes_something_is_refused_until_it_is_given(
        self, older: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        rewrite(older, lambda written: written["model"]["strategy"]["init_args"].pop("over"))
        assert start(older.parent, "run", LATER, RESUME) == 1
        assert "to resume, give --model.strategy.over=all" in capsys.readouterr().err
        assert start(older.parent, "run", LATER, RESUME, "--model.strategy.seed=3") == 1
        assert "model.strategy.init_args.seed: 0 then, 3 now" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["test", "predict"])
def test_a_checkpoint_that_could_not_know_an_option_is_evaluated(older_lwf: Path, command: str) -> None:
    """A new option whose default changes what a strategy does, as LwF's cross entropy."""
    before = read_results(older_lwf / "results.json").test_accuracy
    assert main([command, "--ckpt_path", str(older_lwf)]) == 0
    assert read_results(older_lwf / "results.json").test_accuracy == before


@pytest.fixture(scope="module")
def older_lwf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose configuration and checkpoint do not know LwF's option."""
    run = fit(tmp_path_factory.mktemp("older"), "run", "--model.strategy=LwF", "--model.strategy.cross_entropy=seen")
    rewrite(run, lambda written: written["model"]["strategy"]["init_args"].pop("cross_entropy"))
    path = find_checkpoint(run)
    checkpoint = read_checkpoint(path)
    del checkpoint["hyper_parameters"]["strategy"]["init_args"]["cross_entropy"]
    torch.save(checkpoint, path)
    return run


def test_a_comparison_takes_cells_and_bases_of_an_earlier_version(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_config(tmp_path)
    assert main(words(folder, "out", "--strategies", "HeadOnly", OFF)) == 0
    out = folder / "out"
    (base,), (cell,) = (out / "bases").iterdir(), (out / "runs").iterdir()
    base = base.rename(base.with_name("base-seed=0-0123abcd"))  # the hash of its options then
    for run in (base, cell):
        rewrite(run, make_older)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("results.json")}
    capsys.readouterr()
    assert main(words(folder, "out", "--strategies", "HeadOnly", "NearestMean", OFF)) == 0
    assert "Ran 1 run in" in capsys.readouterr().out, "the new cell alone"
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert list(results_of(out, "bases")) == [base.name]
    assert "label_smoothing" not in (out / "report" / "report.html").read_text(), "no difference between the methods"
    new = results_of(out)["NearestMean-seed=0"]
    assert f"bases/{base.name}/" in str(new.base.from_checkpoint)
    assert main(words(folder, "out", "--strategies", "HeadOnly", "--model.label_smoothing=0.1", OFF)) == 2
    assert "model.label_smoothing: 0.0 then, 0.1 now (the option did not exist then" in capsys.readouterr().err
