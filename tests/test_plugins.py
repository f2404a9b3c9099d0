"""Strategies of other packages: by entry point, and by dotted path from a file in the working directory."""

import sys
from pathlib import Path

import pytest
from command_line import QUICK, start

from lightning_vision.cli import main
from lightning_vision.plugins import load_plugins
from lightning_vision.results import read_results

HALVES = """
from torch import Tensor

from lightning_vision import Batch, Network, Strategy


class Halves(Strategy):
    '''Trains on half the loss.'''

    def loss(self, network: Network, batch: Batch) -> Tensor:
        return super().loss(network, batch) / 2
"""


def install(folder: Path) -> None:
    """What pip would lay down for a package with one strategy that works and one that does not."""
    (folder / "lv_plugin.py").write_text(HALVES)
    (folder / "lv_broken.py").write_text("import no_such_library\n")
    metadata = folder / "lv_plugin-1.2.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: lv-plugin\nVersion: 1.2\n")
    (metadata / "entry_points.txt").write_text(
        "[lightning_vision.strategies]\nHalves = lv_plugin:Halves\nbroken = lv_broken:Broken\n"
    )


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on Python's path with an installed package in it."""
    folder = tmp_path / "site"
    folder.mkdir()
    install(folder)
    monkeypatch.syspath_prepend(folder)
    return tmp_path


def test_one_that_fails_is_described_and_stops_nothing(installed: Path) -> None:
    plugins = {plugin.name: plugin for plugin in load_plugins() if plugin.package == "lv-plugin"}
    assert set(plugins) == {"Halves", "broken"}
    assert plugins["Halves"].found.__name__ == "Halves"
    assert plugins["Halves"].problem == ""
    assert plugins["broken"].found is None
    assert plugins["broken"].version == "1.2"
    assert plugins["broken"].problem == "ModuleNotFoundError: No module named 'no_such_library'"


def test_an_installed_strategy_is_named_short_and_a_broken_one_is_skipped_with_a_word(
    installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(installed, "run", "--model.strategy=Halves", "--data.stream.experiences=2") == 0
    said = capsys.readouterr().err
    assert "The plugin broken of lv-plugin 1.2 was skipped: ModuleNotFoundError" in said
    assert "Traceback" not in said
    assert read_results(installed / "run" / "results.json").run.strategy.class_path == "lv_plugin.Halves"


def test_an_installed_strategy_is_among_the_known_ones(installed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", *QUICK, "--model.strategy=Halfs"]) == 2
    assert "nearest first: Halves" in capsys.readouterr().err


def test_a_file_in_the_working_directory_is_named_by_its_dotted_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the program was not started by ``python -m``, which alone looks there by itself."""
    (tmp_path / "halves_of_mine.py").write_text(HALVES.replace("class Halves", "class MyHalves"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    config = tmp_path / "mine.yaml"
    config.write_text("model:\n  strategy: halves_of_mine.MyHalves\n")
    assert start(tmp_path, "run", f"--config={config}", "--data.stream.experiences=2") == 0
    results = read_results(tmp_path / "run" / "results.json")
    assert results.run.strategy.class_path == "halves_of_mine.MyHalves"
    assert results.run.complete
