"""Roots that are not the data's, classes without images, and what the commands say of them."""

from pathlib import Path

import pytest
from bad_data import (
    BOXED,
    BOXED_VIDEOS,
    CAR_FOLDERS,
    DEVKIT,
    DOG_FOLDERS,
    DOG_LISTS,
    GAZED_VIDEOS,
    KAGGLE,
    PHOTOS,
    SEQUENCE,
    SHOP,
    SPLIT_PHOTOS,
    TABLE,
    WAY_OUT,
    Case,
    Exits,
    Fine,
    Refused,
    case,
    check_bad_data,
    one_is_trained,
    rows,
)
from broken_images import (
    write_cut_short,
)
from dataset_maker import (
    CARS,
    DOGS,
)
from spoiling import (
    add,
    append,
    every,
    link_to_itself,
    nothing,
    put,
    remove,
)

LAYOUT_OF = {
    "ImageFolder": (PHOTOS, "Expected <root>/<class>/<images> or <root>/{train,val,test}/<class>/<images>"),
    "StanfordCars": (DEVKIT, "Expected one of\n  <root>/devkit/{cars_meta,cars_train_annos,"),
    "StanfordDogs": (DOG_LISTS, "Expected one of\n  <root>/Images/n<number>-<breed>/*.jpg"),
    "Products": (SHOP, f"Expected one of\n  <root>/{TABLE} and"),
    "BoundingBoxes": (BOXED_VIDEOS, "Expected one of\n  <root>/[<part>/]<Class>/<Seq>/ with"),
    "SaliencyMaps": (GAZED_VIDEOS, "Expected one of\n  <root>/[<part>/]<Class>/<Seq>/ with"),
}
TOO_DEEP = (
    ("ImageFolder", PHOTOS, "cats", "use the folder above it, DATA."),
    ("StanfordCars", DEVKIT, "cars_train", "This is too deep; use DATA."),
    ("StanfordCars, devkit", DEVKIT, "devkit", "This is too deep; use DATA."),
    ("StanfordCars, folders", CAR_FOLDERS, f"{KAGGLE}/train", f"This is too deep; use DATA/{KAGGLE}."),
    ("StanfordDogs", DOG_LISTS, "Images", "This is too deep; use DATA."),
    ("Products", SHOP, "Flipkart/Images", "This is too deep; use DATA/Flipkart."),
    ("BoundingBoxes", BOXED_VIDEOS, "Bowl", "This is too deep; use DATA."),
    ("SaliencyMaps", GAZED_VIDEOS, SEQUENCE, "This is too deep; use DATA."),
)
ROOTS = [
    *(
        case(f"{name}: root missing", tree, nothing, Refused("DATA/nowhere", "does not exist", layout), at="nowhere")
        for name, (tree, layout) in LAYOUT_OF.items()
    ),
    *(
        case(f"{name}: root empty", tree, add("empty", Path.mkdir), Refused("DATA/empty, which is empty", layout), at="empty")
        for name, (tree, layout) in LAYOUT_OF.items()
    ),
    *(
        case(f"{name}: root is a file", tree, put("data.7z", "7z"), Refused("DATA/data.7z", "is a file", layout), at="data.7z")
        for name, (tree, layout) in LAYOUT_OF.items()
    ),
    *(
        case(f"{name}: root is no whole archive", tree, put("data.zip", "PK"), Refused("DATA/data.zip is no whole zip archive", "Download or copy it again"), at="data.zip")
        for name, (tree, _) in LAYOUT_OF.items()
    ),
    *(
        case(f"{name}: root one level too high", tree, nothing, Refused("one level too high", "use TMP/data", layout), at="..")
        for name, (tree, layout) in LAYOUT_OF.items()
    ),
    *(case(f"{name}: root too deep", tree, nothing, Refused(hint), at=at) for name, tree, at, hint in TOO_DEEP),
    case("root is a looping link", SHOP, add("round", link_to_itself), Refused("which does not exist"), at="round"),
    case("looping link beside the data", DEVKIT, add("../round", link_to_itself), Refused("which contains", "use TMP/data"), at=".."),
    case("boxes CSV: root missing", BOXED, nothing, Refused("data.root: DATA/nowhere does not exist", "to which the paths in TMP/data/boxes.csv are relative"), at="nowhere", boxes="TMP/data/boxes.csv"),
]  # fmt: skip
CLASSES = [
    case("one class", PHOTOS, remove("dogs"), Fine(rows(4, label=[0, 0, 0, 0]))),
    case("class with one image", PHOTOS, remove(*(f"cats/{number:04d}.jpg" for number in range(3))), Fine(one_is_trained)),
    case("class folder that is empty", PHOTOS, add("emus", Path.mkdir), Fine(rows(8), ("no class for 'emus', because it contains no image",))),
    case("breed without images", DOG_FOLDERS, every(f"images/Images/{DOGS[0]}/*", Path.unlink), Fine(rows(8), (f"Classes without an image: '{DOGS[0]}'",))),
    case("name without images", CAR_FOLDERS, append("names.csv", "Tesla Model S Sedan 2012\n"), Fine(rows(9), ("Classes without an image: 'Tesla Model S Sedan 2012'",))),
    case("class missing from the training data", SPLIT_PHOTOS, remove("train/dogs"), Refused("The test data has a class that the training data never has: 'dogs'. Give training images of it, or take it out")),
    case("car missing from the training data", CAR_FOLDERS, remove(f"{KAGGLE}/train/{CARS[0]}", "anno_train.csv", "anno_test.csv"), Refused(f"the training data never has: '{CARS[0]}'")),
    case("class missing from the test data", SPLIT_PHOTOS, remove("test/dogs"), Fine(rows(12))),
    case("all images empty", DOG_FOLDERS, every("*.jpg", lambda file: file.write_bytes(b"")), Refused("DATA: no image is left to learn from. Skipped: 12 files (12 the file is empty)"), on_bad_image="skip"),
]  # fmt: skip
COMMANDS = [
    case("fit: root missing", SHOP, remove("Flipkart"), Exits(1, ("Products was not found in DATA, which is empty", "Download it from")), command="fit"),
    case("fit: unknown category", SHOP, nothing, Exits(2, ("no top category 'Watch'",)), command="fit", categories=["Watch"]),
    case("fit: no whole archive", PHOTOS, put("data.tar.gz", "x"), Exits(1, ("DATA/data.tar.gz is no whole tar archive", "Download or copy it again")), at="data.tar.gz", command="fit"),
    case("fit: one class", PHOTOS, remove("dogs"), Exits(1, ("There is one class, 'cats', and a classifier needs at least 2", "model.base_checkpoint")), command="fit"),
    case("data: truncated image", PHOTOS, add("cats/x.jpg", write_cut_short), Exits(1, ("cats/x.jpg: cannot be decoded", WAY_OUT)), command="data"),
    case("data: class missing from the test data", SPLIT_PHOTOS, remove("test/dogs"), Exits(0, ("No test images: dogs.",)), command="data"),
]  # fmt: skip


@pytest.mark.parametrize("case", [*ROOTS, *CLASSES, *COMMANDS])
def test_bad_roots(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    check_bad_data(case, tmp_path, capsys, monkeypatch)
