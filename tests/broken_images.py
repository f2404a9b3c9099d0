"""Image and video files that are cut short, claim what they do not hold, or are odd and good nonetheless."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

RED, BLUE = (250, 10, 20), (20, 10, 250)
SIZE = (48, 40)
"""Width and height of ``halves``."""


def noise(width: int = 48, height: int = 40) -> Image.Image:
    """An image whose file has some length."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def halves() -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", SIZE, RED)
    image.paste(BLUE, (SIZE[0] // 2, 0, *SIZE))
    return image


def write_cut_short(file: Path, kind: str = "JPEG") -> None:
    """The first half of an image file."""
    whole = io.BytesIO()
    noise().save(whole, kind)
    file.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])


def write_claiming(file: Path, width: int, height: int) -> None:
    """A PNG of 70 bytes that says it has this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


def write_animated(file: Path) -> None:
    """Two frames; the first is ``halves``."""
    halves().save(file, save_all=True, append_images=[Image.new("RGB", SIZE, "green")], duration=40, loop=0)


def write_turned(file: Path) -> None:
    """``halves``, stored as a camera that was held upright on its side stores it: turned, with a note how."""
    exif = Image.Exif()
    exif[0x0112] = 6
    halves().transpose(Image.Transpose.ROTATE_90).save(file, exif=exif, quality=95)


def write_video_without_frames(file: Path) -> None:
    """An AVI file whose header announces a video, and nothing else."""
    with av.open(str(file), "w", format="avi") as container:
        stream: Any = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        container.start_encoding()


def write_empty_screen(file: Path) -> None:
    """A GIF whose screen has 0x0 pixels, with a frame of 4x4 on it."""
    Image.new("P", (4, 4)).save(file)
    data = file.read_bytes()
    file.write_bytes(data[:6] + struct.pack("<HH", 0, 0) + data[10:])
