"""Runs images through a frozen backbone, with the memory format and micro-batches that are fastest on this machine."""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision.learning.network import Network
from lightning_vision.storage.atomic_write import write_text_atomically
from lightning_vision.storage.cache_folder import keep, locked

WORTH_TUNING_SECONDS = 10.0
"""A pass that takes less time is not measured beforehand."""
ROUNDS = 3
"""Number of rounds in which all ways are measured."""
FAR_OFF = 1.6
"""A way that is slower than another by this factor is not measured again; a pass that differs by it drops the choice."""
CLOSE = 1.1
"""Ways whose times differ by no more than this factor count as equal."""
ENOUGH_IMAGES = 256
"""Fewer images do not determine the speed of a pass."""
MICRO_BATCHES = {"cpu": (4, 8, 16, 32), "cuda": (32, 64, 128, 256)}
UNMEASURED = {"cpu": 8, "cuda": 128}
"""Default images of a micro-batch on a CPU: larger ones exceed its cache and are often slower."""
AT_ONCE = 32
"""Default images of a micro-batch on other devices."""


def handed_over(device: torch.device) -> int:
    """Images that a loader passes at once: a multiple of the micro-batches, because incomplete ones are padded."""
    return max(MICRO_BATCHES.get(device.type, (AT_ONCE,)))


@dataclass(frozen=True)
class Way:
    """A way to run images through the backbone; the features depend on it only by rounding."""

    micro_batch: int
    channels_last: bool


class FeaturePass:
    """Runs images through a backbone in evaluation mode, with the fastest memory format and micro-batch.

    Args:
        network: Has the backbone.
        device: The device of the computation.
        context: The context of mixed precision.
        kept: File that stores the measurements of this machine.
        channels_last: The initial memory format.
    """

    def __init__(
        self,
        network: Network,
        device: torch.device,
        context: Callable[[], AbstractContextManager[Any]],
        kept: Path,
        channels_last: bool,
    ) -> None:
        self.network, self.device, self.context, self.kept = network, device, context, kept
        self.way = Way(UNMEASURED.get(device.type, AT_ONCE), channels_last)
        self._key = ""
        self._promised = 0.0  # seconds per image; 0: nothing was measured
        self._computed, self._computing_seconds = 0, 0.0

    def tune(self, images: Tensor, count: int, precision: str) -> None:
        """Choose the fastest way by measurement, once per machine and backbone, if the pass is long enough.

        All ways are measured in turn, ROUNDS times, and the fastest round of each counts: other work on the machine slows
        neighbouring measurements, and seldom all of one way. A choice on which the rounds disagree is not stored.

        Args:
            images: uint8 (N, 3, H, W), AT_ONCE or more.
            count: Number of images in the pass.
            precision: ``trainer.precision``.
        """
        self._key = " ".join(
            (
                platform.node(),
                torch.cuda.get_device_name(self.device)
                if self.device.type == "cuda"
                else f"{torch.get_num_threads()} threads",
                f"{self.network.facts.name} {tuple(images.shape[1:])} {precision} torch {torch.__version__}",
            )
        )
        known = _read_json(self.kept).get(self._key)
        if isinstance(known, dict) and set(known) == {"micro_batch", "channels_last", "seconds"}:
            self.way, self._promised = Way(known["micro_batch"], known["channels_last"]), known["seconds"]
            return
        with self.in_format():
            self._seconds(images, self.way)
            if self._seconds(images, self.way) * count < WORTH_TUNING_SECONDS:
                return
        rounds = self._measure(images)
        fastest = {way: min(found.values()) for way, found in rounds.items()}
        self.way = min(fastest, key=fastest.__getitem__)
        self._promised = fastest[self.way]
        if _agree(rounds, self.way):
            self._write({**asdict(self.way), "seconds": self._promised})

    def _measure(self, images: Tensor) -> dict[Way, dict[int, float]]:
        """Seconds per image of each way, by round."""
        times: dict[Way, dict[int, float]] = {}

        def hopeless(way: Way) -> bool:
            """Whether it was far from the best twice, so that another program was not the cause."""
            found = times.get(way, {}).values()
            return len(found) > 1 and min(found) > FAR_OFF * min(min(each.values()) for each in times.values())

        for number in range(ROUNDS):
            for channels_last in (self.way.channels_last, not self.way.channels_last):
                with self.in_format(Way(AT_ONCE, channels_last)):
                    fastest = math.inf
                    for size in MICRO_BATCHES.get(self.device.type, (AT_ONCE,)):
                        way = Way(size, channels_last)
                        if way not in times:
                            self._seconds(images, way)  # the first is slower: it chooses kernels and allocates memory
                        if not hopeless(way):
                            times.setdefault(way, {})[number] = self._seconds(images, way)
                        found = min(times[way].values())
                        if found > FAR_OFF * fastest:
                            break  # larger ones exceed the cache too
                        fastest = min(fastest, found)
        return times

    def _write(self, measured: dict[str, Any] | None) -> None:
        """Store the measurement; None: delete it."""

        def write() -> None:
            with locked(self.kept.parent, self.kept.name):
                known = {key: value for key, value in _read_json(self.kept).items() if key != self._key}
                write_text_atomically(
                    self.kept, json.dumps(known if measured is None else {**known, self._key: measured}, indent=1)
                )

        keep("Measurements of this machine", self.kept, write)

    def check_pace(self) -> None:
        """Delete the measurement if the images so far took much more or less time than it predicts."""
        if self._promised and self._computed >= ENOUGH_IMAGES:
            ratio = self._computing_seconds / self._computed / self._promised
            if not 1 / FAR_OFF <= ratio <= FAR_OFF:
                self._write(None)
        self._computed, self._computing_seconds = 0, 0.0

    def compute(self, images: Tensor) -> Tensor:
        """Features (N, D) float32, on the CPU, of uint8 images (N, 3, H, W)."""
        size = self.way.micro_batch
        parts = []
        begun = time.perf_counter()
        for start in range(0, len(images), size):
            part = images[start : start + size]
            # Always the same number of images: the last bits of a feature depend on the size of its batch.
            filled = torch.cat([part, part[-1:].expand(size - len(part), -1, -1, -1)]) if len(part) < size else part
            parts.append(self._forward(filled, self.way)[: len(part)])
        features = torch.cat(parts).float().cpu()
        self._computing_seconds += time.perf_counter() - begun
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
                full = self.network.backbone(self._prepared(images, self.way))
        return float(F.cosine_similarity(mixed.float(), full.float()).min())

    def _forward(self, images: Tensor, way: Way) -> Tensor:
        with torch.inference_mode(), self.context():
            features: Tensor = self.network.backbone(self._prepared(images, way))
            return features

    def _prepared(self, images: Tensor, way: Way) -> Tensor:
        image = self.network.normalise(images.to(self.device, non_blocking=True))
        return image.contiguous(memory_format=_memory_format(way))

    def _seconds(self, images: Tensor, way: Way) -> float:
        """Seconds per image of one micro-batch; the weights already have the way's format."""
        copies = -(-way.micro_batch // len(images))
        part = images.repeat(copies, 1, 1, 1)[: way.micro_batch]
        self._wait()
        begun = time.perf_counter()
        self._forward(part, way)
        self._wait()
        return (time.perf_counter() - begun) / len(part)

    @contextmanager
    def in_format(self, way: Way | None = None) -> Iterator[None]:
        """Set the backbone to evaluation mode and to the memory format of a way, and restore both afterwards."""
        backbone = self.network.backbone
        training = [module for module in backbone.modules() if module.training]
        weights = [(parameter, parameter.data) for parameter in backbone.parameters() if parameter.dim() == 4]
        backbone.eval()
        for parameter, data in weights:
            parameter.data = data.contiguous(memory_format=_memory_format(way or self.way))
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


def _memory_format(way: Way) -> torch.memory_format:
    return torch.channels_last if way.channels_last else torch.contiguous_format


def _agree(times: dict[Way, dict[int, float]], chosen: Way) -> bool:
    """Whether the chosen way was the fastest, or equal to it, in most rounds."""
    close = [
        seconds <= CLOSE * min(found[number] for found in times.values() if number in found)
        for number, seconds in times[chosen].items()
    ]
    return 2 * sum(close) > ROUNDS


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # it is measured again
        return {}
    return content if isinstance(content, dict) else {}
