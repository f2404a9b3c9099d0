"""The kit finds what a strategy sets into a backbone wrongly, and predictions in which images meet."""

import re

import pytest
from test_conformance_faults import BROKEN, fault

from lightning_vision.testing import StrategyConformance

FAULTS = {
    "GraftsBadly": {
        "grafts_are_replayed": r"before_experience sets 1 graft\(s\) more if it is called for experience 0 again",
        "ungrafted_backbone_is_intact": r"With its grafts switched off, the backbone gives other features than after experience 0",
        "memory_is_bounded": r"The state grows .*network\.backbone\.blocks\.0\.grafts\.number-\d\.down\.weight \(0 -> \d+ bytes\)",
    },
    "SetsItsOwnModule": {
        "grafts_are_replayed": r"A network with the grafts that the checkpoint of experience 0 names cannot load it.*backbone\.mine",
    },
    "LooksAtTheBatch": {
        "images_do_not_meet": r"predict gives other logits if the images come one by one than in one batch"
    },
}
OTHERS = ("grafts_are_replayed", "ungrafted_backbone_is_intact", "images_do_not_meet", "evaluation_changes_nothing")


@pytest.mark.parametrize("strategy", FAULTS)
def test_a_strategy_fails_the_tests_of_its_faults(strategy: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    class Broken(StrategyConformance):
        pass

    Broken.strategy = f"broken_grafts.{strategy}"
    Broken.trial = Broken.make_trial(tmp_path_factory)
    for name, said in FAULTS[strategy].items():
        found = fault(Broken(), name)
        assert found.startswith(f"{strategy}: ") and re.search(said, found), found
    sound = {name: fault(Broken(), name) for name in OTHERS if name not in FAULTS[strategy]}
    assert not any(sound.values()), sound


def test_each_test_has_a_broken_strategy() -> None:
    tests = {name.removeprefix("test_") for name in dir(StrategyConformance) if name.startswith("test_")}
    assert {row[1] for row in BROKEN} | {name for faults in FAULTS.values() for name in faults} == tests
