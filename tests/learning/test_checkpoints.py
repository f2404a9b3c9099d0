"""Checkpoints: read without running anything, refused where they do not fit, and taken up as a base."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import QUICK, checkpoint_of, fit, start, weights_of
from loaded_run import load, squares

from lightning_vision.data.scenarios import InstanceIncremental
from lightning_vision.errors import CheckpointError
from lightning_vision.learning.checkpoints import find_checkpoint, match_classes, read_checkpoint
from lightning_vision.program.fit_config import read_fit_config
from lightning_vision.program.outlook import look_ahead
from lightning_vision.results.schema import read_results
from strategies import MoveToData


class Code:
    """Pickled, it would make a folder when it is loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.folder),)


class TestRead:
    def test_one_that_holds_code_is_refused_and_not_run(self, tmp_path: Path) -> None:
        path, trace = tmp_path / "code.ckpt", tmp_path / "it ran"
        torch.save({"state_dict": {}, "lightning_vision": {}, "more": Code(trace)}, path)
        with pytest.raises(CheckpointError, match=r"holds more than tensors and plain values, which could be code"):
            read_checkpoint(path)
        assert not trace.exists()

    @pytest.mark.parametrize(
        "content", [b"", b"no checkpoint", b"seed_everything: 0", b"trainer:", b"PK\x03\x04 half a zip file"]
    )
    def test_damaged(self, content: bytes, tmp_path: Path) -> None:
        path = tmp_path / "damaged.ckpt"
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"damaged\.ckpt (is damaged or no checkpoint|holds more than)"):
            read_checkpoint(path)

    def test_cut_short(self, tmp_path: Path) -> None:
        path = tmp_path / "cut.ckpt"
        torch.save({"state_dict": {"w": torch.zeros(1000)}, "lightning_vision": {}}, path)
        path.write_bytes(path.read_bytes()[:-500])
        with pytest.raises(CheckpointError, match=r"cut\.ckpt is damaged or no checkpoint"):
            read_checkpoint(path)

    def test_of_another_program_or_not_there(self, tmp_path: Path) -> None:
        torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
        with pytest.raises(CheckpointError, match=r"not written by lightning_vision.*model\.backbone_weights"):
            read_checkpoint(tmp_path / "other.ckpt")
        with pytest.raises(CheckpointError, match=r"found nothing at .*none\.ckpt"):
            read_checkpoint(tmp_path / "none.ckpt")

    def test_of_a_later_version(self, tmp_path: Path) -> None:
        torch.save({"state_dict": {}, "lightning_vision": {"schema": 99}}, tmp_path / "later.ckpt")
        with pytest.raises(CheckpointError, match=r"later\.ckpt was written by a later version.*found 99\. Update"):
            read_checkpoint(tmp_path / "later.ckpt")

    def test_a_run_directory_stands_for_its_newest_finished_experience(self, tmp_path: Path) -> None:
        folder = tmp_path / "checkpoints"
        folder.mkdir()
        with pytest.raises(CheckpointError, match=r"the directory of a run with at least one finished experience"):
            find_checkpoint(tmp_path)
        for name in ("experience=0000", "experience=0002", "experience=0010", "experience=0011-stage=0-last"):
            (folder / f"{name}.ckpt").touch()
        assert find_checkpoint(tmp_path).name == "experience=0010.ckpt"
        assert find_checkpoint(folder / "experience=0000.ckpt").name == "experience=0000.ckpt"


class TestMatchClasses:
    def test_the_bases_order_then_what_is_new(self) -> None:
        path = Path("base.ckpt")
        assert match_classes(["b", "a"], ["a", "b"], path) == ["b", "a"]
        assert match_classes(["b", "a"], ["a", "b", "c", "d"], path) == ["b", "a", "c", "d"]
        assert match_classes(["b", "a", "c"], ["c", "a"], path) == ["b", "a", "c"]

    def test_both_with_classes_of_their_own_are_most_likely_a_mistake(self) -> None:
        with pytest.raises(CheckpointError, match=r"\['cat'\] only in the checkpoint, \['cats'\] only in the data"):
            match_classes(["cat", "dog"], ["cats", "dog"], Path("base.ckpt"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on three of the four classes, in an order of its own."""
    options = ["--data.classes=[green,red,blue]", "--model.strategy=MoveToData", "--trainer.max_epochs=3"]
    return fit(tmp_path_factory.mktemp("base"), "finished", *options, "--keep_checkpoints=all")


class TestLoadInto:
    def test_the_weights_and_the_place_in_the_stream(self, finished: Path) -> None:
        model, path, experience = load(finished, squares(classes=["green", "red", "blue"]), MoveToData())
        saved = read_checkpoint(path)
        assert experience == saved["lightning_vision"]["experience"] == 2
        assert model.identity() == saved["lightning_vision"]
        assert all(torch.equal(value, model.state_dict()[key]) for key, value in saved["state_dict"].items())

    def test_a_stream_that_is_shorter_than_the_one_learned(self, finished: Path) -> None:
        data = squares(classes=["green", "red", "blue"], stream=InstanceIncremental(experiences=1))
        model, _, experience = load(finished, data, MoveToData())
        now = model.experience
        assert experience == 2 and now is not None
        assert (now.index, now.is_base, now.new_classes, now.name) == (2, False, (), data.stream[0].name)

    def test_weights_that_do_not_fit(self, finished: Path) -> None:
        with pytest.raises(
            CheckpointError, match=r"0002\.ckpt does not fit this model: .*Use the options and the stream"
        ):
            load(finished, squares(), MoveToData())


class TestBase:
    def test_a_finished_run_continues_and_says_so(self, finished: Path, tmp_path: Path) -> None:
        """More data of the same classes: the strategy continues with its state, and no base is trained."""
        options = ["--data.classes=[green,red,blue]", "--data.stream.base_fraction=0", "--data.stream.experiences=2"]
        run = fit(tmp_path, "on", *options, f"--model.base_checkpoint={finished}", "--model.strategy=MoveToData")
        results, before = read_results(run / "results.json"), read_results(finished / "results.json")
        assert results.class_names == ["green", "red", "blue"]
        assert any("is not a base: it had already learned experience 2" in note for note in results.notes)
        assert any("The state of strategies.move_to_data.MoveToData was loaded" in note for note in results.notes)
        assert results.base.from_checkpoint == str(find_checkpoint(finished))
        assert [e.epochs for e in results.experiences] == [1, 1]
        assert results.initial_accuracy == before.test_accuracy[-1], "the same test images, the same network"
        counted = weights_of(run)["strategy.counts"].sum() - weights_of(finished)["strategy.counts"].sum()
        assert counted == sum(e.train_samples for e in results.experiences)

    def test_experience_0_is_kept_and_evaluated(self, finished: Path, tmp_path: Path) -> None:
        base = finished / "checkpoints" / "experience=0000.ckpt"
        options = ["--data.classes=[green,red,blue]", "--model.strategy=HeadOnly", "--keep_checkpoints=all"]
        run = fit(tmp_path, "kept", *options, f"--model.base_checkpoint={base}", "--trainer.max_epochs=2")
        results, before = read_results(run / "results.json"), read_results(finished / "results.json")
        assert [e.epochs for e in results.experiences] == [0, 2, 2]
        assert results.test_accuracy[0] == before.test_accuracy[0] and results.notes == []
        first, state = weights_of(finished, 0), weights_of(run, 0)
        assert all(torch.equal(first[name], state[name]) for name in first if name.startswith("network."))

    def test_a_strategy_with_other_options_starts_anew(self, finished: Path, tmp_path: Path) -> None:
        options = ["--data.classes=[green,red,blue]", "--model.strategy=MoveToData", "--model.strategy.epsilon=0.01"]
        run = fit(tmp_path, "anew", *options, f"--model.base_checkpoint={finished}")
        assert any(
            "The learning strategy starts from the beginning" in note
            for note in read_results(run / "results.json").notes
        )
        assert weights_of(run)["strategy.heads"].shape == (1, 3, 96)

    def test_new_classes_make_the_head_grow(self, finished: Path, tmp_path: Path) -> None:
        options = ["--model.strategy=MoveToData", "--model.strategy.epsilon=0", "--data.stream.base_fraction=0"]
        run = fit(tmp_path, "grown", *options, f"--model.base_checkpoint={finished}")
        results = read_results(run / "results.json")
        assert results.class_names == ["green", "red", "blue", "grey"]
        assert any(
            "The head grew by 1 class(es) that the base does not know: ['grey']" in note for note in results.notes
        )
        before, after = weights_of(finished), weights_of(run)
        assert torch.equal(after["network.head.weight"][:3], before["network.head.weight"])
        assert torch.equal(after["network.head.bias"][:3], before["network.head.bias"])
        assert (results.test.per_class["grey"]["recall"] or 0) > 0.5, "grey is imprinted"

    def test_fewer_classes_take_over_the_bases_list(self, finished: Path, tmp_path: Path) -> None:
        """Tomorrow's folder may lack a class: the classifier still knows it."""
        options = ["--data.classes=[blue,green]", "--data.stream.base_fraction=0", "--data.stream.experiences=1"]
        run = fit(tmp_path, "fewer", *options, f"--model.base_checkpoint={finished}", "--model.strategy=MoveToData")
        results = read_results(run / "results.json")
        assert results.class_names == ["green", "red", "blue"]
        assert results.test.per_class["red"]["support"] == 0
        before, after = weights_of(finished), weights_of(run)
        same = [torch.equal(before["strategy.heads"][:, row], after["strategy.heads"][:, row]) for row in range(3)]
        assert same == [False, True, False] and after["network.seen"].all()

    @pytest.mark.parametrize("mixing", ["[MixUp]", "[CutMix]"])
    def test_images_are_mixed_over_the_classes_of_both(self, mixing: str, finished: Path, tmp_path: Path) -> None:
        """The soft target has a place for the class that the base alone knows, and none of the data's is shifted."""
        options = [
            *("--data.classes=[blue,green]", "--data.stream.base_fraction=0", "--data.stream.experiences=1"),
            *(f"--data.batch_transforms={mixing}", "--data.class_weights=[1,2]", "--model.label_smoothing=0.1"),
            *("--model.strategy=HeadOnly", "--trainer.max_epochs=8", "--trainer.callbacks=[ErrorReplay]"),
        ]
        run = fit(tmp_path, "mixed", *options, f"--model.base_checkpoint={finished}")
        results = read_results(run / "results.json")
        assert results.class_names == ["green", "red", "blue"]
        assert results.test.accuracy is not None and results.test.accuracy > 0.8
        assert results.test.per_class["red"]["support"] == 0

    def test_a_pinned_number_of_classes_is_refused_before_anything_is_written(
        self, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        options = [
            *("--data.classes=[blue,green]", "--data.stream.base_fraction=0", "--data.stream.experiences=1"),
            *('--data.batch_transforms=[{"MixUp": {"num_classes": 2}}]', f"--model.base_checkpoint={finished}"),
        ]
        assert start(tmp_path, "no", *options) == 2
        assert "MixUp has num_classes=2, but the classifier has 3 classes" in capsys.readouterr().err
        assert not (tmp_path / "no").exists()

    def test_what_would_be_run_counts_the_bases_classes(self, finished: Path) -> None:
        """A comparison looks ahead before it starts: images of one class are enough for a base that knows others."""
        stream = ["--data.classes=[blue]", "--data.stream.base_fraction=0", "--data.stream.experiences=1"]
        words = [*QUICK, *stream, f"--model.base_checkpoint={finished}", "--model.strategy=MoveToData"]
        prospect = look_ahead(read_fit_config(words).with_changes({})[1])
        assert prospect.model.class_names == ["green", "red", "blue"]

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (["--data.classes=[red,green,grey]"], "['blue'] only in the checkpoint, ['grey'] only in the data"),
            (["--model.backbone=test_efficientnet"], "backbone: test_resnet in the checkpoint, test_efficientnet here"),
            (["--data.image_size=24"], "image_size: 16 in the checkpoint, 24 here"),
            (["--model.head_hidden=5"], "head: [[3, 96], [3]] in the checkpoint"),
        ],
    )
    def test_what_does_not_fit_is_named(
        self, options: list[str], said: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        base = ["--data.classes=[green,red,blue]", f"--model.base_checkpoint={finished}"]
        assert start(tmp_path, "no", *base, *options) == 1
        error = capsys.readouterr().err
        assert said in error and "Traceback" not in error
        assert not list(tmp_path.glob("no/checkpoints/*"))

    def test_a_base_that_holds_code_is_refused(
        self, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        bad, trace = tmp_path / "bad.ckpt", tmp_path / "it ran"
        torch.save({**checkpoint_of(finished), "more": Code(trace)}, bad)
        assert start(tmp_path, "no", "--data.classes=[green,red,blue]", f"--model.base_checkpoint={bad}") == 1
        assert "which could be code, so it was not loaded" in capsys.readouterr().err
        assert not trace.exists()
