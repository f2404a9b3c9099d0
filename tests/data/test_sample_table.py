"""The sample table: what is refused, how it is dealt and split."""

import numpy as np
import pandas as pd
import pytest

from lightning_vision.data.sample_table import check_samples, split_hash
from lightning_vision.data.stratified_split import deal, split_samples
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.seeding import derive_seed
from lightning_vision.terminal.wording import natural_key


def table(counts: list[int], split: str = "") -> pd.DataFrame:
    labels = np.repeat(np.arange(len(counts)), counts)
    paths = [f"{label}/{row:04d}.jpg" for row, label in enumerate(labels)]
    return pd.DataFrame({"path": paths, "label": labels.astype(np.int64), "split": split})


def test_derive_seed_is_a_fixed_function_of_the_words() -> None:
    assert derive_seed(0, "order", 1, 2) == 3574307557212342717
    assert derive_seed(np.int64(0), "order", 1, 2) == derive_seed(0, "order", 1, 2)  # type: ignore[arg-type]
    words: list[tuple[int | str, ...]] = [(0, "a"), ("0", "a"), (0, "a", 0), (1, "a"), ("0a",)]
    assert len({derive_seed(*several) for several in words}) == 5
    assert all(0 <= derive_seed(word) < 2**63 for word in range(100))


def test_natural_key_reads_numbers() -> None:
    names = ["img10", "IMG2", "img1", "b", "10", "9"]
    assert sorted(names, key=natural_key) == ["9", "10", "b", "img1", "IMG2", "img10"]


class TestCheck:
    def test_a_good_table_passes(self) -> None:
        check_samples(table([3, 2]), ["a", "b"])
        check_samples(table([3, 2]).assign(path="clip.mp4", frame=range(5)), ["a", "b"])

    def test_missing_columns_are_named(self) -> None:
        with pytest.raises(DataError, match=r"lacks the 2 columns 'label', 'split'.*has 'path'"):
            check_samples(pd.DataFrame({"path": ["x"]}), ["a"])

    def test_empty(self) -> None:
        with pytest.raises(DataError, match="no rows"):
            check_samples(table([]), [])

    def test_all_problems_at_once(self) -> None:
        samples = pd.DataFrame(
            {
                "path": ["a/0.jpg", "a/1.jpg", "", "b/3.jpg", "b/3.jpg"],
                "label": [7, 0, 0, 1, 1],
                "split": ["", "dev", "", "", ""],
            }
        )
        samples.index = pd.Index([5, 6, 7, 8, 9])
        with pytest.raises(DataError) as caught:
            check_samples(samples, ["a", "a"])
        text = str(caught.value)
        assert "6 problems" in text
        assert "'a' occurs twice" in text
        assert "row 0 (a/0.jpg) has label 7; the 2 classes have the labels 0 to 1" in text
        assert "row 1 (a/1.jpg) has split 'dev'" in text
        assert "row 2 has the path ''" in text
        assert "row 4 (b/3.jpg) is the same image as row 3" in text

    def test_the_first_twenty_are_listed_and_all_counted(self) -> None:
        with pytest.raises(DataError, match=r"30 problems(.|\n)*and 10 more") as caught:
            check_samples(table([30], split="other"), ["a"])
        assert str(caught.value).count("has split") == 20

    @pytest.mark.parametrize(
        ("labels", "names", "match"), [([0.5, 1.0], ["a", "b"], "float64"), ([0, 1], ["a", " "], "empty")]
    )
    def test_labels_and_names(self, labels: list[float], names: list[str], match: str) -> None:
        with pytest.raises(DataError, match=match):
            check_samples(table([1, 1]).assign(label=labels), names)


class TestDeal:
    @pytest.mark.parametrize("fractions", [[0.7, 0.1, 0.2], [0.5, 0.125, 0.125, 0.125, 0.125], [1 / 3] * 3, [1.0]])
    def test_each_part_has_its_share_of_each_label_and_of_all(self, fractions: list[float]) -> None:
        counts = [9, 10, 53, 200, 17, 33]
        labels = np.repeat(np.arange(6), counts)
        parts = deal(labels, fractions, (0, "x"))
        for label, count in enumerate(counts):
            given = np.bincount(parts[labels == label], minlength=len(fractions))
            assert (np.abs(given - np.array(fractions) * count) < 1).all()
        total = np.bincount(parts, minlength=len(fractions))
        assert (np.abs(total - np.array(fractions) * len(labels)) <= 1.5).all()

    def test_exact_where_the_shares_are_whole(self) -> None:
        labels = np.arange(400) % 4
        parts = deal(labels, [0.7, 0.1, 0.2], (3,))
        for label in range(4):
            assert np.bincount(parts[labels == label]).tolist() == [70, 10, 20]

    def test_a_label_with_one_image_goes_to_the_largest_part(self) -> None:
        assert (deal(np.arange(20), [0.2, 0.8], (0,)) == 1).all()

    def test_only_the_words_move_it(self) -> None:
        labels = np.arange(100) % 3
        np.random.seed(1)
        first = deal(labels, [0.5, 0.5], (0, "a"))
        np.random.seed(2)
        assert (deal(labels, [0.5, 0.5], (0, "a")) == first).all()
        assert (deal(labels, [0.5, 0.5], (1, "a")) != first).any()
        assert (deal(labels, [0.5, 0.5], (0, "b")) != first).any()

    @pytest.mark.parametrize("seed", range(5))
    def test_groups_are_never_parted(self, seed: int) -> None:
        generator = np.random.default_rng(seed)
        groups = generator.integers(0, 80, 1000)
        labels = groups % 5
        parts = deal(labels, [0.6, 0.2, 0.2], (seed,), groups)
        assert all(len(set(parts[groups == group])) == 1 for group in range(80))
        assert np.abs(np.bincount(parts) / 1000 - [0.6, 0.2, 0.2]).max() < 0.03

    def test_a_small_part_is_not_starved_by_large_groups(self) -> None:
        labels = np.repeat(np.arange(10), 400)
        groups = np.arange(4000) // 100  # four groups a label; a tenth is less than one
        parts = deal(labels, [0.9, 0.1], (0,), groups)
        assert np.bincount(parts).tolist() == [3600, 400]

    def test_a_label_of_one_group_is_trained_on(self) -> None:
        labels = np.repeat(np.arange(6), 10)
        assert (deal(labels, [0.9, 0.1], (0,), labels) == 0).all()

    def test_a_missing_group_is_a_group_of_its_own(self) -> None:
        parts = deal(np.zeros(40), [0.5, 0.5], (0,), np.full(40, None))
        assert np.bincount(parts).tolist() == [20, 20]

    def test_nothing_to_deal(self) -> None:
        assert deal([], [0.5, 0.5], (0,)).shape == (0,)
        assert deal([], [0.5, 0.5], (0,), []).shape == (0,)


class TestSplit:
    def test_all_three_parts_are_cut(self) -> None:
        split = split_samples(table([100, 50]), ["a", "b"], 0.1, 0.2, seed=0)
        counts = split.groupby(["label", "split"]).size().to_dict()
        assert counts == {
            (0, "train"): 72,
            (0, "val"): 8,
            (0, "test"): 20,
            (1, "train"): 36,
            (1, "val"): 4,
            (1, "test"): 10,
        }

    def test_the_test_set_does_not_depend_on_the_validation_fraction(self) -> None:
        one, two = (split_samples(table([100]), ["a"], val, 0.2, seed=0)["split"] for val in (0.1, 0.3))
        assert ((one == "test") == (two == "test")).all()

    def test_the_seed_moves_it_and_the_table_is_not_changed(self) -> None:
        samples = table([100])
        before = samples.copy()
        first = split_samples(samples, ["a"], 0.1, 0.2, seed=0)
        pd.testing.assert_frame_equal(samples, before)
        pd.testing.assert_frame_equal(split_samples(samples, ["a"], 0.1, 0.2, seed=0), first)
        other = split_samples(samples, ["a"], 0.1, 0.2, seed=1)
        assert split_hash(other) != split_hash(first)

    @pytest.mark.parametrize("official", ["val", "test"])
    def test_an_official_part_stays(self, official: str) -> None:
        samples = table([50])
        samples["split"] = np.where(np.arange(50) < 10, official, "")
        split = split_samples(samples, ["a"], 0.25, 0.25, seed=0)["split"]
        assert (split[:10] == official).all()
        assert not (split[10:] == official).any()
        assert set(split) == {"train", "val", "test"}

    def test_groups_and_a_second_value_to_stratify_by(self) -> None:
        samples = table([200]).assign(group=np.arange(200) // 5, day=np.arange(200) // 20)
        split = split_samples(samples, ["a"], 1 / 3, 0.25, 0, samples["day"])
        assert (split.groupby("group")["split"].nunique() == 1).all()
        assert (split.groupby("day")["split"].nunique() == 3).all()

    def test_no_cut_at_fraction_zero(self) -> None:
        assert set(split_samples(table([10]), ["a"], 0, 0, 0)["split"]) == {"train"}

    def test_no_training_data(self) -> None:
        with pytest.raises(DataError, match="no training data: all 3 images are in 'test'"):
            split_samples(table([3], split="test"), ["a"], 0.1, 0.2, 0)

    @pytest.mark.parametrize("fraction", [-0.1, 1.0])
    def test_fractions(self, fraction: float) -> None:
        with pytest.raises(ConfigError, match="val_fraction must be at least 0 and less than 1"):
            split_samples(table([3]), ["a"], fraction, 0.2, 0)
        with pytest.raises(ConfigError, match="test_fraction"):
            split_samples(table([3]), ["a"], 0.2, fraction, 0)
