"""A person's own folders, with all that is odd in them."""

from pathlib import Path

import pytest
from PIL import Image

from datamodules import ImageFolder
from lightning_vision.data.scenarios import (
    ClassIncremental,
    DomainIncremental,
    FromColumn,
    InstanceIncremental,
    Joint,
    Scenario,
)
from lightning_vision.errors import DataError


def fill(folder: Path, count: int = 10, extension: str = "jpg", shade: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new("RGB", (20, 16), (shade, 20 * number, 30)).save(folder / f"p{number}.{extension}")


def read(root: Path, stream: Scenario | None = None, metadata: str | Path | None = None) -> ImageFolder:
    return ImageFolder(root, metadata, batch_size=4, num_workers=0, image_size=16, stream=stream or Joint())


def counts(data: ImageFolder) -> dict[str, int]:
    return {str(part): int(count) for part, count in data.samples["split"].value_counts().items()}


class TestLayouts:
    def test_class_folders(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for name in ("mug 10", "mug 2", "Bowl"):
            fill(tmp_path / name)
        data = read(tmp_path, InstanceIncremental(2))
        assert data.class_names == ["Bowl", "mug 2", "mug 10"]
        assert counts(data) == {"train": 22, "test": 6, "val": 2}
        assert data.samples["path"].tolist()[:2] == ["Bowl/p0.jpg", "Bowl/p1.jpg"]
        assert "domain" not in data.samples
        assert data.load_image(11)[:, 5, 5].tolist() == pytest.approx([0, 20, 30], abs=6)
        assert sum(len(batch["label"]) for batch in data.evaluation_loader("test")) == counts(data)["test"]
        assert "skipped" not in capsys.readouterr().err

    @pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "valid", "TEST")])
    def test_split_folders(self, tmp_path: Path, names: tuple[str, str, str]) -> None:
        for name, count in zip(names, (8, 3, 4), strict=True):
            fill(tmp_path / name / "cat", count)
            fill(tmp_path / name / "dog", count)
        data = read(tmp_path, ClassIncremental(2))
        assert data.class_names == ["cat", "dog"]
        assert counts(data) == {"train": 16, "val": 6, "test": 8}
        assert data.samples["path"].map(lambda path: path.split("/")[1]).tolist() == ["cat"] * 15 + ["dog"] * 15

    def test_a_missing_part_is_cut_from_the_training_data(self, tmp_path: Path) -> None:
        for name, count in (("train", 20), ("test", 5)):
            fill(tmp_path / name / "cat", count)
            fill(tmp_path / name / "dog", count)
        assert counts(read(tmp_path)) == {"train": 36, "val": 4, "test": 10}

    def test_the_hashes_do_not_depend_on_where_the_folder_lies(self, tmp_path: Path) -> None:
        streams = []
        for place in ("here", "there"):
            fill(tmp_path / place / "cat")
            fill(tmp_path / place / "dog")
            streams.append(read(tmp_path / place))
        assert streams[0].stream.hash == streams[1].stream.hash
        assert streams[0].split_hash == streams[1].split_hash

    def test_sub_folders_are_domains(self, tmp_path: Path) -> None:
        for name in ("cat", "dog"):
            fill(tmp_path / name / "kitchen" / "day 1")
            fill(tmp_path / name / "garden")
        data = read(tmp_path, DomainIncremental())
        assert [item.name for item in data.stream] == ["garden", "kitchen"]
        fill(tmp_path / "cat", 1)
        with pytest.raises(DataError, match="folders of the same names, 'garden', 'kitchen'"):
            read(tmp_path)
        data = ImageFolder(tmp_path, num_workers=0, image_size=16, stream=Joint(), classes_from="folder")
        assert data.samples["domain"].isna().sum() == 1
        with pytest.raises(DataError, match=r"1 image of 41 has no value in the column 'domain': 'cat/p0.jpg'"):
            read(tmp_path, DomainIncremental())

    def test_one_class_of_new_images(self, tmp_path: Path) -> None:
        fill(tmp_path / "mug")
        data = read(tmp_path, InstanceIncremental(1, base_fraction=0))
        data.use_class_names(["bowl", "mug"])
        assert data.stream[0].classes == (1,)

    def test_a_class_called_train(self, tmp_path: Path) -> None:
        for name in ("bus", "car", "train"):
            fill(tmp_path / name)
        assert read(tmp_path).class_names == ["bus", "car", "train"]

    def test_links(self, tmp_path: Path) -> None:
        fill(tmp_path / "elsewhere")
        fill(tmp_path / "root" / "cat")
        (tmp_path / "root" / "dog").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "root" / "cat" / "again").symlink_to(tmp_path / "root" / "cat")
        data = read(tmp_path / "root")
        assert len(data.samples) == 20


class TestSkipped:
    def test_junk_is_counted(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        fill(tmp_path / "cat")
        fill(tmp_path / "dog", extension="PNG")
        for name in (".DS_Store", "Thumbs.db", "notes.txt", "clip.mp4"):
            (tmp_path / "cat" / name).write_text("x")
        (tmp_path / "dog" / "empty.jpg").touch()
        (tmp_path / "dog" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
        fill(tmp_path / "cat" / ".thumbnails", 3)
        (tmp_path / "empty class").mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / "cover.jpg")
        data = read(tmp_path)
        assert len(data.samples) == 20 and data.class_names == ["cat", "dog"]
        said = capsys.readouterr().err
        assert "skipped 7 files" in said
        for words in ("2 hidden", "2 of another kind", "1 empty", "1 broken links", "1 beside the class folders"):
            assert words in said
        assert "no class for 'empty class'" in said

    def test_folders_beside_the_splits(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        fill(tmp_path / "train" / "cat")
        fill(tmp_path / "train" / "dog")
        fill(tmp_path / "annotations")
        assert read(tmp_path).class_names == ["cat", "dog"]
        assert "skipped 'annotations', which are beside the split folders" in capsys.readouterr().err

    def test_the_training_folder_alone(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for part in ("train", "test"):
            fill(tmp_path / part / "cat")
            fill(tmp_path / part / "dog")
        assert len(read(tmp_path / "train").samples) == 20
        assert f"is beside 'test', which is not used. To use it, set data.root to {tmp_path}" in capsys.readouterr().err


class TestRefused:
    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"nowhere does not exist\. Expected <root>/<class>/<images> or"):
            read(tmp_path / "nowhere")
        (tmp_path / "file").touch()
        with pytest.raises(DataError, match="file is a file"):
            read(tmp_path / "file")

    def test_empty(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"no image in .*, which is empty\. Expected"):
            read(tmp_path)
        (tmp_path / "cat").mkdir()
        (tmp_path / "cat" / "a.txt").touch()
        with pytest.raises(
            DataError, match=r"contains the folder 'cat'\. Skipped: 1 of another kind \(1 \.txt\)\. Expected"
        ):
            read(tmp_path)

    def test_one_level_too_deep(self, tmp_path: Path) -> None:
        fill(tmp_path / "photos" / "cat")
        with pytest.raises(
            DataError, match=r"10 images directly in .*cat', and none .* use the folder above it, .*photos"
        ):
            read(tmp_path / "photos" / "cat")
        fill(tmp_path / "flat" / "train")
        fill(tmp_path / "flat" / "test")
        with pytest.raises(DataError, match=r"20 images directly in '.*test', '.*train', and none in a class folder"):
            read(tmp_path / "flat")

    def test_one_level_too_high(self, tmp_path: Path) -> None:
        for part in ("train", "test"):
            fill(tmp_path / "photos" / part / "cat")
            fill(tmp_path / "photos" / part / "dog")
        with pytest.raises(
            DataError, match=r"one level too high: its folder 'photos' contains 'test', 'train'.* Use .*photos"
        ):
            read(tmp_path)
        fill(tmp_path / "high" / "photos" / "cat")
        fill(tmp_path / "high" / "photos" / "dog")
        with pytest.raises(DataError, match=r"one class 'photos', with images only in its sub-folders 'cat', 'dog'"):
            read(tmp_path / "high")

    def test_a_class_that_is_only_tested(self, tmp_path: Path) -> None:
        fill(tmp_path / "train" / "cat")
        fill(tmp_path / "test" / "dog")
        with pytest.raises(DataError, match="test data has a class that the training data never has: 'dog'"):
            read(tmp_path)

    def test_a_image_that_does_not_decode(self, tmp_path: Path) -> None:
        fill(tmp_path / "cat")
        (tmp_path / "cat" / "p3.jpg").write_text("no image")
        with pytest.raises(DataError, match=r"1 problem:\n  cat/p3\.jpg: cannot be decoded .*\n.*on_bad_image=skip"):
            read(tmp_path)

    def test_heic_without_its_package(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        fill(tmp_path / "cat")
        (tmp_path / "cat" / "phone.HEIC").write_text("x")
        try:
            import pillow_heif  # noqa: F401
        except ImportError:
            read(tmp_path)
            assert "1 HEIC, which needs pip install pillow-heif" in capsys.readouterr().err
        else:
            assert len(read(tmp_path).samples) == 11


class TestMetadata:
    def photos(self, root: Path) -> list[str]:
        fill(root / "cat")
        fill(root / "dog")
        return [f"{name}/p{number}.jpg" for name in ("cat", "dog") for number in range(10)]

    def test_columns_join_the_table(self, tmp_path: Path) -> None:
        paths = self.photos(tmp_path)
        lines = [f"{path},{row // 2},2024-{row % 2 + 1:02d}" for row, path in enumerate(paths)]
        (tmp_path / "about.csv").write_text("\n".join(["path,group,month", *reversed(lines)]))
        data = read(tmp_path, FromColumn("month"), "about.csv")
        assert [item.name for item in data.stream] == ["2024-01", "2024-02"] and data.samples["path"].tolist() == paths
        assert data.samples["group"].tolist() == [row // 2 for row in range(20)]
        assert (data.samples.groupby("group")["split"].nunique() == 1).all()
        assert data.describe()["init_args"]["metadata"] == "about.csv"

    def test_it_may_split_and_name_domains(self, tmp_path: Path) -> None:
        paths = self.photos(tmp_path)
        fill(tmp_path / "cat" / "garden", 2)
        lines = [f".\\{path},{'test' if row % 5 == 0 else 'Train'},home" for row, path in enumerate(paths)]
        (tmp_path / "about.csv").write_text("\n".join([r"path,split,domain", *lines]).replace("/", "\\"))
        data = read(tmp_path, metadata=tmp_path / "about.csv")
        assert (data.samples.set_index("path").loc[paths[::5], "split"] == "test").all()
        assert counts(data)["test"] == 4
        assert data.samples["domain"].isna().sum() == 2

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            ("file,group\nx,1", "about.csv lacks the column 'path'; its first line has 'file', 'group'"),
            ("path,label\nx,1", "must not have the column 'label'"),
            ("", "about.csv is empty. Expected a table with the columns 'path'"),
            (
                "path,g\ncat/p0.jpg,1\ncat/p0.jpg,2\ncat/x.jpg,3",
                r"line 3: path 'cat/p0.jpg' is already in line 2\n.*line 4: image not found \(cat/x.jpg; ",
            ),
        ],
    )
    def test_refused(self, tmp_path: Path, text: str, match: str) -> None:
        self.photos(tmp_path)
        (tmp_path / "about.csv").write_text(text)
        with pytest.raises(DataError, match=match):
            read(tmp_path, metadata="about.csv")

    def test_missing_or_in_conflict(self, tmp_path: Path) -> None:
        self.photos(tmp_path / "train")
        with pytest.raises(DataError, match=r"metadata file does not exist; searched 'about\.csv', '.*about\.csv'"):
            read(tmp_path, metadata="about.csv")
        (tmp_path / "about.csv").write_text("path,split\ntrain/cat/p0.jpg,test")
        with pytest.raises(DataError, match=r"has split folders\. Remove one of them"):
            read(tmp_path, metadata="about.csv")

    def test_images_are_named_as_in_a_table_of_labels(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for name, shade in (("cup", 0), ("mug", 90)):
            fill(tmp_path / name, 8, shade=shade)
        lines = [f"D:\\{tmp_path.name}\\cup\\p{number}.png,a\nmug/p{number},b" for number in range(8)]
        (tmp_path / "about.csv").write_text("path,place\n" + "\n".join(lines) + "\n")
        data = read(tmp_path, FromColumn("place"), "about.csv")
        assert [item.name for item in data.stream] == ["a", "b"] and data.samples["place"].notna().all()
        assert "about.csv: 8 images have another suffix on the disk than in the table" in capsys.readouterr().err
        (tmp_path / "about.csv").write_text("path,place\np0.jpg,a\n")
        with pytest.raises(
            DataError, match=r"about\.csv line 2: several images are called 'p0\.jpg'; write their folder too"
        ):
            read(tmp_path, metadata="about.csv")
