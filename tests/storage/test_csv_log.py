from pathlib import Path

import pandas as pd
import pytest

from lightning_vision.errors import TrainingError
from lightning_vision.storage.csv_log import RowFile


def test_columns_grow_and_rows_keep_their_cells(tmp_path: Path) -> None:
    file = RowFile(tmp_path / "rows.csv")
    file.append({"step": 0, "loss": 0.5})
    file.append({"step": 1, "loss": 0.25, "name": 'a "quoted", text'})
    file.append({"step": 2, "accuracy": 0.75})
    table = pd.read_csv(file.path)
    assert list(table.columns) == ["step", "loss", "name", "accuracy"]
    assert table["step"].tolist() == [0, 1, 2]
    assert table["loss"].tolist()[:2] == [0.5, 0.25]
    assert table.loc[1, "name"] == 'a "quoted", text'
    assert table["accuracy"].isna().tolist() == [True, True, False]
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


@pytest.mark.parametrize("reopen", [False, True])
def test_the_last_row_is_updated(tmp_path: Path, reopen: bool) -> None:
    file = RowFile(tmp_path / "rows.csv")
    file.append({"step": 0, "loss": 0.123456789})
    file.append({"step": 1, "loss": 0.123456789, "accuracy": 0.5})
    if reopen:
        file = RowFile(file.path)
    file.update_last({"accuracy": 0.5625})  # longer
    file.update_last({"loss": 1})  # shorter
    file.update_last({"other": 7})  # a new column
    assert file.last == {"step": "1", "loss": "1", "accuracy": "0.5625", "other": "7"}
    file.append({"step": 2})
    table = pd.read_csv(file.path)
    assert table["loss"].tolist()[:2] == [0.123456789, 1.0]
    assert table["accuracy"].tolist()[1] == 0.5625
    assert table["step"].tolist() == [0, 1, 2]


def test_a_torn_last_row_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("step,loss\n0,0.5\n1,0.")
    file = RowFile(path)
    file.append({"step": 1, "loss": 0.25})
    assert path.read_text() == "step,loss\n0,0.5\n1,0.25\n"


@pytest.mark.parametrize("content", ["", "step,lo", "step,loss\n"])
def test_a_file_without_rows_is_continued(tmp_path: Path, content: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(content)
    file = RowFile(path)
    assert file.last == {}
    file.append({"step": 3, "loss": 0.5})
    file.append({"step": 4, "loss": 0.25})
    assert path.read_text() == "step,loss\n3,0.5\n4,0.25\n"


def test_kept_rows(tmp_path: Path) -> None:
    file = RowFile(tmp_path / "rows.csv")
    for step in range(5):
        file.append({"step": step})
    file.keep(lambda row: int(row["step"]) <= 2)
    assert file.last == {"step": "2"}
    file.append({"step": 9})
    assert file.path.read_text() == "step\n0\n1\n2\n9\n"
    file.keep(lambda row: False)
    assert file.last == {}
    file.append({"step": 1})
    assert file.path.read_text() == "step\n1\n"


def test_nothing_is_touched_before_the_first_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("step\n0\ntorn")
    RowFile(path)
    assert path.read_text() == "step\n0\ntorn"
    RowFile(tmp_path / "new.csv")
    assert not (tmp_path / "new.csv").exists()


def test_a_text_of_several_lines_stays_one_row(tmp_path: Path) -> None:
    file = RowFile(tmp_path / "rows.csv")
    file.append({"name": "two\nlines"})
    assert file.path.read_text() == "name\ntwo lines\n"


def test_a_disk_that_cannot_be_written(tmp_path: Path) -> None:
    file = RowFile(tmp_path / "missing" / "rows.csv")
    with pytest.raises(TrainingError, match=r"rows\.csv.*No such file.*--ckpt_path last"):
        file.append({"step": 0})


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device that is always full")
def test_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.symlink_to("/dev/full")
    file = RowFile(path)
    file._opened = True  # reading /dev/full never ends
    file._columns = ["step"]
    with pytest.raises(TrainingError, match="No space left"):
        file.append({"step": 0})
