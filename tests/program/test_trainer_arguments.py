"""The arguments of the many Trainers of a run: what is built anew, and what is read once."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import jsonargparse
import pytest
import yaml
from jsonargparse import Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import LearningRateMonitor

from lightning_vision.cli import main
from lightning_vision.learning.checkpoints import read_checkpoint
from lightning_vision.program.argument_parser import StreamArgumentParser
from lightning_vision.program.trainer_arguments import TrainerArguments


def parsed(**options: Any) -> Namespace:
    parser = StreamArgumentParser()
    parser.add_lightning_class_args(Trainer, "trainer")
    trainer: Namespace = parser.parse_object({"trainer": options}).trainer
    return trainer


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The options that are instantiated, at each time."""
    found: list[list[str]] = []
    instantiate = StreamArgumentParser.instantiate_classes

    def noted(self: StreamArgumentParser, config: Namespace, **options: Any) -> Namespace:
        found.append(list(vars(config.trainer)))
        built: Namespace = instantiate(self, config, **options)
        return built

    monkeypatch.setattr(StreamArgumentParser, "instantiate_classes", noted)
    return found


def test_plain_values_need_no_parser(asked: list[list[str]]) -> None:
    arguments = TrainerArguments(parsed(max_epochs=3, devices=[0]))
    first, second = arguments.build(), arguments.build()
    assert first == second and first["max_epochs"] == 3 and "accelerator" in first
    assert first["devices"] == [0] and first["devices"] is not second["devices"]
    assert asked == []


def test_objects_are_built_anew_and_alone(asked: list[list[str]]) -> None:
    monitor = {
        "class_path": "lightning.pytorch.callbacks.LearningRateMonitor",
        "init_args": {"logging_interval": "step"},
    }
    arguments = TrainerArguments(parsed(max_epochs=3, callbacks=[monitor]))
    first, second, third = (arguments.build()["callbacks"][0] for _ in range(3))
    assert isinstance(first, LearningRateMonitor) and first.logging_interval == third.logging_interval == "step"
    assert len({id(first), id(second), id(third)}) == 3
    assert asked == [["callbacks"]] * 3


def test_a_run_dumps_its_configuration_once(tmp_path: Path) -> None:
    dumped: list[set[str]] = []
    dump = jsonargparse.ArgumentParser.dump

    def noted(self: Any, config: Namespace, *args: Any, **options: Any) -> str:
        dumped.append(set(vars(config)))
        return str(dump(self, config, *args, **options))

    words = [
        "fit", f"--trainer.default_root_dir={tmp_path}", "--run_name=run", "--data=Digits",
        "--model.backbone=test_resnet", "--model.pretrained=false", "--model.strategy=NearestMean", "--model.base_epochs=0",
        "--trainer.accelerator=cpu", "--trainer.devices=1", "--wandb.mode=disabled", "--energy.enabled=false", "--stop_after=0",
    ]  # fmt: skip
    with patch.object(jsonargparse.ArgumentParser, "dump", noted), redirect_stdout(io.StringIO()):
        assert main(words) == 0
    assert sum(bool(options & {"fit", "run_name"}) for options in dumped) == 1  # the others are of single components
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    kept = read_checkpoint(tmp_path / "run" / "checkpoints" / "experience=0000.ckpt")["hyper_parameters"]
    assert kept["backbone"] == written["model"]["backbone"] and len(kept["class_names"]) == 10


def test_a_whole_number_is_read_as_one_whatever_was_imported_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """``typing`` keeps unions and takes Union[float, int] for Union[int, float]: the first one built is given to all."""
    # As no library has built them, so that this order is kept.
    for name, kind in (
        ("limit_test_batches", float | int | list[timedelta]),
        ("val_check_interval", float | int | range),
    ):
        monkeypatch.setitem(Trainer.__init__.__annotations__, name, kind | None)
    parser = StreamArgumentParser()
    parser.add_lightning_class_args(Trainer, "trainer")
    read = [
        vars(
            parser.parse_args([f"--trainer.limit_test_batches={text}", f"--trainer.val_check_interval={text}"]).trainer
        )
        for text in ("1", "1.0", "0.5")
    ]
    for name in ("limit_test_batches", "val_check_interval"):
        assert [repr(values[name]) for values in read] == ["1", "1.0", "0.5"]
