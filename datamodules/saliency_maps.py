"""Grasping in the Wild, cropped to where a person looked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from datamodules.dataset_folder import entries_of
from datamodules.gitw_tree import (
    CROPPED_LAYOUT,
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
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.images.decoding import decode_grey
from lightning_vision.images.pillow_decoding import DECODING_VERSION
from lightning_vision.storage.cache_folder import cache_folder
from lightning_vision.storage.file_facts import facts_of_files

ABSENT = "frames without the object"


class SaliencyMaps(StreamDataModule):
    """Videos of people who grasp objects in seven kitchens, cropped to where they looked.

    The saliency map of a frame is a Gaussian at the gaze point; the crop is the bounding rectangle of its values above
    ``threshold``. Frames with a black map are skipped, and so are frames without the object according to
    ``fixation_points.txt``. Sequences with this file and without maps are cropped to the Gaussian at the gaze point.
    The layout of ready crops is supported too; they are used unchanged.

    Frames of a sequence are near copies: the sequence is their ``group`` and is never split. The kitchen is the column
    ``domain``. Folders train, train1, ... are training data, and test, test1, test2, ... are test data; the column
    ``part`` names them for ``split``. Frames of videos are decoded once and stored (``cache_dir``).

    Args:
        root: The folder with train and test (or train1, test1, test2), or with the class folders.
        threshold: Grey level, 0 to 254, above which values of a map count.
        sigma: Standard deviation of the Gaussian at a gaze point, in pixels of a frame 1920 wide; the default is 2
            degrees of visual angle.
        classes: Names of the classes to read; None: all.
        options: See ``StreamDataModule``.
    """

    CLASS_NAMES: ClassVar[tuple[str, ...]] = NINE_CLASSES
    SOURCE: ClassVar[str] = SOURCE
    PAPER: ClassVar[str] = PAPER
    LAYOUTS: ClassVar[tuple[str, ...]] = (
        "<root>/[<part>/]<Class>/<Seq>/ with <Seq>.mp4 or Frames/Frame_<ms>.jpg, and SaliencyMaps/Saliency_00000.png, ... or "
        "fixation_points.txt; <part> is train, test, train1, test1, ..., <Seq> <Class>Place<P>Subject<S>",
        CROPPED_LAYOUT,
    )
    REFERENCE_WIDTH: ClassVar[int] = 1920
    """Of the frames that ``sigma`` is given for."""

    def __init__(
        self,
        root: str | Path,
        threshold: int = 0,
        sigma: float = 38.6,
        classes: list[str] | None = None,
        **options: Any,
    ) -> None:
        if not 0 <= threshold <= 254:
            raise ConfigError(f"data.threshold is a grey level from 0 to 254, not {threshold}.")
        if sigma <= 0:
            raise ConfigError(f"data.sigma must be above 0, not {sigma}.")
        self.threshold = threshold
        self.sigma = sigma
        self.classes = classes
        self.crop_to_box = True
        super().__init__(root, **options)

    def read_samples(self) -> tuple[pd.DataFrame, list[str]]:
        """One row a frame that was looked at, or a crop; in natural order of part, class, sequence and frame."""
        tree = read_tree(self.root, self.LAYOUTS, self.classes, self.findings)
        with_gaze: list[GitwSequence] = []
        maps_of: dict[str, dict[int, str]] = {}
        for sequence in tree.sequences:
            maps_of[sequence.path] = self._map_files(sequence)
            if maps_of[sequence.path] or "fixation_points.txt" in sequence.files:
                with_gaze.append(sequence)
            else:
                self.findings.skip(sequence.path, "sequences without saliency maps and gaze points")
        if not with_gaze and not tree.crops:
            raise DataError(
                f"data.root: {self.root} has {len(tree.sequences)} sequences, but none of them has saliency maps or "
                f"gaze points. Expected {self.LAYOUTS[0]}. To crop to bounding boxes, use BoundingBoxes."
            )
        kept = cache_folder(self.given_root, self.cache_dir)
        workers = max(1, self.num_workers)
        footage = read_footage(with_gaze, self.root, kept, workers, self.findings)
        with_gaze = [sequence for sequence in with_gaze if sequence.path in footage]
        gaze = {sequence.path: self._gaze(sequence, footage[sequence.path]) for sequence in with_gaze}
        wanted = {
            sequence.path: self._wanted_maps(
                sequence, maps_of[sequence.path], footage[sequence.path], gaze[sequence.path]
            )
            for sequence in with_gaze
        }
        rectangles, reasons = facts_of_files(
            {path: self.root / path for maps in wanted.values() for path in maps.values()},
            look_at_map,
            kept,
            f"saliency_maps-rules={DECODING_VERSION}",
            "reading the saliency maps",
            workers,
            threshold=self.threshold,
        )
        for path, reason in reasons.items():
            self.findings.bad(path, reason)
        rows = list(tree.crops)
        for sequence in with_gaze:
            frames = footage[sequence.path]
            if maps_of[sequence.path]:
                rows += self._rows_of_maps(sequence, frames, wanted[sequence.path], rectangles)
            else:
                rows += self._rows_of_gaze(sequence, frames, gaze[sequence.path])
        return make_table(rows, tree, self.findings)

    def _map_files(self, sequence: GitwSequence) -> dict[int, str]:
        """Paths of a sequence's maps by frame."""
        if "SaliencyMaps" not in sequence.folders:
            return {}
        maps = {}
        for entry in entries_of(self.root / sequence.path / "SaliencyMaps"):
            stem, _, suffix = entry.name.rpartition(".")
            number = stem.removeprefix("Saliency_")
            if suffix.lower() == "png" and stem != number and number.isdecimal():
                maps[int(number)] = f"{sequence.path}/SaliencyMaps/{entry.name}"
        return dict(sorted(maps.items()))

    def _gaze(self, sequence: GitwSequence, footage: Footage) -> dict[int, tuple[float, float] | None]:
        """The gaze points by frame, None where the object is absent; empty where no file tells."""
        if "fixation_points.txt" not in sequence.files:
            return {}
        name = f"{sequence.path}/fixation_points.txt"
        points: dict[int, tuple[float, float] | None] = {}
        for place, fields in number_lines(self.root / name, name, self.findings):
            try:
                frame, present = int(fields[0]), int(fields[1])
                x, y = (float(fields[2]), float(fields[3])) if present else (0.0, 0.0)
            except (ValueError, IndexError):
                frame, present, x, y = -1, -1, 0.0, 0.0
            if frame < 0 or present not in (0, 1) or len(fields) > 4 or not np.isfinite([x, y]).all():
                self.findings.problem(
                    f"{place}: expected <frame> <present: 0 or 1> <x> <y>, found {' '.join(fields)!r}"
                )
            elif frame in points:
                self.findings.problem(f"{place}: frame {frame} already has a line")
            else:
                points[frame] = (x, y) if present else None
        if counts_from_one(name, list(points), footage, self.findings):
            return {}
        return dict(sorted(points.items()))

    def _wanted_maps(
        self,
        sequence: GitwSequence,
        maps: dict[int, str],
        footage: Footage,
        gaze: dict[int, tuple[float, float] | None],
    ) -> dict[int, str]:
        """The maps of frames that are there and show the object."""
        if not maps or counts_from_one(f"{sequence.path}/SaliencyMaps", list(maps), footage, self.findings):
            return {}
        for frame in footage.numbers:
            if frame not in maps:
                self.findings.skip(
                    f"{sequence.path}/SaliencyMaps/Saliency_{frame:05d}.png", "frames without a saliency map"
                )
        wanted = {}
        for frame, path in maps.items():
            if footage.image(frame) is None:
                self.findings.bad(path, no_such_frame(frame, footage))
            elif frame in gaze and gaze[frame] is None:
                self.findings.skip(path, ABSENT)
            else:
                wanted[frame] = path
        return wanted

    def _rows_of_maps(
        self, sequence: GitwSequence, footage: Footage, maps: dict[int, str], rectangles: dict[str, Any]
    ) -> list[Row]:
        rows = []
        for frame, path in maps.items():
            if path not in rectangles:
                continue
            height, width, rectangle = rectangles[path]
            if (height, width) != (footage.height, footage.width):
                sizes = f"{width}x{height} pixels, the frame has {footage.width}x{footage.height}"
                self.findings.bad(path, f"the saliency map and its frame differ in size ({sizes})")
            elif rectangle is None:
                self.findings.skip(path, "black saliency maps")
            else:
                rows.append(_row(sequence, footage, frame, rectangle, path))
        return rows

    def _rows_of_gaze(
        self, sequence: GitwSequence, footage: Footage, gaze: dict[int, tuple[float, float] | None]
    ) -> list[Row]:
        rows = []
        for frame in footage.numbers:
            if frame not in gaze:
                self.findings.skip(f"{sequence.path}/fixation_points.txt frame {frame}", "frames without a gaze point")
        sigma = self.sigma * footage.width / self.REFERENCE_WIDTH
        for frame, point in gaze.items():
            place = f"{sequence.path}/fixation_points.txt frame {frame}"
            if point is None:
                self.findings.skip(place, ABSENT)
                continue
            rectangle = gaussian_rectangle(point, sigma, self.threshold, footage.height, footage.width)
            if footage.image(frame) is None:
                self.findings.bad(place, no_such_frame(frame, footage))
            elif rectangle is None:
                self.findings.skip(place, "gaze points outside of the frame")
            else:
                rows.append(_row(sequence, footage, frame, rectangle, None))
        return rows


def look_at_map(file: Path, threshold: int) -> tuple[int, int, list[int] | None]:
    """Height and width of a saliency map, and the bounding rectangle of what is above the threshold."""
    values = decode_grey(file)[0].numpy()
    return values.shape[0], values.shape[1], bounding_rectangle(values > threshold)


def bounding_rectangle(mask: npt.NDArray[np.bool_]) -> list[int] | None:
    """x1, y1, x2, y2 (excluded) of the true values of (h, w); None if there are none."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return None
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


def gaussian_rectangle(
    point: tuple[float, float], sigma: float, threshold: int, height: int, width: int
) -> list[int] | None:
    """The ``bounding_rectangle`` of a Gaussian's grey levels above a threshold, without drawing it.

    With d the distance of a pixel from the point, its grey level is round(255 exp(-d^2 / (2 sigma^2))), which is above
    the threshold where d^2 < -2 sigma^2 ln((threshold + 1/2) / 255): a disc. It is widest in the pixel row that is
    nearest to the point, which need not lie on one.

    Args:
        point: x, y in pixels; pixel (0, 0) has its centre there.
        sigma: Standard deviation, in pixels.
        threshold: 0 to 254.
        height: Of the frame, in pixels.
        width: Likewise.
    """
    x, y = point
    square = -2 * sigma**2 * np.log((threshold + 0.5) / 255)  # of the disc's radius
    nearest_x, nearest_y = min(max(round(x), 0), width - 1), min(max(round(y), 0), height - 1)
    half_width, half_height = (square - (y - nearest_y) ** 2, square - (x - nearest_x) ** 2)
    if half_width < 0 or half_height < 0:
        return None
    x1, x2 = max(int(np.ceil(x - half_width**0.5)), 0), min(int(np.floor(x + half_width**0.5)), width - 1)
    y1, y2 = max(int(np.ceil(y - half_height**0.5)), 0), min(int(np.floor(y + half_height**0.5)), height - 1)
    return [x1, y1, x2 + 1, y2 + 1] if x1 <= x2 and y1 <= y2 else None


def _row(sequence: GitwSequence, footage: Footage, frame: int, rectangle: Sequence[int], saliency: str | None) -> Row:
    image = footage.image(frame)
    if image is None:
        raise DataError(f"{sequence.path}: {no_such_frame(frame, footage)}.")
    x1, y1, x2, y2 = map(float, rectangle)
    box: Box = (x1, y1, x2, y2)
    return Row(image[0], sequence.class_name, sequence.part, sequence.group, image[1], box, saliency)
