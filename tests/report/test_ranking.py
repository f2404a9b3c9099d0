"""The ranking: means over seeds, verdicts against the best, and the answer in words."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from run_maker import make_comparison, make_run
from scipy import stats
from statsmodels.stats.multitest import multipletests

from lightning_vision.report.gather import gather
from lightning_vision.report.proportion import Interval
from lightning_vision.report.runs import Ranking
from lightning_vision.results.schema import read_results


def ranking_of(folder: Path) -> Ranking:
    (group,) = gather([folder]).groups
    return group.ranking


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranking")


@pytest.fixture(scope="module")
def ranking(folder: Path) -> Ranking:
    accuracies = {
        "HeadOnly": {0: 0.60, 1: 0.65, 2: 0.62, 3: 0.66},
        "Retrain": {0: 0.80, 1: 0.86, 2: 0.83, 3: 0.85},
        "EWC": {0: 0.81, 1: 0.84, 2: 0.82, 3: 0.86},
        "LwF": {0: 0.70, 1: 0.75},
    }
    make_comparison(folder / "c", accuracies, images=300)
    return ranking_of(folder)


def correct_of(folder: Path, name: str, seeds: int) -> npt.NDArray[np.float64]:
    """(S, N) right and wrong at the end, from the files."""
    rows = []
    for seed in range(seeds):
        with np.load(folder / "c" / "runs" / f"{name}-seed={seed}" / "predictions.npz") as file:
            rows.append(file["predicted"][-1] == file["label"])
    return np.stack(rows).astype(np.float64)


def analysis(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean, its variance and degrees of freedom by the two-way analysis of variance, written out."""
    s, n = values.shape
    mean, rows, columns = values.mean(), values.mean(axis=1), values.mean(axis=0)
    ms_s = n * ((rows - mean) ** 2).sum() / (s - 1)
    ms_i = s * ((columns - mean) ** 2).sum() / (n - 1)
    ms_r = ((values - rows[:, None] - columns + mean) ** 2).sum() / ((s - 1) * (n - 1))
    v = ms_s + max(ms_i - ms_r, 0)
    df = v**2 / (ms_s**2 / (s - 1) + ms_i**2 / (n - 1) + ms_r**2 / ((s - 1) * (n - 1)))
    return float(mean), float(v / (s * n)), max(1.0, float(df))


def test_the_best_mean_comes_first(ranking: Ranking, folder: Path) -> None:
    assert [row.label for row in ranking.methods] == ["Retrain", "EWC", "LwF", "HeadOnly"]
    best = ranking.methods[0]
    p, variance, df = analysis(correct_of(folder, "Retrain", 4))
    n, t = p * (1 - p) / variance, stats.t.ppf(0.975, df)
    middle = (p + t**2 / (2 * n)) / (1 + t**2 / n)  # Wilson's interval
    half = t * (p * (1 - p) / n + t**2 / (4 * n**2)) ** 0.5 / (1 + t**2 / n)
    found = best.accuracy
    assert (found.mean, found.low, found.high) == pytest.approx((0.835, middle - half, middle + half))
    assert (best.difference, best.p_value, best.verdict, best.why) == (None, None, "best", "")


def test_verdicts_over_common_seeds_and_images(ranking: Ranking, folder: Path) -> None:
    rows = {row.label: row for row in ranking.methods}
    assert rows["EWC"].verdict == "not significant"
    assert rows["HeadOnly"].verdict == "significant"
    mean, variance, df = analysis(correct_of(folder, "HeadOnly", 4) - correct_of(folder, "Retrain", 4))
    p = 2 * stats.t.sf(abs(mean) / variance**0.5, df)
    found = rows["HeadOnly"].difference
    half = stats.t.ppf(0.975, df) * variance**0.5
    assert found is not None
    assert (found.mean, found.low, found.high) == pytest.approx((-0.2025, mean - half, mean + half))
    assert rows["HeadOnly"].p_value == pytest.approx(p)
    assert rows["LwF"].verdict == "not tested" and rows["LwF"].p_value is None
    assert rows["LwF"].why == "fewer than 3 common seeds"
    lower = rows["LwF"].difference
    assert lower is not None and lower.low is not None and lower.mean == pytest.approx(0.725 - 0.83)
    assert ranking.tested


def test_holm_is_over_the_pairs_that_are_tested(ranking: Ranking, folder: Path) -> None:
    """Three pairs have enough seeds; EWC and HeadOnly, which the page does not show, is one of them."""
    p = []
    for one, other in (("EWC", "Retrain"), ("HeadOnly", "Retrain"), ("HeadOnly", "EWC")):
        mean, variance, df = analysis(correct_of(folder, one, 4) - correct_of(folder, other, 4))
        p.append(2 * stats.t.sf(abs(mean) / variance**0.5, df))
    rows = {row.label: row for row in ranking.methods}
    corrected = multipletests(p, method="holm")[1]
    assert [rows["EWC"].p_holm, rows["HeadOnly"].p_holm] == pytest.approx(corrected[:2].tolist())


def test_the_answer_in_words(ranking: Ranking) -> None:
    assert "Retrain has the highest mean: a test accuracy of 83.5 % (mean of 4 seeds; 95 % interval" in ranking.words
    assert "The difference to EWC, 0.2 points, is not significant." in ranking.words
    assert "The difference to HeadOnly, 20.2 points, is significant." in ranking.words
    assert (
        "The difference to LwF could not be tested (fewer than 3 common seeds): a test needs at least 3 common seeds"
        in ranking.words
    )


def test_it_says_how_many_it_would_take(ranking: Ranking) -> None:
    assert ranking.how_many.startswith("How many seeds or images would the difference between Retrain and EWC take")
    assert "With these 300 test images" in ranking.how_many and "; with 4 seeds, " in ranking.how_many
    assert "for a difference of 0.2 points" in ranking.how_many and "after correction for 3 pairs" in ranking.how_many


def test_it_may_take_more_seeds_and_more_images(tmp_path: Path) -> None:
    """Each method is wrong on 18 or 20 images of its own with any seed, and on 20 more with one seed: a lead of 2 points."""
    labels = np.zeros(100, dtype=np.int64)
    for name, wrong, unlucky in (("A", slice(0, 18), 0), ("B", slice(18, 38), 2)):
        for seed in range(3):
            predicted = np.zeros((2, 100), dtype=np.int64)
            predicted[1, wrong] = 1
            predicted[1, 40 : 60 if seed == unlucky else 40] = 1
            make_run(tmp_path / f"{name}{seed}", labels=labels, predicted=predicted, images=100, seed=seed, strategy=f"strategies.{name}")  # fmt: skip
    found = ranking_of(tmp_path).how_many
    assert (
        "More seeds alone (with these 100 test images) or more test images alone (with 3 seeds) are not enough" in found
    )
    assert "for a difference of 2.0 points" in found


def test_prices_are_means_over_seeds_without_the_base(ranking: Ranking) -> None:
    row = ranking.methods[0]
    assert row.fit_seconds == pytest.approx(4.0)
    assert (row.epochs, row.macs) == (2.0, 4099008)
    assert row.energy_kwh == pytest.approx(2e-6)
    assert (row.total_parameters, row.trainable_parameters) == (373658, 2570)
    assert row.seeds == [0, 1, 2, 3]


def test_a_clear_best(tmp_path: Path) -> None:
    folder = make_comparison(
        tmp_path / "c", {"A": {0: 0.9, 1: 0.91, 2: 0.92}, "B": {0: 0.5, 1: 0.52, 2: 0.51}}, images=300
    )
    found = ranking_of(folder)
    assert found.words.startswith("A is best, with a test accuracy of 91.0 % (mean of 3 seeds")
    assert "40.0 points more than B" in found.words


def test_two_seeds_have_intervals_and_no_verdict(tmp_path: Path) -> None:
    found = ranking_of(make_comparison(tmp_path / "c", {"A": {0: 0.9, 1: 0.8}, "B": {0: 0.5, 1: 0.5}}))
    assert not found.tested
    assert [(row.verdict, row.why, row.p_value, row.p_holm) for row in found.methods] == [
        ("best", "", None, None), ("not tested", "fewer than 3 common seeds", None, None),
    ]  # fmt: skip
    difference = found.methods[1].difference
    assert difference is not None and difference.low is not None and difference.low < -0.35 < (difference.high or 0)
    assert all(row.accuracy.low is not None for row in found.methods)
    assert "The difference to the other methods could not be tested (fewer than 3 common seeds)" in found.words


def test_one_seed_is_two_models(tmp_path: Path) -> None:
    labels = np.zeros(40, dtype=np.int64)
    one, other = np.zeros((2, 40), dtype=np.int64), np.zeros((2, 40), dtype=np.int64)
    one[1, :2], other[1, 2:12] = 1, 1  # 2 images wrong here, 10 others there
    make_run(tmp_path / "a", labels=labels, predicted=one, images=40)
    make_run(tmp_path / "b", labels=labels, predicted=other, images=40, strategy="strategies.EWC")
    found = ranking_of(tmp_path)
    row = found.methods[1]
    assert (row.label, row.verdict, row.why, row.test) == ("EWC", "not tested", "fewer than 3 common seeds", "mcnemar")
    assert row.p_value == pytest.approx(stats.binomtest(2, 12).pvalue) and row.p_holm is None
    assert row.accuracy.low is not None and row.accuracy.low < 0.75 < (row.accuracy.high or 0)
    assert "With one seed, the spread over seeds is not known" in found.how_many


def test_seeds_that_change_nothing_are_no_proof(tmp_path: Path) -> None:
    """Two methods that are right on the same number of images but one, with every seed: t over seeds would be infinite."""
    labels = np.zeros(100, dtype=np.int64)
    for name, wrong in (("A", slice(0, 20)), ("B", slice(10, 31))):
        predicted = np.zeros((2, 100), dtype=np.int64)
        predicted[1, wrong] = 1
        for seed in range(3):
            make_run(
                tmp_path / f"{name}{seed}", labels=labels, predicted=predicted, images=100, seed=seed,
                strategy=f"strategies.{name}",
            )  # fmt: skip
    found = ranking_of(tmp_path)
    assert [(row.verdict, row.seed_free) for row in found.methods] == [("best", True), ("not significant", True)]
    # 10 images that B alone has right, 11 that A alone has: exact, for there are fewer than 25 of them.
    assert found.methods[1].test == "exact" and found.methods[1].p_value == pytest.approx(1.0)
    accuracy = found.methods[0].accuracy
    assert accuracy.low is not None and 0.70 < accuracy.low < 0.75, "as wide as for one model and 100 images"


def test_all_right_is_not_100_to_100(tmp_path: Path) -> None:
    make_comparison(tmp_path / "c", {"A": {seed: 1.0 for seed in range(3)}}, images=60)
    accuracy = ranking_of(tmp_path).methods[0].accuracy
    assert accuracy.mean == accuracy.high == 1.0
    assert accuracy.low == pytest.approx(0.025 ** (1 / 60))  # Clopper and Pearson


def test_without_predictions_nothing_is_tested(tmp_path: Path) -> None:
    folder = make_comparison(
        tmp_path / "c", {name: {seed: level for seed in range(3)} for name, level in (("A", 0.9), ("B", 0.5))}
    )
    for seed in range(3):
        (folder / "runs" / f"B-seed={seed}" / "predictions.npz").unlink()
    found = ranking_of(folder)
    a, b = found.methods
    assert not found.tested and (b.verdict, b.why, b.p_value) == ("not tested", "no predictions", None)
    assert a.accuracy.low is not None and b.accuracy == Interval(0.5, None, None)
    assert b.difference is not None and b.difference.low is None and b.difference.mean == pytest.approx(-0.4)
    assert b.macro_f1 is not None and b.macro_f1.low is None
    assert (
        "The difference to the other methods could not be tested (no predictions)" in found.words
        and found.how_many == ""
    )


def test_predictions_that_do_not_go_with_the_results_are_not_used(tmp_path: Path) -> None:
    folder = make_comparison(tmp_path / "c", {name: {seed: 0.9 - seed / 20 for seed in range(3)} for name in "AB"})
    path = folder / "runs" / "B-seed=1" / "predictions.npz"
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    arrays["predicted"][-1] = (arrays["label"] + 1) % 3
    np.savez(path, **arrays)
    (group,) = gather([folder]).groups
    assert any("its final accuracy is 0.00 %, and 85.00 % in results.json" in remark for remark in group.remarks)
    row = next(row for row in group.ranking.methods if row.label == "B")
    assert row.accuracy.low is None, "an interval over two of three seeds would be taken for that of three"
    assert not group.ranking.tested, "two common seeds are left"


def test_images_and_seeds_are_matched(tmp_path: Path) -> None:
    """In another order of the images, and with seeds in another order, nothing changes."""
    for folder, turned in (("one", False), ("other", True)):
        for name, level in (("A", 0.8), ("B", 0.6)):
            for seed in range(3):
                path = make_run(
                    tmp_path / folder / f"{name}{9 - seed if turned else seed}",
                    [0.5, level],
                    seed=seed,
                    strategy=f"strategies.{name}",
                )
                if turned and name == "B":
                    with np.load(path / "predictions.npz") as file:
                        arrays = {key: file[key][..., ::-1] for key in file.files}
                    np.savez(path / "predictions.npz", **arrays)
    one, other = ranking_of(tmp_path / "one"), ranking_of(tmp_path / "other")
    assert one.methods == other.methods
    assert one.methods[1].p_value is not None


def test_without_common_seeds_there_is_no_test(tmp_path: Path) -> None:
    found = ranking_of(make_comparison(tmp_path / "c", {"A": {0: 0.9, 1: 0.8, 2: 0.9}, "B": {3: 0.5, 4: 0.5, 5: 0.5}}))
    row = found.methods[1]
    assert (row.verdict, row.why, row.difference) == ("not tested", "no common seed", None)


def test_the_case_is_the_group(tmp_path: Path) -> None:
    """Twenty sequences of five frames that are right or wrong together: as few as 20 images, not 100."""
    labels = np.zeros(100, dtype=np.int64)
    found = {}
    for kind, groups in (("grouped", [f"g{n // 5}" for n in range(100)]), ("alone", None)):
        for name, wrong in (("A", 15), ("B", 35)):
            predicted = np.zeros((2, 100), dtype=np.int64)
            predicted[1, :wrong] = 1
            for seed in range(3):
                make_run(tmp_path / kind / f"{name}{seed}", labels=labels, predicted=predicted, images=100, seed=seed,
                         strategy=f"strategies.{name}", groups=groups)  # fmt: skip
        found[kind] = ranking_of(tmp_path / kind).methods[1]
    one, other = found["grouped"], found["alone"]
    assert one.difference is not None and other.difference is not None
    assert one.difference.mean == other.difference.mean == pytest.approx(-0.2)
    assert one.p_value == pytest.approx(0.125) and one.verdict == "not significant"  # 4 sequences to 0, exact
    assert other.p_value == pytest.approx(stats.binomtest(0, 20).pvalue) and other.verdict == "significant"
    width = [(interval.high or 0) - (interval.low or 0) for interval in (one.accuracy, other.accuracy)]
    assert width[0] > 1.8 * width[1]


def test_macro_f1_and_forgetting_have_intervals(tmp_path: Path) -> None:
    folder = make_comparison(tmp_path / "c", {"A": {seed: 0.8 + seed / 20 for seed in range(3)}}, images=300)
    (row,) = ranking_of(folder).methods
    runs = [read_results(folder / "runs" / f"A-seed={seed}" / "results.json") for seed in range(3)]
    for interval, values in (
        (row.macro_f1, [run.test.macro_f1 for run in runs]),
        (row.forgetting, [run.forgetting for run in runs]),
    ):
        assert interval is not None and interval.low is not None and interval.high is not None
        assert interval.mean == pytest.approx(np.mean([value or 0.0 for value in values]))
        assert interval.low < interval.mean < interval.high and 0.02 < interval.high - interval.low < 0.5


def test_an_older_file_has_no_interval_of_forgetting(tmp_path: Path) -> None:
    (row,) = ranking_of(make_comparison(tmp_path / "c", {"A": {0: 0.8, 1: 0.9, 2: 0.85}}, older=True)).methods
    assert row.forgetting is not None and row.forgetting.low is None
    assert row.accuracy.low is not None and row.macro_f1 is not None and row.macro_f1.low is not None


def test_holm_is_over_one_point_of_the_axes(tmp_path: Path) -> None:
    """Twice as many settings do not make a pair at one of them less sure."""
    levels = {"A": 0.85, "B": 0.75}
    alone = make_comparison(tmp_path / "alone", {name: {s: level for s in range(3)} for name, level in levels.items()})
    both = make_comparison(
        tmp_path / "both",
        {f"{name}{size}": {s: level - (size == 24) / 10 for s in range(3)} for name, level in levels.items() for size in (24, 32)},
    )  # fmt: skip
    file = json.loads((both / "comparison.json").read_text())
    for cell in file["cells"]:
        cell["settings"] = {"data.image_size": cell["method"][1:]}
    (both / "comparison.json").write_text(json.dumps(file))
    one = {row.label: row for row in ranking_of(alone).methods}
    found = {row.label: row for row in ranking_of(both).methods}
    assert one["B"].p_holm == one["B"].p_value
    assert found["B32"].p_holm == found["B32"].p_value, "the only pair at 32"
    assert (found["B24"].p_holm or 0) > (found["B24"].p_value or 0), "at another point than the best: of all six pairs"


def test_one_method_and_none(tmp_path: Path) -> None:
    make_run(tmp_path / "one" / "a", [0.5, 0.6])
    assert "There is no other method to compare it with" in ranking_of(tmp_path / "one").words
    make_run(tmp_path / "none" / "a", [0.5, 0.6], experiences=3)
    found = ranking_of(tmp_path / "none")
    assert (found.methods, found.tested) == ([], False)
    assert "No run is complete yet" in found.words


def test_a_price_that_one_seed_lacks_is_not_known(tmp_path: Path) -> None:
    make_run(tmp_path / "a", [0.5, 0.6], seed=0)
    make_run(tmp_path / "b", [0.5, 0.6], seed=1, energy=None)
    row = ranking_of(tmp_path).methods[0]
    assert row.energy_kwh is None and not row.on_front_energy
    assert row.on_front_time


def test_a_mean_over_other_seeds_is_not_taken_for_a_proof(tmp_path: Path) -> None:
    lucky = {0: 0.60, 1: 0.61, 2: 0.63, 3: 0.99, 4: 0.98, 5: 0.99}
    found = ranking_of(make_comparison(tmp_path / "c", {"A": {0: 0.70, 1: 0.72, 2: 0.73}, "B": lucky}, images=300))
    assert [row.label for row in found.methods] == ["B", "A"]
    assert (
        found.methods[1].verdict == "significant" and (found.methods[1].difference or Interval(0, None, None)).mean > 0
    )
    assert "On the seeds that both have, it is significantly worse than A" in found.words
