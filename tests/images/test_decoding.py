"""Image files of every mode become upright uint8 RGB."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps, PngImagePlugin
from torch import Tensor

from lightning_vision.errors import DataError
from lightning_vision.images.decoding import decode, read_header

# The left half of the image and the right: large and far apart, so that JPEG keeps them.
RED, BLUE = (250, 10, 20), (20, 10, 250)


def image() -> Image.Image:
    pixels = np.empty((32, 64, 3), dtype=np.uint8)
    pixels[:, :32], pixels[:, 32:] = RED, BLUE
    return Image.fromarray(pixels)


def assert_near(pixel: Tensor, expected: tuple[int, int, int]) -> None:
    assert (pixel.int() - torch.tensor(expected)).abs().max() <= 12, (pixel, expected)


@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "bmp", "tiff", "gif"])
def test_formats(tmp_path: Path, extension: str) -> None:
    image().save(tmp_path / f"x.{extension}")
    decoded = decode(tmp_path / f"x.{extension}")
    assert decoded.shape == (3, 32, 64) and decoded.dtype == torch.uint8
    assert_near(decoded[:, 16, 8], RED)
    assert_near(decoded[:, 16, 56], BLUE)


@pytest.mark.parametrize(
    ("orientation", "shape", "red"),
    [(1, (3, 32, 64), (16, 8)), (3, (3, 32, 64), (16, 56)), (6, (3, 64, 32), (8, 16)), (8, (3, 64, 32), (56, 16))],
)
def test_exif_orientation(tmp_path: Path, orientation: int, shape: tuple[int, ...], red: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image().save(tmp_path / "x.jpg", exif=exif, quality=95)
    decoded = decode(tmp_path / "x.jpg")
    assert decoded.shape == shape
    assert_near(decoded[:, red[0], red[1]], RED)


@pytest.mark.parametrize("orientation", [3, 5, 6, 7, 8])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_tiff_files_that_do_not_stand_upright(
    tmp_path: Path, mode: str, compression: str | None, orientation: int
) -> None:
    """Pillow opens them with the size of the upright image, and maps some of them into memory by it."""
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    stored = Image.fromarray(noise).convert(mode)
    stored.save(tmp_path / "x.tif", tiffinfo={0x0112: orientation}, compression=compression)
    stored.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
    assert np.array_equal(decode(tmp_path / "x.tif").permute(1, 2, 0), upright)
    assert read_header(tmp_path / "x.tif").size == upright.shape[:2]


def test_sixteen_bits_with_the_orientation_as_imagemagick_writes_it(tmp_path: Path) -> None:
    exif, info = Image.Exif(), PngImagePlugin.PngInfo()
    exif[0x0112] = 6
    block = b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")
    info.add_text("Raw profile type exif", f"\nexif\n{len(block):8}\n{block.hex()}\n", zip=True)
    levels = (np.arange(8, dtype=np.uint16).reshape(2, 4) << 8) + (1 << 15)
    Image.fromarray(levels).save(tmp_path / "x.png", pnginfo=info)
    assert decode(tmp_path / "x.png")[0].tolist() == [[132, 128], [133, 129], [134, 130], [135, 131]]
    assert read_header(tmp_path / "x.png").size == (4, 2)


@pytest.mark.parametrize("orientation", [2, 3, 4, 6, 7, 8])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1)])
def test_exif_orientation_of_a_single_row_or_column(tmp_path: Path, orientation: int, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size, RED).save(tmp_path / "x.jpg", exif=exif, quality=95)
    decoded = decode(tmp_path / "x.jpg")
    assert decoded.shape == (3, *(size if orientation >= 6 else size[::-1]))
    assert_near(decoded[:, 0, 0], RED)


def test_greyscale(tmp_path: Path) -> None:
    Image.new("L", (4, 4), 77).save(tmp_path / "x.png")
    assert set(decode(tmp_path / "x.png").flatten().tolist()) == {77}


def test_palette(tmp_path: Path) -> None:
    image().quantize(4).save(tmp_path / "x.png")
    assert_near(decode(tmp_path / "x.png")[:, 0, 0], RED)


def test_cmyk(tmp_path: Path) -> None:
    image().convert("CMYK").save(tmp_path / "x.jpg", quality=95)
    assert_near(decode(tmp_path / "x.jpg")[:, 16, 8], RED)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_lies_on_white(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste((40, 40, 40, 255), (4, 0, 8, 8))
    image.convert(mode).save(tmp_path / "x.png")
    decoded = decode(tmp_path / "x.png")
    assert decoded[:, 4, 1].tolist() == [255] * 3
    assert decoded[:, 4, 6].tolist() == [40] * 3


def test_sixteen_bits_are_not_clipped(tmp_path: Path) -> None:
    levels = (np.arange(256, dtype=np.uint16).reshape(16, 16) << 8) + 3
    Image.fromarray(levels).save(tmp_path / "x.png")
    assert decode(tmp_path / "x.png")[0].flatten().tolist() == list(range(256))


def test_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.jpg does not exist any more"):
        decode(tmp_path / "gone.jpg")
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(DataError, match=r"text\.jpg cannot be decoded .*UnidentifiedImageError.* Repair or remove it"):
        decode(tmp_path / "text.jpg")
    image().save(tmp_path / "whole.jpg")
    (tmp_path / "half.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:-200])
    with pytest.raises(DataError, match=r"half\.jpg cannot be decoded .*[Tt]runcated"):
        decode(tmp_path / "half.jpg")
    Image.fromarray(np.zeros((4, 4), dtype=np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(DataError, match=r"float\.tiff cannot be decoded .*32 bits"):
        decode(tmp_path / "float.tiff")
