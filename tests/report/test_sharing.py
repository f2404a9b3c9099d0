"""What runs took, and what they spared each other, by hand."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from run_maker import make_comparison, make_run

from lightning_vision.report.gather import gather
from lightning_vision.report.paper_tables import paper_tables
from lightning_vision.report.sharing import Savings, savings
from lightning_vision.report.tables import ranking_markdown

METHODS = {"HeadOnly": {0: 0.6, 1: 0.7}, "EWC": {0: 0.8, 1: 0.8}, "Retrain": {0: 0.8, 1: 0.8}}


def savings_of(folder: Path) -> Savings:
    return savings(gather([folder]))


def test_a_base_saves_its_training_for_each_user_but_the_first(tmp_path: Path) -> None:
    found = savings_of(make_comparison(tmp_path / "c", METHODS))
    assert (found.runs, found.bases, found.base_users, found.bases_not_trained, found.bases_elsewhere) == (
        8,
        2,
        6,
        4,
        0,
    )
    # A base takes 10 s and 5 times the energy of an increment of 2 s.
    assert found.saved_by_bases.seconds == pytest.approx(40)
    assert found.saved_by_bases.energy_kwh == pytest.approx(4 * 5e-6)
    assert found.saved_by_bases.co2eq_kg == pytest.approx(4 * 5e-6 * 0.056)
    # Two bases of 10 + 0.5 s, six cells of two increments of 2 s and three evaluations of 0.5 s.
    assert found.spent.seconds == pytest.approx(2 * 10.5 + 6 * (4 + 1.5))
    assert found.spent.energy_kwh == pytest.approx(2 * 5.2e-6 + 6 * (2e-6 + 3 * 0.2e-6))
    assert (found.passes_saved, found.untracked) == (8 * 30, 0)
    assert found.seconds_saved_by_features == pytest.approx(8 * 0.6)


def test_a_comparison_that_was_moved_still_knows_its_bases(tmp_path: Path) -> None:
    make_comparison(tmp_path / "c", METHODS)
    make_comparison(tmp_path / "d", METHODS, images_from="elsewhere")
    shutil.move(tmp_path / "c", tmp_path / "moved" / "c")
    shutil.move(tmp_path / "d", tmp_path / "moved" / "d")
    found = savings_of(tmp_path / "moved")
    assert (found.bases, found.base_users, found.bases_not_trained) == (4, 12, 8)


def test_a_run_whose_base_others_take_needed_it_itself(tmp_path: Path) -> None:
    base = make_run(tmp_path / "first")
    for number, strategy in enumerate(("EWC", "LwF")):
        make_run(tmp_path / strategy, strategy=f"strategies.{strategy}", base=base, energy=None if number else 1e-6)
    found = savings_of(tmp_path)
    assert (found.bases, found.base_users, found.bases_not_trained) == (1, 2, 2)
    assert found.saved_by_bases.seconds == pytest.approx(20)
    assert found.untracked == 1


def test_tuning_is_counted_beside_the_runs_and_one_failed_trial_is_said(tmp_path: Path) -> None:
    """In the totals, and in every table."""
    folder = make_comparison(tmp_path / "c", METHODS)
    tried = {
        "run": "tuning/x",
        "accuracy": 0.5,
        "steps": 10,
        "seconds": 3.0,
        "energy_kwh": 1e-3,
        "co2eq_kg": 1e-4,
        "images": 700,
    }
    failed = {"settings": {"model.optimizer.lr": 0.1}, "run": "tuning/y", "accuracy": None, "error": "it did not end"}
    cells: list[dict[str, Any]] = [
        {"method": method, "seed": 0, "cell": method, "picked": {"model.optimizer.lr": lr}, "tried": [{**tried, "settings": {"model.optimizer.lr": lr}}, failed]}
        for method, lr in (("HeadOnly", 0.01), ("EWC", 0.02))
    ]  # fmt: skip
    content = {"schema": 1, "tune_on": 2, "options": ["model.optimizer.lr"], "cells": cells}
    (folder / "tuning.json").write_text(json.dumps(content))
    found, compared = savings_of(folder), gather([folder])
    assert found.tuning is not None and (found.tuning.trials, found.tuning.failed, found.tuning.images) == (4, 2, 1400)
    assert found.spent.images == (2 * 1 + 6 * 3) * 40, "two bases of one experience, six cells of three"
    assert found.total.images == found.spent.images + 1400
    assert found.total.seconds == pytest.approx(found.spent.seconds + 6)
    assert found.spent.energy_kwh is not None
    assert found.total.energy_kwh == pytest.approx(found.spent.energy_kwh + 2e-3)
    markdown = ranking_markdown(compared)
    assert (
        "- HeadOnly: model.optimizer.lr=0.01 (2 trials" in markdown
        and "model.optimizer.lr: 0.01, 0.1, 0.02" in markdown
    )
    assert "| tuning, 4 trials | 6 | 1,400 | 0.002 |" in markdown
    for how in ("latex", "markdown"):
        words = " ".join(paper_tables(compared, how).split())
        assert "4 trials (2 failed, whose cost is not known): 6 s, 1,400 images" in words
    for cell in cells:  # as earlier versions wrote it
        del cell["tried"][0]["images"]
    (folder / "tuning.json").write_text(json.dumps(content))
    assert savings_of(folder).total.images is None


def test_energy_that_is_not_known_of_a_trial_or_a_run_is_not_that_of_the_others(tmp_path: Path) -> None:
    folder = make_comparison(tmp_path / "c", METHODS)
    tried = {"settings": {"a": 1}, "run": "tuning/x", "accuracy": 0.5, "steps": 1, "seconds": 3.0, "energy_kwh": None, "images": 1}  # fmt: skip
    cell = {"method": "EWC", "seed": 0, "cell": "", "picked": {"a": 1}, "tried": [tried, tried | {"energy_kwh": 1e-3}]}
    (folder / "tuning.json").write_text(json.dumps({"schema": 1, "tune_on": 2, "options": ["a"], "cells": [cell]}))
    found = savings_of(folder)
    assert found.tuning is not None and found.tuning.energy_kwh is None and found.spent.energy_kwh is not None
    assert found.total.energy_kwh is None and found.total.co2eq_kg is None
    assert "not included in the totals" not in ranking_markdown(gather([folder]))
    make_run(folder / "untracked", strategy="strategies.LwF", energy=None)
    words = "The energy of 1 run was not tracked, or not all of it, and what is missing is not included in the totals."
    assert words in ranking_markdown(gather([folder]))


def test_a_base_elsewhere_is_counted_and_not_guessed(tmp_path: Path) -> None:
    base = make_run(tmp_path / "away" / "first")
    make_run(tmp_path / "here" / "EWC", strategy="strategies.EWC", base=base)
    found = savings_of(tmp_path / "here")
    assert (found.bases, found.bases_elsewhere, found.saved_by_bases.seconds) == (0, 1, 0)
    assert found.saved_by_bases.energy_kwh is None
