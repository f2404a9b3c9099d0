"""What every datamodule can be asked for beside its split: other test data, balance, batch transforms, annotations."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import QUICK, weights_of
from photo_folder import write_photos
from PIL import Image
from refusals import refused
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from datamodules import ImageFolder
from lightning_vision.cli import main
from lightning_vision.data.batch import Batch
from lightning_vision.data.batch_order import balanced_order
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.scenarios import InstanceIncremental, Joint
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.learning.backbones import BackboneFacts
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy
from lightning_vision.results.schema import read_results


def paint(root: Path, classes: dict[str, int], seed: int = 0) -> Path:
    """Images that all look different, so many a class."""
    generator = np.random.default_rng(seed)
    for name, count in classes.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(0, 256, (5, 5, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((40, 36), Image.Resampling.BICUBIC).save(root / name / f"{number:02d}.png")
    return root


def read(root: Path, **options: Any) -> ImageFolder:
    settings: dict[str, Any] = {"image_size": 16, "num_workers": 0, "stream": Joint(), "batch_size": 8} | options
    return ImageFolder(root, **settings)


class TestTestData:
    @pytest.fixture
    def folders(self, tmp_path: Path) -> tuple[Path, Path]:
        one = paint(tmp_path / "one", {"ant": 10, "bee": 12, "cat": 10})
        two = paint(tmp_path / "two", {"cat": 5, "bee": 4, "ant": 3}, seed=1)
        return one, two

    def test_all_of_it_is_the_test_set(self, folders: tuple[Path, Path]) -> None:
        data = read(folders[0], test_data=read(folders[1]), val_fraction=0.25)
        parts = data.samples["split"].value_counts().to_dict()
        assert parts == {"train": 24, "val": 8, "test": 12}, "nothing of the first folder is tested on"
        tested = data.samples[data.samples["split"] == "test"]
        assert [data.class_names[label] for label in tested["label"]] == ["ant"] * 3 + ["bee"] * 4 + ["cat"] * 5
        batch: Batch = next(iter(data.test_dataloader()))
        for image, row in zip(batch["image"], batch["index"].tolist(), strict=True):
            path = folders[1] / str(data.samples["path"][row])
            expected = data.eval_transform(torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1))
            assert torch.equal(image, expected)
        assert torch.equal(data.image(0), read(folders[0]).image(0))

    def test_an_official_test_set_is_taken_alone(self, folders: tuple[Path, Path], tmp_path: Path) -> None:
        paint(tmp_path / "both" / "train", {"ant": 4, "bee": 4, "cat": 4}, seed=2)
        paint(tmp_path / "both" / "test", {"ant": 2, "bee": 3, "cat": 2}, seed=3)
        data = read(folders[0], test_data=read(tmp_path / "both"))
        assert (data.samples["split"] == "test").sum() == 7

    def test_own_test_images_are_left_out_and_reported(
        self, folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        paint(tmp_path / "both" / "train", {"ant": 4, "bee": 4, "cat": 4}, seed=2)
        paint(tmp_path / "both" / "test", {"ant": 2, "bee": 3, "cat": 2}, seed=3)
        data = read(tmp_path / "both", test_data=read(folders[1]))
        assert (data.samples["split"] == "test").sum() == 12
        assert "7 test images of" in capsys.readouterr().err

    def test_the_same_names_are_other_images(self, folders: tuple[Path, Path]) -> None:
        data = read(folders[0], test_data=read(folders[1]))
        assert data.samples["path"].duplicated().any()
        assert data.describe()["init_args"]["test_data"]["init_args"]["root"] == str(folders[1])

    def test_classes_that_differ_are_refused(self, folders: tuple[Path, Path], tmp_path: Path) -> None:
        other = paint(tmp_path / "three", {"ant": 6, "bee": 6, "Cat": 6, "dog": 6})
        with pytest.raises(DataError, match=r"'cat' only in the training data; 'Cat', 'dog' only in data\.test_data"):
            read(folders[0], test_data=read(other))

    def test_from_the_command_line(self, folders: tuple[Path, Path], tmp_path: Path) -> None:
        (tmp_path / "run.yaml").write_text(
            f"data:\n  class_path: ImageFolder\n  init_args:\n    root: {folders[0]}\n    image_size: 16\n    num_workers: 0\n"
            f"    stream: InstanceIncremental(2)\n    test_data:\n      class_path: ImageFolder\n      init_args:\n"
            f"        root: {folders[1]}\n".replace("InstanceIncremental(2)", "{class_path: Joint}")
        )
        quick = [word for word in QUICK if not word.startswith("--data")]
        place = [f"--trainer.default_root_dir={tmp_path}", "--run_name=run", "--model.strategy=HeadOnly"]
        assert main(["fit", "--config", str(tmp_path / "run.yaml"), *quick, *place]) == 0
        results = read_results(tmp_path / "run" / "results.json")
        assert [sum(row) for row in results.test.confusion_matrix] == [3, 4, 5]


class TestBalance:
    def test_every_class_as_often(self) -> None:
        labels = np.repeat([0, 1, 2], [50, 8, 2])
        rows = np.arange(60)
        order = balanced_order(rows, labels, np.random.default_rng(0))
        assert len(order) == 60
        assert np.bincount(labels[order]).tolist() == [20, 20, 20]
        shown = np.bincount(order, minlength=60)
        assert shown[:50].max() == 1 and set(shown[50:58]) == {2, 3} and set(shown[58:]) == {10}

    def test_epochs_differ_and_are_repeatable(self, tmp_path: Path) -> None:
        data = read(paint(tmp_path / "p", {"a": 30, "b": 6}), sampler="balanced", val_fraction=0, test_fraction=0)

        def epoch(number: int) -> tuple[list[int], Tensor]:
            data.enter(0, seed=3, epoch=number)
            batches: list[Batch] = list(data.train_dataloader())
            return [int(row) for b in batches for row in b["index"]], torch.cat([b["image"] for b in batches])

        rows, images = epoch(0)
        labels = data.samples["label"].to_numpy()[rows]
        assert np.bincount(labels).tolist() == [18, 18]
        assert epoch(0)[0] == rows and torch.equal(epoch(0)[1], images)
        assert epoch(1)[0] != rows
        places = [place for place, row in enumerate(rows) if rows.count(row) > 1 and row == rows[rows.index(row)]]
        twice = next(row for row in rows if rows.count(row) > 1)
        one, two, *_ = [images[place] for place in places if rows[place] == twice]
        assert not torch.equal(one, two), "an image that is shown again is augmented anew"

    def test_weights(self, tmp_path: Path) -> None:
        root = paint(tmp_path / "p", {"a": 30, "b": 10})
        plain = {"val_fraction": 0.0, "test_fraction": 0.0}
        assert read(root, **plain).class_weight_values() is None
        assert read(root, class_weights="balanced", **plain).class_weight_values() == pytest.approx([2 / 3, 2.0])
        data = read(root, class_weights=[1.0, 3.0], **plain)
        data.use_class_names(["z", "b", "a"])
        assert data.class_weight_values() == [1.0, 3.0, 1.0], "by name; a class that is not here counts once"

    @pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0]])
    def test_weights_that_do_not_fit(self, weights: list[float], tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"data\.class_weights: expected none, balanced, or 2 numbers"):
            read(paint(tmp_path / "p", {"a": 6, "b": 6}), class_weights=weights)


class TestCrossEntropy:
    @pytest.fixture
    def network(self) -> Network:
        network = Network(nn.Identity(), BackboneFacts("given", 4, (0.5,) * 3, (0.5,) * 3), 3)
        network.see([0, 1])
        return network

    def test_weights_by_hand(self, network: Network) -> None:
        logits, label = torch.randn(5, 3), torch.tensor([0, 1, 1, 0, 1])
        batch: Any = {"label": label}
        plain = F.cross_entropy(logits[:, :2], label)
        torch.testing.assert_close(Strategy().cross_entropy(network, logits, batch), plain)
        network.class_weights = torch.tensor([0.5, 2.0, 9.0])
        each = F.cross_entropy(logits[:, :2], label, reduction="none") * torch.tensor([0.5, 2.0])[label]
        torch.testing.assert_close(Strategy().cross_entropy(network, logits, batch), each.mean())

    def test_soft_targets(self, network: Network) -> None:
        logits = torch.randn(4, 3, requires_grad=True)
        target = torch.tensor([[0.25, 0.75, 0], [1, 0, 0], [0, 1, 0], [0.5, 0.5, 0]])
        batch: Any = {"label": torch.zeros(4, dtype=torch.long), "target": target}
        loss = Strategy().cross_entropy(network, logits, batch)
        torch.testing.assert_close(loss, F.cross_entropy(logits[:, :2], target[:, :2]))
        loss.backward()  # type: ignore[no-untyped-call]
        assert logits.grad is not None and logits.grad.isfinite().all()
        hard = F.one_hot(torch.tensor([0, 1, 1, 0]), 3).float()
        network.class_weights = torch.tensor([0.5, 2.0, 9.0])
        one = Strategy().cross_entropy(network, logits, {"label": hard.argmax(1), "target": hard})  # type: ignore[typeddict-item]
        two = Strategy().cross_entropy(network, logits, {"label": hard.argmax(1)})  # type: ignore[typeddict-item]
        torch.testing.assert_close(one, two)


class TestRuns:
    """Through the command line: what is asked for arrives, and moves the weights."""

    @pytest.fixture(scope="class")
    def photos(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return write_photos(tmp_path_factory.mktemp("photos") / "photos")

    def fit(self, photos: Path, folder: Path, name: str, *more: str) -> dict[str, Tensor]:
        quick = [word for word in QUICK if not word.startswith("--data")]
        data = ["--data=ImageFolder", f"--data.root={photos}", "--data.image_size=16", "--data.num_workers=0"]
        place = [f"--trainer.default_root_dir={folder}", f"--run_name={name}", "--data.stream=Joint"]
        assert main(["fit", *quick, *data, *place, *more]) == 0
        return weights_of(folder / name)

    def test_each_option_changes_what_is_learned(self, photos: Path, tmp_path: Path) -> None:
        asked = {
            "plain": (),
            "again": (),
            "mixed": ("--data.batch_transforms=[{MixUp: {alpha: 0.4}}, {CutMix: {alpha: 1.0}}]",),
            "coloured": ("--data.batch_transforms=[{ColorJitter: {brightness: 0.5}}]",),
            "weighted": ("--data.class_weights=[1, 2, 5]",),
            "balanced": ("--data.sampler=balanced", "--data.class_weights=balanced", "--data.cache=decoded"),
        }
        weights = {name: self.fit(photos, tmp_path, name, *more) for name, more in asked.items()}
        head = {name: state["network.head.weight"] for name, state in weights.items()}
        assert torch.equal(head["plain"], head["again"])
        for name in ("mixed", "coloured", "weighted", "balanced"):
            assert head[name].isfinite().all() and not torch.equal(head["plain"], head[name]), name
        assert torch.equal(head["mixed"], self.fit(photos, tmp_path, "mixed2", *asked["mixed"])["network.head.weight"])
        assert set(weights["weighted"]) == set(weights["plain"]), (
            "weights of classes are the data's, not the classifier's"
        )

    def test_the_data_command(
        self, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """No model is built: its weights would be fetched."""
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("lightning_vision.learning.network_options.build_backbone", None)
        command = ["data", "--config", "configs/image_folder/base.yaml", f"--data.root={photos}", "--output=page.html"]
        assert main(command) == 0
        shown = capsys.readouterr().out
        assert "cats" in shown and "page.html" in shown
        assert "<html" in (tmp_path / "page.html").read_text(encoding="utf-8")
        refused(capsys, ["data", "--data=ImageFolder", f"--data.root={tmp_path / 'nowhere'}"], 1, "does not exist")
        refused(capsys, ["data"], 2, "data")


class Annotated(StreamDataModule):
    """Grey images with a white rectangle, its box and its map."""

    def __init__(self, root: Path, crop_to_box: bool = False, **options: Any) -> None:
        self.crop_to_box = crop_to_box
        super().__init__(root, image_size=32, num_workers=0, stream=InstanceIncremental(2), **options)

    def read_samples(self) -> tuple[pd.DataFrame, list[str]]:
        rows = range(24)
        boxes: list[tuple[int, ...] | None] = [None if row == 5 else (10 + row, 8, 30 + row, 28) for row in rows]
        maps = [None if row == 6 else f"maps/{row}.png" for row in rows]
        paths = [f"{row}.png" for row in rows]
        table = {"path": paths, "label": [row % 2 for row in rows], "split": "", "box_xyxy": boxes, "saliency": maps}
        return pd.DataFrame(table), ["a", "b"]


@pytest.fixture
def rectangles(tmp_path: Path) -> Path:
    (tmp_path / "maps").mkdir()
    for row in range(24):
        pixels = np.full((40, 60), 40 + row, dtype=np.uint8)
        pixels[8:28, 10 + row : 30 + row] = 255
        Image.fromarray(pixels).save(tmp_path / f"{row}.png")
        Image.fromarray(np.where(pixels == 255, 200, 0).astype(np.uint8)).save(tmp_path / "maps" / f"{row}.png")
    return tmp_path


class TestAnnotations:
    def test_they_come_with_the_batch(self, rectangles: Path) -> None:
        data = Annotated(rectangles, annotations=True, on_leak="warn")
        data.enter(0, seed=0)
        batches: list[Batch] = [*data.train_dataloader(), *data.evaluation_loader("test")]
        checked = 0
        for batch in batches:
            for image, box, saliency, row in zip(
                batch["image"], batch["box_xyxy"], batch["saliency"], batch["index"].tolist(), strict=True
            ):
                path = str(data.samples["path"][row])
                assert saliency.shape == (1, 32, 32) and saliency.dtype == torch.uint8
                assert saliency.any() <= (path != "6.png") and box.isnan().all() >= (path == "5.png")
                if path not in ("5.png", "6.png") and not box.isnan().any():  # a crop may leave it out
                    checked += 1
                    bright = (image[0] > 200).nonzero()
                    low, high = bright.min(0).values, bright.max(0).values + 1
                    corners = [*low.flip(0).tolist(), *high.flip(0).tolist()]
                    assert box.tolist() == pytest.approx(corners, abs=1.5)
                    assert ((saliency[0] > 100) != (image[0] > 200)).float().mean() < 0.1
        assert checked > 10

    def test_within_the_box(self, rectangles: Path) -> None:
        data = Annotated(rectangles, crop_to_box=True, annotations=True)
        assert data.image(0).shape == (3, 20, 20)
        assert data.facts()["width"].tolist().count(20) == 23
        data.enter(0, seed=0)
        batch: Batch = next(iter(data.evaluation_loader("test")))
        whole = ~batch["box_xyxy"].isnan().any(dim=1)
        corners = {tuple(box.round().tolist()) for box in batch["box_xyxy"][whole]}
        assert len(corners) == 1, "the box is all of the image"

    def test_without_being_asked_for_there_are_none(self, rectangles: Path) -> None:
        data = Annotated(rectangles)
        data.enter(0, seed=0)
        assert "box_xyxy" not in next(iter(data.train_dataloader()))

    def test_boxes_outside_the_image_are_reported_even_without_a_crop(self, rectangles: Path) -> None:
        (rectangles / "maps" / "3.png").unlink()
        Image.new("L", (8, 8), 9).save(rectangles / "4.png")
        with pytest.raises(DataError) as caught:
            Annotated(rectangles)
        assert "3.png: its saliency map is not there (3.png)" in str(caught.value)
        assert "4.png: the box lies outside the image" in str(caught.value)
