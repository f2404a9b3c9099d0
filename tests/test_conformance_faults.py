"""A broken strategy fails the kit's test of what it does wrong, and the kit says how it is used."""

import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from run_maker import make_run

from lightning_vision import Strategy, testing
from lightning_vision.results.schema import read_results
from lightning_vision.testing import StrategyConformance
from lightning_vision.testing.declarations import SOURCE, below_class_accuracy

# Broken strategy, the test that it must fail, what the test must say.
BROKEN = [
    ("NoSource", "docstring_cites_a_source", "The docstring cites no source"),
    ("TrainsTheHeadOnly", "declared_needs_are_true", "No stage trains the backbone. Declare freezes_backbone"),
    ("WrongKind", "declared_needs_are_true", "It overrides update, which is not called for kind = 'gradient'"),
    ("SaysFollows", "declared_needs_are_true", "declares follows_base, but overrides neither"),
    ("Remembers", "declared_needs_are_true", r"memory\(\) returns 4 rows, but memory_batch_size is 0"),
    ("RemembersNothing", "declared_needs_are_true", r"declares memory_batch_size = 4, but memory\(\) returns no rows"),
    ("RemembersTestImages", "declared_needs_are_true", "returns rows that are not training images"),
    ("LearnsTestImages", "declared_needs_are_true", "rows_to_learn returns rows that are not training images"),
    ("KeepsTheFirst", "declared_needs_are_true", r"holds other images than those that took their places, in \d+ of 8 places"),
    ("CountsBatches", "declared_needs_are_true", r"was offered \d+ images, which is no whole number of epochs"),
    ("TwoVariants", "declared_needs_are_true", "several variants, but needs_validation is False"),
    ("OneVariant", "declared_needs_are_true", "declares needs_validation, but predict returns a single variant"),
    ("LeavesOutTheBase", "declared_needs_are_true", "logits for classes of the base are not finite. Declare needs_base_data"),
    ("IgnoresTheBase", "declared_needs_are_true", "its state does not depend on the data of the base"),
    ("NotJoint", "declared_needs_are_true", r"declares the scenario Joint, but the run failed:\n(.|\n)*there is no past"),
    ("LearnsNothing", "learns_something", r"directly after it: \[0.0, 0.0\]; chance is \[0.33\d*, 0.25\]"),
    ("NeedsABatch", "few_images", "the run failed in experience 1, of 2 images"),
    ("KnowsThemAll", "class_seen_again", "contains a class of experience 0 again"),
    ("WaitsForABase", "head_may_grow", "from a base checkpoint of two classes failed"),
    ("OnlyFloat32", "bf16", "With trainer.precision=bf16-mixed the run failed"),
    ("MovesStatistics", "frozen_weights_are_untouched", r"with batch norm, the run failed(.|\n)*The backbone changed"),
    ("MovesFrozenWeights", "frozen_weights_are_untouched", r"\d+ tensors that it does not train changed .*backbone\.conv1"),
    ("ChangesImages", "inputs_are_not_mutated", r"loss changes batch\[0\].image in place"),
    ("ChangesFeatures", "inputs_are_not_mutated", "update changes features in place"),
    ("DecaysThePast", "own_parameters_stay", r"\d+ of \d+ values of network.head.weight move .*, of classes of the past, although"),
    ("MovesItsOwn", "own_parameters_stay", r"16 of 16 values of strategy.kept move under AdamW with decay 0.1, although no gradient"),
    ("CountsTests", "evaluation_changes_nothing", "predict changes strategy.examined"),
    ("KeepsEverything", "memory_is_bounded", r"strategy.all_features \(\d+ -> \d+ bytes\)"),
    ("ForgetsMeans", "state_survives_a_checkpoint", "What predict reads must be a registered buffer"),
    ("ForgetsTheCenter", "resumes_after_an_experience", "Stopped after experience 1 .* ends with different values of network"),
    ("ForgetsSteps", "resumes_within_an_experience", "Stopped in the middle of experience 2 .* ends with different values of network"),
    ("SumsAlone", "two_ranks_do_what_one_does", "ends with different values of strategy.total .* sum with self.reduce"),
    ("HardcodesASeed", "seeds_differ", "Two seeds give the same result from one base. .* self.draw_seed"),
    ("SaysDrawsNothing", "seeds_differ", "declares draws_nothing, but two seeds give different values of .*strategy.projection"),
    ("PinsASeed", "declared_needs_are_true", r"The default of its seed is 0.* self.draw_seed"),
    ("SaysNothingIsRandom", "declared_needs_are_true", "draws_nothing and kind = .gradient., but the order of batches"),
    ("ReducesEachBatch", "two_ranks_do_what_one_does", "Reduce once, after the loop over batches"),
]  # fmt: skip
# These look at one run all together.
CHEAP = (
    "docstring_cites_a_source",
    "learns_something",
    "inputs_are_not_mutated",
    "evaluation_changes_nothing",
    "state_survives_a_checkpoint",
)


def fault(test: StrategyConformance, name: str) -> str:
    """What a test of the kit says, failed or skipped; nothing if it passes."""
    try:
        getattr(test, f"test_{name}")()
    except pytest.fail.Exception as failed:
        return str(failed.msg)
    except pytest.skip.Exception as skipped:
        return f"skipped: {skipped.msg}"
    return ""


def kit_for(strategy: str, folders: pytest.TempPathFactory) -> StrategyConformance:
    """The kit's class for a broken strategy, as pytest would use it."""

    class Broken(StrategyConformance):
        pass

    Broken.strategy = f"broken_strategies.{strategy}"
    Broken.trial = Broken.make_trial(folders)
    return Broken()


@pytest.mark.parametrize(("strategy", "name", "said"), BROKEN, ids=[row[0] for row in BROKEN])
def test_a_broken_strategy_fails_the_test_of_its_fault(
    strategy: str, name: str, said: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    test = kit_for(strategy, tmp_path_factory)
    found = fault(test, name)
    assert found.startswith(f"{strategy}: ")
    assert re.search(said, found), found
    others = {other: fault(test, other) for other in CHEAP if other != name}
    assert not any(others.values()), others


@pytest.mark.parametrize(
    ("attributes", "error", "said"),
    [
        ({"strategy": dict}, TypeError, "expected a subclass of lightning_vision.Strategy, found <class 'dict'>"),
        (
            {"strategy": type("Lost", (Strategy,), {})},
            ValueError,
            "Lost cannot be imported, as a configuration does",
        ),
        (
            {"strategy": Strategy, "exempt": {"bf_16": "old"}},
            ValueError,
            "there is no 'bf_16'; expected some of bf16, ",
        ),
    ],
)
def test_what_a_subclass_may_get_wrong(
    attributes: dict[str, Any], error: type[Exception], said: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    class Mine(StrategyConformance):
        pass

    for name, value in attributes.items():
        setattr(Mine, name, value)
    with pytest.raises(error, match=re.escape(said)):
        Mine.make_trial(tmp_path_factory)


@pytest.mark.parametrize(
    ("words", "cites"),
    [
        ("Replay (arXiv 1902.10486).", True),
        ("See https://example.org/paper.", True),
        ("doi:10.1109/5.771073", True),
        ("ISBN 978-0-387-31073-2", True),
        ("The perceptron of Rosenblatt (1958)", True),
        ("Robbins and Monro, 1951", True),
        ("A. Carta et al., JMLR 24, 2023", True),
        ("An idea of mine.", False),
        ("The best of 2019, in 10.5 seconds", False),
    ],
)
def test_what_counts_as_a_source(words: str, cites: bool) -> None:
    assert bool(SOURCE.search(words)) == cites


def test_the_kit_says_that_it_needs_pytest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytest", None)
    with pytest.raises(
        ImportError, match=r"lightning_vision\.testing needs pytest, which is not installed. Run pip install"
    ):
        runpy.run_path(str(Path(testing.__file__)))


def test_accuracy_that_is_lower_where_the_experience_is_given_is_told(tmp_path: Path) -> None:
    task = {"accuracy": [1.0, 0.5], "accuracy_matrix": [[1.0, None], [0.5, 0.5]]}
    changes = {"task": task, "seen_accuracy": [1.0, 0.75]}
    run = make_run(tmp_path / "run", [0.5, 0.75], scenario="ClassIncremental", changes=changes)
    results = read_results(run / "results.json")
    (told,) = below_class_accuracy(results)
    assert told.startswith(
        "After experience 1, accuracy is 0.500 where the experience of each image is given, and 0.750"
    )
    results.seen_accuracy[1] = 0.5
    assert not list(below_class_accuracy(results))
    results.task = None
    assert not list(below_class_accuracy(results))
