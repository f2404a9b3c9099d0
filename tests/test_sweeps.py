"""The W&B sweeps that are shipped: `wandb sweep` takes them, and what `wandb agent` calls is a run of ours."""

import os
import re
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from wandb import wandb_agent
from wandb_offline import read_offline_run

from lightning_vision.cli import main
from lightning_vision.program.shipped_configs import config_folder
from lightning_vision.results.resume_options import flatten
from lightning_vision.results.schema import read_results

SWEEPS = sorted((config_folder() / "sweeps").glob("*.yaml"))
# The schema of W&B's own package `sweeps`, as far as ours go; the package asks for numpy 1.
KEYS = {"name", "project", "program", "command", "method", "metric", "parameters"}
PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


def read(sweep: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(sweep.read_text(encoding="utf-8"))
    return content


def points(sweep: dict[str, Any]) -> list[dict[str, Any]]:
    """Every combination, as a grid runs them."""
    parameters = sweep["parameters"]
    rows = product(*(parameter["values"] for parameter in parameters.values()))
    return [dict(zip(parameters, row, strict=True)) for row in rows]


def called_by_agent(
    sweep: dict[str, Any], point: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> tuple[list[str], dict[str, str]]:
    """The command line and the environment with which W&B's own agent starts a run."""
    started: list[tuple[list[str], dict[str, str]]] = []

    class Noted:
        def __init__(self, command: list[str], env: dict[str, str], **_: Any) -> None:
            started.append((command, env))

    monkeypatch.setattr(wandb_agent, "AgentProcess", Noted)
    for name in ("WANDB_DIR", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):  # the agent sets them: put back after the test
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("WANDB_DIR", str(Path.cwd()))
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    agent = wandb_agent.Agent(api=None, queue=None, sweep_id="sweep1")
    agent._sweep_command = list(sweep["command"])
    args = {key: {"value": value} for key, value in point.items()}
    agent._command_run({"run_id": "run1", "program": sweep["program"], "args": args})  # type: ignore[no-untyped-call]
    return started[0]


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_wandb_takes_it(path: Path) -> None:
    sweep = read(path)
    assert sweep.keys() == KEYS
    assert sweep["method"] in ("grid", "random", "bayes")
    assert sweep["metric"].keys() == {"name", "goal"} and sweep["metric"]["goal"] in ("minimize", "maximize")
    assert all(isinstance(word, str) for word in sweep["command"])
    for key, parameter in sweep["parameters"].items():
        assert PARAMETER.fullmatch(key)
        assert parameter.keys() == {"values"} and len(parameter["values"]) > 1
        assert not any(isinstance(value, str) and value[:1].isdigit() for value in parameter["values"]), (
            "1e-6 is a text"
        )


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_fit_understands_every_point(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = read(path)
    by_value = {(key, str(value)): point for point in points(sweep) for key, value in point.items()}
    seen: set[int] = set()
    for point in by_value.values():  # each value of each parameter once
        if id(point) in seen:
            continue
        seen.add(id(point))
        command, _ = called_by_agent(sweep, point, monkeypatch)
        assert command[:5] == ["/usr/bin/env", "python", "-m", "lightning_vision", "fit"]
        assert main([*command[4:], "--print_config"]) == 0
        understood = dict(flatten(yaml.safe_load(capsys.readouterr().out)))
        for key, value in point.items():
            found = understood.get(key, understood.get(f"{key}.class_path"))
            assert found == value or str(found).endswith(f".{value}"), key


def test_a_run_of_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The very command runs; without account or server, W&B's part of it stays offline."""
    monkeypatch.chdir(tmp_path)
    sweep = read(config_folder() / "sweeps" / "epsilon.yaml")
    command, environment = called_by_agent(sweep, points(sweep)[0], monkeypatch)
    small = ["--wandb.mode=offline", "--energy.enabled=false", "--model.base_epochs=1"]
    path = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    ended = subprocess.run(
        [*command, *small], env={**environment, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    run = tmp_path / "runs" / "MoveToData-InstanceIncremental-seed=0-run1"  # another for each run of the sweep
    results = read_results(run / "results.json")
    assert results.run.complete
    assert results.run.strategy.init_args["epsilon"] == 1e-6
    offline = read_offline_run(run)
    assert offline.run_id == "run1", "W&B would not know it as the sweep's"
    assert sweep["metric"]["name"] in offline.summary or any(sweep["metric"]["name"] in row for row in offline.history)
