"""The classification datasets of torchvision, by name."""

from __future__ import annotations

import inspect
import os
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torchvision
from torch import Tensor
from torchvision.datasets.utils import check_integrity

from datamodules.dataset_folder import contents
from datamodules.item_image import item_image
from datamodules.published_datasets import PUBLISHED
from lightning_vision.array_types import Rows
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.sample_table import SPLITS
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.storage.cache_folder import locked
from lightning_vision.terminal.wording import listed, near

OWN_ARGUMENTS = (
    "root", "train", "download", "transform", "target_transform", "transforms", "loader", "target_type", "target_types",
)  # fmt: skip
"""Arguments of torchvision's classes that options of this program, or nothing, replace."""
NAME_ATTRIBUTES = ("classes", "categories", "all_categories")
FOLDER_CLASSES = ("ImageFolder", "DatasetFolder")


class _Part(NamedTuple):
    """A part of the dataset."""

    split: str
    dataset: Any
    labels: Rows
    """(N,)."""
    files: list[str]
    """N paths below the root; empty if the images are not in files of their own."""


class TorchvisionDataset(StreamDataModule):
    """A classification dataset of torchvision: CIFAR10, CIFAR100, MNIST, SVHN, Flowers102, Food101, OxfordIIITPet, ...

    Source: ``torchvision.datasets``, which names the paper and the licence of each. The official training, validation
    and test parts are used; where the test labels are not published (ImageNet), the validation set is the test set.
    Parts that a dataset does not have are split off. Classes keep torchvision's order and names; numbers are their names
    if torchvision has none. Datasets in image files are read as files; others, such as CIFAR and MNIST, are in memory.

    Files are in torchvision's layout below ``root``. torchvision compares the checksums of pickled files, such as those
    of CIFAR, with the published ones before it opens them.

    Args:
        dataset: The name of the class in ``torchvision.datasets``.
        root: The folder of torchvision's files.
        download: Download the dataset to ``root`` if it is not there.
        splits: The value of torchvision's argument ``split`` for each of train, val and test, such as ``{train: train,
            test: extra}``. None: the official parts.
        arguments: Other arguments of torchvision's class, such as ``{partition: 2}`` of DTD.
        options: See ``StreamDataModule``.
    """

    def __init__(
        self,
        dataset: str,
        root: str | Path,
        download: bool = False,
        splits: dict[str, str] | None = None,
        arguments: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.dataset, self.download = dataset, download
        self.splits, self.arguments = splits, dict(arguments or {})
        super().__init__(root, **options)

    def read_samples(self) -> tuple[pd.DataFrame, list[str]]:
        """One row an image, part by part: files by name, images in memory in torchvision's order."""
        made = _class_named(self.dataset)
        parts = [
            _read_part(self.dataset, self._made(made, arguments), split, self.root)
            for split, arguments in self._constructions(made).items()
        ]
        self.rows_are_files = all(part.files for part in parts)
        labels = np.concatenate([part.labels for part in parts])
        numbers, positions = np.unique(labels, return_inverse=True)
        names = _class_names(parts[0].dataset, int(numbers[-1]) + 1)
        paths = [
            part.files
            if self.rows_are_files
            else [f"{part.split or 'all'}/{row:06d}" for row in range(len(part.labels))]
            for part in parts
        ]
        samples = pd.DataFrame(
            {
                "path": [path for group in paths for path in group],
                "label": positions.astype(np.int64),
                "split": np.repeat([part.split for part in parts], [len(part.labels) for part in parts]),
            }
        )
        if self.rows_are_files:
            return samples, [names[number] for number in numbers]
        self._parts = [part.dataset for part in parts]
        self._starts = np.cumsum([0, *(len(part.labels) for part in parts)], dtype=np.int64)
        item_image(self._parts[0][0], f"{self.dataset}: {samples['path'].iloc[0]}")
        return samples, [names[number] for number in numbers]

    def load_image(self, index: int) -> Tensor:
        """uint8 RGB (3, h, w)."""
        if self.rows_are_files:
            return super().load_image(index)
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        place = index - int(self._starts[number])
        return item_image(self._parts[number][place], f"{self.dataset}: part {number}, image {place}")

    def _constructions(self, made: type) -> dict[str, dict[str, Any]]:
        """The arguments that make each part; one part without a name if there is no official split."""
        known = inspect.signature(made).parameters
        if refused := [name for name in self.arguments if name in OWN_ARGUMENTS]:
            raise ConfigError(
                f"data.arguments: {listed(refused)} cannot be given. Use data.root, data.download, "
                "data.train_transforms and data.eval_transforms; parts and targets are chosen by the program."
            )
        several = any(each.kind is each.VAR_KEYWORD for each in known.values())  # QMNIST and EMNIST hand some on
        if not several and (unknown := [name for name in self.arguments if name not in known]):
            taken = [name for name in known if name not in OWN_ARGUMENTS]
            raise ConfigError(
                f"data.arguments: {self.dataset} has no argument {listed(unknown)}. It has {listed(taken) or 'none'}."
            )
        splits = self.splits or (PUBLISHED[self.dataset].splits if self.dataset in PUBLISHED else None)
        if "split" in self.arguments and "split" in known and self.dataset != "EMNIST":  # there it names no part
            raise ConfigError(
                "data.arguments: the argument split names a part of the dataset, which data.splits chooses: "
                f"{{train: {self.arguments['split']}}}."
            )
        if splits is not None:
            if "split" not in known or not splits or not set(splits) <= set(SPLITS):
                raise ConfigError(
                    f"data.splits: expected a value of the argument split for some of {listed(SPLITS)}, found {splits}; "
                    f"{self.dataset} {'has' if 'split' in known else 'has no'} argument split."
                )
            return {part: {"split": splits[part]} for part in SPLITS if part in splits}
        if "train" in known or (several and self.dataset in PUBLISHED):
            return {"train": {"train": True}, "test": {"train": False}}
        if "split" in known:
            raise ConfigError(
                f"data.splits: the parts of {self.dataset} are not known here. Name them, such as {{train: train, test: "
                "test}, with the values of its argument split."
            )
        return {"": {}}

    def _made(self, made: type, part: Mapping[str, Any]) -> Any:
        """The dataset of a part; it is downloaded where that is asked for, once."""
        arguments = {**self.arguments, **part}
        if "root" in inspect.signature(made).parameters:
            arguments["root"] = str(self.root)
        downloads = "download" in inspect.signature(made).parameters or self.dataset in ("EMNIST", "QMNIST")
        downloads = downloads and self.dataset != "StanfordCars"  # its source is gone, and torchvision refuses
        try:
            return made(**arguments, **({"download": False} if downloads else {}))
        except (RuntimeError, OSError) as error:
            if not self.download or not downloads:
                raise self._not_found(error, downloads) from error
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"data.dataset: torchvision's {self.dataset} cannot be made with {arguments}: {error}"
            ) from error
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            with locked(self.root, f".{self.dataset}-download"):  # of several processes, one downloads
                return made(**arguments, download=True)
        except (RuntimeError, OSError, EOFError, ValueError, tarfile.TarError, zipfile.BadZipFile) as error:
            raise DataError(
                f"data.download: {self.dataset} could not be downloaded to {self.root}: {type(error).__name__}: {error}. "
                f"Check the network, or copy the files from a machine that has them: {self._expected()}."
            ) from error

    def _expected(self) -> str:
        files = PUBLISHED[self.dataset].files if self.dataset in PUBLISHED else "the files that torchvision documents"
        return f"expected in {self.root}: {files}"

    def _other_files(self) -> list[str]:
        """The files of CIFAR that are there with another content; other datasets do not say what theirs are."""
        made = _class_named(self.dataset)
        lists = [*getattr(made, "train_list", []), *getattr(made, "test_list", [])]
        files = [(f"{getattr(made, 'base_folder', '.')}/{name}", md5) for name, md5 in lists]
        there = [(name, md5) for name, md5 in files if (self.root / name).is_file()]
        return [name for name, md5 in there if not check_integrity(str(self.root / name), md5)]

    def _not_found(self, error: Exception, downloads: bool) -> DataError:
        way_out = f"torchvision cannot download {self.dataset}: its documentation says where to get it."
        if differ := self._other_files():
            one = "is" if len(differ) == 1 else "are not right: each is"
            way_out = f"{listed(differ)} {one} there, but its checksum (MD5) is not the published one: replace it."
        elif downloads:
            way_out = (
                "--data.download true downloads it. If the files are there, one is incomplete or its checksum (MD5) is "
                "not the published one: replace it."
            )
        return DataError(
            f"data.root: {self.dataset} was not found in {self.root}, which {contents(self.root)}; {self._expected()}. "
            f"torchvision says: {error}. {way_out}"
        )


def _class_named(name: str) -> type:
    """The class in ``torchvision.datasets``.

    Raises:
        ConfigError: It has none of this name, or one that is no classification dataset.
    """
    if name in FOLDER_CLASSES:
        raise ConfigError(f"data.dataset: for a folder of your own images use --data ImageFolder, not {name}.")
    found = getattr(torchvision.datasets, name, None) if name in torchvision.datasets.__all__ else None
    if not isinstance(found, type):
        similar = near(name, PUBLISHED) or list(PUBLISHED)
        raise ConfigError(f"data.dataset: torchvision.datasets has no {name!r}. Similar names: {listed(similar)}.")
    return found


def _read_part(name: str, dataset: Any, split: str, root: Path) -> _Part:
    files, labels = _files_and_labels(dataset)
    if not files:
        labels = _stored_labels(dataset)
    part = f"{name}{f' ({split})' if split else ''}"
    if len(labels) == 0:
        raise DataError(f"{part} has no images in {root}.")
    plain = [label.item() if isinstance(label, Tensor) and label.numel() == 1 else label for label in labels]
    if wrong := [label for label in plain if not isinstance(label, int | np.integer)]:
        raise ConfigError(
            f"data.dataset: expected a classification dataset with one class number an image; {part} has labels such as "
            f"{wrong[0]!r:.100}. Classification datasets are {listed(PUBLISHED)}."
        )
    values = np.array(plain, dtype=np.int64)
    if values.min() < 0:
        raise DataError(
            f"{part}: {int((values < 0).sum())} of {len(values)} images have no label ({int(values.min())}). Choose a "
            "part with labels (data.splits)."
        )
    if len(values) != len(dataset):
        raise DataError(f"{part} has {len(dataset)} images and {len(values)} labels in {root}.")
    return _Part(split, dataset, values, [_relative(file, root) for file in files])


def _files_and_labels(dataset: Any) -> tuple[list[Any], list[Any]]:
    """The image files and labels that a dataset lists; nothing if its images are not in files of their own.

    torchvision stores them in one of these forms; only its class of folders has a public one.
    """
    pairs = getattr(dataset, "samples", None) or getattr(dataset, "imgs", None) or getattr(dataset, "_samples", None)
    if pairs is None:
        files = getattr(dataset, "_image_files", None) or getattr(dataset, "_images", None)
        labels = getattr(dataset, "_labels", None)
        if files is None or labels is None:
            return [], []
        pairs = list(zip(files, labels, strict=True))
    if not pairs or not all(isinstance(file, str | os.PathLike) for file, *_ in pairs):
        return [], []  # FER2013 has tensors there
    pairs = sorted(pairs, key=lambda pair: str(pair[0]))  # SUN397 lists them as the file system does
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _stored_labels(dataset: Any) -> list[Any]:
    """The labels of a dataset that lists no files: each image is opened where torchvision gives them with it alone."""
    for name in ("targets", "labels", "y"):
        if (labels := getattr(dataset, name, None)) is not None:
            return list(labels.tolist() if isinstance(labels, np.ndarray | Tensor) else labels)
    return [dataset[row][1] for row in range(len(dataset))]


def _class_names(dataset: Any, count: int) -> list[str]:
    """A name for each class number: torchvision's, with the number where two are alike, or the number."""
    for attribute in NAME_ATTRIBUTES:
        given = getattr(dataset, attribute, None)
        if isinstance(given, Sequence) and not isinstance(given, str) and len(given) >= count:
            names = [name if isinstance(name, str) else ", ".join(name) for name in given]  # ImageNet has synonyms
            return [
                f"{name} ({number})" if names.count(name) > 1 or not name.strip() else name
                for number, name in enumerate(names)
            ]
    return [str(number) for number in range(count)]


def _relative(file: str | os.PathLike[str], root: Path) -> str:
    return Path(os.path.relpath(file, root)).as_posix()
