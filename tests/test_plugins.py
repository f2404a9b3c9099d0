"""Strategies of other packages: by entry point, and by dotted path from a file in the working directory."""

import sys
from pathlib import Path

import pytest
from command_line import QUICK, start

from lightning_vision.cli import main
from lightning_vision.program.plugins import load_plugins
from lightning_vision.results.schema import read_results

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
    lay_down(folder, "lv-plugin", "1.2", "Halves = lv_plugin:Halves", "broken = lv_broken:Broken")


def lay_down(folder: Path, package: str, version: str, *entries: str) -> None:
    """A package's metadata, with its entry points for strategies."""
    metadata = folder / f"{package.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    (metadata / "entry_points.txt").write_text("\n".join(["[lightning_vision.strategies]", *entries, ""]))


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


def test_an_installed_strategy_has_a_short_name_and_a_broken_one_is_skipped_with_a_message(
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


def test_a_taken_name_stays_with_the_class_of_this_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """jsonargparse alone would refuse the name to both."""
    (tmp_path / "lv_taken.py").write_text(HALVES.replace("class Halves", "class HeadOnly"))
    lay_down(tmp_path, "lv-taken", "0.3", "HeadOnly = lv_taken:HeadOnly")
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["list"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    words = "its name is that of strategies.HeadOnly; write lv_taken.HeadOnly"
    assert f"HeadOnly skipped: {words} (lv-taken 0.3)" in shown
    few = "--data.stream.experiences=2"
    assert start(tmp_path, "own", "--model.strategy=HeadOnly", few) == 0
    assert f"The plugin HeadOnly of lv-taken 0.3 was skipped: {words}" in capsys.readouterr().err
    assert read_results(tmp_path / "own" / "results.json").run.strategy.class_path == "strategies.HeadOnly"
    assert start(tmp_path, "its", "--model.strategy=lv_taken.HeadOnly", few) == 0
    assert read_results(tmp_path / "its" / "results.json").run.strategy.class_path == "lv_taken.HeadOnly"


def test_of_two_plugins_with_one_name_neither_bears_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("lv_first", "lv_second"):
        (tmp_path / f"{package}.py").write_text(HALVES.replace("class Halves", "class Thirds"))
        lay_down(tmp_path, package, "1.0", f"Thirds = {package}:Thirds", f"again = {package}:Thirds")
    monkeypatch.syspath_prepend(tmp_path)
    problems = {plugin.package: plugin.problem for plugin in load_plugins() if plugin.name == "Thirds"}
    assert problems == {
        "lv_first": "lv_second 1.0 has a class Thirds too, so neither can be used by that name; write lv_first.Thirds",
        "lv_second": "lv_first 1.0 has a class Thirds too, so neither can be used by that name; write lv_second.Thirds",
    }
    assert main(["fit", *QUICK, "--model.strategy=Thirds"]) == 2
    assert "neither can be used by that name; write lv_first.Thirds" in capsys.readouterr().err
    assert start(tmp_path, "run", "--model.strategy=lv_second.Thirds", "--data.stream.experiences=2") == 0


def test_what_is_no_strategy_and_what_ends_the_program_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lv_odd.py").write_text("def strategy() -> None: ...\n")
    (tmp_path / "lv_exits.py").write_text("raise SystemExit('no licence')\n")
    lay_down(tmp_path, "lv-odd", "1.0", "odd = lv_odd:strategy", "exits = lv_exits:Strategy", "gone = lv_odd:Gone")
    monkeypatch.syspath_prepend(tmp_path)
    problems = {plugin.name: plugin.problem for plugin in load_plugins() if plugin.package == "lv-odd"}
    assert problems["odd"] == "expected a subclass of lightning_vision.Strategy, found lv_odd:strategy"
    assert problems["exits"] == "SystemExit: no licence"
    assert problems["gone"].startswith("AttributeError: ")


def test_a_plugin_is_listed_by_the_name_that_a_user_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lv_named.py").write_text(HALVES.replace("class Halves", "class Quarters"))
    lay_down(tmp_path, "lv-named", "1.0", "some-other-word = lv_named:Quarters")
    monkeypatch.syspath_prepend(tmp_path)
    assert [plugin.name for plugin in load_plugins() if plugin.package == "lv-named"] == ["Quarters"]


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
