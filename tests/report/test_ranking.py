"""The ranking: means over seeds, verdicts against the best, and the answer in words."""

from pathlib import Path

import pytest
from run_maker import make_comparison, make_run
from scipy import stats

from lightning_vision.report.gather import gather
from lightning_vision.report.runs import Ranking


def ranking_of(folder: Path) -> Ranking:
    (group,) = gather([folder]).groups
    return group.ranking


@pytest.fixture(scope="module")
def ranking(tmp_path_factory: pytest.TempPathFactory) -> Ranking:
    accuracies = {
        "HeadOnly": {0: 0.60, 1: 0.65, 2: 0.62, 3: 0.66},
        "Retrain": {0: 0.80, 1: 0.86, 2: 0.83, 3: 0.85},
        "EWC": {0: 0.81, 1: 0.84, 2: 0.82, 3: 0.86},
        "LwF": {0: 0.70, 1: 0.75},
    }
    return ranking_of(make_comparison(tmp_path_factory.mktemp("ranking") / "c", accuracies, pictures=300))


def test_the_best_mean_comes_first(ranking: Ranking) -> None:
    assert [row.label for row in ranking.methods] == ["Retrain", "EWC", "LwF", "HeadOnly"]
    best = ranking.methods[0]
    low, high = stats.t.interval(0.95, 3, loc=0.835, scale=stats.sem([0.80, 0.86, 0.83, 0.85]))
    assert (best.mean, best.low, best.high) == pytest.approx((0.835, low, high))
    assert (best.difference, best.p_value, best.verdict) == (None, None, "best")


def test_verdicts_over_common_seeds(ranking: Ranking) -> None:
    rows = {row.label: row for row in ranking.methods}
    assert rows["EWC"].verdict == "not told apart"
    assert rows["HeadOnly"].verdict == "different"
    assert rows["HeadOnly"].difference == pytest.approx(-0.2025)
    p = stats.ttest_rel([0.60, 0.65, 0.62, 0.66], [0.80, 0.86, 0.83, 0.85]).pvalue
    assert rows["HeadOnly"].p_value == pytest.approx(p)
    assert rows["HeadOnly"].p_holm == pytest.approx(2 * p)  # three pairs have enough seeds; EWC and HeadOnly is smaller
    assert rows["LwF"].verdict == "cannot tell" and rows["LwF"].p_value is None
    assert rows["LwF"].difference == pytest.approx(0.725 - 0.83)
    assert ranking.can_tell


def test_the_answer_in_words(ranking: Ranking) -> None:
    assert (
        "Retrain has the highest mean, with 83.5 % of the test pictures right (mean of 4 seeds; 95 % interval"
        in ranking.words
    )
    assert "do not tell it apart from EWC" in ranking.words
    assert "better than HeadOnly by more than chance" in ranking.words
    assert "better than LwF nobody can tell: that takes at least 3 seeds" in ranking.words


def test_prices_are_means_over_seeds_without_the_base(ranking: Ranking) -> None:
    row = ranking.methods[0]
    assert row.fit_seconds == pytest.approx(4.0)
    assert (row.epochs, row.macs) == (2.0, 4099008)
    assert row.energy_kwh == pytest.approx(2e-6)
    assert (row.total_parameters, row.trainable_parameters) == (373658, 2570)
    assert row.seeds == [0, 1, 2, 3]


def test_a_clear_best(tmp_path: Path) -> None:
    folder = make_comparison(
        tmp_path / "c", {"A": {0: 0.9, 1: 0.91, 2: 0.92}, "B": {0: 0.5, 1: 0.52, 2: 0.51}}, pictures=300
    )
    found = ranking_of(folder)
    assert found.words.startswith("A is best, with 91.0 % of the test pictures right (mean of 3 seeds")
    assert "40.0 points more than B" in found.words


def test_under_three_seeds_it_cannot_tell(tmp_path: Path) -> None:
    found = ranking_of(make_comparison(tmp_path / "c", {"A": {0: 0.9, 1: 0.9}, "B": {0: 0.5, 1: 0.5}}))
    assert not found.can_tell
    assert [row.verdict for row in found.methods] == ["best", "cannot tell"]
    assert "better than the others nobody can tell: that takes at least 3 seeds" in found.words


def test_three_seeds_that_differ_by_one_picture_each_are_no_proof(tmp_path: Path) -> None:
    found = ranking_of(
        make_comparison(tmp_path / "c", {"A": {0: 0.9, 1: 0.8, 2: 0.7}, "B": {0: 0.88, 1: 0.78, 2: 0.68}}, pictures=50)
    )
    assert [row.verdict for row in found.methods] == ["best", "not told apart"]
    assert 0 < (found.methods[1].p_value or 0) < 0.1


def test_one_method_and_none(tmp_path: Path) -> None:
    make_run(tmp_path / "one" / "a", [0.5, 0.6])
    assert "There is no other method to compare it with" in ranking_of(tmp_path / "one").words
    make_run(tmp_path / "none" / "a", [0.5, 0.6], experiences=3)
    found = ranking_of(tmp_path / "none")
    assert (found.methods, found.can_tell) == ([], False)
    assert "No run is complete yet" in found.words


def test_a_price_that_one_seed_lacks_is_not_known(tmp_path: Path) -> None:
    make_run(tmp_path / "a", [0.5, 0.6], seed=0)
    make_run(tmp_path / "b", [0.5, 0.6], seed=1, energy=None)
    row = ranking_of(tmp_path).methods[0]
    assert row.energy_kwh is None and not row.on_front_energy
    assert row.on_front_time


def test_a_mean_over_other_seeds_is_not_taken_for_a_proof(tmp_path: Path) -> None:
    lucky = {0: 0.60, 1: 0.61, 2: 0.63, 3: 0.99, 4: 0.98, 5: 0.99}
    found = ranking_of(make_comparison(tmp_path / "c", {"A": {0: 0.70, 1: 0.72, 2: 0.73}, "B": lucky}, pictures=300))
    assert [row.label for row in found.methods] == ["B", "A"]
    assert found.methods[1].verdict == "different" and (found.methods[1].difference or 0) > 0
    assert "On the seeds that both have it is worse than A" in found.words
