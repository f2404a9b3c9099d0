"""Stanford Cars: 196 makes, models and years."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from datamodules.annotation_tables import Table, read_csv, read_mat_columns, read_mat_struct
from datamodules.dataset_folder import contents, images_in, missing_layout, remark_on_unnamed, sub_folders
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.errors import DataError
from lightning_vision.terminal.wording import listed, natural_key, near, plural

ONE_FOLDER = ("cars_annos.mat", "car_ims")
"""The second official form: all images in one folder, and one file with the classes, the boxes and the test set."""
BOX = ("x1", "y1", "x2", "y2")
COLUMNS = ("fname", *BOX, "class")
MAT_FIELDS = {f"bbox_{name}": name for name in BOX} | {"class": "class", "fname": "fname"}
ONE_FOLDER_FIELDS = {field: name for field, name in MAT_FIELDS.items() if field != "fname"}
ONE_FOLDER_FIELDS |= {"relative_im_path": "fname", "test": "test"}
# Header lines that copies of the Kaggle tables were given.
OTHER_NAMES = {
    **MAT_FIELDS,
    **{"image_name": "fname", "image": "fname", "filename": "fname", "file_name": "fname"},
    **{"x_min": "x1", "y_min": "y1", "x_max": "x2", "y_max": "y2"},
    **{"xmin": "x1", "ymin": "y1", "xmax": "x2", "ymax": "y2"},
    **{"label": "class", "class_id": "class"},
}
CLASS_NAME_HEADERS = dict.fromkeys(
    ("class", "classes", "class_name", "class_names", "names", "label", "labels"), "name"
)
LABELS_FOR_THE_TEST_SET = "cars_test_annos_withlabels"


@dataclass(frozen=True)
class _Devkit:
    """The layout of the authors, which torchvision expects too."""

    class_names: Path
    tables: dict[str, Path]  # split to its annotations
    folders: dict[str, Path]  # split to its images


@dataclass(frozen=True)
class _ClassFolders:
    """The layout on Kaggle."""

    folders: dict[str, Path]  # split to the folder above its class folders
    tables: dict[str, Path]  # split to its annotations; those that are there
    class_names: Path | None


class StanfordCars(StreamDataModule):
    """16,185 photos of cars in 196 classes such as "Tesla Model S Sedan 2012", with boxes and an official split.

    J. Krause, M. Stark, J. Deng, L. Fei-Fei: 3D Object Representations for Fine-Grained Categorization, 4th IEEE
    Workshop on 3D Representation and Recognition (3dRR-13), 2013. Three layouts are read: the authors' two (``devkit/*.mat``,
    ``cars_train/``, ``cars_test/``, in root or in ``root/stanford_cars``; or ``cars_annos.mat`` and ``car_ims/``) and
    Kaggle's class folders (``car_data/car_data/{train,test}/<class>/`` with ``anno_train.csv``, ``anno_test.csv`` and
    ``names.csv``; root at any of these levels). In all of them, labels are in the devkit's order of classes and rows in the order of file
    names, so an image has the same label and split. On disk, boxes count pixels from 1 and include both corners;
    ``box_xyxy`` counts from 0, with x2 and y2 exclusive.

    Args:
        root: The folder of either layout.
        crop_to_box: Crop images to the box of the car.
        context: Share of its sides by which a box is enlarged in total.
        options: See ``StreamDataModule``.
    """

    NUM_CLASSES: ClassVar[int] = 196
    NUM_IMAGES: ClassVar[dict[str, int]] = {"train": 8144, "test": 8041}
    LAYOUTS: ClassVar[tuple[str, ...]] = (
        "<root>/devkit/{cars_meta,cars_train_annos,cars_test_annos_withlabels}.mat, <root>/cars_train/*.jpg and "
        "<root>/cars_test/*.jpg",
        "<root>/car_data/car_data/{train,test}/<class>/*.jpg with <root>/{anno_train,anno_test,names}.csv",
        "<root>/cars_annos.mat and <root>/car_ims/*.jpg",
    )
    SOURCE: ClassVar[str] = (
        "https://www.kaggle.com/datasets/jutrera/stanford-car-dataset-by-classes-folder (class folders), or in the "
        "authors' layout as https://github.com/pytorch/vision/issues/7545 describes (their own page is gone)"
    )
    PAPER: ClassVar[str] = "J. Krause et al., 3D Object Representations for Fine-Grained Categorization, 3dRR 2013"
    LICENCE: ClassVar[str] = "none stated; distributed for research"

    def __init__(self, root: str | Path, crop_to_box: bool = False, context: float = 0.0, **options: Any) -> None:
        self.crop_to_box = crop_to_box
        self.context = self.box_context = context
        super().__init__(root, **options)

    def read_samples(self) -> tuple[pd.DataFrame, list[str]]:
        """Training before test images, each in natural order of file names."""
        one_folder = _find_one_folder(self.root)
        devkit = None if one_folder else _find_devkit(self.root)
        folders = None if devkit or one_folder else _find_class_folders(self.root)
        if one_folder is not None:
            class_names, samples = self._read_one_folder(one_folder)
        elif devkit is not None:
            class_names, samples = self._read_devkit(devkit)
        elif folders is not None:
            class_names, samples = self._read_class_folders(folders)
        else:
            raise missing_layout(self.root, "Stanford Cars", self.LAYOUTS, self.SOURCE, _is_root)
        order = sorted(range(len(samples)), key=list(map(_row_key, samples["split"], samples["path"])).__getitem__)
        samples = samples.iloc[order].reset_index(drop=True)
        if samples["box_xyxy"].isna().all():
            samples = samples.drop(columns="box_xyxy")
        self._compare_counts(samples, class_names)
        return samples, class_names

    def _read_devkit(self, found: _Devkit) -> tuple[list[str], pd.DataFrame]:
        names = read_mat_columns(found.class_names, {"class_names": "name"}).texts(["name"], self.findings)
        class_names = names.rows["name"].tolist()
        parts = []
        for split, file in found.tables.items():
            table = _checked(read_mat_struct(file, "annotations", MAT_FIELDS), len(class_names), self.findings)
            prefix = found.folders[split].relative_to(self.root).as_posix()
            on_disk = set(images_in(found.folders[split], prefix, self.findings))
            there = table.rows["fname"].isin(on_disk)
            for name in table.rows.loc[~there, "fname"]:
                self.findings.bad(f"{prefix}/{name}", "file not found")
            remark_on_unnamed(on_disk - set(map(str, table.rows["fname"])), prefix, file, self.findings)
            rows = table.rows[there]
            part = pd.DataFrame({"path": prefix + "/" + rows["fname"], "label": rows["class"] - 1, "split": split})
            parts.append(part.assign(box_xyxy=self._boxes(rows, part["path"])))
        return class_names, _joined(parts, self.findings)

    def _read_one_folder(self, file: Path) -> tuple[list[str], pd.DataFrame]:
        names = read_mat_columns(file, {"class_names": "name"}).texts(["name"], self.findings)
        class_names: list[str] = names.rows["name"].tolist()
        table = read_mat_struct(file, "annotations", ONE_FOLDER_FIELDS).whole_numbers(["test"], self.findings)
        for at, flag in table.rows.loc[~table.rows["test"].isin([0, 1]), "test"].items():
            self.findings.problem(f"{table.place(at)}: test is {flag}, expected 0 or 1")
        table = _checked(table.keep(table.rows["test"].isin([0, 1])), len(class_names), self.findings)
        above = file.parent.relative_to(self.root).as_posix()
        paths = table.rows["fname"] if above == "." else f"{above}/" + table.rows["fname"]
        folder = file.parent / ONE_FOLDER[1]
        prefix = folder.relative_to(self.root).as_posix()
        on_disk = {f"{prefix}/{name}" for name in images_in(folder, prefix, self.findings)}
        there = paths.isin(on_disk)
        for path in paths[~there]:
            self.findings.bad(path, "file not found")
        remark_on_unnamed(on_disk - set(map(str, paths)), prefix, file, self.findings)
        rows, paths = table.rows[there], paths[there]
        split = rows["test"].map({0: "train", 1: "test"}).astype("str")
        part = pd.DataFrame({"path": paths, "label": rows["class"] - 1, "split": split})
        return class_names, _joined([part.assign(box_xyxy=self._boxes(rows, part["path"]))], self.findings)

    def _read_class_folders(self, found: _ClassFolders) -> tuple[list[str], pd.DataFrame]:
        class_folders = sorted({name for top in found.folders.values() for name in sub_folders(top)}, key=natural_key)
        if self.crop_to_box and (lacking := [f"anno_{s}.csv" for s in found.folders if s not in found.tables]):
            raise DataError(
                f"data.crop_to_box needs boxes, and {listed(lacking)} {'is' if len(lacking) == 1 else 'are'} neither "
                f"in {self.root} nor beside its car_data folders. Move the file there, or set data.crop_to_box to "
                "false."
            )
        class_names = self._names_of(found, class_folders)
        label_of = {name.replace("/", "-"): label for label, name in enumerate(class_names)}
        parts = []
        for split, top in found.folders.items():
            prefix = top.relative_to(self.root).as_posix()
            rows = [
                (name, folder, f"{prefix}/{folder}/{name}", label_of[folder])
                for folder in sub_folders(top)
                if folder in label_of
                for name in images_in(top / folder, f"{prefix}/{folder}", self.findings)
            ]
            part = pd.DataFrame(rows, columns=["fname", "folder", "path", "label"]).astype({"label": "int64"})
            part["split"], part["box_xyxy"] = split, None
            if split in found.tables:
                part = self._join_table(part, prefix, found.tables[split], class_names if found.class_names else None)
            parts.append(part.drop(columns=["fname", "folder"]))
        return class_names, _joined(parts, self.findings)

    def _names_of(self, found: _ClassFolders, class_folders: list[str]) -> list[str]:
        """Names in the devkit's order; folders that bear none of them are problems."""
        if found.class_names is None:
            self.findings.remark(
                "names.csv is missing. Classes are in the natural order of their folders, so labels differ from those "
                "of the devkit."
            )
            return class_folders
        table = read_csv(found.class_names, self.findings, ["name"], header=False, other_names=CLASS_NAME_HEADERS)
        names: list[str] = table.texts(["name"], self.findings).once("name", self.findings).rows["name"].tolist()
        known = [name.replace("/", "-") for name in names]
        for folder in class_folders:
            if folder not in known:
                self.findings.problem(
                    f"the folder '{folder}' is not a class of {found.class_names.name} (where '/' becomes '-'); "
                    f"similar classes: {listed(near(folder, known, 2)) or 'none'}"
                )
        return names

    def _join_table(self, part: pd.DataFrame, prefix: str, file: Path, class_names: list[str] | None) -> pd.DataFrame:
        """Give the images of one split the boxes of its table, where both say the same about the class."""
        count = self.NUM_CLASSES if class_names is None else len(class_names)
        table = read_csv(file, self.findings, COLUMNS, header=False, other_names=OTHER_NAMES)
        rows = _checked(table, count, self.findings).rows
        by_name = part[~part["fname"].duplicated(keep=False)].set_index("fname")
        for name in sorted(map(str, part.loc[part["fname"].duplicated(), "fname"].unique()), key=natural_key):
            places = part.loc[part["fname"] == name, "folder"]
            self.findings.problem(f"{name} is in {listed(places)}, which {file.name} does not distinguish")
        for name, number in rows.loc[~rows["fname"].isin(part["fname"]), ["fname", "class"]].itertuples(index=False):
            folder = "" if class_names is None else class_names[number - 1].replace("/", "-") + "/"
            self.findings.bad(f"{prefix}/{folder}{name}", "file not found")
        rows = rows[rows["fname"].isin(by_name.index)]
        if class_names is not None:
            labels = by_name["label"].reindex(rows["fname"]).to_numpy()
            wrong = rows[rows["class"].to_numpy() - 1 != labels]
            for at, name, number in zip(wrong.index, wrong["fname"], wrong["class"], strict=True):
                self.findings.problem(
                    f"{table.place(at)}: {name} has class {number} ('{class_names[number - 1]}') but is in the folder "
                    f"'{by_name['folder'][name]}'; classes count from 1"
                )
        boxes = self._boxes(rows, by_name["path"].reindex(rows["fname"]).set_axis(rows.index))
        box_of = dict(zip(rows["fname"], boxes, strict=True))
        part = part.assign(box_xyxy=pd.Series([box_of.get(name) for name in part["fname"]], dtype="object"))
        unnamed = ~part["fname"].isin(rows["fname"])
        if unnamed.any() and self.crop_to_box:
            for path in part.loc[unnamed, "path"]:
                self.findings.bad(path, f"no box in {file.name}")
            return part[~unnamed]
        if unnamed.any():
            self.findings.remark(
                f"{file.name} has no line for {plural(int(unnamed.sum()), 'image')}, such as "
                f"'{part.loc[unnamed, 'path'].iloc[0]}': the class is that of the folder."
            )
        return part

    def _boxes(self, rows: pd.DataFrame, paths: pd.Series[str]) -> pd.Series[Any]:
        """``box_xyxy`` of each row. One without an area is no box, and its image cannot be used if boxes are cut out."""
        if early := int((rows[["x1", "y1"]] < 1).any(axis=1).sum()):
            self.findings.remark(f"Boxes that begin before the first pixel, 1: {early}. Does this copy count from 0?")
        numbers = rows[list(BOX)].astype("float64") - [1.0, 1.0, 0.0, 0.0]  # from 1 and included to from 0 and excluded
        good = (numbers["x2"] > numbers["x1"]) & (numbers["y2"] > numbers["y1"])
        if self.crop_to_box:
            for path in paths[~good].tolist():
                self.findings.bad(path, "its box has no area")
        elif not good.all():
            self.findings.remark(f"Boxes without an area (not used): {int((~good).sum())}.")
        boxes = [box if fine else None for box, fine in zip(map(tuple, numbers.to_numpy().tolist()), good, strict=True)]
        return pd.Series(boxes, index=rows.index, dtype="object")

    def _compare_counts(self, samples: pd.DataFrame, class_names: list[str]) -> None:
        counts = {split: int((samples["split"] == split).sum()) for split in self.NUM_IMAGES}
        if counts != self.NUM_IMAGES or len(class_names) != self.NUM_CLASSES:
            self.findings.remark(
                f"Stanford Cars has {self.NUM_IMAGES['train']:,} training and {self.NUM_IMAGES['test']:,} test images "
                f"of {self.NUM_CLASSES} classes; found {counts['train']:,} and {counts['test']:,} of "
                f"{len(class_names)}."
            )
        if absent := [name for label, name in enumerate(class_names) if not (samples["label"] == label).any()]:
            self.findings.remark(f"Classes without an image: {listed(absent, 5)}.")


def _is_root(folder: Path) -> bool:
    devkit = _find_one_folder(folder) is not None or any(
        (folder / name).is_dir() for name in ("devkit", "stanford_cars")
    )
    return devkit or _find_class_folders(folder) is not None


def _find_one_folder(root: Path) -> Path | None:
    """``cars_annos.mat`` of the layout with all images in one folder, in root or in root/stanford_cars; None without it."""
    places = [base / ONE_FOLDER[0] for base in (root, root / "stanford_cars")]
    return next((file for file in places if file.is_file() and (file.parent / ONE_FOLDER[1]).is_dir()), None)


def _find_devkit(root: Path) -> _Devkit | None:
    """The authors' layout in root or in root/stanford_cars; None if neither has a trace of it.

    Raises:
        DataError: Parts of it are missing.
    """
    for base in (root, root / "stanford_cars"):
        places = [folder for folder in (base / "devkit", base) if folder.is_dir()]
        files = {path.name: path for place in places[::-1] for path in sorted(place.glob("cars_*.mat"))}
        if not ((base / "devkit").is_dir() or files):
            continue
        labelled = sorted(name for name in files if name.startswith(LABELS_FOR_THE_TEST_SET))  # "... (1).mat" is about
        tables = {
            "train": "cars_train_annos.mat",
            "test": labelled[0] if labelled else f"{LABELS_FOR_THE_TEST_SET}.mat",
        }
        # An archive of its own for each folder puts it into another one of its name.
        folders = {split: _innermost(base / f"cars_{split}") for split in tables}
        missing = [f"devkit/{name}" for name in ("cars_meta.mat", *tables.values()) if name not in files]
        missing += [f"cars_{split}/" for split, folder in folders.items() if not folder.is_dir()]
        if missing:
            above = base.resolve().parent
            deep = f" This is too deep; use {above}." if (above / "cars_train").is_dir() else ""
            unlabelled = (
                " cars_test_annos.mat cannot be used instead, because it has no classes." if not labelled else ""
            )
            raise DataError(
                f"data.root: {base} contains only a part of Stanford Cars. Missing: "
                f"{listed(missing)}.{unlabelled}{deep}\nExpected {StanfordCars.LAYOUTS[0]}; {base} "
                f"{contents(base)}.\nDownload the missing files from {StanfordCars.SOURCE}."
            )
        return _Devkit(files["cars_meta.mat"], {split: files[name] for split, name in tables.items()}, folders)
    return None


def _find_class_folders(root: Path) -> _ClassFolders | None:
    """Kaggle's layout, from any of its levels; None if it is not there."""
    for base in (root, root / "car_data", root / "car_data" / "car_data"):
        folders = {split: base / split for split in ("train", "test")}
        if not all(sub_folders(folder) for folder in folders.values()):
            continue
        # The tables lie above the car_data folders, which may be above root too.
        places = [base]
        while places[-1].resolve().name == "car_data" and len(places) < 3:
            places.append(places[-1].resolve().parent)
        found = {
            name: next((place / name for place in places if (place / name).is_file()), None)
            for name in ("anno_train.csv", "anno_test.csv", "names.csv")
        }
        tables = {split: file for split in folders if (file := found[f"anno_{split}.csv"]) is not None}
        return _ClassFolders(folders, tables, found["names.csv"])
    return None


def _innermost(folder: Path) -> Path:
    inner = folder / folder.name
    return inner if inner.is_dir() else folder


def _checked(table: Table, num_classes: int, findings: DataProblems) -> Table:
    """Rows with a file name that stands once, whole numbers for the box, and a class from 1 to ``num_classes``."""
    table = table.texts(["fname"], findings).whole_numbers([*BOX, "class"], findings).once("fname", findings)
    known = table.rows["class"].between(1, num_classes)
    for at, number in table.rows.loc[~known, "class"].items():
        findings.problem(f"{table.place(at)}: class {number}; classes count from 1 to {num_classes}")
    return table.keep(known)


def _joined(parts: list[pd.DataFrame], findings: DataProblems) -> pd.DataFrame:
    samples = pd.concat(parts, ignore_index=True)
    unusable = {path for path, _ in findings.unusable}
    return samples[~samples["path"].isin(unusable)].reset_index(drop=True)


def _row_key(split: str, path: str) -> tuple[bool, object, object]:
    return split != "train", natural_key(path.rpartition("/")[2]), natural_key(path)
