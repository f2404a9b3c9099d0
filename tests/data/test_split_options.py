"""How a table is cut: official, by ratio, in folds, by the data's own parts."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from lightning_vision.data.scenarios import InstanceIncremental
from lightning_vision.data.split_options import Folds, Official, Parts, Ratio, Split, apply_split, left_out, read_split
from lightning_vision.errors import ConfigError

NAMES = ["a", "b"]


def table(count: int = 100, groups: int = 0, parts: tuple[str, ...] = ()) -> pd.DataFrame:
    rows = np.arange(count)
    samples = pd.DataFrame({"path": [f"{row}.jpg" for row in rows], "label": rows % 2, "split": ""})
    if groups:
        samples["group"] = [f"{row % 2} {row // 2 % groups}" for row in rows]
    if parts:
        samples["part"] = [parts[row // 2 % len(parts)] for row in rows]
    return samples


def cut(split: Split, samples: pd.DataFrame, val: float = 0.1, seed: int = 0) -> pd.DataFrame:
    return apply_split(split, samples, NAMES, val, 0.2, seed)[0]


def sizes(samples: pd.DataFrame) -> dict[str, int]:
    return {str(part): int(count) for part, count in samples["split"].value_counts().items()}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("official", Official()),
        ("ratio", Ratio(0.8, None, 0.2)),
        ("70/30", Ratio(0.7, None, 0.3)),
        ("70/15/15", Ratio(0.7, 0.15, 0.15)),
        ({"ratio": [0.9, 0.1]}, Ratio(0.9, None, 0.1)),
        ({"ratio": "60/20/20"}, Ratio(0.6, 0.2, 0.2)),
        ({"folds": 5, "fold": 2}, Folds(5, 2)),
        ({"folds": 3}, Folds(3, 0)),
        ({"train": "one", "test": ["two", "three"]}, Parts({"train": ("one",), "test": ("two", "three")})),
    ],
)
def test_read(asked: Any, expected: Split) -> None:
    assert read_split(asked, 0.2) == expected
    assert read_split(expected.describe(), 0.2) == expected, "the record names it as a configuration would"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("offical", "expected official; ratio"),
        ("70/40", "sum to 1 or 100"),
        ("0/100", "above 0"),
        ({"ratio": 0.7}, "two or three numbers"),
        ({"ratio": [0.7]}, "two .* or three"),
        ({"folds": 1}, "from 2 on"),
        ({"folds": 5, "fold": 5}, "from 0 to folds - 1"),
        ({"increments": "b", "test": "c"}, "increments need a base"),
        ({"base": "a", "train": "b"}, "base and increments, or train"),
        ({"base": "a", "test": "a"}, "'a' cannot have two roles"),
        ({"bse": "a"}, "expected official"),
    ],
)
def test_refused(asked: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_split(asked, 0.2)


class TestCuts:
    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            ("70/30", {"train": 63, "val": 7, "test": 30}),
            ("80/20", {"train": 72, "val": 8, "test": 20}),
            ("90/10", {"train": 81, "val": 9, "test": 10}),
            ("70/15/15", {"train": 70, "val": 15, "test": 15}),
            ({"folds": 5, "fold": 3}, {"train": 72, "val": 8, "test": 20}),
        ],
    )
    def test_shares_and_classes(self, asked: Any, expected: dict[str, int]) -> None:
        samples = cut(read_split(asked, 0.2), table())
        for part, count in expected.items():
            assert sizes(samples)[part] == pytest.approx(count, abs=1)
            labels = samples.loc[samples["split"] == part, "label"]
            assert abs(int((labels == 0).sum()) - int((labels == 1).sum())) <= 1, "stratified by class"

    @pytest.mark.parametrize("asked", ["70/30", "70/15/15", {"folds": 4}])
    def test_groups_are_never_parted(self, asked: Any) -> None:
        samples = cut(read_split(asked, 0.2), table(200, groups=10))
        assert (samples.groupby("group")["split"].nunique() == 1).all()
        assert set(samples["split"]) == {"train", "val", "test"}

    def test_folds_are_disjoint_and_cover_everything(self) -> None:
        tested = [set(np.flatnonzero(cut(Folds(4, fold), table())["split"] == "test")) for fold in range(4)]
        assert sorted(row for fold in tested for row in fold) == list(range(100))

    def test_the_seed_alone_moves_them(self) -> None:
        np.random.seed(1)
        one = cut(Ratio(0.7, None, 0.3), table())
        np.random.seed(2)
        assert one.equals(cut(Ratio(0.7, None, 0.3), table()))
        assert not one.equals(cut(Ratio(0.7, None, 0.3), table(), seed=1))

    def test_validation_comes_from_training(self) -> None:
        one, two = (cut(Ratio(0.7, None, 0.3), table(), val=val) for val in (0.1, 0.3))
        assert (one["split"] == "test").equals(two["split"] == "test")

    def test_an_official_split_is_overruled(self) -> None:
        samples = table().assign(split=["test" if row < 50 else "train" for row in range(100)])
        assert sizes(cut(Official(), samples, val=0.0)) == {"train": 50, "test": 50}
        assert sizes(cut(Ratio(0.8, None, 0.2), samples, val=0.0)) == {"train": 80, "test": 20}


class TestParts:
    ROLES = read_split({"base": "train1", "increments": "test2", "test": "test1"}, 0.2)

    def test_each_part_has_its_role(self) -> None:
        samples = cut(self.ROLES, table(120, parts=("train1", "test1", "test2")))
        assert set(samples.loc[samples["part"] == "test1", "split"]) == {"test"}
        assert set(samples.loc[samples["part"] != "test1", "split"]) == {"train", "val"}
        assert set(samples.loc[samples["split"] == "val", "role"]) == {"base", "increments"}

    def test_the_increments_are_cut_into_n(self) -> None:
        samples = cut(self.ROLES, table(240, groups=20, parts=("train1", "test1", "test2")))
        stream = InstanceIncremental(6).build(samples, NAMES)
        assert [experience.name for experience in stream][:2] == ["base", "increment 1"]
        parts = [set(samples["part"].iloc[experience.indices]) for experience in stream]
        assert parts == [{"train1"}] + [{"test2"}] * 5
        increments = samples.iloc[np.concatenate([e.indices for e in list(stream)[1:]])]
        assert len(increments) == ((samples["part"] == "test2") & (samples["split"] == "train")).sum()

    def test_a_base_alone_has_no_increments(self) -> None:
        samples = cut(self.ROLES, table(120, parts=("train1", "test1", "test2")))
        with pytest.raises(ConfigError, match="names a base and increments"):
            InstanceIncremental(1, base_fraction=1.0).build(samples, NAMES)

    def test_parts_without_a_role_are_left_out_and_reported(self) -> None:
        samples = table(90, parts=("train1", "test1", "test2"))
        kept, rows = apply_split(Parts({"train": ("train1",), "test": ("test1",)}), samples, NAMES, 0.1, 0.2, 0)
        assert len(kept) == len(rows) == 60
        assert kept["path"].tolist() == samples["path"].iloc[rows].tolist()
        assert left_out(samples, rows) == "data.split leaves out 30 images of 'test2'."

    def test_refused(self) -> None:
        with pytest.raises(ConfigError, match="no parts of its own"):
            cut(self.ROLES, table())
        with pytest.raises(ConfigError, match="no part 'test2'; it has 'train1', 'test1'"):
            cut(self.ROLES, table(parts=("train1", "test1")))
