"""scikit-learn's digits as a stream."""

import subprocess
import sys

import pytest
import torch

from datamodules import Digits
from lightning_vision.data.scenarios import DomainIncremental
from lightning_vision.errors import ConfigError


def test_the_table() -> None:
    data = Digits()
    assert len(data.samples) == 1797
    assert data.class_names == [str(digit) for digit in range(10)]
    counts = data.samples["split"].value_counts()
    assert counts["test"] == pytest.approx(0.2 * 1797, abs=2)
    assert counts["val"] == pytest.approx(0.1 * 0.8 * 1797, abs=2)
    assert [item.name for item in data.stream] == ["base", "increment 1", "increment 2", "increment 3", "increment 4"]
    assert data.describe()["init_args"]["domains"] == 5


def test_the_images() -> None:
    data = Digits()
    image = data.load_image(0)
    assert image.shape == (3, 8, 8) and image.dtype == torch.uint8
    assert torch.equal(image[0], image[2])
    assert image[0, 0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]  # 0 0 5 13 9 1 0 0 of 16
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (32, 3, 32, 32) and batch["image"].dtype == torch.uint8
    assert next(iter(Digits(image_size=48).evaluation_loader("test")))["image"].shape[-2:] == (48, 48)


def test_augmentation_only_in_training() -> None:
    data = Digits()
    data.enter(0, seed=0)
    train = {int(row): image for batch in data.train_dataloader() for row, image in zip(batch["index"], batch["image"])}  # noqa: B905
    ordered = next(iter(data.ordered_loader(0)))
    rows = ordered["index"].tolist()
    assert torch.equal(ordered["image"][0], data.eval_transform(data.load_image(rows[0])))
    changed = sum(not torch.equal(train[row], image) for row, image in zip(rows, ordered["image"], strict=True))
    assert changed > 28


def test_domains_are_consecutive_parts_of_the_file() -> None:
    data = Digits(domains=3, stream=DomainIncremental())
    assert [item.name for item in data.stream] == ["part 1", "part 2", "part 3"]
    assert data.samples["domain"].ne(data.samples["domain"].shift()).sum() == 3
    assert all(len(item.classes) == 10 for item in data.stream)
    with pytest.raises(ConfigError, match=r"data\.domains must be at least 1, not 0"):
        Digits(domains=0)


def test_scikit_learn_is_imported_when_digits_are_made() -> None:
    code = "import sys, datamodules; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
