"""A run directory from an untrusted source: no command executes its contents, or reads or writes outside it."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from command_line import QUICK, fit
from small_comparison import OFF, words, write_config

from lightning_vision.cli import main

FROM_CHECKPOINT = ("validate", "test", "predict", "explain", "export")
COMMANDS = (*FROM_CHECKPOINT, "report", "resume", "start from", "compare")
POPEN = {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", "canary"]}}
EVIL = {"class_path": "evil.Evil"}

Poison = Callable[[Path, dict[str, Any]], None]
CONFIGS: dict[str, dict[str, Any]] = {
    "a function as benchmark": {
        "data": {"class_path": "datamodules.Avalanche", "init_args": {"benchmark": "os.system", "arguments": {"command": "touch canary"}}}
    },
    "a module of its own as benchmark": {"data": {"class_path": "datamodules.Avalanche", "init_args": {"benchmark": "evil.Evil"}}},
    "a datamodule of its own": {"data": EVIL},
    "a class among plain arguments": {"data.init_args.split": {"folds": POPEN}},
    "a class as text among plain arguments": {"data.init_args.split": {"folds": json.dumps(POPEN)}},
    "a scenario of its own": {"data.init_args.stream": EVIL},
    "other test data": {"data.init_args.test_data": EVIL},
    "a transform": {"data.init_args.eval_transforms": ["evil.Evil"]},
    "a transform with a class within": {"data.init_args.eval_transforms": [{"RandomApply": {"transforms": [POPEN]}}]},
    "a strategy": {"model.strategy": EVIL},
    "a strategy's file": {"model.strategy": "strategy.yaml"},
    "a key with dots": {"model": {"strategy.class_path": "evil.Evil"}},
    "an estimator": {"model.strategy": {"class_path": "strategies.SklearnHead", "init_args": {"estimator": "evil.Evil"}}},
    "an estimator's part": {"model.strategy": {"class_path": "strategies.SklearnHead", "init_args": {"estimator_args": {"estimator": POPEN}}}},
    "a plugin": {"model.strategy": {"class_path": "strategies.AvalanchePlugin", "init_args": {"plugin": "evil.EWCPlugin"}}},
    "a plugin's part": {"model.strategy": {"class_path": "strategies.AvalanchePlugin", "init_args": {"plugin_args": {"ewc_lambda": POPEN}}}},
    "an optimizer": {"model.optimizer": EVIL},
    "an optimizer by name": {"model.optimizer": "evil.Evil"},
    "a number by name": {"model.optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": "evil.Evil"}}},
    "a scheduler's function": {"model.lr_scheduler": {"class_path": "torch.optim.lr_scheduler.LambdaLR", "init_args": {"lr_lambda": "evil.Evil"}}},
    "a callback": {"trainer.callbacks": [EVIL]},
    "an accelerator": {"trainer.accelerator": "evil.Evil"},
    "a plugin of Lightning's": {"trainer.plugins": [EVIL]},
    "another option": {"output": "../outside"},
}  # fmt: skip
"""What a configuration is changed to, by dotted key."""


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of registered classes alone."""
    return fit(tmp_path_factory.mktemp("valid"), "run", "--model.strategy=NearestMean", "--data.stream.experiences=2")


class Stage:
    """A run directory that is poisoned, in a folder with what must stay as it is."""

    def __init__(self, folder: Path, valid: Path) -> None:
        self.folder, self.run, self.outside = folder, folder / "runs" / "run", folder / "outside"
        shutil.copytree(valid, self.run)
        self.outside.mkdir()
        (self.outside / "precious.txt").write_text("precious 4711", encoding="utf-8")
        (self.run / "evil.py").write_text("import os\nopen(os.environ['CANARY'], 'w').close()\n", encoding="utf-8")
        (self.run / "strategy.yaml").write_text(yaml.safe_dump(EVIL), encoding="utf-8")

    def change(self, changes: dict[str, Any]) -> None:
        """Change config.yaml."""
        path = self.run / "config.yaml"
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        for key, value in changes.items():
            *parents, last = key.split(".")
            inner = config
            for parent in parents:
                inner = inner[parent]
            inner[last] = value
        path.write_text(yaml.safe_dump(config), encoding="utf-8")

    def command(self, name: str) -> list[str]:
        """The words of a command on the run."""
        same = ["--model.strategy=NearestMean", "--data.stream.experiences=2"]
        if name == "report":
            return ["report", str(self.run)]
        if name == "resume":
            place = (f"--trainer.default_root_dir={self.run.parent}", "--run_name=run")
            return ["fit", *QUICK, *same, *place, "--ckpt_path=last"]
        if name == "start from":
            place = (f"--trainer.default_root_dir={self.folder / 'mine'}", f"--model.base_checkpoint={self.run}")
            return ["fit", *QUICK, *same, *place, "--run_name=mine", "--stop_after=0"]
        if name == "compare":
            chosen = ["--strategies", "NearestMean", "--dry_run"]
            return words(write_config(self.folder / "mine"), "../runs", *chosen, OFF)
        return [name, "--ckpt_path", str(self.run)]

    def seen(self) -> dict[str, bytes]:
        """All that is outside of the run and of what the user makes, with its content."""
        kept = [path for path in sorted(self.outside.rglob("*")) if path.is_file()]
        names = {str(path.relative_to(self.folder)): path.read_bytes() for path in kept}
        return names | {f"{path.name}/": b"" for path in self.folder.iterdir()} | {f"outside/{p.name}": b"" for p in self.outside.iterdir() if not p.is_file()}  # fmt: skip


@pytest.fixture
def stage(valid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    made = Stage(tmp_path / "stage", valid)
    (made.folder / "mine").mkdir()
    monkeypatch.setenv("CANARY", str(made.run / "canary"))
    monkeypatch.syspath_prepend(made.run)  # its modules can be imported, as from the working directory
    monkeypatch.chdir(made.run)
    sys.modules.pop("evil", None)  # an import executes it
    before = made.seen()
    yield made
    assert not (made.run / "canary").exists(), "code of the run was executed"
    assert made.seen() == before, "something outside of the run was changed"


def exit_code(capsys: pytest.CaptureFixture[str], words: list[str]) -> tuple[int, str]:
    """The exit code of a command, and what it printed; a traceback is no readable error."""
    code = main(words)
    said = capsys.readouterr()
    assert "Traceback" not in said.err, said.err
    assert code in (0, 1, 2)
    return code, said.err + said.out


@pytest.mark.parametrize("poison", CONFIGS)
def test_a_configuration_with_unknown_classes_is_refused_with_the_way_to_allow_it(
    stage: Stage, poison: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.change(CONFIGS[poison])
    for command in FROM_CHECKPOINT:
        code, said = exit_code(capsys, stage.command(command))
        assert code == 2, said
        assert f"{stage.run / 'config.yaml'}: " in said
        assert "--trust_run true" in said


def test_whoever_is_trusted_is_imported(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """What the other tests look for is there to be found."""
    stage.change({"model.strategy": EVIL})
    exit_code(capsys, [*stage.command("test"), "--trust_run", "true"])
    assert (stage.run / "canary").exists()
    (stage.run / "canary").unlink()


def python_tag(stage: Stage) -> None:
    text = (stage.run / "config.yaml").read_text(encoding="utf-8")
    (stage.run / "config.yaml").write_text(
        f"{text}\nmore: !!python/object/apply:os.system ['touch canary']\n", encoding="utf-8"
    )


def aliases(stage: Stage) -> None:
    lines = ["a0: &a0 [1, 1]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))]
    (stage.run / "config.yaml").write_text("\n".join(lines), encoding="utf-8")


def places(stage: Stage) -> None:
    outside = str(stage.outside)
    stage.change({
        "data.init_args.cache_dir": outside, "data.init_args.cache": "decoded", "trainer.default_root_dir": outside, "run_name": "../../outside",
        "trainer.logger": EVIL, "trainer.profiler": EVIL,
    })  # fmt: skip


class Pickled:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch canary",)


def pickled_checkpoint(stage: Stage) -> None:
    for path in (stage.run / "checkpoints").iterdir():
        torch.save({"lightning_vision": Pickled(), "state_dict": {}}, path)


def pickled_predictions(stage: Stage) -> None:
    np.savez(
        stage.run / "predictions.npz",
        label=np.array([Pickled()], dtype=object),
        predicted=np.array([Pickled()], dtype=object),
    )


def markup(stage: Stage) -> None:
    """Names that lead elsewhere and names that are markup, in all that names a run and its classes."""
    name, script = "../../../outside/x", "<script>alert(1)</script>\x1b[2J\uffff"
    text = (stage.run / "results.json").read_text(encoding="utf-8")
    results = json.loads(text.replace('"grey"', json.dumps(name)).replace('"blue"', json.dumps(script)))
    results["run"]["name"], results["notes"] = name, [script]
    (stage.run / "results.json").write_text(json.dumps(results), encoding="utf-8")
    for path in (stage.run / "checkpoints").iterdir():
        checkpoint = torch.load(path, weights_only=True)
        known = checkpoint["lightning_vision"]["class_names"]
        checkpoint["lightning_vision"]["class_names"] = [
            {"grey": name, "blue": script}.get(each, each) for each in known
        ]
        torch.save(checkpoint, path)
    stage.change({"data.init_args.classes": ["red", "green"]})


def harmless(stage: Stage) -> None:
    """What can be left aside, all at once: the commands do what they are for."""
    for poison in (markup, places, pickled_predictions):
        poison(stage)


def linked(*names: str) -> Callable[[Stage], None]:
    def link(stage: Stage) -> None:
        for name in names:
            path = stage.run / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            path.symlink_to(
                stage.outside
                if name in ("checkpoints", "explain", "export", "report")
                else stage.outside / "precious.txt"
            )

    return link


HARMLESS = "places to write to, names that are paths and markup, a pickle of predictions"
OTHERS: dict[str, Callable[[Stage], None]] = {
    "a Python object in YAML": python_tag,
    "aliases of aliases": aliases,
    "a pickle as checkpoint": pickled_checkpoint,
    HARMLESS: harmless,
    "a link for results": linked("results.json"),
    "links for what is written": linked("predictions.csv", "confusion_matrix.png", ".predictions.tmp.csv", "explain", "export", "report"),
    "a link for checkpoints": linked("checkpoints"),
}  # fmt: skip


@pytest.mark.parametrize("poison", OTHERS)
def test_no_command_executes_reads_or_writes_elsewhere(
    stage: Stage, poison: str, capsys: pytest.CaptureFixture[str]
) -> None:
    OTHERS[poison](stage)
    for command in COMMANDS:
        code, said = exit_code(capsys, stage.command(command))
        assert "precious 4711" not in said
        if command in FROM_CHECKPOINT:
            assert (code == 0) == (poison == HARMLESS), said
        if command == "report" and code == 0:
            page = (stage.run / "report" / "report.html").read_text(encoding="utf-8")
            assert "<script>alert" not in page
            assert "precious 4711" not in page


def test_a_folder_of_checkpoints_alone_leads_nowhere_either(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("config.yaml", "results.json"):
        (stage.run / name).unlink()
    linked("confusion_matrix.png")(stage)
    options = [option for option in QUICK if not option.startswith("--trainer.max_epochs")]
    code, said = exit_code(capsys, [*stage.command("test"), *options, "--model.strategy=NearestMean"])
    assert code == 2
    assert "confusion_matrix.png is a symbolic link to" in said
