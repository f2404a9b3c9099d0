"""``predict`` for images as a user types them: files, patterns, lists, folders, archives and videos."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from archive_maker import pack
from gitw_maker import draw, write_video
from photo_folder import write_photos
from refusals import refused

import lightning_vision as lv
from lightning_vision.cli import main


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on three classes of photos."""
    folder = tmp_path_factory.mktemp("predict")
    words = [
        *("fit", "--data=ImageFolder", f"--data.root={write_photos(folder / 'photos')}", "--data.image_size=32"),
        *("--data.num_workers=0", "--data.stream=Joint", "--model.backbone=test_resnet", "--model.pretrained=false"),
        *("--trainer.max_epochs=2", "--trainer.accelerator=cpu", f"--trainer.default_root_dir={folder / 'runs'}"),
        *("--run_name=run", "--energy.enabled=false", "--wandb.mode=disabled", "--trainer.enable_progress_bar=false"),
    ]  # fmt: skip
    assert main(words) == 0
    return folder / "runs" / "run"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with new photos of all kinds."""
    write_photos(tmp_path / "more", classes=("cats", "dogs"), per_class=3, seed=5)
    for number, file in enumerate(sorted((tmp_path / "more" / "cats").iterdir())):
        shutil.copy(file, tmp_path / f"photo{number}.jpg")
    (tmp_path / "more" / "notes.pdf").write_bytes(b"%PDF-1.5")
    write_video(tmp_path / "clip.mp4", draw(7))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def predicted(run: Path, *words: str) -> pd.DataFrame:
    """The table that a command writes, next to the one that the Python API returns for the same words."""
    output = "tables/out.csv"
    assert main(["predict", "--ckpt_path", str(run), *words, "--output", output]) == 0
    return pd.read_csv(output)


def predictions(run: Path, *words: str) -> list[str]:
    return predicted(run, *words)["path"].tolist()


class TestNamed:
    def test_one_file(self, run: Path, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["predict", "--ckpt_path", str(run), "photo0.jpg"]) == 0
        table = pd.read_csv(run / "predicted.csv")
        assert table["path"].tolist() == ["photo0.jpg"]
        row, names = table.iloc[0], ["birds", "cats", "dogs"]
        assert list(table.columns) == [
            "path",
            "predicted",
            "confidence",
            "rejected",
            *(f"probability/{n}" for n in names),
        ]
        shares = [row[f"probability/{name}"] for name in names]
        assert sum(shares) == pytest.approx(1, abs=1e-5)
        assert row["predicted"] == names[int(np.argmax(shares))]
        said = capsys.readouterr().out
        assert f"photo0.jpg: {row['predicted']} {row['confidence']:.4f}\n" in said
        assert f"Predicted: 1 image. Written: {run / 'predicted.csv'}" in said

    def test_several_files_and_a_pattern(self, run: Path, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
        found = predictions(run, "photo1.jpg", str(desk / "photo0.jpg"), "more/dogs/*.jpg")
        inside = [f"more/dogs/{number:04d}.jpg" for number in range(3)]
        assert found == ["photo1.jpg", str(desk / "photo0.jpg"), *inside]
        assert "Predicted: 5 images." in capsys.readouterr().out

    def test_options_may_come_first_or_last(self, run: Path, desk: Path) -> None:
        assert main(["predict", "photo0.jpg", "photo1.jpg", "--output", "a.csv", "--ckpt_path", str(run)]) == 0
        assert main(["predict", f"--ckpt_path={run}", "--output=b.csv", "--trust_run", "photo0.jpg", "photo1.jpg"]) == 0
        between = [
            "photo0.jpg",
            "--trust_run",
            "false",
            "--ckpt_path",
            str(run),
            "photo1.jpg",
            "--data.num_workers",
            "0",
        ]
        assert main(["predict", *between, "--output", "c.csv"]) == 0
        assert (desk / "a.csv").read_text() == (desk / "b.csv").read_text() == (desk / "c.csv").read_text()

    def test_a_pattern_counts_what_is_no_image(self, run: Path, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert len(predictions(run, "more/**")) == 6
        assert "more/**: 6 images, left out: 3 folders, 1 of another kind (1 .pdf)." in capsys.readouterr().err

    def test_a_file_whose_name_looks_like_a_pattern(self, run: Path, desk: Path) -> None:
        (desk / "photo0.jpg").rename(desk / "photo[1].jpg")
        assert predictions(run, "photo[1].jpg") == ["photo[1].jpg"]

    def test_a_folder_alone_and_beside_files(self, run: Path, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
        inside = [f"{name}/{number:04d}.jpg" for name in ("cats", "dogs") for number in range(3)]
        assert predictions(run, "more") == inside
        assert predictions(run, "photo0.jpg", "more/") == ["photo0.jpg", *(f"more/{name}" for name in inside)]
        assert "more/: 6 images, left out: 1 of another kind (1 .pdf)" in capsys.readouterr().err

    def test_an_archive(self, run: Path, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
        pack(desk / "more", desk / "more.zip")
        assert predictions(run, "more.zip") == predictions(run, "more")
        assert "more.zip: 6 images unpacked to" in capsys.readouterr().err

    def test_a_list(self, run: Path, desk: Path) -> None:
        lines = ["# new ones", "photo1.jpg", "", "more/cats/0001.jpg", "more/dogs/*.jpg", "clip.mp4"]
        (desk / "todo.txt").write_text("\n".join(lines))
        paths = [
            "photo1.jpg",
            "more/cats/0001.jpg",
            *(f"more/dogs/{number:04d}.jpg" for number in range(3)),
            *["clip.mp4"] * 7,
        ]
        assert predictions(run, "todo.txt") == paths
        (desk / "more" / "todo.txt").write_text("cats/0000.jpg\ndogs/*.jpg\n")  # relative to the list
        found = predictions(run, "more/todo.txt", "photo0.jpg")
        assert found[0] == "cats/0000.jpg"
        assert len(found) == 5
        assert found[-1] == "photo0.jpg"

    def test_the_table_is_that_of_the_folder_and_of_python(self, run: Path, desk: Path) -> None:
        files = [f"more/{name}/{number:04d}.jpg" for name in ("cats", "dogs") for number in range(3)]
        named, whole = predicted(run, *files), predicted(run, "more")
        pd.testing.assert_frame_equal(named.drop(columns="path"), whole.drop(columns="path"), rtol=1e-4)
        opened = lv.open_run(run)
        for images in (files, "more/*/*.jpg", ["more/cats/*.jpg", *files[3:]]):
            pd.testing.assert_frame_equal(opened.predict(images), named, rtol=1e-4, check_dtype=False)

    def test_without_images_the_test_data_is_predicted(self, run: Path, desk: Path) -> None:
        assert main(["predict", "--ckpt_path", str(run)]) == 0
        assert "true" in pd.read_csv(run / "predictions.csv").columns


class TestVideos:
    def test_each_frame_has_a_row(self, run: Path, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
        table = predicted(run, "clip.mp4")
        assert table["path"].tolist() == ["clip.mp4"] * 7
        assert table["frame"].tolist() == list(range(7))
        np.testing.assert_allclose(table["seconds"], np.arange(7) / 25)
        said = capsys.readouterr()
        assert "clip.mp4: 7 frames of 7." in said.err
        assert "clip.mp4 frame 2 (0.08 s): " in said.out
        assert "Predicted: 7 frames." in said.out

    def test_every_third_frame_beside_an_image(self, run: Path, desk: Path) -> None:
        table = predicted(run, "clip.mp4", "photo0.jpg", "--every", "3")
        assert table["path"].tolist() == ["clip.mp4"] * 3 + ["photo0.jpg"]
        assert table["frame"].fillna(-1).tolist() == [0, 3, 6, -1]
        assert np.isnan(table["seconds"].iloc[-1])
        found = lv.open_run(run).predict(["clip.mp4", "photo0.jpg"], every=3)
        assert found["frame"].fillna(-1).tolist() == [0, 3, 6, -1]

    def test_a_video_that_was_cut_is_predicted_as_far_as_it_goes(
        self, run: Path, desk: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        video = write_video(desk / "cut.avi", np.concatenate([draw(10)] * 4))
        content = video.read_bytes()
        video.write_bytes(content[: len(content) // 2])
        table = predicted(run, "cut.avi")
        assert 5 < len(table) < 40
        assert table["frame"].tolist() == list(range(len(table)))
        assert f"cut.avi: {len(table)} frames of " in capsys.readouterr().err

    def test_the_frames_are_those_of_the_video(self, run: Path, desk: Path) -> None:
        before = predicted(run, "clip.mp4")
        write_video(desk / "clip.mp4", draw(7, colour=(20, 220, 220), seed=9))
        os.utime(desk / "clip.mp4", (1, 1))
        after = predicted(run, "clip.mp4")
        assert not np.allclose(before.filter(like="probability/"), after.filter(like="probability/"))


def test_in_a_process_of_its_own(run: Path, desk: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "lightning_vision",
        "predict",
        "--ckpt_path",
        str(run),
        "photo0.jpg",
        "more/*/*.jpg",
        "clip.mp4",
    ]
    home = Path(lv.__file__).parents[1]
    ended = subprocess.run(
        command, cwd=desk, env={**os.environ, "PYTHONPATH": str(home)}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "... and 4 more" in ended.stdout
    assert f"Predicted: 7 images and 7 frames. Written: {run / 'predicted.csv'}" in ended.stdout


def broken_image(desk: Path) -> None:
    (desk / "broken.jpg").write_bytes(b"\xff\xd8 no JPEG")


def broken_video(desk: Path) -> None:
    (desk / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(50))


def empty_folder(desk: Path) -> None:
    (desk / "empty").mkdir()


def lists(desk: Path) -> None:
    (desk / "wrong.txt").write_text("photo0.jpg\nphoto9.jpg\nmore/notes.pdf\n")
    (desk / "blank.txt").write_text("# nothing\n\n")
    (desk / "bytes.txt").write_bytes(b"\xff\xfe\0")


def nothing(desk: Path) -> None:
    pass


BAD: list[tuple[Callable[[Path], None], list[str], int, list[str]]] = [
    (nothing, ["phot0.jpg"], 1, ["phot0.jpg does not exist. Similar names there: 'photo0.jpg'"]),
    (nothing, ["nowhere/a.jpg"], 1, ["nowhere/a.jpg does not exist, nor does the folder nowhere. Expected an image, a video"]),
    (nothing, ["photo0.jpg", "zzz"], 1, ["zzz does not exist. Expected an image, a video, a folder"]),
    (nothing, ["more/cats/*.png"], 1, ["the pattern 'more/cats/*.png' matches no file. The folder more/cats contains 0000.jpg, 0001.jpg"]),
    (nothing, ["nowhere/*.png"], 1, ["the pattern 'nowhere/*.png' matches no file. The folder nowhere does not exist."]),
    (nothing, ["more/*"], 1, ["the pattern 'more/*' matches no image, left out: 2 folders, 1 of another kind (1 .pdf)"]),
    (nothing, ["more/notes.pdf"], 1, ["more/notes.pdf is of another kind (.pdf: a PDF document; save its pages"]),
    (empty_folder, ["empty"], 1, ["no image in empty"]),
    (broken_image, ["photo0.jpg", "broken.jpg"], 1, ["broken.jpg: cannot be decoded", "data.on_bad_image=skip"]),
    (broken_image, ["broken.jpg", "--data.on_bad_image=skip"], 1, ["no image is left of 1 file: 1 cannot be decoded"]),
    (broken_video, ["broken.mp4"], 1, ["The video broken.mp4 cannot be read", "Repair or remove it"]),
    (lists, ["wrong.txt"], 1, ["2 problems in wrong.txt", "line 2: photo9.jpg does not exist", "line 3: expected an image"]),
    (lists, ["blank.txt"], 1, ["blank.txt lists no path. Expected one of an image in each line"]),
    (lists, ["bytes.txt"], 1, ["bytes.txt is no text in UTF-8"]),
    (nothing, ["clip.mp4", "--every", "0"], 2, ["--every: expected 1 or more, found 0"]),
    (nothing, ["--every", "2"], 2, ["--output and --every are for images that are given: predict --ckpt_path RUN photo.jpg"]),
    (nothing, ["--output", "x.csv"], 2, ["--output and --every are for images that are given"]),
]  # fmt: skip


@pytest.mark.parametrize(("make", "words", "code", "message"), BAD, ids=[" ".join(words) for _, words, _, _ in BAD])
def test_refused(
    run: Path, desk: Path, capsys: pytest.CaptureFixture[str], make: Callable[[Path], None], words: list[str], code: int, message: list[str]
) -> None:  # fmt: skip
    make(desk)
    before = set(desk.iterdir())
    refused(capsys, ["predict", "--ckpt_path", str(run), *words], code, *message)
    assert {path for path in desk.iterdir() if not path.name.endswith(".lightning_vision")} <= before


def test_a_broken_image_may_be_skipped(run: Path, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken_image(desk)
    assert predictions(run, "broken.jpg", "photo0.jpg", "--data.on_bad_image=skip") == ["photo0.jpg"]
    assert "skipped 1 file (1 cannot be decoded)" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["predict", "photo0.jpg"], ["test"], ["explain"]])
def test_without_a_checkpoint(desk: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    refused(capsys, words, 2, f"{words[0]} needs --ckpt_path: a checkpoint file or a run directory")
