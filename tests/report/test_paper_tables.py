"""Tables for a paper: LaTeX that compiles whatever the names are, Markdown, intervals and marks of significance."""

import re
from pathlib import Path

import pytest
from run_maker import make_comparison, make_run

from lightning_vision.cli import main
from lightning_vision.report.gather import gather
from lightning_vision.report.paper_tables import latex_escaped, paper_tables


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    accuracies = {
        "FullFineTune": {0: 0.40, 1: 0.42, 2: 0.41},
        "EWC": {0: 0.80, 1: 0.81, 2: 0.815},
        "Retrain": {0: 0.80, 1: 0.82, 2: 0.81},
    }
    return make_comparison(tmp_path_factory.mktemp("paper") / "c", accuracies, images=300)


def rows_of(latex: str) -> list[list[str]]:
    """The cells of the body, after a check that braces and columns are balanced."""
    plain = re.sub(r"\\[\\{}&%$#_]", lambda found: " " if found[0] != r"\\" else found[0], latex)
    assert plain.count("{") == plain.count("}")
    columns = len(re.search(r"\\begin{tabular}{l(r*)}", latex)[1]) + 1  # type: ignore[index]
    body = latex.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    found = [re.split(r"(?<!\\)&", line.strip().removesuffix(r"\\")) for line in body]
    assert all(len(cells) == columns for cells in found)
    return [[cell.strip() for cell in cells] for cells in found]


def test_latex_has_intervals_and_marks(folder: Path) -> None:
    text = paper_tables(gather([folder]), "latex")
    best, second, last = rows_of(text)
    assert best[0] == "Retrain" and re.fullmatch(r"\\textbf{81\.\d} {\\scriptsize \(\d\d\.\d to \d\d\.\d\)}", best[2])
    assert second[3].endswith(r"\textsuperscript{n.s.}") and last[3].startswith("$-$4")
    assert last[3].endswith(r"\textsuperscript{{*}{*}}")
    assert "{*}{*} p \\textless{} 0.01" in text and "n.s. not significant" in text and "Gap closed" in text
    assert r"\toprule" in text and "booktabs" in text


def test_markdown_has_the_same(folder: Path) -> None:
    text = paper_tables(gather([folder]), "markdown")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert re.search(r"\| Retrain \| 3 \| \*\*81\.\d\*\* \(\d\d\.\d to \d\d\.\d\) \|", text)
    assert re.search(r"\| FullFineTune \| 3 .*-4\d\.\d \(.*\) \\\*\\\* \|.*lower bound", text)


def test_hostile_names_are_printed_as_they_are(tmp_path: Path) -> None:
    name = r"\input{x} 50% $a_b^c$ #1 & ~ [*] --- <|>`'"
    make_run(tmp_path / "a", strategy=f"s.{name}")
    ((label, *_),) = rows_of(paper_tables(gather([tmp_path]), "latex"))
    assert label.startswith(
        r"\textbackslash{}input\{x\} 50\% \$a\_b\textasciicircum{}c\$ \#1 \& \textasciitilde{} {[}{*}{]}"
    )
    assert latex_escaped('a\n--\x1b[2J"') == r"a -{}-{}\textbackslash{}x1b{[}2J{\ttfamily\char34}"


def test_one_seed_is_not_tested(tmp_path: Path) -> None:
    make_run(tmp_path / "a", [0.5, 0.9])
    make_run(tmp_path / "b", [0.5, 0.6], strategy="strategies.EWC")
    text = paper_tables(gather([tmp_path]), "markdown")
    assert " n.t. |" in text and "n.t. not tested" in text


def test_the_command_prints_a_table_and_nothing_else(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(folder), "--output", str(tmp_path), "--table", "latex"]) == 0
    assert capsys.readouterr().out == (tmp_path / "table.tex").read_text(encoding="utf-8")
    assert main(["report", str(folder), "--table", "html"]) == 2
    assert "invalid choice: 'html' (choose from 'terminal', 'latex', 'markdown')" in capsys.readouterr().err
