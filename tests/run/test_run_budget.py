"""A run under a budget: it stops at its price, is evaluated, says so, and goes on from what was spent."""

from pathlib import Path

import pytest
from command_line import fit, start

from lightning_vision.errors import ConfigError
from lightning_vision.learning.budget import Budget
from lightning_vision.results.schema import Results, read_results, without_measurements

LONG = ("--trainer.max_epochs=5", "--model.strategy=FullFineTune", "--model.base_epochs=1", "--budget=steps=5")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("budget")


@pytest.fixture(scope="module")
def done(folder: Path) -> Results:
    return read_results(fit(folder, "done", *LONG) / "results.json")


def test_each_increment_has_its_share_of_the_steps(done: Results) -> None:
    base, *increments = done.experiences
    assert [record.steps for record in increments] == [2, 3], "floor(5 / 2), and the rest"
    assert all(record.stopped_by_budget and not record.stopped_early for record in increments)
    assert not base.stopped_by_budget and base.steps
    assert done.budget is not None and done.budget.model_dump() == {
        "kind": "steps", "limit": 5.0, "spent": 5.0, "stopped": [1, 2],
    }  # fmt: skip
    assert done.run.complete and done.test_accuracy[-1] is not None
    assert any("its share of the budget of 5 optimizer steps was used up" in note for note in done.notes)


def test_a_resumed_run_keeps_what_was_spent(folder: Path, done: Results) -> None:
    run = fit(folder, "resumed", *LONG, "--stop_after=1")
    fit(folder, "resumed", *LONG, "--ckpt_path=last")
    found, expected = (without_measurements(each) for each in (read_results(run / "results.json"), done))
    for each in (found, expected):
        del each["run"]["name"]
    assert found == expected


def test_less_than_a_step_each_leaves_increments_untrained(folder: Path) -> None:
    results = read_results(fit(folder, "one", *LONG[:-1], "--budget=steps=1") / "results.json")
    assert [record.steps for record in results.experiences[1:]] == [0, 1]
    assert results.run.complete


def test_a_closed_form_takes_no_steps_of_a_budget(folder: Path) -> None:
    """Each of its batches was counted as one, and it was stopped in the midst of its only pass."""
    options = ("--model.strategy=NearestMean", "--model.base_epochs=1", "--data.batch_size=4")
    whole, kept = (read_results(fit(folder, name, *options, *more) / "results.json") for name, more in (("whole", ()), ("kept", LONG[-1:])))  # fmt: skip
    assert [record.steps for record in kept.experiences[1:]] == [0, 0] and kept.experiences[0].steps
    assert kept.budget is not None and (kept.budget.spent, kept.budget.stopped, kept.notes) == (0, [], whole.notes)
    assert kept.test_accuracy == whole.test_accuracy
    assert [record.train_samples for record in kept.experiences] == [
        record.train_samples for record in whole.experiences
    ]


def test_a_budget_of_energy_is_kept(folder: Path) -> None:
    options = ("--energy.enabled=true", "--energy.power_watts=100", "--trainer.max_epochs=100000", "--budget=kwh=4e-5")
    results = read_results(fit(folder, "kwh", "--model.strategy=FullFineTune", "--model.base_epochs=1", *options) / "results.json")  # fmt: skip
    assert results.budget is not None and results.budget.stopped == [1, 2]
    assert 4e-5 <= results.budget.spent < 1e-4


def test_a_budget_of_energy_needs_the_energy(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert start(folder, "blind", "--budget=kwh=1") == 2
    assert "energy.enabled=false does not measure" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["steps=0", "steps=1.5", "kwh=-1", "kwh=nan", "seconds=3", "steps", "steps=3,kwh=1", "kwh=x"]
)
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected steps=N .* or kwh=X"):
        Budget.read(text)


def test_shares_add_up() -> None:
    assert [Budget("steps", 10).until(k, 3) for k in (1, 2, 3)] == [3, 6, 10]
    assert [Budget("kwh", 1.5).until(k, 3) for k in (1, 2, 3)] == [0.5, 1.0, 1.5]
