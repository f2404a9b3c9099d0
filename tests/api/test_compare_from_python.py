"""Comparisons from Python: the cells of the command line, and those that hold objects no configuration can hold."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from coloured_squares import ColouredSquares
from small_comparison import CONFIG, OFF, results_of
from torchvision.transforms import v2

from lightning_vision import InstanceIncremental
from lightning_vision.api.compare import compare
from lightning_vision.cli import main
from lightning_vision.errors import ConfigError, TrainingError
from lightning_vision.results.schema import Results
from strategies import HeadOnly, LwF, MoveToData, SynapticIntelligence

QUICK: dict[str, Any] = {
    "backbone": "test_resnet",
    "pretrained": False,
    "base_epochs": 2,
    "max_epochs": 2,
    "trainer": {"accelerator": "cpu", "devices": 1},
    "energy": False,
    "wandb": "disabled",
    "progress": False,
}


def squares(**options: Any) -> ColouredSquares:
    return ColouredSquares(stream=InstanceIncremental(experiences=3), **options)


def matrices(results: dict[str, Results]) -> dict[str, Any]:
    return {name: (found.accuracy_matrix, found.run.stream_hash) for name, found in results.items()}


def test_cells_and_bases_are_those_of_the_command_line(tmp_path: Path) -> None:
    strategies: dict[str, Any] = {"move": MoveToData(epsilon=[1e-3]), "HeadOnly": "HeadOnly"}
    axes = {"data.noise": [20.0, 40.0]}
    comparison = compare(squares(), strategies, seeds=[1], axes=axes, output=tmp_path / "python", **QUICK)
    config = CONFIG | {
        "data": {
            "class_path": "lightning_vision.testing.ColouredSquares",
            "init_args": {"stream": {"class_path": "InstanceIncremental", "init_args": {"experiences": 3}}},
        },
        "compare": {
            "strategies": [{"move": {"model.strategy": {"class_path": "MoveToData", "init_args": {"epsilon": [1e-3]}}}}, "HeadOnly"],
            "axes": axes,
        },
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    words = ["--config", str(tmp_path / "config.yaml"), "--seeds", "1", "--output", str(tmp_path / "command"), OFF]
    assert main(["compare", *words]) == 0
    for kind, count in (("runs", 4), ("bases", 2)):
        python, command = results_of(tmp_path / "python", kind), results_of(tmp_path / "command", kind)
        assert len(python) == count and matrices(python) == matrices(command)
    assert set(comparison.runs) == results_of(tmp_path / "command").keys()
    assert len(comparison.ranking) == 4 and comparison.failures == {}
    # The command resumes what Python began: nothing is left to do, nothing differs.
    assert main(["compare", *words[:4], "--output", str(tmp_path / "python"), OFF]) == 0


def test_it_resumes_and_takes_up_more(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    compare(squares(), ["HeadOnly"], output=tmp_path / "c", **QUICK)
    assert capfd.readouterr() == ("", "")
    before = (tmp_path / "c/runs/HeadOnly-seed=0/results.json").read_bytes()
    comparison = compare(squares(), ["HeadOnly", LwF()], output=tmp_path / "c", **QUICK | {"progress": True})
    assert "1 already done" in capfd.readouterr().out
    assert list(comparison.runs) == ["HeadOnly-seed=0", "LwF-seed=0"]
    assert (tmp_path / "c/runs/HeadOnly-seed=0/results.json").read_bytes() == before


def test_what_cannot_be_written_runs_in_this_process(tmp_path: Path) -> None:
    class Mine(HeadOnly):
        """Defined where it cannot be imported."""

    class Follows(SynapticIntelligence):
        """Its base is trained with it."""

    data = squares(train_transforms=[v2.RandomHorizontalFlip()])
    options = QUICK | {"optimizer": lambda p: torch.optim.SGD(p, lr=0.01)}
    strategies = {"mine": Mine(), "follows": Follows()}
    comparison = compare(data, strategies, seeds=[0, 1], output=tmp_path / "c", **options)
    assert comparison.failures == {} and all(run.complete for run in comparison.runs.values())
    assert sorted(comparison.bases) == sorted(path.name for path in (tmp_path / "c/bases").iterdir())
    cells = {row["name"]: row for row in json.loads((tmp_path / "c/comparison.json").read_text())["cells"]}
    assert cells["mine-seed=0"]["base"] and not cells["follows-seed=0"]["base"]
    assert cells["mine-seed=0"]["strategy"] == "Mine"
    found = results_of(tmp_path / "c")
    assert found["mine-seed=0"].run.stream_hash != found["mine-seed=1"].run.stream_hash
    config = (tmp_path / "c/cells/mine-seed=0.yaml").read_text()
    assert "# Cannot be repeated from this file: model.strategy:" in config and "a lambda" in config
    assert main(["fit", "--config", str(tmp_path / "c/cells/mine-seed=0.yaml")]) != 0  # nothing else runs in its place
    before = (tmp_path / "c/runs/mine-seed=0/results.json").read_bytes()
    compare(data, strategies, seeds=[0, 1], output=tmp_path / "c", **options)
    assert (tmp_path / "c/runs/mine-seed=0/results.json").read_bytes() == before


class Fails(HeadOnly):
    """Fails in its first step."""

    def loss(self, network: Any, batch: Any) -> torch.Tensor:
        raise ValueError("as it must")


def test_a_cell_that_fails_leaves_the_others(tmp_path: Path) -> None:
    comparison = compare(squares(), {"fails": Fails(), "head": "HeadOnly"}, output=tmp_path / "c", **QUICK)
    assert list(comparison.failures) == ["fails-seed=0"] and "as it must" in comparison.failures["fails-seed=0"].error
    assert comparison.runs["head-seed=0"].complete
    with pytest.raises(TrainingError, match=r"All cells failed\. fails-seed=0: .*as it must"):
        compare(squares(), {"fails": Fails()}, output=tmp_path / "d", **QUICK)


def test_what_cannot_work_is_refused(tmp_path: Path) -> None:
    options = QUICK | {"output": tmp_path / "c"}
    with pytest.raises(ConfigError, match=r"data.imge_size"):
        compare(squares(), ["HeadOnly"], axes={"data.imge_size": [16, 32]}, **options)
    with pytest.raises(ConfigError, match=r"expected different names, found MoveToData, MoveToData"):
        compare(squares(), [MoveToData([1e-3]), MoveToData([1e-2])], **options)
    with pytest.raises(ConfigError, match=r"compare has no option name, seed, which is for a single run"):
        compare(squares(), ["HeadOnly"], name="run", seed=3, **options)
    with pytest.raises(ConfigError, match=r"axes: model.optimizer: expected values that a configuration can hold"):
        compare(squares(), ["HeadOnly"], axes={"model.optimizer": [lambda p: None]}, **options)
    moved = squares(train_transforms=[v2.RandomHorizontalFlip()])
    with pytest.raises(ConfigError, match=r"axes: data.noise cannot be changed"):
        compare(moved, ["HeadOnly"], axes={"data.noise": [1.0, 2.0]}, **options)
    with pytest.raises(ConfigError, match=r"executor='local' starts processes, which cannot receive data"):
        compare(moved, ["HeadOnly"], executor="local", **options)
    with pytest.raises(ConfigError, match=r"at least one strategy and one seed, found \{\}"):
        compare(squares(), {}, **options)
    with pytest.raises(ConfigError, match=r"strategy: expected a lightning_vision.Strategy"):
        compare(squares(), {"linear": torch.nn.Linear(2, 2)}, **options)  # type: ignore[dict-item]
    refused: list[tuple[dict[str, Any], str]] = [
        ({"strategies": "HeadOnly"}, r"strategies: expected a list of strategies, .* found 'HeadOnly'"),
        ({"strategies": MoveToData()}, r"strategies: expected a list of strategies, .* found MoveToData"),
        ({"strategies": [{"class": "HeadOnly"}]}, r"strategy: expected a mapping with class_path"),
        ({"seeds": 3}, r"seeds: expected numbers, such as range\(3\), found 3"),
        ({"axes": "data.image_size=16"}, r"axes: expected a mapping such as .*, found 'data.image_size=16'"),
        ({"output": None}, r"output: expected a folder, found None"),
    ]
    for wrong, message in refused:
        with pytest.raises(ConfigError, match=message):
            compare(squares(), **{"strategies": ["HeadOnly"]} | options | wrong)
    with pytest.raises(ConfigError, match=r"expected numbers from 0 on"):
        compare(squares(), ["HeadOnly"], seeds=[-1], **options)
    assert not (tmp_path / "c").exists()


def test_the_optimizer_as_an_axis(tmp_path: Path) -> None:
    optimizers = {
        "adam": {"model.optimizer": torch.optim.Adam},
        "sgd": {"model.optimizer": partial(torch.optim.SGD, lr=0.1)},
    }
    comparison = compare(squares(), ["HeadOnly"], axes={"optimizer": optimizers}, output=tmp_path / "c", **QUICK)
    assert list(comparison.runs) == ["HeadOnly-optimizer=adam-seed=0", "HeadOnly-optimizer=sgd-seed=0"]
