"""Files are read by what they hold, and named by it where they cannot be."""

import struct
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datamodules import ImageFolder
from lightning_vision.data.scenarios import Joint
from lightning_vision.deployed.image_walk import ImageWalk
from lightning_vision.errors import DataError
from lightning_vision.images import image_files
from lightning_vision.images.decoding import decode, decode_bytes, decode_region, read_header, told_mode
from lightning_vision.images.file_kinds import kind_of, kind_of_file
from lightning_vision.images.image_files import reason_to_skip

SQUARE = np.full((16, 16, 3), (200, 40, 90), dtype=np.uint8)
HEIC_HEAD = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)


def read(root: Path, **options: Any) -> ImageFolder:
    return ImageFolder(root, **{"num_workers": 0, "image_size": 16, "stream": Joint(), **options})


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("PPM", "a.ppm"),
        ("PPM", "a.pnm"),
        ("AVIF", "a.avif"),
        ("JPEG2000", "a.jp2"),
        ("MPO", "a.mpo"),
        ("JPEG", "a.jpe"),
        ("TGA", "a.tga"),
        ("JPEG", "a.HEIC"),
        ("AVIF", "a.heif"),
        ("PNG", "a.jpg"),
        ("AVIF", "a.png"),
        ("JPEG2000", "a.jpg"),
        ("JPEG", "a"),
        ("WEBP", "a.download"),
        ("TIFF", "a.bak"),
        ("BMP", "a.dat"),
        ("PPM", "a.raw_image"),
        ("GIF", "a.0"),
    ],
)
def test_read_by_content(tmp_path: Path, written: str, name: str) -> None:
    options = {"save_all": True, "append_images": [Image.fromarray(SQUARE)]} if written == "MPO" else {}
    Image.fromarray(SQUARE).save(tmp_path / name, format=written, **options)
    assert reason_to_skip(tmp_path / name) is None
    assert np.abs(decode(tmp_path / name).permute(1, 2, 0).numpy().astype(int) - SQUARE).max() < 12
    assert list(ImageWalk(tmp_path)) == [(name, tmp_path / name)]


def test_grey_pgm(tmp_path: Path) -> None:
    Image.fromarray(SQUARE[..., 0]).save(tmp_path / "a.pgm")
    assert set(decode(tmp_path / "a.pgm").flatten().tolist()) == {200}


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        (b"/annex/objects/SHA", "git annex get"),
        (b"PK\x03\x04....", "unzip"),
        (b"\x1f\x8b....", "tar xzf"),
        (b"Rar!....", "unrar"),
        (bytes(257) + b"ustar", "tar xf"),
        (bytes(128) + b"DICM", "dcm2img"),
        (b"\0\0\0\x18ftypmp42" + bytes(50), "ffmpeg"),
        (b"RIFF\0\0\0\0AVI ", "ffmpeg"),
        (b"<!DOCTYPE html><html>", "a failed download"),
        (b"<svg xmlns='x'/>", "SVG"),
        (b"\x93NUMPY", "NumPy"),
    ],
)
def test_named_where_an_image_was_promised(tmp_path: Path, head: bytes, words: str) -> None:
    (tmp_path / "a.jpg").write_bytes(head)
    with pytest.raises(DataError, match=f"a.jpg holds no image but .*{words}"):
        decode(tmp_path / "a.jpg")


def test_text_is_no_image() -> None:
    assert [kind_of(text) for text in (b"BM and more text here", b"P5 is a road", b"", b"plain")] == [""] * 4
    assert kind_of_file("/nowhere/a") == ""


def test_pointers_are_told_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(3):
            (tmp_path / name / f"{number}.jpg").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    with pytest.raises(
        DataError, match=r"6 problems:\n  a/0\.jpg, a/1\.jpg, a/2\.jpg and 3 more: hold no image but a Git LFS"
    ) as told:
        read(tmp_path)
    assert str(told.value).count("git lfs pull") == 1
    with pytest.raises(
        DataError, match=r"no image is left .* \(6 a Git LFS pointer; fetch the file with 'git lfs pull'\)"
    ):
        read(tmp_path, on_bad_image="skip")


def test_heic_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's plugin cannot be installed here: another stands for it, which reads the same beginning."""
    for name in ("a.jpg", "b.heic"):
        (tmp_path / name).write_bytes(HEIC_HEAD)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    image_files._register_heic.cache_clear()
    assert reason_to_skip(tmp_path / "b.heic") == "HEIC, which needs pip install pillow-heif"
    with pytest.raises(DataError, match=r"it holds HEIC, which needs pip install pillow-heif"):
        decode(tmp_path / "a.jpg")

    class Opened(Image.Image):
        format = "HEIF"

    def register() -> None:
        def opener(file: Any, name: str) -> Image.Image:
            opened: Image.Image = Image.new("RGB", (8, 8), "red")
            opened.format = "HEIF"
            return opened

        Image.register_open("HEIF", opener, lambda head: head[4:12] == b"ftypheic")  # type: ignore[arg-type]

    monkeypatch.setitem(sys.modules, "pillow_heif", SimpleNamespace(register_heif_opener=register))
    image_files._register_heic.cache_clear()
    try:
        assert reason_to_skip(tmp_path / "b.heic") is None
        assert [decode(tmp_path / name)[:, 0, 0].tolist() for name in ("a.jpg", "b.heic")] == [[255, 0, 0]] * 2
    finally:
        Image.OPEN.pop("HEIF")
        Image.ID.remove("HEIF")
        image_files._register_heic.cache_clear()


class TestDepth:
    @pytest.mark.parametrize("bits", [10, 12, 14, 16])
    @pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
    def test_16_bit_files_are_read_by_the_bits_they_use(self, tmp_path: Path, bits: int, name: str) -> None:
        pixels = np.linspace(0, 2**bits - 1, 32 * 32).reshape(32, 32).astype(np.uint16)
        if name == "a.pgm":
            (tmp_path / name).write_bytes(b"P5 32 32 65535\n" + pixels.astype(">u2").tobytes())
        else:
            Image.fromarray(pixels).save(tmp_path / name)
        assert np.array_equal(decode(tmp_path / name)[0].numpy(), (pixels >> (bits - 8)).astype(np.uint8))

    @pytest.mark.parametrize("bits", [10, 12, 14, 16])
    @pytest.mark.parametrize("bands", [3, 4])
    @pytest.mark.parametrize("kind", ["png", "tif"])
    def test_colours_too(self, tmp_path: Path, bits: int, bands: int, kind: str) -> None:
        pixels = np.linspace(0, 2**bits - 1, 32 * 32 * 3).reshape(32, 32, 3).astype(np.uint16)
        whole = pixels if bands == 3 else np.dstack([pixels, np.full((32, 32), 65535, np.uint16)])
        content = png(whole) if kind == "png" else tiff(whole, colour=True)
        (tmp_path / f"a.{kind}").write_bytes(content)
        expected = (pixels >> (bits - 8)).astype(np.uint8)
        assert np.array_equal(decode(tmp_path / f"a.{kind}").permute(1, 2, 0).numpy(), expected)
        assert np.array_equal(decode_bytes(content, Path("within")).permute(1, 2, 0).numpy(), expected)

    def test_colours_are_said(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for number in range(8):
            (tmp_path / "ab"[number % 2]).mkdir(exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, 4095, (40, 40, 3)).astype(np.uint16)
            (tmp_path / "ab"[number % 2] / f"{number}.png").write_bytes(png(pixels))
        data = read(tmp_path)
        said = " ".join(capsys.readouterr().err.split())
        assert "8 images of 8 in 16-bit files use fewer bits: 8 use 12 (no pixel is above 4095)" in said
        assert data.image(0).float().mean() > 100 and set(data.inspection.mode) == {"RGB with 12 bits"}

    @pytest.mark.parametrize("alpha", [4095, 65535])
    def test_grey_with_transparency_too(self, tmp_path: Path, alpha: int) -> None:
        grey = np.linspace(0, 4095, 32 * 32).reshape(32, 32).astype(np.uint16)
        content = png(np.dstack([grey, np.full((32, 32), alpha, np.uint16)]))
        (tmp_path / "a.png").write_bytes(content)
        for found in (decode(tmp_path / "a.png"), decode_bytes(content, Path("within"))):
            assert np.array_equal(found.numpy(), np.stack([(grey >> 4).astype(np.uint8)] * 3))
        assert told_mode(read_header(tmp_path / "a.png")) == "RGBA with 12 bits"

    def test_the_inks_of_cmyk_too(self, tmp_path: Path) -> None:
        """A tenth of the 12 bits of cyan, and of black: Pillow alone sees no ink."""
        inks = np.full((8, 8, 4), [409, 0, 0, 409], np.uint16)
        inks[0, 0] = 4095
        (tmp_path / "a.tif").write_bytes(tiff(inks, photometric=5))
        expected = np.asarray(Image.new("CMYK", (1, 1), (25, 0, 0, 25)).convert("RGB"))[0, 0]
        assert decode(tmp_path / "a.tif")[:, 4, 4].tolist() == expected.tolist()

    def folder(self, root: Path, tops: list[int]) -> Path:
        for number, top in enumerate(tops):
            (root / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, top, (40, 40)).astype(np.uint16)
            pixels[0, 0] = top
            Image.fromarray(pixels).save(root / "ab"[number % 2] / f"{number}.png")
        return root

    def test_it_is_said(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        data = read(self.folder(tmp_path / "one", [4095] * 8))
        said = " ".join(capsys.readouterr().err.split())
        assert "8 images of 8 in 16-bit files use fewer bits: 8 use 12 (no pixel is above 4095)" in said
        assert data.image(0).float().mean() > 100 and set(data.inspection.mode) == {"I;16 with 12 bits"}
        read(self.folder(tmp_path / "two", [65535, 4095] * 4))
        assert "cannot be compared in brightness" in " ".join(capsys.readouterr().err.split())
        read(self.folder(tmp_path / "three", [65535] * 8))
        assert "bits" not in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("array", "words"),
        [
            (np.zeros((8, 8), np.int16), "signed whole numbers of 16 bits"),
            (np.zeros((8, 8), np.float32), "floating-point numbers of 32 bits"),
            (np.zeros((8, 8), np.int32), "signed whole numbers of 32 bits"),
        ],
    )
    def test_refused_by_what_they_are(self, tmp_path: Path, array: np.ndarray[Any, Any], words: str) -> None:
        (tmp_path / "a.tif").write_bytes(tiff(array[..., None]))
        with pytest.raises(DataError, match=rf"its pixels are {words}, whose range is unknown"):
            decode(tmp_path / "a.tif")

    @pytest.mark.parametrize(
        ("array", "words"),
        [
            (np.zeros((8, 8, 8), np.uint8), "8 bands of unsigned whole numbers of 8 bits"),
            (np.zeros((8, 8, 5), np.uint8), "5 bands of unsigned whole numbers of 8 bits"),
            (np.zeros((8, 8, 4), np.float32), "4 bands of floating-point numbers of 32 bits"),
            (np.zeros((8, 8, 1), np.float64), "1 band of floating-point numbers of 64 bits"),
        ],
    )
    def test_bands_and_wide_numbers(self, tmp_path: Path, array: np.ndarray[Any, Any], words: str) -> None:
        (tmp_path / "a.tif").write_bytes(tiff(array))
        with pytest.raises(DataError, match=words):
            decode(tmp_path / "a.tif")


def png(array: np.ndarray[Any, Any]) -> bytes:
    """A PNG file of (h, w, bands) with 16 bits a band: Pillow writes none in colour."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    height, width, bands = array.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    header = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[bands], 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, content) for kind, content in parts)


def tiff(array: np.ndarray[Any, Any], colour: bool = False, photometric: int | None = None) -> bytes:
    """A plain TIFF file of (h, w, bands) in one strip: Pillow writes no such numbers."""
    height, width, bands = array.shape
    form = {"u": 1, "i": 2, "f": 3}[array.dtype.kind]
    data = array.astype(array.dtype.newbyteorder("<")).tobytes()
    rgb = colour or (bands in (3, 5) and array.dtype == np.uint8)
    tags: list[tuple[int, int, list[int]]] = [
        (256, 4, [width]),
        (257, 4, [height]),
        (258, 3, [8 * array.dtype.itemsize] * bands),
        (259, 3, [1]),
        (262, 3, [photometric or (2 if rgb else 1)]),
        (273, 4, [8]),
        (277, 3, [bands]),
        (278, 4, [height]),
        (279, 4, [len(data)]),
        *([(338, 3, [2 if colour else 0] * (bands - 3))] if rgb and bands > 3 else []),
        (339, 3, [form] * bands),
    ]
    at = 8 + len(data)
    entries, extra, where = b"", b"", at + 2 + 12 * len(tags) + 4
    for tag, kind, values in tags:
        packed = struct.pack(f"<{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if len(packed) > 4:
            entries += struct.pack("<HHII", tag, kind, len(values), where + len(extra))
            extra += packed
        else:
            entries += struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<I", at) + data + struct.pack("<H", len(tags)) + entries + bytes(4) + extra


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_the_orientation_of_xmp_turns_every_jpeg(tmp_path: Path, mode: str) -> None:
    """The header, all pixels and a region agree."""
    image = Image.new(mode, (64, 32))
    image.paste(Image.new(mode, (32, 32), 0 if mode == "L" else tuple([200] * len(mode))), (0, 0))
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    image.save(tmp_path / "a.jpg", xmp=xmp, quality=100)
    header = read_header(tmp_path / "a.jpg")
    whole = decode(tmp_path / "a.jpg")
    assert header.size == (64, 32) == tuple(whole.shape[1:])
    from lightning_vision.images.decoding import Region

    upper = Region(0, 0, 32, 32)
    assert (decode_region(header, upper).int() - whole[:, :32].int()).abs().max() <= 2
