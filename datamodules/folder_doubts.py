"""Trees that are not what they seem: the error says what is seen, and which option decides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from datamodules.dataset_folder import contents
from datamodules.folder_layout import LAYOUT, Layout, find_layout
from datamodules.folder_names import says_images, says_masks, split_name, why_no_classes
from datamodules.folder_tree import Folder
from datamodules.tables_beside import TableBeside
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.errors import DataError
from lightning_vision.images.image_files import ANOTHER_KIND, EXTENSIONS, extension_of
from lightning_vision.terminal.wording import listed, nfc, plural

DECIDE = "If the folders are the classes, set data.classes_from=folder"
INSIDE = {
    ".arrow": "HuggingFaceDataset --data.dataset",
    ".parquet": "ParquetImages --data.root",
    ".tar": "WebDataset --data.root",
}
"""The datamodules that read images inside other files, by the extension of these."""
NO_FOLDERS = (
    "If the images are in no class folders, give their labels in a table (data.labels) or by a pattern of their names "
    "(data.label_pattern)"
)
DEPTH = 4
"""Folders that are looked into for one that can be read."""


def refuse_unreadable(layout: Layout, problems: DataProblems, tables: Sequence[TableBeside]) -> None:
    """Refuse a tree without an image in a class folder.

    Raises:
        DataError: It says what the tree holds instead.
    """
    if layout.images:
        return
    root, tree = Path(layout.tree.place), layout.tree
    labels = _labels_elsewhere(layout, tables)
    if layout.loose:
        count = sum(len(names) for names in layout.loose.values())
        way_out = ""
        if tree in layout.loose and not labels:
            way_out = f" If {tree.name} is a class, use the folder above it, {root.resolve().parent}."
        if tree not in layout.loose:
            way_out = " If these folders are classes and no splits, set data.split_folders=none."
        raise DataError(
            f"data.root: {plural(count, 'image')} directly in {listed(folder.place for folder in layout.loose)}, and none "
            f"in a class folder. {labels or f'{LAYOUT}. {NO_FOLDERS}.'}{way_out}"
        )
    told = {each for top, _ in layout.tops for below in top.folders for each in below.all_folders()}
    for folder in tree.all_folders():
        if folder not in told:
            for name, reason in folder.skipped:
                problems.skip(folder.path_of(name), reason)
    skipped = f" Skipped: {problems.counted()}." if problems.skipped else ""
    inside = f" Use {place}." if (place := _readable_below(tree)) is not None else ""
    raise DataError(
        f"data.root: no image in {root}, which {contents(root)}.{skipped}{_help(problems)}{inside} {labels or LAYOUT + '.'} Supported "
        f"file types: {', '.join(sorted(EXTENSIONS))}."
    )


def refuse_doubtful(layout: Layout, tables: Sequence[TableBeside], by_domain: bool) -> None:
    """Refuse a tree whose folders are probably not the classes.

    Args:
        layout: How it would be read.
        tables: Tables that name its images.
        by_domain: The scenario divides the stream by the column domain, so the user knows of the sub-folders.

    Raises:
        DataError: It says what is seen, and which option decides.
    """
    root, folders = layout.tree.place, layout.class_folders
    _refuse_too_high(layout)
    names = list(dict.fromkeys(nfc(folder.name) for folder in folders))
    labels = _labels_elsewhere(layout, tables)
    if why := why_no_classes(names):
        raise DataError(
            f"data.root: the {'class folder is' if len(names) == 1 else 'class folders are'} {listed(names, 5)} in {root}; "
            f"{why}. {labels or f'{LAYOUT}. {NO_FOLDERS}.'} {DECIDE}."
        )
    domains: dict[str, set[str]] = {name: set() for name in names}
    for image in layout.images:
        if image.domain is not None:
            domains[image.class_name].add(image.domain)
    inner = list(domains.values())
    direct = sum(image.domain is None for image in layout.images)  # a few may be covers or were forgotten
    if (
        direct <= 0.1 * len(layout.images)
        and not by_domain
        and not layout.inner_splits
        and len(names) > 1
        and all(inner)
    ):
        common, union = set.intersection(*inner), set.union(*inner)
        if len(common) * 2 >= len(union) and not all(says_images(name) for name in union):
            raise DataError(
                f"data.root: the folders {listed(names, 5)} in {root} hold folders of the same names, "
                f"{listed(sorted(common), 5)}. Say which are the classes: data.classes_from=folder for {listed(names, 2)} "
                "(the folders in them become the column domain), or data.classes_from=parent for "
                f"{listed(sorted(common), 2)}. If {listed(names, 2)} are splits, name them with data.split_folders."
            )
    doubtful = [table for table in tables if not table.agrees and table.may_label]
    if doubtful:
        raise DataError(
            f"data.root: the folders {listed(names, 5)} in {root} would be the classes, but {doubtful[0].sentence()} and "
            f"no folder: the labels may be in it. Read it with data.labels={doubtful[0].path}. {DECIDE}."
        )


def refuse_mostly_skipped(layout: Layout, problems: DataProblems) -> None:
    """Refuse a tree of which more files are skipped than read: they may be the data.

    Hidden files, notes that have the name of an image beside them, and files in other folders are not counted.

    Raises:
        DataError: It names the extensions, and what helps.
    """
    unread: Counter[str] = Counter()
    for top, _ in layout.tops:
        for folder in top.folders:
            for each in folder.all_folders():
                if each.skipped:
                    stems = {Path(name).stem for name in each.images}
                    unread.update(why for name, why in each.skipped if why != "hidden" and Path(name).stem not in stems)
    if sum(unread.values()) <= len(layout.images):
        return
    raise DataError(
        f"{layout.tree.place}: {plural(len(layout.images), 'image')} would be read and {plural(sum(unread.values()), 'file')} "
        f"skipped ({DataProblems(skipped=[('', reason) for reason in unread.elements()]).counted()}).{_help(problems)} "
        "Convert or remove them, or go on without them with data.on_bad_image=skip."
    )


def _refuse_too_high(layout: Layout) -> None:
    """Refuse a class that is itself a data set: its sub-folders would be taken for domains."""
    root, folders = layout.tree.place, layout.class_folders
    if not layout.inner_splits:
        for folder in folders:
            splits = {named.split for below in folder.folders if (named := split_name(below.name)) is not None}
            if "train" in splits and len(splits) > 1:
                place = _readable_below(folder, itself=True)
                way_out = f" Use {place}." if place is not None else ""
                raise DataError(
                    f"data.root: {root} is one level too high: its folder '{folder.name}' contains "
                    f"{listed((below.name for below in folder.folders), 5)}. "
                    f"{_labels_elsewhere(layout, ()) or LAYOUT + '.'}{way_out}"
                )
    if len(folders) != 1 or any(image.domain is None for image in layout.images):
        return
    domains = list(dict.fromkeys(image.domain or "" for image in layout.images))
    place = _readable_below(folders[0], itself=True)
    if place is not None:
        level = "one level" if place == folders[0].place else "several levels"
        only = ", with images only in its sub-folders" if len(domains) > 1 else ", with all images in its sub-folder"
        raise DataError(
            f"data.root: {root} has the one class '{folders[0].name}'{only} {listed(domains, 5)}. This may be {level} too high. "
            f"{LAYOUT}: use {place} if these are the classes. {DECIDE}."
        )


def _readable_below(tree: Folder, itself: bool = False) -> str | None:
    """The highest folder that would be read without doubt, with several classes; None if there is none."""
    level = [tree] if itself else tree.folders
    for _ in range(DEPTH):
        for folder in level[:50]:
            if folder.has_images() and _would_be_read(folder):
                return folder.place
        level = [below for folder in level[:50] for below in folder.folders[:50]]
    return None


def _would_be_read(folder: Folder) -> bool:
    root = Folder(folder.place)
    try:
        layout = find_layout(root)
        refuse_doubtful(layout, [], by_domain=False)
    except DataError:
        return False
    return len(layout.classes) > 1


def _labels_elsewhere(layout: Layout, tables: Sequence[TableBeside]) -> str:
    """Where the labels of images without class folders may be; empty if nothing is found."""
    if tables:
        best = max(tables, key=lambda table: (table.may_label, table.named))
        return f"{best.sentence()}: if it holds the labels, set data.labels={best.path}."
    tree = layout.tree
    upper = [tree, *tree.folders, *(below for folder in tree.folders[:50] for below in folder.folders[:50])]
    for kind, datamodule in INSIDE.items():
        if not tree.has_images() and any(extension_of(name) == kind for each in upper for name, _ in each.skipped):
            return f"It holds *{kind} files: if the images are in them, read it with --data {datamodule} {tree.place}."
    texts = [folder for folder in upper if says_masks(folder.name) and folder is not tree]
    for folder in upper:
        for name, _ in folder.skipped:
            if name.casefold() in ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names"):
                return (
                    f"{folder.path_of(name)} is of a data set in YOLO's format: boxes of objects, and no class folders. Read "
                    f"it with data.labels={folder.path_of(name)}."
                )
    for folder in texts:
        kinds = {extension_of(name) for each in folder.all_folders() for name, _ in each.skipped}
        if ".txt" in kinds:
            return f"{folder.path} holds a text file for each image, as YOLO's format does: boxes of objects, and no class folders. Read them with data.labels={folder.path}."
        if ".xml" in kinds:
            return f"{folder.path} holds an XML file for each image, as Pascal VOC does: boxes of objects, and no class folders. Read them with data.labels={folder.path}."
        if ".json" in kinds:
            return f"{folder.path} holds annotations in JSON, as COCO does. Read them with data.labels={folder.path}."
        if folder.has_images():
            return f"{folder.path} holds masks, and no class folders are there. Name the labels in a table with data.labels."
    return ""


def _help(problems: DataProblems) -> str:
    """What the skipped files are, with the command that helps, each kind once."""
    told: dict[str, str] = {}
    for path, reason in problems.skipped:
        kind = reason.partition(": ")[2].removesuffix(")")
        if reason.startswith(ANOTHER_KIND) and kind:
            told.setdefault(kind, path)
    return "".join(f" '{path}' is {kind}." for kind, path in told.items())
