"""Which folders of a tree are classes, and which are splits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from datamodules.folder_tree import Folder, read_tree
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.errors import DataError
from lightning_vision.images.image_files import EXTENSIONS
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
LAYOUT = "Expected <root>/<class>/<images> or <root>/{train,val,test}/<class>/<images>"


class LabelledImage(NamedTuple):
    """An image that lies in a class folder."""

    path: str
    """From the root, with ``/``."""
    class_name: str
    split: str
    """``train``, ``val`` or ``test``, or empty without split folders."""
    domain: str | None
    """The first folder below the class folder; None if it lies directly in the class folder."""


def read_layout(root: Path, problems: DataProblems, tree: Folder | None = None) -> list[LabelledImage]:
    """Tell the two layouts apart, refuse what is neither, and list the images.

    Args:
        root: The folder.
        problems: Where problems go.
        tree: What lies in it, if it has been read.

    Raises:
        DataError: The folders are in no layout that is known.
    """
    tree = read_tree(root, LAYOUT) if tree is None else tree
    splits = {folder.name: SPLIT_FOLDERS[folder.name.lower()] for folder in tree.folders if _is_split(folder)}
    # A folder called train next to others is a class unless it holds folders: bus, car, train.
    trains = [folder for folder in tree.folders if splits.get(folder.name) == "train" and folder.folders]
    tops = {tree: ""}
    left_out: list[str] = []
    if trains or (splits and len(splits) == len(tree.folders)):
        tops = {folder: splits[folder.name] for folder in tree.folders if folder.name in splits}
        left_out = [folder.name for folder in tree.folders if folder.name not in splits]
    images: list[LabelledImage] = []
    without_images = []
    for top, split in tops.items():
        for folder in top.folders:
            folder.report_skipped(problems)
            found = _images_of(folder, split)
            images += found
            if not found:
                without_images.append(folder.path)
    loose = {top: top.images for top in tops if top.images}
    if not images:
        _refuse_empty(root, tree, problems, loose)
    for top, names in loose.items():
        for name in names:
            problems.skip(top.path_of(name), "beside the class folders")
    _refuse_too_high(root, tops, images)
    if tops.keys() == {tree} and root.resolve().name.lower() in SPLIT_FOLDERS:
        beside = [folder.name for folder in Folder(str(root.resolve().parent)).folders if _is_split(folder)]
        if len(beside) > 1:
            problems.remark(
                f"{root} is beside {listed(name for name in beside if name != root.resolve().name)}, which is not "
                f"used. To use it, set data.root to {root.resolve().parent}."
            )
    if without_images:
        problems.remark(f"{root}: no class for {listed(without_images, 5)}, because it contains no image.")
    if left_out:
        problems.remark(f"{root}: skipped {listed(left_out, 5)}, which are beside the split folders.")
    return images


def _is_split(folder: Folder) -> bool:
    return folder.name.lower() in SPLIT_FOLDERS


def _images_of(folder: Folder, split: str) -> list[LabelledImage]:
    """All images of a class folder."""
    images = [LabelledImage(folder.path_of(name), folder.name, split, None) for name in folder.images]
    for below in folder.folders:
        images += [LabelledImage(path, folder.name, split, below.name) for path in below.image_paths()]
    return images


def _refuse_empty(root: Path, tree: Folder, problems: DataProblems, loose: Mapping[Folder, list[str]]) -> None:
    if loose:
        way_out = (
            f". If {root.name} is a class, use the folder above it, {root.resolve().parent}" if tree in loose else ""
        )
        raise DataError(
            f"data.root: {plural(sum(map(len, loose.values())), 'image')} directly in "
            f"{listed(folder.place for folder in loose)}, and none in a class folder. {LAYOUT}{way_out}."
        )
    skipped = f" Skipped: {problems.counted()}." if problems.skipped else ""
    names = [folder.name for folder in tree.folders]
    raise DataError(
        f"data.root: no image in {root}"
        + (f", which contains the folders {listed(names, 5)}" if names else ", which is empty")
        + f".{skipped} {LAYOUT}; Supported file types: {', '.join(sorted(EXTENSIONS))}."
    )


def _refuse_too_high(root: Path, tops: Mapping[Folder, str], images: list[LabelledImage]) -> None:
    """A class that is itself a data set: its sub-folders would be taken for domains."""
    classes = sorted({image.class_name for image in images}, key=natural_key)
    for folder in [folder for top in tops for folder in top.folders if folder.name in classes]:
        splits = {SPLIT_FOLDERS.get(below.name.lower()) for below in folder.folders} - {None}
        if "train" in splits and len(splits) > 1:
            raise DataError(
                f"data.root: {root} is one level too high: its folder '{folder.name}' contains "
                f"{listed((below.name for below in folder.folders), 5)}. {LAYOUT}. Use {folder.place}."
            )
    domains = sorted({image.domain for image in images if image.domain is not None}, key=natural_key)
    if len(classes) == 1 and len(domains) > 1 and all(image.domain is not None for image in images):
        raise DataError(
            f"data.root: {root} has the one class '{classes[0]}', with images only in its sub-folders "
            f"{listed(domains, 5)}. This may be one level too high. {LAYOUT}: use "
            f"{next(folder.place for top in tops for folder in top.folders if folder.name == classes[0])} if these "
            f"are the classes, or move the images directly into '{classes[0]}'."
        )
