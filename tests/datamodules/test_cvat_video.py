"""Tracks of CVAT for video, on the frames that CVAT exports with them."""

from pathlib import Path

import label_maker as maker
import pytest
from label_maker import QUICK

from datamodules import BoundingBoxes, ImageFolder
from lightning_vision.errors import DataError


def write_track(root: Path, inside: str, label: str = ' label="cup"') -> Path:
    maker.draw(root / "images" / "frame_000000.PNG")
    (root / "annotations.xml").write_text(f"<annotations><track id='0'{label}>{inside}</track></annotations>")
    return root


def test_boxes_of_the_frames(tmp_path: Path) -> None:
    data = BoundingBoxes(maker.write_cvat_video(tmp_path), labels="annotations.xml", **QUICK)
    assert data.class_names == ["cup", "plate"]
    assert data.samples["path"].tolist() == [
        f"images/frame_{number:06d}.PNG" for number in (*range(0, 12, 2), *range(1, 12, 2))
    ]
    assert data.samples["label"].tolist() == [0] * 6 + [1] * 6  # outside: the other object has left the image
    assert data.samples["box_xyxy"].iloc[0] == maker.BOX


def test_a_video_is_a_group(tmp_path: Path) -> None:
    for number, video in enumerate(("monday", "tuesday", "friday")):
        maker.write_cvat_video(tmp_path / video, video, first=12 * number)
    data = ImageFolder(tmp_path, labels=".", **QUICK)
    assert len(data.samples) == 36 and set(data.samples["group"]) == {
        f"{v}/{v}" for v in ("monday", "tuesday", "friday")
    }
    assert data.samples.groupby("group")["split"].nunique().max() == 1
    assert all(
        path.split("/")[0] == group.split("/")[0]
        for path, group in zip(data.samples["path"], data.samples["group"], strict=True)
    )


def test_frames_that_were_removed_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = maker.write_cvat_video(tmp_path)
    for number in (0, 3):
        (root / "images" / f"frame_{number:06d}.PNG").unlink()
    assert len(BoundingBoxes(root, labels=".", **QUICK).samples) == 10
    assert "2 frames with objects not used: there is no image of them" in capsys.readouterr().err


def test_two_folders_of_frames_for_one_file(tmp_path: Path) -> None:
    root = maker.write_cvat_video(tmp_path)
    maker.draw(root / "other" / "frame_000000.PNG")
    with pytest.raises(
        DataError, match=r"could both be its frame 0\. Put the file of each video into the folder of its"
    ):
        BoundingBoxes(root, labels="annotations.xml", **QUICK)


def test_frames_with_other_names(tmp_path: Path) -> None:
    root = maker.write_cvat_video(tmp_path)
    for number in range(12):  # as ffmpeg counts: its first frame is 1, so that the numbers say nothing
        (root / "images" / f"frame_{number:06d}.PNG").rename(root / "images" / f"out{number + 1:04d}.png")
    with pytest.raises(
        DataError,
        match=r"none of the 12 frames with objects is an image .*frame_000000\.PNG, found 'out0001\.png'.*Save images",
    ):
        BoundingBoxes(root, labels="annotations.xml", **QUICK)


@pytest.mark.parametrize(
    ("inside", "label", "words"),
    [
        ('<box frame="0" outside="0" xtl="1"/>', ' label="c"', r"track 1 frame 0: expected a box of four numbers, found \[\]"),
        ('<box frame="0" outside="0" xtl="9" ytl="1" xbr="3" ybr="4"/>', ' label="c"', r"track 1 frame 0: the box has no pixels"),
        ('<box frame="x" xtl="1" ytl="1" xbr="3" ybr="4"/>', ' label="c"', r"track 1 has a shape with the frame 'x', expected"),
        ('<box frame="0" xtl="1" ytl="1" xbr="3" ybr="4"/>', "", r"annotations\.xml: track 1 has no label"),
    ],
)  # fmt: skip
def test_tracks_that_cannot_be(inside: str, label: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        BoundingBoxes(write_track(tmp_path, inside, label), labels="annotations.xml", **QUICK)


def test_outlines_and_points(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inside = '<polygon frame="0" outside="0" points="4,6;24,6;10,26"/><points frame="0" outside="0" points="1,1"/>'
    inside += '<ellipse frame="0" outside="0" cx="10" cy="10" rx="2" ry="3"/>'
    data = BoundingBoxes(write_track(tmp_path, inside), labels="annotations.xml", **QUICK)
    assert data.samples["box_xyxy"].tolist() == [maker.BOX, (8, 7, 12, 13)]
    assert "1 annotation not used: shapes of kind points, which have no box" in capsys.readouterr().err


def key(frame: int, left: int, outside: int = 0, keyframe: int = 1) -> str:
    """A box 8 pixels wide and high."""
    sides = f'xtl="{left}" ytl="2" xbr="{left + 8}" ybr="10"'
    return f'<box frame="{frame}" keyframe="{keyframe}" outside="{outside}" {sides}/>'


def write_key_frames(root: Path, inside: str, frames: int = 8) -> Path:
    for number in range(1, frames):
        maker.draw(root / "images" / f"frame_{number:06d}.PNG", number % 2, number)
    return write_track(root, inside)


def lefts(root: Path) -> dict[int, float]:
    data = BoundingBoxes(root, labels="annotations.xml", **QUICK)
    return {int(path[-10:-4]): box[0] for path, box in zip(data.samples["path"], data.samples["box_xyxy"], strict=True)}


class TestKeyFrames:
    def test_boxes_between_them_are_interpolated(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """From 0 to 8 in four frames, then still; lost in frame 6, where it was on its way to 12; nothing behind."""
        inside = key(0, 0) + key(4, 8) + key(6, 12, outside=1)
        assert lefts(write_key_frames(tmp_path, inside)) == {0: 0, 1: 2, 2: 4, 3: 6, 4: 8, 5: 10}
        assert "annotations.xml holds the key frames of its tracks only: 4 boxes between" in capsys.readouterr().err

    def test_a_lost_object_stays_lost_until_it_is_seen(self, tmp_path: Path) -> None:
        assert lefts(write_key_frames(tmp_path, key(1, 0, outside=1) + key(4, 8) + key(5, 9))) == {4: 8, 5: 9}

    def test_a_full_export_is_read_as_it_is(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Its gaps are frames that were deleted in CVAT."""
        inside = key(0, 0) + key(1, 1, keyframe=0) + key(4, 4)
        assert lefts(write_key_frames(tmp_path, inside)) == {0: 0, 1: 1, 4: 4}
        assert "key frames" not in capsys.readouterr().err

    def test_every_second_frame_of_a_video(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        root = write_key_frames(tmp_path, key(0, 0) + key(2, 2) + key(4, 4))
        for number in (1, 3):
            (root / "images" / f"frame_{number:06d}.PNG").unlink()
        assert lefts(root) == {0: 0, 2: 2, 4: 4}
        assert "key frames" not in capsys.readouterr().err

    def test_outlines_are_refused(self, tmp_path: Path) -> None:
        outline = '<polygon frame="{}" keyframe="1" outside="0" points="4,6;24,6;10,26"/>'
        root = write_key_frames(tmp_path, outline.format(0) + outline.format(5))
        with pytest.raises(
            DataError, match=r"a polygon in frame 0, the next shape in frame 5.*Export the task from CVAT"
        ):
            BoundingBoxes(root, labels="annotations.xml", **QUICK)
