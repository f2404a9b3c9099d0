"""Boxes, saliency maps and videos that cannot be used."""

from dataclasses import replace
from pathlib import Path

import pytest
from bad_data import (
    BOXED,
    BOXED_VIDEOS,
    BOXES,
    CHIHUAHUA,
    DEVKIT,
    DOG_LISTS,
    GAZED_VIDEOS,
    MAPS,
    SEQUENCE,
    VIDEO,
    Case,
    Fine,
    Refused,
    Skipped,
    bad,
    black,
    car_table,
    case,
    check_bad_data,
    last_is_clamped,
    one,
    rows,
    to_frames,
)
from broken_images import (
    write_claiming,
    write_video_without_frames,
)
from dataset_maker import (
    DOGS,
    dog_annotation,
)
from gitw_maker import box_lines, write_map
from spoiling import (
    add,
    append,
    cut_in_half,
    every,
    instead,
    link_to_itself,
    put,
    remove,
    together,
)

OUTSIDE = "the box lies outside the image"
NO_PIXELS = "the box has no pixels"
NO_FRAME = "frame not found"
FRAMES = "path,frame,x,y,w,h,class\n0.png,,1,1,9,9,a\n1.png,,1,1,9,9,b\n"
BAD_BOXES = [
    *bad("box outside of its frame", BOXED_VIDEOS, put(BOXES, "0 1 80 5 4 4\n1 1 5 5 4 4\n2 0\n3 0\n"), f"{VIDEO} frame 0", f"{OUTSIDE} (from 80, 5 to 84, 9; the image has 64 x 48 pixels)", 4, f"4 files (3 frames without the object, 1 {OUTSIDE})"),
    *bad("box outside of its image", BOXED, append("boxes.csv", "3.png,-20,-20,9,9,a\n"), "3.png", f"{OUTSIDE} (from -20, -20 to -11, -11", 4, one(OUTSIDE)),
    *bad("car's box outside", DEVKIT, car_table(lambda car: replace(car, box=(400, 300, 500, 400))), "cars_train/00001.jpg", OUTSIDE, 8, one(OUTSIDE), crop_to_box=True),
    *bad("dog's box outside", DOG_LISTS, put(CHIHUAHUA, dog_annotation([(400, 300, 500, 400)], (0, 0))), f"Images/{DOGS[0]}/n02085620_2.jpg", OUTSIDE, 8, one(OUTSIDE), crop_to_box=True),
    case("box over the border", BOXED, append("boxes.csv", "3.png,-10,40,20,20,a\n"), Fine(last_is_clamped)),
    *bad("box inverted", BOXED_VIDEOS, put(BOXES, "0 0\n1 1 20 20 -5 -5\n2 0\n3 1 9 9 9 9\n"), f"{BOXES} line 2", f"{NO_PIXELS} (-5 wide and -5 high; are these corners?", 4, f"4 files (3 frames without the object, 1 {NO_PIXELS})"),
    *bad("box inverted in a table", BOXED, append("boxes.csv", "3.png,20,20,-5,-5,a\n"), "boxes.csv line 6", f"{NO_PIXELS} (-5 wide and -5 high; are these corners?", 4, one(NO_PIXELS)),
    *bad("car's box inverted", DEVKIT, car_table(lambda car: replace(car, box=(40, 30, 9, 9))), "cars_train/00001.jpg", "its box has no area", 8, one("its box has no area"), crop_to_box=True),
    *bad("dog's box inverted", DOG_LISTS, put(CHIHUAHUA, dog_annotation([(40, 30, 9, 9)])), f"Images/{DOGS[0]}/n02085620_2.jpg", "its box has no area", 8, one("its box has no area"), crop_to_box=True),
    *bad("box empty", BOXED, append("boxes.csv", "3.png,20,20,0,9,a\n"), "boxes.csv line 6", f"{NO_PIXELS} (0 wide and 9 high)", 4, one(NO_PIXELS)),
    *bad("dog without a box", DOG_LISTS, put(CHIHUAHUA, "<annotation/>"), f"Images/{DOGS[0]}/n02085620_2.jpg", "its annotation has no box", 8, one("its annotation has no box"), crop_to_box=True),
    *bad("dog without an annotation", DOG_LISTS, remove(CHIHUAHUA), f"Images/{DOGS[0]}/n02085620_2.jpg", "no annotation file", 8, one("no annotation file"), crop_to_box=True),
    case("car's box from 0", DEVKIT, car_table(lambda car: replace(car, box=(0, 0, 20, 20))), Fine(rows(9, box_xyxy=[(-1.0, -1.0, 20.0, 20.0)]), ("Boxes that begin before the first pixel, 1: 1.", "count from 0?"))),
    case("box that is no number", BOXED, append("boxes.csv", "3.png,a,1,9,9,a\n"), Refused("boxes.csv line 6: expected four numbers x, y, w and h, or none, found 'a, 1, 9, 9'")),
    case("boxes off by one frame", BOXED_VIDEOS, put(BOXES, box_lines(4, first=1)), Refused(f"{BOXES} counts frames from 1 (its last frame is 4, the last existing frame is 3); frames count from 0")),
    case("table off by one frame", BOXED, put("boxes.csv", FRAMES + "".join(f"clip.mp4,{frame},1,1,9,9,a\n" for frame in (1, 2, 3, 4))), Refused("boxes.csv, for clip.mp4, counts frames from 1", "frames count from 0")),
    *bad("box for a frame that does not exist", BOXED_VIDEOS, append(BOXES, "9 1 5 5 4 4\n"), f"{BOXES} line 5", f"{NO_FRAME} (9; the video has 4 frames, counted from 0)", 6, f"3 files (2 frames without the object, 1 {NO_FRAME})"),
    *bad("table for a frame that does not exist", BOXED, put("boxes.csv", FRAMES + "clip.mp4,2,1,1,9,9,a\nclip.mp4,9,1,1,9,9,a\n"), "boxes.csv line 5", f"{NO_FRAME} (9; the video has 4 frames, counted from 0)", 3, one(NO_FRAME)),
    *bad("video without a frame in the table", BOXED, append("boxes.csv", "clip.mp4,1,1,9,9,a\n"), "boxes.csv line 6", "a video needs a frame number", 4, one("a video needs a frame number, from 0, in the column 'frame'")),
    case("no object in any frame", BOXED_VIDEOS, every("*_bboxes.txt", lambda file: file.write_text("0 0\n1 0\n2 0\n3 0\n")), Refused("DATA: no image is left to learn from. Skipped: 8 files (8 frames without the object)")),
]  # fmt: skip
MAP = f"{MAPS}/Saliency_00002.png"
BLACK = "2 black saliency maps"
BAD_MAPS = [
    case("map all black", GAZED_VIDEOS, add(MAP, black), Skipped(5, "3 files (3 black saliency maps)")),
    case("maps of a class all black", GAZED_VIDEOS, every("Bowl/**/Saliency_*.png", black), Skipped(3, "5 files (5 black saliency maps)", ("No class for 'Bowl'",))),
    case("maps all black", GAZED_VIDEOS, every("Saliency_*.png", black), Refused("DATA: no image is left to learn from. Skipped: 8 files (8 black saliency maps)")),
    *bad("map of another size", GAZED_VIDEOS, add(MAP, lambda file: write_map(file, (1, 1, 9, 9), (24, 32))), MAP, "the saliency map and its frame differ in size (32x24 pixels, the frame has 64x48)", 5, f"3 files ({BLACK}, 1 the saliency map and its frame differ in size)"),
    case("map missing", GAZED_VIDEOS, remove(MAP), Skipped(5, f"3 files ({BLACK}, 1 frames without a saliency map)")),
    case("maps of a sequence missing", GAZED_VIDEOS, remove(MAPS), Skipped(3, "2 files (1 sequences without saliency maps and gaze points, 1 black saliency maps)", ("No class for 'Bowl'",))),
    *bad("map that is no image", GAZED_VIDEOS, put(MAP, "no image"), MAP, "cannot be decoded (UnidentifiedImageError", 5, f"3 files ({BLACK}, 1 cannot be decoded)"),
    *bad("map that is a bomb", GAZED_VIDEOS, add(MAP, lambda file: write_claiming(file, 17_000, 17_000)), MAP, "cannot be decoded (it has 17000 x 17000 pixels", 5, f"3 files ({BLACK}, 1 cannot be decoded)"),
    *bad("map of a frame that does not exist", GAZED_VIDEOS, add(f"{MAPS}/Saliency_00009.png", lambda file: write_map(file, (1, 1, 9, 9))), f"{MAPS}/Saliency_00009.png", f"{NO_FRAME} (9; the video has 4 frames, counted from 0)", 6, f"3 files ({BLACK}, 1 {NO_FRAME})"),
    case("maps off by one frame", GAZED_VIDEOS, lambda root: [(root / MAPS / f"Saliency_{number:05d}.png").rename(root / MAPS / f"Saliency_{number + 1:05d}.png") for number in (3, 2, 1, 0)], Refused(f"{MAPS} counts frames from 1", "frames count from 0")),
]  # fmt: skip
ABSENT = "frames without the object"
BAD_VIDEOS = [
    *bad("video that does not decode", BOXED_VIDEOS, put(VIDEO, "no video"), VIDEO, "cannot be read (InvalidDataError", 3, f"2 files (1 {ABSENT}, 1 cannot be read)"),
    *bad("video cut in half", GAZED_VIDEOS, add(VIDEO, cut_in_half), VIDEO, "cannot be read (InvalidDataError", 3, "2 files (1 black saliency maps, 1 cannot be read)"),
    *bad("video of zero frames", GAZED_VIDEOS, add(VIDEO, write_video_without_frames), VIDEO, "has no frames", 3, "2 files (1 black saliency maps, 1 has no frames)"),
    *bad("video of a table that does not decode", BOXED, together(put("boxes.csv", FRAMES + "clip.mp4,1,1,1,9,9,a\n"), put("clip.mp4", "no video")), "clip.mp4", "cannot be read (InvalidDataError", 2, one("cannot be read")),
    *bad("video that is a looping link", BOXED_VIDEOS, instead(VIDEO, link_to_itself), VIDEO, "does not exist", 3, f"2 files (1 {ABSENT}, 1 does not exist)"),
    *bad("neither video nor frames", GAZED_VIDEOS, remove(VIDEO), SEQUENCE, "the sequence has neither a video nor a folder Frames", 3, "2 files (1 black saliency maps, 1 the sequence has neither a video nor a folder Frames)"),
    case("first frame broken and not used", GAZED_VIDEOS, to_frames(0), Skipped(6, f"2 files ({BLACK})")),
    *bad("frame that is no image", BOXED_VIDEOS, to_frames(1), f"{SEQUENCE}/Frames/Frame_40.jpg", "cannot be decoded (UnidentifiedImageError", 5, f"3 files (2 {ABSENT}, 1 cannot be decoded)"),
    *bad("no frame is an image", BOXED_VIDEOS, to_frames(0, 1, 2, 3), f"{SEQUENCE}/Frames", "none of these frames can be decoded", 3, f"2 files (1 {ABSENT}, 1 none of these frames can be decoded)"),
]  # fmt: skip


@pytest.mark.parametrize("case", [*BAD_BOXES, *BAD_MAPS, *BAD_VIDEOS])
def test_bad_boxes(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    check_bad_data(case, tmp_path, capsys, monkeypatch)
