"""Predictions for images as users have them."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import fit
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

import lightning_vision as lv
from lightning_vision.cli import main
from lightning_vision.learning.checkpoint_file import save_checkpoint
from lightning_vision.learning.checkpoints import read_checkpoint
from lightning_vision.testing.squares import ColouredSquares
from lightning_vision.trust.kept_calibration import Trusted, keep_trusted

SIDE = 16
DATA: dict[str, Any] = {"per_class": 120, "noise": 150, "eval_transforms": "resize"}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that predicts by one of several variants of the head."""
    options = (
        *(f"--data.{key}={value}" for key, value in DATA.items()),
        "--data.batch_size=32",
        "--model.base_epochs=3",
    )
    return fit(tmp_path_factory.mktemp("api"), "run", "--model.strategy=MoveToData", *options)


@pytest.fixture(scope="module")
def run(path: Path) -> lv.Run:
    return lv.open_run(path)


@pytest.fixture(scope="module")
def rows(run: lv.Run) -> np.ndarray[Any, Any]:
    """The test images' rows."""
    return run.predictions["index"].to_numpy()


@pytest.fixture(scope="module")
def images(rows: np.ndarray[Any, Any]) -> torch.Tensor:
    """The test images (N, 3, H, W), as the datamodule gives them."""
    data = ColouredSquares(stream=lv.InstanceIncremental(experiences=3), **DATA)
    return torch.stack([data.image(int(row)) for row in rows])


def test_the_test_images_are_predicted_as_in_the_run(run: lv.Run, images: torch.Tensor) -> None:
    table, known = run.predict(images), run.predictions
    assert table["predicted"].tolist() == known["predicted"].tolist()
    np.testing.assert_allclose(table["confidence"], known["confidence"], rtol=1e-5)
    names = run.results.class_names
    assert list(table.columns) == [
        "number",
        "predicted",
        "confidence",
        "rejected",
        *(f"probability/{n}" for n in names),
    ]
    probability = table[[f"probability/{name}" for name in names]]
    np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=1e-5)
    assert not table["rejected"].any() and table["number"].tolist() == list(range(len(images)))


FORMS: dict[str, Callable[[torch.Tensor], Any]] = {
    "an array": lambda images: images.permute(0, 2, 3, 1).numpy(),
    "a list of arrays": lambda images: [image.permute(1, 2, 0).numpy() for image in images],
    "a list of tensors": list,
    "PIL images": lambda images: [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images],
    "a DataLoader": lambda images: DataLoader(TensorDataset(images, torch.zeros(len(images))), batch_size=7),
    "a DataLoader of images alone": lambda images: DataLoader(list(images), batch_size=7),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("form", FORMS)
def test_images_in_every_form_give_one_table(run: lv.Run, images: torch.Tensor, form: str) -> None:
    images = images[:20]
    expected, found = run.predict(images), run.predict(FORMS[form](images))
    pd.testing.assert_frame_equal(found, expected, rtol=1e-5)


def test_a_single_image(run: lv.Run, images: torch.Tensor) -> None:
    expected = run.predict(images[:1])
    for one in (images[0], images[0].permute(1, 2, 0).numpy(), Image.fromarray(images[0].permute(1, 2, 0).numpy())):
        pd.testing.assert_frame_equal(run.predict(one), expected, rtol=1e-5)


def test_a_folder_and_files(run: lv.Run, images: torch.Tensor, tmp_path: Path) -> None:
    files = [tmp_path / "photos" / f"{number % 2}" / f"{number:02d}.png" for number in range(12)]
    for file, image in zip(files, images, strict=False):
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file)
    expected = run.predict(images[:12]).drop(columns="number")
    listed = run.predict(files)
    assert listed["path"].tolist() == [str(file) for file in files]
    pd.testing.assert_frame_equal(listed.drop(columns="path"), expected, rtol=1e-5)
    folder = run.predict(tmp_path / "photos").set_index("path")
    assert sorted(folder.index) == sorted(file.relative_to(tmp_path / "photos").as_posix() for file in files)
    for file, row in zip(files, expected.itertuples(), strict=True):
        found = folder.loc[file.relative_to(tmp_path / "photos").as_posix()]
        assert found["predicted"] == row.predicted and found["confidence"] == pytest.approx(row.confidence, rel=1e-4)
    pd.testing.assert_frame_equal(run.predict(str(files[3])), listed.iloc[[3]].reset_index(drop=True), rtol=1e-5)


def test_images_of_other_sizes_are_transformed(run: lv.Run) -> None:
    sizes = [(40, 40), (17, 90), (16, 16)]
    table = run.predict([np.zeros((*size, 3), dtype=np.uint8) for size in sizes])
    assert len(table) == 3 and table["confidence"].between(0, 1).all()


def test_a_kept_temperature_and_threshold_are_used(path: Path, tmp_path: Path, images: torch.Tensor) -> None:
    run = lv.open_run(shutil.copytree(path, tmp_path / "run"))
    before = run.predict(images)
    tested = run.test(calibrate=True, coverage=0.5)
    assert tested.trust is not None and tested.trust.calibration is not None and tested.trust.rejection is not None
    after = run.predict(images)
    assert after["predicted"].tolist() == before["predicted"].tolist()
    temperature, threshold = tested.trust.calibration.temperature, tested.trust.rejection.threshold
    probability = before.filter(like="probability/").to_numpy(dtype=np.float64) ** (1 / temperature)
    expected = (probability / probability.sum(axis=1, keepdims=True)).max(axis=1)
    np.testing.assert_allclose(after["confidence"], expected, rtol=1e-4)
    assert after["rejected"].tolist() == (after["confidence"] < threshold).tolist() and after["rejected"].any()


def test_a_temperature_of_scores_that_are_far_apart(path: Path, tmp_path: Path, images: torch.Tensor) -> None:
    copied = shutil.copytree(path, tmp_path / "run")
    before = lv.open_run(copied).predict(images)
    (*_, last) = sorted((copied / "checkpoints").glob("experience=*.ckpt"))
    checkpoint = read_checkpoint(last)
    for name, values in checkpoint["state_dict"].items():
        if name.endswith((".heads", "head.weight", "head.bias")):
            values *= 1000
    save_checkpoint(checkpoint, last)
    keep_trusted(Trusted(temperature=1000), last)
    pd.testing.assert_frame_equal(lv.open_run(copied).predict(images), before, rtol=1e-3, atol=1e-5)


def test_it_is_the_table_of_the_exported_file(path: Path, tmp_path: Path, images: torch.Tensor) -> None:
    run = lv.open_run(shutil.copytree(path, tmp_path / "run"))
    (tmp_path / "photos").mkdir()
    for number, image in enumerate(images[:9]):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / "photos" / f"{number}.png")
    exported = run.export("onnx", check_images=10)
    assert (
        main(["predict", "--model", str(exported.path), str(tmp_path / "photos"), "--output", str(tmp_path / "t.csv")])
        == 0
    )
    table = pd.read_csv(tmp_path / "t.csv", dtype={"path": str}).drop(columns="true")
    found = run.predict(tmp_path / "photos")
    assert list(found.columns) == list(table.columns)
    pd.testing.assert_frame_equal(found, table, check_dtype=False, rtol=1e-3, atol=1e-4)


def test_the_classifier_is_the_trained_one(run: lv.Run, images: torch.Tensor) -> None:
    classifier = run.classifier()
    assert not classifier.training and classifier.device.type == "cpu"
    with torch.inference_mode():
        probability = classifier(images).softmax(dim=1)
    np.testing.assert_allclose(probability.amax(dim=1), run.predictions["confidence"], rtol=1e-4)


def test_the_data_of_the_run_is_not_needed(
    path: Path,
    run: lv.Run,
    images: torch.Tensor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = run.predict(images[:4])

    def gone(data: ColouredSquares) -> None:
        raise lv.DataError("data.root: nothing is there.")

    monkeypatch.setattr(ColouredSquares, "read_samples", gone)
    alone = lv.open_run(path)
    pd.testing.assert_frame_equal(alone.predict(images[:4]), before)
    Image.fromarray(images[0].permute(1, 2, 0).numpy()).save(tmp_path / "a.png")
    assert (
        main(["predict", "--ckpt_path", str(path), str(tmp_path / "a.png"), "--output", str(tmp_path / "a.csv")]) == 0
    )
    assert pd.read_csv(tmp_path / "a.csv")["predicted"].tolist() == before["predicted"].tolist()[:1]
    with pytest.raises(lv.DataError, match="nothing is there"):
        alone.test()
    assert main(["predict", "--ckpt_path", str(path)]) == 1


BAD: dict[str, tuple[Any, str]] = {
    "floats": (
        torch.zeros(2, 3, SIDE, SIDE),
        r"uint8 \(N, 3, H, W\).*found float32 2x3x16x16.*\(255 \* x\)\.round\(\)",
    ),
    "an array of floats": (np.zeros((SIDE, SIDE, 3)), r"uint8 \(N, H, W, 3\).*found float64 16x16x3"),
    "channels first in an array": (np.zeros((2, 3, SIDE, SIDE), np.uint8), r"\(N, H, W, 3\) or \(H, W, 3\).*2x3x16x16"),
    "channels last in a tensor": (torch.zeros(SIDE, SIDE, 3, dtype=torch.uint8), r"\(3, H, W\).*found uint8 16x16x3"),
    "grey": (np.zeros((SIDE, SIDE), np.uint8), "found uint8 16x16"),
    "no pixel": (np.zeros((1, 0, SIDE, 3), np.uint8), "found uint8 1x0x16x3"),
    "no image": ([], "found no image"),
    "an empty array": (np.zeros((0, SIDE, SIDE, 3), np.uint8), "found"),
    "numbers": ([1, 2], r"a folder, image files, .*; found builtins\.int"),
    "nothing": (None, r"found builtins\.NoneType"),
    "nowhere": ("nowhere", "does not exist"),
    "a missing file": (["nowhere.png"], "nowhere.png does not exist"),
    "an empty name": ([""], "found an empty name"),
    "an array of paths": (np.array(["a.png", "b.png"]), "found <U5 2"),
    "an array of arrays": (np.array([np.zeros((2, 2, 3)), None], dtype=object), "found object 2"),
    "Pillow's floats": (Image.new("F", (4, 4)), "mode F cannot be used: its pixels are floating-point"),
    "a loader of other names": (DataLoader([{"x": 1}]), "under 'image', found 'x'"),  # type: ignore[arg-type]
    "a loader without images": (DataLoader([]), "found one without any"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_image_is_refused(run: lv.Run, case: str) -> None:
    images, message = BAD[case]
    with pytest.raises(lv.DataError, match=message):
        run.predict(images)


def test_a_loader_may_give_lists_of_images(run: lv.Run, images: torch.Tensor) -> None:
    """Those that no collate function can stack, as they differ in size or are Pillow's."""
    known = run.predict(images[:5])
    pillow = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images[:5]]
    forms: list[Any] = [list(images[:5]), pillow]
    for given in forms:
        pd.testing.assert_frame_equal(run.predict(DataLoader(given, batch_size=4, collate_fn=list)), known)


def test_every_frame_is_a_whole_number(run: lv.Run) -> None:
    with pytest.raises(lv.ConfigError, match="every: expected 1 or more, found 'a'"):
        run.predict("film.mp4", every="a")  # type: ignore[arg-type]


def test_threads_get_the_predictions_for_their_own_images(run: lv.Run, images: torch.Tensor) -> None:
    known = run.predict(images[:32])
    with ThreadPoolExecutor(4) as threads:
        for place, table in enumerate(threads.map(run.predict, [images[row : row + 4] for row in range(0, 32, 4)])):
            expected = known[place * 4 : place * 4 + 4].drop(columns="number").reset_index(drop=True)
            pd.testing.assert_frame_equal(table.drop(columns="number"), expected, rtol=1e-4)


def test_the_classifier_that_is_handed_out_is_not_that_of_the_run(run: lv.Run, images: torch.Tensor) -> None:
    before = run.predict(images[:4])
    with torch.no_grad():
        run.classifier().network.classifier.weight.zero_()
    pd.testing.assert_frame_equal(run.predict(images[:4]), before)


def test_folders_without_images_and_files_that_are_none_are_refused(run: lv.Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(lv.DataError, match="no image in"):
        run.predict(tmp_path / "empty")
    (tmp_path / "text.png").write_text("no image", encoding="utf-8")
    with pytest.raises(lv.DataError, match=r"text\.png"):
        run.predict([tmp_path / "text.png"])
    loader = DataLoader(TensorDataset(torch.zeros(2, 3, SIDE, SIDE)))
    with pytest.raises(lv.DataError, match="found float32"):
        run.predict(loader)
