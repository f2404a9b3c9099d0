"""Image datasets of the Hugging Face library ``datasets``: a saved folder, or a name on the Hub."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from torch import Tensor

from datamodules.documents import read_bytes
from datamodules.folder_names import split_name
from datamodules.hugging_face_objects import Corners, boxes_of_rows, classes_of_images, has_objects
from datamodules.label_formats.object_lists import COLUMN
from lightning_vision.array_types import Rows
from lightning_vision.data.sample_table import FILE_COLUMNS, REQUIRED_COLUMNS, SPLITS
from lightning_vision.data.stored_images import StoredImages
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.images.image_sources import box_problem, box_region
from lightning_vision.storage.hub import QuickToGiveUp
from lightning_vision.terminal.wording import listed, natural_key, plural

INSTALL = "pip install 'lightning_vision[hub]'"
SAVED = ("dataset_dict.json", "state.json")
"""The files of ``DatasetDict.save_to_disk`` and ``Dataset.save_to_disk``."""
LABEL_NAMES = ("label", "labels", "class", "class_name", "category", "target", "species")
"""Usual names of a label column that is not declared as one."""
RESERVED = {*REQUIRED_COLUMNS, *FILE_COLUMNS, "frame", "box_xyxy", "source", "role"}
PLAIN = ("string", "large_string", "bool", "int", "uint", "float", "date", "timestamp")
"""The types of the columns that may join the sample table."""


class _Part(NamedTuple):
    """A part of the dataset."""

    split: str
    name: str
    """Its name in the dataset."""
    data: Any
    """With its images alone, not decoded."""
    rows: Rows
    """The row of each image, or box, that has a label."""
    boxes: list[Corners] | None = None
    """What is cut out of each; None: the whole images."""


class HuggingFaceDataset(StoredImages):
    """A dataset of the library ``datasets``: a folder that ``save_to_disk`` wrote, or a name on the Hugging Face Hub.

    Images are read from the Arrow files when they are needed, so that the dataset may be larger than memory. Its parts
    are recognised by their names (train, training; validation, val, dev; test); missing parts are split off. The image
    and the label are the columns of the types ``Image`` and ``ClassLabel``; without a ``ClassLabel``, the values of a
    column with a usual name (label, class, category) are the classes, or the categories of the column ``objects``, if the
    boxes of an image have one. Rows without a label, which the Hub marks with -1, are counted and not used. No code of a
    dataset is run.

    Args:
        dataset: A folder, or a name on the Hub such as ``uoft-cs/cifar10``, which is downloaded once. With
            ``HF_HUB_OFFLINE=1`` only what was downloaded before is used.
        root: For a name on the Hub: the folder of the downloaded files. Empty: that of the library.
        config_name: The configuration of the dataset, if it has several.
        revision: For a name on the Hub: the branch, tag or commit.
        splits: The part of the dataset for each of train, val and test, such as ``{train: train, test: validation}``.
            None: by their names.
        image_column: None: the only one of the type ``Image``.
        label_column: None: the only one of the type ``ClassLabel``, or with a usual name, or ``objects``.
        crop_to_boxes: Each box of the column ``objects`` is a row, cut out of its image; those of an image are a ``group``.
        columns: Other columns that join the sample table, for scenarios and groups.
        options: See ``StreamDataModule``.
    """

    def __init__(
        self,
        dataset: str,
        root: str | Path = "",
        config_name: str | None = None,
        revision: str | None = None,
        splits: dict[str, str] | None = None,
        image_column: str | None = None,
        label_column: str | None = None,
        columns: list[str] | None = None,
        crop_to_boxes: bool = False,
        **options: Any,
    ) -> None:
        self.dataset, self.config_name, self.revision = dataset, config_name, revision
        self.splits, self.columns, self.crop_to_boxes = splits, columns, crop_to_boxes
        self.image_column, self.label_column = image_column, label_column
        super().__init__(dataset if _is_folder(dataset) else root, **options)

    def read_samples(self) -> tuple[pd.DataFrame, list[str]]:
        """One row for each labelled row of the parts, in their order."""
        chosen = self._chosen(_load(self.dataset, self.root, self.config_name, self.revision))
        self._parts: list[_Part] = []
        tables, names = [], dict[str, None]()
        for split, name, data in chosen:
            table, own_names = self._read_part(split, name, data)
            names |= dict.fromkeys(own_names)
            tables.append(table)
        samples = pd.concat(tables, ignore_index=True)
        if len(samples) == 0:
            raise DataError(f"{self.dataset}: no row has a label.")
        used = set(samples["label"])
        class_names = [name for name in names if name in used]
        place_of = {name: place for place, name in enumerate(class_names)}
        self._starts = np.cumsum([0, *(len(part.rows) for part in self._parts)], dtype=np.int64)
        return samples.assign(label=samples["label"].map(place_of).astype(np.int64)), class_names

    def stored_image(self, index: int) -> bytes:
        """As the dataset stores it: the bytes, or the path of a file."""
        part, row = self._place(index)
        (stored,) = part.data[row].values()
        if stored is None or (stored["bytes"] is None and not stored["path"]):
            raise DataError(f"The row {self.image_name(index)} has no image. Remove it.")
        return stored["bytes"] if stored["bytes"] is not None else read_bytes(Path(stored["path"]))

    def load_image(self, index: int) -> Tensor:
        """Of a row that is a box, what lies in it."""
        image, box = super().load_image(index), self._box(index)
        if box is None:
            return image
        if wrong := box_problem(box, (image.shape[1], image.shape[2])):
            raise DataError(f"The image {self.image_name(index)} cannot be cropped: {wrong}.")
        top, left, height, width = box_region(box, (image.shape[1], image.shape[2]))
        return image[:, top : top + height, left : left + width].contiguous()

    def image_identity(self, index: int) -> bytes:
        """With the box, which changes the pixels."""
        box = self._box(index)
        return self.stored_image(index) + (b"" if box is None else repr(box).encode())

    def _box(self, index: int) -> Corners | None:
        number = self._part_of(index)
        boxes = self._parts[number].boxes
        return None if boxes is None else boxes[index - int(self._starts[number])]

    def image_name(self, index: int) -> str:
        """The dataset, its part and the row there."""
        part, row = self._place(index)
        return f"{self.dataset}/{part.name or 'all'}/{row:07d}"

    def _part_of(self, index: int) -> int:
        return int(np.searchsorted(self._starts, index, side="right")) - 1

    def _place(self, index: int) -> tuple[_Part, int]:
        number = self._part_of(index)
        part = self._parts[number]
        return part, int(part.rows[index - int(self._starts[number])])

    def _chosen(self, loaded: dict[str, Any]) -> list[tuple[str, str, Any]]:
        """The split, name and rows of the parts that are used."""
        if self.splits is not None:
            absent = [name for name in self.splits.values() if name not in loaded]
            if absent or not self.splits or not set(self.splits) <= set(SPLITS):
                raise ConfigError(
                    f"data.splits: expected a part of the dataset for some of {listed(SPLITS)}, found {self.splits}. "
                    f"{self.dataset} has the {'part' if len(loaded) == 1 else 'parts'} {listed(loaded)}."
                )
            return [(split, self.splits[split], loaded[self.splits[split]]) for split in SPLITS if split in self.splits]
        if list(loaded) == [""]:
            return [("", "", loaded[""])]
        said = {name: split_name(name) for name in loaded}
        splits = {name: found.split for name, found in said.items() if found is not None and not found.rest}
        doubled = [split for split, count in Counter(splits.values()).items() if count > 1]
        if doubled or "train" not in splits.values():
            what = f"several parts for {listed(doubled)}" if doubled else "no part for training"
            raise DataError(
                f"{self.dataset} has the {'part' if len(loaded) == 1 else 'parts'} {listed(loaded)}, and so {what}. Name "
                "them: data.splits={train: ..., test: ...}."
            )
        if unused := [name for name in loaded if name not in splits]:
            self.findings.remark(f"{self.dataset}: the parts {listed(unused)} are not used (data.splits chooses).")
        parts = [(split, name, loaded[name]) for name, split in splits.items()]
        return sorted(parts, key=lambda part: SPLITS.index(part[0]))

    def _read_part(self, split: str, name: str, data: Any) -> tuple[pd.DataFrame, list[str]]:
        """The table of a part with the names of the classes as labels, and all its class names in order."""
        place = f"{self.dataset}{f' ({name})' if name else ''}"
        image = self._image_column(place, data.features)
        boxes: list[Corners] | None = None
        if self.crop_to_boxes:
            if not has_objects(data.features):
                raise ConfigError(
                    f"data.crop_to_boxes: {place} has no column '{COLUMN}' with boxes. {_told(data.features)}"
                )
            found, class_names = boxes_of_rows(place, _values(data, COLUMN), data.features[COLUMN])
            rows, labels = np.array([item.row for item in found], dtype=np.int64), [item.label for item in found]
            boxes = [item.box for item in found]
        else:
            given, class_names = self._labels_of_images(place, data)
            rows = np.flatnonzero(np.array([value is not None for value in given], dtype=bool))
            labels = [str(given[row]) for row in rows]
        if without := len(data) - len(np.unique(rows)):
            self.findings.remark(f"{place}: {plural(without, 'row')} of {len(data)} without a label not used.")
        self._parts.append(_Part(split, name, _undecoded(data, image), rows, boxes))
        paths = [f"{name or 'all'}/{row:07d}" for row in rows]
        table = pd.DataFrame({"path": paths, "label": labels, "split": split})
        if boxes is not None:
            table = table.assign(path=[f"{path}/{place}" for place, path in enumerate(paths)], group=paths)
        for column in self.columns or []:
            values = _values(data, self._further_column(place, data.features, column))
            table[column] = pd.Series([values[row] for row in rows])
        return table, class_names

    def _labels_of_images(self, place: str, data: Any) -> tuple[list[str | None], list[str]]:
        """The class name of each row, None where it has none, and all class names in order."""
        label = self._label_column(place, data.features)
        if label != COLUMN:
            return _labels(place, data, label)
        boxes, class_names = boxes_of_rows(place, _values(data, COLUMN), data.features[COLUMN])
        return classes_of_images(place, boxes, len(data)), class_names

    def _image_column(self, place: str, features: Any) -> str:
        from datasets import Image as ImageFeature

        images = [str(name) for name, feature in features.items() if isinstance(feature, ImageFeature)]
        if self.image_column is not None:
            if self.image_column not in images:
                raise ConfigError(
                    f"data.image_column: {self.image_column!r} is no column of images of {place}. {_told(features)}"
                )
            return self.image_column
        if len(images) != 1:
            found = f"the image columns {listed(images)}" if images else "no column of the type Image"
            raise DataError(f"{place} has {found}; expected one (data.image_column chooses). {_told(features)}")
        return images[0]

    def _label_column(self, place: str, features: Any) -> str:
        from datasets import ClassLabel

        if self.label_column is not None:
            if self.label_column not in features:
                raise ConfigError(f"data.label_column: {place} has no {self.label_column!r}. {_told(features)}")
            found = [self.label_column]
        else:
            found = [str(name) for name, feature in features.items() if isinstance(feature, ClassLabel)]
            found = found or [str(name) for name in features if name.casefold() in LABEL_NAMES]
            found = found or [COLUMN] * has_objects(features)
        if len(found) != 1:
            told = f"the label columns {listed(found)}" if found else "no label column"
            raise DataError(f"{place} has {told}; expected one (data.label_column chooses). {_told(features)}")
        feature = features[found[0]]
        if found == [COLUMN] and has_objects(features):
            return COLUMN
        if not isinstance(feature, ClassLabel) and not _kind(feature).startswith(
            ("string", "large_string", "int", "uint", "bool")
        ):
            several = isinstance(feature, list) or type(feature).__name__ in ("List", "LargeList", "Sequence")
            raise DataError(
                f"{place}: the column {found[0]!r} is {_kind(feature)}; expected one class an image, as ClassLabel, text or "
                f"whole number. {'Several labels an image are not supported. ' if several else ''}{_told(features)}"
            )
        return found[0]

    def _further_column(self, place: str, features: Any, name: str) -> str:
        if name not in features or name in RESERVED or not _kind(features[name]).startswith(PLAIN):
            raise ConfigError(
                f"data.columns: {name!r} of {place} cannot join the sample table: expected a column of text, numbers or "
                f"dates that is none of {listed(sorted(RESERVED))}. {_told(features)}"
            )
        return name


def _is_folder(dataset: str) -> bool:
    return dataset != "" and Path(dataset).expanduser().is_dir()


def _load(dataset: str, root: Path, config_name: str | None, revision: str | None) -> dict[str, Any]:
    """The parts of a dataset by name; one without a name if it has no parts."""
    try:
        import datasets  # takes a second, and only this class needs it
    except ModuleNotFoundError as error:
        raise ConfigError(f"data: HuggingFaceDataset needs the package datasets ({error}): {INSTALL}.") from error
    folder, local = Path(dataset).expanduser(), _is_folder(dataset)
    if not local and (folder.is_absolute() or dataset.startswith((".", "~")) or dataset.count("/") > 1 or not dataset):
        raise DataError(
            f"data.dataset: {dataset!r} is no folder, and no name on the Hub, such as uoft-cs/cifar10. Expected a folder that "
            "save_to_disk wrote, or a name."
        )
    try:
        if local and any((folder / name).is_file() for name in SAVED):
            loaded = datasets.load_from_disk(str(folder))
        else:
            cache = None if root == Path() else str(root)
            with QuickToGiveUp(not local):
                name = str(folder) if local else dataset
                loaded = datasets.load_dataset(name, config_name, revision=revision, cache_dir=cache)
    except Exception as error:  # its builders raise anything: of pyarrow, fsspec, the hub, pandas, ...
        raise _explained(dataset, local, error) from error
    if isinstance(loaded, datasets.DatasetDict):
        return dict(loaded)
    return {str(loaded.split or ""): loaded}


def _explained(dataset: str, local: bool, error: Exception) -> DataError:
    text = f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"
    if local:
        return DataError(
            f"data.dataset: the folder {dataset} could not be read by the library datasets: {text}. Expected a folder that "
            f"save_to_disk wrote ({' or '.join(SAVED)}), or Parquet files as on the Hub."
        )
    return DataError(
        f"data.dataset: {dataset} is no folder here, and could not be loaded from the Hugging Face Hub: {text}. Check the "
        "name and the network (HF_HUB_OFFLINE must not be 1 for a first download), or save the dataset with save_to_disk on "
        "a machine that has it and give the folder."
    )


def _undecoded(data: Any, column: str) -> Any:
    """The images alone, as they are stored."""
    from datasets import Image as ImageFeature

    return data.with_format(None).select_columns([column]).cast_column(column, ImageFeature(decode=False))


def _values(data: Any, column: str) -> list[Any]:
    """The values of a column; the images are not read."""
    table = data.select_columns([column]).with_format("arrow")[:]
    values: list[Any] = table.column(column).to_pylist()
    return values


def _labels(place: str, data: Any, column: str) -> tuple[list[str | None], list[str]]:
    """The class name of each row, None where it has none, and all class names in order."""
    values = _values(data, column)
    known: Sequence[str] | None = getattr(data.features[column], "names", None)
    if known is None:
        texts = [None if value is None or value == "" else str(value) for value in values]
        return texts, sorted({text for text in texts if text is not None}, key=natural_key)
    if wrong := [value for value in values if value is not None and not -1 <= value < len(known)]:
        raise DataError(
            f"{place}: the column {column!r} has the value {wrong[0]}; its {len(known)} classes are 0 to {len(known) - 1}."
        )
    return [None if value is None or value < 0 else known[value] for value in values], list(known)


def _kind(feature: Any) -> str:
    """The type of a column: of a plain value its own, such as int64, otherwise the name of its class."""
    return str(feature.dtype) if type(feature).__name__ == "Value" else type(feature).__name__


def _told(features: Any) -> str:
    return f"Its columns: {listed([f'{name} ({_kind(feature)})' for name, feature in features.items()])}."
