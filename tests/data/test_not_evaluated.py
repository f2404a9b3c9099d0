"""What is not tested or validated is said, and values of a column have test images where the data has any to give."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command_line import QUICK
from PIL import Image

from datamodules import ImageFolder
from lightning_vision.cli import main
from lightning_vision.data.scenarios import DomainIncremental, FromColumn, Joint, Scenario
from lightning_vision.data.stratified_split import split_samples, why_none
from lightning_vision.results.not_evaluated import NOT_EVALUATED, SENTENCE, misses_test
from lightning_vision.results.schema import read_results


def paint(root: Path, classes: int, count: int, folder: str = "") -> Path:
    generator = np.random.default_rng(0)
    for label in range(classes):
        for number in range(count):
            place = root / f"class {label}" / folder.format(number)
            place.mkdir(parents=True, exist_ok=True)
            pixels = np.clip(generator.normal(60 * label + 40, 30, (20, 20, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(place / f"p{number}.png")
    return root


def read(root: Path, stream: Scenario | None = None, metadata: Path | None = None, **options: Any) -> ImageFolder:
    return ImageFolder(root, metadata, num_workers=0, image_size=16, stream=stream or Joint(), **options)


def table(root: Path, classes: int, count: int, column: str, value: str) -> Path:
    rows = [
        f"class {label}/p{number}.png,{value.format(number + 1)}" for label in range(classes) for number in range(count)
    ]
    (root.parent / "facts.csv").write_text("\n".join([f"path,{column}", *rows]))
    return root.parent / "facts.csv"


class TestWithinEachValue:
    def check(self, data: ImageFolder) -> None:
        counts = pd.crosstab(data.samples["label"], data.samples["split"])
        assert counts["test"].sum() == 6 and (counts["test"] > 0).all() and (counts["train"] > 0).all()
        assert all(len(item.indices) >= 2 for item in data.stream)
        assert sum(len(item.test_indices) for item in data.stream) == 6

    def test_one_image_of_each_class_and_day(self, tmp_path: Path) -> None:
        root = paint(tmp_path / "data", 3, 10)
        facts = table(root, 3, 10, "day", "2026-03-{:02d}")
        self.check(read(root, FromColumn("day"), facts))
        again = read(root, FromColumn("day"), facts)
        assert again.split_hash == read(root, FromColumn("day"), facts).split_hash

    def test_one_image_of_each_class_and_place(self, tmp_path: Path) -> None:
        self.check(read(paint(tmp_path / "data", 3, 10, "place{}"), DomainIncremental()))

    def test_groups_stay_whole_and_values_keep_two(self) -> None:
        samples = pd.DataFrame(
            {
                "path": [f"{row}" for row in range(40)],
                "label": np.arange(40) % 4,
                "split": "",
                "group": np.arange(40) // 2,
            }
        )
        days = pd.Series(np.arange(40) // 4)
        found = split_samples(samples, list("abcd"), 0.0, 0.2, 0, days)
        assert (found.groupby("group")["split"].nunique() == 1).all()
        tested = found["split"] == "test"
        assert 0 < tested.sum() <= 8 and found[~tested].groupby(days)["path"].count().min() >= 2
        assert found[~tested]["label"].nunique() == 4

    def test_a_split_that_has_test_images_of_each_value_stays(self) -> None:
        samples = pd.DataFrame({"path": [f"{row}" for row in range(60)], "label": np.arange(60) % 2, "split": ""})
        days = pd.Series(np.arange(60) // 20)
        found = split_samples(samples, ["a", "b"], 0.0, 0.2, 0, days)
        assert found[found["split"] == "test"].groupby(days)["path"].count().tolist() == [4, 4, 4]


class TestWhy:
    @pytest.mark.parametrize(
        ("columns", "fraction", "why"),
        [
            ({}, 0.0, "the share is 0"),
            ({"label": [0, 1, 2, 3]}, 0.2, "one image of each class"),
            ({"group": ["x"] * 4}, 0.2, "one group holds all images"),
            ({"group": ["x", "x", "y", "y"]}, 0.2, "2 groups hold all images"),
            ({}, 0.2, "too few images: a share of 0.2 of 4 images"),
        ],
    )
    def test_reasons(self, columns: dict[str, list[object]], fraction: float, why: str) -> None:
        assert why in why_none(pd.DataFrame({"label": [0, 0, 1, 1], **columns}), fraction)

    def test_a_column(self) -> None:
        day = pd.Series([1, 2, 1, 2], name="day")
        assert why_none(pd.DataFrame({"label": [0, 0, 1, 1]}), 0.2, day) == "there is one image of each class and day"

    def test_one_group_is_said_first(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        root = paint(tmp_path / "data", 2, 6)
        data = read(root, metadata=table(root, 2, 6, "group", "all"))
        first, second = data.findings.remarks[:2]
        assert first.startswith("Not evaluated: there is no test image, because one group holds all images")
        assert second.startswith("No validation images, because one group holds all images")
        assert "Not evaluated" in capsys.readouterr().err

    def test_what_was_not_asked_for_is_not_missed(self, tmp_path: Path) -> None:
        data = read(paint(tmp_path / "data", 2, 10), val_fraction=0.0)
        assert not data.prepared.not_evaluated


def test_data_and_fit_say_it_first_and_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = paint(tmp_path / "data", 3, 1)
    given = [
        "--data=ImageFolder",
        f"--data.root={root}",
        "--data.num_workers=0",
        "--data.image_size=32",
        "--data.stream=Joint",
    ]
    assert main(["data", *given]) == 0
    said = capsys.readouterr()
    assert "Not evaluated" in said.err
    assert "Not evaluated: there is no test image" in " ".join(said.out.split()[-60:])
    runs = [f"--trainer.default_root_dir={tmp_path / 'runs'}", "--run_name=few", "--model.strategy=HeadOnly"]
    quick = [word for word in QUICK if not word.startswith("--data")]
    assert main(["fit", *quick, *given, *runs]) == NOT_EVALUATED == 3
    said = capsys.readouterr()
    assert "Not evaluated" in said.err
    assert "Not evaluated: there is no test image, because there is one image of each class" in " ".join(
        said.out.split()[-110:]
    )
    assert said.out.split()[-len(SENTENCE.split()) :] == SENTENCE.split()
    results = read_results(tmp_path / "runs" / "few" / "results.json")
    assert results.notes[0].startswith("Not evaluated") and results.test_accuracy == [None]
    assert results.run.complete and misses_test(results.run.data)
    test = ["test", f"--ckpt_path={tmp_path / 'runs' / 'few'}"]
    assert main(test) == NOT_EVALUATED
    assert "There are no test images" in capsys.readouterr().err
    # A repeated command of a complete run has nothing to do, and no figure is missed that was not asked for.
    assert main(["fit", *quick, *given, *runs, "--ckpt_path=last"]) == 0
    wanted = [*given, "--data.test_fraction=0", *runs[:1], "--run_name=wanted", runs[2]]
    assert main(["fit", *quick, *wanted]) == 0
    assert main(["test", f"--ckpt_path={tmp_path / 'runs' / 'wanted'}"]) == NOT_EVALUATED


def test_a_comparison_without_test_images_is_done_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = paint(tmp_path / "data", 3, 1)
    quick = [word for word in QUICK if not word.startswith("--data")]
    config = tmp_path / "config.yaml"
    data = [
        "--data=ImageFolder",
        f"--data.root={root}",
        "--data.image_size=32",
        "--data.num_workers=0",
        "--data.stream=Joint",
    ]
    assert main(["fit", *quick, *data, "--print_config"]) == 0
    config.write_text(capsys.readouterr().out)
    words = [
        "compare",
        "--config",
        str(config),
        "--strategies",
        "HeadOnly",
        "--seeds",
        "0",
        "--output",
        str(tmp_path / "compared"),
    ]
    assert main(words) == NOT_EVALUATED
    said = capsys.readouterr().out
    assert "not evaluated in" in said and "failed" not in said and SENTENCE in said
    assert not (tmp_path / "compared" / "failed.json").exists()
    assert main(words) == NOT_EVALUATED  # nothing is left to run, and nothing is evaluated
