"""The panel that a run draws after each experience."""

from pathlib import Path

import pandas as pd
import pytest
from command_line import changed, fit, start, weights_of
from PIL import Image
from textured_objects import TexturedObjects, write_textured

from lightning_vision.errors import ConfigError
from lightning_vision.explanation.panel import ExplainPanel
from lightning_vision.results.schema import read_results


def panel(**options: object) -> str:
    given = ", ".join(f"{name}: {value}" for name, value in options.items())
    return (
        "--trainer.callbacks=[{class_path: lightning_vision.explanation.panel.ExplainPanel, init_args: {"
        + given
        + "}}]"
    )


def test_the_same_images_after_each_experience(tmp_path: Path) -> None:
    """It is drawn, logged and told, and what is learned is what is learned without it."""
    quick = ("--model.strategy=FullFineTune", "--data.stream.experiences=2", "--data.image_size=64")
    plain, run = fit(tmp_path, "plain", *quick), fit(tmp_path, "run", *quick, panel(images=4))
    for experience in (0, 1):
        with Image.open(run / "explain" / f"panel-{experience}.png") as image:
            assert image.width > 300
    assert not changed(weights_of(plain), weights_of(run))
    before, after = read_results(plain / "results.json"), read_results(run / "results.json")
    assert before.totals.backbone_images == after.totals.backbone_images
    told = [note for note in after.notes if note.startswith("ExplainPanel: 4 images in ")]
    assert len(told) == 2 and str(run / "explain" / "panel-1.png") in told[1]
    seconds = pd.read_csv(run / "metrics.csv")["explain/seconds"].dropna()
    assert len(seconds) == 2 and (seconds > 0).all()


def test_a_prediction_without_gradient_does_not_end_the_run(tmp_path: Path) -> None:
    run = fit(
        tmp_path, "run", "--model.strategy=SklearnHead", "--model.strategy.estimator=sklearn.naive_bayes.GaussianNB",
        "--data.stream.experiences=2", "--data.image_size=64", panel(images=2),
    )  # fmt: skip
    notes = read_results(run / "results.json").notes
    assert any(
        "ExplainPanel: no panel after experience 1" in note and "which SklearnHead does not have" in note
        for note in notes
    )


def test_a_backbone_without_places_is_refused_before_anything_is_learned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(tmp_path, "run", panel(layer="leyer4")) == 2
    assert "has no layer 'leyer4'" in capsys.readouterr().err


def test_which_images(tmp_path: Path) -> None:
    data = TexturedObjects(str(write_textured(tmp_path / "data", 48)))
    rows = ExplainPanel(images=6).rows(data)
    assert data.samples["label"].iloc[rows].value_counts().tolist() == [2, 2, 2]
    assert (data.samples["split"].iloc[rows] == "test").all()
    assert rows.tolist() == ExplainPanel(images=6).rows(data).tolist()
    assert rows.tolist() != ExplainPanel(images=6, seed=1).rows(data).tolist()


def test_options_that_cannot_be_used() -> None:
    with pytest.raises(ConfigError, match=r"ExplainPanel\.images: expected 1 or more, found 0"):
        ExplainPanel(images=0)
    with pytest.raises(ConfigError, match="there is no 'GradCamera'"):
        ExplainPanel(method="GradCamera")
