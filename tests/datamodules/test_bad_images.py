"""Image files that are none, that cannot be read, or that are read in spite of their looks."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bad_data import (
    DOG_FOLDERS,
    PHOTOS,
    SHOP,
    TABLE,
    Case,
    Fine,
    Refused,
    Skipped,
    bad,
    case,
    check_bad_data,
    fine_image,
    one,
    rows,
    serves_all,
    shows,
    sized,
)
from broken_images import (
    RED,
    SIZE,
    halves,
    write_animated,
    write_claiming,
    write_cut_short,
    write_empty_screen,
    write_turned,
)
from dataset_maker import (
    DOGS,
)
from PIL import Image
from spoiling import (
    add,
    link_to_itself,
    link_to_nothing,
    no_rights,
)

UNDECODABLE = (
    ("truncated JPEG", "x.jpg", write_cut_short, "OSError: image file is truncated"),
    ("truncated PNG", "x.png", lambda file: write_cut_short(file, "PNG"), "OSError: image file is truncated"),
    ("PNG of 0x0", "x.png", lambda file: write_claiming(file, 0, 0), "UnidentifiedImageError"),
    ("text named .jpg", "x.jpg", lambda file: file.write_text("no image"), "UnidentifiedImageError"),
    ("decompression bomb", "x.png", lambda file: write_claiming(file, 40_000, 40_000), "DecompressionBombError: Image size (1600000000"),
    ("a smaller bomb", "x.png", lambda file: write_claiming(file, 17_000, 17_000), "it has 17000 x 17000 pixels, more than 268 million"),
    ("32-bit TIFF", "x.tiff", lambda file: Image.fromarray(np.zeros((9, 9), np.float32)).save(file), "its pixels are floating-point numbers of 32 bits"),
)  # fmt: skip
PASSED_OVER: tuple[tuple[str, Callable[[Path], object], str], ...] = (
    ("empty file", Path.touch, "empty"),
    ("broken link", link_to_nothing, "broken links"),
    ("looping link", link_to_itself, "broken links"),
    ("pipe named .jpg", os.mkfifo, "broken links"),
    ("folder named .jpg", Path.mkdir, "folders named like an image"),
)
LONG = "x" * 251 + ".png"
IMAGES = [
    *(
        each
        for name, file, write, reason in UNDECODABLE
        for each in bad(name, PHOTOS, add(f"cats/{file}", write), f"cats/{file}", f"cannot be decoded ({reason}", 8, one("cannot be decoded"))
    ),
    *(
        case(name, PHOTOS, add("cats/x.jpg", write), Skipped(8, one(told)))
        for name, write, told in PASSED_OVER
    ),
    *bad("no permission", PHOTOS, no_rights("cats/0002.jpg"), "cats/0002.jpg", "no permission to read it", 7, one("no permission to read it")),
    case("folder without permission", PHOTOS, no_rights("cats"), Refused("no permission to read DATA/cats. Allow it")),
    case("breed without permission", DOG_FOLDERS, no_rights(f"images/Images/{DOGS[1]}"), Refused(f"no permission to read DATA/images/Images/{DOGS[1]}. Allow it")),
    case("table without permission", SHOP, no_rights(TABLE), Refused(f"DATA/{TABLE} cannot be read: Permission denied")),
    case("class folder that is a looping link", PHOTOS, add("birds", link_to_itself), Fine(rows(8))),
    fine_image("1x1", lambda file: Image.new("RGB", (1, 1), RED).save(file), check=serves_all),
    fine_image("3000x1", lambda file: Image.new("RGB", (3000, 1), RED).save(file), check=serves_all),
    fine_image("16 bits", lambda file: Image.fromarray(np.full(SIZE[::-1], 40_000, np.uint16)).save(file), check=shows("cats/x.png", (156,) * 3, (156,) * 3)),
    fine_image("CMYK", lambda file: halves().convert("CMYK").save(file, quality=95), "x.jpg", shows("cats/x.jpg", within=40)),
    fine_image("greyscale", lambda file: halves().convert("L").save(file), check=shows("cats/x.png", (83,) * 3, (41,) * 3)),
    fine_image("palette", lambda file: halves().quantize(4).save(file)),
    fine_image("palette with a transparent colour", lambda file: halves().quantize(2).save(file, transparency=halves().quantize(2).getpixel((0, 0))), check=shows("cats/x.png", left=(255, 255, 255))),
    fine_image("alpha", lambda file: Image.merge("RGBA", [*halves().split(), Image.new("L", SIZE, 0)]).save(file), check=shows("cats/x.png", (255,) * 3, (255,) * 3)),
    fine_image("animated GIF", write_animated, "x.gif"),
    fine_image("animated WebP", write_animated, "x.webp", shows("cats/x.webp", within=40)),
    fine_image("animated PNG", write_animated, "x.png"),
    fine_image("GIF with a screen of 0x0", write_empty_screen, "x.gif", sized("cats/x.gif", 4, 4)),
    fine_image("EXIF-rotated", write_turned, "x.jpg"),
    fine_image("EXIF that is none", lambda file: halves().save(file, exif=b"Exif\0\0rubbish", quality=95), "x.jpg"),
    fine_image("PNG named .jpg", lambda file: halves().save(file, "PNG"), "x.jpg"),
    fine_image("non-ASCII name", lambda file: halves().save(file), "Äpfel 苹果 🍎.png"),
    fine_image("name that is no UTF-8", lambda file: halves().save(os.fsencode(file)), "\udcff\udcfe.png"),
    fine_image("name with a line break", lambda file: halves().save(file), "a\nb.png"),
    fine_image("name of 255 letters", lambda file: halves().save(file), LONG),
    fine_image("93 megapixels", lambda file: Image.new("P", (9500, 9800)).save(file), check=sized("cats/x.png", 9800, 9500)),
    case("root with a name of 255 letters", PHOTOS, lambda root: root.rename(root.with_name("x" * 255)), Fine(rows(8)), at="../" + "x" * 255),
]  # fmt: skip


@pytest.mark.parametrize("case", [*IMAGES])
def test_bad_images(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    check_bad_data(case, tmp_path, capsys, monkeypatch)
