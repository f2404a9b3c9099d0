"""After which batches of an online stream the accuracy is measured, on which images, and options that make no sense."""

from typing import Any

import numpy as np
import pytest
from coloured_squares import ColouredSquares

from lightning_vision import ClassIncremental, DomainIncremental, FromColumn, InstanceIncremental, Joint, Scenario
from lightning_vision.data.online_stream import MeasurementPlan, rows_to_measure
from lightning_vision.errors import ConfigError


def test_measurements_are_equally_far_apart_over_the_whole_stream() -> None:
    plan = MeasurementPlan((0, 5, 4, 7), 3)
    after = [
        (t, batch)
        for t, count in enumerate(plan.batches)
        for batch in range(count)
        if plan.measures_after(t, batch, count)
    ]
    assert after == [(1, 2), (2, 0), (2, 3), (3, 2), (3, 5)], "after 3, 6, 9, 12 and 15 of 16 batches"
    assert [plan.count(t) for t in range(4)] == [0, 1, 2, 2]
    # Remembered rows make 14 batches of the 7, and memory alone 3: after the same shares of the experience.
    assert [batch for batch in range(14) if plan.measures_after(3, batch, 14)] == [5, 11]
    assert [batch for batch in range(3) if plan.measures_after(3, batch, 3)] == [1, 2]


def test_about_ten_measurements_an_experience_and_none_in_the_base() -> None:
    stream = ColouredSquares(stream=InstanceIncremental(experiences=3), per_class=40).stream
    plan = MeasurementPlan.of(stream, None, batch_size=1)
    assert plan.batches == (0, *(len(experience.indices) for experience in list(stream)[1:]))
    assert 5 <= plan.count(1) <= 10 and abs(plan.count(1) - plan.count(2)) <= 1
    few = MeasurementPlan.of(stream, None, batch_size=64)
    assert few.every == 1 and sum(few.batches) == sum(few.count(t) for t in range(3))
    assert MeasurementPlan.of(stream.without_base(), None, batch_size=1).batches[0] > 0
    with pytest.raises(
        ConfigError, match=r"evaluate_every is 100, but the stream has only 4 batches.*Expected at most 4"
    ):
        MeasurementPlan.of(
            stream, 100, batch_size=sum(plan.batches) // 4 + 1 if sum(plan.batches) % 4 else sum(plan.batches) // 4
        )


def test_the_measured_images_are_a_fixed_stratified_part() -> None:
    rows = np.arange(100, 200)
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    part = rows_to_measure(rows, labels, 20, seed=3)
    assert len(part) == 20 and np.bincount(labels[part - 100]).tolist() == [12, 6, 2]
    assert np.array_equal(part, rows_to_measure(rows, labels, 20, seed=3))
    assert not np.array_equal(part, rows_to_measure(rows, labels, 20, seed=4))
    assert np.array_equal(rows_to_measure(rows[::-1], labels[::-1], None, seed=3), rows)


@pytest.mark.parametrize("make", [Joint, InstanceIncremental, ClassIncremental, DomainIncremental, lambda **o: FromColumn("day", **o)])  # fmt: skip
def test_every_scenario_can_be_online(make: type[Scenario]) -> None:
    assert not make().online and "online" not in make().describe()["init_args"]
    scenario = make(online=True, evaluate_every=5, evaluate_images=None)
    assert (scenario.online, scenario.evaluate_every, scenario.evaluate_images) == (True, 5, None)
    assert scenario.describe()["init_args"].items() >= {"online": True, "evaluate_every": 5}.items()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"online": True, "evaluate_every": 0}, r"data\.stream\.evaluate_every must be at least 1, or null, not 0"),
        ({"online": True, "evaluate_every": -2}, r"evaluate_every must be at least 1, or null, not -2"),
        ({"online": True, "evaluate_images": 0}, r"evaluate_images must be at least 1, or null, not 0"),
        ({"evaluate_every": 5}, r"evaluate_every is 5, which is for online streams.*Set data\.stream\.online to true"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ClassIncremental(**options)
