"""``list``: what is installed, each with a line that says what it is."""

from pathlib import Path

import pytest
from test_plugins import install

import datamodules
import strategies
from lightning_vision.cli import main
from lightning_vision.program.shipped_configs import config_folder


def test_everything_that_is_installed_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    rows = {
        line.split()[0]: line.split(maxsplit=1)[1:]
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("  ")
    }
    shipped = {f"configs/{path.relative_to(config_folder()).as_posix()}" for path in config_folder().rglob("*.yaml")}
    scenarios = {"Joint", "InstanceIncremental", "ClassIncremental", "DomainIncremental", "FromColumn"}
    assert {*strategies.__all__, *datamodules.__all__, *scenarios, *shipped} <= set(rows)
    assert all(text and len(text[0]) > 10 for text in rows.values()), "a name without a description does not help"
    assert not [name for name in rows if name.startswith("_")], "what is internal is nothing to choose"
    assert "Move-to-Data" in rows["configs/quickstart.yaml"][0]


def test_plugins_are_listed_with_their_package_and_broken_ones_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    shown = " ".join(shown.split())
    assert "Halves Trains on half the loss. (lv-plugin 1.2)" in shown
    assert "broken skipped: ModuleNotFoundError: No module named 'no_such_library' (lv-plugin 1.2)" in shown


@pytest.mark.parametrize("words", [["list", "--help"], ["list", "-h"]])
def test_its_help_is_the_list(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert "learning strategies (model.strategy)" in capsys.readouterr().out


def test_it_takes_no_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "strategies"]) == 2
    assert "list takes no options, found 'strategies'" in capsys.readouterr().err
