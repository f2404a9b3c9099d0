"""Counting epochs through a stream, and drawing them."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from lightning_vision.drawing.curves import curves_figure, through_stream


def log(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame([{key.replace("_", "/"): value for key, value in row.items()} for row in rows])


def row(experience: float, epoch: float, step: float, **values: float) -> dict[str, Any]:
    return {"stream_experience": experience, "epoch": epoch, "stream_step": step, **values}


def test_epochs_are_counted_on_from_one_experience_to_the_next() -> None:
    metrics = log(
        row(0, 0, 1, train_loss=4.0),
        row(0, 0, 2, val_loss=5.0),
        row(0, 1, 3, train_loss=3.0),
        row(1, 0, 4, train_loss=2.0),
    )
    epochs, tests, bands = through_stream(metrics)
    assert epochs["train/loss"].to_dict() == {(0, 1): 4.0, (0, 2): 3.0, (1, 3): 2.0}
    assert epochs["val/loss"].dropna().to_dict() == {(0, 1): 5.0}
    assert bands == [(0, 2), (2, 3)]
    assert tests.empty


def test_steps_of_one_epoch_are_averaged_and_what_is_not_finite_is_left_out() -> None:
    metrics = log(row(0, 0, 1, train_loss=1.0), row(0, 0, 2, train_loss=3.0), row(0, 0, 3, train_loss=float("inf")))
    assert through_stream(metrics)[0]["train/loss"].to_dict() == {(0, 1): 2.0}


def test_a_stage_that_begins_again_at_epoch_0_follows_the_one_before() -> None:
    metrics = log(*(row(0, epoch, step, train_loss=float(step)) for step, epoch in enumerate([0, 1, 2, 0, 1])))
    epochs, _, bands = through_stream(metrics)
    assert epochs["train/loss"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert bands == [(0, 5)]


def test_an_epoch_that_was_run_again_after_a_resume_is_not_a_new_one() -> None:
    metrics = log(*(row(0, epoch, step, train_loss=float(step)) for step, epoch in [(1, 0), (2, 1), (2, 1), (3, 2)]))
    epochs, _, bands = through_stream(metrics)
    assert epochs["train/loss"].tolist() == [1.0, 2.0, 3.0]
    assert bands == [(0, 3)]


def test_a_closed_form_experience_takes_one_place_and_shows_its_test_accuracy() -> None:
    metrics = log(
        row(0, 0, 1, train_accuracy=0.5),
        row(0, 1, 2, train_accuracy=0.6),
        row(0, np.nan, 2, test_accuracy=0.7),
        row(1, np.nan, 2, test_accuracy=0.8),
        row(2, np.nan, 2, test_accuracy=0.9),
    )
    _, tests, bands = through_stream(metrics)
    assert bands == [(0, 2), (2, 3), (3, 4)]
    assert tests["test/accuracy"].to_dict() == {(0, 2): 0.7, (1, 3): 0.8, (2, 4): 0.9}


def test_the_input_is_not_changed() -> None:
    metrics = log(row(0, 0, 1, train_loss=1.0), row(0, 0, 0, train_loss=2.0))
    before = metrics.copy()
    through_stream(metrics)
    pd.testing.assert_frame_equal(metrics, before)


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        (pd.DataFrame(), ["no loss was logged", "no accuracy was logged"]),
        (log(row(0, 0, 1, train_loss=1.0)), ["validation: not logged", "no accuracy was logged"]),
        (pd.DataFrame({"train/loss": [1.0, 0.5], "epoch": [0, 1]}), ["validation: not logged"]),
    ],
)
def test_what_is_missing_is_said_in_the_image(metrics: pd.DataFrame, said: list[str]) -> None:
    figure = curves_figure(metrics, ["base"])
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    for axes in figure.axes:
        legend = axes.get_legend()
        assert legend is not None
        texts += [text.get_text() for text in legend.get_texts()]
    assert set(said) <= set(texts)


def test_a_single_point_has_a_marker() -> None:
    figure = curves_figure(log(row(0, 0, 1, train_loss=1.0, val_loss=2.0)), ["only"])
    markers = {line.get_label(): line.get_marker() for line in figure.axes[0].get_lines()}
    assert markers["training"] == "o"
    assert markers["validation"] == "s"


def test_experiences_without_a_given_name_are_numbered() -> None:
    figure = curves_figure(log(row(0, 0, 1, train_loss=1.0), row(1, 0, 2, train_loss=1.0)), ["base"])
    assert {"base", "experience 1"} <= {text.get_text() for text in figure.axes[0].texts}
