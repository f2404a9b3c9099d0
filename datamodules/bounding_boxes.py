"""Images cropped to bounding boxes: Grasping in the Wild, or any folder with a table of boxes."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import pandas as pd

from datamodules.box_table import box_of_sides, read_box_table
from datamodules.dataset_folder import contents
from datamodules.gitw_tree import (
    CROPPED_LAYOUT,
    MILLISECONDS,
    NINE_CLASSES,
    PAPER,
    SOURCE,
    Box,
    Footage,
    GitwSequence,
    Row,
    counts_from_one,
    make_table,
    no_such_frame,
    number_lines,
    read_footage,
    read_tree,
)
from datamodules.labelled_folder import LabelOptions, read_labelled_boxes
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.storage.cache_folder import cache_folder
from lightning_vision.terminal.wording import listed, plural

BOXES_TREE = "GITW_light_bboxes"


class _Line(NamedTuple):
    """What a box file says of one frame."""

    place: str
    """Where it stands, for messages."""
    present: bool
    box: Box | None
    """None without the object, or if the box is unusable, which has been reported."""


class BoundingBoxes(StreamDataModule):
    """Videos of people who grasp objects in seven kitchens, or any images, cropped to bounding boxes.

    Boxes of a sequence are read from ``<Seq>_2_bboxes.txt`` in its folder or in a parallel tree (``frame 0`` without
    the object, otherwise ``frame 1 x y w h``), or from the original ``bounding_box.txt`` (``Frame_<ms>.png x y w h``,
    zeros without the object). Frames count from 0. Boxes are in pixels from the upper left corner and are clipped to
    the frame. Frames without the object and sequences without boxes are skipped. The layout of ready crops is supported
    too.

    With ``boxes``, images and boxes are read from a CSV file with the columns path, x, y, w, h, class, and optionally
    split; other columns are added to the sample table. A row without x, y, w and h is the whole image. With ``labels``,
    each box of an annotation file is a row; those of one image are a ``group``.

    Frames of a sequence are near copies: the sequence is their ``group`` and is never split. The kitchen is the column
    ``domain``. Folders train, train1, ... are training data, and test, test1, test2, ... are test data; the column
    ``part`` names them for ``split``. Frames of videos are decoded once and stored (``cache_dir``).

    Args:
        root: The folder with train and test (or train1, test1, test2), or with the class folders; with ``boxes``, the
            folder to which paths are relative.
        context: Share of its sides by which a box is enlarged in total, half of it on each side.
        annotations_root: Tree with the box files, with the same folders as root, or all in one folder. None: the
            sequence's folder, then GITW_light_bboxes in root or beside it.
        boxes: CSV file with boxes, relative to the working directory or root.
        classes: Names of the classes to read; None: all.
        labels: File or folder of annotations in the format COCO, YOLO, Pascal VOC, CVAT, Label Studio or labelme, or a table,
            relative to the working directory or root.
        labels_format: Format of ``labels``; None: it is recognised.
        label_columns: Columns of a table: path, label, split, group, domain, and x1, y1, x2, y2 or x, y, w, h; those that are not given are recognised.
        label_names: Second table, which gives the labels of the first their names.
        options: See ``StreamDataModule``.
    """

    CLASS_NAMES: ClassVar[tuple[str, ...]] = NINE_CLASSES
    SOURCE: ClassVar[str] = SOURCE
    PAPER: ClassVar[str] = PAPER
    LAYOUTS: ClassVar[tuple[str, ...]] = (
        "<root>/[<part>/]<Class>/<Seq>/ with <Seq>.mp4 or Frames/Frame_<ms>.jpg, and <Seq>_2_bboxes.txt (here or in the "
        f"parallel tree {BOXES_TREE}) or bounding_box.txt; <part> is train, test, train1, test1, ..., <Seq> "
        "<Class>Place<P>Subject<S>",
        CROPPED_LAYOUT,
        "any images, with data.boxes=<CSV file: path, x, y, w, h, class>, or with data.labels=<COCO, YOLO, Pascal VOC, "
        "CVAT, Label Studio or labelme>",
    )

    def __init__(
        self,
        root: str | Path,
        context: float = 0.0,
        annotations_root: str | None = None,
        boxes: str | None = None,
        classes: list[str] | None = None,
        labels: str | Path | None = None,
        labels_format: Literal["table", "coco", "yolo", "voc", "cvat", "label_studio", "labelme", "dataset"]
        | None = None,
        label_columns: dict[str, str] | None = None,
        label_names: str | Path | None = None,
        **options: Any,
    ) -> None:
        if context < 0:
            raise ConfigError(f"data.context must be at least 0, not {context}.")
        places = {"annotations_root": annotations_root, "boxes": boxes, "labels": labels}
        if len(given := [f"data.{name}" for name, place in places.items() if place is not None]) > 1:
            raise ConfigError(f"{' and '.join(given)} both set the location of the boxes. Use one of them.")
        self.context = self.box_context = context
        self.annotations_root = annotations_root
        self.boxes = boxes
        self.labels, self.labels_format, self.label_columns = labels, labels_format, label_columns
        self.label_names = label_names
        self.classes = classes
        self.crop_to_box = True
        super().__init__(root, **options)

    def read_samples(self) -> tuple[pd.DataFrame, list[str]]:
        """One row a box, or a crop; in natural order of part, class, sequence and frame, or of the CSV file."""
        if self.labels is not None:
            labelling = LabelOptions(self.labels, self.labels_format, self.label_columns, self.label_names)
            return read_labelled_boxes(self.root, labelling, self.classes, self.findings)
        if self.boxes is not None:
            places = [Path(self.boxes).expanduser(), self.root / self.boxes]
            file = next((place for place in places if place.is_file()), None)
            if file is None:
                raise DataError(f"data.boxes: the file does not exist; searched {listed(places)}.")
            if not self.root.is_dir():
                raise DataError(
                    f"data.root: {self.root} {contents(self.root)}. Give the folder to which the paths in {file} are "
                    "relative."
                )
            kept = cache_folder(self.given_root, self.cache_dir)
            return read_box_table(file, self.root, self.classes, kept, max(1, self.num_workers), self.findings)
        tree = read_tree(self.root, self.LAYOUTS, self.classes, self.findings)
        parallel = self._parallel_files()
        files: dict[str, Path] = {}
        for sequence in tree.sequences:
            file = self._box_file(sequence, parallel)
            if file is None:
                self.findings.skip(sequence.path, "sequences without bounding boxes")
            else:
                files[sequence.path] = file
        if not files and not tree.crops:
            raise DataError(
                f"data.root: {self.root} has {plural(len(tree.sequences), 'sequence')}, but none of them has bounding "
                f"boxes. Expected {self.LAYOUTS[0]}. Set data.annotations_root to a parallel tree elsewhere. To crop "
                "to saliency maps, use SaliencyMaps."
            )
        with_boxes = [sequence for sequence in tree.sequences if sequence.path in files]
        kept = cache_folder(self.given_root, self.cache_dir)
        footage = read_footage(with_boxes, self.root, kept, max(1, self.num_workers), self.findings)
        rows = list(tree.crops)
        for sequence in with_boxes:
            if sequence.path in footage:
                rows += self._rows(sequence, footage[sequence.path], files[sequence.path])
        return make_table(rows, tree, self.findings)

    def _parallel_files(self) -> dict[str, list[Path]]:
        """The box files of the parallel tree by name.

        Raises:
            DataError: The tree that was asked for is not there, or holds none.
        """
        if self.annotations_root is not None:
            trees = [Path(self.annotations_root).expanduser()]
        else:
            parent = self.root.resolve().parent
            trees = [self.root / BOXES_TREE, parent / BOXES_TREE, parent / f"{self.root.resolve().name}_bboxes"]
        files: dict[str, list[Path]] = {}
        for tree in dict.fromkeys(trees):
            for folder, _, names in os.walk(tree):
                for name in names:
                    if name.endswith("_2_bboxes.txt"):
                        files.setdefault(name, []).append(Path(folder, name))
        if self.annotations_root is not None and not files:
            kind = "has no" if trees[0].is_dir() else "does not exist; expected"
            raise DataError(
                f"data.annotations_root: {trees[0]} {kind} files <Seq>_2_bboxes.txt, in any of its folders."
            )
        return files

    def _box_file(self, sequence: GitwSequence, parallel: Mapping[str, list[Path]]) -> Path | None:
        name, folder = f"{sequence.name}_2_bboxes.txt", self.root / sequence.path
        own = [folder / file for file in (name, "bounding_box.txt") if file in sequence.files]
        if own and self.annotations_root is None:
            return own[0]
        found = parallel.get(name, [])
        if len(found) > 1:  # then the folders tell which is meant
            depth = len(Path(sequence.path).parts)
            found = [file for file in found if file.parent.parts[-depth:] == folder.parts[-depth:]] or found
        if len(found) > 1:
            self.findings.problem(f"{sequence.path}: it has several box files: {listed(found)}")
        return next(iter([*found, *own]), None)

    def _rows(self, sequence: GitwSequence, footage: Footage, file: Path) -> list[Row]:
        name = file.relative_to(self.root).as_posix() if file.is_relative_to(self.root) else str(file)
        original = file.name == "bounding_box.txt"
        lines: dict[int, _Line] = {}
        for place, fields in number_lines(file, name, self.findings):
            self._read_line(place, fields, original, lines)
        if counts_from_one(name, list(lines), footage, self.findings):
            return []
        rows = []
        for frame in footage.numbers:
            if frame not in lines:
                self.findings.skip(f"{name} frame {frame}", "frames without a line")
        for frame, line in sorted(lines.items()):
            image = footage.image(frame)
            if not line.present:
                self.findings.skip(line.place, "frames without the object")
            elif line.box is not None and image is None:
                self.findings.bad(line.place, no_such_frame(frame, footage))
            elif line.box is not None and image is not None:
                path, number = image
                rows.append(Row(path, sequence.class_name, sequence.part, sequence.group, number, line.box))
        return rows

    def _read_line(self, place: str, fields: list[str], original: bool, lines: dict[int, _Line]) -> None:
        """Add what the line says, or say what is wrong with it."""
        try:
            first, second, *rest = _translated(fields) if original else fields
            frame, present, numbers = int(first), int(second), [float(text) for text in rest]
        except ValueError:
            frame, present, numbers = -1, -1, []
        right = frame >= 0 and present in (0, 1) and (len(numbers) == 4 or (len(numbers) == 0 and not present))
        if not right or not np.isfinite(numbers).all():
            form = (
                f"Frame_<ms>.png <x> <y> <w> <h>, with a multiple of {MILLISECONDS} ms"
                if original
                else "<frame> 0 or <frame> 1 <x> <y> <w> <h>"
            )
            self.findings.problem(f"{place}: expected {form}, found {' '.join(fields)!r}")
        elif frame in lines:
            self.findings.problem(f"{place}: frame {frame} already has a line, {lines[frame].place}")
        else:
            box = box_of_sides(place, numbers, self.findings) if present else None
            lines[frame] = _Line(place, bool(present), box)


def _translated(fields: list[str]) -> list[str]:
    """The fields of a line of bounding_box.txt as in the other format; none if it is no such line."""
    if len(fields) != 5 or not fields[0].lower().startswith("frame_"):
        return []
    ms = Path(fields[0]).stem[len("frame_") :]
    if not ms.isdecimal() or int(ms) % MILLISECONDS:
        return []
    frame = str(int(ms) // MILLISECONDS)
    absent = all(text.strip("0.") == "" for text in fields[1:])
    return [frame, "0"] if absent else [frame, "1", *fields[1:]]
