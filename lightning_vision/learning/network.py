"""The classifier's network: a backbone that computes features and a head that computes logits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from lightning_vision.data.batch import Batch
from lightning_vision.errors import ConfigError
from lightning_vision.learning.backbones import BackboneFacts
from lightning_vision.learning.graft_places import Graft, take_out
from lightning_vision.learning.grafts import (
    described,
    fold_in,
    modules_of,
    set_for_a_while,
    set_graft,
    switched_to,
    why_not_folded,
)
from lightning_vision.learning.original_backbone import OriginalBackbone


class Network(nn.Module):
    """A backbone, a full-size head, and a mask of the classes seen so far.

    Args:
        backbone: Maps (N, 3, H, W) to (N, D).
        facts: Its name, D and normalisation.
        num_classes: C.
        head_hidden: Width of one hidden layer in the head; 0 for a linear head.
        head_dropout: Dropout before the last linear layer.
    """

    seen: Tensor
    mean: Tensor
    std: Tensor
    class_weights: Tensor | None

    def __init__(
        self,
        backbone: nn.Module,
        facts: BackboneFacts,
        num_classes: int,
        *,
        head_hidden: int = 0,
        head_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.facts = facts
        self.num_classes = num_classes
        self.label_smoothing = 0.0
        """Share of a training target that is spread evenly over the classes seen."""
        self.compiled = False
        """The backbone is compiled by torch.compile."""
        self.backbone_images = 0
        """Number of images that passed the backbone in this process, for the record and the tests."""
        self.grafts: list[dict[str, Any]] = []
        """Kind, key and options of each graft in the backbone, in the order in which they were set."""
        self.announced_grafts: dict[str, dict[str, Any]] = {}
        """Grafts by key that a run will set: those that a strategy has checked, and those of a base that is not loaded yet."""
        self.original: OriginalBackbone | None = None
        """The backbone as it was at ``keep_original``."""
        self.trained_before_run = False
        """The backbone was loaded from a base, which trained its weights and does not hold those from before."""
        self.base_is_alone = False
        """The run that begins starts from a base whose data is not in its stream."""
        d = facts.num_features
        if head_hidden:
            self.head: nn.Linear | nn.Sequential = nn.Sequential(
                nn.Linear(d, head_hidden), nn.ReLU(), nn.Dropout(head_dropout), nn.Linear(head_hidden, num_classes)
            )
        elif head_dropout:
            self.head = nn.Sequential(nn.Dropout(head_dropout), nn.Linear(d, num_classes))
        else:
            self.head = nn.Linear(d, num_classes)
        self.register_buffer("seen", torch.zeros(num_classes, dtype=torch.bool))
        self.register_buffer("mean", torch.tensor(facts.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(facts.std).view(3, 1, 1), persistent=False)
        self.register_buffer("class_weights", None, persistent=False)  # (C,), or None where all classes count alike

    def inputs(self, given: Batch | Tensor) -> Tensor:
        """The input of the network in a batch: its features (N, D) if it has some, else its images (N, 3, H, W).

        A tensor is returned unchanged.
        """
        if isinstance(given, Tensor):
            return given
        return given["features"] if "features" in given else given["image"]

    def features(self, given: Batch | Tensor) -> Tensor:
        """Features (N, D) of a batch, or of normalised images (N, 3, H, W); features are returned unchanged.

        With a frozen backbone, batches hold features that were computed once.
        """
        inputs = self.inputs(given)
        if inputs.dim() == 2:
            return inputs
        self.backbone_images += len(inputs)
        features: Tensor = self.backbone(inputs)
        return features

    def tokens(self, image: Tensor) -> Tensor:
        """The tokens (N, P + T, D) with which a transformer ends, for normalised images (N, 3, H, W): prefix, then patches."""
        self.backbone_images += len(image)
        tokens: Tensor = self.backbone.forward_features(image)  # type: ignore[operator]
        return tokens

    def forward(self, given: Batch | Tensor) -> Tensor:
        """Raw logits (N, C) of a batch, of normalised images (N, 3, H, W), or of features (N, D)."""
        logits: Tensor = self.head(self.features(given))
        return logits

    def graft(self, kind: str, key: str, **options: Any) -> Mapping[str, Graft]:
        """Set small modules into the backbone, which stay in it; nothing happens if the key has them already.

        Call it in ``before_experience``. The checkpoint names them, and a network that loads it gets them too. Their parameters are
        the backbone's, and are trained if ``parameters_to_train`` returns them.

        Args:
            kind: ``adapter``, ``low_rank``, ``scale_shift``, ``tokens``, or a kind of ``register_graft``.
            key: Their name.
            options: Of the kind; plain values.

        Returns:
            The modules by the name of the block or layer.

        Raises:
            ConfigError: The kind or an option is unknown, the backbone cannot take the kind or is compiled, or the key has another
                graft.
        """
        graft = described(kind, key, options)
        present = self._graft_of(key)
        if present is None:
            set_graft(self.backbone, graft)
            self.grafts.append(graft)
        _check_same(present, graft)
        return dict(modules_of(self.backbone, key))

    def check_graft(self, kind: str, key: str, *, to_merge: bool = False, **options: Any) -> None:
        """Refuse a graft that ``graft`` would refuse beside those that a run will set before; call it in ``check_network``.

        Nothing remains of it but its announcement to the strategies that are checked afterwards.

        Args:
            kind: See ``graft``.
            key: See ``graft``.
            to_merge: It will be merged: refuse one that then could not be.
            options: See ``graft``.

        Raises:
            ConfigError: See ``graft`` and ``merge``.
        """
        graft = described(kind, key, options)
        for present in (self._graft_of(key), self.announced_grafts.get(key)):
            _check_same(present, graft)
        new = [each for each in {**self.announced_grafts, key: graft}.values() if self._graft_of(each["key"]) is None]
        with torch.random.fork_rng(devices=[]), set_for_a_while(self.backbone, new):
            reason = why_not_folded(self.backbone, key) if to_merge else ""
        if reason:
            raise ConfigError(
                f"The graft {key!r} could not be merged after it was trained. {reason} Or leave it as it is."
            )
        self.announced_grafts[key] = graft

    def grafted(self, key: str, name: str | None = None) -> list[nn.Parameter]:
        """The parameters of a graft, in the order of its places; with ``name`` only those of that name, such as ``b``.

        Raises:
            ConfigError: There is no graft of that key.
        """
        self._check_keys([key])
        parts = [part for _, part in modules_of(self.backbone, key)]
        return [p for part in parts for own, p in part.named_parameters() if name in (None, own)]

    @contextmanager
    def only(self, *keys: str) -> Iterator[None]:
        """Switch off all other grafts for a while; without keys, all of them.

        Raises:
            ConfigError: There is no graft of one of the keys.
        """
        self._check_keys(keys)
        with switched_to(self.backbone, keys):
            yield

    def merge(self, key: str) -> None:
        """Fold a graft into the backbone's weights: the network computes the same function without it.

        Raises:
            ConfigError: It cannot be folded in, or there is none.
        """
        self._check_keys([key])
        fold_in(self.backbone, key)
        self._forget(key)

    def take_out(self, key: str) -> None:
        """Remove a graft without folding it in.

        Raises:
            ConfigError: There is no graft of that key.
        """
        self._check_keys([key])
        take_out(self.backbone, key)
        self._forget(key)

    def keep_original(self) -> bool:
        """Remember the backbone as it is, without grafts, unless it is remembered already.

        The copy is part of the checkpoint. Grafts alone do not need it: the weights below them do not change unless they are
        trained.

        Returns:
            Whether it is remembered: not if it was loaded from a base that has lost it.
        """
        if self.original is None and not self.trained_before_run:
            self.original = OriginalBackbone(self.backbone, [graft["key"] for graft in self.grafts])
        return self.original is not None

    def original_features(self, given: Batch | Tensor) -> Tensor:
        """Features (N, D) of images (N, 3, H, W) by the remembered backbone, or by the present one without grafts.

        In evaluation mode, without gradient.
        """
        image = self.inputs(given)
        self.backbone_images += len(image)
        with torch.no_grad():
            if self.original is not None:
                kept: Tensor = self.original(image)
                return kept
            with self.only(), evaluation_mode(self.backbone):
                features: Tensor = self.backbone(image)
                return features

    def beside_backbone(self) -> dict[str, Tensor]:
        """The tensors of the grafts and of the original backbone, by their names in the state: what was added to the backbone."""
        added = {
            id(value)
            for graft in self.grafts
            for _, part in modules_of(self.backbone, graft["key"])
            for value in part.state_dict(keep_vars=True).values()
        }
        return {
            name: value.detach()
            for name, value in self.state_dict(keep_vars=True).items()
            if id(value) in added or name.startswith("original.")
        }

    def _graft_of(self, key: str) -> dict[str, Any] | None:
        return next((graft for graft in self.grafts if graft["key"] == key), None)

    def _forget(self, key: str) -> None:
        self.grafts = [graft for graft in self.grafts if graft["key"] != key]
        self.announced_grafts.pop(key, None)

    def _check_keys(self, keys: Iterable[str]) -> None:
        known = [graft["key"] for graft in self.grafts]
        if unknown := [key for key in keys if key not in known]:
            raise ConfigError(
                f"There is no graft {unknown[0]!r}: expected one of {', '.join(map(repr, known)) or 'none, for none was set'}."
            )

    @property
    def classifier(self) -> nn.Linear:
        """The last linear layer: the whole head, or the end of it."""
        last = self.head[-1] if isinstance(self.head, nn.Sequential) else self.head
        if not isinstance(last, nn.Linear):
            raise TypeError(f"The head ends in {type(last).__name__}; expected a linear layer.")
        return last

    def penultimate(self, features: Tensor) -> Tensor:
        """The input of the last linear layer: the features themselves if the head is linear, or if they are not the network's."""
        hidden = isinstance(self.head, nn.Sequential) and features.shape[1] == self.facts.num_features
        return cast(nn.Sequential, self.head)[:-1](features) if hidden else features

    def normalise(self, image: Tensor) -> Tensor:
        """uint8 images (N, 3, H, W) as the backbone expects them; float images are returned unchanged."""
        if image.is_floating_point():
            return image
        # (x / 255 - mean) / std, in place on the copy of the type conversion: on a CPU memory bandwidth limits the speed.
        return image.to(self.mean.dtype).mul_(1 / (255 * self.std)).sub_(self.mean / self.std)

    def mask_unseen(self, logits: Tensor) -> Tensor:
        """Logits (..., C) with -inf for the classes that have not been seen yet."""
        return logits.masked_fill(~self.seen, -torch.inf)

    def see(self, classes: Iterable[int]) -> None:
        """Mark classes as seen."""
        self.seen[torch.as_tensor(sorted(classes), dtype=torch.long, device=self.seen.device)] = True

    @torch.no_grad()
    def rearrange_classes(self, sources: Sequence[int | None]) -> None:
        """Put the head's rows into another, possibly longer class list.

        Args:
            sources: For each class of the new list its row in the present head, or None for a class that is new:
                its row starts as a fresh linear layer's.
        """
        old = self.classifier
        new = nn.Linear(old.in_features, len(sources), device=old.weight.device, dtype=old.weight.dtype)
        seen = torch.zeros(len(sources), dtype=torch.bool, device=self.seen.device)
        for row, source in enumerate(sources):
            if source is not None:
                new.weight[row] = old.weight[source]
                new.bias[row] = old.bias[source]
                seen[row] = self.seen[source]
        # The layer object is kept, and with it the hooks that are registered on it.
        old.weight, old.bias, old.out_features = new.weight, new.bias, len(sources)
        self.seen = seen
        self.num_classes = len(sources)


def _check_same(present: Mapping[str, Any] | None, graft: Mapping[str, Any]) -> None:
    """Refuse another graft under a key that has one."""
    if present is not None and present != graft:
        raise ConfigError(
            f"The graft {graft['key']!r} is {present['kind']} with {present['options']} already; found {graft['kind']} with "
            f"{graft['options']}. Choose another key, or merge it first."
        )


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Set evaluation mode, and restore the mode of each submodule on exit."""
    training = [each for each in module.modules() if each.training]
    module.eval()
    try:
        yield
    finally:
        for each in training:
            each.training = True


def freeze(module: nn.Module) -> None:
    """Keep a module's parameters and running statistics as they are: no gradient, evaluation mode."""
    module.requires_grad_(False)
    module.eval()


def unfreeze(module: nn.Module) -> None:
    """Make a module's parameters trainable again."""
    module.requires_grad_(True)


class _NoNetwork(nn.Module):
    """Placeholder for a network that cannot be built yet; every use raises an error."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # Python and torch look for hooks of their own
            raise AttributeError(name)
        raise ConfigError(
            "The classifier has no network yet, because it does not know its classes. Give class_names, or let a Trainer set it "
            "up with a datamodule."
        )


def no_network() -> Network:
    """Placeholder for a network whose classes are not known yet.

    Raises:
        ConfigError: An attribute of it is used.
    """
    return cast(Network, _NoNetwork())
