"""A folder of images with one sub-folder per class."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from datamodules.annotation_tables import Table, read_csv
from datamodules.class_folders import FolderOptions, read_class_folders
from datamodules.class_name_table import names_of_folders, remark_on_readme
from datamodules.folder_layout import LAYOUT
from datamodules.folder_names import SPLIT_VALUES
from datamodules.folder_tree import Folder, read_tree
from datamodules.image_names import NOWHERE, SEVERAL, ImageNames
from datamodules.label_formats.official_splits import remark_on_clutter
from datamodules.label_table import typed
from datamodules.labelled_folder import FOLDERS, LabelOptions, names_file, read_labelled
from datamodules.listed_test_set import mark_test
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.sample_table import names_of_files
from lightning_vision.errors import DataError
from lightning_vision.terminal.wording import listed, natural_key

MADE_HERE = ("label", "box_xyxy", "source", "role")
"""Columns that a metadata file must not have."""


class ImageFolder(StreamDataModule):
    """Images in ``<root>/<class>/`` or ``<root>/{train,val,test}/<class>/``, or labelled by a file or by their names.

    Files are read by their content: all formats that Pillow reads, and HEIC if the package pillow-heif is installed.
    Hidden, empty and other files are skipped and counted. Classes are in natural order of their names. If images are in
    sub-folders of the class folders, the column ``domain`` is the name of the first one. A missing test or validation set
    is split off from the training data. Split folders are recognised by the words in their names (``seg_train``,
    ``test_set``). Folders that do not seem to be classes are an error.

    Args:
        root: The folder with the class folders, or with train, val and test.
        metadata: CSV file with the column ``path`` (relative to root) and any others, which are added to the sample
            table: ``group`` (near copies, never split), ``domain``, a date, a custom order; ``split`` if there are no
            split folders. Relative to the working directory or root.
        split_folders: The split folders by split, relative to root: {train: training_set, test: [a, b]}; none: no folder
            is a split; None: by their names.
        classes_from: folder: the first folder below root (or a split folder) is the class; parent: the folder that holds
            the image. None: as folder, but a tree in which this is doubtful is an error.
        labels: File or folder that labels the images, relative to the working directory or root: a table (CSV, TSV,
            Parquet, JSON lines), COCO, YOLO, Pascal VOC, CVAT, Label Studio or labelme. None: the sub-folders, unless the images are
            in no class folders and a file in root labels them; folders: the sub-folders in any case.
        labels_format: Format of ``labels``; None: it is recognised.
        label_columns: Columns of a table: path, label, split, group, domain; those that are not given are recognised.
        label_names: Second table, which gives labels or class folders their names, such as the README.txt of ImageNet-R with
            a WordNet ID and a name on a line. Classes keep the order of their folders.
        label_pattern: Regular expression whose group ``label`` is the class, searched for in the names of the files, or in
            their paths if it has a ``/``; other named groups become columns.
        test_list: File with the names of the images of the test set; all others are training data. A text with one a line,
            or YAML or JSON with a list, alone or under ``data``. Relative to the working directory or root.
        options: See ``StreamDataModule``.
    """

    def __init__(
        self,
        root: str | Path,
        metadata: str | Path | None = None,
        split_folders: dict[str, Any] | str | None = None,
        classes_from: Literal["folder", "parent"] | None = None,
        labels: str | Path | None = None,
        labels_format: Literal["table", "coco", "yolo", "voc", "cvat", "label_studio", "labelme", "dataset"]
        | None = None,
        label_columns: dict[str, str] | None = None,
        label_names: str | Path | None = None,
        label_pattern: str | None = None,
        test_list: str | Path | None = None,
        **options: Any,
    ) -> None:
        self.metadata, self.split_folders, self.classes_from = metadata, split_folders, classes_from
        self.labels, self.labels_format, self.label_columns = labels, labels_format, label_columns
        self.label_names, self.label_pattern, self.test_list = label_names, label_pattern, test_list
        super().__init__(root, **options)

    def read_samples(self) -> tuple[pd.DataFrame, list[str]]:
        """Rows in the order of the file of labels, or in natural order of split, class and path."""
        folders_decide = self.labels is None and (self.classes_from is not None or self.split_folders is not None)
        labelling = LabelOptions(
            FOLDERS if folders_decide and self.label_pattern is None else self.labels,
            self.labels_format,
            self.label_columns,
            self.label_names,
            self.label_pattern,
        )
        tree = read_tree(self.root, LAYOUT)
        labelled = read_labelled(tree, self.root, labelling, self.findings, self.metadata)
        samples, class_names = self._read_folders(tree) if labelled is None else labelled
        remark_on_clutter(class_names, self.findings)
        samples = samples if self.metadata is None else self._join_metadata(samples)
        if self.test_list is not None:
            samples = mark_test(samples, self.test_list, self.root, self.split, self.findings)
        return samples, class_names

    def _read_folders(self, tree: Folder) -> tuple[pd.DataFrame, list[str]]:
        """The images in class folders; a tree that is probably meant otherwise is refused."""
        options = FolderOptions(
            self.split_folders,
            "folder" if self.labels == FOLDERS and self.classes_from is None else self.classes_from,
            by_domain="domain" in self.scenario.describe()["init_args"].values(),
            skip_others=self.on_bad_image == "skip",
            metadata=None if self.metadata is None else self._metadata_file(),
        )
        found = read_class_folders(tree, options, self.findings)
        class_names = sorted({image.class_name for image in found}, key=natural_key)
        label_of = {name: label for label, name in enumerate(class_names)}
        images = sorted(found, key=lambda image: (label_of[image.class_name], image.split, natural_key(image.path)))
        samples = pd.DataFrame(
            {
                "path": [image.path for image in images],
                "label": pd.Series([label_of[image.class_name] for image in images], dtype="int64"),
                "split": [image.split for image in images],
            }
        )
        if any(image.domain is not None for image in images):
            samples["domain"] = pd.Series([image.domain for image in images], dtype="str")
        if self.label_names is not None:
            file = names_file(self.label_names, self.root)
            return samples, names_of_folders(class_names, file, self.findings)
        remark_on_readme(class_names, self.root, self.findings)
        return samples, class_names

    def _metadata_file(self) -> Path:
        places = [Path(str(self.metadata)).expanduser(), self.root / str(self.metadata)]
        file = next((place for place in places if place.is_file()), None)
        if file is None:
            raise DataError(
                f"The metadata file does not exist; searched {listed(places)}. Give its path relative to the working "
                "directory or the root."
            )
        return file

    def _join_metadata(self, samples: pd.DataFrame) -> pd.DataFrame:
        file = self._metadata_file()
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
        facts = self._checked_metadata(table, samples["path"].tolist()).rows.copy()
        for name in facts.columns.difference(["path", "split", "frame"]):
            facts[name] = typed(facts[name])
        joined = samples.drop(columns=[name for name in facts if name != "path" and name in samples])
        joined = joined.merge(facts, on="path", how="left", validate="one_to_one")
        for name, default in (("split", ""), ("frame", -1)):
            if name in facts:
                joined[name] = joined[name].fillna(default).astype(facts[name].dtype)
        return joined

    def _checked_metadata(self, table: Table, images: Sequence[str]) -> Table:
        """The rows that name an image, each once, with a split that there is."""
        table = table.texts(["path"], self.findings)
        found = ImageNames(images, self.root).locate(table.rows["path"])
        self.findings.remarks += found.remarks(table.file.name)
        for at, name in table.rows.loc[found.places == NOWHERE, "path"].items():
            self.findings.bad(table.place(at), f"image not found ({name}; paths are relative to {self.root})")
        for at, name in table.rows.loc[found.places == SEVERAL, "path"].items():
            self.findings.problem(f"{table.place(at)}: several images are called {name!r}; write their folder too")
        there = found.places >= 0
        paths = names_of_files(images[place] for place in found.places[there].tolist())
        rows = table.rows[there]
        table = Table(table.file, rows.assign(path=paths.set_axis(rows.index))).once("path", self.findings)
        if "frame" in table.rows:
            text = table.rows["frame"].str.strip()
            table = Table(table.file, table.rows.assign(frame=text.where(text != "", "-1")))
            table = table.whole_numbers(["frame"], self.findings)
        if "split" in table.rows:
            split = table.rows["split"].str.strip().str.lower()
            for at, value in split[~split.isin(list(SPLIT_VALUES))].items():
                self.findings.problem(
                    f"{table.place(at)}: split is {value!r}, expected train, val, test or an empty field"
                )
            table = Table(table.file, table.rows.assign(split=split.map(SPLIT_VALUES).fillna("")))
        return table
