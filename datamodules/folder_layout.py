"""Which folders of a tree are classes, and which are splits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from datamodules.folder_names import (
    MASK_SUFFIX,
    SplitName,
    is_plain_split,
    says_images,
    says_masks,
    split_name,
)
from datamodules.folder_tree import Folder
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.terminal.wording import few, listed, nfc, plural

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


@dataclass
class Layout:
    """What the folders of a tree are."""

    tree: Folder
    tops: list[tuple[Folder, str]]
    """The folders that hold the class folders, each with its split; the root alone without split folders."""
    beside: list[Folder] = field(default_factory=list)
    """Folders beside the split folders."""
    images: list[LabelledImage] = field(default_factory=list)
    masks: dict[str, int] = field(default_factory=dict)
    """Folders of masks, or masks by the ends of their names, with their number."""
    without_images: list[Folder] = field(default_factory=list)
    inner_splits: bool = False
    """Each class folder holds split folders."""

    @property
    def classes(self) -> list[str]:
        """The names of the classes."""
        return list(dict.fromkeys(image.class_name for image in self.images))

    @property
    def class_folders(self) -> list[Folder]:
        """The folders that count as classes and have images."""
        empty = set(self.without_images)
        return [folder for top, _ in self.tops for folder in top.folders if folder not in empty]

    @property
    def loose(self) -> dict[Folder, list[str]]:
        """Images beside the class folders."""
        return {top: top.images for top, _ in self.tops if top.images}

    def loose_paths(self) -> Iterator[tuple[str, str]]:
        """The paths of the images beside the class folders, each with an empty class."""
        return ((top.path_of(name), "") for top, names in self.loose.items() for name in names)


def find_layout(
    tree: Folder,
    split_folders: Mapping[str, str | Sequence[str]] | str | None = None,
    classes_from: str | None = None,
) -> Layout:
    """Tell what the folders of a tree are; the tree is only read.

    Args:
        tree: The root.
        split_folders: As the option of ``ImageFolder``.
        classes_from: Likewise.

    Raises:
        DataError: Several folders could be the splits.
        ConfigError: ``split_folders`` names folders that are not there.
    """
    layout = _given_splits(tree, split_folders) if split_folders is not None else _named_splits(tree)
    if classes_from is None:
        layout.inner_splits = split_folders is None and _has_inner_splits(layout)
    for top, split in layout.tops:
        for folder in top.folders:
            found = _images_of(folder, split, classes_from == "parent", layout)
            layout.images += found
            if not found:
                layout.without_images.append(folder)
    return layout


def _given_splits(tree: Folder, given: Mapping[str, str | Sequence[str]] | str) -> Layout:
    if isinstance(given, str):
        if given != "none":
            raise ConfigError(
                "data.split_folders: expected none, or folders by split such as {train: training_set, test: test_set}; "
                f"found {given!r}."
            )
        return Layout(tree, [(tree, "")])
    if not given or set(given) - {"train", "val", "test"}:
        raise ConfigError(f"data.split_folders: expected the keys train, val and test; found {listed(given)}.")
    tops = []
    for split, names in given.items():
        for name in [names] if isinstance(names, str) else names:
            folder: Folder | None = tree
            for part in PurePosixPath(name).parts:
                folder = folder.folder(part) if folder is not None else None
            if folder is None or folder is tree:
                raise ConfigError(
                    f"data.split_folders: there is no folder {name!r} in {tree.place}; it contains "
                    f"{listed((each.name for each in tree.folders), 10) or 'no folders'}."
                )
            tops.append((folder, split))
    used = {folder.path.split("/")[0] for folder, _ in tops}
    return Layout(tree, tops, [each for each in tree.folders if each.name not in used and each.has_images()])


def _named_splits(tree: Folder) -> Layout:
    """The split folders by their names, or none."""
    found = _splits_among(tree.folders)
    if not found:
        return Layout(tree, [(tree, "")])
    beside = [folder for folder in tree.folders if folder not in found]
    return Layout(tree, [(_inner(folder, split.split), split.split) for folder, split in found.items()], beside)


def _splits_among(folders: Sequence[Folder]) -> dict[Folder, SplitName]:
    """The folders that are splits: a training folder and another, whose other words are the same.

    Raises:
        DataError: There are several such sets.
    """
    named = {folder: split for folder in folders if (split := split_name(folder.name)) is not None}
    sets: dict[tuple[str, ...], dict[Folder, SplitName]] = {}
    for folder, split in named.items():
        sets.setdefault(split.rest, {})[folder] = split
    whole = {
        rest: found
        for rest, found in sets.items()
        if len({split.split for split in found.values()}) > 1 and any(_trains(each, found) for each in found)
    }
    if len(whole) > 1:
        raise DataError(
            f"data.root: several sets of split folders: {'; '.join(listed(f.name for f in found) for found in whole.values())}. "
            "Choose one with data.split_folders, for example {train: FOLDER, test: FOLDER}, or give one of them as data.root."
        )
    if whole:
        return next(iter(whole.values()))
    plain = {folder: split for folder, split in sets.get((), {}).items()}
    if plain and all(folder in plain or not folder.has_images() for folder in folders):
        return plain
    # A folder called train next to others is a class unless it alone holds folders: bus, car, train.
    if any(split.split == "train" and _holds_folders(folder) for folder, split in plain.items()):
        deep = [folder.name for folder in folders if folder not in plain and _holds_folders(folder)]
        if deep:
            raise DataError(
                f"data.root: {listed(folder.name for folder in plain)} may be the training data or a class: "
                f"{listed(deep, 5)} beside it contain folders of images too. Say data.split_folders={{train: "
                f"{next(iter(plain)).name}}}, or data.split_folders=none if all are classes."
            )
        return plain
    return {}


def _trains(folder: Folder, found: Mapping[Folder, SplitName]) -> bool:
    return found[folder].split == "train" and folder.has_images()


def _holds_folders(folder: Folder) -> bool:
    return any(below.has_images() for below in folder.folders)


def _inner(top: Folder, split: str) -> Folder:
    """The folder that holds the class folders of a split: archives often wrap it once more."""
    while not top.images:
        filled = [folder for folder in top.folders if folder.has_images()]
        if len(filled) != 1:
            return top
        (only,) = filled
        named = split_name(only.name)
        again = nfc(only.name) == nfc(top.name) or (named is not None and named.split == split)
        if not (again or says_images(only.name)):
            return top
        top = only
    return top


def _has_inner_splits(layout: Layout) -> bool:
    """Whether each of several class folders holds split folders of images: <class>/{train,test}."""
    if [split for _, split in layout.tops] != [""]:
        return False
    classes = [folder for folder in layout.tree.folders if folder.has_images()]
    if len(classes) < 2:
        return False
    for folder in classes:
        filled = [below for below in folder.folders if below.has_images()]
        if folder.images or len(filled) < 2 or not all(is_plain_split(below.name) for below in filled):
            return False
        if len(_splits_among(filled)) != len(filled) or any(_holds_folders(below) for below in filled):
            return False
    return True


def _images_of(folder: Folder, split: str, by_parent: bool, layout: Layout) -> list[LabelledImage]:
    """All images of a class folder, without masks."""
    masks = _mask_folders(folder)
    layout.masks |= {f"{each.path}/": sum(1 for _ in each.image_paths()) for each in masks}
    found = []
    for below in folder.all_folders():
        if any(below.path == each.path or below.path.startswith(f"{each.path}/") for each in masks):
            continue
        inner = below.path[len(folder.path) + 1 :].split("/")[0] if below is not folder else None
        files = _without_masks(below, layout)
        name, part, domain = nfc(folder.name), split, None if inner is None else nfc(inner)
        if by_parent:
            name, domain = nfc(below.name), None if inner is None else nfc(folder.name)
        elif layout.inner_splits:
            inner_split = split_name(inner or "")
            part, domain = "" if inner_split is None else inner_split.split, None
        found += [LabelledImage(below.path_of(file), name, part, domain) for file in files]
    return found


def _mask_folders(folder: Folder) -> list[Folder]:
    """Folders of masks of the images beside them."""
    masks = [below for below in folder.folders if says_masks(below.name) and below.has_images()]
    if not masks:
        return []
    stems = {_stem(name) for name in folder.images}
    for below in folder.folders:
        if below not in masks:
            stems |= {_stem(path.rpartition("/")[2]) for path in below.image_paths()}
    found = []
    for mask in masks:
        own = {MASK_SUFFIX.sub("", _stem(path.rpartition("/")[2])) for path in mask.image_paths()}
        if len(own & stems) >= 0.5 * len(own):
            found.append(mask)
    return found


def _without_masks(folder: Folder, layout: Layout) -> list[str]:
    """The images of a folder without those that are called as another, with ``_mask``: scan.png, scan_mask.png."""
    ends = [name for name in folder.images if MASK_SUFFIX.search(_stem(name))]
    if not ends:
        return folder.images
    stems = {_stem(name) for name in folder.images}
    masks = {name for name in ends if MASK_SUFFIX.sub("", _stem(name)) in stems}
    if masks:
        layout.masks[f"{folder.path}/*{MASK_SUFFIX.search(_stem(min(masks))).group(0)}.*"] = len(masks)  # type: ignore[union-attr]
    return [name for name in folder.images if name not in masks]


def _stem(name: str) -> str:
    return nfc(name.rpartition(".")[0] or name)  # pathlib takes ten times as long


def remarks_on(layout: Layout, splits_given: bool = False) -> list[str]:
    """What is said about a layout that is read."""
    root = layout.tree.place
    said = []
    if layout.without_images:
        names = [folder.path for folder in layout.without_images]
        said.append(f"{root}: no class for {listed(names, 5)}, because it contains no image.")
    if layout.beside:
        names = [folder.name for folder in layout.beside]
        said.append(f"{root}: skipped {listed(names, 5)}, which are beside the split folders.")
    if layout.masks:
        masks = few((f"{place} ({plural(count, 'image')})" for place, count in layout.masks.items()), 5)
        said.append(f"{root}: left out as masks of the images beside them: {masks}.")
    named = [(top, split) for top, split in layout.tops if split and top.path != split]
    if named and not splits_given:
        parts = ", ".join(f"{top.path} is {split}" for top, split in named)
        said.append(f"{root}: split folders by their names: {parts}. Say otherwise with data.split_folders.")
    if layout.inner_splits:
        said.append(
            f"{root}: the folders in each class folder are read as splits. Otherwise set data.classes_from=folder."
        )
    counts: dict[str, int] = {}
    for image in layout.images:
        if image.domain is not None:
            counts[image.domain] = counts.get(image.domain, 0) + 1
    if counts:
        told = few((f"'{name}' ({count:,})" for name, count in counts.items()), 8)
        said.append(f"{root}: images in sub-folders of the class folders, which are the column domain: {told}.")
    if layout.tops == [(layout.tree, "")] and is_plain_split(layout.tree.name):
        above = Path(root).resolve().parent
        beside = [each.name for each in Folder(str(above)).folders if is_plain_split(each.name)]
        if len(beside) > 1:
            said.append(
                f"{root} is beside {listed(name for name in beside if name != layout.tree.name)}, which is not "
                f"used. To use it, set data.root to {above}."
            )
    return said
