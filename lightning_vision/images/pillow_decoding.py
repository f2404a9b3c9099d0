"""What reading image files takes with torch and without: their modes, sizes and scales, and why one cannot be read."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from lightning_vision.errors import DataError
from lightning_vision.images.deep_colour import orientation_of, scaled_colours, stored_bits
from lightning_vision.images.file_kinds import HEIC, HEIC_HELP, NO_IMAGE, is_image, kind_of_file
from lightning_vision.images.image_files import heic_can_be_read
from lightning_vision.terminal.wording import plural

ORIENTATION = 0x0112
"""EXIF tag of the orientation."""
SIZE = (256, 257)
"""TIFF tags of width and height, as they are stored."""
SIDEWAYS = (5, 6, 7, 8)
"""Orientations that swap height and width."""
SCALES = (8, 4, 2)
"""libjpeg decodes at an eighth, a quarter or half of the size in a fraction of the time."""
MARGIN = 1.35
"""The reduced image keeps so many times the pixels that are wanted on each side. With fewer, what the resize would have
smoothed away comes through: 4 grey levels of 255 and more on photographs, against less than 3."""
MOST_SHIFT = 0.31
"""The edges of a region may move by so much, in pixels of what is wanted, to lie on the grid of the reduced image."""
MOST_PIXELS = 1 << 28
"""Images with more pixels are treated as decompression bombs: 268 million pixels are 805 MB in memory."""
# Pillow's limit is a third of this, and it warns about images that are merely large; it refuses twice the limit.
Image.MAX_IMAGE_PIXELS = MOST_PIXELS


DECODING_VERSION = 5
"""Of the rules below, which belong in the keys of caches: 2 reads grey 16-bit files by the bits they use, 3 coloured ones
too, 4 those of grey with transparency and of CMYK, 5 TIFF files that lie sideways by their own size and pixels."""


def open_image(path: str | Path) -> Image.Image:
    """Open an image file by its content, whatever its extension is.

    Raises:
        ValueError: It is known what it holds instead, or why it cannot be read.
    """
    try:
        return _read_in_order(Image.open(path))
    except UnidentifiedImageError:
        kind = kind_of_file(path)
        if kind == HEIC and heic_can_be_read():
            return Image.open(path)
        if kind == HEIC:
            raise ValueError(f"it holds HEIC, which needs {HEIC_HELP}") from None
        if kind and not is_image(kind):
            raise NotAnImageError(kind) from None
        if kind == "TIFF" and (told := tiff_pixels(path)):
            raise ValueError(
                f"{told}, which cannot be read; save it in grey or in red, green and blue, with 8 or 16 bits"
            ) from None
        raise


def _read_in_order(image: Image.Image) -> Image.Image:
    """An opened image, which Pillow will not map into memory if it is a TIFF file that lies sideways.

    Pillow would map the pixels of an uncompressed one as rows of the upright image, which mixes them up.
    """
    if image.format == "TIFF" and _tags(image).get(ORIENTATION) in SIDEWAYS:
        opened: Any = image
        opened.load_read = opened.fp.read  # files with a function of their own for reading are not mapped
    return image


def upright_size(opened: Image.Image, orientation: int) -> tuple[int, int]:
    """Height and width with an orientation applied to the stored ones; Pillow has applied it to those of TIFF files."""
    tags = _tags(opened)
    width, height = (int(tags.get(tag, side)) for tag, side in zip(SIZE, opened.size, strict=True))
    return (width, height) if orientation in SIDEWAYS else (height, width)


def _tags(image: Image.Image) -> Any:
    """The tags of a TIFF file; of any other image none."""
    return getattr(image, "tag_v2", {})


class NotAnImageError(ValueError):
    """A file holds something else; the text says what, and what to do."""


def upper_eight_bits(pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """16-bit pixels as 8 bits: the upper 8 of those that the image uses, so that 12 bits in 16 are not black."""
    return (pixels >> (stored_bits(pixels) - 8)).astype(np.uint8)


def is_sixteen_bits(image: Image.Image) -> bool:
    """Whether it is grey with 16 bits without a sign; Pillow holds those of a PGM file in 32."""
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")


def upright_rgb(image: Image.Image) -> Image.Image:
    """The image in mode RGB with the orientation of its EXIF or XMP applied.

    Greyscale is repeated, 16 bits are cut to the upper 8 that are used, transparency lies on white.

    Raises:
        ValueError: Its pixels have a sign, a fraction or more than 16 bits, so that their range is unknown.
    """
    if is_sixteen_bits(image):  # Pillow's own conversion clips at 255 and gives a white image
        grey = Image.fromarray(upper_eight_bits(np.asarray(image)))
        grey.info = orientation_of(image)
        image = grey
    image = scaled_colours(image)
    if image.mode in ("I", "F"):
        raise ValueError(
            f"its pixels are {_numbers(image)}, whose range is unknown; save it with 8 or 16 bits without a sign"
        )
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _numbers(image: Image.Image) -> str:
    """What the pixels of mode I or F are in the file."""
    tags = _tags(image)
    if 258 in tags:  # BitsPerSample
        return _sample_words(tags)
    return "floating-point numbers of 32 bits" if image.mode == "F" else "whole numbers of 32 bits"


def _sample_words(tags: Any) -> str:
    bits = tags.get(258, (1,))
    form = tags.get(339, (1,))
    first = form[0] if isinstance(form, tuple) else form
    kind = {1: "unsigned whole numbers", 2: "signed whole numbers", 3: "floating-point numbers"}.get(first, "numbers")
    return f"{kind} of {bits[0] if isinstance(bits, tuple) else bits} bits"


def tiff_pixels(path: str | Path) -> str:
    """What the pixels of a TIFF file are, as its first directory says; empty if it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
            file.seek(tags.next)
            tags.load(file)
            bands = tags.get(277, 1)  # SamplesPerPixel
            return f"its pixels are {plural(bands, 'band')} of {_sample_words(tags)}"
    except Exception:  # a damaged directory may raise anything, and the first error is told then
        return ""


def check_bands(opened: Image.Image) -> None:
    """Refuse an image with more bands than red, green, blue and transparency, of which Pillow reads the first three.

    Raises:
        ValueError: It is a TIFF file with more than 4 bands.
    """
    if (bands := _tags(opened).get(277, 1)) > 4:
        raise ValueError(
            f"it has {bands} bands of {_sample_words(_tags(opened))}, expected 1 (grey), 3 (red, green, blue) or 4; save the "
            "bands that show the image"
        )


def check_size(opened: Image.Image) -> None:
    """Refuse an image that is too large to be decoded, or has too many bands.

    Raises:
        ValueError: It has more than ``MOST_PIXELS``, or more than 4 bands.
    """
    check_bands(opened)
    width, height = opened.size
    if width * height > MOST_PIXELS:
        raise ValueError(
            f"it has {width} x {height} pixels, more than {MOST_PIXELS / 1e6:.0f} million, which may be a "
            "decompression bomb"
        )


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Replace any error of a decoder by an explanation.

    Raises:
        DataError: The file is missing or cannot be decoded; its path and the reason are named.
    """
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"The image {path} does not exist any more. Restore it, or start a new run.") from None
    except NotAnImageError as error:
        raise DataError(f"The image {path} {NO_IMAGE}{error}.") from None
    except Exception as error:  # on broken files decoders raise anything: OSError, SyntaxError, struct.error, ...
        kind = "" if type(error) is ValueError else f"{type(error).__name__}: "  # ours are sentences
        raise DataError(f"The image {path} cannot be decoded ({kind}{error}). Repair or remove it.") from error
