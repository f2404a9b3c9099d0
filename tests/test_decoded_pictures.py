"""The file of decoded pictures: filled once, shared, bounded, and without an effect on results."""

import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from datamodules import ImageFolder
from lightning_vision import decoding
from lightning_vision.decoded_pictures import DecodedPictures
from lightning_vision.errors import ConfigError
from lightning_vision.scenarios import Joint


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(10):
            pixels = generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)
            size = (80 + number, 60) if number % 2 else (20, 24)
            picture = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
            picture.save(tmp_path / "photos" / name / f"{number}.jpg", quality=95)
    return tmp_path / "photos"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The pictures that were decoded."""
    names: list[str] = []
    decode_region = decoding.decode_region

    def counted(header: decoding.Header, *args: object) -> Tensor:
        names.append(header.path.name)
        return decode_region(header, *args)  # type: ignore[arg-type]

    monkeypatch.setattr("lightning_vision.sources.decode_region", counted)
    return names


def read(photos: Path, **options: Any) -> ImageFolder:
    return ImageFolder(photos, image_size=28, num_workers=0, batch_size=5, stream=Joint(), cache="decoded", **options)


def epoch(data: ImageFolder, number: int = 0) -> Tensor:
    data.enter(0, seed=0, epoch=number)
    return torch.cat([batch["image"] for batch in data.train_dataloader()])


def test_the_second_epoch_decodes_nothing(photos: Path, decoded: list[str]) -> None:
    data = read(photos)
    decoded.clear()
    first = epoch(data)
    assert len(decoded) == len(first)
    epoch(data, 1)
    assert len(decoded) == len(first)
    assert torch.equal(epoch(data), first)
    again = read(photos)
    before = len(decoded)
    assert torch.equal(epoch(again), first), "a second run finds it filled"
    assert len(decoded) == before


def test_how_much_fits_changes_nothing_but_the_time(
    photos: Path, decoded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    whole = epoch(read(photos))
    data = read(photos, cache_gb=30e-6, cache_dir=photos.parent / "elsewhere")
    left_out = data._decoded.left_out if data._decoded is not None else 0
    assert 0 < left_out < 20
    assert f"{left_out} pictures of 20 do not fit into data.cache_gb=3e-05" in capsys.readouterr().err
    assert torch.equal(epoch(data), whole)
    decoded.clear()
    assert torch.equal(epoch(data), whole)
    assert 0 < len(decoded) <= left_out
    (file,) = (photos.parent / "elsewhere").rglob("decoded-*.bin")
    assert file.stat().st_size <= 30_000 + 20, "the pixels, and a byte a picture"


def test_no_picture_is_enlarged_and_large_ones_are_scaled_down(photos: Path) -> None:
    data = read(photos)
    assert data._decoded is not None
    facts = data.facts()
    for row in range(len(data.samples)):
        height, width = data._decoded.open(row).size
        assert min(height, width) == min(32, facts["height"][row], facts["width"][row])


def test_transforms_do_not_write_into_the_file(photos: Path) -> None:
    cached = read(photos)._decoded
    assert cached is not None
    before = cached.open(0).tensor.clone()
    cached.open(0).tensor.zero_()
    assert torch.equal(cached.open(0).tensor, before)


def _fill(cached: DecodedPictures) -> int:
    for row in range(cached.kept):
        cached.open(row)
    return cached.filled()


def test_processes_share_it(photos: Path) -> None:
    cached = read(photos)._decoded
    assert cached is not None
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_fill, [pickle.loads(pickle.dumps(cached)) for _ in range(2)]) == [20, 20]
    assert cached.filled() == 20


def test_a_changed_picture_has_a_file_of_its_own(photos: Path) -> None:
    before = read(photos)
    epoch(before)
    Image.new("RGB", (40, 40), (250, 0, 0)).save(photos / "a" / "0.jpg", quality=95)
    after = read(photos)
    row = after.samples["path"].tolist().index("a/0.jpg")
    assert before._decoded is not None and after._decoded is not None
    assert after._decoded.path != before._decoded.path
    assert after._decoded.open(row).tensor.float().mean(dim=(1, 2)).tolist() == pytest.approx([250, 0, 0], abs=4)


@pytest.mark.parametrize(("options", "words"), [({"cache_gb": 0.0}, "above 0"), ({"annotations": True}, "annotations")])
def test_refused(options: dict[str, Any], words: str, photos: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        read(photos, **options)
