"""Stanford Dogs in its two layouts, and its annotations."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from dataset_maker import DOGS, dog_annotation, write_dog_list, write_dogs

from datamodules.stanford_dogs import StanfordDogs, largest_box
from lightning_vision.data.scenarios import Joint
from lightning_vision.errors import ConfigError, DataError

BREEDS = ["Chihuahua", "Maltese_dog", "flat-coated_retriever"]


def read(root: Path, **options: object) -> StanfordDogs:
    defaults = {"num_workers": 0, "image_size": 16, "val_fraction": 0.2, "stream": Joint()}
    return StanfordDogs(root, **{**defaults, **options})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dogs(tmp_path_factory.mktemp("original"))


@pytest.fixture(scope="module")
def kaggle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dogs(tmp_path_factory.mktemp("kaggle"), kaggle=True)


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "copy"))


@pytest.fixture
def lists(copy: Path) -> Callable[..., None]:
    """Writes the lists anew, with rows added or changed."""

    def write(**rows: list[tuple[str, int]]) -> None:
        for split, places in (("train", range(1, 7)), ("test", range(7, 10))):
            whole = {
                f"{folder}/{folder.partition('-')[0]}_{place}.jpg": kind + 1
                for kind, folder in enumerate(DOGS)
                for place in places
            }
            write_dog_list(copy / "lists" / f"{split}_list.mat", list({**whole, **dict(rows.get(split, []))}.items()))

    return write


class TestLayouts:
    def test_the_official_split(self, original: Path, capsys: pytest.CaptureFixture[str]) -> None:
        data = read(original)
        assert data.class_names == BREEDS
        samples = data.samples
        assert samples["path"].tolist()[:2] == [f"Images/{DOGS[0]}/n02085620_{number}.jpg" for number in (1, 2)]
        assert samples["label"].tolist() == [0] * 9 + [1] * 9 + [2] * 9
        assert samples.loc[samples["split"] == "test", "path"].str[-5].tolist() == ["7", "8", "9"] * 3
        assert "box_xyxy" not in samples, "annotations are read only where boxes are asked for"
        said = capsys.readouterr().err
        assert "12,000 training images and 8,580 test images of 120 breeds; found 18 training" in said
        assert data.image(9).shape == (3, 40, 48), "a PNG called .jpg"

    def test_kaggle_without_lists(self, kaggle: Path, capsys: pytest.CaptureFixture[str]) -> None:
        data = read(kaggle, split="70/15/15")
        assert data.class_names == BREEDS
        assert data.samples["path"].iloc[0] == f"images/Images/{DOGS[0]}/n02085620_1.jpg"
        assert set(data.samples["split"]) == {"train", "val", "test"}
        assert not data.prepared.official_test
        said = capsys.readouterr().err
        assert "is not the official one" in said and "20,580 images of 120 breeds; found 27 images of 3" in said

    def test_imagenet_is_always_spoken_of(self, original: Path, kaggle: Path) -> None:
        for root in (original, kaggle):
            assert [remark for remark in read(root).findings.remarks if "has very likely seen test images" in remark]

    def test_lists_beside_the_folders(self, copy: Path, original: Path) -> None:
        for file in (copy / "lists").iterdir():
            file.rename(copy / file.name)
        assert read(copy).split_hash == read(original).split_hash


class TestBoxes:
    def test_the_largest_dog_is_cut_out(self, original: Path, kaggle: Path) -> None:
        """Also where the annotation does not know the image's size."""
        for root in (original, kaggle):
            data = read(root, crop_to_box=True)
            assert data.samples["box_xyxy"].tolist()[:2] == [(6.0, 4.0, 44.0, 30.0), (7.0, 4.0, 44.0, 30.0)]
            assert data.image(0).shape == (3, 26, 38)
            assert data.image(0).float().mean() > 1.2 * read(root).image(0).float().mean()

    def test_annotations_alone(self, original: Path) -> None:
        data = read(original, annotations=True)
        assert data.samples["box_xyxy"].notna().all() and data.image(0).shape == (3, 40, 48)

    @pytest.mark.parametrize(
        ("boxes", "size", "expected"),
        [
            ([(1, 2, 9, 9), (0, 0, 20, 10)], (30, 30), (0, 0, 20, 10)),
            ([(5, 5, 90, 90), (0, 0, 28, 28)], (30, 30), (0, 0, 28, 28)),
            ([(5, 5, 90, 90), (0, 0, 28, 28)], (0, 0), (5, 5, 90, 90)),
            ([(-3, 5, 90, 9)], (30, 30), (0, 5, 30, 9)),
        ],
    )
    def test_which_is_the_largest(
        self, boxes: list[tuple[int, int, int, int]], size: tuple[int, int], expected: tuple[int, int, int, int]
    ) -> None:
        assert largest_box(dog_annotation(boxes, size).encode()) == expected

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("<annotation>", "is not XML"),
            ("", "is not XML"),
            ("<annotation/>", "has no box"),
            (dog_annotation([]), "has no box"),
            (dog_annotation([(9, 9, 3, 20)]), "has no area"),
            (dog_annotation([(40, 40, 50, 50)], (30, 30)), "has no area"),
            (dog_annotation([(1, 1, 3, 20)]).replace("<xmin>1</xmin>", "<xmin>one</xmin>"), "not a number"),
            (dog_annotation([(1, 1, 3, 20)]).replace("<xmin>1</xmin>", ""), "has no area"),
            ("<!DOCTYPE annotation>" + dog_annotation([(1, 1, 9, 9)]), "DOCTYPE"),
            ('<!DOCTYPE a [<!ENTITY x "1"><!ENTITY y "&x;&x;">]><annotation>&y;</annotation>', "DOCTYPE"),
        ],
    )
    def test_annotations_that_cannot_be_used(self, text: str, reason: str) -> None:
        with pytest.raises(ValueError, match=reason):
            largest_box(text.encode())
        if text:
            with pytest.raises(ValueError, match=reason):
                largest_box(text.encode("utf-16"))

    def test_they_are_named_together(self, copy: Path) -> None:
        first, second, third = sorted((copy / "Annotation" / DOGS[0]).iterdir())[:3]
        first.write_text("<annotation>")
        second.unlink()
        third.write_text(dog_annotation([(44, 4, 44, 30)]))
        with pytest.raises(DataError) as caught:
            read(copy, crop_to_box=True)
        for words in ("_1.jpg: its annotation is not XML", "_2.jpg: no annotation file", "_3.jpg: its box has no area"):
            assert f"Images/{DOGS[0]}/n02085620{words}" in str(caught.value)
        assert len(read(copy, crop_to_box=True, on_bad_image="skip").samples) == 24
        kept = read(copy, annotations=True, on_bad_image="skip")
        assert len(kept.samples) == 25 and kept.samples["box_xyxy"].isna().sum() == 1
        assert "1 image without an annotation file." in kept.findings.remarks
        shutil.rmtree(copy / "Annotation")
        with pytest.raises(DataError, match=r"data\.crop_to_box needs boxes, and .* contains neither Annotation/ nor"):
            read(copy, crop_to_box=True)

    def test_context(self, original: Path) -> None:
        wider = read(original, crop_to_box=True, context=0.1)
        assert wider.image(0).shape[2] == 42 and wider.describe()["init_args"]["context"] == 0.1
        with pytest.raises(ConfigError, match=r"data\.context must be 0 or more"):
            read(original, context=-0.1)


class TestLists:
    def test_both_are_needed(self, copy: Path) -> None:
        (copy / "lists" / "test_list.mat").unlink()
        with pytest.raises(
            DataError, match=r"train_list\.mat exists but 'test_list\.mat' does not: the official split needs"
        ):
            read(copy)

    def test_files_that_are_not_there_or_not_listed(
        self, copy: Path, lists: Callable[..., None], capsys: pytest.CaptureFixture[str]
    ) -> None:
        lists(train=[(f"{DOGS[0]}/gone.jpg", 1)])
        shutil.copy(copy / "Images" / DOGS[0] / "n02085620_1.jpg", copy / "Images" / DOGS[0] / "more.jpg")
        (copy / "Images" / DOGS[1] / "Thumbs.db").touch()
        (copy / "Images" / "notes").mkdir()
        with pytest.raises(DataError, match=rf"1 problem:\n  Images/{DOGS[0]}/gone\.jpg: file not found"):
            read(copy)
        data = read(copy, on_bad_image="skip")
        assert len(data.samples) == 27
        said = capsys.readouterr().err
        assert all(words in said for words in ("skipped 3 files", "1 hidden", "1 in neither list"))
        assert "The folder 'notes' was skipped" in said

    def test_contradictions(self, copy: Path, lists: Callable[..., None]) -> None:
        lists(
            train=[(f"{DOGS[0]}/n02085620_1.jpg", 0), (f"{DOGS[1]}/n02085936_2.jpg", 3)],
            test=[(f"{DOGS[0]}/n02085620_2.jpg", 1)],
        )
        with pytest.raises(DataError) as caught:
            read(copy)
        for words in (
            "train_list.mat row 1: class 0; classes count from 1",
            f"the folder {DOGS[0]} has more than one class in the lists: '0', '1'",
            f"the class 3 has more than one folder in the lists: '{DOGS[1]}', '{DOGS[2]}'",
            f"test_list.mat row 10: {DOGS[0]}/n02085620_2.jpg is also in the training list",
        ):
            assert words in str(caught.value)


class TestMissing:
    def test_another_folder(self, original: Path, kaggle: Path, tmp_path: Path) -> None:
        for root in (original / "Images", kaggle / "images" / "Images" / DOGS[0]):
            with pytest.raises(DataError, match="This is too deep; use"):
                read(root)
        (tmp_path / "above").mkdir()
        (tmp_path / "above" / "Dogs").symlink_to(original)
        with pytest.raises(DataError, match="This is one level too high; use"):
            read(tmp_path / "above")
        (tmp_path / "empty").mkdir()
        with pytest.raises(
            DataError,
            match=r"Stanford Dogs was not found in .*, which is empty\.\nExpected one of\n  <root>/Images/n<n",
        ):
            read(tmp_path / "empty")
