"""A realistic folder of images: nested, with files that are not images."""

from pathlib import Path

import numpy as np
import pytest
from coloured_squares import ColouredSquares
from photo_folder import write_photos
from PIL import Image

from lightning_vision.data import image_facts, inspection
from lightning_vision.data.image_facts import ImageFacts
from lightning_vision.errors import DataError
from lightning_vision.images.image_sources import FileImages
from lightning_vision.trust.image_folder import joined, read_image_folder, said


@pytest.fixture(scope="module")
def data() -> ColouredSquares:
    return ColouredSquares(on_bad_image="skip")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten images, and seven files that are none."""
    root = write_photos(tmp_path / "odd", classes=("cats",), per_class=6)
    deep = root / "cats" / "deeper" / "still"
    deep.mkdir(parents=True)
    for number in range(4):
        Image.fromarray(np.full((40, 40), 60 * number, dtype=np.uint8)).save(deep / f"img{3 * number}.PNG")
    (root / "notes.txt").write_text("no image")
    (root / ".hidden.jpg").write_bytes(b"x")
    (root / "Thumbs.db").write_bytes(b"x")
    (root / "cats" / "empty.jpg").touch()
    (root / "cats" / "broken.jpg").write_bytes(b"\xff\xd8 no JPEG")
    (root / "dangling.png").symlink_to(root / "nowhere.png")
    (root / "cats" / "back").symlink_to(root)
    (root / ".cache").mkdir()
    (root / ".cache" / "copy.jpg").write_bytes(b"x")
    return root


def test_lists_the_images_below_in_natural_order(folder: Path, data: ColouredSquares) -> None:
    found = read_image_folder(folder, data, "--ood_data")
    assert len(found) == 10
    assert found.paths[0] == "cats/0000.jpg"
    assert [path.rsplit("/", 1)[1] for path in found.paths[-4:]] == ["img0.PNG", "img3.PNG", "img6.PNG", "img9.PNG"]
    assert found.folders() == ["odd", "cats", "deeper", "still"]
    assert found.folder_of(0) == found.folder_of(9) == "cats"
    assert found.files.open(0).pixels().shape == (3, 40, 40)
    assert (found.inspection.reason == "").all() and (found.inspection.height == 40).all()
    reasons = [part.partition(" (")[0].partition(" ") for part in found.skipped.split(", ")]
    counts = {reason: int(count) for count, _, reason in reasons}
    assert (counts["hidden"], counts["empty"], counts["of another kind"], counts["broken links"]) == (2, 1, 1, 1)
    assert sum(counts.values()) == 6, "and the one that cannot be decoded"
    assert said(found).startswith("10 images, left out: ")


def test_a_file_that_is_not_an_image_is_an_error_unless_it_is_skipped(folder: Path) -> None:
    with pytest.raises(
        DataError, match=r"(?s)1 problem:\n  cats/broken\.jpg: cannot be decoded.*data\.on_bad_image=skip"
    ):
        read_image_folder(folder, ColouredSquares(), "--ood_data")


def test_what_was_found_is_kept(folder: Path, data: ColouredSquares, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read_image_folder(folder, data, "--ood_data")
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] != [], (
        "the cache lies beside, not inside"
    )
    assert not list(folder.rglob("*.npz"))
    looked, look = list[str](), image_facts.look_at_file

    def counted(files: FileImages, row: int, decode: bool) -> ImageFacts:
        looked.append(files.path(row).name)
        return look(files, row, decode)

    monkeypatch.setattr(inspection, "look_at_file", counted)
    again = read_image_folder(folder, data, "--ood_data")
    assert looked == ["broken.jpg"], "why an image cannot be read is not kept"
    assert np.array_equal(first.inspection.phash, again.inspection.phash)


def test_several_folders_are_one(tmp_path: Path, data: ColouredSquares) -> None:
    one = read_image_folder(write_photos(tmp_path / "one", ("cats",), 3), data, "--ood_data")
    two = read_image_folder(write_photos(tmp_path / "two", ("dogs",), 2), data, "--ood_data")
    both = joined([one, two])
    assert len(both) == len(both.files) == len(both.inspection) == 5
    assert both.files.path(4) == tmp_path / "two" / "dogs" / "0001.jpg"
    assert joined([one]) is one


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda path: None, "expected a folder of images, .*odd does not exist"),
        (lambda path: path.write_text("x"), "expected a folder of images, .*odd is a file"),
        (lambda path: path.mkdir(), r"--ood_data: no image in .*odd\. Read are \.apng"),
        (
            lambda path: (path.mkdir(), (path / "a.txt").write_text("x")),
            r"no image in .*odd\. Left out: 1 of another kind \(1 \.txt\)\.",
        ),
    ],
    ids=["missing", "file", "empty", "only others"],
)
def test_no_images(make: object, text: str, tmp_path: Path, data: ColouredSquares) -> None:
    make(tmp_path / "odd")  # type: ignore[operator]
    with pytest.raises(DataError, match=text):
        read_image_folder(tmp_path / "odd", data, "--ood_data")
