"""The reference benchmarks: their images, runs and tables, on images of colours."""

import hashlib
import pickle
import tarfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import CIFAR10

ROOT = Path(__file__).parents[1]
CLASSES = ("ant", "bee", "cat", "dog", "elk")
QUICK = ("--workers=0", "--accelerator=cpu", "--epochs=1", "--batch-size=8", "--backbone=test_resnet")


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """A script, found from the root of the repository as ``python -m`` does."""
    monkeypatch.syspath_prepend(ROOT)
    return lambda name: import_module(f"benchmarks.reference.{name}")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A tar of train and test, as CIFAR-10 in JPEG is passed around."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 3)):
        for label, name in enumerate(CLASSES):
            (tmp_path / "source" / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 120, (32, 32, 3))
                pixels[:, :, label % 3] += 30 * label
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(
                    tmp_path / "source" / split / name / f"{number:04d}.jpg"
                )
    with tarfile.open(tmp_path / "images.tar.gz", "w:gz") as tar:
        for split in ("train", "test"):
            tar.add(tmp_path / "source" / split, arcname=split)
    return tmp_path / "images.tar.gz"


def rows_of(printed: str) -> dict[str, list[str]]:
    """Lines of the Markdown tables, by their first cell."""
    lines = [line.strip("| ").split(" | ") for line in printed.splitlines() if line.startswith("| ")]
    return {line[0]: line[1:] for line in lines}


def test_split_cifar10_sets_published_figures_beside_ours(
    reference: Callable[[str], ModuleType], images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = reference("split_cifar10")
    words = ["--reduced", "--cifar10", str(images), "--folder", str(tmp_path / "runs"), *QUICK]
    words += ["--methods", "ER 200", "--per-class=6", "--test-per-class=2"]
    assert split.main(words) == 0
    row = rows_of(capsys.readouterr().out)["ER 200"]
    assert row[0] == "44.79 ± 1.86"
    assert float(row[1]) in {10.0 * right for right in range(11)}, "of two test images in each of five classes"
    assert float(row[2]) == pytest.approx(float(row[1]) - 44.79)
    assert split.main(words) == 0
    again = capsys.readouterr().out
    assert again.startswith("split-cifar10-ER-200-seed=0-") and "complete" in again.splitlines()[0]
    assert rows_of(again)["ER 200"] == row, "the same run is read again"


@pytest.mark.parametrize(
    ("script", "setting", "own", "published"),
    [
        ("online_cifar10", "online replay", (), "50"),
        ("gdumb_cifar10", "GDumb 200", ("--passes=1",), "35.0 ± 0.4"),
    ],
)
def test_settings_of_rehearsal_stand_beside_published_figures(
    script: str,
    setting: str,
    own: tuple[str, ...],
    published: str,
    reference: Callable[[str], ModuleType],
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--cifar10", str(images), "--folder", str(tmp_path / "runs"), "--settings", setting, *own]
    words += ["--workers=0", "--accelerator=cpu", "--backbone=test_resnet", "--per-class=6", "--test-per-class=2"]
    assert reference(script).main(words) == 0
    row = rows_of(capsys.readouterr().out)[setting]
    assert row[0] == published and row[1].split(" (1)")[0] in {f"{10 * right}.00" for right in range(11)}
    assert (", off by more than 2 deviations" in row[1]) is (script == "gdumb_cifar10" and not row[1].startswith("35"))
    assert (row[2] == "-") is (script == "gdumb_cifar10"), "the accuracy along the stream, of online ones"
    assert float(row[3].replace(",", "")) >= 0 and "JPEG copies" in row[-1]


def test_move_to_data_compares_strategies_from_one_base(
    reference: Callable[[str], ModuleType], images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--cifar10", str(images), "--folder", str(tmp_path / "runs"), *QUICK, "--strategies", "MoveToData"]
    options = ["--experiences=2", "--per-class=8", "--test-per-class=2", "--epsilon", "0", "0.1"]
    assert reference("move_to_data").main([*words, *options]) == 0
    rows = rows_of(capsys.readouterr().out)
    both = ("Retrain", "MoveToData")
    assert len({rows[name][0] for name in both}) == 1, "the base is the same"
    for name in both:
        first, last, gain = (float(value) for value in rows[name][:3])
        assert gain == pytest.approx(last - first)
    assert rows["0.0"][0] == rows["MoveToData"][0], "epsilon 0 leaves the base as it is"
    assert sum(int(rows[epsilon][1].split()[0]) for epsilon in ("0.0", "0.1")) == 1
    passed = {name: int(rows[name][5].replace(",", "")) for name in both}
    assert 0 < passed["MoveToData"] < passed["Retrain"]


def test_the_standard_batches_become_the_same_pixels(
    reference: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches, pixels = tmp_path / "cifar-10-batches-py", {}
    batches.mkdir()
    sums = {}
    for name in ("data_batch_1", "test_batch", "batches.meta"):
        pixels[name] = np.random.default_rng(len(name)).integers(0, 256, (10, 3, 32, 32), dtype=np.uint8)
        entry = {"data": pixels[name].reshape(10, -1), "labels": [n % 5 for n in range(10)], "label_names": [*CLASSES]}
        (batches / name).write_bytes(pickle.dumps(entry))
        sums[name] = hashlib.md5((batches / name).read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR10, "train_list", [("data_batch_1", sums["data_batch_1"])])
    monkeypatch.setattr(CIFAR10, "test_list", [("test_batch", sums["test_batch"])])
    monkeypatch.setattr(
        CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]}
    )
    root = reference("cifar10").image_folder(batches, tmp_path / "runs", train=1)
    written = sorted(file.relative_to(root).as_posix() for file in root.rglob("*.png"))
    assert written == sorted(
        f"{split}/{name}/{number:04d}.png" for split, n in (("train", 1), ("test", 2)) for name in CLASSES for number in range(n)
    )  # fmt: skip
    with Image.open(root / "test" / "bee" / "0001.png") as image:
        assert np.array_equal(np.asarray(image), pixels["test_batch"][6].transpose(1, 2, 0))


def test_a_folder_without_cifar10_is_refused(reference: Callable[[str], ModuleType], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="expected cifar-10-batches-py"):
        reference("cifar10").image_folder(tmp_path, tmp_path / "runs")
