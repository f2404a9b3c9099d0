"""Mistakes of users: a clear message, an exit code, and no finished work is lost."""

import gzip
import os
import pickle
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import label_maker
import numpy as np
import pytest
import torch
from benchmark_maker import write_core50, write_domain_net, write_filelists, write_imagenet_r
from command_line import QUICK, fit, start
from dataset_saver import made, objects_feature, rows_of, save_dataset
from full_disk import as_much_disk_as_before
from parquet_maker import columns_of, write_parquet
from PIL import Image
from refusals import refused
from shard_maker import write_shards, write_tar
from torchvision_maker import write_mnist
from wandb_offline import offline_runs

from lightning_vision.cli import main
from lightning_vision.learning.checkpoints import read_checkpoint
from lightning_vision.results.schema import read_results


def options(folder: Path, name: str, *more: str) -> list[str]:
    """A quick ``fit``, the options given last winning."""
    return ["fit", *QUICK, f"--trainer.default_root_dir={folder}", f"--run_name={name}", *more]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def finished(folder: Path) -> Path:
    """A run to point at."""
    return fit(folder, "finished", "--model.strategy=HeadOnly")


def paint(root: Path, classes: tuple[str, ...], count: int = 10) -> Path:
    """A folder of real JPEGs, a colour a class."""
    generator = np.random.default_rng(0)
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for image in range(count):
            pixels = np.clip(generator.normal(60 * number + 40, 20, (20, 20, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{image:03d}.jpg")
    return root


class TestRefusedBeforeAnythingIsWritten:
    """A command that cannot work leaves no folder: the corrected command runs without --overwrite."""

    @pytest.mark.parametrize(
        ("more", "code", "words"),
        [
            (["--model.backbone=resnet81"], 2, ["Unknown backbone 'resnet81'", "Similar names: resnet18"]),
            (["--model.strategy=MoveToData", "--model.strategy.epsilon=-1"], 2, ["MoveToData", "epsilon", "-1.0"]),
            (["--model.strategy=MoveToData", "--model.strategy.epsilon=[]"], 2, ["MoveToData", "epsilon", "[]"]),
            (["--model.strategy=MoveToData", "--data.val_fraction=0"], 2, ["MoveToData picks one of several variants", "a single value"]),
            (["--model.strategy=trial_strategies.OnlyJoint"], 2, ["OnlyJoint cannot learn in the scenario InstanceIncremental", "Joint"]),
            (["--model.strategy=trial_strategies.ForgotUpdate"], 2, ["has no update(network, features, labels)"]),
            (["--model.strategy=failing_strategies.Weighted", "--model.strategy.weight=-2"], 2, ["failing_strategies.Weighted", "weight must be 0 or more"]),
            (["--model.optimizer.lr=-1"], 2, ["model.optimizer", "Invalid learning rate: -1.0"]),
            (["--model.base_optimizer=SGD", "--model.base_optimizer.lr=-1"], 2, ["model.base_optimizer", "Invalid learning rate"]),
            (["--model.pixel_std=0"], 2, ["model.pixel_std: expected values above 0"]),
            (["--model.pixel_mean=[0.5, 0.5]"], 2, ["model.pixel_mean: expected one number, or 3"]),
            (["--model.pixel_mean=123.7"], 2, ["model.pixel_mean: expected values from 0 to 1", "divide values of 0 to 255"]),
            (["--model.base_epochs=-1"], 2, ["model.base_epochs: expected 0 or more"]),
            (["--model.monitor=val/acc"], 2, ["model.monitor: expected val/accuracy or val/loss"]),
            (["--data.stream=ClassIncremental", "--data.stream.experiences=9"], 2, ["9 experiences cannot be made of 4 classes"]),
            (["--data.stream.experiences=500"], 2, ["500 experiences cannot be made of"]),
            (["--data.stream.experiences=0"], 2, ["at least 1 experience"]),
            (["--data.stream.experiences=40"], 1, ["1 training image", "needs at least 2", "fewer experiences"]),
            (["--data.stream=DomainIncremental", "--data.stream.by=plac"], 2, ["no column 'plac'", "nearest first: 'place'"]),
            (["--data.val_fraction=2"], 2, ["val_fraction must be at least 0 and less than 1"]),
            (["--data.batch_size=0"], 2, ["batch_size must be at least 1"]),
            (["--data.stream.base_fraction=0"], 2, ["nothing to start from", "model.base_checkpoint"]),
            (["--model.base_checkpoint=nowhere"], 1, ["Expected a checkpoint file, found nothing at nowhere"]),
            (["--trainer.max_epochs=-5"], 2, ["max_epochs"]),
            (["--trainer.accelerator=no_such"], 2, ["accelerator"]),
            (["--trainer.fast_dev_run=true"], 2, ["trainer.fast_dev_run=True cannot be used here", "limit_train_batches"]),
            (["--trainer.strategy=fsdp"], 2, ["trainer.strategy='fsdp' cannot be used here"]),
            (["--energy.country=Frence", "--energy.enabled=true"], 2, ["'Frence' is not one of them", "FRA (France)"]),
            (["--energy.power_watts=-3", "--energy.enabled=true"], 2, ["a power above 0 W", "-3"]),
            (["--keep_checkpoints=0"], 2, ["keep_checkpoints: expected last, all or a number from 1 on"]),
            (["--ckpt_path=some.ckpt"], 2, ["expected 'last'", "model.base_checkpoint"]),
            (["--ckpt_path=last", "--overwrite"], 2, ["give one of the two"]),
        ],
    )  # fmt: skip
    def test_refused(
        self, more: list[str], code: int, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        refused(capsys, options(tmp_path, "run", *more), code, *words)
        assert not list(tmp_path.iterdir())

    def test_a_base_of_another_network(
        self, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        more = (f"--model.base_checkpoint={finished}", "--model.backbone=test_efficientnet")
        refused(capsys, options(tmp_path, "run", *more), 1, "test_resnet in the checkpoint, test_efficientnet here")
        assert not list(tmp_path.iterdir())

    def test_weights_that_cannot_be_fetched(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """``--data Digits`` alone takes every default, and the default backbone is a pretrained one."""

        def unreachable(*_: object, **__: object) -> None:
            raise OSError("Network is unreachable")

        for key in ("HTTPS_PROXY", "https_proxy", "HF_ENDPOINT", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(key, raising=False)
        monkeypatch.setattr(socket, "create_connection", unreachable)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # read once, when it was imported
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        began = time.monotonic()
        words = (
            "pretrained weights of resnet18 could not be fetched",
            "model.pretrained: false",
            "model.backbone_weights",
        )
        refused(capsys, ["fit", "--data=Digits", f"--trainer.default_root_dir={tmp_path / 'runs'}"], 2, *words)
        assert time.monotonic() - began < 30, "the hub's own client would try again for most of a minute"
        assert not (tmp_path / "runs").exists()


class TestData:
    def test_images_that_do_not_decode_are_named_before_anything_is_trained(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        photos = paint(tmp_path / "photos", ("cat", "dog"))
        for broken in sorted((photos / "dog").iterdir())[:3]:
            broken.write_bytes(b"\xff\xd8\xff\xe0 no image" * 9)
        more = ["--data=ImageFolder", f"--data.root={photos}", "--data.image_size=16", "--data.num_workers=1"]
        command = options(tmp_path, "run", *more)
        message = refused(capsys, command, 1, "3 problems", "cannot be decoded", "data.on_bad_image=skip")
        assert all(f"dog/{number:03d}.jpg" in message for number in range(3))
        assert not (tmp_path / "run").exists()
        assert start(tmp_path, "run", *more, "--data.on_bad_image=skip") == 0
        assert "skipped 3 files (3 cannot be decoded)" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("file", "content", "words"),
        [
            ("images/000.json", '{"imagePath": "000.jpg", "shapes": [{"label": "cup", "points": [[1]]}]}', ["000.json shape 1: expected a box"]),
            ("images/000.json", '{"imagePath": "000.jpg", "shapes": [', ["000.json is not valid JSON", "cut off"]),
            ("a.xml", '<annotations><track label="c"><box frame="7" xtl="1" ytl="1" xbr="3" ybr="3"/></track></annotations>', ["frame_000007.PNG"]),
            ("a.xml", '<annotations><track><box frame="0"/></track></annotations>', ["a.xml: track 1 has no label"]),
            ("a.jsonl", '{"file_name": "000.jpg", "objects": {"bbox": [[1, 2, 3]], "category": [0]}}', ["a.jsonl line 1: objects: expected boxes"]),
        ],
    )  # fmt: skip
    def test_annotations_that_cannot_be(
        self, file: str, content: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        label_maker.draw_all(tmp_path / "photos" / "images", 4)
        (tmp_path / "photos" / file).write_text(content)
        more = [
            "--data=BoundingBoxes",
            f"--data.root={tmp_path / 'photos'}",
            f"--data.labels={tmp_path / 'photos' / file}",
        ]
        refused(capsys, options(tmp_path, "run", *more), 1, *words)
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize(
        ("content", "datamodule", "words"),
        [
            (b"PAR1 no table", "ParquetImages", ["t.parquet cannot be read as Parquet"]),
            (None, "ParquetImages", ["t.parquet row 2: it has no image", "data.on_bad_image=skip"]),
            (None, "ImageFolder", ["It holds *.parquet files", "--data ParquetImages"]),
        ],
    )
    def test_images_in_parquet(
        self,
        content: bytes | None,
        datamodule: str,
        words: list[str],
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        pytest.importorskip("pyarrow")
        columns = columns_of(8)
        columns["image"][1] = None
        file = write_parquet(tmp_path / "hub" / "t.parquet", columns)
        if content is not None:
            file.write_bytes(content)
        refused(capsys, options(tmp_path, "run", f"--data={datamodule}", f"--data.root={tmp_path / 'hub'}"), 1, *words)
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize(
        ("objects", "words"),
        [
            ({"bbox": [[1, 2, 3, 4]], "category": [0, 1], "area": []}, ["objects of row 0: expected as many boxes"]),
            ({"bbox": [[1, 2, 3, 4]] * 2, "category": [0, 1], "area": []}, ["'cat', 'ant'", "data.crop_to_boxes=true"]),
        ],
    )
    def test_objects_of_hugging_face(
        self, objects: dict[str, list[int]], words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pytest.importorskip("datasets")
        columns = rows_of(8)
        columns["objects"][0] = objects
        made(columns, label=None, objects=objects_feature()).save_to_disk(str(tmp_path / "saved"))
        capsys.readouterr()
        more = ("--data=HuggingFaceDataset", f"--data.dataset={tmp_path / 'saved'}")
        refused(capsys, options(tmp_path, "run", *more), 1, *words)
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize("workers", [0, 1])
    def test_a_image_that_vanishes_in_the_middle_is_named(
        self, workers: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """In a worker the error would come with the worker's traceback around it."""
        photos = paint(tmp_path / "photos", ("cat", "dog"))
        more = ("--data=ImageFolder", f"--data.root={photos}", "--data.image_size=16", f"--data.num_workers={workers}")
        command = options(tmp_path, "run", *more, "--model.strategy=failing_strategies.ImagesVanish")
        command.append(f"--model.strategy.folder={photos}")
        message = refused(capsys, command, 1, "does not exist any more")
        assert "Traceback" not in message

    def test_a_folder_that_is_not_there(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        more = ("--data=ImageFolder", f"--data.root={tmp_path / 'fotos'}")
        refused(
            capsys, options(tmp_path, "run", *more), 1, "data.root", "fotos does not exist", "<root>/<class>/<images>"
        )
        assert not (tmp_path / "run").exists()

    def test_a_class_that_is_tested_and_never_trained(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        paint(tmp_path / "photos" / "train", ("cat", "dog"))
        paint(tmp_path / "photos" / "test", ("cat", "dog", "emu"), count=2)
        more = ("--data=ImageFolder", f"--data.root={tmp_path / 'photos'}")
        refused(capsys, options(tmp_path, "run", *more), 1, "a class that the training data never has: 'emu'")

    def test_no_test_images_to_predict(
        self, finished: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        photos = paint(tmp_path / "photos", ("red", "green", "blue", "grey"), count=4)
        words = [
            word
            for word in options(tmp_path, "x")
            if not word.startswith(("--run_name", "--data.stream.", "--data=Col"))
        ]
        words += ["--data=ImageFolder", f"--data.root={photos}", "--data.image_size=16", "--data.test_fraction=0"]
        words += ["--data.stream=Joint", "--model.strategy=HeadOnly", f"--ckpt_path={finished}"]
        refused(capsys, ["predict", *words[1:]], 1, "There are no test images", "data.test_fraction")


class TestInTheMiddleOfARun:
    """The base was finished: it must stay readable, and the run must resume from it."""

    @pytest.mark.parametrize(
        ("strategy", "code", "words"),
        [
            ("MemoryIsFull", 1, ["The memory is full", "data.batch_size"]),
            ("GraphicsMemoryIsFull", 1, ["The memory is full (CUDA out of memory", "data.batch_size"]),
            ("LossIsInfinite", 1, ["The loss is inf in batch 0 of epoch 0 of experience 1 (increment 1)", "smaller learning rate"]),
            ("DiskFills", 1, ["could not be written", "--ckpt_path last"]),
        ],
    )  # fmt: skip
    def test_what_was_finished_stays(
        self, strategy: str, code: int, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        command = options(tmp_path, "run", f"--model.strategy=failing_strategies.{strategy}")
        with as_much_disk_as_before():
            refused(capsys, command, code, *words)
        results = read_results(tmp_path / "run" / "results.json")
        assert not results.run.complete
        assert [record.name for record in results.experiences] == ["base"]
        read_checkpoint(tmp_path / "run" / "checkpoints" / "experience=0000.ckpt")
        with np.load(tmp_path / "run" / "predictions.npz") as predictions:
            assert len(predictions["predicted"]) == 1
        assert not list(tmp_path.rglob("*.tmp*")), "no half-written file is left"

    def test_ctrl_c(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        command = options(tmp_path, "run", "--model.strategy=failing_strategies.Interrupted")
        assert main(command) == 130
        shown = capsys.readouterr()
        assert "Stopped by SIGINT" in shown.out
        assert "--ckpt_path last resumes the run" in shown.out
        assert "Traceback" not in shown.err
        assert len(read_results(tmp_path / "run" / "results.json").experiences) == 1
        assert list((tmp_path / "run" / "checkpoints").glob("experience=0001-stage=0-last.ckpt"))


class TestExistingRun:
    def test_it_is_not_touched_unasked(self, finished: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        before = (finished / "results.json").read_bytes()
        command = options(folder, "finished", "--model.strategy=HeadOnly")
        refused(capsys, command, 2, "exists already", "--ckpt_path last", "--run_name", "--overwrite")
        assert (finished / "results.json").read_bytes() == before

    def test_complete_is_complete(self, finished: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        before = (finished / "results.json").stat().st_mtime_ns
        assert main(options(folder, "finished", "--model.strategy=HeadOnly", "--ckpt_path=last")) == 0
        assert "is complete; nothing to do" in capsys.readouterr().out
        assert (finished / "results.json").stat().st_mtime_ns == before

    def test_going_on_with_other_options_names_them(
        self, finished: Path, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Lightning would take the checkpoint's options and say nothing."""
        more = ("--model.strategy=HeadOnly", "--data.batch_size=8", "--trainer.max_epochs=2", "--ckpt_path=last")
        message = refused(
            capsys,
            options(folder, "finished", *more, "--data.num_workers=1"),
            1,
            "data.init_args.batch_size: 16 then, 8 now",
            "trainer.max_epochs: 1 then, 2 now",
        )
        assert "num_workers" not in message

    def test_nothing_saved_yet_starts_from_the_beginning_with_a_message(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert start(tmp_path, "new", "--data.stream.experiences=1", "--ckpt_path=last") == 0
        assert "Nothing saved in" in capsys.readouterr().out
        assert read_results(tmp_path / "new" / "results.json").run.complete

    def test_overwrite(self, tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        for name in ("config.yaml", "left_over.txt"):
            (tmp_path / "run" / name).touch()
        assert start(tmp_path, "run", "--data.stream.experiences=1", "--overwrite=false") == 2
        assert start(tmp_path, "run", "--data.stream.experiences=1", "--overwrite") == 0
        assert not (tmp_path / "run" / "left_over.txt").exists()

    def test_overwrite_keeps_the_base_it_starts_from(
        self, finished: Path, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        command = options(folder, "finished", "--overwrite", f"--model.base_checkpoint={finished}")
        refused(capsys, command, 2, "--overwrite would delete", "--run_name")
        assert (finished / "results.json").is_file()


class Code:
    """What a pickle runs when it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("made_by_a_checkpoint",)


class TestCheckpoint:
    def words(self, checkpoint: Path, *more: str) -> list[str]:
        quick = [word for word in QUICK if "progress" not in word]
        return ["test", *quick, "--model.strategy=HeadOnly", *more, f"--ckpt_path={checkpoint}"]

    def test_one_that_holds_code_runs_none_of_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        torch.save({"state_dict": {}, "lightning_vision": Code()}, tmp_path / "code.ckpt")
        (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(Code()))
        for name in ("code.ckpt", "plain.ckpt"):
            refused(capsys, self.words(tmp_path / name), 1, name, "could be code, so it was not loaded")
        assert not (tmp_path / "made_by_a_checkpoint").exists()

    def test_damaged_foreign_or_missing(
        self, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        whole = (finished / "checkpoints" / "experience=0002.ckpt").read_bytes()
        (tmp_path / "half.ckpt").write_bytes(whole[: len(whole) // 2])
        torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
        refused(capsys, self.words(tmp_path / "half.ckpt"), 1, "damaged or no checkpoint")
        refused(
            capsys, self.words(tmp_path / "foreign.ckpt"), 1, "was not written by lightning_vision", "backbone_weights"
        )
        refused(capsys, self.words(tmp_path / "none.ckpt"), 1, "found nothing at")
        refused(capsys, self.words(tmp_path), 1, "at least one finished experience")
        refused(capsys, self.words(tmp_path)[:-1], 2, "test needs --ckpt_path")

    @pytest.mark.parametrize(
        ("more", "said"),
        [
            (["--model.backbone=test_efficientnet"], "backbone: test_resnet in the checkpoint, test_efficientnet here"),
            (["--data.image_size=32"], "image_size: 16 in the checkpoint, 32 here"),
            (["--model.head_hidden=8"], "head: "),
            (["--model.strategy=MoveToData"], "model.strategy: strategies.head_only.HeadOnly in the checkpoint"),
        ],
    )
    def test_of_another_model(
        self, more: list[str], said: str, finished: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        refused(capsys, self.words(finished, *more), 1, "does not fit this model", said, str(finished / "config.yaml"))


def test_wandb_online_without_a_network_continues_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for key in [key for key in os.environ if key.startswith("WANDB_")]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("NETRC", os.devnull)
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens there
    began = time.monotonic()
    assert start(tmp_path, "run", "--wandb.mode=null", "--data.stream.experiences=1") == 0
    assert time.monotonic() - began < 120
    assert "W&B is offline" in capsys.readouterr().out
    assert len(offline_runs(tmp_path / "run")) == 1


class TestMoreDataTomorrow:
    """A finished run is the base; the new images are one experience, with no base of its own."""

    @pytest.fixture(scope="class")
    def yesterday(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("yesterday")
        photos = paint(folder / "photos", ("cat", "cow", "dog"), count=16)
        return fit(folder, "run", *self.photos(photos), "--data.stream.experiences=2")

    def photos(self, root: Path) -> list[str]:
        network = ["--model.strategy=MoveToData", "--model.strategy.epsilon=0.1", "--data=ImageFolder"]
        return [*network, f"--data.root={root}", "--data.image_size=16", "--data.num_workers=0"]

    def tomorrow(self, root: Path, base: Path) -> list[str]:
        stream = ["--data.stream.experiences=1", "--data.stream.base_fraction=0"]
        return [*self.photos(root), *stream, f"--model.base_checkpoint={base}"]

    @pytest.mark.parametrize(
        ("classes", "known"),
        [(("cat", "cow", "dog"), 3), (("cat", "dog"), 3), (("ant", "cat", "cow", "dog"), 4)],
        ids=["all classes", "a subset", "a new one"],
    )
    def test_learned(self, classes: tuple[str, ...], known: int, yesterday: Path, tmp_path: Path) -> None:
        photos = paint(tmp_path / "new", classes)
        run = fit(tmp_path, "run", *self.tomorrow(photos, yesterday))
        results = read_results(run / "results.json")
        assert results.class_names == ["cat", "cow", "dog", "ant"][:known], "yesterday's rows keep their places"
        assert [record.epochs for record in results.experiences] == [1]
        assert results.initial_accuracy is not None
        assert str(results.base.from_checkpoint).startswith(str(yesterday))
        assert [len(row) for row in results.test.confusion_matrix] == [known] * known
        before, after = (read_checkpoint(each)["state_dict"] for each in (
            yesterday / "checkpoints" / "experience=0001.ckpt", run / "checkpoints" / "experience=0000.ckpt"
        ))  # fmt: skip
        moved = (after["network.head.weight"][:3] != before["network.head.weight"]).any(dim=1)
        assert moved.tolist() == [name in classes for name in ("cat", "cow", "dog")]
        for name, value in before.items():
            if name.startswith("network.backbone."):
                assert torch.equal(after[name], value)

    def test_a_misspelt_class_is_not_a_new_one(
        self, yesterday: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        photos = paint(tmp_path / "new", ("cat", "kow", "dog"))
        command = options(tmp_path, "run", *self.tomorrow(photos, yesterday))
        refused(capsys, command, 1, "['cow'] only in the checkpoint", "['kow'] only in the data", "rename the classes")
        assert not (tmp_path / "run").exists()


def _renamed(root: Path, *names: str) -> None:
    """Two class folders under other names."""
    for old, new in zip(("cats", "dogs"), names, strict=True):
        (root / new).parent.mkdir(parents=True, exist_ok=True)
        (root / old).rename(root / new)


def _one_table(root: Path, names: tuple[str, str], table: str = "train.csv", header: str = "id,label") -> None:
    _renamed(root, *names)
    for number, path in enumerate(sorted(root.rglob("*.jpg"))):
        path.rename(path.with_name(f"x{number:02d}.jpg"))
    rows = [f"x{number:02d},{'ab'[number % 2]}" for number in range(20)]
    (root / table).write_text("\n".join([header, *rows]))


def _below(root: Path, *folders: str) -> None:
    """Each class folder holds folders of these names."""
    for name in ("cats", "dogs"):
        for number, path in enumerate(sorted((root / name).glob("*.jpg"))):
            inner = root / name / folders[number % len(folders)]
            inner.mkdir(exist_ok=True)
            path.rename(inner / path.name)


def _instead(root: Path, content: bytes, name: str = "{}") -> None:
    """Files hold something else."""
    for path in sorted(root.rglob("*.jpg")):
        path.unlink()
        path.with_name(name.format(path.name)).write_bytes(content)


def _array(root: Path, array: np.ndarray, name: str) -> None:
    Image.fromarray(array).save(root / "cats" / name)


def _yolo(root: Path) -> None:
    _renamed(root, "images/train", "images/val")
    (root / "labels" / "train").mkdir(parents=True)
    (root / "labels" / "train" / "000.txt").write_text("0 .5 .5 .1 .1")


def _facts(root: Path, values: list[str]) -> None:
    rows = [
        f"{name}/{number:03d}.jpg,{values[number % len(values)]}" for name in ("cats", "dogs") for number in range(10)
    ]
    (root / "facts.csv").write_text("\n".join(["path,day", *rows]))


BY_DAY = ("--data.metadata=facts.csv", "--data.stream=FromColumn", "--data.stream.column=day")


@pytest.mark.parametrize(
    ("make", "more", "words"),
    [
        (lambda root: _renamed(root, "images_part_1", "images_part_2"), (), ["not which class", "data.classes_from=folder"]),
        (lambda root: _renamed(root, "100CANON", "101CANON"), (), ["differ by a number only", "data.classes_from=folder"]),
        (lambda root: _renamed(root, "2025-01", "2025-02"), (), ["their names are dates"]),
        (lambda root: _one_table(root, ("left", "right")), (), ["labels the images in them", "data.labels=train.csv", "data.classes_from=folder"]),
        (lambda root: _below(root, "indoor", "outdoor"), (), ["folders of the same names", "data.split_folders", "classes_from=parent"]),
        (lambda root: _renamed(root, "a/b/cats", "a/b/dogs"), (), ["several levels too high", "a/b if these are the classes"]),
        (_yolo, (), ["YOLO", "no class folders"]),
        (lambda root: _instead(root, b"version https://git-lfs.github.com/spec/v1\n"), (), ["20 problems", "git lfs pull"]),
        (lambda root: _instead(root, b"<!DOCTYPE html><html>"), (), ["a web page", "a failed download"]),
        (lambda root: _instead(root, b"PK\x03\x04" + bytes(30), "{}.zip"), (), ["is no whole zip archive", "Download or copy it again"]),
        (lambda root: _instead(root, b"\0\0\0\x18ftypmp42" + bytes(30), "{}.mp4"), (), ["no image in", "a video", "ffmpeg"]),
        (lambda root: [(root / "cats" / f"{n}.dcm").write_bytes(b"x") for n in range(30)], (), ["30 files skipped", "30 .dcm", "on_bad_image=skip"]),
        (lambda root: _array(root, np.zeros((8, 8), np.int32), "a.tif"), (), ["signed whole numbers of 32 bits"]),
        (lambda root: _array(root, np.zeros((8, 8), np.float32), "a.tif"), (), ["floating-point numbers of 32 bits"]),
        (lambda root: _facts(root, ["01.02.2026", "03.04.2026"]), BY_DAY, ["not clear which number is the day", "date_format"]),
        (lambda root: _facts(root, ["2026-01-01", "2026-02-31"]), BY_DAY, ["'2026-02-31' is none"]),
        (lambda root: _facts(root, ["1", "2"]), (*BY_DAY, "--data.stream.date_format=%Y"), ["'1', which is no date in the format '%Y'"]),
        (lambda root: None, ("--data.split_folders={learn: cats}",), ["expected the keys train, val and test"]),
        (lambda root: None, ("--data.split_folders={train: cows}",), ["there is no folder 'cows'", "'cats', 'dogs'"]),
        (lambda root: None, ("--data.classes_from=name",), ["classes_from", "folder"]),
    ],
)  # fmt: skip
def test_a_tree_that_would_be_misread_is_refused(
    make: Callable[[Path], object],
    more: tuple[str, ...],
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = paint(tmp_path / "photos", ("cats", "dogs"))
    make(root)
    options = ("--data=ImageFolder", f"--data.root={root}", "--data.num_workers=0", "--data.image_size=32", *more)
    code = 2 if any("split_folders" in word or "classes_from=" in word for word in more) else 1
    refused(capsys, ["data", *options], code, *words)


def _fashion(root: Path) -> None:
    """Files of another dataset, in the place of MNIST's."""
    write_mnist(root)
    (root / "MNIST").rename(root / "FashionMNIST")


def _cut_pickle(root: Path) -> None:
    """CIFAR-10 whose first file was not downloaded to its end."""
    (root / "cifar-10-batches-py").mkdir(parents=True)
    (root / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"\x80\x03}q")


def _saved_without_labels(root: Path) -> None:
    save_dataset(root, {"train": 6, "test": 4}, label=None)


def _damaged_arrow(root: Path) -> None:
    save_dataset(root, {"train": 6, "test": 4})
    for file in sorted(root.rglob("*.arrow")):
        file.write_bytes(file.read_bytes()[:100])


def _shards(root: Path, *more: tuple[str, bytes]) -> None:
    write_shards(root, {"train": 1, "test": 1})
    if more:
        write_tar(root / "train-0001.tar", more)


def _compressed_shard(root: Path) -> None:
    _shards(root)
    content = (root / "train-0000.tar").read_bytes()
    (root / "train-0000.tar").write_bytes(gzip.compress(content))


def _cut_shard(root: Path) -> None:
    _shards(root)
    content = (root / "train-0000.tar").read_bytes()
    (root / "train-0000.tar").write_bytes(content[: len(content) // 2])


def _run_of_core50(root: Path) -> None:
    write_core50(root)
    write_filelists(root)
    (root / "batches_filelists/NI_inc/run0/test_filelist.txt").unlink()


def _misplaced_core50(root: Path) -> None:
    write_core50(root)
    (root / "core50_128x128" / "s4").rename(root / "core50_128x128" / "s5")


def _domain_net(root: Path, spoil: Callable[[Path], object]) -> None:
    write_domain_net(root)
    spoil(root)


HUGGING_FACE = "HuggingFaceDataset"
BAD_DATASETS: list[tuple[str, Callable[[Path], object], tuple[str, ...], int, list[str]]] = [
    ("TorchvisionDataset", Path.mkdir, ("--data.dataset=CIFAR1000",), 2, ["has no 'CIFAR1000'", "Similar names: 'CIFAR100'"]),
    ("TorchvisionDataset", Path.mkdir, ("--data.dataset=CIFAR100",), 1, ["CIFAR100 was not found in", "cifar-100-python/ with train, test and meta", "--data.download true"]),
    ("TorchvisionDataset", _cut_pickle, ("--data.dataset=CIFAR10",), 1, ["CIFAR10 was not found in", "its checksum (MD5) is not the published one"]),
    ("TorchvisionDataset", _fashion, ("--data.dataset=MNIST",), 1, ["MNIST was not found in", "which contains the folder 'FashionMNIST'"]),
    ("TorchvisionDataset", write_mnist, ("--data.dataset=MNIST", "--data.splits={train: train}"), 2, ["data.splits", "MNIST has no argument split"]),
    ("TorchvisionDataset", write_mnist, ("--data.dataset=MNIST", "--data.arguments={transform: x}"), 2, ["data.arguments", "'transform' cannot be given"]),
    (HUGGING_FACE, Path.mkdir, ("--data.dataset=ROOT",), 1, ["could not be read by the library datasets", "save_to_disk"]),
    (HUGGING_FACE, Path.mkdir, ("--data.dataset=ROOT/nothing",), 1, ["is no folder, and no name on the Hub"]),
    (HUGGING_FACE, _damaged_arrow, ("--data.dataset=ROOT",), 1, ["could not be read by the library datasets"]),
    (HUGGING_FACE, _saved_without_labels, ("--data.dataset=ROOT",), 1, ["no label column; expected one (data.label_column chooses)", "camera (string)"]),
    (HUGGING_FACE, lambda root: save_dataset(root, {"train": 6, "test": 4}), ("--data.dataset=ROOT", "--data.image_column=picture"), 2, ["data.image_column: 'picture' is no column of images"]),
    (HUGGING_FACE, lambda root: save_dataset(root, {"first": 6, "second": 4}), ("--data.dataset=ROOT",), 1, ["has the parts 'first', 'second', and so no part for training", "data.splits={train: ..., test: ...}"]),
    ("WebDataset", Path.mkdir, (), 1, ["no *.tar was found in", "which is empty", "0001.jpg and 0001.cls"]),
    ("WebDataset", _compressed_shard, (), 1, ["cannot be read as a tar archive", "unpack it with gunzip"]),
    ("WebDataset", _cut_shard, (), 1, ["train-0000.tar", "cut off"]),
    ("WebDataset", lambda root: _shards(root, ("a.png", b"x"), ("a.json", b"{cls: 1}")), (), 1, ["the label of 'a'", "its json file cannot be read"]),
    ("WebDataset", _shards, ("--data.shards=train-{0000..0009}.tar",), 1, ["'train-0001.tar'", "is not in"]),
    ("WebDataset", _shards, ("--data.image_extension=jpg",), 1, ["hold no sample with an image", "data.image_extension"]),
    ("CORe50", Path.mkdir, (), 1, ["CORe50 was not found in", "core50_128x128/s1/o1/C_01_01_000.png", "https://vlomonaco.github.io/core50"]),
    ("CORe50", _misplaced_core50, (), 1, ["9 problems", "s5/o1/C_04_01_000.png: is no image of this session and object", "on_bad_image=skip"]),
    ("CORe50", _run_of_core50, ("--data.filelists=batches_filelists/NI_inc/run0",), 1, ["lacks test_filelist.txt"]),
    ("CORe50", write_core50, ("--data.stream=FromColumn", "--data.stream.column=batch"), 2, ["no column 'batch'"]),
    ("CORe50", write_core50, ("--data.stream=DomainIncremental", "--data.stream.by=session"), 1, ["session = '3', '7'", "data.stream.common_test"]),
    ("CORe50", write_core50, ("--data.level=kind",), 2, ["data.level", "category"]),
    ("ImageFolder", lambda root: _domain_net(root, lambda made: (made / "real_train.txt").unlink()), (), 1, ["real/ lacks 'real_train.txt', its official list"]),
    ("ImageFolder", lambda root: _domain_net(root, lambda made: shutil.rmtree(made / "real" / "umbrella")), (), 1, ["6 problems", "real_train.txt line 9: image not found (real/umbrella/real_003_000001.jpg)"]),
    ("ImageFolder", lambda root: _domain_net(root, lambda made: (made / "real_train.txt").rename(made / "reel_train.txt")), (), 1, ["the lists of 'reel': no domain of DomainNet has this name (similar: 'real')"]),
    ("ImageFolder", write_imagenet_r, ("--data.test_list=README.txt",), 1, ["names not found", "images below"]),
    ("ImageFolder", write_imagenet_r, ("--data.test_list=nowhere.txt",), 1, ["data.test_list: there is no file; searched"]),
    ("ImageFolder", write_imagenet_r, ("--data.label_names=nowhere.txt",), 1, ["data.label_names: there is no file; searched"]),
    ("ImageFolder", write_imagenet_r, ("--data.stream=ClassIncremental", "--data.stream.experiences=2", "--data.stream.class_order=[0, 1, 2, 4]"), 2, ["'4' is no class; 3 ('n03126707') is missing", "numbers 0 to 3"]),
    ("ImageFolder", write_imagenet_r, ("--data.stream=ClassIncremental", "--data.stream.experiences=2", "--data.stream.class_order=[n01443537, n01484850, n02012849, n03126708]"), 2, ["'n03126708' is no class (did you mean 'n03126707'"]),
    ("ImageFolder", write_imagenet_r, ("--data.stream=ClassIncremental", "--data.stream.experiences=2", "--data.stream.class_order_seed=-1993"), 2, ["class_order_seed is a seed of numpy.random.seed"]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "make", "more", "code", "words"), BAD_DATASETS)
def test_a_published_dataset_that_is_not_as_it_was_published(
    kind: str,
    make: Callable[[Path], object],
    more: tuple[str, ...],
    code: int,
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if kind == HUGGING_FACE:
        pytest.importorskip("datasets")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "data"
    make(root)
    options = [word.replace("ROOT", str(root)) for word in more]
    place = [] if kind == HUGGING_FACE else [f"--data.root={root}"]
    refused(capsys, ["data", f"--data={kind}", *place, "--data.num_workers=0", *options], code, *words)
