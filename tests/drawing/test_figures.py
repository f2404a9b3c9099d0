"""The images as files and as figures: nothing overlaps, nothing is left out, nothing stays open."""

import csv
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from lightning_vision.drawing import canvas, figures
from lightning_vision.errors import DataError

HOSTILE = [
    "$x^2_1$",
    "a\nb\tc",
    "<b>&amp;</b>",
    "自転車 😀",
    "\\frac{1}{0} %#",
    "\ud800\x00",
    "",
    "ü" * 400,
    "$",
    "العربية",
]


def names_like_cars(number: int) -> list[str]:
    """Names of 14 to 54 characters, as in Stanford Cars, all different."""
    random = np.random.default_rng(0)
    return [("Make Model Convertible " * 3)[: random.integers(9, 50)].strip() + f" {1990 + i}" for i in range(number)]


def confusion(classes: int) -> npt.NDArray[np.int64]:
    random = np.random.default_rng(classes)
    return random.integers(20, 40, classes) * np.eye(classes, dtype=np.int64) + random.integers(
        0, 2, (classes, classes)
    )


def drawn_texts(figure: Figure) -> list[Text]:
    """All texts but empty ones and those of ticks outside the axes, which are never drawn."""
    texts: list[Text] = list(figure.texts)
    for axes in figure.axes:
        legend = axes.get_legend()
        texts += [*axes.texts, axes.title, axes.xaxis.label, axes.yaxis.label]
        texts += [] if legend is None else legend.get_texts()
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            texts += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    return [text for text in texts if text.get_visible() and text.get_text().strip()]


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    """The pairs of texts whose boxes share more than a dot once all is drawn."""
    with canvas.house_style():
        drawing = FigureCanvasAgg(figure)
        drawing.draw()  # type: ignore[no-untyped-call]
        texts = drawn_texts(figure)
        # An annotation's own box takes in its arrow, so the text's box is asked for.
        boxes = np.array([Text.get_window_extent(text).extents for text in texts])  # (N, 4)
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    pairs = np.argwhere(np.triu((high - low > 1.0).all(axis=-1), 1))
    return [(texts[i].get_text(), texts[j].get_text()) for i, j in pairs]


def metrics(epochs: Sequence[int]) -> pd.DataFrame:
    """A log of a run; an experience of 0 epochs is a closed form and has a test accuracy only."""
    rows: list[dict[str, float]] = []
    for experience, number in enumerate(epochs):
        for epoch in range(number):
            here = {"stream/experience": experience, "epoch": epoch}
            rows.append({**here, "train/loss": 2 / (epoch + 1), "train/accuracy": 0.7})
            rows.append({**here, "val/loss": 3 / (epoch + 1), "val/accuracy": 0.6})
        rows.append({"stream/experience": experience, "test/accuracy": 0.5 + 0.001 * experience})
    return pd.DataFrame(rows).assign(**{"stream/step": range(len(rows))})


def lower_triangle(size: int) -> npt.NDArray[np.float64]:
    return np.where(np.tri(size) > 0, np.linspace(0.4, 0.9, size * size).reshape(size, size), np.nan)


@pytest.mark.parametrize("classes", [1, 2, 9, 15, 16, 120, 196])
def test_no_text_of_a_confusion_matrix_overlaps(classes: int) -> None:
    assert overlapping(figures.confusion_figure(confusion(classes), names_like_cars(classes), "A title " * 12)) == []


def test_all_196_names_stand_on_both_axes() -> None:
    names = names_like_cars(196)
    axes = figures.confusion_figure(confusion(196), names).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    assert [label.get_text() for label in axes.get_xticklabels()] == names
    assert min(float(label.get_fontsize()) for label in axes.get_yticklabels()) * canvas.DPI / 72 > 12  # dots


def test_the_image_of_196_classes_is_small_and_fast(tmp_path: Path) -> None:
    began = time.process_time()
    canvas.save(figures.confusion_figure(confusion(196), names_like_cars(196), "196 classes"), tmp_path / "c.png")
    assert time.process_time() - began < 20  # 4 s on an idle core; the bound is for a machine that is not idle
    assert (tmp_path / "c.png").stat().st_size < 3e6
    width, height = Image.open(tmp_path / "c.png").size
    assert min(width, height) > 196 * 17


def test_a_small_confusion_matrix_shows_counts_recall_and_accuracy() -> None:
    figure = figures.confusion_figure([[7, 1, 0], [0, 2000, 0], [0, 0, 0]], ["a", "b", "c"], "Title")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert {"7", "1", "2,000", "recall", "88 %", "100 %", "-", "Title"} <= set(texts)
    assert "2,007 of 2,008 images correct (100.0 %)" in texts
    assert (figure.axes[0].get_ylabel(), figure.axes[0].get_xlabel()) == ("true class", "predicted class")


def test_the_colour_is_the_share_of_the_row_and_a_class_without_images_has_none() -> None:
    figure = figures.confusion_figure([[3, 1], [0, 0]], ["a", "b"])
    shares = figure.axes[0].collections[0].get_array()
    assert isinstance(shares, np.ma.MaskedArray)
    np.testing.assert_array_equal(shares.filled(-1.0), [[75.0, 25.0], [-1.0, -1.0]])


def test_the_confusion_table_is_complete(tmp_path: Path) -> None:
    matrix, names = confusion(196), names_like_cars(196)
    figures.confusion_csv(matrix, names, tmp_path / "c.csv")
    table = pd.read_csv(tmp_path / "c.csv", index_col=0)
    assert list(table.index) == list(table.columns) == names
    np.testing.assert_array_equal(table.to_numpy(), matrix)


@pytest.mark.parametrize("experiences", [1, 2, 5, 20, 21, 200])
def test_no_text_of_an_accuracy_matrix_overlaps(experiences: int) -> None:
    names = [f"experience {i}" for i in range(experiences)]
    figure = figures.accuracy_matrix_figure(lower_triangle(experiences), names, "A title", "A subtitle " * 20)
    assert overlapping(figure) == []
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == names


def test_the_accuracy_matrix_is_annotated_in_percent_and_says_what_is_hatched() -> None:
    figure = figures.accuracy_matrix_figure(np.array([[0.5, None], [0.25, 1.0]]), ["base", "next"], "", "seed 0")
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert {"50.0", "25.0", "100.0", "seed 0 · hatched: not defined"} <= texts
    full = figures.accuracy_matrix_figure([[0.5, 0.5]], ["base", "next"], "", "seed 0")
    assert "seed 0" in {text.get_text() for text in full.axes[0].texts}


def test_the_accuracy_table_leaves_the_undefined_empty(tmp_path: Path) -> None:
    figures.accuracy_matrix_csv([[0.1, np.nan], [1 / 3, 1.0]], ["base", "a,b"], tmp_path / "r.csv")
    with (tmp_path / "r.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows == [
        ["after learning \\ test part", "base", "a,b"],
        ["base", "0.1", ""],
        ["a,b", "0.3333333333333333", "1.0"],
    ]


@pytest.mark.parametrize(
    "epochs", [[1], [10] * 5, [30, 0, 0, 0, 0], [100, 0, 0, 0, 0], [0] * 5, [3] * 200, [1] * 200, [500] + [0] * 30]
)
def test_no_text_of_the_curves_overlaps(epochs: list[int]) -> None:
    names = ["base", *(f"2026-11-{i} delivery" for i in range(1, len(epochs)))]
    figure = figures.curves_figure(metrics(epochs), names)
    assert overlapping(figure) == []
    shown = {text.get_text() for text in figure.axes[0].texts} & set(names)
    assert shown == set(names) if len(names) <= 5 else 8 <= len(shown) < len(names)


def test_curves_show_percent_and_the_test_accuracy_of_closed_forms() -> None:
    figure = figures.curves_figure(metrics([2, 0]), ["base", "next"])
    lines = {line.get_label(): line for line in figure.axes[1].get_lines()}
    np.testing.assert_allclose(np.asarray(lines["training"].get_ydata(), float), [70, 70])
    np.testing.assert_allclose(np.asarray(lines["test, whole test set"].get_xdata(), float), [2, 3])
    np.testing.assert_allclose(np.asarray(lines["test, whole test set"].get_ydata(), float), [50, 50.1])


@pytest.mark.parametrize(
    ("epsilons", "picked"),
    [
        (np.logspace(-8, -2, 32), 1e-5),
        ([1e-5], None),
        ([1e-5, 2e-5, 5e-5], 2e-5),
        ([0.0, 1e-6, 1e-4], 0.0),
        ([0.0], 0.0),
    ],
)
def test_no_text_of_a_sweep_overlaps(epsilons: npt.ArrayLike, picked: float | None) -> None:
    accuracies = np.linspace(0.8, 0.9, np.size(epsilons))
    assert overlapping(figures.sweep_figure(epsilons, accuracies, 0.8, picked)) == []


def test_a_sweep_is_sorted_and_marks_the_base_and_the_picked_one() -> None:
    axes = figures.sweep_figure([1e-3, 1e-5, 1e-4], [0.7, 0.8, 0.9], 0.75, 1e-4).axes[0]
    curve, *_ = axes.get_lines()
    np.testing.assert_allclose(np.asarray(curve.get_xdata(), float), [1e-5, 1e-4, 1e-3])
    np.testing.assert_allclose(np.asarray(curve.get_ydata(), float), [80, 90, 70])
    assert axes.get_xscale() == "log"
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "after the last experience",
        "base, before any update (75.0 %)",
        "selected on validation data: 0.0001 (90.0 %)",
    ]


@pytest.mark.parametrize("number", [0, 1, 3, 24, 30])
def test_errors_of_any_size_and_layout_stand_side_by_side(number: int) -> None:
    shapes = [(30, 40, 3), (3, 8, 8), (64, 20)]
    images = [np.zeros(shapes[i % 3], np.uint8) for i in range(number)]
    names = [*HOSTILE, *names_like_cars(20)]
    figure = figures.errors_figure(images, [(names[i], names[-i - 1], i / 30) for i in range(number)])
    assert overlapping(figure) == []
    assert len(figure.axes[0].images) == min(number, 24)


def test_the_most_confident_error_comes_first() -> None:
    images = [np.full((4, 4), shade, np.uint8) for shade in (10, 20, 30)]
    figure = figures.errors_figure(images, [("a", "b", 0.5), ("a", "c", 0.9), ("a", "d", 0.7)])
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts[:6:2]] == ["✗ c, 90.0 %", "✗ d, 70.0 %", "✗ b, 50.0 %"]
    assert int(np.asarray(axes.images[0].get_array())[0, 0]) == 20


def test_hostile_names_are_drawn_as_they_are_and_written_as_files(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = figures.confusion_figure(confusion(len(HOSTILE)), HOSTILE, "$\\frac{ <i>^_")
        labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        assert {"$x^2_1$", "$", "a b c", "<b>&amp;</b>", "\\frac{1}{0} %#", "? #5"} <= set(labels)
        canvas.save(figure, tmp_path / "confusion.png")
        figures.confusion_csv(confusion(len(HOSTILE)), HOSTILE, tmp_path / "confusion.csv")
        canvas.save(
            figures.accuracy_matrix_figure(lower_triangle(10), HOSTILE, "$", "$\\x$"), tmp_path / "accuracy.png"
        )
        figures.accuracy_matrix_csv(lower_triangle(10), HOSTILE, tmp_path / "accuracy.csv")
        canvas.save(figures.curves_figure(metrics([2] * 10), HOSTILE, "$a$ $\\"), tmp_path / "curves.png")
        canvas.save(figures.sweep_figure([1e-5], [0.5], None, None), tmp_path / "sweep.png")
        canvas.save(
            figures.errors_figure([np.zeros((3, 3, 3), np.uint8)], [("$\\a$", "\n", 1.0)]), tmp_path / "errors.png"
        )
    assert len(list(tmp_path.iterdir())) == 7
    assert len(pd.read_csv(tmp_path / "confusion.csv")) == len(HOSTILE)
    for path in tmp_path.glob("*.png"):
        with Image.open(path) as image:
            image.verify()


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (
            lambda: figures.confusion_figure(np.eye(3), ["a", "b"]),
            r"each of the 2 class names.*found the shape \(3, 3\)",
        ),
        (lambda: figures.confusion_figure(np.zeros((0, 0)), []), r"shape \(0, 0\)"),
        (lambda: figures.accuracy_matrix_figure(np.eye(2), ["a"]), r"1 experience names.*found the shape \(2, 2\)"),
        (lambda: figures.sweep_figure([1e-5], [0.1, 0.2], None, None), r"shapes \(1,\) and \(2,\)"),
        (lambda: figures.sweep_figure([-1e-5], [0.1], None, None), r"finite and not negative.*-1e-05"),
        (lambda: figures.errors_figure([], [("a", "b", 0.5)]), "0 images and 1 captions"),
        (lambda: figures.errors_figure([np.zeros((2, 5, 5), np.uint8)], [("a", "b", 0.5)]), r"shape \(2, 5, 5\)"),
    ],
)
def test_what_does_not_fit_together_is_named(draw: Callable[[], Figure], said: str) -> None:
    with pytest.raises(DataError, match=said):
        draw()


def test_pyplot_is_never_loaded(tmp_path: Path) -> None:
    program = (
        "import sys; from lightning_vision.drawing import canvas, figures\n"
        f"canvas.save(figures.confusion_figure([[1, 0], [0, 1]], ['a', 'b']), {str(tmp_path / 'c.png')!r})\n"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
    assert (tmp_path / "c.png").is_file()
