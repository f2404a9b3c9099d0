"""Grasping in the Wild by saliency maps: layouts, rectangles, and what is odd."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from gitw_maker import (
    CLASSES,
    COLOURS,
    HEIGHT,
    PARTS,
    WIDTH,
    draw,
    gaze_lines,
    object_corner,
    write_gitw,
    write_map,
    write_sequence,
    write_video,
)
from PIL import Image

from datamodules.gitw_tree import NINE_CLASSES
from datamodules.saliency_maps import SaliencyMaps, bounding_rectangle, gaussian_rectangle
from lightning_vision.data.scenarios import Joint
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.terminal.wording import natural_key

SEQUENCE = "Bowl/BowlPlace1Subject1"


@pytest.fixture(scope="module")
def gitw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole tree, read once; read only."""
    root = write_gitw(tmp_path_factory.mktemp("gitw") / "GITW")
    read(root)
    return root


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Two sequences without parts."""
    for number, name in enumerate(("Bowl/BowlPlace1Subject1", "Mug/MugPlace2Subject1")):
        write_sequence(tmp_path / "GITW" / name, colour=COLOURS[number], seed=number)
    return tmp_path / "GITW"


def read(root: Path, **options: Any) -> SaliencyMaps:
    quick: dict[str, Any] = {
        "num_workers": 0,
        "image_size": 16,
        "stream": Joint(),
        "val_fraction": 0,
        "test_fraction": 0,
    }
    return SaliencyMaps(root, **{**quick, **options})


def boxes_by_frame(samples: pd.DataFrame, group: str) -> dict[int, tuple[float, ...]]:
    rows = samples[samples["group"] == group]
    return dict(zip(rows["frame"], rows["box_xyxy"], strict=True))


class TestLayouts:
    def test_sequence_tree(self, gitw: Path, capsys: pytest.CaptureFixture[str]) -> None:
        data = read(gitw)
        samples = data.samples
        assert data.class_names == list(CLASSES)
        assert samples["part"].value_counts().to_dict() == {part: 2 * count * 3 for part, count in PARTS.items()}
        assert (samples["split"] == samples["part"].str.rstrip("12")).all()
        row = samples.iloc[0]
        x, y = object_corner(1)
        assert row["path"] == "test1/Bowl/BowlPlace2Subject7/BowlPlace2Subject7.mp4"
        assert (row["frame"], row["label"], row["box_xyxy"]) == (1, 0, (x, y, x + 16, y + 16))
        assert row["saliency"] == "test1/Bowl/BowlPlace2Subject7/SaliencyMaps/Saliency_00001.png"
        assert row[["group", "sequence", "domain", "subject"]].tolist() == [
            "BowlPlace2Subject7", "BowlPlace2Subject7", "Place2", "Subject7",
        ]  # fmt: skip
        assert "skipped 20 files (20 black saliency maps)" in capsys.readouterr().err
        for row_number, label in ((0, 0), (len(samples) - 1, 1)):
            image = data.image(row_number)
            assert image.shape == (3, 16, 16)
            assert image[:, 4:12, 4:12].float().mean((1, 2)).tolist() == pytest.approx(COLOURS[label], abs=25)

    def test_nothing_is_read_twice(self, gitw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        opened: list[str] = []
        real = Image.open

        def count(file: Any, *arguments: Any, **options: Any) -> Any:
            opened.append(str(file))
            return real(file, *arguments, **options)

        monkeypatch.setattr(Image, "open", count)
        monkeypatch.setattr(
            "lightning_vision.images.video_frames.find_decoder", lambda: pytest.fail("a video was opened")
        )
        first = read(gitw)
        assert [file for file in opened if "Saliency_" in file] == []
        raised = read(gitw, threshold=20)
        assert len([file for file in opened if "Saliency_" in file]) == 80, "another threshold, other rectangles"
        pd.testing.assert_frame_equal(first.samples, raised.samples)
        opened.clear()
        monkeypatch.setattr("datamodules.saliency_maps.DECODING_VERSION", -1)
        read(gitw)
        assert len([file for file in opened if "Saliency_" in file]) == 80, "by other rules of reading images"

    def test_the_original_tree_is_cut_by_sequence(self, tmp_path: Path) -> None:
        for number in range(1, 6):
            for label, name in enumerate(CLASSES):
                write_sequence(tmp_path / name / f"{name}Place1Subject{number}", 3, COLOURS[label], 9 * number + label)
        data = read(tmp_path, test_fraction=0.2, val_fraction=0.25)
        assert "part" not in data.samples
        assert data.samples["split"].value_counts().to_dict() == {"train": 12, "test": 4, "val": 4}
        assert (data.samples.groupby("group")["split"].nunique() == 1).all()

    def test_folders_of_frames(self, small: Path) -> None:
        folder = small / SEQUENCE
        (folder / "BowlPlace1Subject1.mp4").unlink()
        (folder / "Frames").mkdir()
        for number, pixels in enumerate(draw(4)):
            Image.fromarray(pixels).save(folder / "Frames" / f"Frame_{40 * number}.jpg")
        samples = read(small).samples
        assert samples["path"].tolist()[:3] == [f"{SEQUENCE}/Frames/Frame_{ms}.jpg" for ms in (40, 80, 120)]
        assert samples["frame"].tolist() == [-1, -1, -1, 1, 2, 3]
        (folder / "Frames" / "Frame_30.jpg").write_bytes((folder / "Frames" / "Frame_40.jpg").read_bytes())
        with pytest.raises(
            DataError, match=r"expected Frame_<ms>\.jpg with a multiple of 40 ms, found 'Frame_30\.jpg'"
        ):
            read(small)

    def test_crops(self, tmp_path: Path) -> None:
        for part in ("train", "test"):
            for name in CLASSES:
                for number in (98, 9, 121):
                    file = tmp_path / part / name / f"{name}Place3Subject{len(part)}_2_bboxes_{number}_0.png"
                    file.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(draw(1, seed=number + len(part))[0]).save(file)
        data = read(tmp_path)
        assert data.samples.columns.tolist() == [
            "path", "label", "split", "group", "domain", "subject", "sequence", "part",
        ]  # fmt: skip
        assert data.samples["path"].tolist()[0] == "test/Bowl/BowlPlace3Subject4_2_bboxes_9_0.png"
        assert data.samples["group"].unique().tolist() == [f"{n}Place3Subject{s}" for s in (4, 5) for n in CLASSES]
        assert data.image(0).shape == (3, HEIGHT, WIDTH)
        Image.fromarray(draw(1)[0]).save(tmp_path / "train" / "Mug" / "cup.png")
        with pytest.raises(DataError, match=r"train/Mug/cup\.png: its name contains no sequence"):
            read(tmp_path)

    def test_the_nine_classes_are_in_their_order(self) -> None:
        assert sorted(NINE_CLASSES, key=natural_key) == list(NINE_CLASSES) == list(SaliencyMaps.CLASS_NAMES)


class TestRefused:
    def test_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(
            DataError, match=r"(?s)not found in .*nowhere, which does not exist.*Download it from https://www\.nakala"
        ):
            read(tmp_path / "nowhere")
        with pytest.raises(
            DataError, match=r"(?s)which is empty\.\nExpected one of\n  <root>/\[<part>/\]<Class>/<Seq>/"
        ):
            read(tmp_path)

    def test_too_high_or_too_deep(self, gitw: Path) -> None:
        with pytest.raises(DataError, match=r"one level too high; use .*GITW\."):
            read(gitw.parent)
        with pytest.raises(DataError, match=r"too deep; use .*train1\."):
            read(gitw / "train1" / "Bowl")
        with pytest.raises(DataError, match=r"too deep; use .*train1\."):
            read(next((gitw / "train1" / "Bowl").iterdir()))

    def test_one_part_alone(self, gitw: Path, capsys: pytest.CaptureFixture[str]) -> None:
        cache = gitw.parent / "cache"
        assert len(read(gitw / "train1", cache_dir=cache).samples) == 18
        assert "is beside 'test1', 'test2', which is not used. To use it, set data.root to " in capsys.readouterr().err

    def test_chosen_classes(self, gitw: Path, capsys: pytest.CaptureFixture[str]) -> None:
        data = read(gitw, classes=["Mug"])
        assert data.class_names == ["Mug"] and len(data.samples) == 30
        assert "data.classes excludes 'Bowl'." in capsys.readouterr().err
        with pytest.raises(
            ConfigError, match=r"data\.classes: there is no class 'Cup'; the classes are 'Bowl', 'Mug'\."
        ):
            read(gitw, classes=["Mug", "Cup"])

    @pytest.mark.parametrize(("option", "value"), [("threshold", 255), ("threshold", -1), ("sigma", 0.0)])
    def test_options(self, gitw: Path, option: str, value: float) -> None:
        with pytest.raises(ConfigError, match=rf"data\.{option}"):
            read(gitw, **{option: value})

    def test_no_maps_at_all(self, small: Path) -> None:
        for folder in small.glob("*/*/SaliencyMaps"):
            shutil.rmtree(folder)
        with pytest.raises(
            DataError, match=r"has 2 sequences, but none of them has saliency maps or gaze points.*BoundingBoxes"
        ):
            read(small)


class TestOdd:
    def test_everything_at_once(self, small: Path, capsys: pytest.CaptureFixture[str]) -> None:
        maps = small / SEQUENCE / "SaliencyMaps"
        write_map(maps / "Saliency_00001.png", (0, 0, 5, 5), (HEIGHT // 2, WIDTH // 2))
        (maps / "Saliency_00002.png").write_text("no image")
        write_map(maps / "Saliency_00009.png", (0, 0, 5, 5))
        (small / "Mug" / "MugPlace3Subject9" / "SaliencyMaps").mkdir(parents=True)
        write_map(small / "Mug" / "MugPlace3Subject9" / "SaliencyMaps" / "Saliency_00000.png", None)
        broken = write_sequence(small / "Mug" / "MugPlace4Subject9")
        (broken / "MugPlace4Subject9.mp4").write_text("no video")
        with pytest.raises(DataError, match="5 problems") as raised:
            read(small)
        text = str(raised.value)
        for reason in (
            f"{SEQUENCE}/SaliencyMaps/Saliency_00001.png: the saliency map and its frame differ in size (32x24 pixels, the frame has 64x48)",
            f"{SEQUENCE}/SaliencyMaps/Saliency_00002.png: cannot be decoded (UnidentifiedImageError: ",
            f"{SEQUENCE}/SaliencyMaps/Saliency_00009.png: frame not found (9; the video has 4 frames, counted from 0)",
            "Mug/MugPlace3Subject9: the sequence has neither a video nor a folder Frames",
            "Mug/MugPlace4Subject9/MugPlace4Subject9.mp4: cannot be read (",
        ):
            assert reason in text
        capsys.readouterr()
        data = read(small, on_bad_image="skip")
        assert boxes_by_frame(data.samples, "BowlPlace1Subject1").keys() == {3}
        assert "skipped 7 files (2 black saliency maps, " in capsys.readouterr().err

    def test_a_missing_map_is_said(self, small: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (small / SEQUENCE / "SaliencyMaps" / "Saliency_00002.png").unlink()
        assert boxes_by_frame(read(small).samples, "BowlPlace1Subject1").keys() == {1, 3}
        assert "1 frames without a saliency map" in capsys.readouterr().err

    def test_maps_that_count_from_one(self, small: Path) -> None:
        maps = small / SEQUENCE / "SaliencyMaps"
        for number in (3, 2, 1, 0):
            (maps / f"Saliency_{number:05d}.png").rename(maps / f"Saliency_{number + 1:05d}.png")
        with pytest.raises(
            DataError, match=r"SaliencyMaps counts frames from 1 \(its last frame is 4, the last existing frame is 3\)"
        ):
            read(small)

    def test_frames_without_the_object_by_the_gaze_file(self, small: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (small / SEQUENCE / "fixation_points.txt").write_text("0 0 0 0\n1 1 20 20\n2 0 0 0\n3 1 20 20\n")
        assert boxes_by_frame(read(small).samples, "BowlPlace1Subject1").keys() == {1, 3}
        assert "(2 frames without the object, 1 black saliency maps)" in capsys.readouterr().err

    def test_names_that_contradict_or_repeat(self, small: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_sequence(small / "Bowl" / "MugPlace5Subject5")
        write_video(small / SEQUENCE / "again.mp4", draw(2))
        write_video(small / SEQUENCE / "BowlPlace1Subject1.avi", draw(2))
        with pytest.raises(DataError) as raised:
            read(small)
        assert "Bowl/MugPlace5Subject5 is a sequence of Mug according to its name, but in the folder of Bowl" in str(
            raised.value
        )
        assert f"{SEQUENCE} has 2 videos, 'BowlPlace1Subject1.avi', 'BowlPlace1Subject1.mp4'" in str(raised.value)

    def test_parts_that_share_a_sequence_and_folders_beside_them(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_gitw(tmp_path, {"train": 2})
        shutil.copytree(tmp_path / "train", tmp_path / "test1")
        (tmp_path / "notes").mkdir()
        (tmp_path / "train" / "Jam").mkdir()
        write_video(tmp_path / "train" / "Jam" / "JamPlace1Subject1" / "JamPlace1Subject1.mp4", draw(2))
        read(tmp_path)
        told = capsys.readouterr().err
        assert "4 sequences in more than one part: 'BowlPlace2Subject1', " in told
        assert "Skipped 'notes', which are beside the folders 'test1', 'train'" in told
        assert "No class for 'Jam'" in told and "1 sequences without saliency maps and gaze points" in told


class TestGaze:
    def test_a_tree_without_maps(self, small: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for folder in small.glob("*/*/SaliencyMaps"):
            shutil.rmtree(folder)
            (folder.parent / "fixation_points.txt").write_text(gaze_lines(3))
        data = read(small, sigma=90.0)
        assert "saliency" not in data.samples
        sigma = 90.0 * WIDTH / 1920
        drawn = {number: (x + 8, y + 8) for number in (1, 2) for x, y in [object_corner(number)]}
        assert boxes_by_frame(data.samples, "BowlPlace1Subject1") == {
            number: tuple(gaussian_rectangle(point, sigma, 0, HEIGHT, WIDTH) or ()) for number, point in drawn.items()
        }
        assert "(2 frames without a gaze point, 2 frames without the object)" in capsys.readouterr().err

    def test_lines_that_are_wrong(self, small: Path) -> None:
        shutil.rmtree(small / SEQUENCE / "SaliencyMaps")
        lines = ["0 0", "1 1 20", "x 1 2 3", "2 2 5 5", "3 1 9 9", "3 1 9 9", "", "-1 0", "4 1 nan 2", "9 1 9 9"]
        (small / SEQUENCE / "fixation_points.txt").write_text("\n".join(lines))
        with pytest.raises(DataError, match="7 problems") as raised:
            read(small)
        for number, found in ((2, "1 1 20"), (3, "x 1 2 3"), (4, "2 2 5 5"), (8, "-1 0"), (9, "4 1 nan 2")):
            assert f"line {number}: expected <frame> <present: 0 or 1> <x> <y>, found '{found}'" in str(raised.value)
        assert "line 6: frame 3 already has a line" in str(raised.value)
        assert "fixation_points.txt frame 9: frame not found (9; the video has 4 frames" in str(raised.value)

    def test_the_rectangle_is_that_of_the_drawn_gaussian(self) -> None:
        generator = np.random.default_rng(0)
        rows, columns = np.mgrid[:HEIGHT, :WIDTH]
        outside = 0
        for _ in range(300):
            x, y = generator.uniform(-12, WIDTH + 12), generator.uniform(-12, HEIGHT + 12)
            if generator.random() < 0.3:
                x, y = round(x), round(y)
            sigma, threshold = generator.uniform(0.3, 8), int(generator.integers(0, 255))
            grey = np.rint(255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2)))
            expected = bounding_rectangle(grey > threshold)
            assert gaussian_rectangle((x, y), sigma, threshold, HEIGHT, WIDTH) == expected, (x, y, sigma, threshold)
            outside += expected is None
        assert 20 < outside < 280

    def test_by_hand(self) -> None:
        """At sigma 1 the grey level is 255, 155, 35, 3, 0 at a distance of 0, 1, 2, 3, 4 pixels."""
        assert gaussian_rectangle((10, 10), 1.0, 0, 48, 64) == [7, 7, 14, 14]
        assert gaussian_rectangle((10, 10), 1.0, 20, 48, 64) == [8, 8, 13, 13]
        assert gaussian_rectangle((0, 47), 1.0, 20, 48, 64) == [0, 45, 3, 48]
        assert gaussian_rectangle((-9, 20), 1.0, 0, 48, 64) is None


def test_what_it_says_of_itself(gitw: Path) -> None:
    described = read(gitw, threshold=3).describe()["init_args"]
    assert (described["threshold"], described["sigma"]) == (3, 38.6)
    assert re.search(r"Pattern Recognition", SaliencyMaps.PAPER) and SaliencyMaps.SOURCE.startswith("https://")
