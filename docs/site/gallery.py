"""The images of docs/gallery.md: what the README's commands have written, made small enough for a repository.

    python -m docs.site.gallery runs      # after the README's commands; needs chromium

Figures are copied, and pages photographed from the top; both keep 64 colours.
"""

import argparse
import tempfile
from pathlib import Path

from PIL import Image

from benchmarks.first_command import photograph

IMAGES = Path(__file__).parents[1] / "images"
FIGURES = ("curves", "confusion_matrix", "accuracy_matrix", "sweep", "errors")
PAGES = {"explain": "first/explain/explain.html", "trust": "first/trust/trust.html", "data": "data-Digits.html"}
WIDEST, HIGHEST = 1000, 1100
"""Pixels of an image; what is below is cut off."""
COLOURS = 64


def make_small(image: Image.Image, file: Path) -> None:
    """Write an image with few pixels and few colours."""
    image = image.convert("RGB")
    if image.width > WIDEST:
        image = image.resize((WIDEST, round(image.height * WIDEST / image.width)), Image.Resampling.LANCZOS)
    image = image.crop((0, 0, image.width, min(image.height, HIGHEST)))
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)


def main() -> None:
    """Read the folder of the runs and write the images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="the folder of the README's runs")
    runs = parser.parse_args().runs
    for name in FIGURES:
        make_small(Image.open(runs / "first" / f"{name}.png"), IMAGES / f"{name}.png")
    with tempfile.TemporaryDirectory() as folder:
        for name, page in PAGES.items():
            taken = Path(folder) / f"{name}.png"
            photograph(runs / page, taken)
            make_small(Image.open(taken), IMAGES / f"{name}_page.png")


if __name__ == "__main__":
    main()
