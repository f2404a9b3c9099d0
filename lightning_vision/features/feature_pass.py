"""Images through a frozen backbone, in the memory format and the micro-batches that are fastest on this machine."""

from __future__ import annotations

import json
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
"""A pass that would take less is not measured beforehand."""
MICRO_BATCHES = {"cpu": (4, 8, 16, 32), "cuda": (32, 64, 128, 256)}
UNMEASURED = {"cpu": 8, "cuda": 128}
"""Images of a micro-batch where nothing was measured: on a CPU larger ones leave its cache, and are often slower."""
AT_ONCE = 32
"""Images of a micro-batch on other devices."""


def handed_over(device: torch.device) -> int:
    """Images that a loader hands over at once: whole micro-batches, for a part of one is filled up."""
    return max(MICRO_BATCHES.get(device.type, (AT_ONCE,)))


@dataclass(frozen=True)
class Way:
    """How images go through the backbone; the features do not depend on it but for rounding."""

    micro_batch: int
    channels_last: bool


class FeaturePass:
    """Images through a backbone in evaluation mode, in the memory format and micro-batch that are fastest here.

    Args:
        network: Has the backbone.
        device: Where it computes.
        context: Of mixed precision.
        kept: File in which the measurements of this machine are kept.
        channels_last: The format to begin with.
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

    def tune(self, images: Tensor, count: int, precision: str) -> None:
        """Choose the way by measurement, once a machine and backbone, if the pass is long enough to be worth it.

        Args:
            images: uint8 (N, 3, H, W), AT_ONCE or more.
            count: Images that the pass will have.
            precision: ``trainer.precision``.
        """
        key = " ".join(
            (
                platform.node(),
                torch.cuda.get_device_name(self.device)
                if self.device.type == "cuda"
                else f"{torch.get_num_threads()} threads",
                f"{self.network.facts.name} {tuple(images.shape[1:])} {precision} torch {torch.__version__}",
            )
        )
        known = _read_json(self.kept)
        if key in known:
            self.way = Way(**known[key])
            return
        seconds = {self.way: self._seconds(images, self.way)}
        if seconds[self.way] * count < WORTH_TUNING_SECONDS:
            return
        for size in MICRO_BATCHES.get(self.device.type, (AT_ONCE,)):
            way = Way(size, self.way.channels_last)
            best = min(seconds.values())
            if way not in seconds:
                seconds[way] = self._seconds(images, way)
            if size > self.way.micro_batch and seconds[way] > 1.2 * best:
                break  # larger ones leave the cache
        size = min(seconds, key=seconds.__getitem__).micro_batch
        other = Way(size, not self.way.channels_last)
        seconds[other] = self._seconds(images, other)
        self.way = min(seconds, key=seconds.__getitem__)
        keep("Measurements of this machine", self.kept, lambda: self._keep(key))

    def _keep(self, key: str) -> None:
        with locked(self.kept.parent, self.kept.name):
            text = json.dumps({**_read_json(self.kept), key: asdict(self.way)}, indent=1)
            write_text_atomically(self.kept, text)

    def compute(self, images: Tensor) -> Tensor:
        """Features (N, D) float32, on the CPU, of uint8 images (N, 3, H, W)."""
        size = self.way.micro_batch
        parts = []
        for start in range(0, len(images), size):
            part = images[start : start + size]
            # Always as many images: the last bits of a feature change with the size of its batch.
            filled = torch.cat([part, part[-1:].expand(size - len(part), -1, -1, -1)]) if len(part) < size else part
            parts.append(self._forward(filled, self.way)[: len(part)])
        self.network.backbone_images += len(images)
        return torch.cat(parts).float().cpu()

    def cosine_to_full_precision(self, images: Tensor) -> float | None:
        """The smallest cosine between the features of images (N, 3, H, W) and those without mixed precision."""
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
        """Seconds an image: the faster of two tries after one to warm up."""
        copies = -(-way.micro_batch // len(images))
        part = images.repeat(copies, 1, 1, 1)[: way.micro_batch]
        with self.in_format(way):
            times = []
            for _ in range(3):
                self._wait()
                begun = time.perf_counter()
                self._forward(part, way)
                self._wait()
                times.append(time.perf_counter() - begun)
        return min(times[1:]) / len(part)

    @contextmanager
    def in_format(self, way: Way | None = None) -> Iterator[None]:
        """The backbone in evaluation mode and its weights in the memory format of a way, and both as before afterwards."""
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


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # it is measured anew
        return {}
    return content if isinstance(content, dict) else {}
