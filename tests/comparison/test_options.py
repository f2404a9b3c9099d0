"""What compare is told, from the command line and from configs."""

from pathlib import Path

import pytest
import yaml

from lightning_vision.comparison.options import Choice, CompareOptions, read_options, words_of
from lightning_vision.errors import ConfigError


def labels(options: CompareOptions, axis: str) -> list[str]:
    return [choice.label for choice in options.axes[axis]]


def test_everything_on_the_command_line() -> None:
    options = read_options([
        "--strategies", "HeadOnly", "mine.Own", "--seeds", "0", "7", "--axis", "data.image_size=32,64", "model.optimizer.lr=1e-3,0.1",
        "--skip", "strategy=Own,data.image_size=64", "--output", "out", "--data.root", "photos", "--trainer.max_epochs=3",
    ])  # fmt: skip
    assert [choice.label for choice in options.strategies] == ["HeadOnly", "Own"]
    assert options.strategies[1].settings == {"model.strategy": "mine.Own"}
    assert options.seeds == (0, 7) and options.output == Path("out")
    assert labels(options, "data.image_size") == ["32", "64"]
    assert options.axes["model.optimizer.lr"][0].settings == {"model.optimizer.lr": 1e-3}, "1e-3 is a number"
    assert options.fit_words == ("--data.root", "photos", "--trainer.max_epochs=3")
    assert len(options.points()) == 4


def test_a_section_of_a_config_and_the_command_line_wins(tmp_path: Path) -> None:
    config = tmp_path / "compare.yaml"
    config.write_text("""
compare:
  strategies:
    - RanPAC
    - gentle: {model.strategy: FullFineTune, model.optimizer.lr: 0.0001}
    - forest: {config: configs/strategy/random_forest.yaml}
  seeds: [3, 4]
  axes:
    data.split: [50/50, 70/30]
    augmentation:
      none:
      turned: {data.train_transforms: [resize, {rotation: {degrees: 10}}]}
  skip: [{augmentation: turned, strategy: [RanPAC, forest]}]
data: {class_path: datamodules.Digits}
""")
    options = read_options(["--config", str(config), "--seeds", "0"])
    assert options.seeds == (0,)
    _, gentle, forest = options.strategies
    assert gentle.settings == {"model.strategy": "FullFineTune", "model.optimizer.lr": 1e-4}
    assert forest.config is not None and forest.config.endswith("random_forest.yaml") and not forest.settings
    none, turned = options.axes["augmentation"]
    assert none == Choice("none", {})
    assert words_of(turned.settings) == ['--data.train_transforms=["resize", {"rotation": {"degrees": 10}}]']
    point = {"data.split": options.axes["data.split"][0], "augmentation": turned}
    assert [options.left_out(strategy, 0, point) for strategy in options.strategies] == [True, False, True]
    again = read_options(["--config", str(written(tmp_path, options))])
    assert (again.strategies, again.axes, again.skip) == (options.strategies, options.axes, options.skip)


def written(folder: Path, options: CompareOptions) -> Path:
    path = folder / "again.yaml"
    path.write_text(yaml.safe_dump({"compare": options.plain()}))
    return path


def test_axes_that_are_zipped_move_together() -> None:
    options = read_options(["--axis", "a=1,2", "b=x,y", "c=7,8,9", "--zip", "a", "b"])
    points = [tuple(choice.label for choice in point.values()) for point in options.points()]
    assert len(points) == 6 and ("1", "x", "7") in points and ("1", "y", "7") not in points


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--seeds", "0", "0"], "expected different numbers"),
        (["--seeds", "-1"], "numbers from 0 on"),
        (["--seeds", "zero"], "invalid int value"),
        (["--strategies", "HeadOnly", "HeadOnly"], "label of its own"),
        (["--axis", "data.image_size"], "KEY=VALUE,VALUE"),
        (["--axis", "data.image_size=[1,2"], "cannot be read"),
        (["--axis", "a=1,1"], "different values"),
        (["--axis", "a=1,2", "b=1", "--zip", "a", "b"], "axes of equal length"),
        (["--axis", "a=1,2", "--zip", "a", "b"], "no axis b"),
        (["--axis", "a=1", "--skip", "b=1"], "expected a, seed, strategy, found b"),
        (["--skip", "strategy"], "KEY=VALUE,KEY=VALUE"),
        (["--workers", "0"], "1 or more"),
        (["--executor", "cloud"], "invalid choice"),
        (["--strategies", "configs/strategy/none_such.yaml"], "there is no file"),
    ],
)
def test_what_cannot_be_used_is_said(words: list[str], text: str) -> None:
    with pytest.raises(ConfigError, match=text.replace("[", r"\[")):
        read_options(words)


def test_a_section_that_is_wrong(tmp_path: Path) -> None:
    for content, text in (
        ("compare: [1]", "expected options with names"),
        ("compare: {strategy: HeadOnly}", "no option strategy; it has address"),
        ("compare: {strategies: HeadOnly}", "expected a list"),
        ("compare: {strategies: [{a: {}, b: {}}]}", "one label"),
        ("compare: {seeds: [true]}", "numbers from 0 on"),
        ("- 1", "expected options with names"),
        ("a: [", "cannot be read as YAML"),
        ("compare: {seeds: [1]}\ncompare: {workers: 2}", "'compare' in line 1 and again in line 2"),
    ):
        path = tmp_path / "wrong.yaml"
        path.write_text(content)
        with pytest.raises(ConfigError, match=text):
            read_options(["--config", str(path)])


def test_bounds_are_added_where_they_are_missing(tmp_path: Path) -> None:
    options = read_options(["--strategies", "HeadOnly", "Retrain", "--bounds"])
    assert [choice.label for choice in options.strategies] == ["HeadOnly", "Retrain", "FullFineTune"]
    again = read_options(["--config", str(written(tmp_path, options))])
    assert again.bounds and again.strategies == options.strategies
    with pytest.raises(ConfigError, match="adds learning strategies to those of --strategies"):
        read_options(["--bounds", "true"])
