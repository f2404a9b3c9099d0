"""``explain`` of a run with a frozen backbone: what was cached passes the backbone for its maps only."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import fit
from trusting import opened

from lightning_vision.explanation.command import Explained, explain
from lightning_vision.explanation.options import ExplainOptions

OPTIONS = (
    "--data.stream=ClassIncremental", "--data.stream.experiences=2", "--data.per_class=16", "--data.noise=150", "--data.views=0",
    "--model.strategy=NearestMean", "--model.base_strategy=HeadOnly",
)  # fmt: skip
MEASURED = 6
SHOWN = ExplainOptions(measured=MEASURED, earlier="all", neighbours=200)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frozen")
    return fit(folder, "run", *OPTIONS, "--keep_checkpoints=all", f"--data.cache_dir={folder / 'cache'}")


def explained(
    run: Path, output: Path, cache: Path, options: ExplainOptions = SHOWN, *more: str
) -> tuple[Explained, int]:
    """What was found, and how many images passed the backbone without those that only have their maps made."""
    given = opened(run, *OPTIONS, f"--data.cache_dir={cache}", *more)
    before = given.model.network.backbone_images
    found = explain(given, replace(options, output=str(output)))
    return found, given.model.network.backbone_images - before


def test_only_masked_images_pass_when_all_features_are_cached(run: Path, tmp_path: Path) -> None:
    found, passed = explained(run, tmp_path / "maps", run.parent / "cache")
    assert passed == MEASURED, "the images multiplied by their maps, which nobody has seen"
    assert found.measured is not None and len(found.measured) == MEASURED
    assert any("From experience 0 to 1" in line for line in found.lines)


def test_what_is_not_cached_passes_once_for_all_checkpoints(run: Path, tmp_path: Path) -> None:
    options = replace(SHOWN, neighbours=0)
    _, passed = explained(run, tmp_path / "maps", tmp_path / "cache", options)
    tests = len(opened(run, *OPTIONS).datamodule.rows_to_evaluate("test"))
    assert passed == tests + MEASURED
    _, passed = explained(run, tmp_path / "maps", tmp_path / "cache", options)
    assert passed == MEASURED


def test_without_a_cache_the_figures_are_the_same(run: Path, tmp_path: Path) -> None:
    tables = []
    for name, more in (("cached", ()), ("direct", ("--data.feature_cache_gb=0",))):
        explained(run, tmp_path / name, run.parent / "cache", SHOWN, *more)
        tables.append([pd.read_csv(tmp_path / name / file) for file in ("maps.csv", "scores.csv")])
    for one, other in zip(*tables, strict=True):
        for column in one:
            if one[column].dtype == np.float64:
                np.testing.assert_allclose(one[column], other[column], atol=1e-5)
            else:
                assert one[column].equals(other[column]), column
    assert (tmp_path / "cached" / "explain.html").read_text() == (tmp_path / "direct" / "explain.html").read_text()
