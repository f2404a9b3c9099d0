"""The reference benchmarks: their images, runs and tables, on images of colours."""

import hashlib
import pickle
import tarfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import yaml
from PIL import Image
from torchvision.datasets import CIFAR10

from lightning_vision.program.fit_config import FitReader

ROOT = Path(__file__).parents[1]
CLASSES = ("ant", "bee", "cat", "dog", "elk")
RIDGE = 10.0
KINDS = {
    "cifar100": (
        "simplecil",
        "aper-fine-tune",
        "aper-vpt-deep",
        "ranpac",
        "ranpac-neither",
        "l2p",
        "coda-prompt",
        "lora",
    ),
    "imagenet_r": ("aper-adapter", "dualprompt", "slca"),
}
"""Methods that have options of their own: reading all takes twice as long."""
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


def cosines_to_means(exported: dict[str, npt.NDArray[Any]]) -> npt.NDArray[np.int64]:
    """Predictions (T, m) of class means by angle, from an export alone."""
    features, label, found = exported["features"].astype(np.float64), exported["label"], []
    tested = features[exported["test"]]
    for experience in range(int(exported["experience"].max()) + 1):
        rows = exported["train"][exported["experience"] <= experience]
        means = np.stack([features[rows[label[rows] == each]].mean(axis=0) for each in np.unique(label[rows])])
        nearest = (tested @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T).argmax(axis=1)
        found.append(np.unique(label[rows])[nearest])
    return np.stack(found)


def ridge(exported: dict[str, npt.NDArray[Any]], projection: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Predictions (m,) of a ridge regression on the projected features, after the last experience."""
    h = np.maximum(exported["features"].astype(np.float64) @ projection, 0)
    rows, label = exported["train"], exported["label"]
    weight = np.linalg.solve(
        h[rows].T @ h[rows] + RIDGE * np.eye(h.shape[1]), h[rows].T @ np.eye(label.max() + 1)[label[rows]]
    )
    predicted: npt.NDArray[np.int64] = (h[exported["test"]] @ weight).argmax(axis=1)
    return predicted


def test_closed_forms_equal_what_others_compute_from_the_exported_features(
    reference: Callable[[str], ModuleType],
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script, folder, theirs = reference("closed_forms"), tmp_path / "runs", tmp_path / "theirs"
    small = script.strategy("RanPAC", projections=50, ridge=RIDGE)
    monkeypatch.setattr(script, "METHODS", (script.METHODS[0], script.Method("RanPAC", small, "nothing")))
    words = ["--cifar10", str(images), "--folder", str(folder), "--workers=0", "--accelerator=cpu", "--image-size=32"]
    words += ["--backbone=test_resnet", "--per-class=6", "--test-per-class=2", "--methods", "nearest-mean", "RanPAC"]
    assert script.main(words) == 0
    printed = capsys.readouterr().out
    before = rows_of(printed)
    assert before["nearest-mean"][0] == before["nearest-mean"][2] == "-", "there is no other side yet"
    assert "40 images passed the backbone" in printed, "30 for training, 10 for testing, each once"
    file = next(folder.glob("features-*.npz"))
    exported = dict(np.load(file, allow_pickle=False))
    assert exported["experience"].tolist() == [number for number in range(5) for _ in range(6)]
    assert {str(path).split("/")[0] for path in exported["path"][exported["test"]]} == {"test"}
    theirs.mkdir()
    np.savez(theirs / "nearest-mean-seed=0.npz", predicted=cosines_to_means(exported))
    drawn = np.load(folder / "RanPAC-seed=0.npz", allow_pickle=False)
    np.save(theirs / "RanPAC-seed=0.npy", ridge(exported, drawn["projection"]))
    assert script.main([*words, "--theirs", str(theirs)]) == 0
    found = rows_of(capsys.readouterr().out)
    for name in ("nearest-mean", "RanPAC"):
        other, ours, equal = found[name][:3]
        assert equal == "100.000" and f"{other} (1)" == ours == before[name][1]
    np.save(theirs / "RanPAC-seed=0.npy", np.zeros((2, 3), dtype=np.int64))
    with pytest.raises(SystemExit, match=r"expected whole numbers \(10,\) or \(5, 10\).*found int64 \(2, 3\)"):
        script.main([*words, "--theirs", str(theirs)])


def test_settings_of_pretrained_networks_are_options_of_the_program(
    reference: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    script, reader = reference("pretrained"), FitReader()
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    words, own = ["--data", str(tmp_path), "--seeds", "1993", "--pixels", "published"], []
    for dataset, kinds in KINDS.items():
        given = script.make_options().parse_args([*words, "--dataset", dataset])
        cells = {row.name: (row, cell) for row, _, cell in script.planned(given)}
        assert cells.keys() == script.METHODS.keys()
        for row, cell in (cells[kind] for kind in kinds):
            own.append((row, reader.read([*cell.common, *cell.options, f"--data.root={tmp_path}"])))
    for row, read in own:
        assert (read.config["model"]["backbone"], read.config["data"]["init_args"]["val_fraction"]) == (
            row.setting.weights,
            0,
        )
        assert read.config["model"]["restore_best"] is False and read.config["model"]["pixel_mean"] is not None
    stream = own[0][1].config["data"]["init_args"]["stream"]["init_args"]
    shipped = yaml.safe_load((ROOT / "configs/streams/cifar100_10x10.yaml").read_text())
    assert shipped["data"]["init_args"]["stream"]["init_args"].items() <= stream.items()


def test_pretrained_networks_run_and_stand_beside_published_figures(
    reference: Callable[[str], ModuleType], images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script, data = reference("pretrained"), images.parent / "source"
    words = [
        "--data",
        str(data),
        "--dataset",
        "cifar100",
        "--folder",
        str(tmp_path / "runs"),
        "--methods",
        "dualprompt",
        "--seeds",
    ]
    words += [
        "1993",
        "--backbone=test_vit",
        "--accelerator=cpu",
        "--image-size=32",
        "--epochs=1",
        "--experiences=2",
        "--workers=0",
    ]
    (tmp_path / "test_vit.safetensors").write_bytes(b"no weights")
    with pytest.raises(SystemExit, match=r"(?s)could not be loaded into test_vit.*Nothing was run"):
        script.main([*words, "--weights", str(tmp_path)])
    words += ["--pretrained=false"]
    assert script.main(words) == 0
    printed = capsys.readouterr().out
    row = rows_of(printed)["dualprompt"]
    assert row[:2] == ["86.51", "-"] and all(cell.endswith(" (1)") for cell in (row[2], row[4]))
    assert float(row[6].replace(",", "")) >= 0 and "not the published protocol" in printed
    assert script.main(words) == 0
    again = capsys.readouterr().out
    assert again.count(": complete\n") == 2 and rows_of(again)["dualprompt"] == row
    with pytest.raises(SystemExit, match="expected the folder that holds cifar-100-python"):
        script.main([*words, "--data", str(tmp_path)])


def test_the_cosine_of_coda_prompt_ends_above_zero(reference: Callable[[str], ModuleType]) -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=2.0)
    schedule, rates = reference("schedules").QuarterCosine(optimizer, 3), []
    for _ in range(3):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([2.0, 2 * np.cos(99 * np.pi / 400), 2 * np.cos(99 * np.pi / 200)])
