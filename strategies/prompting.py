"""What the strategies share that learn prompts for a frozen transformer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision.data.batch import Batch
from lightning_vision.data.stream import Experience
from lightning_vision.errors import ConfigError
from lightning_vision.learning.closed_form import full_precision
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy


class Prompting(Strategy):
    """Prompts that depend on an image's query, its features by the untouched backbone; they and the head are trained.

    The loss is cross entropy over the experience's own classes (over all seen ones where it has a single class), minus ``pull`` times the mean cosine with the keys that were
    used. Weight decay is 0 whatever the optimizer's is, for it would move the head's rows and the prompts of the past.
    """

    learns_base = True
    freezes_backbone = True
    needs_images = True
    pull: float = 0.0
    grown: ClassVar[Mapping[str, int]] = {}
    """The parameters to which each experience adds entries, and along which axis; those of former experiences stay as they are."""
    added: int = 1
    """Entries along that axis that an experience adds."""
    keys: nn.Parameter | None
    own: Tensor  # (C,) bool, the classes of the experience

    def __init__(self) -> None:
        super().__init__()
        self.register_parameter("keys", None)
        self.register_buffer("own", torch.empty(0, dtype=torch.bool), persistent=False)

    def before_experience(self, network: Network, experience: Experience) -> None:
        """Note the experience's classes, and make the prompts that it needs; a given base is learned without prompts."""
        self.own = torch.zeros_like(network.seen)
        self.own[list(experience.classes)] = True
        self.alone = len(experience.classes) == 1
        if not experience.is_base:
            self.prepare(network)

    def among(self, network: Network) -> Tensor:
        """The classes (C,) of the loss: all seen if the experience has one, since cross entropy over one class is 0."""
        return self.own | network.seen if self.alone else self.own

    @abstractmethod
    def prepare(self, network: Network) -> None:
        """Make the prompts of a new experience."""

    @abstractmethod
    def prompted(self, network: Network, image: Tensor, *, learns: bool) -> tuple[Tensor, Tensor]:
        """Features (N, D) of images with their prompts, and the summed cosine (N,) of each with the keys that were used.

        Args:
            network: The network.
            image: (N, 3, H, W), normalised.
            learns: The experience's prompts are being learned.
        """

    def parameters_to_train(self, network: Network) -> Iterable[dict[str, Any]]:
        """The prompts and the head; keys only if something pulls them, because DDP stops at a tensor without a gradient."""
        prompts = [value for name, value in self.named_parameters() if self.learns_keys() or name != "keys"]
        return [{"params": [*prompts, *network.head.parameters()], "weight_decay": 0.0}]

    def fixed_entries(self, parameter: nn.Parameter) -> int:
        """Prompts and keys of former experiences."""
        axis = next((axis for name, axis in self.grown.items() if getattr(self, name) is parameter), None)
        if axis is None:
            return 0
        entries: int = parameter.shape[axis]
        return parameter.numel() // entries * (entries - self.added)

    def learns_keys(self) -> bool:
        """Whether the loss depends on the keys."""
        return self.pull > 0

    def query(self, network: Network, image: Tensor) -> Tensor:
        """Features (N, D) by the backbone without prompts, in the prompts' precision.

        Raises:
            ConfigError: The batch holds features in place of images.
        """
        if image.dim() != 4:
            raise ConfigError(
                f"{type(self).__name__}: expected images (N, 3, H, W), found features {tuple(image.shape)}. Prompts pass the backbone "
                "with each image, so that features that were computed without them cannot be used."
            )
        with torch.no_grad():
            return network.features(image).to(network.classifier.weight.dtype)

    def features(self, network: Network, image: Tensor) -> Tensor:
        """Features with the prompts that were learned; before the first experience, and for a given base, without."""
        return network.features(image) if self.keys is None else self.prompted(network, image, learns=False)[0]

    def loss(self, network: Network, batch: Batch) -> Tensor:
        """Cross entropy over the experience's classes, and the pull of the keys."""
        v, near = self.prompted(network, batch["image"], learns=True)
        loss = self.cross_entropy(network, network.head(v), batch, self.among(network))
        return loss - self.pull * near.mean() if self.pull else loss

    def refuse(self, wrong: bool, expected: str) -> None:
        """Refuse an option.

        Raises:
            ConfigError: It is wrong.
        """
        if wrong:
            raise ConfigError(f"{type(self).__name__}: expected {expected}.")


def cosine(queries: Tensor, keys: Tensor) -> Tensor:
    """Cosines (N, M) of queries (N, D) and keys (M, D), also with mixed precision in full precision."""
    with full_precision(queries):
        return F.normalize(queries, dim=1) @ F.normalize(keys, dim=1).T


def uniform(network: Network, *shape: int) -> Tensor:
    """Numbers from -1 to 1, on the network's device and in its precision."""
    return (2 * torch.rand(shape) - 1).to(network.classifier.weight)


def appended(parameter: nn.Parameter | None, more: Tensor, dim: int = 0) -> nn.Parameter:
    """A parameter with further entries."""
    return nn.Parameter(more if parameter is None else torch.cat([parameter.detach(), more.to(parameter)], dim=dim))
