"""Prepares the sample table of a datamodule before training: inspection, split and leaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from torch import Tensor

from lightning_vision.array_types import Rows
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.data.inspection import How, Inspection, digests_of_loaded, inspect_files, inspect_loaded
from lightning_vision.data.leaks import Leaks, find_leaks, settle_leaks
from lightning_vision.data.new_classes import learned_before, test_rows
from lightning_vision.data.sample_table import SPLITS, check_samples, count_images, spell_names, split_hash
from lightning_vision.data.scenarios import Scenario
from lightning_vision.data.split_options import left_out
from lightning_vision.data.stratified_split import why_none
from lightning_vision.data.stream import Stream
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.images.decoded_cache import DecodedImages
from lightning_vision.images.image_sources import FileImages, ImageSource, Joined, Loaded, boxes_of
from lightning_vision.images.video_frames import files_of_rows
from lightning_vision.terminal.wording import listed, nfc, plural


class TableImages:
    """The images of a sample table before it is filtered, by row.

    Args:
        samples: The table.
        root: Its paths are relative to it.
        workers: Number of threads that inspect the images.
        cut: Crop images to their ``box_xyxy``.
        context: The total by which a box is widened, as a share of its sides.
        folder: The folder that stores facts about files; None if ``load`` gives the images.
        load: Gives the image of a row, uint8 (3, h, w), if rows are not image files.
        stored: Gives the content of the image file of a row, if it lies within another file.
    """

    def __init__(
        self,
        samples: pd.DataFrame,
        root: Path,
        workers: int,
        cut: bool,
        context: float,
        folder: Path | None,
        load: Callable[[int], Tensor],
        stored: Callable[[int], bytes] | None = None,
    ) -> None:
        self.samples, self.root, self.workers, self.cut, self.folder = samples, root, workers, cut, folder
        self.source: FileImages | Loaded
        self._failed: dict[Path, str] = {}
        if folder is None:
            self.source = Loaded(load, stored)
            return
        saliency = None
        if "saliency" in samples:
            saliency = [root / path if isinstance(path, str) else None for path in samples["saliency"]]
        files, self._failed = files_of_rows(samples, root, folder, max(1, workers))
        self.source = FileImages(files, boxes_of(samples), saliency, cut, context)

    def inspect(self, name: str, problems: DataProblems, how: How | None) -> Inspection:
        """Inspect the images.

        Args:
            name: The name of the datamodule's class, which has its own stored inspections.
            problems: Collects the images that cannot be used.
            how: See ``StreamDataModule``.
        """
        if self.folder is None or isinstance(self.source, Loaded):
            inspection = inspect_loaded(self.source, len(self.samples), self.workers, how)
        else:
            kept = self.folder / f"inspection-{name}{'-boxes' if self.cut else ''}.npz"
            inspection = inspect_files(self.source, self.workers, kept, how)
        for video, reason in self._failed.items():
            problems.bad(video.relative_to(self.root).as_posix(), reason)
        for row in np.flatnonzero(inspection.reason != ""):
            path = self.samples["path"].iloc[row]
            if self.root / str(path) in self._failed:
                continue  # reported once for all its frames
            frame = self.samples["frame"].iloc[row] if "frame" in self.samples else -1
            problems.bad(f"{path}{f' frame {frame}' if frame >= 0 else ''}", str(inspection.reason[row]))
        if told := inspection.limits(how):
            problems.remark(told)
        return inspection


class PreparedData:
    """A sample table in which every row can be used and is in a split, with the facts about each row.

    Args:
        images: The images of the table before it is filtered.
        name: The name of the datamodule's class.
        class_names: The C names.
        problems: Collects problems.
        on_bad_image: See ``StreamDataModule``, as for ``on_leak``.
        split: ``apply_split`` with the options; it is given the table and the values to stratify by.
        scenario: Cuts the stream.
        test_data: Its test images replace those of the table; its labels must mean the same classes.
        on_leak: How to handle images that are on two sides of the split.
        fractions: The shares that are cut off for testing and validation.
        how: How the images are inspected.
        allows_new: Classes may be new beside those of a base; test images of ``test_data`` are added.

    Attributes:
        samples: The table.
        inspection: The facts about its images.
        source: Opens the images.
        leaks: Images and groups that are still on several sides of the split.
        official_test: The data has a test set of its own.
        split_hash: Identifies the split.
    """

    def __init__(
        self,
        images: TableImages,
        name: str,
        class_names: Sequence[str],
        problems: DataProblems,
        on_bad_image: Literal["error", "skip"],
        split: Callable[..., tuple[pd.DataFrame, Rows]],
        scenario: Scenario,
        test_data: PreparedData | None,
        on_leak: Literal["warn", "drop", "error"],
        fractions: tuple[float, float],
        how: How | None,
        allows_new: bool = False,
    ) -> None:
        self.root, self.name, self.class_names = images.root, name, list(class_names)
        self.own_source = images.source
        """Opens images by row of the table before it was filtered, which itself is not kept."""
        self._problems, self._scenario, self.allows_new = problems, scenario, allows_new
        self.base_classes: list[str] | None = None
        """The classes that were learned before the stream begins, where new ones are allowed beside them."""
        self._stream: Stream | None = None
        self._has_base = True
        self._tune_on: int | None = None
        self.decoded: DecodedImages | None = None
        self._others = [] if test_data is None else [test_data.source]
        self._workers = max(1, images.workers)
        self._digests: npt.NDArray[np.uint8] | None = None
        self.official_test = bool((images.samples["split"] == "test").any())
        inspection = images.inspect(name, problems, how)
        problems.check(images.root, on_bad_image)
        usable = np.flatnonzero(inspection.reason == "")
        problems.remarks += [f"{images.root}: {told}" for told in _depths(inspection.mode[usable])]
        if len(usable) == 0:
            raise _nothing_left(images.root, problems)
        table = images.samples.iloc[usable].reset_index(drop=True)
        self.samples, rows = split(samples=table, stratify_by=scenario.key_column(table))
        if told := left_out(table, rows):
            problems.remark(told)
        self.origin: Rows = usable[rows]
        """(N,) the row of each in the table before it was filtered, of this data or of ``test_data``."""
        self.from_other = np.zeros(len(rows), dtype=np.bool_)
        """(N,) whether a row is of ``test_data``."""
        self.inspection = inspection.take(self.origin)
        if test_data is not None:
            self._take_test_data(test_data)
        self.leaks = self._settle_leaks(on_leak, images.folder)
        self.source: ImageSource = Joined(
            [self.own_source, *self._others], self.from_other.astype(np.int8), self.origin
        )
        self.split_hash = split_hash(self.samples)
        self.not_evaluated = _why_not_evaluated(self.samples, fractions, scenario)
        """A sentence for each of the test and the validation set that has no image; empty if both have some."""
        problems.remarks[:0] = self.not_evaluated

    def use_class_names(self, names: Sequence[str]) -> None:
        """Use another class list, longer or in another order, and relabel by name; the split does not change.

        Raises:
            DataError: A class of this data is not on the list.
        """
        place_of = {nfc(name): place for place, name in enumerate(names)}
        absent = [name for name in self.class_names if nfc(name) not in place_of]
        if absent:
            raise DataError(
                f"This data has {'a class' if len(absent) == 1 else 'classes'} that the classifier does not know: "
                f"{listed(absent)}. It knows {listed(names)}. "
                "Rename or remove them, or train a new base on all classes."
            )
        new_labels = np.array([place_of[nfc(name)] for name in self.class_names], dtype=np.int64)
        self.samples = self.samples.assign(label=new_labels[self.samples["label"].to_numpy()])
        self._scenario = self._scenario.named(self.class_names)
        self.class_names, self._stream = list(names), None
        self.split_hash = split_hash(self.samples)

    def describe(self) -> dict[str, Any]:
        """Facts for the record: images of each part of the split, and what was found on the disk."""
        counts = count_images(self.samples, len(self.class_names))
        per_class = {
            name: dict(zip(SPLITS, row, strict=True))
            for name, row in zip(self.class_names, counts.tolist(), strict=True)
        }
        return {
            "samples": dict(zip(SPLITS, counts.sum(axis=0).tolist(), strict=True)),
            "samples_per_class": per_class,
            "remarks": list(self._problems.remarks),
            "skipped": len(self._problems.skipped),
            "leaks": self.leaks.counts(),
            "not_inspected": self.inspection.undecoded,
        }

    @property
    def digests(self) -> npt.NDArray[np.uint8]:
        """(N, 16) identities of the images, for keys of caches: of images in memory hashed here if nobody has, and once."""
        if self._digests is None:
            self._digests = self.inspection.digest
            missing = np.flatnonzero(~self._digests.any(axis=1))
            if len(missing):
                self._digests = self._digests.copy()
                self._digests[missing] = digests_of_loaded(self.source, missing, self._workers)
        return self._digests

    def keep_decoded(self, side: int, folder: Path, gigabytes: float) -> None:
        """Store the decoded images, reduced, in a file.

        Args:
            side: The shorter side to which they are reduced, in pixels.
            folder: The folder of the file.
            gigabytes: Maximum size of all such files in it.

        Raises:
            ConfigError: The sizes of the images are not known.
        """
        if not self.inspection.height.all():
            raise ConfigError(
                "data.cache=decoded needs the sizes of the images, and images that are not files were not inspected: set "
                "data.inspect=full, or remove data.cache."
            )
        sizes = np.stack([self.inspection.height, self.inspection.width], axis=1)
        self.decoded = DecodedImages(self.source, sizes, self.digests, side, folder, int(gigabytes * 1e9))
        if self.decoded.left_out:
            self._problems.remark(
                f"{plural(self.decoded.left_out, 'image')} of {len(self.samples)} do not fit into data.cache_gb={gigabytes:g} "
                "and are decoded each time."
            )

    @property
    def decoded_side(self) -> int:
        """The shorter side to which images are reduced before any transform; 0 if they are not."""
        return 0 if self.decoded is None else self.decoded.side

    @property
    def opened(self) -> ImageSource:
        """Opens the images of the table, from the cache of decoded images if there is one."""
        return self.source if self.decoded is None else self.decoded

    @property
    def stream(self) -> Stream:
        """The experiences.

        They are built at the first access: the test data of another datamodule may be too small for them.
        """
        return self.build_stream() if self._stream is None else self._stream

    def build_stream(self) -> Stream:
        """Cut the stream.

        Raises:
            ConfigError: The scenario does not fit the data.
        """
        learned = learned_before(self.samples, self.class_names, self.base_classes) if self.allows_new else ()
        built = self._scenario.build(self.samples, self.class_names, learned)
        built = built if self._has_base else built.without_base()
        self._stream = built if self._tune_on is None else built.on_validation(self._tune_on)
        return self._stream

    def start_from(self, base_classes: Sequence[str]) -> None:
        """Count classes as learned before the stream begins, if new ones are allowed beside them."""
        self.base_classes, self._stream = list(base_classes), None

    def serve_base(self, has_base: bool) -> None:
        """Whether the base strategy learns experience 0, as the scenario has it, or the learning strategy does."""
        if has_base != self._has_base:
            self._has_base, self._stream = has_base, None

    def tune_on(self, first: int) -> None:
        """Evaluate on the validation images of the first experiences; see ``Stream.on_validation``."""
        self._tune_on, self._stream = first, None

    def _take_test_data(self, other: PreparedData) -> None:
        """Replace the test rows by those of ``test_data``, or add these beside new classes."""
        taken = test_rows(other.samples, other.official_test, self.allows_new)
        own = self.samples if self.allows_new else self.samples[self.samples["split"] != "test"]
        if len(own) < len(self.samples):
            self._problems.remark(
                f"{plural(len(self.samples) - len(own), 'test image')} of {self.root} are not used: data.test_data is."
            )
        self.origin = np.concatenate([self.origin[own.index], taken.index.to_numpy(dtype=np.int64)])
        self.from_other = np.repeat([False, True], [len(own), len(taken)])
        self.inspection = Inspection.joined(
            [
                self.inspection.take(own.index.to_numpy(dtype=np.int64)),
                other.inspection.take(taken.index.to_numpy(dtype=np.int64)),
            ]
        )
        tables = [own.assign(source=""), taken.assign(source=other.name, split="test")]
        self.samples = pd.concat(tables, ignore_index=True)

    def _settle_leaks(self, on_leak: Literal["warn", "drop", "error"], folder: Path | None) -> Leaks:
        """Find leaks and handle them as ``on_leak`` says; return those that remain."""
        leaks, kept, remarks = settle_leaks(self.samples, self.inspection, on_leak, str(self.root), folder)
        self._problems.remarks += remarks
        if len(kept) == len(self.samples):
            return leaks
        self.samples = self.samples.iloc[kept].reset_index(drop=True)
        self.inspection = self.inspection.take(kept)
        self.origin, self.from_other = self.origin[kept], self.from_other[kept]
        return find_leaks(self.samples, self.inspection, folder)


def read_table(
    read: Callable[[], tuple[pd.DataFrame, list[str]]],
    root: Path,
    problems: DataProblems,
    on_bad_image: Literal["error", "skip"],
) -> tuple[pd.DataFrame, list[str]]:
    """A sample table and its class names as a datamodule reads them, checked.

    Raises:
        DataError: They cannot be read or used.
    """
    try:
        # Beside pyarrow, pandas would keep texts in Arrow, which cannot hold the name of a file that is no UTF-8.
        with pd.option_context("mode.string_storage", "python"):
            samples, names = read()
    except PermissionError as error:
        raise DataError(
            f"data.root: no permission to read {error.filename or root}. Allow it to be read, or remove it from the data."
        ) from error
    samples, names = spell_names(samples, names)
    problems.check(root, on_bad_image)
    if len(samples) == 0 and problems.skipped:
        raise _nothing_left(root, problems)
    check_samples(samples, names)
    return samples, names


def _depths(modes: npt.NDArray[np.object_]) -> list[str]:
    """Sentences about 16-bit files that use fewer bits."""
    fewer: Counter[str] = Counter()
    for mode, count in sorted(Counter(mode for mode in modes.tolist() if mode.endswith(" bits")).items()):
        fewer[mode.split()[-2]] += count
    said = []
    if fewer:
        told = " and ".join(
            f"{count} use {bits} (no pixel is above {2 ** int(bits) - 1})" for bits, count in fewer.items()
        )
        whole = sum(mode.startswith("I;16") and not mode.endswith(" bits") for mode in modes.tolist())
        mixed = len(fewer) + (whole > 0) > 1
        said.append(
            f"{plural(fewer.total(), 'image')} of {fewer.total() + whole} in 16-bit files use fewer bits: {told}. Of each image "
            "the upper 8 of the bits that it uses are read"
            + (
                ": images of different depth cannot be compared in brightness. Save them with one depth."
                if mixed
                else "."
            )
        )
    if cut := sum(mode.endswith(" bits cut") for mode in modes.tolist()):
        said.append(
            f"{plural(cut, 'image')} with transparency and 16 bits a channel use fewer and are read nearly black: Pillow gives "
            "the upper 8 of 16 bits of these. Scale them to 16 bits, or save them with 8."
        )
    return said


def _why_not_evaluated(samples: pd.DataFrame, fractions: tuple[float, float], scenario: Scenario) -> list[str]:
    """What is not evaluated, and why; a validation set that was not asked for is not missed."""
    split, said = samples["split"].to_numpy(dtype=object), []
    if not (split == "test").any():
        why = why_none(samples, fractions[0], scenario.key_column(samples))
        said.append(f"Not evaluated: there is no test image, because {why}. The run has no test accuracy.")
    if fractions[1] > 0 and not (split == "val").any():
        trained = samples[split == "train"].reset_index(drop=True)
        why = why_none(trained, fractions[1], scenario.key_column(trained))
        said.append(
            f"No validation images, because {why}. Nothing is chosen by validation accuracy: no best epoch, no variant."
        )
    return said


def _nothing_left(root: Path, problems: DataProblems) -> DataError:
    skipped = f"{plural(len(problems.skipped), 'file')} ({problems.counted()})"
    return DataError(f"{root}: no image is left to learn from. Skipped: {skipped}.")
