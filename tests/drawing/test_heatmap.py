"""The layout that both matrices share."""

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from lightning_vision.drawing import canvas
from lightning_vision.drawing.heatmap import heatmap


def draw(rows: int, columns: int, name: str = "n{}") -> Figure:
    return heatmap(
        np.full((rows, columns), 50.0),
        [name.format(i) for i in range(rows)],
        [name.format(i) for i in range(columns)],
        axis_names=("row", "column"),
        colours=colormaps["Blues"],
        scale=Normalize(0, 100),
        scale_name="share (%)",
        title="A title",
        subtitle="",
    )


def test_the_sheet_grows_with_the_matrix_up_to_a_limit() -> None:
    sides = [draw(n, n).get_figwidth() for n in (2, 9, 60, 350)]
    assert sides == sorted(sides)
    assert sides[-1] <= 34.0


@pytest.mark.parametrize(("classes", "shown"), [(196, 196), (600, 200)])
def test_names_are_thinned_only_where_they_have_no_room(classes: int, shown: int) -> None:
    axes = draw(classes, classes).axes[0]
    assert len(axes.get_yticks()) == len(axes.get_xticks()) == shown


@pytest.mark.parametrize(("name", "rotation"), [("{}", 0.0), ("experience {}", 90.0)])
def test_names_of_columns_are_upright_only_if_they_have_to_be(name: str, rotation: float) -> None:
    assert {label.get_rotation() for label in draw(5, 5, name).axes[0].get_xticklabels()} == {rotation}


def test_a_matrix_with_fewer_rows_than_columns_keeps_square_cells() -> None:
    figure = draw(2, 8)
    assert figure.get_figwidth() / figure.get_figheight() == pytest.approx(4.0)
    axes = figure.axes[0]
    assert axes.get_ylim() == (1.5, -0.5)  # the first row on top
    assert axes.get_xlim() == (-0.5, 7.5)


def test_text_in_a_cell_stands_out_from_its_colour() -> None:
    figure = heatmap(
        np.array([[0.0, 100.0]]),
        ["r"],
        ["low", "high"],
        axis_names=("row", "column"),
        colours=colormaps["Blues"],
        scale=Normalize(0, 100),
        scale_name="%",
        title="t",
        subtitle="",
        texts=[["dark", "light"]],
    )
    inks = {text.get_text(): text.get_color() for text in figure.axes[0].texts}
    assert inks["dark"] == canvas.INK
    assert inks["light"] == "white"
