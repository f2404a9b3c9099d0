"""Scenarios: every training row once, in a fixed order, and what cannot be made is refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from coloured_squares import ColouredSquares

from lightning_vision.data.scenarios import (
    ClassIncremental,
    DomainIncremental,
    FromColumn,
    InstanceIncremental,
    Joint,
    Scenario,
)
from lightning_vision.data.stratified_split import split_samples
from lightning_vision.data.stream import Stream
from lightning_vision.errors import ConfigError, DataError

NAMES = ["ant", "bee", "cat", "dog", "eel", "fox"]
EVERY: list[Callable[..., Scenario]] = [
    Joint,
    InstanceIncremental,
    ClassIncremental,
    DomainIncremental,
    lambda seed=0: FromColumn("day", seed=seed),
]


def samples(per_class: int = 40) -> pd.DataFrame:
    labels = np.repeat(np.arange(6), per_class)
    frame = pd.DataFrame(
        {
            "path": [f"{NAMES[label]}/{row}.jpg" for row, label in enumerate(labels)],
            "label": labels.astype(np.int64),
            "split": "",
            "domain": [f"room {row % 4 + 8}" for row in range(len(labels))],
            "day": [[10, 9, 30][row % 3] for row in range(len(labels))],
        }
    )
    return split_samples(frame, NAMES, 0.25, 0.25, 0, frame["label"] + 10 * frame["day"])


def rows(stream: Stream) -> list[int]:
    return sorted(int(row) for item in stream for row in item.indices)


@pytest.mark.parametrize("make", EVERY)
def test_every_row_is_in_one_experience_of_its_split(make: Callable[[], Scenario]) -> None:
    data = samples()
    stream = make().build(data, NAMES)
    for part in ("train", "val", "test"):
        field = {"train": "indices", "val": "val_indices", "test": "test_indices"}[part]
        found = np.concatenate([getattr(item, field) for item in stream])
        assert sorted(found) == np.flatnonzero(data["split"] == part).tolist()
        assert found.dtype == np.int64
    assert len(stream) == len(list(stream)) and stream[0].index == 0
    seen: set[int] = set()
    for number, item in enumerate(stream):
        assert item.index == number
        assert item.classes == tuple(sorted(set(data["label"].iloc[item.indices])))
        assert item.new_classes == tuple(sorted(set(item.classes) - seen))
        seen |= set(item.classes)
        assert item.seen_classes == tuple(sorted(seen))


@pytest.mark.parametrize("make", EVERY)
def test_the_order_follows_from_the_seed_alone(make: Callable[..., Scenario]) -> None:
    data = samples()
    np.random.seed(3)
    first, again, other = (
        make(seed=0).build(data, NAMES),
        make(seed=0).build(data, NAMES),
        make(seed=1).build(data, NAMES),
    )
    assert first.hash == again.hash != other.hash
    assert [item.indices.tolist() for item in first] == [item.indices.tolist() for item in again]
    assert first[0].indices.tolist() != sorted(first[0].indices.tolist())
    assert rows(first) == rows(other)


def test_the_hash_knows_paths_and_labels() -> None:
    data = samples()
    stream = Joint().build(data, NAMES)
    assert Joint().build(data.assign(path=data["path"] + "x"), NAMES).hash != stream.hash
    assert Joint().build(data.assign(label=5 - data["label"]), NAMES).hash != stream.hash
    assert Joint().build(data.assign(day=0), NAMES).hash == stream.hash


def test_base_and_matrix() -> None:
    data = samples()
    streams = [make().build(data, NAMES) for make in EVERY]
    assert [stream.full_matrix for stream in streams] == [True, True, False, True, False]
    assert [stream[0].is_base for stream in streams] == [False, True, True, True, True]
    assert not any(item.is_base for stream in streams for item in stream.experiences[1:])
    given = InstanceIncremental(base_fraction=0).build(data, NAMES)
    assert not any(item.is_base for item in given)
    assert max(len(item.indices) for item in given) - min(len(item.indices) for item in given) <= 1


def test_instance_incremental_shares() -> None:
    stream = InstanceIncremental(experiences=5, base_fraction=0.5).build(samples(160), NAMES)
    train = 6 * 160 * 0.75 * 0.75
    assert [len(item.indices) for item in stream] == [train / 2] + [pytest.approx(train / 8, abs=1)] * 4
    assert [len(item.test_indices) for item in stream] == [48] * 5
    assert all(item.classes == tuple(range(6)) for item in stream)
    assert [item.name for item in stream] == ["base", "increment 1", "increment 2", "increment 3", "increment 4"]
    assert stream[1].new_classes == ()


def test_instance_incremental_keeps_groups_whole() -> None:
    data = samples().drop(columns="split").assign(split="", group=np.arange(240) // 4)
    data = split_samples(data, NAMES, 0.25, 0.25, 0)
    stream = InstanceIncremental(3).build(data, NAMES)
    homes = [set(data["group"].iloc[np.concatenate([i.indices, i.val_indices, i.test_indices])]) for i in stream]
    for part in ("indices", "val_indices", "test_indices"):
        groups = [set(data["group"].iloc[getattr(item, part)]) for item in stream]
        assert sum(len(group) for group in groups) == len(set.union(*groups))
    assert len(homes) == 3


def test_class_incremental_orders() -> None:
    data = samples()

    def classes(scenario: ClassIncremental) -> list[tuple[int, ...]]:
        return [item.classes for item in scenario.build(data, NAMES)]

    assert classes(ClassIncremental(3)) == [(0, 1), (2, 3), (4, 5)]
    assert classes(ClassIncremental(4)) == [(0, 1), (2, 3), (4,), (5,)]
    assert classes(ClassIncremental(3, base_classes=4)) == [(0, 1, 2, 3), (4,), (5,)]
    assert classes(ClassIncremental(1, base_classes=6)) == [(0, 1, 2, 3, 4, 5)]
    assert classes(ClassIncremental(2, class_order=["fox", "ant", "eel", "bee", "dog", "cat"])) == [
        (0, 4, 5),
        (1, 2, 3),
    ]
    drawn = classes(ClassIncremental(6, class_order="random", seed=1))
    assert sorted(drawn) == [(label,) for label in range(6)] and drawn != sorted(drawn)
    assert classes(ClassIncremental(6, class_order="random", seed=1)) == drawn
    stream = ClassIncremental(2).build(data, NAMES)
    assert stream[1].name == "dog, eel, fox"
    assert set(data["label"].iloc[stream[1].test_indices]) == {3, 4, 5}
    assert ClassIncremental(1).build(data, NAMES)[0].name == "ant, bee and 4 more"


ORDER_1993 = [68, 56, 78, 8, 23, 84, 90, 65, 74, 76]
"""The first ten classes of CIFAR-100 in most papers on class-incremental learning."""


def many_classes(count: int) -> tuple[pd.DataFrame, list[str]]:
    """Two training images and one test image of each class."""
    split = ["train", "train", "test"] * count
    labels = np.repeat(np.arange(count), 3).astype(np.int64)
    paths = [f"{row}.jpg" for row in range(3 * count)]
    return pd.DataFrame({"path": paths, "label": labels, "split": split}), [f"class {n}" for n in range(count)]


def test_a_seed_gives_the_published_order() -> None:
    data, names = many_classes(100)
    stream = ClassIncremental(100, class_order_seed=1993).build(data, names)
    assert [item.classes[0] for item in stream][:10] == ORDER_1993
    np.random.seed(1993)
    assert [item.classes[0] for item in stream] == np.random.permutation(100).tolist()
    other = ClassIncremental(100, class_order_seed=1994).build(data, names)
    assert [item.classes[0] for item in other][:3] == [72, 6, 33]


def test_a_class_without_training_images_keeps_its_number_in_a_published_order() -> None:
    data, names = many_classes(100)
    kept = data[~data["label"].isin([68, 78])].reset_index(drop=True)
    stream = ClassIncremental(98, class_order_seed=1993).build(kept, names)
    assert [item.classes[0] for item in stream][:5] == [56, 8, 23, 84, 90]


def test_an_order_by_number_is_that_by_name() -> None:
    order = [5, 0, 4, 1, 3, 2]
    by_number = ClassIncremental(3, class_order=order).build(samples(), NAMES)
    by_name = ClassIncremental(3, class_order=[NAMES[number] for number in order]).build(samples(), NAMES)
    assert by_number.hash == by_name.hash and by_number[0].classes == (0, 5)


@pytest.mark.parametrize("how", [{"class_order_seed": 1993}, {"class_order": [2, 0, 3, 1]}])
def test_a_base_with_another_class_list_does_not_change_an_order_by_number(how: dict[str, Any]) -> None:
    stream = ClassIncremental(4, **how)
    data = ColouredSquares(stream=stream)
    before = [data.class_names[item.classes[0]] for item in data.stream]
    assert before != data.class_names
    data.use_class_names(["violet", *reversed(data.class_names), "white"])
    assert [data.class_names[item.classes[0]] for item in data.stream] == before
    assert data.describe()["init_args"]["stream"]["init_args"] == {**stream.describe()["init_args"], **how}


@pytest.mark.parametrize("make", [DomainIncremental, lambda **options: FromColumn("domain", **options)])
def test_one_test_set_of_other_domains(make: Callable[..., Scenario]) -> None:
    data = samples()
    data.loc[data["split"] == "test", "domain"] = "room 99"
    stream = make(common_test=True).build(data, NAMES)
    assert [item.name for item in stream] == ["room 8", "room 9", "room 10", "room 11"]
    assert (
        sorted(np.concatenate([item.test_indices for item in stream]))
        == np.flatnonzero(data["split"] == "test").tolist()
    )
    assert len({len(item.test_indices) for item in stream}) == 1
    assert all(set(data["label"].iloc[item.test_indices]) == set(range(6)) for item in stream)
    again = make(common_test=True).build(data, NAMES)
    assert [item.test_indices.tolist() for item in again] == [item.test_indices.tolist() for item in stream]


def test_class_incremental_leaves_out_classes_without_training_images() -> None:
    names = [*NAMES, "gnu"]
    assert [item.classes for item in ClassIncremental(6).build(samples(), names)] == [(label,) for label in range(6)]
    order = ["gnu", *reversed(NAMES)]
    assert ClassIncremental(6, class_order=order).build(samples(), names)[0].classes == (5,)


def test_columns_are_ordered_by_number() -> None:
    data = samples()
    assert [item.name for item in DomainIncremental().build(data, NAMES)] == ["room 8", "room 9", "room 10", "room 11"]
    assert [item.name for item in FromColumn("day").build(data, NAMES)] == ["9", "10", "30"]
    dates = data.assign(day=pd.to_datetime(data["day"].map({9: "2024-01-09", 10: "2024-01-10", 30: "2023-01-30"})))
    names = [item.name for item in FromColumn("day").build(dates, NAMES)]
    assert names == ["2023-01-30 00:00:00", "2024-01-09 00:00:00", "2024-01-10 00:00:00"]
    stream = DomainIncremental("domain").build(data, NAMES)
    assert set(data["domain"].iloc[stream[2].val_indices]) == {"room 10"}


def test_key_column() -> None:
    data = samples()
    assert Joint().key_column(data) is None
    column = FromColumn("day").key_column(data)
    assert column is not None and column.equals(data["day"])


def test_describe_names_the_options() -> None:
    assert FromColumn("day", seed=2).describe() == {
        "class_path": "lightning_vision.data.scenarios.FromColumn",
        "init_args": {"column": "day", "seed": 2, "date_format": None, "common_test": False},
    }
    facts = InstanceIncremental(base_fraction=0).describe()
    assert facts["init_args"] == {"experiences": 5, "base_fraction": 0, "seed": 0}


def test_an_experience_that_a_checkpoint_reached_may_lie_beyond_the_stream() -> None:
    stream = ClassIncremental(3).build(samples(), NAMES)
    assert stream.reached(1) is stream[1] and stream.reached(0, True) is stream[0]
    kept = stream.reached(0, False)
    assert not kept.is_base and kept.new_classes == stream[0].new_classes
    beyond = stream.reached(7)
    assert (beyond.index, beyond.is_base, beyond.new_classes) == (7, False, ())
    assert beyond.classes == stream[2].classes and beyond.name == stream[2].name
    assert stream.reached(7, True).is_base


class TestRefused:
    def build(self, scenario: Scenario, data: pd.DataFrame | None = None) -> Stream:
        return scenario.build(samples() if data is None else data, NAMES)

    def test_options(self) -> None:
        with pytest.raises(ConfigError, match="at least 1 experience, not 0"):
            InstanceIncremental(0)
        with pytest.raises(ConfigError, match=r"at least 0 and less than 1, not 1\.0"):
            InstanceIncremental(2, 1.0)
        with pytest.raises(ConfigError, match="base_classes must be at least 1"):
            ClassIncremental(2, base_classes=0)
        with pytest.raises(ConfigError, match="a list of class names or 'random', not 'sorted'"):
            ClassIncremental(2, class_order="sorted")

    def test_more_experiences_than_classes(self) -> None:
        with pytest.raises(ConfigError, match="7 experiences cannot be made of 6 classes"):
            self.build(ClassIncremental(7))
        with pytest.raises(
            ConfigError, match=r"3 experiences with 5 classes in the first cannot .* fewer base_classes"
        ):
            self.build(ClassIncremental(3, base_classes=5))
        with pytest.raises(ConfigError, match="one experience with 5 of 6 classes leaves the others out"):
            self.build(ClassIncremental(1, base_classes=5))

    def test_more_experiences_than_images(self) -> None:
        with pytest.raises(ConfigError, match="500 experiences cannot be made of 135 training images"):
            self.build(InstanceIncremental(500))

    def test_an_experience_with_one_image_or_none(self) -> None:
        with pytest.raises(DataError, match=r"would have 1 training image and needs at least 2"):
            self.build(InstanceIncremental(135, base_fraction=0))
        few = samples().drop_duplicates("label").reset_index(drop=True).assign(split="train")
        with pytest.raises(DataError, match=r"Experience 0 \('ant'\) of ClassIncremental would have 1 training"):
            self.build(ClassIncremental(6), few)

    @pytest.mark.parametrize(("part", "word"), [("test", "test"), ("val", "validation")])
    def test_a_class_that_is_never_trained(self, part: str, word: str) -> None:
        data = samples()
        data.loc[data["label"].isin([2, 4]), "split"] = part
        with pytest.raises(
            DataError, match=f"The {word} data has classes that the training data never has: 'cat', 'eel'"
        ):
            self.build(Joint(), data)

    def test_class_order(self) -> None:
        with pytest.raises(ConfigError) as caught:
            self.build(ClassIncremental(2, class_order=["ant", "ant", "beee", "cat", "dog", "eel"]))
        text = str(caught.value)
        assert "'ant' occurs 2 times" in text
        assert "'beee' is no class (did you mean 'bee', 'eel'?)" in text
        assert "'bee', 'fox' are missing" in text

    def test_an_order_of_numbers(self) -> None:
        with pytest.raises(ConfigError) as caught:
            self.build(ClassIncremental(2, class_order=[0, 1, 1, 2, 3, 6]))
        text = str(caught.value)
        assert "'6' is no class; '1' occurs 2 times; 4 ('eel'), 5 ('fox') are missing" in text
        assert "The 6 classes have the numbers 0 to 5: 'ant'" in text

    def test_an_order_of_another_dataset(self) -> None:
        data, names = many_classes(100)
        with pytest.raises(
            ConfigError, match=r"'class 7x' is no class \(did you mean .*'class 7'.*'class 7' .*missing"
        ):
            order = [*names[:7], "class 7x", *names[8:]]
            ClassIncremental(10, class_order=order).build(data, names)
        with pytest.raises(ConfigError, match=r"'100' is no class; .*'119' is no class\. The 100 classes"):
            ClassIncremental(10, class_order=list(range(120))).build(data, names)

    def test_options_of_the_order(self) -> None:
        with pytest.raises(ConfigError, match="class_order and class_order_seed both say"):
            ClassIncremental(2, class_order=[1, 0], class_order_seed=1993)
        with pytest.raises(ConfigError, match=r"from 0 to 4294967295, not -1"):
            ClassIncremental(2, class_order_seed=-1)
        with pytest.raises(ConfigError, match="found both"):
            ClassIncremental(2, class_order=["ant", 1])  # type: ignore[arg-type]

    def test_an_unknown_column_lists_the_nearest_first(self) -> None:
        with pytest.raises(ConfigError, match=r"no column 'domains'\. Its columns, nearest first: 'domain'"):
            self.build(DomainIncremental("domains"))

    def test_missing_values(self) -> None:
        data = samples()
        data.loc[[3, 5], "domain"] = None
        with pytest.raises(DataError, match=r"2 images of 240 have no value in the column 'domain': 'ant/3.jpg'"):
            self.build(DomainIncremental(), data)

    def test_a_single_value(self) -> None:
        with pytest.raises(DataError, match="single value, 'x'"):
            self.build(DomainIncremental(), samples().assign(domain="x"))

    def test_a_domain_that_is_never_trained(self) -> None:
        data = samples()
        data.loc[data["domain"] == "room 9", "split"] = "test"
        with pytest.raises(DataError, match="no image with domain = 'room 9'"):
            self.build(DomainIncremental(), data)
