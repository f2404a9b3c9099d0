"""Features that are computed once: those of a frozen backbone are the same in every epoch, evaluation and run.

If the learner freezes the backbone, batches hold ``features`` (B, D) instead of images: ``network(batch)`` takes both,
so a strategy does not need to know. They come from a ``FeatureStore``; all processes compute missing features together,
in a separate pass.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lightning_vision.array_types import Rows
from lightning_vision.data.batch_order import Draw
from lightning_vision.data.loaders import make_loader
from lightning_vision.data.process_group import sum_over_processes, wait_for_processes
from lightning_vision.errors import TrainingError
from lightning_vision.features.cached_images import Images, image_key, view_seed
from lightning_vision.features.feature_function import FeatureFunction
from lightning_vision.features.feature_pass import AT_ONCE, FeaturePass, handed_over
from lightning_vision.features.feature_store import FeatureStore, FeatureTable
from lightning_vision.learning.network import Network
from lightning_vision.terminal.progress_bar import progress_bar
from lightning_vision.terminal.wording import listed, plural

VERSION = 2
"""Version of the computation: features of another version are computed again."""
PACKAGES = ("lightning_vision", "torch", "torchvision", "timm")


@dataclass
class FeatureCounts:
    """Numbers of features that a run computed and reused, in images; each view of an image counts."""

    computed: int = 0
    reused: int = 0
    """Features that another run had computed."""
    seconds: float = 0.0
    """Of computing."""
    saved_seconds: float = 0.0
    """Time that computing the reused features took."""
    cosine: float | None = None
    """In mixed precision: the smallest cosine similarity between a few features and those in full precision."""


@dataclass
class _View:
    """One table of features, and the position in it of each row of the sample table."""

    table: FeatureTable
    place: Rows
    """(N,)"""
    asked: npt.NDArray[np.bool_] = field(init=False)
    """(N,) bool, the rows that were requested."""

    def __post_init__(self) -> None:
        self.asked = np.zeros(len(self.place), dtype=np.bool_)


def weights_hash(module: nn.Module) -> str:
    """A hash of a module's state dict."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        value = value.detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


class FeatureCache:
    """The features of a run's images, by row of its sample table.

    Args:
        network: Has the backbone; its weights may change between two calls of ``ensure``, which checks them.
        datamodule: The images.
        folder: The folder of the store.
        rank: Number of this process.
        world_size: Number of processes; all must make the same calls of ``ensure``.
        device: The device of this process.
        precision: ``trainer.precision``.
        context: The context of mixed precision.
        channels_last: The initial memory format.
        counts: Is incremented.
        passing: The pass through the backbone, if there is one already. Default: a new one.
    """

    def __init__(
        self,
        network: Network,
        datamodule: Images,
        folder: Path,
        *,
        rank: int,
        world_size: int,
        device: torch.device,
        precision: str,
        context: Callable[[], AbstractContextManager[Any]],
        channels_last: bool,
        counts: FeatureCounts,
        passing: FeaturePass | None = None,
    ) -> None:
        self.network, self.datamodule = network, datamodule
        self.rank, self.world_size, self.device, self.precision = rank, world_size, device, precision
        self.store = FeatureStore(folder, int(datamodule.feature_cache_gb * 1e9))
        kept = folder / "feature_pass.json"
        self.passing = passing or FeaturePass(network, device, context, kept, channels_last)
        self.counts = counts
        self._views: dict[int, _View] = {}
        self._weights = self._hashed = ""  # of the tables, and of the tensors at the last check
        self._seen: list[int] = []
        self._state: list[Tensor] = []
        """The backbone's tensors, listed once for each stage: listing takes longer than checking whether they changed."""
        self._prepared = False

    def use(self, function: FeatureFunction) -> None:
        """Compute features in another way from now on."""
        if function.described != self.passing.function.described:
            self.close()
        self.passing.function = function

    def ensure(self, rows: Rows, training: bool = False) -> str:
        """Compute the features that are missing for these rows.

        Args:
            rows: Rows of the sample table.
            training: The views of training, if there are several; otherwise that of evaluation.

        Returns:
            The reason why they cannot be cached; empty if they are.
        """
        self._state = [tensor for module in self._modules() for tensor in (*module.parameters(), *module.buffers())]
        if (weights := self._weights_now()) != self._weights:
            self.close()
            self._weights = weights
        views = range(self.datamodule.views) if training and self.datamodule.views else [-1]
        for view in views:
            if reason := self._ensure(rows, view):
                return reason
        return ""

    def take(self, rows: Rows, seeds: Rows) -> Tensor:
        """Features (N, D) of rows (N,); the seed (N,) of each draw selects a view, a negative one the evaluation transform.

        Raises:
            TrainingError: The backbone has changed since they were computed, or ``ensure`` was not called for these rows.
        """
        if self._weights_now() != self._weights:
            raise TrainingError(
                "The backbone changed while cached features were in use for training or prediction. A strategy "
                "that declares freezes_backbone must not change its weights and running statistics."
            )
        count = self.datamodule.views or 0
        views = np.where(seeds < 0, -1, seeds % count) if count else np.full(len(rows), -1)
        features: npt.NDArray[np.float32] = np.empty((len(rows), self.passing.function.width), dtype=np.float32)
        for number in np.unique(views):
            chosen, view = views == number, self._views.get(int(number))
            own = rows[chosen]
            if view is None:
                raise self._never_computed(np.unique(own), int(number))
            try:
                features[chosen] = view.table.read(view.place[own])
            except LookupError as error:
                absent = own[view.table.missing(view.place[own])]
                raise self._never_computed(np.unique(absent), int(number)) from error
        return torch.from_numpy(features)

    def _never_computed(self, rows: Rows, view: int) -> TrainingError:
        """The error for rows that a loader requested and ``ensure`` did not prepare."""
        which = "" if view < 0 else f" in augmented view {view}"
        return TrainingError(
            f"The features of {plural(len(rows), 'image')}{which} were requested and never computed "
            f"({listed(self.datamodule.samples['path'].iloc[rows], 5)}): they belong neither to the data of this stage "
            "nor to the memory of its strategy. A recipe or strategy that serves other rows must declare needs_images; "
            "or set data.feature_cache_gb=0."
        )

    def close(self) -> None:
        """Close the tables."""
        for view in self._views.values():
            view.table.close()
        self._views = {}

    def _weights_now(self) -> str:
        """The hash of the backbone. Tensors count their changes, so it is computed only after a change."""
        seen = [*map(Tensor.data_ptr, self._state), *[tensor._version for tensor in self._state]]  # faster than pairs
        if seen != self._seen:
            self._seen, self._hashed = seen, " ".join(map(weights_hash, self._modules()))
        return self._hashed

    def _modules(self) -> list[nn.Module]:
        """What features may be computed by: the backbone, and its original where it is kept."""
        network = self.network
        return [network.backbone] if network.original is None else [network.backbone, network.original]

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
        if self.world_size > 1:
            wait_for_processes()  # or a slow process would find features that a fast one has just written
        for mine in (missing[self.rank :: self.world_size], missing):
            # The second pass is for machines with separate disks: each computes what is still missing on its own.
            lacking = mine[view.table.missing(view.place[mine])]
            if reason := self._agreed(self._compute(lacking, view, number)):
                return reason
        return ""

    def _view(self, number: int) -> _View | None:
        """The table of a view (negative: evaluation); None if there is no room for it."""
        if number not in self._views:
            datamodule, network = self.datamodule, self.network
            description = {
                "version": VERSION,
                "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
                "backbone": network.facts.name,
                "weights": self._weights,
                **({"grafts": network.grafts} if network.grafts else {}),  # their weights do not tell their options
                "mean": list(network.facts.mean),
                "std": list(network.facts.std),
                "precision": self.precision,
                "device": self.device.type,
                "images": image_key(datamodule, number),
                **self.passing.function.described,
            }
            table = self.store.open(description, self.passing.function.width, len(datamodule.samples))
            if table is None:
                return None
            self._views[number] = _View(table, table.places(datamodule.prepared.digests))
        return self._views[number]

    def _too_many(self) -> str:
        gigabytes = self.datamodule.feature_cache_gb
        return (
            f"the features of {len(self.datamodule.samples)} images do not fit into data.feature_cache_gb={gigabytes:g}"
        )

    def _compute(self, rows: Rows, view: _View, number: int) -> str:
        """Compute and store the features of some rows, each once among the processes of this machine that need it.

        Returns:
            Why they cannot be stored; empty if they are.
        """
        lacking = rows
        while len(lacking):
            begun = time.perf_counter()
            computed, reason = self._compute_unclaimed(lacking, view, number)
            if reason:
                return reason
            if computed:
                seconds = time.perf_counter() - begun
                self.counts.computed += computed
                self.counts.seconds += seconds
                view.table.pace = seconds / computed
            by_others = len(lacking) - computed
            lacking = lacking[view.table.missing(view.place[lacking])]
            view.table.wait(view.place[lacking])  # another run of this machine is computing them
            lacking = lacking[view.table.missing(view.place[lacking])]
            self.counts.reused += by_others - len(lacking)
            self.counts.saved_seconds += (by_others - len(lacking)) * view.table.pace
        return ""

    def _compute_unclaimed(self, rows: Rows, view: _View, number: int) -> tuple[int, str]:
        """Compute the features of those rows that no other process is computing; how many, and why they cannot be stored."""
        size, computed = handed_over(self.device), 0
        batches = self._claimed(rows, view, number, size)
        first_batch = next(batches, None)
        if first_batch is None:
            return 0, ""
        dataset = self.datamodule.image_dataset()
        loader = iter(make_loader(dataset, chain([first_batch], batches), self.datamodule.num_workers))
        with ExitStack() as stack:
            stack.callback(view.table.release, view.place[rows])
            first = next(loader)
            advance = stack.enter_context(progress_bar("computing features", -(-len(rows) // size)))
            self._prepare(first["image"])
            stack.enter_context(self.passing.in_format())
            for batch in chain([first], loader):
                features = self.passing.compute(batch["image"])
                self._check(features, batch["index"])
                places = view.place[batch["index"].numpy()]
                try:
                    view.table.write(places, features.numpy())
                except OSError as error:
                    return 0, f"they cannot be stored in {self.store.folder}: {error.strerror or error}"
                view.table.release(places)
                computed += len(places)
                advance()
        self.passing.check_pace()
        return computed, ""

    def _claimed(self, rows: Rows, view: _View, number: int, size: int) -> Iterator[list[Draw]]:
        """Batches of rows that this process has claimed, each when the loader asks for it."""
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            own = some[view.table.claim(view.place[some])].tolist()
            if own:
                yield [Draw(row, -1, view_seed(self.datamodule, row, number), valid=True, memory=False) for row in own]

    def _prepare(self, images: Tensor) -> None:
        """Before the first images of this run, choose how to compute, and measure the effect of mixed precision.

        The choice is made for all images of the table: a stream requests them part by part.
        """
        if self._prepared:
            return
        if len(images) >= AT_ONCE:
            self.passing.tune(images, len(self.datamodule.samples), self.precision)
        self.counts.cosine = self.passing.cosine_to_full_precision(images)
        self._prepared = True

    def _check(self, features: Tensor, index: Tensor) -> None:
        """Refuse features from which nothing can be learned.

        Raises:
            TrainingError: Features are not finite.
        """
        wrong = index[~torch.isfinite(features).all(dim=1)]
        if len(wrong):
            paths = self.datamodule.samples["path"].iloc[wrong.numpy()]
            raise TrainingError(
                f"The backbone gives features that are not finite for {plural(len(wrong), 'image')} ({listed(paths, 5)}), so "
                "nothing can be learned from them. Earlier checkpoints are kept. Check the training of the base, or use "
                "trainer.precision=32-true."
            )

    def _agreed(self, failure: str) -> str:
        """The reason why a process cannot continue, the same on all processes."""
        if self.world_size == 1:  # the first of several may be alone in using this cache
            return failure
        failed = sum_over_processes(torch.tensor(float(bool(failure)), device=self.device))
        return "another process cannot store them" if failed and not failure else failure
