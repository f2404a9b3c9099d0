"""The description of data before training: counts, sizes, the stream, leaks and problems."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from lightning_vision.array_types import Rows
from lightning_vision.data.leaks import Leaks
from lightning_vision.data.sample_table import SPLITS, count_images
from lightning_vision.data_report.capture_times import CaptureTimes, find_times
from lightning_vision.data_report.origins import Origins, find_origins
from lightning_vision.seeding import derive_seed
from lightning_vision.terminal.progress_bar import progress_bar
from lightning_vision.terminal.wording import natural_key

if TYPE_CHECKING:
    from lightning_vision.data.datamodule import StreamDataModule

MOST_MEASURED = 500
"""Maximum number of images for mean and standard deviation."""
MOST_CLASSES_SHOWN = 40
"""Maximum number of classes with samples."""
SAMPLES_PER_CLASS = 3
MOST_BINS = 24
LONG_TAIL = 8
"""Ratio of largest and smallest side above which the scale is logarithmic."""
SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Histogram:
    """Numbers of values in ranges."""

    title: str
    unit: str
    edges: npt.NDArray[np.float64]
    """(B + 1,) ascending, with equal steps, or with equal factors if ``logarithmic``."""
    counts: Counts
    """(B,) counts from an edge to below the next; the last bin includes its upper edge."""
    lowest: float
    median: float
    highest: float
    logarithmic: bool = False


@dataclass(frozen=True)
class Cut:
    """The data of an experience."""

    name: str
    is_base: bool
    train: int
    val: int
    test: int
    new_classes: int


@dataclass(frozen=True)
class Crossing:
    """Numbers of training images per experience and class or domain."""

    title: str
    names: tuple[str, ...]
    """The N classes or domains."""
    counts: Counts
    """(T, N)."""


@dataclass(frozen=True)
class SplitGroups:
    """Groups of near copies in one part of the split."""

    split: str
    groups: int
    largest: int
    images: int
    """Number of images in a group."""


@dataclass(frozen=True)
class DataReport:
    """The content of the terminal output and the page."""

    source: str
    """Name of the datamodule."""
    about: str
    """The first line of its docstring."""
    root: str
    options: dict[str, Any]
    seed: int
    split_hash: str
    stream_hash: str
    scenario: str
    class_names: tuple[str, ...]
    counts: Counts
    """(C, 3) images of each class in training, validation and test data."""
    sizes: tuple[Histogram, ...]
    formats: tuple[tuple[str, str, int], ...]
    """Format, mode and number of images, the most frequent first."""
    cuts: tuple[Cut, ...]
    crossings: tuple[Crossing, ...]
    groups: tuple[SplitGroups, ...]
    """Empty if the data has no groups."""
    mean: tuple[float, float, float]
    """Red, green and blue, as a share of full brightness."""
    deviation: tuple[float, float, float]
    measured: int
    """Number of measured images."""
    measurable: int
    """Number of training images."""
    examples: dict[int, tuple[int, ...]]
    """Rows of the sample table that are shown, by label."""
    origins: Origins
    times: CaptureTimes | None
    """None if no time is known."""
    leaks: Leaks
    skipped: tuple[tuple[str, tuple[str, ...]], ...]
    """Reason and paths of skipped files, the most frequent reason first."""
    unusable: tuple[tuple[str, str], ...]
    """Path and reason."""
    remarks: tuple[str, ...]
    sampler: str
    class_weights: tuple[float, ...] | None
    paths: tuple[str, ...]
    """Paths of the rows of the sample table."""

    @property
    def totals(self) -> Counts:
        """(3,) images in training, validation and test data."""
        totals: Counts = self.counts.sum(axis=0)
        return totals

    @property
    def imbalance(self) -> float | None:
        """Ratio of training images of the largest and the smallest nonempty class; None with fewer than two classes."""
        trained = self.counts[:, 0][self.counts[:, 0] > 0]
        return float(trained.max() / trained.min()) if len(trained) > 1 else None

    @property
    def without(self) -> dict[str, list[str]]:
        """Names of classes without an image, for each nonempty split."""
        return {
            split: [name for name, count in zip(self.class_names, self.counts[:, number], strict=True) if count == 0]
            for number, split in enumerate(SPLITS)
            if self.totals[number] > 0 and (self.counts[:, number] == 0).any()
        }

    @property
    def unread(self) -> int:
        """Skipped and unusable files."""
        return sum(len(paths) for _, paths in self.skipped) + len(self.unusable)


def describe(datamodule: StreamDataModule, seed: int = 0) -> DataReport:
    """Describe the data.

    Args:
        datamodule: The data.
        seed: Seed of the images that are shown and measured.
    """
    samples, facts = datamodule.samples, datamodule.facts()
    labels, split = samples["label"].to_numpy(), samples["split"].to_numpy(dtype=object)
    train = np.flatnonzero(split == "train")
    names = tuple(datamodule.class_names)
    counts = count_images(samples, len(names))
    mean, deviation, measured = _measure(datamodule, train, seed)
    findings = datamodule.findings
    by_reason: dict[str, list[str]] = {}
    for path, reason in findings.skipped:
        by_reason.setdefault(reason, []).append(path)
    weights, told = datamodule.class_weight_values(), datamodule.leaks.sentence()
    return DataReport(
        source=type(datamodule).__name__,
        about=(type(datamodule).__doc__ or "").strip().split("\n")[0].replace("``", ""),
        root=str(datamodule.given_root),
        options=datamodule.describe()["init_args"],
        seed=seed,
        split_hash=datamodule.split_hash,
        stream_hash=datamodule.stream.hash,
        scenario=datamodule.stream.scenario,
        class_names=names,
        counts=counts,
        sizes=_sizes(facts["width"].to_numpy(), facts["height"].to_numpy(), facts["bytes"].to_numpy()),
        formats=tuple(
            (kind, mode, count)
            for (kind, mode), count in Counter(zip(facts["format"], facts["mode"], strict=True)).most_common()
        ),
        cuts=tuple(
            Cut(item.name, item.is_base, len(item.indices), len(item.val_indices), len(item.test_indices),
                len(item.new_classes))
            for item in datamodule.stream
        ),
        crossings=_crossings(datamodule),
        groups=_groups(datamodule),
        mean=mean,
        deviation=deviation,
        measured=measured,
        measurable=len(train),
        examples=_examples(labels, split, len(names), seed),
        origins=find_origins(samples, names, [path for path, _ in findings.skipped]),
        times=find_times(samples, names, datamodule.inspection),
        leaks=datamodule.leaks,
        skipped=tuple((reason, tuple(paths)) for reason, paths in sorted(by_reason.items(), key=lambda r: -len(r[1]))),
        unusable=tuple(findings.unusable),
        remarks=tuple(remark for remark in findings.remarks if not told or told not in remark),  # said once is enough
        sampler=datamodule.sampler,
        class_weights=None if weights is None else tuple(weights),
        paths=tuple(samples["path"]),
    )  # fmt: skip


def _measure(
    datamodule: StreamDataModule, rows: Rows, seed: int
) -> tuple[tuple[float, float, float], tuple[float, float, float], int]:
    """Mean and standard deviation of each channel over pixels, and the number of images."""
    generator = np.random.default_rng(derive_seed(seed, "data page", "measured"))
    chosen = np.sort(generator.choice(rows, min(MOST_MEASURED, len(rows)), replace=False))
    total, squares, pixels = np.zeros(3), np.zeros(3), 0

    def sums(row: np.int64) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], int]:
        values = datamodule.preview(int(row)).reshape(3, -1).to(torch.float64) / 255  # (3, H * W)
        return values.sum(dim=1).numpy(), values.square().sum(dim=1).numpy(), values.shape[1]

    workers = max(1, datamodule.num_workers)
    with ThreadPoolExecutor(workers) as pool, progress_bar("measuring brightness", len(chosen)) as advance:
        for one, two, count in pool.map(sums, chosen):
            total, squares, pixels = total + one, squares + two, pixels + count
            advance()
    mean = total / max(1, pixels)
    deviation = np.sqrt(np.maximum(squares / max(1, pixels) - mean**2, 0))
    red, green, blue = mean.tolist()
    red_deviation, green_deviation, blue_deviation = deviation.tolist()
    return (red, green, blue), (red_deviation, green_deviation, blue_deviation), len(chosen)


def _sizes(width: npt.NDArray[Any], height: npt.NDArray[Any], size: npt.NDArray[Any]) -> tuple[Histogram, ...]:
    known = (width > 0) & (height > 0)
    if not known.any():
        return ()
    width, height = width[known].astype(np.float64), height[known].astype(np.float64)
    found = [
        _histogram("width", "pixels", width, logarithmic=width.max() > LONG_TAIL * width.min()),
        _histogram("height", "pixels", height, logarithmic=height.max() > LONG_TAIL * height.min()),
        _histogram("aspect", "width / height", width / height, logarithmic=True),
    ]
    if (size > 0).any():
        found.append(_histogram("file size", "kB", size[size > 0] / 1000, logarithmic=True))
    return tuple(found)


def _histogram(title: str, unit: str, values: npt.NDArray[np.float64], logarithmic: bool = False) -> Histogram:
    low, high = float(values.min()), float(values.max())
    bins = min(MOST_BINS, max(1, len(np.unique(values))))
    if low == high:
        edges = np.array([low * 0.95, high * 1.05])
    elif logarithmic:
        edges = np.geomspace(low, high, bins + 1)
        edges[[0, -1]] = low, high  # rounding would put the extremes outside
    else:
        edges = np.linspace(low, high, bins + 1)
    counts = np.histogram(values, bins=edges)[0]
    return Histogram(title, unit, edges, counts, low, float(np.median(values)), high, logarithmic)


def _crossings(datamodule: StreamDataModule) -> tuple[Crossing, ...]:
    """Experiences by class, and by domain if the table has this column."""
    samples, stream = datamodule.samples, datamodule.stream
    labels = samples["label"].to_numpy()
    classes = len(datamodule.class_names)
    by_class = [np.bincount(labels[item.indices], minlength=classes) for item in stream]
    found = [Crossing("class", tuple(datamodule.class_names), np.stack(by_class))]
    if "domain" in samples:
        domains = samples["domain"].dropna()
        names = sorted({str(name) for name in domains}, key=natural_key)
        codes = np.full(len(samples), -1, dtype=np.int64)
        codes[domains.index] = domains.map(str).map({name: code for code, name in enumerate(names)}).to_numpy()
        by_domain = [
            np.bincount(known[known >= 0], minlength=len(names)) for item in stream for known in [codes[item.indices]]
        ]
        if names:
            found.append(Crossing("domain", tuple(names), np.stack(by_domain)))
    return tuple(found)


def _groups(datamodule: StreamDataModule) -> tuple[SplitGroups, ...]:
    samples = datamodule.samples
    if "group" not in samples or samples["group"].isna().all():
        return ()
    found = []
    for part in SPLITS:
        sizes = samples.loc[samples["split"] == part, "group"].dropna().value_counts()
        if len(sizes):
            found.append(SplitGroups(part, len(sizes), int(sizes.max()), int(sizes.sum())))
    return tuple(found)


def _examples(labels: Rows, split: npt.NDArray[np.object_], classes: int, seed: int) -> dict[int, tuple[int, ...]]:
    """Training images (others if a class has none) of all classes, or of some classes spread over the list."""
    shown = np.unique(np.linspace(0, classes - 1, min(classes, MOST_CLASSES_SHOWN)).round().astype(np.int64))
    found: dict[int, tuple[int, ...]] = {}
    for label in shown.tolist():
        rows = np.flatnonzero((labels == label) & (split == "train"))
        rows = rows if len(rows) else np.flatnonzero(labels == label)
        generator = np.random.default_rng(derive_seed(seed, "data page", "shown", label))
        chosen = np.sort(generator.choice(rows, min(SAMPLES_PER_CLASS, len(rows)), replace=False))
        found[label] = tuple(chosen.tolist())
    return found
