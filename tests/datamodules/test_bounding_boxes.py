"""Grasping in the Wild by bounding boxes, and boxes for any images in a CSV file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from gitw_maker import (
    CLASSES,
    COLOURS,
    HEIGHT,
    PARTS,
    WIDTH,
    box_lines,
    draw,
    object_corner,
    write_gitw,
    write_sequence,
    write_video,
)
from PIL import Image

from datamodules.bounding_boxes import BoundingBoxes
from lightning_vision.data.scenarios import Joint
from lightning_vision.errors import ConfigError, DataError

SEQUENCE = "Bowl/BowlPlace1Subject1"
FILE = f"{SEQUENCE}/BowlPlace1Subject1_2_bboxes.txt"


@pytest.fixture(scope="module")
def gitw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole tree; read only."""
    return write_gitw(tmp_path_factory.mktemp("gitw") / "GITW")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Two sequences without parts."""
    for number, name in enumerate(("Bowl/BowlPlace1Subject1", "Mug/MugPlace2Subject1")):
        write_sequence(tmp_path / "GITW" / name, colour=COLOURS[number], seed=number)
    return tmp_path / "GITW"


def read(root: Path, **options: Any) -> BoundingBoxes:
    quick: dict[str, Any] = {
        "num_workers": 0,
        "image_size": 16,
        "stream": Joint(),
        "val_fraction": 0,
        "test_fraction": 0,
    }
    return BoundingBoxes(root, **{**quick, **options})


def boxes(data: BoundingBoxes, group: str = "BowlPlace1Subject1") -> dict[int, tuple[float, ...]]:
    rows = data.samples[data.samples["group"] == group]
    return dict(zip(rows["frame"], rows["box_xyxy"], strict=True))


def square(frame: int) -> tuple[float, ...]:
    x, y = object_corner(frame)
    return (x, y, x + 16, y + 16)


class TestSequences:
    def test_beside_the_video(self, gitw: Path, capsys: pytest.CaptureFixture[str]) -> None:
        data = read(gitw)
        assert data.class_names == list(CLASSES)
        assert data.samples["part"].value_counts().to_dict() == {part: 2 * count * 3 for part, count in PARTS.items()}
        assert boxes(data, "BowlPlace2Subject7") == {frame: square(frame) for frame in (1, 2, 3)}
        assert data.samples["domain"].unique().tolist() == ["Place2", "Place3", "Place1"]
        assert "saliency" not in data.samples
        assert "skipped 20 files (20 frames without the object)" in capsys.readouterr().err
        image = data.image(0)
        assert image.shape == (3, 16, 16)
        assert image[:, 4:12, 4:12].float().mean((1, 2)).tolist() == pytest.approx(COLOURS[0], abs=25)

    @pytest.mark.parametrize("place", ["GITW/GITW_light_bboxes", "GITW_light_bboxes", "GITW_bboxes", "flat"])
    def test_in_a_parallel_tree(self, small: Path, place: str, capsys: pytest.CaptureFixture[str]) -> None:
        folder = small.parent / place / ("" if place == "flat" else SEQUENCE)
        folder.mkdir(parents=True)
        (small / FILE).rename(folder / "BowlPlace1Subject1_2_bboxes.txt")
        data = read(small, annotations_root=str(small.parent / place) if place == "flat" else None)
        assert len(data.samples) == 6 and boxes(data) == {frame: square(frame) for frame in (1, 2, 3)}
        assert data.class_names == list(CLASSES)

    def test_the_parallel_tree_that_is_asked_for_comes_first(self, small: Path, tmp_path: Path) -> None:
        other = tmp_path / "other" / "Bowl" / "BowlPlace1Subject1"
        other.mkdir(parents=True)
        (other / "BowlPlace1Subject1_2_bboxes.txt").write_text("2 1 0 0 5 5\n")
        assert boxes(read(small, annotations_root=str(tmp_path / "other"))) == {2: (0, 0, 5, 5)}
        with pytest.raises(DataError, match=r"annotations_root: .*gone does not exist"):
            read(small, annotations_root=str(tmp_path / "gone"))

    def test_two_files_with_one_name(self, small: Path, tmp_path: Path) -> None:
        """The folders tell which is meant, if they can."""
        for folder in ("a", "b"):
            (tmp_path / "other" / folder).mkdir(parents=True)
            (tmp_path / "other" / folder / "BowlPlace1Subject1_2_bboxes.txt").write_text(box_lines(4))
        with pytest.raises(DataError, match=r"Bowl/BowlPlace1Subject1: it has several box files"):
            read(small, annotations_root=str(tmp_path / "other"))
        place = tmp_path / "other" / "c" / FILE
        place.parent.mkdir(parents=True)
        place.write_text("1 1 1 2 3 4\n")
        assert boxes(read(small, annotations_root=str(tmp_path / "other"))) == {1: (1, 2, 4, 6)}

    def test_the_original_tree(self, small: Path) -> None:
        folder = small / SEQUENCE
        (small / FILE).unlink()
        (folder / "BowlPlace1Subject1.mp4").unlink()
        (folder / "Frames").mkdir()
        for number, pixels in enumerate(draw(3)):
            Image.fromarray(pixels).save(folder / "Frames" / f"Frame_{40 * number}.jpg")
        (folder / "bounding_box.txt").write_text(
            "Frame_0.png 0 0 0 0\nFrame_40.png 22 24 16 16\nFrame_80.png 60 40 16 16\n"
        )
        data = read(small)
        assert data.samples["path"].tolist()[:2] == [f"{SEQUENCE}/Frames/Frame_{ms}.jpg" for ms in (40, 80)]
        assert data.samples["box_xyxy"].tolist()[:2] == [square(1), (60, 40, 76, 56)]
        assert data.image(1).shape == (3, 8, 4), "clamped to the frame"
        (folder / "bounding_box.txt").write_text("Frame_40.png 22 24 16\nFrame_50.png 1 1 1 1\nFrame_120.png 1 1 5 5\n")
        with pytest.raises(DataError, match="3 problems") as raised:
            read(small)
        assert "line 1: expected Frame_<ms>.png <x> <y> <w> <h>, with a multiple of 40 ms, found 'Frame_40.png" in str(
            raised.value
        )
        assert "line 2: expected Frame_<ms>.png" in str(raised.value)
        assert "line 3: frame not found (Frame_120.jpg)" in str(raised.value)

    def test_crops(self, tmp_path: Path) -> None:
        for number, name in enumerate(CLASSES):
            (tmp_path / name).mkdir()
            Image.fromarray(draw(1, seed=number)[0]).save(tmp_path / name / f"{name}Place1Subject1_2_bboxes_98_0.png")
        data = read(tmp_path)
        assert len(data.samples) == 2 and "box_xyxy" not in data.samples and data.image(0).shape == (3, HEIGHT, WIDTH)

    def test_boxes_over_the_border_are_clamped_and_widened(self, small: Path) -> None:
        (small / FILE).write_text("0 1 -4 40 10 20\r\n1 1 20 20 8 4\r\n")
        data = read(small)
        assert boxes(data) == {0: (-4, 40, 6, 60), 1: (20, 20, 28, 24)}
        assert [data.image(row).shape for row in (0, 1)] == [(3, 8, 6), (3, 4, 8)]
        wider = read(small, context=0.5)
        assert wider.image(1).shape == (3, 6, 12)
        assert wider.describe()["init_args"]["context"] == 0.5

    def test_sequences_without_boxes_are_skipped(self, small: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_video(small / "Bowl" / "BowlPlace1Subject2" / "BowlPlace1Subject2.mp4", draw(2))
        assert len(read(small).samples) == 6
        assert "1 sequences without bounding boxes" in capsys.readouterr().err
        for file in small.rglob("*_bboxes.txt"):
            file.unlink()
        with pytest.raises(
            DataError, match=r"has 3 sequences, but none of them has bounding boxes\. Expected .*SaliencyMaps"
        ):
            read(small)


class TestWrong:
    def test_lines(self, small: Path, capsys: pytest.CaptureFixture[str]) -> None:
        lines = [
            "0 0",
            "1 1 5 5",
            "2 1 5 5 4 4",
            "2 0",
            "3 1 9 9 0 4",
            "9 1 5 5 4 4",
            "x 0",
            "3 2",
            "1 1 9 9 -4 4",
            "",
            "0 0 1 1 1",
        ]
        (small / FILE).write_text("\n".join(lines))
        with pytest.raises(DataError, match="8 problems") as raised:
            read(small)
        for number, found in ((2, "1 1 5 5"), (7, "x 0"), (8, "3 2"), (11, "0 0 1 1 1")):
            assert f"{FILE} line {number}: expected <frame> 0 or <frame> 1 <x> <y> <w> <h>, found '{found}'" in str(
                raised.value
            )
        for reason in (
            f"{FILE} line 4: frame 2 already has a line, {FILE} line 3",
            f"{FILE} line 5: the box has no pixels (0 wide and 4 high)",
            f"{FILE} line 6: frame not found (9; the video has 4 frames, counted from 0)",
            f"{FILE} line 9: the box has no pixels (-4 wide and 4 high; are these corners? Expected x, y, width and height)",
        ):
            assert reason in str(raised.value)
        (small / FILE).write_text("0 0\n2 1 5 5 4 4\n3 1 9 9 0 4\n9 1 5 5 4 4\n")
        capsys.readouterr()
        assert boxes(read(small, on_bad_image="skip")) == {2: (5, 5, 9, 9)}
        told = capsys.readouterr().err
        assert (
            "2 frames without the object, 1 frames without a line, 1 the box has no pixels, 1 frame not found" in told
        )

    def test_frames_that_count_from_one(self, small: Path) -> None:
        (small / FILE).write_text(box_lines(4, first=1))
        with pytest.raises(
            DataError, match=r"its last frame is 4, the last existing frame is 3\); frames count from 0"
        ):
            read(small)
        (small / FILE).write_text("1 1 5 5 4 4\n2 1 5 5 4 4\n3 0\n")
        assert list(boxes(read(small))) == [1, 2], "it may begin later, as long as there are such frames"

    def test_a_box_outside_of_the_frame(self, small: Path) -> None:
        (small / FILE).write_text("0 1 80 5 4 4\n1 1 5 5 4 4\n")
        with pytest.raises(DataError, match=r"BowlPlace1Subject1\.mp4.*: the box"):
            read(small)

    def test_neither_video_nor_frames(self, small: Path) -> None:
        (small / SEQUENCE / "BowlPlace1Subject1.mp4").unlink()
        with pytest.raises(
            DataError, match=r"Bowl/BowlPlace1Subject1: the sequence has neither a video nor a folder Frames"
        ):
            read(small)
        assert read(small, on_bad_image="skip").class_names == ["Mug"]

    def test_options(self, small: Path) -> None:
        with pytest.raises(ConfigError, match=r"data\.context must be at least 0"):
            read(small, context=-0.1)
        with pytest.raises(ConfigError, match="Use one of them"):
            read(small, annotations_root="a", boxes="b")


class TestTable:
    HEAD = "path,x,y,w,h,class,split,day"

    @pytest.fixture
    def photos(self, tmp_path: Path) -> Path:
        for number in range(4):
            (tmp_path / "p").mkdir(exist_ok=True)
            Image.fromarray(draw(1, seed=number)[0]).save(tmp_path / "p" / f"{number}.png")
        return tmp_path

    def write(self, root: Path, lines: Sequence[str]) -> None:
        (root / "boxes.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())

    def test_boxes_for_any_images(self, photos: Path) -> None:
        self.write(
            photos,
            [self.HEAD, "p/0.png,20,24,16,16,red,train,1", "p\\1.png,1,1,70,9.5,blue 10,Test,", "./p/0.png,0,0,4,4,blue 10,,2", "p/3.png,0,0,5,4,blue 2,,4", "p/2.png,,,,,red,val,3"],
        )  # fmt: skip
        data = read(photos, boxes="boxes.csv")
        assert data.class_names == ["blue 2", "blue 10", "red"]
        assert data.samples["path"].tolist() == ["p/0.png", "p/1.png", "p/0.png", "p/3.png", "p/2.png"]
        assert data.samples["split"].tolist() == ["train", "test", "train", "train", "val"]
        assert data.samples["box_xyxy"].tolist() == [
            (20, 24, 36, 40),
            (1, 1, 71, 10.5),
            (0, 0, 4, 4),
            (0, 0, 5, 4),
            None,
        ]
        assert data.samples["label"].tolist() == [2, 1, 1, 0, 2]
        assert data.samples["day"].tolist()[::2] == ["1", "2", "3"] and data.samples["day"].isna()[1]
        assert read(photos, boxes="boxes.csv", classes=["red", "blue 10"]).class_names == ["blue 10", "red"]
        assert [data.image(row).shape for row in (0, 1, 2, 4)] == [
            (3, 16, 16),
            (3, 10, 63),
            (3, 4, 4),
            (3, HEIGHT, WIDTH),
        ]

    def test_frames_of_videos(self, photos: Path) -> None:
        write_video(photos / "clip.mp4", draw(4))
        self.write(
            photos,
            ["path,frame,x,y,w,h,class", "clip.mp4,1,22,24,16,16,a", "clip.mp4,3,26,24,16,16,a", "p/1.png,,0,0,9,9,b"],
        )
        data = read(photos, boxes=str(photos / "boxes.csv"))
        assert data.samples["frame"].tolist() == [1, 3, -1]
        assert data.samples["group"].tolist()[:2] == ["clip.mp4", "clip.mp4"] and data.samples["group"].isna()[2]
        assert data.image(1)[:, 4:12, 4:12].float().mean((1, 2)).tolist() == pytest.approx(COLOURS[0], abs=25)

    def test_everything_that_is_wrong_at_once(self, photos: Path) -> None:
        self.write(
            photos,
            [self.HEAD, "p/0.png,1,1,9,9,a,train,1", "p/0.png,1,1,9,9,a,train,1", "p/1.png,1,b,,9,a,,", "p/1.png,1,1,0,9,a,,",
             "p/9.png,1,1,9,9,a,,", "p/2.png,1,1,9,9,a,tset,", "p/2.png,1,1,9,9,a,", "p/3.png,1,1,9,9,,,"],
        )  # fmt: skip
        with pytest.raises(DataError, match="7 problems") as raised:
            read(photos, boxes="boxes.csv")
        for reason in (
            "boxes.csv line 3: duplicate of an image and box in a previous line",
            "boxes.csv line 4: expected four numbers x, y, w and h, or none, found '1, b, , 9'",
            "boxes.csv line 5: the box has no pixels (0 wide and 9 high)",
            "p/9.png: file not found, listed in boxes.csv",
            "boxes.csv line 7: split is 'tset', expected train, val, test or an empty field",
            "boxes.csv line 8: 7 fields, expected 8",
            "boxes.csv line 9: class is '', expected a text",
        ):
            assert reason in str(raised.value)

    @pytest.mark.parametrize(
        ("lines", "match"),
        [
            (["path;x;y;w;h;class", "a;1;1;1;1;b"], "separated by semicolons, expected commas"),
            (["path,x,y,w,h", "a,1,1,1,1"], "lacks the column 'class'"),
            (["path,x,y,w,h,class,label", "a,1,1,1,1,b,3"], r"must not have the columns 'label'"),
            (["path,x,y,w,h,class"], "has no rows"),
        ],
    )
    def test_no_such_table(self, photos: Path, lines: list[str], match: str) -> None:
        self.write(photos, lines)
        with pytest.raises(DataError, match=match):
            read(photos, boxes="boxes.csv")

    def test_not_there(self, photos: Path) -> None:
        with pytest.raises(
            DataError, match=r"data\.boxes: the file does not exist; searched 'gone\.csv', '.*gone\.csv'"
        ):
            read(photos, boxes="gone.csv")
