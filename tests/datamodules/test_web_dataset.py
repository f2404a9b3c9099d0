"""WebDataset's tar archives: read from their places, and what cannot be read is named."""

import gzip
import hashlib
import pickle
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from dataset_saver import stored
from interruptions import SHOWN, interrupt
from shard_maker import members_of, write_shards, write_tar
from test_configs import SMALL, SMALL_PHOTOS, fit, words
from torchvision_maker import drawn

from datamodules import WebDataset
from datamodules.tar_index import shard_names, split_key
from lightning_vision.cli import main
from lightning_vision.data.scenarios import Joint
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.results.schema import read_results


def read(root: Path, **options: Any) -> WebDataset:
    quick: dict[str, Any] = {"image_size": 16, "num_workers": 0, "val_fraction": 0.0, "stream": Joint()}
    return WebDataset(root, **{**quick, **options})


def counts(data: WebDataset) -> dict[str, int]:
    return {str(split): int(count) for split, count in data.samples["split"].value_counts().items()}


def pixels(number: int) -> torch.Tensor:
    return torch.from_numpy(drawn(number % 2, number, 24)).permute(2, 0, 1)


class TestArchives:
    def test_parts_labels_and_images(self, tmp_path: Path) -> None:
        data = read(write_shards(tmp_path, {"test": 1, "train": 2, "val": 1}))
        assert counts(data) == {"train": 12, "val": 6, "test": 6} and data.class_names == ["0", "1"]
        assert data.samples["path"].iloc[0] == "test-0000.tar/000000"
        for row in range(24):
            assert torch.equal(data.image(row), pixels(row)) and data.samples["label"][row] == row % 2
        assert data.prepared.digests[7].tobytes() == hashlib.blake2b(stored(1, 7), digest_size=16).digest()

    def test_labels_in_json(self, tmp_path: Path) -> None:
        write_shards(tmp_path, {"train": 1, "test": 1}, form="json")
        data = read(tmp_path)
        assert data.class_names == ["ant", "cat"] and data.samples["label"].tolist()[:2] == [1, 0]
        assert read(tmp_path, label_extension="json.category").class_names == ["ant", "cat"]
        with pytest.raises(
            DataError, match=r"hold no sample with an image .* and a label.*has the fields 'category', 'id' \("
        ):
            read(tmp_path, label_extension="json.kind")

    def test_labels_in_an_object_of_json(self, tmp_path: Path) -> None:
        """And one label in a list of its own."""
        labels = ('{"meta": {"kind": "ant"}, "labels": ["x"]}', '{"meta": {"kind": "cat"}, "labels": ["y"]}')
        members = [(f"{n}.png", stored(n % 2, n)) for n in range(8)] + [
            (f"{n}.json", labels[n % 2].encode()) for n in range(8)
        ]
        write_tar(tmp_path / "a.tar", sorted(members))
        assert read(tmp_path, label_extension="json.meta.kind").class_names == ["ant", "cat"]
        assert read(tmp_path, label_extension="json.labels").class_names == ["x", "y"]
        with pytest.raises(
            DataError, match=r"fields 'meta', 'labels', 'meta\.kind' \(data\.label_extension=json\.FIELD\)"
        ):
            read(tmp_path)

    def test_names_of_the_labels(self, tmp_path: Path) -> None:
        write_shards(tmp_path, {"train": 1, "test": 1})
        (tmp_path / "names.txt").write_text("cat\nant\n", encoding="utf-8")
        assert read(tmp_path, label_names="names.txt").class_names == ["cat", "ant"]

    def test_archives_may_be_named(self, tmp_path: Path) -> None:
        write_shards(tmp_path, {"part": 4})
        assert counts(read(tmp_path, test_fraction=0.25)) == {"train": 18, "test": 6}
        shards = {"train": "part-{0000..0002}.tar", "test": ["part-0003.tar"]}
        data = read(tmp_path, shards=shards)
        assert counts(data) == {"train": 18, "test": 6} and torch.equal(data.image(18), pixels(18))
        assert counts(read(tmp_path, shards="part-000[01].tar", test_fraction=0.5)) == {"train": 6, "test": 6}

    def test_folders_say_the_split(self, tmp_path: Path) -> None:
        for folder, start in (("train", 0), ("test", 6)):
            write_tar(tmp_path / folder / "0000.tar", members_of(6, start))
        assert counts(read(tmp_path)) == {"train": 6, "test": 6}

    def test_archives_behind_links(self, tmp_path: Path) -> None:
        write_shards(tmp_path / "stored", {"train": 2, "test": 1})
        (tmp_path / "root").mkdir()
        for name in ("first", "again"):  # two links to one folder
            (tmp_path / "root" / name).symlink_to(tmp_path / "stored")
        (tmp_path / "stored" / "above").symlink_to(tmp_path / "root")
        assert counts(read(tmp_path / "root")) == {"train": 12, "test": 6}

    def test_samples_without_an_image_or_a_label_are_counted(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        more = [("x.cls", b"0"), ("y.png", stored(0, 90)), ("z.png", stored(0, 91)), (".hidden", b"")]
        write_tar(tmp_path / "a.tar", [*members_of(6, 0), *more])
        assert len(read(tmp_path, test_fraction=0.5).samples) == 6
        told = capsys.readouterr().err
        assert "1 sample without an image not used" in told and "2 samples without a label not used" in told

    def test_several_images_of_a_sample(self, tmp_path: Path) -> None:
        members = []
        for number in range(6):
            names = [(f"{number}.left.png", stored(0, number)), (f"{number}.right.png", stored(1, number))]
            members += [*names, (f"{number}.cls", str(number % 2).encode())]
        write_tar(tmp_path / "a.tar", members)
        with pytest.raises(
            DataError, match=r"'0' has 2 images, 'left.png', 'right.png'\. data.image_extension is that"
        ):
            read(tmp_path)
        data = read(tmp_path, image_extension="right.png", test_fraction=0.5)
        assert torch.equal(data.load_image(2), torch.from_numpy(drawn(1, 2, 24)).permute(2, 0, 1))

    def test_memory_does_not_grow_with_the_images(self, tmp_path: Path) -> None:
        data = read(write_shards(tmp_path, {"train": 50, "test": 1}), inspect="headers")
        again = pickle.loads(pickle.dumps(data))
        assert torch.equal(again.load_image(301), pixels(295))
        held = data._places.nbytes
        assert held == 306 * 24 < 306 * len(stored(0, 0)) / 20


class TestRefused:
    def test_a_damaged_image_is_named(self, tmp_path: Path) -> None:
        members = members_of(8, 0)
        members[4] = ("000002.png", stored(0, 2)[:60])
        write_tar(tmp_path / "a.tar", members)
        with pytest.raises(DataError, match=r"a\.tar/000002"):
            read(tmp_path)
        assert len(read(tmp_path, on_bad_image="skip", test_fraction=0.25).samples) == 7

    def test_an_archive_that_is_cut_off(self, tmp_path: Path) -> None:
        file = write_tar(tmp_path / "a.tar", members_of(6, 0))
        whole = file.read_bytes()
        file.write_bytes(whole[: 512 + 700])
        with pytest.raises(DataError, match=r"a\.tar (is cut off|cannot be read as a tar archive)"):
            read(tmp_path)
        file.write_bytes(gzip.compress(whole))
        with pytest.raises(DataError, match=r"cannot be read as a tar archive.*unpack it with gunzip"):
            read(tmp_path)

    def test_an_archive_that_is_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "a.tar").mkdir()
        with pytest.raises(DataError, match=r"a\.tar cannot be read: Is a directory"):
            read(tmp_path)

    def test_an_archive_that_shrinks_during_the_run(self, tmp_path: Path) -> None:
        data = read(write_shards(tmp_path, {"train": 1, "test": 1}))
        (tmp_path / "train-0000.tar").write_bytes(b"")
        with pytest.raises(DataError, match=r"train-0000\.tar is shorter than it was"):
            data.image(int(data.samples.index[data.samples["split"] == "train"][0]))

    @pytest.mark.parametrize(
        ("members", "match"),
        [
            ([("a.png", stored(0, 0)), ("a.json", b'{"label": [1, 2]}')], r"is '\[1, 2\]'; expected one class"),
            ([("a.png", stored(0, 0)), ("a.json", b"{")], "its json file cannot be read"),
            ([("a.png", stored(0, 0)), ("a.png", stored(0, 0))], "holds a.png twice"),
            ([("a.txt", b"words")], "hold no sample with an image"),
        ],
    )
    def test_samples(self, members: list[tuple[str, bytes]], match: str, tmp_path: Path) -> None:
        write_tar(tmp_path / "a.tar", members)
        with pytest.raises(DataError, match=match):
            read(tmp_path)

    def test_shards(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"no \*\.tar was found in .*, which is empty\. Expected archives such as"):
            read(tmp_path)
        write_shards(tmp_path, {"train": 1, "other": 1})
        for shards, match in (
            (None, r"but not those of 'other-0000\.tar'\. Name the parts"),
            ("train-{0000..0001}.tar", "'train-0001.tar' of .* is not in"),
            ("b-*.tar", "stands for no file"),
            ({"train": "*.tar", "test": "other-*.tar"}, r"'other-0000\.tar' is in several parts"),
            ({"training": "*.tar"}, "expected patterns for some of 'train', 'val', 'test'"),
        ):
            with pytest.raises((ConfigError, DataError), match=match):
                read(tmp_path, shards=shards)


def test_patterns() -> None:
    assert shard_names("a-{08..11}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]
    assert shard_names("{a,b}/{0..1}.tar") == ["a/0.tar", "a/1.tar", "b/0.tar", "b/1.tar"]
    for wrong in ("a-{3..1}.tar", "a-{1.tar", "a-1}.tar", "{{1..2}}"):
        with pytest.raises(DataError, match=r"data.shards: expected"):
            shard_names(wrong)


def test_keys() -> None:
    assert split_key("./a.b/0001.seg.PNG") == ("a.b/0001", "seg.png")
    assert split_key("x/.hidden") == ("", "")


def test_the_config(tmp_path: Path) -> None:
    few = {"data.root": write_shards(tmp_path / "shards", {"train": 2, "test": 1}), "data.init_args.batch_size": 4}
    results = fit(tmp_path / "runs", "run", ["configs/published/web_dataset.yaml"], {**SMALL, **SMALL_PHOTOS, **few})
    assert results.run.complete and results.class_names == ["0", "1"]


def test_a_run_that_is_stopped_in_an_epoch_resumes_with_the_images_not_yet_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_shards(tmp_path / "shards", {"train": 50, "test": 1})
    config = ["fit", "--config=configs/published/web_dataset.yaml", f"--data.root={root}", "--data.batch_size=32"]
    small = {**SMALL_PHOTOS, "model.base_epochs": 2, "trainer.max_epochs": 2, "trainer.enable_progress_bar": False}
    quiet = ["--energy.enabled=false", "--wandb.mode=disabled", "--trainer.callbacks=interruptions.Interrupt"]
    place = [f"--trainer.default_root_dir={tmp_path / 'runs'}", "--ckpt_path=last"]
    command = [*config, *words(small), *quiet, *place]

    def run(name: str, point: str = "") -> int:
        monkeypatch.setenv(SHOWN, str(tmp_path / name))
        for key, value in interrupt(point, signal.SIGTERM).items():
            monkeypatch.setenv(key, value)
        return main([*command, f"--run_name={name}"])

    assert run("whole") == 0
    assert run("stopped", "0::1:3") == 128 + signal.SIGTERM
    assert run("stopped") == 0
    shown = (tmp_path / "whole.0").read_text(encoding="utf-8")
    assert len(shown.splitlines()) == 2 * 9, "two epochs of 270 training images"
    assert (tmp_path / "stopped.0").read_text(encoding="utf-8") == shown
    ends = [read_results(tmp_path / "runs" / name / "results.json").test.accuracy for name in ("whole", "stopped")]
    assert ends[0] == ends[1]
