"""The notebooks of docs/ run from top to bottom, and are stored with small outputs."""

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
SMALLER = {
    "ten_minutes": {
        "[:800]": "[:600]",
        "seeds=range(3)": "seeds=range(1)",
        "base_epochs=15": "base_epochs=1",
        "max_epochs=5": "max_epochs=1",
    },
    "write_a_strategy": {
        "Digits(stream": "Digits(val_fraction=0.5, stream",
        "seeds=range(3)": "seeds=range(1)",
        '"base_epochs": 5': '"base_epochs": 1',
        '"max_epochs": 2': '"max_epochs": 1',
    },
}  # fmt: skip
"""By notebook, what the tests put in place of what a reader runs, so that all cells run in less time."""
MOST_BYTES, MOST_FIGURES = 200_000, 3
"""Of a notebook with its outputs: it is in every clone."""


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def code_of(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def make_smaller(notebook: Any, name: str) -> None:
    """Fewer images, seeds and epochs."""
    for before, now in SMALLER[name].items():
        cells = [cell for cell in code_of(notebook) if before in cell.source]
        assert cells, f"{name} has no {before} any more: change SMALLER"
        for cell in cells:
            cell.source = cell.source.replace(before, now)


def kinds(cell: Any) -> list[tuple[str, ...]]:
    """What sort of outputs a cell has; what libraries say on standard error is not stored."""
    outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return [(output.output_type, *sorted(output.get("data", {}))) for output in outputs]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PL_RUNTRAINER_LIMIT_TRAIN_BATCHES", "2")  # Lightning's name for an option of our Trainer
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    stored, fresh = read(path), read(path)
    make_smaller(fresh, path.stem)
    for cell in code_of(fresh):
        cell.outputs, cell.execution_count = [], None
    NotebookClient(fresh, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert [kinds(cell) for cell in code_of(fresh)] == [kinds(cell) for cell in code_of(stored)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stored_as_it_ran(path: Path) -> None:
    cells = code_of(read(path))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert outputs and not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) <= MOST_FIGURES
    text = path.read_text(encoding="utf-8")
    assert len(text) <= MOST_BYTES
    assert not re.search(r"(/home|/root|/tmp|/work|/dev/shm|/Users|[A-Z]:\\\\)", text), (
        "a path of the machine that ran it"
    )


def test_there_are_notebooks() -> None:
    assert {path.stem for path in NOTEBOOKS} == {"ten_minutes", "write_a_strategy"}
