"""The tables: what other programs read back, and Markdown that shows names as they are."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from run_maker import make_comparison, make_run

from lightning_vision.report.changes import class_changes
from lightning_vision.report.gather import gather
from lightning_vision.report.markdown import escaped
from lightning_vision.report.runs import GatheredRuns, Method
from lightning_vision.report.statistics import accuracy_interval
from lightning_vision.report.tables import ranking_markdown, write_tables


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> GatheredRuns:
    folder = tmp_path_factory.mktemp("tables") / "c"
    make_comparison(folder, {"HeadOnly": {0: 0.6, 1: 0.7, 2: 0.65}, "EWC": {0: 0.8, 1: 0.85}})
    make_run(folder / "runs" / "half", [0.5, 0.6], experiences=3, seed=2, strategy="strategies.EWC")
    make_run(folder / "runs" / "other", [0.5, 0.9], images_from="elsewhere")
    (folder / "runs" / "broken").mkdir()
    (folder / "runs" / "broken" / "results.json").write_text("{")
    return gather([folder])


@pytest.fixture(scope="module")
def written(comparison: GatheredRuns, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("out") / "deep" / "report"
    assert [path.name for path in write_tables(comparison, output)] == [
        "ranking.csv", "per_class.csv", "experiences.csv", "ranking.md", "table.tex", "table.md",
    ]  # fmt: skip
    return output


def test_the_ranking_is_read_back(written: Path, comparison: GatheredRuns) -> None:
    table = pd.read_csv(written / "ranking.csv")
    first = table[table["group"] == comparison.groups[0].name]
    assert first["method"].tolist() == ["EWC", "HeadOnly"]
    assert first["rank"].tolist() == [1, 2]
    assert first["test accuracy (%)"].tolist() == pytest.approx([82.5, 65.0], abs=0.9)  # of 60 images
    assert first["verdict"].tolist() == ["best", "not tested"]
    assert first["why not tested"].fillna("").tolist() == ["", "fewer than 3 common seeds"]
    assert (first["difference low (points)"] < first["difference to best (points)"])[1]
    assert (first["forgetting low (points)"] < first["forgetting (points)"]).all()
    assert (first["macro F1 high (%)"] > first["macro F1 (%)"]).all()
    assert first["seeds"].tolist() == ["0 1", "0 1 2"]
    assert first["difference to best (points)"].isna().tolist() == [True, False]
    assert first["learning time (s)"].tolist() == pytest.approx([4.0, 4.0])
    assert len(table) == 3  # the other test set is a group of its own


def test_classes_are_means_over_seeds(written: Path, comparison: GatheredRuns) -> None:
    table = pd.read_csv(written / "per_class.csv")
    group = comparison.groups[0]
    method = next(method for method in group.methods if method.label == "HeadOnly")
    row = table[(table["group"] == group.name) & (table["method"] == "HeadOnly") & (table["class"] == "bee")].iloc[0]
    lost = [next(c.forgetting for c in class_changes(run) if c.name == "bee") for run in method.runs]
    recall = [run.results.test.per_class["bee"]["recall"] for run in method.runs]
    assert row["forgetting (points)"] == pytest.approx(100 * sum(value or 0.0 for value in lost) / 3)
    assert row["recall (%)"] == pytest.approx(100 * sum(value or 0.0 for value in recall) / 3)
    assert (row["seeds"], row["test images"]) == (3, 20)
    assert row["recall low (%)"] < row["recall (%)"] < row["recall high (%)"]
    half = table[(table["group"] == group.name) & (table["method"] == "EWC") & (table["class"] == "bee")].iloc[0]
    one = accuracy_interval(bees_of(next(method for method in group.methods if method.label == "EWC")))
    assert [half["recall low (%)"], half["recall high (%)"]] == pytest.approx(
        [100 * (one.low or 0), 100 * (one.high or 0)]
    )


def bees_of(method: Method) -> npt.NDArray[np.bool_]:
    """(S, N) whether the complete runs are right on the images of the second class."""
    found = [run.read_predictions() for run in method.complete]
    return np.stack([one.correct[-1][one.order][one.label[one.order] == 1] for one in found])


def test_every_experience_of_every_run_has_a_row(written: Path) -> None:
    table = pd.read_csv(written / "experiences.csv")
    assert len(table) == 3 + 5 * 3 + 2 + 2  # bases, cells, half a run, another test set
    half = table[table["run"].str.endswith("half")]
    assert half["complete"].tolist() == [False, False]
    assert half["experience"].tolist() == [0, 1]
    base = table[table["method"] == "Base"]
    assert base["learning time (s)"].tolist() == pytest.approx([10.0] * 3)
    assert base["epochs"].tolist() == [5] * 3


def test_the_markdown_says_the_answer_the_remarks_and_what_is_left_out(written: Path) -> None:
    text = (written / "ranking.md").read_text(encoding="utf-8")
    assert text.startswith("# c\n\n    lightning-vision compare --output c\n")
    assert "EWC has the highest mean" in text
    assert "| EWC | 2 | 82.5 |" in text
    assert "- EWC with seed 2 is not finished (2 of 3 experiences) and is not ranked." in text
    assert "## Left out" in text and "broken" in text


def test_average_anytime_accuracy(tmp_path: Path) -> None:
    """The mean over seeds; empty where the stream is not online."""
    for seed, average in enumerate((0.4, 0.5)):
        own = {"anytime_accuracy": [average, None], "average_anytime_accuracy": average, "anytime_every": 20}
        make_run(tmp_path / str(seed), [0.5, 0.6], seed=seed, changes=own)
    make_run(tmp_path / "offline", [0.5, 0.5], strategy="strategies.EWC")
    write_tables(gather([tmp_path]), tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "ranking.csv").set_index("method")["average anytime accuracy (%)"]
    assert table["HeadOnly"] == pytest.approx(45) and pd.isna(table["EWC"])


def test_task_accuracy_and_memory(tmp_path: Path) -> None:
    """Beside the accuracy among all classes, and empty where experiences share classes."""
    task = {"accuracy": [1.0, 0.9], "accuracy_matrix": [[1.0, None], [0.8, 1.0]]}
    own = {"task": task, "memory_bytes": 4096}
    make_run(tmp_path / "a", [0.5, 0.6], scenario="ClassIncremental", changes=own)
    write_tables(gather([tmp_path]), tmp_path / "out")
    ranking, rows = (pd.read_csv(tmp_path / "out" / name).iloc for name in ("ranking.csv", "experiences.csv"))
    assert ranking[0]["task accuracy (%)"] == pytest.approx(90) and ranking[0]["memory (bytes)"] == 4096
    assert [rows[t]["task accuracy (%)"] for t in range(2)] == pytest.approx([100, 90])
    text = (tmp_path / "out" / "ranking.md").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith("| HeadOnly")]
    assert "| 90.0 |  |  |  |  |  |  |  | 4,096 |" in line
    shared = gather([make_run(tmp_path / "b", [0.5, 0.6])]).groups[0].ranking.methods[0]
    assert shared.task_accuracy is None and "|  |  |" in ranking_markdown(gather([tmp_path / "b"]))


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    names = ('<script>"alert"</script>', "a|b", "c,d\ne")
    make_run(tmp_path / "a", classes=names, strategy="s.<b>|x|</b>")
    comparison = gather([tmp_path])
    text = ranking_markdown(comparison)
    assert "<b>" not in text and r"&lt;b&gt;\|x\|&lt;/b&gt;" in text
    (table,) = [line for line in text.splitlines() if line.startswith("| &lt;b")]
    assert table.replace(r"\|", "").count("|") == 28
    write_tables(comparison, tmp_path / "out")
    rows = pd.read_csv(tmp_path / "out" / "per_class.csv")
    assert rows["class"].tolist() == list(names)


def test_markdown_escapes() -> None:
    assert escaped("a\n# b [x](y) `z` *w* ~u~ \\ & <") == r"a # b \[x\](y) \`z\` \*w\* \~u\~ \\ &amp; &lt;"
    assert escaped("\x1b[31m") == r"\\x1b\[31m"


def test_nothing_ranked_gives_tables_without_rows(tmp_path: Path) -> None:
    make_run(tmp_path / "a", [0.5], experiences=3)
    comparison = gather([tmp_path])
    paths = {path.name: path for path in write_tables(comparison, tmp_path / "out")}
    assert paths["ranking.csv"].read_text() == ""
    assert len(pd.read_csv(io.StringIO(paths["per_class.csv"].read_text()))) == 3
    assert "No run is complete yet" in paths["ranking.md"].read_text()
