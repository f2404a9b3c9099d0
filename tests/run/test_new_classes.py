"""``data.new_classes: allow``: an increment that has only classes, or some classes, that its base does not know."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import QUICK, checkpoint_of, weights_of
from photo_folder import COLOURS, write_photos
from refusals import refused

import lightning_vision as lv
from datamodules import ImageFolder
from lightning_vision.cli import main
from lightning_vision.data.new_classes import told_classes
from lightning_vision.data.scenarios import InstanceIncremental, Joint
from lightning_vision.learning.checkpoints import with_classes
from lightning_vision.results.schema import Results, read_results

MORE = {"foxes": (200, 200, 70), "geese": (220, 220, 220)}
WORDS = [word for word in QUICK if not word.startswith("--data")]
DATA = [
    "--data=ImageFolder",
    "--data.image_size=32",
    "--data.batch_size=8",
    "--data.num_workers=0",
    "--data.val_fraction=0.2",
]
INCREMENT = ["--data.stream=InstanceIncremental", "--data.stream.experiences=1", "--data.stream.base_fraction=0"]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three folders of photos (old classes, new ones, both), and a finished run of each kind on the first."""
    folder = tmp_path_factory.mktemp("desk")
    write_photos(folder / "photos", per_class=20)
    patch = pytest.MonkeyPatch()
    patch.setattr("photo_folder.COLOURS", COLOURS | MORE)
    write_photos(folder / "new", classes=list(MORE), per_class=20, seed=1)
    write_photos(folder / "mixed", classes=["birds", *MORE], per_class=20, seed=2)
    patch.undo()
    for name, strategy in (("base", "HeadOnly"), ("means", "NearestMean")):
        words = [*DATA, f"--data.root={folder / 'photos'}", "--data.stream=Joint", f"--model.strategy={strategy}"]
        assert main(["fit", *WORDS, *words, f"--trainer.default_root_dir={folder}", f"--run_name={name}"]) == 0
    return folder


def command(desk: Path, name: str, data: str, base: str, *options: str, allow: bool = True) -> list[str]:
    words = [*WORDS, *DATA, *INCREMENT, f"--data.root={desk / data}", f"--model.base_checkpoint={desk / base}"]
    words += ["--data.new_classes=allow"] if allow else []
    return ["fit", *words, f"--trainer.default_root_dir={desk}", f"--run_name={name}", *options]


def learn(desk: Path, name: str, data: str, base: str, *options: str) -> Results:
    assert main(command(desk, name, data, base, *options)) == 0
    return read_results(desk / name / "results.json")


def old_test(desk: Path) -> list[str]:
    """The data of the base with the options of its run."""
    given = {"root": desk / "photos", "image_size": 32, "num_workers": 0, "val_fraction": 0.2, "stream": "Joint"}
    return ["--data.test_data=ImageFolder", *(f"--data.test_data.{key}={value}" for key, value in given.items())]


def test_only_new_classes(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = learn(desk, "only", "new", "base", "--model.strategy=HeadOnly", *old_test(desk))
    said = " ".join(capsys.readouterr().out.split())
    assert results.class_names == ["birds", "cats", "dogs", "foxes", "geese"]
    assert "New classes: 'foxes', 'geese', which the base does not know." in results.notes
    assert "3 classes of the base ('birds', 'cats', 'dogs') have no training image here." in results.notes
    assert not any("Not evaluated" in note for note in results.notes)
    kinds = results.class_kinds
    assert kinds is not None and kinds["base"].classes == ["birds", "cats", "dogs"] and kinds["new"].images == 8
    assert kinds["base"].images == 12  # those on which the base was tested
    assert kinds["new"].initial_accuracy == 0.0  # the base predicts none of them
    both = [kind.accuracy[-1] * kind.images for kind in kinds.values() if kind.accuracy[-1] is not None]
    assert sum(both) / 20 == pytest.approx(results.test_accuracy[-1])
    assert results.seen_accuracy == results.test_accuracy
    before = read_results(desk / "base" / "results.json")
    assert kinds["base"].initial_accuracy == before.test_accuracy[-1]
    assert "Test accuracy on the classes of the base and on new ones" in said and "of the base" in said
    old, new = weights_of(desk / "base"), weights_of(desk / "only")
    assert len(old["network.head.weight"]) == 3 and len(new["network.head.weight"]) == 5


def test_the_same_images_are_tested_as_in_the_base(desk: Path) -> None:
    base = ImageFolder(desk / "photos", image_size=32, num_workers=0, val_fraction=0.2, stream=Joint())
    data = ImageFolder(
        desk / "new", image_size=32, num_workers=0, val_fraction=0.2, new_classes="allow", test_data=copy.copy(base)
    )
    tested = data.samples[(data.samples["split"] == "test") & (data.samples["source"] != "")]
    assert set(tested["path"]) == set(base.samples.loc[base.samples["split"] == "test", "path"])


def test_without_old_test_images_it_is_said(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = learn(desk, "untested", "mixed", "base", "--model.strategy=MoveToData", "--model.strategy.epsilon=0.01")
    said = " ".join(capsys.readouterr().out.split())
    sentence = (
        "Not evaluated: 2 classes of the base ('cats', 'dogs') have no test image here, so forgetting of them is not"
    )
    assert any(note.startswith(sentence) for note in results.notes) and sentence in said
    assert results.class_kinds is not None and results.class_kinds["base"].images == 4


def test_resumed_and_tested(desk: Path) -> None:
    words = command(
        desk, "two", "new", "base", "--model.strategy=HeadOnly", *old_test(desk), "--data.stream.experiences=2"
    )
    assert main([*words, "--stop_after=0"]) == 0
    first = read_results(desk / "two" / "results.json").class_kinds
    assert main([*words, "--ckpt_path=last"]) == 0
    results = read_results(desk / "two" / "results.json")
    assert results.run.complete and first is not None and results.class_kinds is not None
    for kind, found in results.class_kinds.items():
        assert len(found.accuracy) == 2 and found.accuracy[:1] == first[kind].accuracy
    assert main(["test", f"--ckpt_path={desk / 'two'}"]) == 0
    assert read_results(desk / "two" / "results.json").class_kinds == results.class_kinds
    assert main(["predict", f"--ckpt_path={desk / 'two'}"]) == 0


def test_a_closed_form_continues_its_statistics(desk: Path) -> None:
    results = learn(desk, "more-means", "new", "means", "--model.strategy=NearestMean", *old_test(desk))
    before, after = (checkpoint_of(desk / name)["state_dict"] for name in ("means", "more-means"))
    assert torch.equal(after["strategy.sums"][:3], before["strategy.sums"])
    assert torch.equal(after["strategy.counts"][:3], before["strategy.counts"]) and (after["strategy.counts"] > 0).all()
    kinds = results.class_kinds
    assert (
        kinds is not None
        and kinds["base"].initial_accuracy == read_results(desk / "means" / "results.json").test_accuracy[-1]
    )


def test_state_grows_along_the_axis_of_the_classes() -> None:
    state = {
        "a": torch.arange(6.0).view(3, 2),
        "b": torch.arange(6).view(2, 3),
        "c": torch.ones(4),
        "d": torch.empty(0),
    }
    grown = with_classes(state, [2, None, 0], {"a": 0, "b": 1, "d": 0})
    assert grown["a"].tolist() == [[4.0, 5.0], [0.0, 0.0], [0.0, 1.0]]
    assert grown["b"].tolist() == [[2, 0, 0], [5, 0, 3]]
    assert grown["c"] is state["c"] and grown["d"] is state["d"]
    assert state["a"].tolist() == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]


@pytest.mark.parametrize("strategy", ["NearestMean", "StreamingLDA", "RanPAC", "FeCAM", "SklearnHead"])
def test_a_closed_form_that_would_lose_the_base_is_refused(
    desk: Path, capsys: pytest.CaptureFixture[str], strategy: str
) -> None:
    words = command(desk, "lost", "new", "base", f"--model.strategy={strategy}")
    refused(capsys, words, 2, f"{strategy} predicts by statistics", "'birds', 'cats', 'dogs' have no training image")
    assert not (desk / "lost").exists()


def test_exemplars_of_the_base_cannot_be_made_without_its_images(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = command(desk, "exemplars", "new", "base", "--model.strategy=ICaRL")
    refused(capsys, words, 2, "has no image of 3 of the classes of the base", "such as WA")


def test_what_a_strategy_lacks_of_the_base_is_said(desk: Path) -> None:
    notes = learn(desk, "ewc", "new", "base", "--model.strategy=EWC").notes
    assert (
        "EWC has no state of the base: which weights are important for it is not known, so the first experience"
        in " ".join(notes)
    )


def test_refused_without_the_option_which_the_error_names(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = command(desk, "no", "new", "base", allow=False)
    refused(capsys, words, 1, "'foxes', 'geese' are new classes", "set data.new_classes to allow")


def test_allowed_without_a_base(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*WORDS, *DATA, f"--data.root={desk / 'new'}", "--data.stream=Joint", "--data.new_classes=allow"]
    refused(capsys, ["fit", *words, f"--trainer.default_root_dir={desk}", "--run_name=no"], 2, "no base is given")


def test_new_classes_of_a_base_that_is_not_trained_again(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = command(desk, "no", "new", "base", "--data.stream.experiences=2", "--data.stream.base_fraction=0.5")
    refused(capsys, words, 2, "would never be learned", "base_fraction: 0")


def test_no_new_class_is_said(desk: Path) -> None:
    results = learn(desk, "none", "photos", "base", "--model.strategy=HeadOnly")
    assert any("the data has no new class" in note for note in results.notes)
    assert results.class_kinds is not None and results.class_kinds["new"].classes == []
    assert results.class_kinds["new"].accuracy == [None]


def test_near_names_are_said(tmp_path: Path) -> None:
    write_photos(tmp_path, classes=list(COLOURS))
    samples = ImageFolder(tmp_path, num_workers=0, image_size=32, stream=Joint()).samples
    names = ["birds", "cats", "dogs", "Birds", "cat s", "\uff44\uff4f\uff47\uff53", "class 1", "horses"]
    told = told_classes(["birds", "cats", "dogs", "class 2"], samples, names)[-1]
    assert told.startswith("Similar names")
    for pair in ("'Birds' and 'birds'", "'cat s' and 'cats'", "'\uff44\uff4f\uff47\uff53' and 'dogs'"):
        assert pair in told
    assert "class" not in told.replace("classes", "") and "horses" not in told


def test_from_python(desk: Path) -> None:
    given: dict[str, Any] = {"image_size": 32, "num_workers": 0, "val_fraction": 0.2}
    data = ImageFolder(
        desk / "new", new_classes="allow", stream=InstanceIncremental(experiences=1, base_fraction=0), **given
    )
    run = lv.open_run(desk / "base").learn(data, strategy="HeadOnly", name="python", root=desk, max_epochs=1)
    kinds = run.results.class_kinds
    assert kinds is not None and kinds["new"].images == 8 and kinds["base"].images == 0
    assert kinds["base"].accuracy == [None]


def test_the_report_shows_both_kinds(desk: Path, tmp_path: Path) -> None:
    if not (desk / "only").exists():
        learn(desk, "only", "new", "base", "--model.strategy=HeadOnly", *old_test(desk))
    assert main(["report", str(desk / "only"), "--output", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "accuracy by kind of class" in page and "3 of the base: " in page and "; 2 new: " in page
