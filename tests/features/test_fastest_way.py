"""The way that is chosen is the fastest, within a limit of time, whatever else the machine does."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from lightning_vision.features import fastest_way
from lightning_vision.features.fastest_way import FEWEST, MOST_SECONDS, ROUNDS, Choice, Sample, Way, choose_way

SIZES = (4, 8, 16, 32)


class Machine:
    """Runs micro-batches in a time of its own.

    Args:
        own: Seconds of the processor per image of a way.
        busy: The factor by which other work lengthens the time on the wall of a measurement, by its number.
        waiting: Seconds in which threads wait for each other, per micro-batch.
    """

    def __init__(
        self, own: Callable[[Way], float], busy: Callable[[int], float] = lambda _: 1.0, waiting: float = 0.0
    ) -> None:
        self.own, self.busy, self.waiting = own, busy, waiting
        self.now, self.asked = 0.0, list[Way]()

    def measure(self, way: Way) -> Sample:
        own, factor = self.own(way), self.busy(len(self.asked))
        wall = factor * (own + self.waiting / way.micro_batch)
        self.asked.append(way)
        self.now += wall * way.micro_batch
        return Sample(wall, own, disturbed=factor > 1.05)

    def choose(self, seconds: float = math.inf) -> Choice:
        return choose_way(False, SIZES, self.measure, lambda: self.now, seconds)


def as_measured(way: Way) -> float:
    """Seconds per image of EfficientNet-Lite0 at 224 pixels on two cores."""
    last = {4: 0.0055, 8: 0.0063, 16: 0.0081, 32: 0.0136}
    contiguous = {4: 0.0071, 8: 0.0101, 16: 0.018, 32: 0.023}
    return (last if way.channels_last else contiguous)[way.micro_batch]


def test_the_fastest_is_chosen_and_what_is_hopeless_is_not_measured_again() -> None:
    machine = Machine(as_measured)
    found = machine.choose()
    assert found == Choice(Way(4, True), 0.0055, agreed=True)
    assert machine.asked.count(Way(4, True)) > ROUNDS
    assert machine.asked.count(Way(8, True)) == 1 + ROUNDS, "close to the fastest"
    assert machine.asked.count(Way(4, False)) == 1 + FEWEST, "the first is a warm-up"
    assert machine.asked.count(Way(16, True)) == 1 + FEWEST
    assert not {Way(8, False), Way(32, True)} & {*machine.asked}, "no larger one is tried than one that is slower"
    assert machine.now < MOST_SECONDS / 3


def test_a_short_pass_is_not_measured_for_long() -> None:
    """Of 1,000 images, which take 10 s, on a machine on which other work doubles each measurement."""
    machine = Machine(as_measured, busy=lambda _: 2.0)
    assert machine.choose(seconds=2.5).way == Way(4, True)
    assert machine.now < 2.5


def test_a_larger_one_may_be_the_fastest() -> None:
    """On many cores, where small ones leave most of them waiting."""
    machine = Machine(lambda way: 0.001 if way.channels_last else 0.0012, waiting=0.02)
    found = machine.choose()
    assert found.way == Way(32, True) and found.agreed


@pytest.mark.parametrize("load", [2.0, 6.0])
def test_other_work_all_the_time_changes_neither_the_choice_nor_the_limit(load: float) -> None:
    for seed in range(20):
        draw = np.random.default_rng(seed)
        machine = Machine(as_measured, busy=lambda _, draw=draw: draw.uniform(1.2, 2 * load))  # type: ignore[misc]
        found = machine.choose()
        assert found.way == Way(4, True) and found.own == 0.0055
        assert machine.now <= MOST_SECONDS + 2 * 32 * 0.0136 * 2 * load, "a measurement may end later than was expected"


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_core_whose_other_half_is_busy_now_and_then_changes_little(share: float) -> None:
    """The time of the processor itself is then longer by half."""
    chosen = []
    for seed in range(40):
        draw = np.random.default_rng(seed)
        machine = Machine(
            lambda way, draw=draw: as_measured(way) * (1.0 if draw.random() < share else 1.7),  # type: ignore[misc]
            busy=lambda _, draw=draw: draw.uniform(2, 4),  # type: ignore[misc]
        )
        chosen.append(machine.choose().way)
    fair = [as_measured(way) <= 1.16 * 0.0055 for way in chosen]
    assert sum(fair) >= 36, "the two best differ by 15 %"


def test_work_that_comes_and_goes_does_not_change_the_choice() -> None:
    for begin in range(3, 30, 3):
        machine = Machine(as_measured, busy=lambda number, begin=begin: 5.0 if begin <= number < begin + 6 else 1.0)  # type: ignore[misc]
        assert machine.choose().way == Way(4, True), f"busy from measurement {begin} on"


def test_a_machine_on_which_few_rounds_fit_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastest_way, "MOST_SECONDS", 0.2)
    machine = Machine(as_measured, busy=lambda _: 3.0)
    found = machine.choose()
    assert not found.agreed and found.way == Way(4, True)


def test_rounds_that_disagree_are_told() -> None:
    draw = np.random.default_rng(0)
    agreed = [Machine(lambda _: draw.uniform(0.005, 0.0075)).choose().agreed for _ in range(10)]
    assert not all(agreed)
