"""Products of a shop: the Flipkart sample."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from datamodules.annotation_tables import Table, first_line, read_csv
from datamodules.dataset_folder import images_in, missing_layout, remark_on_unnamed
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.terminal.wording import listed, natural_key, nearest_first

TREE = "product_category_tree"
COLUMNS = ("uniq_id", TREE)
BETWEEN_LEVELS = ">>"
IMAGE_FOLDERS = ("Flipkart/Images", "Images")
TABLE_FOLDERS = ("", "Flipkart")


@dataclass(frozen=True)
class _Found:
    images: Path
    tables: list[Path]


class Products(StreamDataModule):
    """1,050 products of an online shop with one photo each, in 7 top categories of 150 and 62 sub-categories.

    The table ``flipkart_com-ecommerce_sample_1050.csv`` has one line per product with the required columns ``uniq_id``
    and ``product_category_tree``. The image is the file in the column ``image``, otherwise ``<uniq_id>.jpg``, in
    ``Flipkart/Images/`` or ``Images/``. ``product_category_tree`` is a text such as ``["Baby Care >> Infant Wear >>
    ..."]``. There is no official split: validation and test sets are split off, for example with ``--data.split
    70/15/15``. The columns ``uniq_id``, ``category`` (the top category) and, if available, ``crawl_timestamp`` are
    added to the sample table, so that a stream can use them.

    Args:
        root: The folder with the table and the images, or the folder above Flipkart.
        level: Number of levels of the category tree that form a class: 1 is the top category ("Baby Care"), 2 the top
            category and the next ("Baby Care >> Infant Wear"). Products with fewer levels are skipped and counted.
        categories: Top categories to keep; None keeps all.
        table: The CSV file, if it has another name; relative to the working directory or root.
        options: See ``StreamDataModule``.
    """

    CATEGORIES: ClassVar[tuple[str, ...]] = (
        "Baby Care",
        "Beauty and Personal Care",
        "Computers",
        "Home Decor & Festive Needs",
        "Home Furnishing",
        "Kitchen & Dining",
        "Watches",
    )
    TABLE: ClassVar[str] = "flipkart_com-ecommerce_sample_1050.csv"
    NUM_IMAGES: ClassVar[int] = 1050
    LAYOUTS: ClassVar[tuple[str, ...]] = (
        f"<root>/Flipkart/{TABLE} and <root>/Flipkart/Images/<uniq_id>.jpg",
        f"<root>/{TABLE} and <root>/Images/<uniq_id>.jpg (or <root>/Flipkart/Images/)",
    )
    SOURCE: ClassVar[str] = (
        "the archive of the course project that made the sample, "
        "https://s3-eu-west-1.amazonaws.com/static.oc-static.com/prod/courses/files/Parcours_data_scientist/"
        "Projet+-+Textimage+DAS+V2/Dataset+projet+pre%CC%81traitement+textes+images.zip"
    )
    LICENCE: ClassVar[str] = "none stated; a sample of https://www.kaggle.com/datasets/PromptCloudHQ/flipkart-products"

    def __init__(
        self,
        root: str | Path,
        level: int = 1,
        categories: list[str] | None = None,
        table: str | None = None,
        **options: Any,
    ) -> None:
        if level < 1:
            raise ConfigError(f"data.level counts the levels of the category tree from 1, not {level}.")
        if categories is not None and not categories:
            raise ConfigError(
                "data.categories is an empty list. Give at least one category, or omit the option for all."
            )
        self.level = level
        self.categories = categories
        self.table = table
        super().__init__(root, **options)

    def read_samples(self) -> tuple[pd.DataFrame, list[str]]:
        """In natural order of class and path."""
        found = _find(self.root)
        if found is None or (self.table is None and not found.tables):
            raise missing_layout(self.root, "The table or images of Products", self.LAYOUTS, self.SOURCE, _is_root)
        table = read_csv(self._table_file(found), self.findings, COLUMNS)
        table = table.texts(COLUMNS, self.findings).once("uniq_id", self.findings)
        table = self._name_images(table)
        prefix = found.images.relative_to(self.root).as_posix()
        on_disk = set(images_in(found.images, prefix, self.findings))
        remark_on_unnamed(on_disk - set(map(str, table.rows["image"])), prefix, table.file, self.findings)
        rows = self._classify(table, prefix)
        there = rows["image"].isin(on_disk)
        for name in rows.loc[~there, "image"]:
            self.findings.bad(f"{prefix}/{name}", "file not found")
        rows = rows[there]
        class_names = sorted(set(rows["class"]), key=natural_key)
        samples = pd.DataFrame(
            {
                "path": prefix + "/" + rows["image"],
                "label": rows["class"].map({name: label for label, name in enumerate(class_names)}).astype("int64"),
                "split": "",
                **{name: rows[name] for name in ("uniq_id", "category", "crawl_timestamp") if name in rows},
            }
        )
        order = sorted(
            range(len(samples)),
            key=[
                (label, natural_key(path)) for label, path in zip(samples["label"], samples["path"], strict=True)
            ].__getitem__,
        )
        return samples.iloc[order].reset_index(drop=True), class_names

    def _table_file(self, found: _Found) -> Path:
        if self.table is not None:
            places = [Path(self.table).expanduser(), self.root / self.table]
            file = next((place for place in places if place.is_file()), None)
            if file is None:
                raise DataError(
                    f"data.table does not exist; searched {listed(places)}. Give its path relative to the working "
                    "directory or the root."
                )
            return file
        named = [file for file in found.tables if file.name == self.TABLE]
        if len(named or found.tables) > 1:
            raise DataError(
                f"Several tables have the columns {listed(COLUMNS)}: {listed(found.tables)}. Choose one with "
                "data.table."
            )
        return (named or found.tables)[0]

    def _name_images(self, table: Table) -> Table:
        """The column ``image``: as the table has it, or else from ``uniq_id``. Plain file names, each once."""
        rows = table.rows
        image = rows["uniq_id"] + ".jpg"
        if "image" in rows:
            named = rows["image"].str.strip()
            image = named.where(named != "", image)
        table = Table(table.file, rows.assign(image=image))
        plain = ~image.str.contains(r"[/\\]") & ~image.isin(["", ".", ".."])
        for at, name in image[~plain].items():
            self.findings.problem(f"{table.place(at)}: image is {name!r}, expected a file name without folders")
        return table.keep(plain).once("image", self.findings)

    def _classify(self, table: Table, prefix: str) -> pd.DataFrame:
        """The rows that are kept, with their top ``category`` and their ``class``."""
        trees = {at: category_levels(text) for at, text in table.rows[TREE].items()}
        for at, levels in trees.items():
            if levels is None:
                text = str(table.rows.at[at, TREE])
                self.findings.problem(
                    f'{table.place(at)}: {TREE} is {text[:60]!r}, expected ["A {BETWEEN_LEVELS} B {BETWEEN_LEVELS} C"]'
                )
        rows = table.rows[[levels is not None for levels in trees.values()]]
        levels_of = [levels for levels in trees.values() if levels is not None]
        rows = rows.assign(category=pd.Series([levels[0] for levels in levels_of], index=rows.index, dtype="str"))
        if self.categories is not None:
            self._check_categories(sorted(set(rows["category"]), key=natural_key))
        kept = []
        for image, levels in zip(rows["image"], levels_of, strict=True):
            wanted = self.categories is None or levels[0] in self.categories
            deep_enough = len(levels) >= self.level
            if wanted and not deep_enough:
                self.findings.skip(f"{prefix}/{image}", f"with fewer than {self.level} category levels")
            kept.append(wanted and deep_enough)
        names = [f" {BETWEEN_LEVELS} ".join(levels[: self.level]) for levels in levels_of]
        rows = rows.assign(**{"class": pd.Series(names, index=rows.index, dtype="str")})[kept]
        if rows.empty and not self.findings.problems:
            deepest = max(map(len, levels_of), default=0)
            raise DataError(f"data.level: no product has {self.level} category levels; the deepest tree has {deepest}.")
        return rows

    def _check_categories(self, known: list[str]) -> None:
        for name in self.categories or []:
            if name not in known and known:
                raise ConfigError(
                    f"data.categories: the table has no top category {name!r}. Its categories, similar names first: "
                    f"{listed(nearest_first(name, known))}."
                )


def category_levels(text: str) -> list[str] | None:
    """The levels in ``["A >> B >> C"]``, from the top; None if it is no such text.

    The texts are cut off at some length and hold quotation marks that are not escaped, so that it is not always JSON.
    """
    try:
        parsed = json.loads(text)
    except json.JSONDecodeError:
        match = re.fullmatch(r'\s*\[\s*"(.*)"\s*\]\s*', text, flags=re.DOTALL)
        parsed = [match[1]] if match else None
    if not (isinstance(parsed, list) and parsed and isinstance(parsed[0], str)):
        return None
    levels = [level.strip() for level in parsed[0].split(BETWEEN_LEVELS)]
    return levels if all(levels) else None


def _is_root(folder: Path) -> bool:
    found = _find(folder)
    return found is not None and bool(found.tables)


def _find(root: Path) -> _Found | None:
    """The folder of images and the tables beside it; None without images."""
    images = next((root / name for name in IMAGE_FOLDERS if (root / name).is_dir()), None)
    if images is None:
        return None
    files = [file for name in TABLE_FOLDERS if (root / name).is_dir() for file in sorted((root / name).glob("*.csv"))]
    # Whether the columns are separated by commas, and all else about the table, is for its reader to say.
    tables = [file for file in files if all(column in first_line(file) for column in COLUMNS)]
    return _Found(images, tables or [file for file in files if file.name == Products.TABLE])
