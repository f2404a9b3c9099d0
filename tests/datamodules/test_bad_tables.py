"""Tables, annotations and .mat files that cannot be read, or that do not fit their images."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bad_data import (
    BOXED,
    BOXED_COCO,
    CAR_FOLDERS,
    DEVKIT,
    DOG_LISTS,
    FACTS,
    FIRST,
    KAGGLE,
    LABELLED,
    NO_FILE,
    SHOP,
    TABLE,
    WAY_OUT,
    Case,
    Exits,
    Fine,
    Refused,
    Skipped,
    Tree,
    bad,
    car_table,
    case,
    check_bad_data,
    dog_lists,
    one,
    rows,
    zero_based,
)
from broken_images import (
    halves,
)
from dataset_maker import (
    CARS,
    DOGS,
)
from scipy.io import savemat
from spoiling import (
    add,
    append,
    as_from_windows,
    cut_in_half,
    instead,
    link_to_itself,
    link_to_nothing,
    nothing,
    put,
    recode,
    remove,
    swap,
    together,
)

TABLES: dict[str, tuple[Tree, str]] = {
    "products": (SHOP, TABLE),
    "cars": (CAR_FOLDERS, "anno_train.csv"),
    "boxes": (BOXED, "boxes.csv"),
    "metadata": (FACTS, "facts.csv"),
}
TABLE_ROWS = {"products": 12, "cars": 9, "boxes": 4, "metadata": 8}
LAST_FIELD = {"products": "Product 1,", "cars": "00001.jpg,", "boxes": "0.png,", "metadata": "cats/0000.jpg,"}
"""A field of the first record, with the comma behind it."""
LINE = {"products": 2, "cars": 1, "boxes": 2, "metadata": 2}
CSV_FAULTS = [
    *(
        case(
            f"{name}: broken quotation",
            tree,
            swap(file, LAST_FIELD[name], f'"{LAST_FIELD[name][:3]}"{LAST_FIELD[name][3:]}'),
            Refused(f"{Path(file).name} line", f"{LINE[name]}", "broken quotation", "double quotation marks inside"),
        )
        for name, (tree, file) in TABLES.items()
    ),
    *(
        case(
            f"{name}: semicolons",
            tree,
            recode(file, lambda text: text.replace(b",", b";")),
            Refused(f"DATA/{file}: its columns are separated by semicolons, expected commas. Save it as CSV with commas"),
        )
        for name, (tree, file) in TABLES.items()
    ),
    *(
        case(f"{name}: byte-order mark and CRLF", tree, recode(file, as_from_windows), Fine(rows(TABLE_ROWS[name])))
        for name, (tree, file) in TABLES.items()
    ),
    *(
        case(
            f"{name}: UTF-16",
            tree,
            recode(file, lambda text: text.decode().encode("utf-16")),
            Refused(f"DATA/{file} is not UTF-8 text: line 1 contains the byte 0xff. Save it as CSV in UTF-8"),
        )
        for name, (tree, file) in TABLES.items()
    ),
    *(
        case(
            f"{name}: a field too many",
            tree,
            swap(file, LAST_FIELD[name], LAST_FIELD[name] + "more,"),
            Refused("1 problem", f"{Path(file).name} line {LINE[name]}: ", "fields, expected "),
        )
        for name, (tree, file) in TABLES.items()
    ),
    *(
        case(f"{name}: empty table", tree, put(file, ""), Refused(f"DATA/{file} is empty. Expected a table with the columns"))
        for name, (tree, file) in TABLES.items()
    ),
    case("quotation that never ends", FACTS, append("facts.csv", '"cats/0001.jpg,g,home\nx,y,z\n'), Refused("facts.csv line 10: a quotation mark is opened here and never closed; the rest was not read")),
    case("products: missing column", SHOP, swap(TABLE, "product_category_tree", "tree"), Refused(f"DATA/{TABLE} lacks the column 'product_category_tree'; its first line has 'uniq_id'")),
    case("cars: missing column", CAR_FOLDERS, recode("anno_train.csv", lambda text: b"fname,x1,y1,x2,y2\n1.jpg,1,1,9,9\n"), Refused("DATA/anno_train.csv lacks the column 'class'; its first line has 'fname'")),
    case("cars: missing column, no header", CAR_FOLDERS, recode("anno_train.csv", lambda text: text.replace(b",1\r\n", b"\r\n").replace(b",2\r\n", b"\r\n").replace(b",3\r\n", b"\r\n")), Refused("6 problems", "anno_train.csv line 1: 5 fields, expected 6", "anno_train.csv line 6: 5 fields")),
    case("boxes: missing column", BOXED, swap("boxes.csv", "class", "kind"), Refused("DATA/boxes.csv lacks the column 'class'; its first line has 'path', 'x', 'y', 'w', 'h', 'kind'")),
    case("metadata: missing column", FACTS, swap("facts.csv", "path", "file"), Refused("DATA/facts.csv lacks the column 'path'; its first line has 'file', 'group', 'place'")),
    case("metadata: column twice", FACTS, swap("facts.csv", "place", "group"), Refused("DATA/facts.csv has the column 'group' twice. Remove one of them")),
    case("metadata: column that is made", FACTS, swap("facts.csv", "place", "box_xyxy"), Refused("DATA/facts.csv must not have the column 'box_xyxy'", "Rename or remove")),
    case("metadata: frame that is no number", FACTS, swap("facts.csv", "place", "frame"), Refused("8 problems", "facts.csv line 2: frame is 'home', expected a whole number")),
    case("products: unknown class", SHOP, nothing, Refused("the table has no top category 'Watch'. Its categories, similar names first: 'Watches'"), categories=["Watch"]),
    case("products: no category tree", SHOP, swap(TABLE, '"[""Baby Care', '"[Baby Care'), Refused(f"{Path(TABLE).name} line 2: product_category_tree is '[Baby Care", "expected [\"A >> B >> C\"]")),
    case("cars: unknown class", CAR_FOLDERS, swap("anno_train.csv", ",1\r\n", ",9\r\n"), Refused("anno_train.csv line 1: class 9; classes count from 1 to 3")),
    case("cars: labels from 0", CAR_FOLDERS, swap("anno_train.csv", ",1\r\n", ",0\r\n"), Refused("anno_train.csv line 1: class 0; classes count from 1 to 3")),
    case("cars: another class than the folder", CAR_FOLDERS, swap("anno_train.csv", ",1\r\n", ",2\r\n"), Refused(f"anno_train.csv line 1: 00001.jpg has class 2 ('{CARS[1]}') but is in the folder '{CARS[0]}'; classes count from 1")),
    case("cars: unknown class folder", CAR_FOLDERS, add(f"{KAGGLE}/train/Acura RL Sedan 2013", Path.mkdir), Refused("the folder 'Acura RL Sedan 2013' is not a class of names.csv", f"similar classes: '{CARS[1]}'")),
    case("boxes: unknown class", BOXED, nothing, Refused("'c'", "'a', 'b'"), classes=["a", "c"]),
    case("metadata: unknown split", FACTS, together(swap("facts.csv", "place", "split"), swap("facts.csv", "home", "tset"), swap("facts.csv", "home", "train", -1)), Refused("1 problem", "facts.csv line 2: split is 'tset', expected train, val, test or an empty field")),
    case("products: duplicate row", SHOP, lambda root: append(TABLE, f'{FIRST},,,"[""Baby Care""]",{FIRST}.jpg,\r\n')(root), Refused(f"uniq_id '{FIRST}' is already in line 2")),
    case("cars: duplicate row", CAR_FOLDERS, append("anno_train.csv", "00001.jpg,5,4,40,36,1\r\n"), Refused("anno_train.csv line 7: fname '00001.jpg' is already in line 1")),
    case("boxes: duplicate row", BOXED, append("boxes.csv", "0.png,10,8,20,20,a\n"), Refused("boxes.csv line 6: duplicate of an image and box in a previous line")),
    case("metadata: duplicate row", FACTS, append("facts.csv", "cats\\0000.jpg,g9,home\n"), Refused("facts.csv line 10: path 'cats/0000.jpg' is already in line 2")),
    case("products: table missing", SHOP, remove(TABLE), Refused("table or images of Products was not found in DATA", "Download it from")),
    case("cars: table missing", CAR_FOLDERS, remove("anno_test.csv"), Refused("data.crop_to_box needs boxes, and 'anno_test.csv' is neither in DATA nor", "Move the file there"), crop_to_box=True),
    case("boxes: table missing", BOXED, remove("boxes.csv"), Refused("data.boxes: the file does not exist; searched 'boxes.csv', 'DATA/boxes.csv'")),
    case("metadata: table missing", FACTS, remove("facts.csv"), Refused("metadata file does not exist; searched 'facts.csv', 'DATA/facts.csv'", "Give its path")),
    *bad("products: file missing", SHOP, remove(f"Flipkart/Images/{FIRST}.jpg"), f"Flipkart/Images/{FIRST}.jpg", NO_FILE, 11, one(NO_FILE)),
    *bad("products: broken link", SHOP, instead(f"Flipkart/Images/{FIRST}.jpg", link_to_nothing), f"Flipkart/Images/{FIRST}.jpg", NO_FILE, 11, one(NO_FILE)),
    *bad("products: looping link", SHOP, instead(f"Flipkart/Images/{FIRST}.jpg", link_to_itself), f"Flipkart/Images/{FIRST}.jpg", "cannot be read (Too many levels of symbolic links)", 11, one("cannot be read")),
    *bad("products: folder named .jpg", SHOP, instead(f"Flipkart/Images/{FIRST}.jpg", Path.mkdir), f"Flipkart/Images/{FIRST}.jpg", "cannot be read (Is a directory)", 11, one("cannot be read")),
    *bad("products: empty image", SHOP, put(f"Flipkart/Images/{FIRST}.jpg", ""), f"Flipkart/Images/{FIRST}.jpg", "the file is empty", 11, one("the file is empty")),
    case("products: all images missing", SHOP, instead("Flipkart/Images", Path.mkdir), Refused("DATA: no image is left to learn from. Skipped: 12 files (12 file not found)"), on_bad_image="skip"),
    *bad("cars: file missing", CAR_FOLDERS, remove(f"{KAGGLE}/train/{CARS[0]}/00001.jpg"), f"{KAGGLE}/train/{CARS[0]}/00001.jpg", NO_FILE, 8, one(NO_FILE)),
    *bad("boxes: file missing", BOXED, remove("1.png"), "1.png", f"{NO_FILE}, listed in boxes.csv", 3, one(f"{NO_FILE}, listed in boxes.csv")),
    *bad("boxes: path that is too long", BOXED, append("boxes.csv", "x" * 300 + ".png,1,1,9,9,a\n"), "x" * 300 + ".png", NO_FILE, 4, one(f"{NO_FILE}, listed in boxes.csv")),
    case("boxes: path out of the root", BOXED, append("boxes.csv", "../0.png,1,1,9,9,a\n/0.png,1,1,9,9,a\n"), Refused("boxes.csv line 6: path is '../0.png', expected a path relative to DATA", "boxes.csv line 7: path is '/0.png'")),
    *bad("metadata: file missing", FACTS, remove("dogs/0003.jpg"), "facts.csv line 9", "image not found (dogs/0003.jpg; paths are relative to DATA)", 7, one("image not found")),
    case("products: extra file", SHOP, add("Flipkart/Images/extra.jpg", halves().save), Fine(rows(12), ("1 image of Flipkart/Images/ not used, because", "has no line for 'extra.jpg'"))),
    case("cars: extra file", CAR_FOLDERS, add(f"{KAGGLE}/train/{CARS[1]}/extra.jpg", halves().save), Fine(rows(10), ("anno_train.csv has no line for 1 image, such as", "extra.jpg"))),
    case("cars: extra file and no box", CAR_FOLDERS, add(f"{KAGGLE}/train/{CARS[1]}/extra.jpg", halves().save), Refused("extra.jpg: no box in anno_train.csv", WAY_OUT), crop_to_box=True),
    case("dogs: extra file", DOG_LISTS, add(f"Images/{DOGS[0]}/extra.jpg", halves().save), Skipped(9, one("in neither list"))),
]  # fmt: skip
COCO = "test/_annotations.coco.json"
LABELS = [
    *bad("labels: file missing", LABELLED, remove("train_images/003.jpg"), "train.csv line 5", "image not found (003)", 11, one("image not found")),
    *bad("labels: broken image", LABELLED, put("train_images/003.jpg", "no image"), "train_images/003.jpg", "cannot be decoded", 11, one("cannot be decoded")),
    case("labels: table missing", LABELLED, remove("train.csv"), Refused("data.labels: there is no file or folder; searched 'train.csv', 'DATA/train.csv'")),
    case("labels: all images missing", LABELLED, remove("train_images"), Refused("DATA/train.csv: no column names images of the folder (its first row: id_code '000', diagnosis 'cup')", "set data.root to their folder")),
    case("labels: no image at all", LABELLED, remove("train_images", "test_images"), Refused("data.root: there is no image in DATA that DATA/train.csv could label")),
    case("labels: Latin-1", LABELLED, recode("train.csv", lambda text: text.replace(b"cup", b"caf\xe9", 1)), Refused("DATA/train.csv is not UTF-8 text: line 2 contains the byte 0xe9")),
    case("labels: two columns of labels", LABELLED, recode("train.csv", lambda text: text.replace(b"\n", b",x\n").replace(b"diagnosis,x", b"diagnosis,label")), Refused("the columns 'label', 'diagnosis' could be the label")),
    case("labels: unknown column", LABELLED, nothing, Refused("no column 'diagnoses' (for label). Its columns, nearest first: 'diagnosis', 'id_code'"), label_columns={"label": "diagnoses"}),
    case("labels: unclosed quotation", LABELLED, append("train.csv", '"000,cup\n'), Refused("train.csv line 14: a quotation mark is opened here and never closed")),
    case("labels: image twice", LABELLED, append("train.csv", "000,plate\n"), Refused("1 image of 12 has several labels: train_images/000.jpg ('cup', 'plate')")),
    case("labels: one class", LABELLED, recode("train.csv", lambda text: text.replace(b"plate", b"cup")), Exits(1, ("There is one class, 'cup'",)), command="fit"),
    case("labels: cut JSON", BOXED_COCO, lambda root: cut_in_half(root / COCO), Refused(f"DATA/{COCO} is not valid JSON", "export or download it again")),
    case("labels: unknown category", BOXED_COCO, recode(COCO, lambda text: text.replace(b'"category_id": 1', b'"category_id": 7')), Refused("_annotations.coco.json annotation 1: category_id 7 is not in the list categories")),
    case("labels: several classes an image", BOXED_COCO, recode(COCO, lambda text: text.replace(b'"image_id": 1,', b'"image_id": 0,')), Refused("boxes with two classes in")),
    *bad("labels: box outside", BOXED_COCO, recode(COCO, lambda text: text.replace(b"[4.0, 6.0", b"[90.0, 6.0", 1)), "test/100.jpg", "the box lies outside the image", 15, one("the box lies outside the image")),
    case("fit: labels that are missing", LABELLED, remove("train.csv"), Exits(1, ("data.labels: there is no file or folder",)), command="fit"),
    case("data: labels", LABELLED, nothing, Exits(0, ("4 images not named in train.csv",)), command="data"),
]  # fmt: skip
MAT = "devkit/cars_train_annos.mat"
MATLAB = [
    case("struct without a field", DEVKIT, lambda root: savemat(root / MAT, {"annotations": np.array([(1, "x.jpg")], dtype=[("class", object), ("fname", object)])}), Refused(f"DATA/{MAT}: 'annotations' must be a struct array with the fields", "It lacks 'bbox_x1'", "has 'class', 'fname'")),
    case("no class names", DEVKIT, lambda root: savemat(root / "devkit/cars_meta.mat", {"names": np.array(CARS, dtype=object)}), Refused("DATA/devkit/cars_meta.mat has no 'class_names', only 'names'")),
    case("list without labels", DOG_LISTS, lambda root: savemat(root / "lists/train_list.mat", {"file_list": np.array([["x"]], dtype=object)}), Refused("DATA/lists/train_list.mat has no 'labels', only 'file_list'")),
    case("web page named .mat", DEVKIT, put(MAT, "<html>Not found"), Refused(f"DATA/{MAT} is not a readable .mat file", "begins with b'<html>", "download the file again")),
    case("cut .mat", DEVKIT, lambda root: cut_in_half(root / MAT), Refused(f"DATA/{MAT} is not a readable .mat file")),
    case(".mat missing", DEVKIT, remove(MAT), Refused("contains only a part of Stanford Cars. Missing: 'devkit/cars_train_annos.mat'", "Download the missing files from")),
    case("one list missing", DOG_LISTS, remove("lists/test_list.mat"), Refused("'test_list.mat' does not", "or remove the other list")),
    case("cars: label out of range", DEVKIT, car_table(lambda car: replace(car, number=4)), Refused("cars_train_annos.mat row 1: class 4; classes count from 1 to 3")),
    case("cars: labels from 0 in .mat", DEVKIT, car_table(zero_based, every_row=True), Refused("2 problems", "cars_train_annos.mat row 1: class 0; classes count from 1 to 3")),
    case("cars: file missing in .mat", DEVKIT, remove("cars_test/00002.jpg"), Refused("cars_test/00002.jpg: file not found", WAY_OUT)),
    case("dogs: label out of range", DOG_LISTS, dog_lists(lambda path, label: (path, label + 119)), Refused("train_list.mat row 3: class 121; classes count from 1 to 120", "test_list.mat row 3: class 122")),
    case("dogs: labels from 0", DOG_LISTS, dog_lists(lambda path, label: (path, label - 1)), Refused("train_list.mat row 1: class 0; classes count from 1 to 120")),
    case("dogs: labels that disagree", DOG_LISTS, dog_lists(lambda path, label: (path, 3 if path.endswith("0_1.jpg") else label)), Refused(f"the folder {DOGS[0]} has more than one class in the lists: '3', '1'")),
    *bad("dogs: file missing", DOG_LISTS, remove(f"Images/{DOGS[1]}/n02085936_2.jpg"), f"Images/{DOGS[1]}/n02085936_2.jpg", NO_FILE, 8, one(NO_FILE)),
]  # fmt: skip


@pytest.mark.parametrize("case", [*CSV_FAULTS, *LABELS, *MATLAB])
def test_bad_tables(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    check_bad_data(case, tmp_path, capsys, monkeypatch)
