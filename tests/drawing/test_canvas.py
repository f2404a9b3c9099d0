"""Names that fit, files that are whole, and a look that leaves nothing behind."""

import csv
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from lightning_vision.drawing import canvas


def test_a_short_name_stays_as_it_is_and_a_long_one_loses_its_middle() -> None:
    assert canvas.fit_name("Acura RL Sedan 2012", 8, 210) == "Acura RL Sedan 2012"
    cut = canvas.fit_name("Chevrolet Silverado 1500 Hybrid Crew Cab 2012", 8, 100)
    assert cut.startswith("Chev")
    assert cut.endswith("2012")
    assert "…" in cut
    assert canvas.text_width(cut, 8) <= 100


@pytest.mark.parametrize(
    ("name", "shown"), [("a\nb\t c", "a b c"), ("", "?"), ("\x00bad\ud800", "bad"), ("$x_1^2$", "$x_1^2$")]
)
def test_a_name_is_one_line_of_printable_characters(name: str, shown: str) -> None:
    assert canvas.fit_name(name, 8, 210) == shown


def test_shortened_names_stay_different() -> None:
    names = [f"{'a' * 60}{middle}{'z' * 60}" for middle in "xyz"]
    assert len(set(canvas.fit_names(names, 8, 80))) == 3


def test_text_width_is_what_is_drawn() -> None:
    with canvas.house_style():
        figure = Figure(figsize=(6, 1), dpi=canvas.DPI)
        text = figure.text(0, 0.5, "Bentley Continental Supersports", size=9)
        drawn = text.get_window_extent().width * 72 / canvas.DPI
    assert canvas.text_width("Bentley Continental Supersports", 9) == pytest.approx(drawn, abs=0.5)


def test_the_style_overrules_the_users_settings_and_gives_them_back() -> None:
    with matplotlib.rc_context({"font.size": 31.0, "axes.facecolor": "red"}):
        before = dict(matplotlib.rcParams)
        with canvas.house_style():
            assert matplotlib.rcParams["font.size"] == 10.0
            assert matplotlib.rcParams["axes.facecolor"] == "white"
        assert dict(matplotlib.rcParams) == before


def test_saving_makes_the_folder_and_gives_the_same_bytes_again(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        figure = Figure(figsize=(1, 1), dpi=canvas.DPI)
        figure.add_axes((0, 0, 1, 1)).plot(np.arange(3))
        canvas.save(figure, tmp_path / "new" / name)
    one, two = (tmp_path / "new" / name for name in ("one.png", "two.png"))
    assert one.read_bytes() == two.read_bytes()
    assert Image.open(one).format == "PNG"
    assert sorted(path.name for path in one.parent.iterdir()) == ["one.png", "two.png"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    def rows() -> Iterator[list[object]]:
        yield ["new"]
        raise KeyboardInterrupt

    path = tmp_path / "table.csv"
    canvas.write_rows(path, [["old"]])
    with pytest.raises(KeyboardInterrupt):
        canvas.write_rows(path, rows())
    assert path.read_text(encoding="utf-8") == "old\n"
    assert list(tmp_path.iterdir()) == [path]


def test_rows_survive_the_way_through_a_file(tmp_path: Path) -> None:
    rows = [["a,b", 'say "x"', "two\nlines"], ["自転車", "$_^", ""]]
    canvas.write_rows(tmp_path / "table.csv", rows)
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as stream:
        assert list(csv.reader(stream)) == rows
    canvas.write_rows(tmp_path / "odd.csv", [["\ud800"]])
    assert (tmp_path / "odd.csv").read_text(encoding="utf-8") == "\\ud800\n"
