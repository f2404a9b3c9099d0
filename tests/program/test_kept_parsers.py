"""The parser of a command line serves the next one of the process, and nothing of the former command line stays in it."""

import gc
from pathlib import Path
from typing import Any

import pytest
from command_line import QUICK, fit

from lightning_vision.cli import main
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.program import kept_parsers
from lightning_vision.program.stream_cli import StreamCLI


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The subcommands whose options were read from signatures, in order."""
    monkeypatch.setattr(kept_parsers, "_kept", {})
    subcommands: list[str] = []
    prepare = StreamCLI._prepare_subcommand_parser

    def counted(cli: StreamCLI, klass: type, subcommand: str, **kwargs: Any) -> Any:
        subcommands.append(subcommand)
        return prepare(cli, klass, subcommand, **kwargs)

    monkeypatch.setattr(StreamCLI, "_prepare_subcommand_parser", counted)
    return subcommands


def test_a_second_run_is_what_it_is_without_the_first(tmp_path: Path, built: list[str]) -> None:
    alone = fit(tmp_path / "alone", "run", "--model.strategy=NearestMean")
    kept_parsers._kept.clear()
    fit(tmp_path / "after", "another", "--model.strategy=HeadOnly", "--model.optimizer.lr=0.5", "--seed_everything=3")
    after = fit(tmp_path / "after", "run", "--model.strategy=NearestMean")
    assert built == ["fit", "fit"], "one for each time that none was kept"
    text = (alone / "config.yaml").read_text(encoding="utf-8")
    assert (after / "config.yaml").read_text(encoding="utf-8") == text.replace(
        str(tmp_path / "alone"), str(tmp_path / "after")
    )


def test_each_subcommand_has_its_own(tmp_path: Path, built: list[str]) -> None:
    run = fit(tmp_path, "run", "--model.strategy=NearestMean")
    words = ["--config", str(run / "config.yaml"), "--ckpt_path", str(run)]
    assert main(["test", *words]) == main(["predict", *words]) == main(["test", *words]) == 0
    assert built == ["fit", "test", "predict"]


def classifiers() -> set[int]:
    gc.collect()
    return {id(each) for each in gc.get_objects() if isinstance(each, ContinualClassifier)}


def test_the_model_of_the_former_run_does_not_stay(tmp_path: Path, built: list[str]) -> None:
    before = classifiers()
    run = fit(tmp_path, "run", "--model.strategy=NearestMean")
    assert main(["predict", "--ckpt_path", str(run)]) == 0
    assert built == ["fit", "predict"]
    assert classifiers() <= before
    for kept in kept_parsers._kept.values():
        assert kept["parser"]._instantiators is kept["subparser"]._instantiators is None


def test_an_error_leaves_none(tmp_path: Path, built: list[str]) -> None:
    assert main(["fit", *QUICK, "--model.strategy=NoSuch"]) == 2
    fit(tmp_path, "run", "--model.strategy=NearestMean")
    assert built == ["fit", "fit"]


def test_help_lists_classes_that_were_imported_since(
    tmp_path: Path, built: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    from lightning_vision import Strategy

    fit(tmp_path, "run", "--model.strategy=NearestMean")
    later = type("ImportedSince", (Strategy,), {"__module__": __name__, "__doc__": "Learns nothing."})
    globals()["ImportedSince"] = later
    capsys.readouterr()
    assert main(["fit", "--help"]) == 0
    assert "ImportedSince" in capsys.readouterr().out
    del globals()["ImportedSince"]
