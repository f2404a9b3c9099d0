"""WebDataset: tar archives of image files and their labels."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from datamodules.class_name_table import read_class_names
from datamodules.dataset_folder import contents
from datamodules.folder_names import first_split
from datamodules.folder_tree import files_below
from datamodules.tar_index import Member, TarSample, find_shards, index_archive, read_member
from lightning_vision.data.sample_table import SPLITS
from lightning_vision.data.stored_images import StoredImages
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.terminal.progress_bar import progress_bar
from lightning_vision.terminal.wording import listed, natural_key, plural

IMAGES = ("jpg", "jpeg", "png", "webp", "bmp", "ppm", "pgm", "tif", "tiff", "gif", "avif", "jp2")
LABELS = ("cls", "label", "class", "cls.txt")
"""Extensions of files that hold a class number or name."""
FIELDS = ("label", "class", "class_name", "category", "target", "cls")
"""Usual fields of JSON files that hold it."""


class WebDataset(StoredImages):
    """Tar archives in the form of WebDataset: files with one key are a sample, such as 0001.jpg and 0001.cls.

    Source of the form: https://github.com/webdataset/webdataset. The archives are indexed once at the start and not
    unpacked. An image is read from its place when it is needed, so that memory does not grow with the images, their order
    is random across all archives, and a run resumes with the same images. Samples without an image or a label are counted
    and not used.

    Args:
        root: The folder of the archives.
        shards: Archives below the root, with braces and wildcards: ``train-{0000..0049}.tar``; or a mapping of train,
            val and test to such patterns. None: all ``*.tar`` in the root and its folders. Without a mapping, the words
            train, val and test in the names of files and folders are the split.
        image_extension: The extension of the images, if samples have several images.
        label_extension: The extension of the labels; ``json.field`` is a field of the JSON file. None: ``cls`` or a JSON file with a
            usual field (label, class, category). ``json.meta.class`` is the field class of the object meta.
        label_names: A file that names the labels, if they are numbers or codes: as in ``ImageFolder``.
        options: See ``StreamDataModule``.
    """

    def __init__(
        self,
        root: str | Path,
        shards: str | list[str] | dict[str, Any] | None = None,
        image_extension: str | None = None,
        label_extension: str | None = None,
        label_names: str | Path | None = None,
        **options: Any,
    ) -> None:
        self.shards, self.label_names = shards, label_names
        self.image_extension, self.label_extension = image_extension, label_extension
        super().__init__(root, **options)

    def read_samples(self) -> tuple[pd.DataFrame, list[str]]:
        """One row a sample, archive by archive."""
        self._archives: list[Path] = []
        paths: list[str] = []
        splits: list[str] = []
        labels: list[str] = []
        places: list[tuple[int, int, int]] = []
        without: Counter[str] = Counter()
        chosen = self._chosen()
        with progress_bar("indexing the archives", len(chosen)) as advance:
            for number, (file, split) in enumerate(chosen):
                self._archives.append(file)
                shown = file.relative_to(self.root).as_posix()
                for sample in index_archive(file):
                    member, label = self._image_of(shown, sample), self._label_of(file, sample)
                    if member is None or label is None:
                        without["an image" if member is None else "a label"] += 1
                        continue
                    paths.append(f"{shown}/{sample.key}")
                    splits.append(split)
                    labels.append(label)
                    places.append((number, *member))
                advance()
        for what, count in without.items():
            self.findings.remark(f"{plural(count, 'sample')} without {what} not used.")
        if not paths:
            raise DataError(
                f"data.root: the {plural(len(chosen), 'archive')} in {self.root} hold no sample with an image "
                f"({listed(IMAGES)}) and a label ({listed(LABELS)}, or json with {listed(FIELDS)}). data.image_extension and "
                f"data.label_extension name other extensions.{_what_there_is(chosen[0][0])}"
            )
        self._places = np.array(places, dtype=np.int64)  # (N, 3): number of the archive, offset, size
        names = {label: label for label in labels}
        if self.label_names is not None:
            names = read_class_names(self._file(self.label_names), set(labels), self.findings)
            if unnamed := sorted(set(labels) - names.keys(), key=natural_key):
                raise DataError(f"data.label_names: {self.label_names} has no name for {listed(unnamed)}.")
        class_names = list(dict.fromkeys(names[label] for label in sorted(set(labels), key=natural_key)))
        place_of = {name: place for place, name in enumerate(class_names)}
        table = {"path": paths, "label": np.array([place_of[names[label]] for label in labels], dtype=np.int64)}
        return pd.DataFrame({**table, "split": splits}), class_names

    def stored_image(self, index: int) -> bytes:
        """Read from its place in the archive."""
        archive, offset, size = self._places[index].tolist()
        return read_member(self._archives[archive], Member(offset, size))

    def image_name(self, index: int) -> str:
        """The archive and the place in it."""
        archive, offset, _ = self._places[index].tolist()
        return f"{self._archives[archive]} (byte {offset})"

    def _chosen(self) -> list[tuple[Path, str]]:
        """The archives, and the split of each."""
        if isinstance(self.shards, dict):
            if not self.shards or not set(self.shards) <= set(SPLITS):
                raise ConfigError(f"data.shards: expected patterns for some of {listed(SPLITS)}, found {self.shards}.")
            chosen = [
                (file, split)
                for split, patterns in self.shards.items()
                for file in find_shards(self.root, [patterns] if isinstance(patterns, str) else patterns)
            ]
            if twice := [file.name for file, count in Counter(file for file, _ in chosen).items() if count > 1]:
                raise ConfigError(f"data.shards: {listed(twice)} is in several parts: {self.shards}.")
            return chosen
        if self.shards is not None:
            files = find_shards(self.root, [self.shards] if isinstance(self.shards, str) else self.shards)
        else:
            found = files_below(self.root, ".tar", once=True) if self.root.is_dir() else ()
            files = sorted(found, key=lambda file: natural_key(file.as_posix()))
        if not files:
            raise DataError(
                f"data.root: no *.tar was found in {self.root}, which {contents(self.root)}. Expected archives such as "
                "train-0000.tar with files such as 0001.jpg and 0001.cls."
            )
        splits = [self._split_of(file) for file in files]
        if "" in splits and len(set(splits)) > 1:
            unclear = [file.name for file, split in zip(files, splits, strict=True) if not split]
            raise DataError(
                f"data.shards: the names of some archives say train, val or test, but not those of {listed(unclear, 3)}. Name "
                "the parts: data.shards={train: ..., test: ...}."
            )
        return list(zip(files, splits, strict=True))

    def _split_of(self, file: Path) -> str:
        words = [file.stem, *reversed(file.relative_to(self.root).parts[:-1])]
        return first_split(words) or ""

    def _image_of(self, shown: str, sample: TarSample) -> Member | None:
        if self.image_extension is not None:
            return sample.files.get(self.image_extension.lower().lstrip("."))
        images = [extension for extension in sample.files if extension.rpartition(".")[2] in IMAGES]
        if len(images) > 1:
            raise DataError(
                f"{shown}: the sample {sample.key!r} has {len(images)} images, {listed(images)}. data.image_extension is that "
                "of the one to use."
            )
        return sample.files[images[0]] if images else None

    def _label_of(self, file: Path, sample: TarSample) -> str | None:
        """The label as text; None if there is none."""
        place = f"{file}: the label of {sample.key!r}"
        wanted = None if self.label_extension is None else self.label_extension.lstrip(".")
        extension, _, field = (wanted or "").partition(".")
        if wanted is None:
            plain = [name for name in LABELS if name in sample.files]
            extension = plain[0] if plain else "json"
        elif extension != "json":
            extension = wanted.lower()
        if extension not in sample.files:
            return None
        content = read_member(file, sample.files[extension])
        try:
            text = content.decode("utf-8-sig").strip()
            value = json.loads(text) if extension == "json" else text
        except ValueError as error:
            raise DataError(f"{place}: its {extension} file cannot be read: {error}.") from error
        if extension == "json":
            value = _within(value, field) if field else _usual(value)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, list | dict) or (isinstance(value, str) and "\n" in value):
            raise DataError(
                f"{place} is {str(value)!r:.80}; expected one class. Several labels an image are not supported."
            )
        return None if value is None or str(value) == "" else str(value)

    def _file(self, given: str | Path) -> Path:
        """A file that is relative to the working directory or the root."""
        path = Path(given).expanduser()
        return path if path.is_file() else self.root / path


def _usual(value: Any) -> Any:
    """The usual field of a JSON object that holds the label; another value itself."""
    return next((value[name] for name in FIELDS if name in value), None) if isinstance(value, dict) else value


def _within(value: Any, field: str) -> Any:
    """A field of a JSON object, with dots between the names of objects in objects; None if there is none."""
    if not isinstance(value, dict) or not field:
        return None
    if field in value:
        return value[field]
    outer, _, inner = field.partition(".")
    return _within(value.get(outer), inner)


def _what_there_is(file: Path) -> str:
    """What the first sample of an archive has; empty if there is none."""
    sample = next(iter(index_archive(file)), None)
    if sample is None:
        return ""
    told = f" The first sample, {sample.key!r} in {file.name}, has {listed(sample.files)}"
    if "json" not in sample.files:
        return f"{told}."
    try:
        fields = json.loads(read_member(file, sample.files["json"]))
    except ValueError:
        return f"{told}."
    if not isinstance(fields, dict):
        return f"{told}."
    inner = [f"{name}.{key}" for name, value in fields.items() if isinstance(value, dict) for key in value]
    return f"{told}; its json has the fields {listed([*fields, *inner])} (data.label_extension=json.FIELD)."
