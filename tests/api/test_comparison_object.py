"""A comparison as an object, and reports of any runs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from run_maker import make_run

import lightning_vision as lv
from lightning_vision.errors import CheckpointError, ConfigError
from lightning_vision.report.gather import gather


def write_comparison(folder: Path) -> Path:
    """Two strategies, two seeds and two settings, from a base for each setting; a cell that failed, one that has not started."""
    cells, bases = [], []
    for size in (16, 32):
        base = make_run(
            folder / "bases" / f"base-{size}", (0.5,), is_base=True, options={"data.init_args.image_size": size}
        )
        bases.append(
            {"name": base.name, "seed": 0, "settings": {"data.image_size": size}, "directory": f"bases/{base.name}"}
        )
        for strategy, accuracy in (("HeadOnly", 0.9), ("MoveToData", 0.6)):
            for seed in (0, 1):
                name = f"{strategy}-{size}-seed={seed}"
                make_run(
                    folder / "runs" / name, (0.5, 0.5, accuracy), strategy=f"strategies.{strategy}", seed=seed, base=base,
                    options={"data.init_args.image_size": size},
                )  # fmt: skip
                row = {"name": name, "seed": seed, "settings": {"data.image_size": size}, "directory": f"runs/{name}"}
                cells.append({**row, "method": f"{strategy}, size {size}", "strategy": strategy, "base": base.name})
    for name in ("failed", "later"):
        cells.append({**cells[0], "name": name, "seed": 7, "directory": f"runs/{name}"})
    record = {"schema": 1, "name": folder.name, "command": "lightning-vision compare", "cells": cells, "bases": bases}
    (folder / "comparison.json").write_text(json.dumps(record), encoding="utf-8")
    (folder / "failed.json").write_text(
        json.dumps({"failed": {"exit_code": 1, "error": "a full disk"}}), encoding="utf-8"
    )
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_comparison(tmp_path_factory.mktemp("api") / "sizes")


def test_the_ranking_has_a_row_for_each_strategy_and_setting(folder: Path) -> None:
    ranking = lv.open_comparison(folder).ranking
    assert len(ranking) == 4
    assert ranking["method"].tolist() == [row.label for row in gather([folder]).groups[0].ranking.methods]
    assert ranking["data.image_size"].tolist() == [int(label.rsplit(" ", 1)[1]) for label in ranking["method"]]
    assert ranking["strategy"].iloc[0] == "HeadOnly" and ranking["verdict"].iloc[0] == "best"


def test_runs_are_by_cell_and_bases_apart(folder: Path) -> None:
    comparison = lv.open_comparison(folder)
    assert len(comparison.runs) == 8 and list(comparison.bases) == ["base-16", "base-32"]
    run = comparison.runs["HeadOnly-32-seed=1"]
    assert run.complete and run.results.run.seed == 1
    assert comparison.failures["failed"].error == "a full disk"
    assert repr(comparison) == f"Comparison({str(folder)!r}: 10 cells, 8 complete)"


def test_a_comparison_stays_open_in_another_working_directory(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    comparison = lv.open_comparison(folder.name)
    run = comparison.runs["HeadOnly-32-seed=1"]
    monkeypatch.chdir(tmp_path)
    assert len(comparison.ranking) == 4 and len(comparison.runs) == 8 and run.complete


def test_a_notebook_shows_the_ranking(folder: Path) -> None:
    html = lv.open_comparison(folder)._repr_html_()
    assert "HeadOnly, size 16" in html and "a full disk" in html and html.startswith("<pre")


def test_the_report_is_that_of_the_command_line(folder: Path, tmp_path: Path) -> None:
    files = lv.open_comparison(folder).report(tmp_path / "page")
    assert files.page == tmp_path / "page" / "report.html" and files.page.is_file()
    assert all(path.is_file() for path in (*files.charts, *files.tables))
    run = lv.open_comparison(folder).runs["HeadOnly-32-seed=1"]
    assert lv.report([run], tmp_path / "given").page.is_file()
    table = pd.read_csv(tmp_path / "page" / "ranking.csv")
    assert table["method"].tolist() == lv.open_comparison(folder).ranking["method"].tolist()
    two = lv.report(
        [folder / "runs" / "HeadOnly-16-seed=0", folder / "runs" / "HeadOnly-16-seed=1"], output=tmp_path / "two"
    )
    assert two.page.is_file()


def test_the_room_and_the_function_of_one_name_are_one() -> None:
    for first in ("import lightning_vision.report.page", "from lightning_vision import report"):
        called = "try:\n    lv.report([])\nexcept lv.ConfigError as error:\n    print(error, lv.report.page.__name__)"
        program = f"{first}\nimport lightning_vision as lv\nimport lightning_vision.report.page\n{called}"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert "found an empty list" in done.stdout and "lightning_vision.report.page" in done.stdout


def test_what_is_no_comparison_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    for path in (tmp_path / "file", tmp_path, tmp_path / "nowhere", folder / "runs" / "HeadOnly-16-seed=0"):
        with pytest.raises(CheckpointError, match=r"Expected the folder of a comparison"):
            lv.open_comparison(path)
    with pytest.raises(ConfigError, match="does not exist"):
        lv.report([tmp_path / "nowhere"])
    with pytest.raises(ConfigError, match="found an empty list"):
        lv.report([])
    (tmp_path / "comparison.json").write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"comparison\.json cannot be read"):
        lv.open_comparison(tmp_path)


def test_runs_that_lie_elsewhere_are_refused(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    text = (copy / "comparison.json").read_text(encoding="utf-8")
    elsewhere = text.replace("runs/HeadOnly-16-seed=0", "../elsewhere")
    (copy / "comparison.json").write_text(elsewhere, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"expected a run inside .*, found '\.\./elsewhere'"):
        _ = lv.open_comparison(copy).runs
    (copy / "comparison.json").write_text(text, encoding="utf-8")
    (copy / "runs" / "HeadOnly-16-seed=0" / "results.json").unlink()
    (copy / "runs" / "HeadOnly-16-seed=0" / "results.json").symlink_to(folder / "runs/HeadOnly-16-seed=0/results.json")
    with pytest.raises(ConfigError, match="symbolic link"):
        lv.open_comparison(copy)
