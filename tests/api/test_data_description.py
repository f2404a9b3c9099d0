"""What the subcommand ``data`` prints and writes, as an object."""

from pathlib import Path

import pytest

import lightning_vision as lv
from lightning_vision.cli import main
from lightning_vision.testing.squares import ColouredSquares


def test_it_says_what_the_command_line_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    described = lv.describe_data(ColouredSquares(), output=tmp_path / "page.html")
    assert main(["data", "--data=coloured_squares.ColouredSquares", f"--output={tmp_path / 'other.html'}"]) == 0
    printed = capsys.readouterr().out
    assert (tmp_path / "page.html").read_bytes() == (tmp_path / "other.html").read_bytes()
    html = described._repr_html_()
    for text in ("Images per class", "Leaks: ", "Sizes"):
        assert text in printed and text in html
    assert f"{int(described.report.totals.sum())} images" in repr(described)


def test_what_is_no_data_and_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(lv.ConfigError, match="expected a StreamDataModule, found str"):
        lv.describe_data("photos")  # type: ignore[arg-type]
    with pytest.raises(lv.ConfigError, match="expected an HTML file, found the folder"):
        lv.describe_data(ColouredSquares(), output=tmp_path)
