"""What the name of a folder or file says: a split, a part of the data, masks, or a class."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lightning_vision.terminal.wording import nfc

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trn", "tr", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "holdout"), "test"),
}
"""The words of splits, in the names of folders and files and in tables."""
SPLIT_VALUES = {**SPLIT_WORDS, "publictest": "val", "privatetest": "test", "": ""}
"""What the column of splits may say, in small letters; FER2013 calls its two test sets public and private."""
IMAGE_WORDS = frozenset(
    [
        "image",
        "images",
        "img",
        "imgs",
        "photo",
        "photos",
        "picture",
        "pictures",
        "pic",
        "pics",
        "jpg",
        "jpeg",
        "jpegs",
        "png",
        "pngs",
        "jpegimages",
        "rgb",
    ]
)
PART_WORDS = IMAGE_WORDS | frozenset(
    [
        "data",
        "dataset",
        "datasets",
        "file",
        "files",
        "sample",
        "samples",
        "set",
        "sets",
        "part",
        "parts",
        "batch",
        "batches",
        "shard",
        "shards",
        "chunk",
        "chunks",
        "archive",
        "archives",
        "folder",
        "folders",
        "dir",
        "fold",
        "folds",
        "vol",
        "volume",
        "split",
        "splits",
        "crop",
        "crops",
        "dcim",
    ]
)
"""Words that say that a folder holds a part of the data, and not which class."""
ADJECTIVES = frozenset(
    [
        "cropped",
        "resized",
        "final",
        "new",
        "original",
        "orig",
        "full",
        "small",
        "big",
        "large",
        "all",
        "seg",
        "raw",
        "x",
    ]
)
MASK_WORDS = frozenset(
    [
        "mask",
        "masks",
        "annotation",
        "annotations",
        "label",
        "labels",
        "gt",
        "groundtruth",
        "segmentation",
        "segmentations",
        "segmap",
        "segmaps",
        "segmentationclass",
        "segmentationobject",
        "trimap",
        "trimaps",
    ]
)
CODE_WORDS = frozenset(
    [
        "class",
        "classes",
        "cls",
        "label",
        "labels",
        "category",
        "cat",
        "type",
        "grade",
        "level",
        "stage",
        "id",
        "person",
        "subject",
        "species",
        "digit",
        "number",
    ]
)
"""Words with which people number classes."""
MASK_SUFFIX = re.compile(r"[ _.-]+(mask|masks|gt|seg|segmentation|label|groundtruth)([ _-]?\d+)?$", re.IGNORECASE)
DATE = re.compile(
    r"(19|20)\d\d(([-_. ])(0[1-9]|1[0-2])(\3(0[1-9]|[12]\d|3[01]))?|(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01]))"
)


class SplitName(NamedTuple):
    """A folder's name read as a split."""

    split: str
    rest: tuple[str, ...]
    """Its other words: equal for the folders of one split."""


def words_of(name: str) -> list[str]:
    """The words and numbers of a name: ``seg_train2`` is seg, train, 2."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", nfc(name))
    words = re.findall(r"\d+|[^\W\d_]+", name.casefold())
    found: list[str] = []
    for at, word in enumerate(words):
        if word == "out" and at and words[at - 1] == "hold":
            found[-1] = "holdout"
            continue
        split = next(
            (known for known in SPLIT_WORDS if word.startswith(known) and word[len(known) :] in PART_WORDS), ""
        )
        found += [split, word[len(split) :]] if split else [word]
    return found


def split_name(name: str) -> SplitName | None:
    """The split that a name says by its first or last word, numbers and words such as images and set not counted."""
    words = [word for word in words_of(name) if not word.isdigit() and word not in PART_WORDS | ADJECTIVES]
    splits = {SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS}
    if len(splits) != 1 or not (words[0] in SPLIT_WORDS or words[-1] in SPLIT_WORDS):
        return None
    return SplitName(splits.pop(), tuple(word for word in words if word not in SPLIT_WORDS))


def first_split(names: Iterable[str]) -> str | None:
    """The split of the first name of a folder that says one; None if none does."""
    return next((found.split for name in names if (found := split_name(name)) is not None), None)


def split_in_path(path: str) -> str | None:
    """The split that words of a file's name and its folders say: ``instances_train2017.json`` train; None if none or several."""
    found = {SPLIT_WORDS[word] for word in words_of(path) if word in SPLIT_WORDS}
    return found.pop() if len(found) == 1 else None


def is_plain_split(name: str) -> bool:
    """Whether a name says a split and nothing else."""
    found = split_name(name)
    return found is not None and not found.rest


def says_images(name: str) -> bool:
    """Whether a name only says that images lie there: images, JPEGImages, data 2."""
    words = [word for word in words_of(name) if not word.isdigit()]
    joined = "".join(words)
    return joined in IMAGE_WORDS or (bool(words) and all(word in PART_WORDS | ADJECTIVES for word in words))


def says_masks(name: str) -> bool:
    """Whether a name says that masks or annotations lie there."""
    words = [word for word in words_of(name) if not word.isdigit()]
    rest = [word for word in words if word not in MASK_WORDS]
    return (
        "".join(words) in MASK_WORDS
        or "".join(words) in ("groundtruths", "groundtruth")
        or (len(rest) < len(words) and all(word in PART_WORDS | ADJECTIVES for word in rest))
    )


def why_no_classes(names: Sequence[str]) -> str:
    """Why names of class folders are rather those of parts of the data; empty if they may be classes."""
    words = [words_of(name) for name in names]
    if all(
        each and all(word in PART_WORDS | MASK_WORDS or word.isdigit() or len(word) == 1 for word in each)
        for each in words
    ) and any(word in PART_WORDS | MASK_WORDS for each in words for word in each):
        return "their names say what is in them and not which class" if len(names) > 1 else "its name is no class"
    if len(names) > 1 and all(DATE.fullmatch(nfc(name).strip()) for name in names):
        return "their names are dates"
    stems = {tuple(word for word in each if not word.isdigit()) for each in words}
    numbered = all(any(word.isdigit() for word in each) for each in words)
    if len(names) > 1 and len(stems) == 1 and numbered:
        (stem,) = stems
        if len("".join(stem)) > 1 and not set(stem) & CODE_WORDS:
            return "their names differ by a number only"
    return ""
