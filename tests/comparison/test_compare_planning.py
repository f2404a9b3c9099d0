"""The subcommand compare: what it plans, what it refuses, and a cell that fails."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_comparison import OFF, results_of, words, write_config

from lightning_vision.cli import main
from lightning_vision.comparison.options import read_options
from lightning_vision.comparison.plan import Plan, make_plan


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp("compare"))


def test_axes_conditions_and_a_dry_run_that_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    axis = ("--axis", "data.batch_size=8,16", "--skip", "strategy=RanPAC,data.batch_size=16")
    assert main(words(folder, "dry", "--strategies", "HeadOnly", "RanPAC", *axis, "--dry_run")) == 0
    said = capsys.readouterr().out
    assert "HeadOnly-batch_size=16-seed=0" in said and "RanPAC-batch_size=8-seed=0" in said
    assert "RanPAC-batch_size=16" not in said
    assert "3 cells and 2 bases" in said, "the batch size moves the base"
    assert not (folder / "dry").exists()


def test_an_axis_of_a_strategy_does_not_move_the_base(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    axis = ("--axis", "model.strategy.epsilon=[0.1],[0.01]", "model.optimizer.lr=0.1,0.01")
    base = "--model.base_optimizer=torch.optim.AdamW"
    assert main(words(folder, "dry", base, "--model.optimizer=torch.optim.SGD", *axis, "--dry_run")) == 0
    assert "4 cells and 1 base;" in capsys.readouterr().out


@pytest.mark.parametrize("more", [(), ("--data=Digits", "--data.stream=null")], ids=["stream given", "default stream"])
def test_a_seed_that_is_not_parsed_gives_the_options_of_one_that_is(folder: Path, more: tuple[str, ...]) -> None:
    """The options of the first seed are read, and those of the others derived from them."""

    def plan(*seeds: str) -> Plan:
        strategies = ("--strategies", "HeadOnly", "MoveToData", "--seeds", *seeds)
        return make_plan(read_options(words(folder, "seeds", *strategies, *more)[1:]))

    derived, read = plan("0", "1"), plan("1")
    for runs, alone in ((derived.cells, read.cells), (derived.bases, read.bases)):
        assert [run for run in runs if run.seed == 1] == alone
        assert {
            (run.config["seed_everything"], run.config["data"]["init_args"]["stream"]["init_args"]["seed"])
            for run in runs
        } == {
            (0, 0),
            (1, 1),
        }


def test_the_upper_bound_of_an_online_stream_learns_offline_from_the_same_base(folder: Path) -> None:
    online = ("--data.stream.online=true", "--data.stream.evaluate_every=2", "--trainer.max_epochs=1")
    plan = make_plan(
        read_options(words(folder, "online", "--strategies", "HeadOnly", "--bounds", "true", *online, OFF)[1:])
    )
    streams = {cell.method: cell.config["data"]["init_args"]["stream"]["init_args"] for cell in plan.cells}
    assert {method: stream["online"] for method, stream in streams.items()} == {
        "HeadOnly": True, "FullFineTune": True, "Retrain": False,
    }  # fmt: skip
    assert streams["Retrain"]["evaluate_every"] is None and len(plan.bases) == 1
    assert any("Retrain, the upper bound, learns the stream offline" in remark for remark in plan.remarks)
    (alone,) = make_plan(read_options(words(folder, "alone", "--strategies", "Retrain", *online, OFF)[1:])).cells
    assert alone.config["data"]["init_args"]["stream"]["init_args"]["online"], "refused by the run, as it was asked for"


def test_a_strategy_with_a_network_of_its_own_has_a_base_of_its_own(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = ["HeadOnly", {"small": {"model.strategy": "HeadOnly", "model.optimizer": "torch.optim.SGD"}},
               {"other": {"model.strategy": "HeadOnly", "model.backbone": "test_vit", "data.image_size": 160}},
               {"raw": {"model.strategy": "HeadOnly", "model.pixel_mean": 0, "model.pixel_std": 1}}]  # fmt: skip
    config = folder / "entries.yaml"
    config.write_text(yaml.safe_dump({"compare": {"strategies": entries}}))
    assert main([*words(folder, "dry"), "--config", str(config), "--dry_run"]) == 0
    assert "4 cells and 3 bases" in capsys.readouterr().out


def test_a_config_of_a_strategy_that_says_how_its_base_is_trained_has_a_base_of_its_own(folder: Path) -> None:
    """As settings do: they would start from the base of the others otherwise, and be compared without what they ask for."""
    parts: dict[str, dict[str, Any]] = {"adapted": {"model": {"base_strategy": "HeadOnly", "base_epochs": 1}}, "small": {"data": {"batch_size": 4}}, "other": {}}  # fmt: skip
    paths = []
    for name, part in parts.items():
        model = {"strategy": "HeadOnly", "optimizer": "torch.optim.SGD"} | part.get("model", {})
        paths.append(folder / f"{name}.yaml")
        paths[-1].write_text(yaml.safe_dump(part | {"model": model}))
    entries: list[Any] = [
        "HeadOnly",
        {"set": {"model.strategy": "HeadOnly", "model.base_strategy": "HeadOnly", "model.base_epochs": 1}},
    ]
    entries += [{path.stem: {"config": str(path)}} for path in paths]
    config = folder / "bases.yaml"
    config.write_text(yaml.safe_dump({"compare": {"strategies": entries}}))
    plan = make_plan(read_options([*words(folder, "bases", OFF), "--config", str(config)][1:]))
    bases, of = {base.name: base.config for base in plan.bases}, {cell.label: cell.base or "" for cell in plan.cells}
    assert len(bases) == 3 and of["HeadOnly"] == of["other"] and of["set"] == of["adapted"]
    trained = {label: (bases[name]["model"]["base_strategy"], bases[name]["model"]["base_epochs"], bases[name]["data"]["init_args"]["batch_size"]) for label, name in of.items()}  # fmt: skip
    strategy, epochs, batch = trained["adapted"]
    assert (strategy["class_path"], epochs, batch) == ("strategies.HeadOnly", 1, trained["HeadOnly"][2])
    assert trained["small"] == (None, 2, 4) and trained["HeadOnly"][:2] == (None, 2)


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (("--axis", "data.imagesize=1,2"), "image_size"),
        (("--axis", "data.image_size=32,large"), "large"),
        (("--strategies", "HeadOnyl"), "HeadOnly"),
        (("--seeds", *map(str, range(400)), "--axis", "data.batch_size=" + ",".join(map(str, range(1, 26)))), "10,000 cells"),
        (("--skip", "seed=0"), "No cell is left"),
        (("--executor_options", "{gpus: 1}"), "the executor here has none"),
        (("--workers", "2", "--no_such_option", "1"), "no_such_option"),
    ],
)  # fmt: skip
def test_a_mistake_is_found_before_anything_runs(
    more: tuple[str, ...], text: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(folder, "mistake", *more, OFF)) == 2
    assert text in capsys.readouterr().err
    assert not (folder / "mistake" / "runs").exists()


def test_a_failed_cell_is_kept_with_its_error_and_stops_no_other(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strategies = ("--strategies", "HeadOnly", "failing_strategies.MemoryIsFull", "NearestMean")
    assert main(words(folder, "failing", *strategies, OFF)) == 1
    said = capsys.readouterr().out
    assert "failed (exit code 1): The memory is full" in said and "the same command runs them again" in said
    assert list(json.loads((folder / "failing" / "failed.json").read_text())) == ["MemoryIsFull-seed=0"]
    cells = results_of(folder / "failing")
    assert cells["HeadOnly-seed=0"].run.complete and cells["NearestMean-seed=0"].run.complete
    assert not cells["MemoryIsFull-seed=0"].run.complete, "its base is kept"
    assert (folder / "failing" / "report" / "report.html").is_file()
