"""docs/results.md names every field of results.json, and its example runs."""

import re
from pathlib import Path
from typing import Any

import pytest
from made_results import made
from pydantic import BaseModel

from lightning_vision.results import schema as module
from lightning_vision.results.probe import Probe
from lightning_vision.results.schema import write_results

DOC = Path(__file__).parents[2] / "docs" / "results.md"
SECTIONS: dict[str, type[Any]] = {
    "The file": module.Results,
    "run": module.Run,
    "run.strategy": module.Component,
    "task": module.Task,
    "test": module.Scores,
    "test.per_class.*": module.ClassScores,
    "test.top_confusions[]": module.Confusion,
    "class_kinds.*": module.ClassKind,
    "variants.*": module.Variant,
    "experiences[]": module.ExperienceRecord,
    "experiences[].evaluation": module.Evaluation,
    "base": module.Base,
    "network": module.Network,
    "totals": module.Totals,
    "budget": module.Budget,
    "probe": Probe,
    "features": module.Features,
    "energy": module.Energy,
    "environment": module.Environment,
}


def test_every_field_is_documented_and_no_other() -> None:
    documented: dict[str, list[str]] = {}
    for line in DOC.read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"## `?([^`]+)`?$", line):
            documented[heading[1]] = []
        elif row := re.match(r"\| `(\w+)` \|", line):
            documented[list(documented)[-1]].append(row[1])
    arrays = ["index", "path_hash", "label", "part", "group", "predicted", "confidence"]  # as test_run.py finds them
    arrays += ["task_predicted"]  # where experiences share no class
    arrays += ["probe_predicted"]  # with --probe
    arrays += ["logits", "largest_logit", "class_names"]  # with model.keep_logits
    documented = {section: rows for section, rows in documented.items() if rows}
    assert documented == {section: fields(model) for section, model in SECTIONS.items()} | {"predictions.npz": arrays}


def fields(model: type[Any]) -> list[str]:
    if issubclass(model, BaseModel):
        return [field.alias or name for name, field in model.model_fields.items()]
    return list(model.__annotations__)


def test_example_of_the_docs_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_results(made(), tmp_path / "results.json")
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", DOC.read_text(encoding="utf-8"), flags=re.DOTALL)
    exec(example, {})
    assert capsys.readouterr().out == "first: test accuracy 0.750\nzebra 0.5\näpfel 1.0\n"
