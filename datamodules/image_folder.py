"""A folder of images with one sub-folder per class."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from datamodules.annotation_tables import Table, read_csv
from datamodules.dataset_folder import is_folder
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.errors import DataError
from lightning_vision.images.image_files import EXTENSIONS, is_hidden, reason_to_skip
from lightning_vision.terminal.wording import listed, natural_key, plural

SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
MADE_HERE = ("label", "box_xyxy", "source", "role")
"""Columns that a metadata file must not have."""
LAYOUT = "Expected <root>/<class>/<images> or <root>/{train,val,test}/<class>/<images>"


@dataclass
class _Found:
    """What a walk through the folders met."""

    rows: list[tuple[str, str, str, str | None]] = field(default_factory=list)  # path, class, split, domain
    findings: DataProblems = field(default_factory=DataProblems)
    without_images: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


class ImageFolder(StreamDataModule):
    """Images in ``<root>/<class>/`` or ``<root>/{train,val,test}/<class>/``, and in any folder below.

    Supported formats are JPEG, PNG, WebP, BMP, GIF and TIFF, and HEIC if the package pillow-heif is installed. Hidden,
    empty and other files are skipped and counted. Classes are in natural order of their names. If images are in
    sub-folders of the class folders, the column ``domain`` is the name of the first one. A missing test or validation
    set is split off from the training data.

    Args:
        root: The folder with the class folders, or with train, val and test.
        metadata: CSV file with the column ``path`` (relative to root) and any others, which are added to the sample
            table: ``group`` (near copies, never split), ``domain``, a date, a custom order; ``split`` if there are no
            split folders. Relative to the working directory or root.
        options: See ``StreamDataModule``.
    """

    def __init__(self, root: str | Path, metadata: str | Path | None = None, **options: Any) -> None:
        self.metadata = metadata
        super().__init__(root, **options)

    def read_samples(self) -> tuple[pd.DataFrame, list[str]]:
        """Walk through the folders; rows are in natural order of split, class and path."""
        found = _read_folders(self.root, self.findings)
        if found.without_images:
            self.findings.remark(
                f"{self.root}: no class for {listed(found.without_images, 5)}, because it contains no image."
            )
        if found.left_out:
            self.findings.remark(
                f"{self.root}: skipped {listed(found.left_out, 5)}, which are beside the split folders."
            )
        class_names = sorted({row[1] for row in found.rows}, key=natural_key)
        label_of = {name: label for label, name in enumerate(class_names)}
        rows = sorted(found.rows, key=lambda row: (label_of[row[1]], row[2], natural_key(row[0])))
        samples = pd.DataFrame(
            {
                "path": [path for path, _, _, _ in rows],
                "label": pd.Series([label_of[name] for _, name, _, _ in rows], dtype="int64"),
                "split": [split for _, _, split, _ in rows],
            }
        )
        if any(domain is not None for _, _, _, domain in rows):
            samples["domain"] = pd.Series([domain for _, _, _, domain in rows], dtype="str")
        return (samples if self.metadata is None else self._join_metadata(samples)), class_names

    def _join_metadata(self, samples: pd.DataFrame) -> pd.DataFrame:
        places = [Path(str(self.metadata)).expanduser(), self.root / str(self.metadata)]
        file = next((place for place in places if place.is_file()), None)
        if file is None:
            raise DataError(
                f"The metadata file does not exist; searched {listed(places)}. Give its path relative to the working "
                "directory or the root."
            )
        table = read_csv(file, self.findings, ["path"])
        if made := [name for name in MADE_HERE if name in table.rows]:
            raise DataError(
                f"The metadata file {file} must not have the {'column' if len(made) == 1 else 'columns'} "
                f"{listed(made)}: the program creates these columns, and the folders give the class. Rename or remove "
                "them."
            )
        if "split" in table.rows and samples["split"].ne("").any():
            raise DataError(
                f"The metadata file {file} has a column 'split', but {self.root} has split folders. Remove one of them."
            )
        facts = self._checked_metadata(table, set(samples["path"])).rows.copy()
        for name in facts.columns.difference(["path", "split", "frame"]):
            facts[name] = _typed(facts[name])
        joined = samples.drop(columns=[name for name in facts if name != "path" and name in samples])
        joined = joined.merge(facts, on="path", how="left", validate="one_to_one")
        for name, default in (("split", ""), ("frame", -1)):
            if name in facts:
                joined[name] = joined[name].fillna(default).astype(facts[name].dtype)
        return joined

    def _checked_metadata(self, table: Table, images: set[str]) -> Table:
        """The rows that name an image, each once, with a split that there is."""
        table = table.texts(["path"], self.findings)
        path = table.rows["path"].str.replace("\\", "/").str.removeprefix("./")
        table = Table(table.file, table.rows.assign(path=path)).once("path", self.findings)
        there = table.rows["path"].isin(images)
        for at, name in table.rows.loc[~there, "path"].items():
            self.findings.bad(table.place(at), f"image not found ({name}; paths are relative to {self.root})")
        table = table.keep(there)
        if "frame" in table.rows:
            text = table.rows["frame"].str.strip()
            table = Table(table.file, table.rows.assign(frame=text.where(text != "", "-1")))
            table = table.whole_numbers(["frame"], self.findings)
        if "split" in table.rows:
            split = table.rows["split"].str.strip().str.lower().replace(SPLIT_FOLDERS)
            for at, value in split[~split.isin(["", *SPLIT_FOLDERS.values()])].items():
                self.findings.problem(
                    f"{table.place(at)}: split is {value!r}, expected train, val, test or an empty field"
                )
            table = Table(table.file, table.rows.assign(split=split))
        return table


def _typed(column: pd.Series) -> pd.Series:
    """Numbers where all that is not empty is a number, else text; what is empty is missing."""
    text = column.str.strip()
    numbers = pd.to_numeric(text.where(text != ""), errors="coerce")
    return numbers if (numbers.notna() == (text != "")).all() else text.where(text != "")


def _read_folders(root: Path, findings: DataProblems) -> _Found:
    """Tell the two layouts apart, refuse what is neither, and list the images."""
    if not root.is_dir():
        kind = "is a file" if root.exists() else "does not exist"
        raise DataError(f"data.root: the folder {root} {kind}. {LAYOUT}. Use the folder above the class folders.")
    found = _Found(findings=findings)
    folders = _folders(root)
    splits = {name: SPLIT_FOLDERS[name.lower()] for name in folders if name.lower() in SPLIT_FOLDERS}
    # A folder called train next to others is a class unless it holds folders: bus, car, train.
    trains = [name for name, split in splits.items() if split == "train" and _folders(root / name)]
    if trains or (splits and len(splits) == len(folders)):
        found.left_out = [name for name in folders if name not in splits]
        tops = {name: (root / name, split) for name, split in splits.items()}
    else:
        tops = {"": (root, "")}
    for prefix, (top, split) in tops.items():
        for name in _folders(top):
            _read_class(str(top / name), f"{prefix}/{name}" if prefix else name, name, split, found)
    loose = {top: names for top, _ in tops.values() if (names := _loose_images(top))}
    if not found.rows:
        _refuse_empty(root, found, loose)
    for top, names in loose.items():
        for name in names:
            findings.skip((top / name).relative_to(root).as_posix(), "beside the class folders")
    _refuse_too_high(root, tops, found)
    if tops.keys() == {""} and root.resolve().name.lower() in SPLIT_FOLDERS:
        beside = [name for name in _folders(root.resolve().parent) if name.lower() in SPLIT_FOLDERS]
        if len(beside) > 1:
            findings.remark(
                f"{root} is beside {listed(name for name in beside if name != root.resolve().name)}, which is not "
                f"used. To use it, set data.root to {root.resolve().parent}."
            )
    return found


def _read_class(folder: str, prefix: str, name: str, split: str, found: _Found) -> None:
    """Add the images of one class folder and of all below it; ``prefix`` is its path from the root."""
    before = len(found.rows)
    _read_below(folder, prefix, None, (os.path.realpath(folder),), name, split, found)
    if len(found.rows) == before:
        found.without_images.append(prefix)


def _read_below(
    folder: str, prefix: str, domain: str | None, above: tuple[str, ...], name: str, split: str, found: _Found
) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            path = f"{prefix}/{entry.name}"
            if is_folder(entry):
                before = len(found.rows)
                place = os.path.realpath(entry) if entry.is_symlink() else f"{above[-1]}/{entry.name}"
                if not is_hidden(entry.name) and place not in above:  # a link may lead back to a folder above
                    _read_below(entry.path, path, domain or entry.name, (*above, place), name, split, found)
                    if Path(entry.name).suffix.lower() in EXTENSIONS and len(found.rows) == before:
                        found.findings.skip(path, "folders named like an image")
            elif reason := reason_to_skip(entry):
                found.findings.skip(path, reason)
            else:
                found.rows.append((path, name, split, domain))


def _folders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if is_folder(entry) and not is_hidden(entry.name))


def _loose_images(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not is_folder(entry) and reason_to_skip(entry) is None)


def _refuse_empty(root: Path, found: _Found, loose: dict[Path, list[str]]) -> None:
    if loose:
        way_out = (
            f". If {root.name} is a class, use the folder above it, {root.resolve().parent}" if root in loose else ""
        )
        raise DataError(
            f"data.root: {plural(sum(map(len, loose.values())), 'image')} directly in {listed(loose)}, and none in a "
            f"class folder. {LAYOUT}{way_out}."
        )
    skipped = f" Skipped: {found.findings.counted()}." if found.findings.skipped else ""
    raise DataError(
        f"data.root: no image in {root}"
        + (f", which contains the folders {listed(_folders(root), 5)}" if _folders(root) else ", which is empty")
        + f".{skipped} {LAYOUT}; Supported file types: {', '.join(sorted(EXTENSIONS))}."
    )


def _refuse_too_high(root: Path, tops: dict[str, tuple[Path, str]], found: _Found) -> None:
    """A class that is itself a data set: its sub-folders would be taken for domains."""
    classes = sorted({name for _, name, _, _ in found.rows}, key=natural_key)
    for top in {str(top / name): top / name for top, _ in tops.values() for name in classes}.values():
        below = _folders(top) if top.is_dir() else []
        splits = {SPLIT_FOLDERS.get(folder.lower()) for folder in below} - {None}
        if "train" in splits and len(splits) > 1:
            raise DataError(
                f"data.root: {root} is one level too high: its folder '{top.name}' contains {listed(below, 5)}. "
                f"{LAYOUT}. Use {top}."
            )
    domains = sorted({domain for _, _, _, domain in found.rows if domain is not None}, key=natural_key)
    if len(classes) == 1 and len(domains) > 1 and all(domain is not None for _, _, _, domain in found.rows):
        raise DataError(
            f"data.root: {root} has the one class '{classes[0]}', with images only in its sub-folders "
            f"{listed(domains, 5)}. This may be one level too high. {LAYOUT}: use "
            f"{next(top / classes[0] for top, _ in tops.values())} if these are the classes, or move the images "
            f"directly into '{classes[0]}'."
        )
