"""Archives stand wherever a user gives a folder of images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from archive_maker import FORMS, pack, write_archive
from photo_folder import write_photos

from datamodules import ImageFolder
from lightning_vision.cli import main
from lightning_vision.data.scenarios import Joint
from lightning_vision.trust.image_folder import read_image_folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("given") / "photos", per_class=6)


def read(root: Path, **options: Any) -> ImageFolder:
    return ImageFolder(root, **{"num_workers": 0, "image_size": 16, "stream": Joint(), **options})


class TestRoot:
    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("inside", ["", "photos"])
    def test_an_archive_reads_as_its_folder(self, photos: Path, tmp_path: Path, form: str, inside: str) -> None:
        folder, archive = read(photos), read(pack(photos, tmp_path / f"pack{form}", inside))
        assert archive.samples.equals(folder.samples)
        assert archive.class_names == folder.class_names
        assert archive.split_hash == folder.split_hash
        assert archive.stream.hash == folder.stream.hash
        assert np.array_equal(archive.prepared.digests, folder.prepared.digests)

    def test_what_was_unpacked_is_said_and_in_the_record(
        self, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        data = read(pack(photos, tmp_path / "photos.zip"))
        told = f"photos.zip: 18 images unpacked to {data.root}."
        assert told in capsys.readouterr().err
        assert any(told in remark for remark in data.prepared.describe()["remarks"])
        assert data.describe()["init_args"]["root"] == str(tmp_path / "photos.zip")

    def test_an_archive_a_class_and_an_archive_a_split(self, photos: Path, tmp_path: Path) -> None:
        for folder in photos.iterdir():
            pack(folder, tmp_path / f"{folder.name}.zip")
        assert read(tmp_path).samples["path"].tolist() == read(photos).samples["path"].tolist()
        parts = tmp_path / "parts"
        parts.mkdir()
        pack(photos, parts / "train.zip", "train")
        pack(photos, parts / "test.tar.gz")
        found = read(parts, val_fraction=0.0)
        assert found.samples.groupby("split").size().to_dict() == {"test": 18, "train": 18}
        assert set(found.samples["path"].str.split("/").str[1]) == set(found.class_names)

    def test_paths_of_a_table_are_those_in_the_archive(self, photos: Path, tmp_path: Path) -> None:
        images = {file.name: file.read_bytes() for file in sorted((photos / "cats").iterdir())}
        lines = [f"{name},{'even' if int(name[3]) % 2 == 0 else 'odd'}" for name in images]
        flat = {f"images/{name}": content for name, content in images.items()}
        table = "\n".join(["path,label", *(f"images/{line}" for line in lines)]).encode()
        inside = read(write_archive(tmp_path / "inside.zip", {**flat, "labels.csv": table}))
        wrapped = {f"export/{name}": content for name, content in {**flat, "labels.csv": table}.items()}
        above = read(write_archive(tmp_path / "above.zip", wrapped))
        folder = tmp_path / "kaggle"
        folder.mkdir()
        write_archive(folder / "images.zip", images)
        (folder / "labels.csv").write_bytes(table)
        for data in (inside, above, read(folder)):
            assert sorted(data.samples["path"]) == sorted(flat)
            assert data.class_names == ["even", "odd"]

    def test_caches_are_beside_the_archive_and_outlive_its_versions(self, photos: Path, tmp_path: Path) -> None:
        archive = pack(photos, tmp_path / "photos.zip")
        before = read(archive, cache="decoded")
        assert before.feature_folder() == tmp_path / ".photos.zip.lightning_vision"
        (file,) = before.feature_folder().glob("decoded-*.bin")
        write_photos(tmp_path / "more", per_class=7)
        pack(tmp_path / "more", archive)
        after = read(archive, cache="decoded")
        assert after.root != before.root
        assert after.feature_folder() == before.feature_folder()
        assert len(after.samples) == 21
        assert file.is_file()

    def test_test_data(self, photos: Path, tmp_path: Path) -> None:
        others = write_photos(tmp_path / "others", per_class=2, seed=1)
        data = read(photos, test_data=read(pack(others, tmp_path / "others.zip")))
        assert (data.samples["split"] == "test").sum() == 6
        assert data.image(int(np.flatnonzero(data.samples["split"] == "test")[0])).shape == (3, 40, 40)


def test_ood_images_and_new_images(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = pack(photos, tmp_path / "strange.zip")
    found = read_image_folder(archive, read(photos), "--ood_data")
    assert len(found) == 18
    assert found.paths[0] == "birds/0000.jpg"
    assert found.folder_of(0) == "birds"
    assert "--ood_data: " in (told := capsys.readouterr().err)
    assert "strange.zip: 18 images unpacked" in told


def test_a_fit_on_an_archive_from_the_command_line(photos: Path, tmp_path: Path) -> None:
    archive = pack(photos, tmp_path / "photos.tgz")
    words = [
        *("fit", "--config", "configs/quickstart.yaml", "--model.strategy", "HeadOnly", "--data", "ImageFolder", "--data.root", str(archive)),
        *("--data.image_size", "32", "--data.num_workers", "0", "--trainer.default_root_dir", str(tmp_path / "runs")),
        *("--model.backbone", "test_resnet", "--model.pretrained", "false", "--trainer.max_epochs", "1", "--run_name", "first"),
        *("--model.base_epochs", "1", "--data.stream", "InstanceIncremental", "--data.stream.experiences", "2", "--data.stream.base_fraction", "0.5"),
    ]  # fmt: skip
    assert main(words) == 0
    assert main([*words, "--ckpt_path", "last"]) == 0
    assert main(["test", "--ckpt_path", str(tmp_path / "runs" / "first")]) == 0
