"""A network and batches small enough to compute by hand."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lightning_vision import Batch, Experience
from lightning_vision.learning.backbones import BackboneFacts
from lightning_vision.learning.network import Network

HALF = (0.5, 0.5, 0.5)


def tiny_network(
    classes: int = 4, features: int = 5, seen: Sequence[int] = (0, 1, 2, 3), *, norm: bool = False, seed: int = 0
) -> Network:
    """A linear backbone on images (3, 2, 2), with batch norm and dropout if asked for, in evaluation mode."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(12, features), nn.Tanh()]
    if norm:
        layers[2:2] = [nn.BatchNorm1d(features), nn.Dropout(0.5)]
    network = Network(nn.Sequential(*layers), BackboneFacts("none", features, HALF, HALF), classes)
    network.see(seen)
    return network.eval()


def tiny_batch(label: Sequence[int], first: int = 0, seed: int = 1) -> Batch:
    """Noise with these labels; the rows count on from the first."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.arange(first, first + len(label))
    return {
        "image": torch.randn(len(label), 3, 2, 2, generator=generator),
        "label": torch.tensor(label),
        "index": index,
        "experience": torch.zeros_like(index),
        "valid": torch.ones(len(label), dtype=torch.bool),
    }


def flat(network: Network) -> Tensor:
    """All parameters (P,)."""
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def saved_parameters(state: dict[str, Tensor]) -> Tensor:
    """All parameters (P,) of a network in a checkpoint, in their order."""
    statistics = ("running_mean", "running_var", "num_batches_tracked", "seen")
    names = [name for name in state if name.startswith("network.") and not name.endswith(statistics)]
    return torch.cat([state[name].flatten() for name in names])


def tiny_experience(index: int, batch: Batch, before: Sequence[int] = ()) -> Experience:
    """The experience that a batch is the training data of, after one that had the classes ``before``."""
    classes = tuple(sorted(set(batch["label"].tolist())))
    return Experience(
        index=index,
        name=f"experience {index}",
        is_base=index == 0,
        classes=classes,
        new_classes=tuple(sorted(set(classes) - set(before))),
        seen_classes=tuple(sorted({*classes, *before})),
        indices=batch["index"].numpy(),
        val_indices=np.empty(0, dtype=np.int64),
        test_indices=np.empty(0, dtype=np.int64),
        labels=batch["label"].numpy(),
    )


def part_of(batch: Batch, rows: slice) -> Batch:
    """Some images of a batch."""
    return {
        "image": batch["image"][rows].clone(),
        "label": batch["label"][rows].clone(),
        "index": batch["index"][rows].clone(),
        "experience": batch["experience"][rows].clone(),
        "valid": batch["valid"][rows].clone(),
    }


def recorder(given: list[Tensor]) -> Callable[[Tensor], Tensor]:
    """A stand-in for ``Strategy.reduce`` that notes down what a process gives to it."""

    def reduce(tensor: Tensor) -> Tensor:
        given.append(tensor)
        return tensor

    return reduce
