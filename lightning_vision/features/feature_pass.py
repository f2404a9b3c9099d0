"""Computes the features of images with a frozen backbone, with the memory format and micro-batches that are fastest on this machine."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision.features.fastest_way import FAR_OFF, Sample, Way, choose_way
from lightning_vision.features.feature_function import FeatureFunction
from lightning_vision.learning.network import Network
from lightning_vision.storage.atomic_write import write_text_atomically
from lightning_vision.storage.cache_folder import keep, locked

WORTH_TUNING_SECONDS = 10.0
"""A pass that takes less time is not measured beforehand."""
TUNING_SHARE = 0.25
"""The measurement takes no more than this share of the time that is expected for the pass."""
INTERRUPTIONS_PER_SECOND = 20
"""Other work that takes the processor away more often disturbs a measurement."""
ENOUGH_IMAGES = 256
"""Fewer images do not determine the speed of a pass."""
MICRO_BATCHES = {"cpu": (4, 8, 16, 32), "cuda": (32, 64, 128, 256)}
UNMEASURED = {"cpu": 8, "cuda": 128}
"""Default images of a micro-batch on a CPU: larger ones exceed its cache and are often slower."""
AT_ONCE = 32
"""Default images of a micro-batch on other devices."""
KEPT = {"micro_batch", "channels_last", "own_seconds"}
"""What is stored of a measurement; one with other keys is of another version."""


def handed_over(device: torch.device) -> int:
    """Images that a loader passes at once: a multiple of the micro-batches, because incomplete ones are padded."""
    return max(MICRO_BATCHES.get(device.type, (AT_ONCE,)))


class FeaturePass:
    """Runs images through a backbone in evaluation mode, with the fastest memory format and micro-batch.

    Args:
        network: Has the backbone.
        device: The device of the computation.
        context: The context of mixed precision.
        kept: File that stores the measurements of this machine; None stores nothing.
        channels_last: The initial memory format.
    """

    def __init__(
        self,
        network: Network,
        device: torch.device,
        context: Callable[[], AbstractContextManager[Any]],
        kept: Path | None,
        channels_last: bool,
    ) -> None:
        self.network, self.device, self.context, self.kept = network, device, context, kept
        self.function = FeatureFunction(network)
        """What computes the features; the backbone alone, unless a strategy has its own."""
        self.way = Way(UNMEASURED.get(device.type, AT_ONCE), channels_last)
        self._key = ""
        self._promised = 0.0  # seconds per image by ``_own_clock``; 0: nothing was measured
        self._computed, self._pace = 0, math.inf  # images, and the shortest time of one by ``_own_clock``

    def tune(self, images: Tensor, count: int, precision: str) -> None:
        """Choose the fastest way by measurement, once per machine and backbone, if the pass is long enough.

        See ``choose_way``. A choice on which the rounds disagree is not stored. Processes that need the same measurement wait
        for the first one, because they would disturb each other.

        Args:
            images: uint8 (N, 3, H, W), AT_ONCE or more.
            count: Number of images in the pass.
            precision: ``trainer.precision``.
        """
        key = " ".join(
            (
                platform.node(),
                torch.cuda.get_device_name(self.device)
                if self.device.type == "cuda"
                else f"{torch.get_num_threads()} threads",
                f"{self.network.facts.name}{self.function.name} {tuple(images.shape[1:])} {precision} torch {torch.__version__}",
            )
        )
        if key == self._key and self._promised:
            return  # it was chosen for other images of this process
        self._key, self._promised = key, 0.0
        if self._find():
            return
        with self._measuring():
            if not self._find():  # another process may have stored it in the meantime
                self._measure(images, count)

    def _find(self) -> bool:
        """Use the stored measurement, if there is one."""
        known = {} if self.kept is None else _read_json(self.kept).get(self._key)
        if not isinstance(known, dict) or set(known) != KEPT:
            return False
        self.way, self._promised = Way(known["micro_batch"], known["channels_last"]), known["own_seconds"]
        return True

    @contextmanager
    def _measuring(self) -> Iterator[None]:
        """Keep other processes of this machine from the same measurement."""
        with ExitStack() as stack:
            if self.kept is not None:
                name = f"{self.kept.stem}-{hashlib.sha256(self._key.encode()).hexdigest()[:12]}"
                with suppress(OSError):  # such as a full disk, on which the measurement cannot be stored either
                    stack.enter_context(locked(self.kept.parent, name))
            yield

    def _measure(self, images: Tensor, count: int) -> None:
        """Choose a way if a pass of ``count`` images is long enough, and store it if the rounds agree."""
        with self.in_format():
            self._sample(images, self.way)
            expected = self._sample(images, self.way).wall * count
        if expected < WORTH_TUNING_SECONDS:
            return
        with self._formats() as use:

            def measure(way: Way) -> Sample:
                use(way)
                return self._sample(images, way)

            sizes = MICRO_BATCHES.get(self.device.type, (AT_ONCE,))
            chosen = choose_way(self.way.channels_last, sizes, measure, seconds=expected * TUNING_SHARE)
        self.way, self._promised = chosen.way, chosen.own
        if chosen.agreed:
            self._write({**asdict(self.way), "own_seconds": self._promised})

    def _write(self, measured: dict[str, Any] | None) -> None:
        """Store the measurement; None: delete it."""
        path = self.kept
        if path is None:
            return

        def write() -> None:
            with locked(path.parent, path.name):
                known = {key: value for key, value in _read_json(path).items() if key != self._key}
                write_text_atomically(
                    path, json.dumps(known if measured is None else {**known, self._key: measured}, indent=1)
                )

        keep("Measurements of this machine", path, write)

    def check_pace(self) -> None:
        """Delete the measurement if the images so far took much more or less time than it predicts.

        The fastest of them count, as in the measurement, and on a CPU the time of the processor: a busy machine does not make
        the choice wrong.
        """
        if (
            self._promised
            and self._computed >= ENOUGH_IMAGES
            and not 1 / FAR_OFF <= self._pace / self._promised <= FAR_OFF
        ):
            self._write(None)
        self._computed, self._pace = 0, math.inf

    def compute(self, images: Tensor) -> Tensor:
        """Features (N, D) float32, on the CPU, of uint8 images (N, 3, H, W)."""
        size = self.way.micro_batch
        parts = []
        begun = self._own_clock()
        for start in range(0, len(images), size):
            part = images[start : start + size]
            # Always the same number of images: the last bits of a feature depend on the size of its batch.
            filled = torch.cat([part, part[-1:].expand(size - len(part), -1, -1, -1)]) if len(part) < size else part
            parts.append(self._forward(filled, self.way)[: len(part)])
        features = torch.cat(parts).float().cpu()
        if len(images) >= size:
            self._pace = min(self._pace, (self._own_clock() - begun) / len(images))
            self._computed += len(images)
        self.network.backbone_images += len(images)
        return features

    def cosine_to_full_precision(self, images: Tensor) -> float | None:
        """The smallest cosine similarity between features of images (N, 3, H, W) with and without mixed precision."""
        if not torch.is_autocast_enabled(self.device.type):
            with self.context():
                if not torch.is_autocast_enabled(self.device.type):
                    return None
        with self.in_format():  # in evaluation mode: batch norm must not learn from them
            mixed = self._forward(images, self.way)
            with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
                full = self.function(self._prepared(images, self.way))
        return float(F.cosine_similarity(mixed.float(), full.float()).min())

    def _forward(self, images: Tensor, way: Way) -> Tensor:
        with torch.inference_mode(), self.context():
            return self.function(self._prepared(images, way))

    def _prepared(self, images: Tensor, way: Way) -> Tensor:
        image = self.network.normalise(images.to(self.device, non_blocking=True))
        return image.contiguous(memory_format=_memory_format(way.channels_last))

    def _sample(self, images: Tensor, way: Way) -> Sample:
        """The time of one micro-batch; the weights already have the way's format."""
        copies = -(-way.micro_batch // len(images))
        part = images.repeat(copies, 1, 1, 1)[: way.micro_batch]
        self._wait()
        interruptions = getrusage(RUSAGE_SELF).ru_nivcsw
        begun, own = time.perf_counter(), self._own_clock()
        self._forward(part, way)
        self._wait()
        wall, own = time.perf_counter() - begun, self._own_clock() - own
        interruptions = getrusage(RUSAGE_SELF).ru_nivcsw - interruptions
        disturbed = self.device.type == "cpu" and interruptions > 1 + INTERRUPTIONS_PER_SECOND * wall
        return Sample(wall / len(part), own / len(part), disturbed)

    def _own_clock(self) -> float:
        """The time that this thread has used: on a CPU without that in which other programs had its processor."""
        return time.thread_time() if self.device.type == "cpu" else time.perf_counter()

    @contextmanager
    def _formats(self) -> Iterator[Callable[[Way], None]]:
        """A function that gives the weights the format of a way, at no cost: both are prepared."""
        with self.in_format():
            weights = [parameter for parameter in self.network.backbone.parameters() if parameter.dim() == 4]
            forms = {
                form: [parameter.data.contiguous(memory_format=_memory_format(form)) for parameter in weights]
                for form in (True, False)
            }

            def use(way: Way) -> None:
                for parameter, data in zip(weights, forms[way.channels_last], strict=True):
                    parameter.data = data

            yield use

    @contextmanager
    def in_format(self, way: Way | None = None) -> Iterator[None]:
        """Set the backbone to evaluation mode and to the memory format of a way, and restore both afterwards."""
        backbone = self.network.backbone
        training = [module for module in backbone.modules() if module.training]
        weights = [(parameter, parameter.data) for parameter in backbone.parameters() if parameter.dim() == 4]
        backbone.eval()
        for parameter, data in weights:
            parameter.data = data.contiguous(memory_format=_memory_format((way or self.way).channels_last))
        try:
            yield
        finally:
            for parameter, data in weights:
                parameter.data = data
            for module in training:
                module.training = True

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _memory_format(channels_last: bool) -> torch.memory_format:
    return torch.channels_last if channels_last else torch.contiguous_format


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # it is measured again
        return {}
    return content if isinstance(content, dict) else {}
