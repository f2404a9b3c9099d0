"""What a file holds, by its first bytes or its extension: an image, or what people keep in its place."""

from __future__ import annotations

import re
from pathlib import Path

HEAD_BYTES = 600
"""So much of a file tells what it is."""
NO_IMAGE = "holds no image but "
"""Begins the reason of a file whose extension promises an image."""
HEIC = "HEIC"
HEIC_HELP = "pip install pillow-heif"
IMAGE_STARTS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"\x00\x00\x00\x0cjP  \r\n": "JPEG2000",
    b"\xff\x4f\xff\x51": "JPEG2000",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "TIFF",
    b"MM\x00+": "TIFF",
    b"qoif": "QOI",
    b"8BPS": "PSD",
}
OTHER_STARTS = {
    b"version https://git-lfs": "a Git LFS pointer; fetch the file with 'git lfs pull'",
    b"/annex/objects/": "a git-annex pointer; fetch the file with 'git annex get'",
    b"PK\x03\x04": "a zip archive; unpack it with 'unzip'",
    b"PK\x05\x06": "a zip archive; unpack it with 'unzip'",
    b"\x1f\x8b": "a gzip archive; unpack it with 'tar xzf' or 'gunzip'",
    b"BZh": "a bzip2 archive; unpack it with 'tar xjf' or 'bunzip2'",
    b"\xfd7zXZ\x00": "an xz archive; unpack it with 'tar xJf' or 'unxz'",
    b"(\xb5/\xfd": "a Zstandard archive; unpack it with 'tar --zstd -xf' or 'unzstd'",
    b"7z\xbc\xaf'\x1c": "a 7-Zip archive; unpack it with '7z x'",
    b"Rar!": "a RAR archive; unpack it with 'unrar x'",
    b"%PDF": "a PDF document; save its pages as images with 'pdftoppm -png'",
    b"\x1aE\xdf\xa3": "a video; save its frames as images with 'ffmpeg -i VIDEO frame_%05d.jpg'",
    b"\x00\x00\x01\xba": "a video; save its frames as images with 'ffmpeg -i VIDEO frame_%05d.jpg'",
    b"\x93NUMPY": "a NumPy array; save it as PNG files with 8 or 16 bits",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file; save its images as PNG files",
    b"SIMPLE  =": "a FITS file; save it as a PNG file with 8 or 16 bits",
    b"\xff\x0a": "JPEG XL, which cannot be read; convert it with 'djxl'",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL, which cannot be read; convert it with 'djxl'",
}
VIDEO = OTHER_STARTS[b"\x1aE\xdf\xa3"]
WEB_PAGE = "a web page, which a failed download leaves; download the file again"
SVG = "an SVG drawing; convert it with 'rsvg-convert'"
DICOM = "a DICOM file; convert it with 'dcm2img'"
TAR = "a tar archive; unpack it with 'tar xf'"
RAW = "a camera's raw file; develop it to JPEG or TIFF"
NIFTI = "a NIfTI volume; save its slices as PNG files"
TEXT = "text"
KINDS_BY_EXTENSION = {
    **dict.fromkeys((".zip",), OTHER_STARTS[b"PK\x03\x04"]),
    **dict.fromkeys((".gz", ".tgz"), OTHER_STARTS[b"\x1f\x8b"]),
    **dict.fromkeys((".bz2", ".tbz2"), OTHER_STARTS[b"BZh"]),
    **dict.fromkeys((".xz", ".txz"), OTHER_STARTS[b"\xfd7zXZ\x00"]),
    **dict.fromkeys((".zst",), OTHER_STARTS[b"(\xb5/\xfd"]),
    **dict.fromkeys((".7z",), OTHER_STARTS[b"7z\xbc\xaf'\x1c"]),
    **dict.fromkeys((".rar",), OTHER_STARTS[b"Rar!"]),
    **dict.fromkeys((".tar",), TAR),
    **dict.fromkeys((".pdf",), OTHER_STARTS[b"%PDF"]),
    **dict.fromkeys((".npy", ".npz"), OTHER_STARTS[b"\x93NUMPY"]),
    **dict.fromkeys((".h5", ".hdf5"), OTHER_STARTS[b"\x89HDF\r\n\x1a\n"]),
    **dict.fromkeys((".fits", ".fit", ".fts"), OTHER_STARTS[b"SIMPLE  ="]),
    **dict.fromkeys((".jxl",), OTHER_STARTS[b"\xff\x0a"]),
    **dict.fromkeys((".svg", ".svgz"), SVG),
    **dict.fromkeys((".dcm", ".dicom"), DICOM),
    **dict.fromkeys((".nii",), NIFTI),
    **dict.fromkeys(
        (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".3gp", ".mts", ".m2ts"), VIDEO
    ),
    **dict.fromkeys(
        (".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".dng", ".orf", ".rw2", ".raf", ".pef"), RAW
    ),
    **dict.fromkeys(
        (
            *(".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".md", ".html", ".htm", ".log"),
            *(".py", ".ipynb", ".sh", ".toml", ".ini", ".cfg", ".aae", ".xmp", ".names", ".rst", ".tex"),
        ),
        TEXT,
    ),
    **dict.fromkeys(
        (
            *(".mat", ".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".onnx", ".safetensors", ".parquet", ".arrow"),
            *(".xlsx", ".xls", ".docx", ".doc", ".db", ".sqlite", ".lock", ".tfrecord", ".wav", ".mp3", ".thm"),
        ),
        "",
    ),
}
"""What files of an extension hold, without opening them; empty: no image, and nothing more is said."""


def is_image(kind: str) -> bool:
    """Whether what ``kind_of`` found is an image format that Pillow reads (HEIC with its package)."""
    return (kind.isupper() and " " not in kind) or kind == "JPEG2000"


def kind_of(head: bytes) -> str:
    """What a file holds by its first ``HEAD_BYTES``: an image format as Pillow names it, else what it is and what to do.

    Empty if it is not known.
    """
    for starts in (IMAGE_STARTS, OTHER_STARTS):
        for start, kind in starts.items():
            if head.startswith(start):
                return kind
    if head[:4] == b"RIFF" and len(head) >= 12:
        return {b"WEBP": "WEBP", b"AVI ": VIDEO}.get(head[8:12], "")
    if head[4:8] == b"ftyp":
        brands = {head[8:12], *(head[at : at + 4] for at in range(16, min(len(head), head[3]), 4))}
        if brands & {b"avif", b"avis"}:
            return "AVIF"
        return HEIC if brands & {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"} else VIDEO
    if head[:2] == b"BM" and head[6:10] == bytes(4) and head[14:18] in _BMP_HEADERS:
        return "BMP"
    if re.match(rb"P[1-6][ \t\r\n]+(#|[0-9])", head):
        return "PPM"
    if head[128:132] == b"DICM":
        return DICOM
    if head[257:262] == b"ustar":
        return TAR
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return WEB_PAGE
    return SVG if text.startswith(b"<svg") or (text.startswith(b"<?xml") and b"<svg" in text) else ""


_BMP_HEADERS = {size.to_bytes(4, "little") for size in (12, 40, 52, 56, 64, 108, 124)}


def kind_of_file(path: str | Path) -> str:
    """``kind_of`` of a file; empty if it cannot be read."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - called for each file of unknown extension, with a text
            return kind_of(file.read(HEAD_BYTES))
    except OSError:
        return ""
