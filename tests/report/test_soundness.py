"""Results that have the right types and yet cannot be: each is left out with its reason."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_maker import make_run

from lightning_vision.errors import DataError
from lightning_vision.report.soundness import check_results
from lightning_vision.results.schema import Results, read_results

Spoil = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = make_run(tmp_path_factory.mktemp("sound") / "a", epsilons=(0.1,))
    return read_results(path / "results.json").model_dump(by_alias=True)


def test_what_runs_write_is_sound(content: dict[str, Any], tmp_path: Path) -> None:
    check_results(Results.model_validate(content))
    for scenario in ("Joint", "ClassIncremental"):
        accuracies = [0.5] if scenario == "Joint" else [0.3, 0.5]
        check_results(read_results(make_run(tmp_path / scenario, accuracies, scenario=scenario) / "results.json"))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda c: c.update(class_names=["ant", "ant", "cat"]), "3 class names, of which 2 differ"),
        (lambda c: c.update(class_names=[]), "0 class names"),
        (lambda c: c["class_names"].append("dog"), "the confusion matrix of test is not 4 x 4"),
        (lambda c: c["experiences"].clear(), "0 finished experiences of 3"),
        (lambda c: c["run"].update(experiences=2), "3 finished experiences of 2"),
        (lambda c: c.update(task={"accuracy": [0.5], "accuracy_matrix": [[0.5]]}), "task.accuracy_matrix is not 3 x 3"),
        (lambda c: c["run"].update(experiences=4), "it is marked as complete after 3 of 4"),
        (lambda c: c["experiences"][1].update(index=7), "not numbered"),
        (lambda c: c["accuracy_matrix"].pop(), "accuracy_matrix is not 3 x 3"),
        (lambda c: c["accuracy_matrix"][0].pop(), "accuracy_matrix is not 3 x 3"),
        (lambda c: c["accuracy_matrix"][0].__setitem__(0, -0.1), "accuracy_matrix leaves the range"),
        (lambda c: c["test_accuracy"].append(0.5), "test_accuracy has 4 values for 3"),
        (lambda c: c["test_accuracy"].__setitem__(0, 1.5), "test_accuracy leaves the range"),
        (lambda c: c["seen_accuracy"].__setitem__(0, float("inf")), "seen_accuracy leaves the range"),
        (lambda c: c["test"]["confusion_matrix"].pop(), "confusion matrix of test is not 3 x 3"),
        (lambda c: c["test"]["confusion_matrix"][0].__setitem__(0, -1), "counts less than nothing"),
        (lambda c: c["first_test"]["confusion_matrix"][0].__setitem__(0, 10**30), "counts less than nothing, or too much"),
        (lambda c: c["test"]["per_class"].pop("ant"), "test scores other classes"),
        (lambda c: c["test"]["per_class"]["ant"].update(support=-5), "support of the classes in test"),
        (lambda c: c["test"]["per_class"]["ant"].update(recall=-0.5), "a score of test leaves the range"),
        (lambda c: c["variants"]["epsilon=0.1"]["test_accuracy"].pop(), "test_accuracy of epsilon=0.1 has 2 values"),
        (lambda c: c["variants"]["epsilon=0.1"]["test"]["confusion_matrix"].pop(), "epsilon=0.1 is not 3 x 3"),
        (lambda c: c["variants"]["epsilon=0.1"].update(extra={"n": {"ant": float("inf")}}), "not finite"),
        (lambda c: c.update(picked_variant=["epsilon=9"] * 3), "picked_variant names other variants"),
        (lambda c: c["experiences"][0].update(classes=[3]), "experience 0 has classes beyond the 3"),
        (lambda c: c["experiences"][0].update(seconds=-1.0), "negative or not finite"),
        (lambda c: c["base"].update(energy_kwh=float("inf")), "negative or not finite"),
        (lambda c: c["network"].update(macs=-1), "negative or not finite"),
        (lambda c: c["totals"].update(seconds=float("inf")), "negative or not finite"),
    ],
)  # fmt: skip
def test_contradictions_are_named(content: dict[str, Any], spoil: Spoil, why: str) -> None:
    spoiled = Results.model_validate(content).model_dump(by_alias=True)
    spoil(spoiled)
    with pytest.raises(DataError, match=f"its figures contradict each other: .*{why}"):
        check_results(Results.model_validate(spoiled))
