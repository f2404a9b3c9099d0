"""Features computed once: what a frozen backbone makes of an image is the same in every epoch, evaluation and run.

Where the learner freezes the backbone, batches hold ``features`` (B, D) in place of images: ``network(batch)``
takes both, so a strategy does not need to know. They come from a ``FeatureStore``; what it lacks is computed by all
processes together in a pass of its own.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lightning_vision.array_types import Rows
from lightning_vision.data.batch_order import Draw
from lightning_vision.data.loaders import make_loader
from lightning_vision.data.process_group import sum_over_processes, wait_for_processes
from lightning_vision.errors import TrainingError
from lightning_vision.features.feature_pass import AT_ONCE, FeaturePass, handed_over
from lightning_vision.features.feature_store import FeatureStore, FeatureTable
from lightning_vision.learning.network import Network
from lightning_vision.seeding import derive_seed
from lightning_vision.terminal.progress_bar import progress_bar
from lightning_vision.terminal.wording import listed, plural

if TYPE_CHECKING:
    from lightning_vision.data.datamodule import StreamDataModule

VERSION = 2
"""Of how features are computed: those of another version are computed again."""
PACKAGES = ("lightning_vision", "torch", "torchvision", "timm")


@dataclass
class FeatureCounts:
    """How many features a run computed and reused, in images; an image with several views counts once a view."""

    computed: int = 0
    reused: int = 0
    """There already when the run first needed them: another run had computed them."""
    seconds: float = 0.0
    """Of computing."""
    saved_seconds: float = 0.0
    """What computing took where features were reused."""
    cosine: float | None = None
    """In mixed precision: the smallest cosine between a few features and those in full precision."""


@dataclass
class _View:
    """One table of features, and where in it each row of the sample table lies."""

    table: FeatureTable
    place: Rows
    """(N,)"""
    asked: npt.NDArray[np.bool_] = field(init=False)
    """(N,) the rows that were asked for."""

    def __post_init__(self) -> None:
        self.asked = np.zeros(len(self.place), dtype=np.bool_)


def image_key(datamodule: StreamDataModule, view: int) -> dict[str, Any]:
    """All that is done to the images of a datamodule before a frozen backbone is given them, as plain values.

    Together with a row's digest it says what the backbone sees: equal keys and digests, equal pixels.

    Args:
        datamodule: The images.
        view: Number of an augmented view; a negative one is the evaluation transform.
    """
    described = datamodule.image_dataset().describe(augmented=view >= 0)
    return {**described, "view": None if view < 0 else [datamodule.seed, view]}


def view_seed(datamodule: StreamDataModule, row: int, view: int) -> int:
    """What a row's augmentation in a view is drawn with: by its content, so that it is the same in any table and run."""
    if view < 0:
        return -1
    return derive_seed(datamodule.seed, "view", view, datamodule.inspection.digest[row].tobytes().hex())


def weights_hash(module: nn.Module) -> str:
    """A hash of all that a module's state dict holds."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        value = value.detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


class FeatureCache:
    """The features of a run's images, by row of its sample table.

    Args:
        network: Has the backbone; its weights may change between two calls of ``ensure``, and are looked at anew.
        datamodule: The images.
        folder: Where the store lies.
        rank: Number of this process.
        world_size: Number of processes; all must call ``ensure`` alike.
        device: Where this process computes.
        precision: ``trainer.precision``.
        context: Of mixed precision.
        channels_last: The memory format to begin with.
        counts: Is added to.
    """

    def __init__(
        self,
        network: Network,
        datamodule: StreamDataModule,
        folder: Path,
        *,
        rank: int,
        world_size: int,
        device: torch.device,
        precision: str,
        context: Callable[[], AbstractContextManager[Any]],
        channels_last: bool,
        counts: FeatureCounts,
    ) -> None:
        self.network, self.datamodule = network, datamodule
        self.rank, self.world_size, self.device, self.precision = rank, world_size, device, precision
        self.store = FeatureStore(folder, int(datamodule.feature_cache_gb * 1e9))
        self.passing = FeaturePass(network, device, context, folder / "feature_pass.json", channels_last)
        self.counts = counts
        self._views: dict[int, _View] = {}
        self._weights = self._hashed = ""  # of the tables, and of the tensors when they were last looked at
        self._seen: list[tuple[int, int]] = []
        self._state: list[Tensor] = []
        """The backbone's tensors, listed anew for each stage: listing takes longer than looking whether they changed."""
        self._prepared = False

    def ensure(self, rows: Rows, training: bool = False) -> str:
        """Compute the features that are missing for these rows.

        Args:
            rows: Of the sample table.
            training: The views of training, where there are several; otherwise that of evaluation.

        Returns:
            Why they cannot be cached; empty if they are.
        """
        self._state = [*self.network.backbone.parameters(), *self.network.backbone.buffers()]
        if (weights := self._weights_now()) != self._weights:
            self.close()
            self._weights = weights
        views = range(self.datamodule.views) if training and self.datamodule.views else [-1]
        for view in views:
            if reason := self._ensure(rows, view):
                return reason
        return ""

    def take(self, rows: Rows, seeds: Rows) -> Tensor:
        """Features (N, D) of rows (N,); the seed (N,) of each draw chooses among its views, a negative one is evaluation.

        Raises:
            TrainingError: The backbone is no longer the one that they were computed with; or ``ensure`` was not asked for
                these rows.
        """
        if self._weights_now() != self._weights:
            raise TrainingError(
                "The backbone changed while features that were computed before were learned from, or predicted with. A strategy "
                "that declares freezes_backbone must leave its weights and running statistics as they are."
            )
        count = self.datamodule.views or 0
        views = np.where(seeds < 0, -1, seeds % count) if count else np.full(len(rows), -1)
        features: npt.NDArray[np.float32] = np.empty((len(rows), self.network.facts.num_features), dtype=np.float32)
        for number in np.unique(views):
            chosen, view = views == number, self._views.get(int(number))
            absent = (
                np.ones(chosen.sum(), dtype=np.bool_) if view is None else view.table.missing(view.place[rows[chosen]])
            )
            if view is None or absent.any():
                raise self._never_computed(np.unique(rows[chosen][absent]), int(number))
            features[chosen] = view.table.read(view.place[rows[chosen]])
        return torch.from_numpy(features)

    def _never_computed(self, rows: Rows, view: int) -> TrainingError:
        """Of rows that a loader was asked for and this stage was not."""
        which = "" if view < 0 else f" in augmented view {view}"
        return TrainingError(
            f"The features of {plural(len(rows), 'image')}{which} were asked for and never computed "
            f"({listed(self.datamodule.samples['path'].iloc[rows], 5)}): they belong neither to what this stage trains on or "
            "evaluates nor to the memory of its strategy. A recipe that serves other rows must declare needs_images, and so "
            "must a strategy; or set data.feature_cache_gb=0."
        )

    def close(self) -> None:
        """Close the tables."""
        for view in self._views.values():
            view.table.close()
        self._views = {}

    def _weights_now(self) -> str:
        """The hash of the backbone as it is. Tensors count their changes, so that it is taken only after one."""
        seen = [(tensor.data_ptr(), tensor._version) for tensor in self._state]
        if seen != self._seen:
            self._seen, self._hashed = seen, weights_hash(self.network.backbone)
        return self._hashed

    def _ensure(self, rows: Rows, number: int) -> str:
        try:
            view = self._view(number)
            failure = "" if view is not None else self._too_many()
        except (OSError, TrainingError) as error:
            view, failure = None, str(error)
        if reason := self._agreed(failure) or view is None:
            return str(reason)
        missing = np.unique(rows[view.table.missing(view.place[rows])])
        found = np.setdiff1d(rows[~view.asked[rows]], missing)
        self.counts.reused += len(found)
        self.counts.saved_seconds += len(found) * view.table.pace
        view.asked[rows] = True
        wait_for_processes()  # or a fast process would have written what a slow one finds there already
        for mine in (missing[self.rank :: self.world_size], missing):
            # The second time for machines that do not see each other's files: each computes what it still lacks.
            lacking = mine[view.table.missing(view.place[mine])]
            if reason := self._agreed(self._compute(lacking, view, number)):
                return reason
        return ""

    def _view(self, number: int) -> _View | None:
        """The table of a view, a negative one being that of evaluation; None if there is no room for it."""
        if number not in self._views:
            datamodule, network = self.datamodule, self.network
            description = {
                "version": VERSION,
                "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
                "backbone": network.facts.name,
                "weights": self._weights,
                "mean": list(network.facts.mean),
                "std": list(network.facts.std),
                "precision": self.precision,
                "device": self.device.type,
                "images": image_key(datamodule, number),
            }
            table = self.store.open(description, network.facts.num_features, len(datamodule.samples))
            if table is None:
                return None
            self._views[number] = _View(table, table.places(datamodule.inspection.digest))
        return self._views[number]

    def _too_many(self) -> str:
        gigabytes = self.datamodule.feature_cache_gb
        return (
            f"the features of {len(self.datamodule.samples)} images do not fit into data.feature_cache_gb={gigabytes:g}"
        )

    def _compute(self, rows: Rows, view: _View, number: int) -> str:
        """Compute and store the features of some rows; returns why they cannot be stored."""
        if len(rows) == 0:
            return ""
        begun = time.perf_counter()
        draws = [
            Draw(int(row), -1, view_seed(self.datamodule, int(row), number), valid=True, memory=False) for row in rows
        ]
        size = handed_over(self.device)
        batches = [draws[start : start + size] for start in range(0, len(draws), size)]
        loader = iter(make_loader(self.datamodule.image_dataset(), batches, self.datamodule.num_workers))
        first = next(loader)
        with ExitStack() as stack:
            advance = stack.enter_context(progress_bar("computing features", len(batches)))
            self._prepare(first["image"])
            stack.enter_context(self.passing.in_format())
            for batch in chain([first], loader):
                features = self.passing.compute(batch["image"])
                self._check(features, batch["index"])
                try:
                    view.table.write(view.place[batch["index"].numpy()], features.numpy())
                except OSError as error:
                    return f"they cannot be kept in {self.store.folder}: {error.strerror or error}"
                advance()
        self.passing.check_pace()
        seconds = time.perf_counter() - begun
        self.counts.computed += len(rows)
        self.counts.seconds += seconds
        view.table.pace = seconds / len(rows)
        return ""

    def _prepare(self, images: Tensor) -> None:
        """Before the first images of this run: choose the way, and see what mixed precision does to features.

        The way is for all images of the table: a stream asks for them part by part.
        """
        if self._prepared:
            return
        if len(images) >= AT_ONCE:
            self.passing.tune(images, len(self.datamodule.samples), self.precision)
        self.counts.cosine = self.passing.cosine_to_full_precision(images)
        self._prepared = True

    def _check(self, features: Tensor, index: Tensor) -> None:
        """Refuse what nothing can be learned from.

        Raises:
            TrainingError: Features are not finite.
        """
        wrong = index[~torch.isfinite(features).all(dim=1)]
        if len(wrong):
            paths = self.datamodule.samples["path"].iloc[wrong.numpy()]
            raise TrainingError(
                f"The backbone gives features that are not finite for {plural(len(wrong), 'image')} ({listed(paths, 5)}), so "
                "nothing can be learned from them. What was learned before is kept. Look at the base's training, or use "
                "trainer.precision=32-true."
            )

    def _agreed(self, failure: str) -> str:
        """Why some process cannot go on, the same on all."""
        failed = sum_over_processes(torch.tensor(float(bool(failure)), device=self.device))
        return "another process cannot keep them" if failed and not failure else failure
