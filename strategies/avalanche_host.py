"""What an Avalanche plugin takes for its strategy: the attributes that it reads, filled by the Lightning loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.data import IterableDataset

from lightning_vision.data.batch import Batch
from lightning_vision.data.process_group import sum_over_processes
from lightning_vision.data.stream import Experience
from lightning_vision.learning.network import Network
from lightning_vision.results.predictions import in_stream_order

UNSEEN = -1000.0
"""The logit of a class that was not seen yet, as in Avalanche's ``IncrementalClassifier``: finite, so that a norm of the
logits (MAS) has a gradient."""


class PluginModel(nn.Module):
    """The network as Avalanche would have it: all logits, those of unseen classes masked.

    Its parameters are the network's own. A deep copy of it is a ``Snapshot``: a real one would follow the network's hooks
    into the classifier and copy that too.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.features: Tensor | None = None  # (B, D) of the last batch

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, C) of normalised images (B, 3, H, W)."""
        self.features = self.network.features(image)
        logits: Tensor = self.network.head(self.features)
        return logits.masked_fill(~self.network.seen, UNSEEN)

    def __deepcopy__(self, memo: dict[int, Any]) -> Snapshot:
        return Snapshot(self.network, {name: value.detach().clone() for name, value in self.state_dict().items()})


class Snapshot:
    """A network as it was: former weights and running statistics, run through the network's own modules.

    Like the copies that Avalanche makes, it is in the network's mode: in training it normalises by the batch.

    Args:
        network: As it is now.
        state: As it was: tensors by the names that they have in a ``PluginModel``.
    """

    def __init__(self, network: Network, state: dict[str, Tensor]) -> None:
        self._model = PluginModel(network)
        self.state = state

    def __call__(self, image: Tensor) -> Tensor:
        """Logits (B, C)."""
        logits: Tensor = functional_call(self._model, self.state, (image,))
        return logits

    @property
    def features(self) -> Tensor | None:
        """(B, D) of the last batch that it was called with."""
        return self._model.features


class ExperienceData(IterableDataset[tuple[Tensor, Tensor, int]]):
    """The training data of an experience, image by image: (image, label, task 0), the same on every process.

    Args:
        batches: Of the experience, in the stream's order, striped over the processes.
        experience: What they are of.
    """

    def __init__(self, batches: Iterable[Batch], experience: Experience) -> None:
        self._batches = batches
        self._size = len(experience.indices)
        classes = SimpleNamespace(targets=SimpleNamespace(uniques=set(experience.classes)))
        self.targets_task_labels = SimpleNamespace(uniques={0})
        self.task_set = {0: classes}

    @property
    def batch_size(self) -> int:
        """Images of a batch, on all processes together."""
        return len(next(self._global_batches())[1])

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, int]]:
        for images, labels in self._global_batches():
            yield from ((image, label, 0) for image, label in zip(images, labels, strict=True))

    def _global_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Images (B, 3, H, W) and labels (B,) of all processes together."""
        images, labels = torch.empty(0), torch.empty(0)
        batches = iter(self._batches)
        while True:
            batch = next(batches, None)  # a process may be left without an image of the last one
            if batch is None:
                images, labels = images[:0], labels[:0]
            else:
                images, labels = batch["image"][batch["valid"]], batch["label"][batch["valid"]]
            total = int(sum_over_processes(torch.tensor(len(labels), device=images.device)))
            if not total:
                return
            yield in_stream_order(images, total), in_stream_order(labels, total)


class PluginHost:
    """Stands in for the Avalanche strategy. What it does not offer at a point, it names when a plugin asks for it.

    Args:
        plugin: Name of the plugin, for messages.
        criterion: Cross entropy from logits (B, C) and labels (B,).
    """

    model: PluginModel
    device: torch.device
    mb_output: Tensor
    loss: Tensor

    def __init__(self, plugin: str, criterion: Callable[[Tensor, Tensor], Tensor]) -> None:
        self._plugin = plugin
        self._criterion = criterion
        self.clock = SimpleNamespace(train_exp_counter=0)
        """``train_exp_counter``: the experiences that are behind it, the base among them."""

    def enter(self, network: Network) -> bool:
        """Offer a network, whose optimizer can clear gradients only; says whether it moved to another device.

        A resumed run calls this before the network is on a GPU.
        """
        before = vars(self).get("device", network.seen.device)
        self.device = network.seen.device
        if "model" not in vars(self) or self.model.network is not network:
            self.model = PluginModel(network)
            self.optimizer = SimpleNamespace(zero_grad=self.model.zero_grad)
        return bool(before != self.device)

    def offer(self, **attributes: Any) -> None:
        """Offer more, until ``clear``."""
        vars(self).update(attributes)

    def offer_batch(self, image: Tensor, label: Tensor) -> None:
        """Offer a batch, all of one task, without a loss yet."""
        task = torch.zeros_like(label)
        self.offer(mbatch=[image, label, task], mb_x=image, mb_y=label, mb_task_id=task)
        self.loss = torch.zeros(1, device=label.device)

    def offer_experience(self, data: ExperienceData) -> None:
        """Offer the data of an experience."""
        self.offer(experience=SimpleNamespace(dataset=data))

    @property
    def train_mb_size(self) -> int:
        """Images of a batch, on all processes together: those of the experience's data."""
        data: ExperienceData = self.experience.dataset
        return data.batch_size

    def clear(self) -> None:
        """Keep no batch, no data and no gradient."""
        lasting = {"_plugin", "_criterion", "clock", "device", "model", "optimizer"}
        for name in vars(self).keys() - lasting:
            delattr(self, name)
        self.model.features = None
        self.model.zero_grad()

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"{vars(self).get('_plugin')} reads strategy.{name}, which the Lightning loop does not provide here"
        )
