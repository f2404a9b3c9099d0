"""The charts: which points stand where, what is said of them, and that names from disk are never formulas."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_maker import make_comparison, make_run

from lightning_vision.report.changes import ClassChange, Flips
from lightning_vision.report.chart import Chart, look, short_names
from lightning_vision.report.class_charts import LOST, WON, flips_chart, forgetting_chart, mean_forgetting
from lightning_vision.report.confusions import confusion_data, sparse
from lightning_vision.report.costs import cost_chart
from lightning_vision.report.gather import gather
from lightning_vision.report.learning_curves import MOST_POINTS, curve_charts, read_metrics
from lightning_vision.report.runs import Group
from lightning_vision.report.sections import group_section
from lightning_vision.report.stream_charts import MOST_CELLS, matrix_chart, stream_chart
from lightning_vision.report.sweeps import sweep_charts

HOSTILE = ("<script>alert(1)</script>", "datum.c1 + alert(2)", 'x"];alert(3)//')
FORMULAS = {"expr", "test", "filter", "calculate", "labelExpr", "field", "signal", "groupby", "as"}
"""Keys of a Vega-Lite specification whose texts are formulas or names of fields."""


def group_of(*folders: Path) -> Group:
    (group,) = gather(folders).groups
    return group


def labels(group: Group) -> list[str]:
    return [method.label for method in group.methods]


def drawn(chart: Chart | None) -> Chart:
    assert chart is not None
    return chart


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Group:
    """Two strategies and Retrain, three seeds each, on a base that has half of the images right."""
    accuracies = {
        "HeadOnly": {0: 0.6, 1: 0.6, 2: 0.7},
        "RanPAC": {0: 0.8, 1: 0.85, 2: 0.9},
        "Retrain": {0: 0.7, 1: 0.75, 2: 0.8},
    }
    return group_of(make_comparison(tmp_path_factory.mktemp("compared"), accuracies))


class TestCosts:
    def test_points_intervals_and_the_base_at_the_left_edge(self, compared: Group) -> None:
        chart = drawn(cost_chart(compared, labels(compared), "time"))
        rows = {row["c0"]: row for row in chart.datasets["rows"]}
        assert rows.keys() == {"HeadOnly", "RanPAC", "Retrain"}
        assert rows["RanPAC"]["c2"] == pytest.approx(0.85) and rows["RanPAC"]["c1"] == 4.0, "two increments of 2 s"
        ranked = {one.label: one for one in compared.ranking.methods}
        assert rows["HeadOnly"]["c3"] == pytest.approx(ranked["HeadOnly"].accuracy.low, abs=1e-4)
        (base,) = chart.datasets["base"]
        assert (
            base["c2"] == pytest.approx(0.5) and base["c1"] == pytest.approx(4.0 / 3, abs=1e-3) and base["c5"] == "0 s"
        )
        assert "cost 0" in chart.note and "RanPAC (4 s, 85.0 %)" in chart.words

    def test_the_front_goes_from_the_base_over_the_best_to_the_end(self, compared: Group) -> None:
        corners = drawn(cost_chart(compared, labels(compared), "energy")).datasets["front"]
        assert [corner["c2"] for corner in corners] == pytest.approx([0.5, 0.85, 0.85])
        assert corners[0]["c1"] < corners[1]["c1"] < corners[2]["c1"]

    def test_unknown_energy_is_said(self, tmp_path: Path) -> None:
        make_run(tmp_path / "a", strategy="strategies.HeadOnly", energy=None)
        make_run(tmp_path / "b", strategy="strategies.RanPAC")
        group = group_of(tmp_path)
        chart = drawn(cost_chart(group, labels(group), "energy"))
        assert (
            "Not shown, since their energy is not known: HeadOnly." in chart.note
            and "no complete run of Retrain" in chart.note
        )
        make_run(tmp_path / "b", strategy="strategies.RanPAC", energy=None)
        group = group_of(tmp_path)
        assert cost_chart(group, labels(group), "energy") is None
        assert drawn(cost_chart(group, labels(group), "time")).rows
        assert group_section(group, "g", labels(group), None).without_cost == ["The energy of learning is not known, or zero."]  # fmt: skip


class TestCurves:
    def test_values_marks_and_table(self, compared: Group) -> None:
        chart = curve_charts(compared, labels(compared))[0]
        own = [row for row in chart.datasets["rows"] if row["c3"] == "RanPAC, seed 1"]
        run = next(run for run in compared.runs if (run.method, run.seed) == ("RanPAC", 1))
        curve = read_metrics(run, ["val/accuracy"])["val/accuracy"].dropna()
        assert [row["c2"] for row in own] == pytest.approx(curve.tolist(), rel=1e-4)
        ends = [row["c4"] for row in chart.datasets["ends"] if row["c3"] == "RanPAC, seed 1"]
        assert ends == [1, 2, 3], "a mark an experience"
        assert len(chart.rows) == 3 * 3 + 3, "the bases' too" and {row["c0"] for row in chart.datasets["bases"]} == {
            "Base"
        }

    def test_long_curves_are_thinned(self, tmp_path: Path) -> None:
        folder = make_run(tmp_path / "run")
        lines = [
            "stream/step,val/accuracy,stream/experience",
            *(f"{step},{step / 1e4},{step // 5000}" for step in range(10_000)),
        ]
        (folder / "metrics.csv").write_text("\n".join(lines))
        group = group_of(tmp_path)
        rows = curve_charts(group, labels(group))[0].datasets["rows"]
        assert len(rows) == MOST_POINTS
        assert np.allclose([row["c2"] for row in rows], [row["c1"] / 1e4 for row in rows], atol=1e-4), (
            "means of neighbours"
        )

    def test_what_cannot_be_read_or_was_not_logged_is_named(self, tmp_path: Path) -> None:
        make_run(tmp_path / "good", strategy="strategies.HeadOnly")
        (make_run(tmp_path / "broken", strategy="strategies.EWC") / "metrics.csv").write_bytes(b'"\xff\n"a,,,')
        (make_run(tmp_path / "none", strategy="strategies.RanPAC") / "metrics.csv").unlink()
        (make_run(tmp_path / "other", strategy="strategies.FeCAM") / "metrics.csv").write_text(
            "stream/step,test/accuracy\n1,0.5\n"
        )
        group = group_of(tmp_path)
        note = curve_charts(group, labels(group))[0].note
        assert "closed forms have no epochs): FeCAM, seed 0." in note
        assert "could not be read: " in note and "EWC, seed 0 (" in note and "RanPAC, seed 0 (No such file" in note
        assert curve_charts(group, labels(group), {"val/other": "Other"}) == []


class TestStream:
    def test_means_and_bands_over_seeds(self, compared: Group) -> None:
        chart = drawn(stream_chart(compared, labels(compared), seen=False))
        last = [row for row in chart.datasets["rows"] if row["c0"] == "HeadOnly"][-1]
        assert (last["c1"], last["c3"], last["c4"], last["c5"]) == (
            3,
            pytest.approx(0.6),
            pytest.approx(0.7),
            "3 seeds",
        )
        assert last["c2"] == pytest.approx(0.6333, abs=1e-4)
        assert stream_chart(compared, labels(compared), seen=True) is None, "all classes are seen from the start"

    def test_a_single_experience_has_neither(self, tmp_path: Path) -> None:
        group = group_of(make_run(tmp_path / "run", [0.5], scenario="Joint"))
        assert stream_chart(group, labels(group), seen=False) is None and matrix_chart(group) is None

    def test_matrices_are_averaged_and_undefined_cells_left_out(self, tmp_path: Path) -> None:
        for seed in (0, 1):
            make_run(tmp_path / str(seed), [0.3, 0.5, 0.7], seed=seed, scenario="ClassIncremental")
        group = group_of(tmp_path)
        rows = drawn(matrix_chart(group)).datasets["rows"]
        matrices = [run.results.accuracy_matrix for run in group.runs]
        assert [(row["c2"], row["c1"]) for row in rows] == [(t + 1, i + 1) for t in range(3) for i in range(t + 1)]
        for row in rows:
            mean = sum(float(m[row["c2"] - 1][row["c1"] - 1] or 0) for m in matrices) / 2
            assert row["c3"] == pytest.approx(mean, abs=1e-4)

    def test_of_a_long_stream_every_few_rows_are_shown_and_the_last(self, tmp_path: Path) -> None:
        group = group_of(make_run(tmp_path / "run", [0.5] * 45, images=450))
        chart = drawn(matrix_chart(group))
        shown = {row["c2"] for row in chart.datasets["rows"]}
        assert 45 in shown and len(shown) == 15 <= MOST_CELLS and "One experience in 3" in chart.note


class TestClasses:
    def test_forgetting_is_listed_worst_first(self) -> None:
        seeds = [[ClassChange("a", 9, 0.9, 0.5, 0.4), ClassChange("b", 9, 0.5, 0.5, 0.6), ClassChange("new", 9, None, None, 0.5)], [ClassChange("a", 9, 0.8, 0.5, 0.7)]]  # fmt: skip
        forgetting = mean_forgetting(seeds)
        assert forgetting == {"a": pytest.approx(0.3), "b": pytest.approx(-0.1)}
        chart = drawn(forgetting_chart({"HeadOnly": forgetting, "EWC": {"b": 0.3}}, ["HeadOnly", "EWC"]))
        assert chart.rows == [("a", "30.0", ""), ("b", "-10.0", "30.0")]
        assert {(row["c0"], row["c1"]): row["c2"] for row in chart.datasets["rows"]} == {
            ("HeadOnly", "a"): 30.0,
            ("HeadOnly", "b"): -10.0,
            ("EWC", "b"): 30.0,
        }
        assert forgetting_chart({"HeadOnly": {}}, ["HeadOnly"]) is None

    def test_of_many_classes_the_worst_are_drawn_and_all_listed(self) -> None:
        chart = drawn(forgetting_chart({"EWC": {f"class {number}": number / 200 for number in range(196)}}, ["EWC"]))
        assert len(chart.datasets["rows"]) == 30 and len(chart.rows) == 196 and "166 more" in chart.note
        assert chart.rows[0] == ("class 195", "97.5")

    def test_flips_won_above_and_lost_below(self) -> None:
        seeds = [[Flips(1, "second", 4, 10, [], [])], [Flips(1, "second", 6, 20, [], [])]]
        chart = drawn(flips_chart({"EWC": seeds, "LwF": []}))
        assert [(row["c3"], row["c2"]) for row in chart.datasets["rows"]] == [(WON, 15.0), (LOST, -5.0)]
        assert chart.rows == [("EWC", "2", "second", "15.0", "5.0", "+10.0")] and "EWC +10" in chart.words
        assert flips_chart({"LwF": []}) is None


class TestSweep:
    def test_accuracy_recall_and_n_epsilon(self, tmp_path: Path) -> None:
        accuracy = {"variants.epsilon=0.01.test_accuracy": [0.5, 0.6, 0.9]}
        for seed in (0, 1):
            make_run(tmp_path / str(seed), strategy="strategies.MoveToData", seed=seed, epsilons=(0, 0.01, 0.1))
        group = group_of(tmp_path)
        for run in group.runs:
            run.results.variants["epsilon=0.01"].test_accuracy[-1] = accuracy["variants.epsilon=0.01.test_accuracy"][-1]
        over, recall, moved = sweep_charts(group, labels(group))
        rows = over.datasets["rows"]
        assert [(row["c5"], row["c1"]) for row in rows] == [("0", 0.001), ("0.01", 0.01), ("0.1", 0.1)]
        assert [row["c2"] for row in rows] == pytest.approx([0.7, 0.9, 0.7]) and over.datasets["bases"][0]["c2"] == 0.5
        assert "An epsilon of 0 is drawn at 0.001" in over.note and "epsilon=0 (seed 1)" in over.note
        assert len(recall.datasets["rows"]) == 3 * 3 and recall.datasets["means"][0]["c2"] == pytest.approx(
            0.7, abs=1e-3
        )
        assert {row["c2"] for row in moved.datasets["rows"]} == {1.0, 10.0}, "100 images; zero has no logarithm"

    def test_without_a_sweep_there_is_none(self, compared: Group) -> None:
        assert sweep_charts(compared, labels(compared)) == []


class TestConfusions:
    def test_zeros_take_one_number(self) -> None:
        assert sparse([[5, 0, 0], [0, 0, 2], [0, 0, 0]]) == [5, -4, 2]
        assert sparse([[0, 0], [0, 0]]) == [] and sparse([[0, 3], [1, 1]]) == [-1, 3, 1, 1]

    def test_seeds_can_be_added_up_or_chosen(self, compared: Group) -> None:
        data = confusion_data(compared)
        assert data["options"][:2] == [
            {"label": "RanPAC, 3 seeds added up", "runs": [0, 1, 2]},
            {"label": "RanPAC, seed 0", "runs": [0]},
        ]
        assert data["options"][-1] == {"label": "the base, seed 2", "runs": [11]} and len(data["runs"]) == 12

    def test_too_many_counts_are_kept_a_method(self, compared: Group, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("lightning_vision.report.confusions.MOST_NUMBERS", 20)
        data = confusion_data(compared)
        assert data["summed"] and len(data["runs"]) == len(data["options"]) == 4
        assert sum(number for number in data["runs"][0] if number > 0) == 3 * 60


def formulas(value: Any) -> list[str]:
    """Every text of a specification that is a formula or the name of a field."""
    if isinstance(value, list):
        return [text for item in value for text in formulas(item)]
    if not isinstance(value, dict):
        return []
    own = [str(item) for key, item in value.items() if key in FORMULAS]
    return own + [text for key, item in value.items() if key != "datasets" for text in formulas(item)]


def test_names_are_never_formulas(tmp_path: Path) -> None:
    for number, name in enumerate(HOSTILE):
        make_run(
            tmp_path / str(number), strategy="strategies.MoveToData", init_args={"word": name}, classes=HOSTILE,
            scenario="ClassIncremental", accuracies=[0.3, 0.5, 0.6], epsilons=(0.1, 0.2),
        )  # fmt: skip
    group = group_of(tmp_path)
    charts = group_section(group, "g", labels(group), None).charts
    assert len(charts) == 16
    for chart in charts:
        told = formulas(chart.spec)
        assert told and not [text for text in told if "alert" in text]
        assert set(chart.datasets) >= {chart.spec.get("data", {}).get("name", "rows")}


def test_panels_have_short_names_that_differ() -> None:
    names = [
        "short",
        "FullFineTune optimizer.lr=0.001 data.image_size=32 x",
        "FullFineTune optimizer.lr=0.002 data.image_size=32 x",
    ]
    assert short_names(names) == {names[0]: "short", names[1]: "FullFineTu…_size=32 x", names[2]: "FullFineTu…_size=32 x #2"}  # fmt: skip


def test_the_image(compared: Group) -> None:
    png = drawn(stream_chart(compared, labels(compared), seen=False)).png()
    assert png.startswith(b"\x89PNG\r\n") and len(png) > 20_000
    assert int.from_bytes(png[16:20], "big") > 1600, "at twice the resolution"
    assert look(dark=True)["axis"] != look(dark=False)["axis"]
