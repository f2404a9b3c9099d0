"""A run directory from an untrusted source, opened from Python: nothing in it is executed unless it is trusted."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from command_line import fit

import lightning_vision as lv

EVIL = {"class_path": "evil.Evil"}
IMAGE = np.zeros((16, 16, 3), dtype=np.uint8)
CALLS: dict[str, Callable[[lv.Run], Any]] = {
    "classifier": lambda run: run.classifier(),
    "predict": lambda run: run.predict(IMAGE),
    "test": lambda run: run.test(),
    "explain": lambda run: run.explain(n=1, measured=0),
    "export": lambda run: run.export(check_images=2),
}


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(tmp_path_factory.mktemp("valid"), "run", "--model.strategy=NearestMean", "--data.stream.experiences=2")


@pytest.fixture
def hostile(valid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A run whose configuration names a class of its own, which leaves a file when it is imported."""
    run = shutil.copytree(valid, tmp_path / "run")
    (run / "evil.py").write_text("import os\nopen(os.environ['CANARY'], 'w').close()\n", encoding="utf-8")
    monkeypatch.setenv("CANARY", str(tmp_path / "canary"))
    monkeypatch.syspath_prepend(run)
    sys.modules.pop("evil", None)
    yield run
    sys.modules.pop("evil", None)


def change(run: Path, section: str, key: str, value: Any) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    config[section][key] = value
    (run / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("section", "key"), [("model", "strategy"), ("trainer", "callbacks"), ("model", "optimizer")])
def test_a_configuration_with_unknown_classes_is_refused(
    hostile: Path, tmp_path: Path, section: str, key: str, call: str
) -> None:
    change(hostile, section, key, [EVIL] if key == "callbacks" else EVIL)
    run = lv.open_run(hostile)
    assert run.results.run.complete and run.figures["confusion_matrix"].axes and run._repr_html_()
    with pytest.raises(lv.ConfigError, match=rf"config\.yaml: {section}\.{key}"):
        CALLS[call](run)
    assert not (tmp_path / "canary").exists()


def test_a_trusted_run_is_imported(hostile: Path, tmp_path: Path) -> None:
    """What the other test looks for is there to be found."""
    change(hostile, "model", "strategy", EVIL)
    with pytest.raises(lv.UserError):
        lv.open_run(hostile, trust_run=True).classifier()
    assert (tmp_path / "canary").exists()


def test_a_strategy_that_cannot_be_imported_is_named(hostile: Path) -> None:
    change(hostile, "model", "strategy", {"class_path": "gone.Strategy"})
    with pytest.raises(lv.ConfigError, match=r"installed plugin, found .gone\.Strategy"):
        lv.open_run(hostile).classifier()
    with pytest.raises(lv.ConfigError, match=r"gone"):
        lv.open_run(hostile, trust_run=True).classifier()


def test_a_pickle_for_a_checkpoint_is_refused(hostile: Path, tmp_path: Path) -> None:
    class Pickled:
        def __reduce__(self) -> tuple[Any, ...]:
            return open, (str(tmp_path / "canary"), "w")

    for path in (hostile / "checkpoints").iterdir():
        torch.save({"lightning_vision": Pickled(), "state_dict": {}}, path)
    with pytest.raises(lv.CheckpointError, match="more than tensors and plain values"):
        lv.open_run(hostile).predict(IMAGE)
    assert not (tmp_path / "canary").exists()


def test_a_run_without_checkpoints_says_so(hostile: Path) -> None:
    shutil.rmtree(hostile / "checkpoints")
    with pytest.raises(lv.CheckpointError, match="at least one finished experience"):
        lv.open_run(hostile).predict(IMAGE)
