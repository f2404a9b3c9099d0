"""The file of decoded images: filled once, shared, bounded, and without an effect on results."""

import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from full_disk import small_files_only
from PIL import Image
from torch import Tensor

from datamodules import ImageFolder
from lightning_vision.data.scenarios import Joint
from lightning_vision.errors import ConfigError
from lightning_vision.images import decoded_cache, decoding, image_sources
from lightning_vision.images.decoded_cache import DecodedImages


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(10):
            pixels = generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)
            size = (80 + number, 60) if number % 2 else (20, 24)
            image = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
            image.save(tmp_path / "photos" / name / f"{number}.jpg", quality=95)
    return tmp_path / "photos"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The images that were decoded."""
    names: list[str] = []
    decode_region = decoding.decode_region

    def counted(header: decoding.Header, *args: object) -> Tensor:
        names.append(header.path.name)
        return decode_region(header, *args)  # type: ignore[arg-type]

    monkeypatch.setattr("lightning_vision.images.image_sources.decode_region", counted)
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
    left_out = data.prepared.decoded.left_out if data.prepared.decoded is not None else 0
    assert 0 < left_out < 20
    assert f"{left_out} images of 20 do not fit into data.cache_gb=3e-05" in capsys.readouterr().err
    assert torch.equal(epoch(data), whole)
    decoded.clear()
    assert torch.equal(epoch(data), whole)
    assert 0 < len(decoded) <= left_out
    (file,) = (photos.parent / "elsewhere").rglob("decoded-*.bin")
    assert file.stat().st_size <= 30_000


def test_no_image_is_enlarged_and_large_ones_are_scaled_down(photos: Path) -> None:
    data = read(photos)
    assert data.prepared.decoded is not None
    facts = data.facts()
    for row in range(len(data.samples)):
        height, width = data.prepared.decoded.open(row).size
        assert min(height, width) == min(32, facts["height"][row], facts["width"][row])


def test_transforms_do_not_write_into_the_file(photos: Path) -> None:
    cached = read(photos).prepared.decoded
    assert cached is not None
    before = cached.open(0).tensor.clone()
    cached.open(0).tensor.zero_()
    assert torch.equal(cached.open(0).tensor, before)


def _fill(cached: DecodedImages) -> int:
    for row in range(cached.kept):
        cached.open(row)
    return cached.filled()


def test_processes_share_it(photos: Path) -> None:
    cached = read(photos).prepared.decoded
    assert cached is not None
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_fill, [pickle.loads(pickle.dumps(cached)) for _ in range(2)]) == [20, 20]
    assert cached.filled() == 20


def test_a_changed_image_has_a_file_of_its_own(photos: Path) -> None:
    before = read(photos)
    epoch(before)
    Image.new("RGB", (40, 40), (250, 0, 0)).save(photos / "a" / "0.jpg", quality=95)
    after = read(photos)
    row = after.samples["path"].tolist().index("a/0.jpg")
    assert before.prepared.decoded is not None and after.prepared.decoded is not None
    assert after.prepared.decoded.path != before.prepared.decoded.path
    assert after.prepared.decoded.open(row).tensor.float().mean(dim=(1, 2)).tolist() == pytest.approx(
        [250, 0, 0], abs=4
    )


def test_a_row_that_is_not_whole_is_decoded_anew(photos: Path, decoded: list[str]) -> None:
    """As a machine that lost its power leaves it: the checksum is there and the pixels are zeros."""
    cached = read(photos).prepared.decoded
    assert cached is not None
    known = cached.open(3).tensor.clone()
    with cached.path.open("r+b") as file:
        file.seek(int(cached.starts[3]))
        file.write(bytes(known.numel()))
    again = read(photos).prepared.decoded
    decoded.clear()
    assert again is not None and torch.equal(again.open(3).tensor, known) and decoded == ["3.jpg"]
    assert torch.equal(again.open(3).tensor, known) and decoded == ["3.jpg"]


FILL = """
import pickle, sys
import torch
from pathlib import Path
from datamodules import ImageFolder
from lightning_vision.data.scenarios import Joint
data = ImageFolder(sys.argv[1], image_size=28, num_workers=2, batch_size=5, stream=Joint(), cache="decoded", cache_dir=sys.argv[2])
for file in Path(sys.argv[2]).rglob("inspection*"): file.unlink()
data.enter(0, seed=0)
for _ in range(2):
    image = torch.cat([batch["image"] for batch in data.train_dataloader()])
torch.save(image, sys.argv[3])
print("kept", data.prepared.decoded.filled(), "of", len(data.samples))
"""


def test_a_full_disk_costs_the_cache_and_not_the_run(photos: Path, tmp_path: Path) -> None:
    """Really: a file system of 48 kB, in a name space of its own that goes with its process."""
    alone = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    disk, images = tmp_path / "disk", tmp_path / "images.pt"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=48k none {disk}"
    if shutil.which("unshare") is None or subprocess.run([*alone, "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    command = f'{mount} && exec "$@"'
    given = [sys.executable, "-c", FILL, str(photos), str(disk), str(images)]
    done = subprocess.run([*alone, "sh", "-c", command, "sh", *given], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr.count("Cannot store decoded images in") == 1 and "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr, "at the end of the process either"
    kept = int(done.stdout.split()[1])
    assert 0 < kept < 20
    assert torch.equal(torch.load(images, weights_only=True), epoch(read(photos)))


def test_a_file_that_cannot_be_made_costs_the_cache_and_not_the_run(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = epoch(read(photos))
    read(photos, cache_dir=tmp_path / "other")
    shutil.rmtree(tmp_path / "other")
    inspected = ImageFolder(photos, cache_dir=tmp_path / "other", image_size=28, num_workers=0, stream=Joint())
    with small_files_only(inspected.cache_path.stat().st_size if inspected.cache_path else 0):
        data = read(photos, cache_dir=tmp_path / "other")
    assert "Cannot store decoded images" in capsys.readouterr().err
    assert torch.equal(epoch(data), whole)


def test_who_decodes_and_who_reduces_is_in_the_key(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def file() -> Path:
        cached = read(photos).prepared.decoded
        assert cached is not None
        return cached.path

    first = file()
    assert file() == first
    with monkeypatch.context() as patch:
        patch.setattr(image_sources, "decoder_versions", lambda: {"pillow": "0.1"})
        assert file() != first
    with monkeypatch.context() as patch:
        patch.setattr(decoded_cache, "torch_version", lambda: "0.1")
        assert file() != first
    Image.new("RGB", (80, 60), (9, 200, 9)).save(photos / "a" / "1.jpg")
    assert file() != first, "another image"


class TestRoom:
    """``cache_gb`` is for all files of the folder together."""

    def files(self, photos: Path) -> dict[int, int]:
        folder = photos.parent / f".{photos.name}.lightning_vision"
        return {int(file.name.split("-")[1]): file.stat().st_size for file in folder.glob("decoded-*.bin")}

    def made(self, photos: Path, side: int, **options: Any) -> ImageFolder:
        data = ImageFolder(photos, image_size=side, num_workers=0, stream=Joint(), cache="decoded", **options)
        assert data.prepared.decoded is not None
        _fill(data.prepared.decoded)
        return data

    def test_those_that_were_not_used_for_longest_make_room(self, photos: Path) -> None:
        for number, side in enumerate((28, 35, 42)):
            data = self.made(photos, side)
            assert data.prepared.decoded is not None
            os.utime(data.prepared.decoded.path, (number, number))
            del data
        sizes = self.files(photos)
        assert list(sizes) and set(sizes) == {32, 40, 48}
        self.made(photos, 28)  # used again
        limit = (sizes[32] + sizes[48] + 3 * 4096) / 1e9
        assert self.made(photos, 49, cache_gb=limit).prepared.decoded is not None
        assert 40 not in self.files(photos), "the oldest"
        assert sum(self.files(photos).values()) <= limit * 1e9 + 4096

    def test_one_that_is_in_use_stays_and_takes_its_room(
        self, photos: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        held = self.made(photos, 28)
        size = self.files(photos)[32]
        later = self.made(photos, 35, cache_gb=1.5 * size / 1e9)
        assert later.prepared.decoded is not None and held.prepared.decoded is not None
        assert 0 < later.prepared.decoded.left_out < 20
        assert set(self.files(photos)) == {32, 40} and sum(self.files(photos).values()) <= 1.5 * size
        assert "do not fit into data.cache_gb" in capsys.readouterr().err
        assert held.prepared.decoded.filled() == 20

    def test_a_smaller_limit_shortens_the_file(self, photos: Path) -> None:
        size = (self.made(photos, 28), self.files(photos)[32])[1]
        data = self.made(photos, 28, cache_gb=size / 2e9)
        assert (
            self.files(photos)[32] <= size / 2
            and data.prepared.decoded is not None
            and 0 < data.prepared.decoded.kept < 20
        )
        data = self.made(photos, 28)
        assert data.prepared.decoded is not None and data.prepared.decoded.filled() == 20


@pytest.mark.parametrize(("options", "words"), [({"cache_gb": 0.0}, "above 0"), ({"annotations": True}, "annotations")])
def test_refused(options: dict[str, Any], words: str, photos: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        read(photos, **options)
