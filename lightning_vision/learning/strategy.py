"""The plugin interface: what a learning strategy declares and the few hooks it may fill."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision.class_path import BuiltWith
from lightning_vision.data.batch import Batch
from lightning_vision.data.process_group import sum_over_processes
from lightning_vision.data.stream import Experience
from lightning_vision.learning.former_declarations import honour_former_declarations
from lightning_vision.learning.network import Network
from lightning_vision.seeding import derive_seed

ALL_SCENARIOS = frozenset({"Joint", "InstanceIncremental", "ClassIncremental", "DomainIncremental", "FromColumn"})


class Strategy(nn.Module, BuiltWith):
    """How the network learns from one experience. The defaults are full fine-tuning.

    A strategy is a module so that its buffers travel with the checkpoint. It holds no optimizer, no device, no
    logger and no loader: the core owns those. What must survive a restart is a registered buffer; a buffer may be
    registered as None and filled later, with whatever shape it then has.

    Class attributes declare what the strategy needs; the core refuses a run that cannot work before it starts.
    """

    EARLIER_DEFAULTS: ClassVar[Mapping[str, object]] = {}
    """What options of the constructor had for a value before they were there, or for a default before it changed, where that
    is not the present default. A run of an earlier version goes on with it, or is refused by its name: no run changes its
    behaviour on the way. An option that is gone may be named too, with the value that is what the class does now."""
    kind: ClassVar[Literal["gradient", "closed_form"]] = "gradient"
    """``gradient``: ``loss`` is called on each batch. ``closed_form``: ``update`` is, without gradients, for one
    pass in the stream's order."""
    freezes_backbone: ClassVar[bool] = False
    """The backbone, its running statistics included, stays as it is."""
    needs_images: ClassVar[bool] = False
    """With a frozen backbone, batches must hold images (B, 3, H, W), ``batch["image"]``, all the same. Otherwise they may hold
    features (B, D), ``batch["features"]``, computed once. ``network(batch)`` and ``network.features(batch)`` take both."""
    scenarios: ClassVar[frozenset[str]] = ALL_SCENARIOS
    """The scenarios that it can learn in, by class name."""
    needs_base_data: ClassVar[bool] = False
    """A closed form whose ``update`` must see the data of experience 0 once the base is trained."""
    learns_all_seen: ClassVar[bool] = False
    """Each experience is trained on the data of all experiences so far, and validated on their validation parts."""
    follows_base: ClassVar[bool] = False
    """Its ``after_backward`` and ``after_step`` run while the base strategy learns experience 0 too."""
    LATER_BUFFERS: ClassVar[frozenset[str]] = frozenset()
    """Buffers that came with a later version: a checkpoint without one is loaded, and leaves it empty."""
    needs_validation: bool = False
    """It picks one of several variants, which takes validation data."""
    passes: int = 1
    """How often a closed form goes through the data."""
    memory_batch_size: int = 0
    """Images of the past in each batch, drawn from ``memory()``."""
    draws_nothing: bool = False
    """Nothing in it is random: of one base and one stream all seeds make the same. A gradient strategy never is so, for
    the order of its batches follows the seed."""
    variant_key: ClassVar[str] = ""
    """What the variants of ``predict`` differ in, such as ``epsilon``; results.json has it beside each variant's value."""
    variant_values: Mapping[str, Any] = {}
    """The value of ``variant_key``, a number or a text, in each variant of ``predict`` by its name."""
    named_classes: ClassVar[Mapping[str, str | None]] = {}
    """Arguments that name something by dotted path, each with the base class of all that a configuration that came with a
    run may name there; it must be in that class's package. None: nothing."""

    stage: str = ""
    """The stage that is being trained, one of ``stages(experience)``; set by the core."""
    run_seed: int = 0
    """``seed_everything`` of the run; set by the core before it calls any hook, after a checkpoint is read too."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Take former names of what a plugin declares."""
        super().__init_subclass__(**options)
        honour_former_declarations(cls)

    def stages(self, experience: Experience) -> Sequence[str]:
        """The phases in which this experience is trained, each with a Trainer, optimizer and scheduler of its own."""
        return ("",)

    def before_stream(self, network: Network) -> None:
        """Run once, before anything is learned and before a given base is loaded; not when a run is gone on with."""

    def before_experience(self, network: Network, experience: Experience) -> None:
        """Run before each experience, experience 0 too, and again before a checkpoint is loaded.

        It may depend only on the experience's metadata and on the strategy's own state.
        """

    def parameters_to_train(self, network: Network) -> Iterable[nn.Parameter] | Iterable[dict[str, Any]]:
        """Called once a stage: parameters, or groups with options of their own, that the optimizer is built on.

        What is not returned is not trained. The default is the whole network, or its head if the backbone is frozen.
        """
        return network.head.parameters() if self.freezes_backbone else network.parameters()

    def loss(self, network: Network, batch: Batch) -> Tensor:
        """The whole objective of a gradient strategy on one batch: a scalar, the mean over the batch's B images.

        The default is cross entropy over the classes seen so far.
        """
        return self.cross_entropy(network, network(batch), batch)

    def cross_entropy(self, network: Network, logits: Tensor, batch: Batch, classes: Tensor | None = None) -> Tensor:
        """Cross entropy over the classes seen so far, as the data asks for it: a scalar, the mean over the images.

        Each image counts by its class's weight (``data.class_weights``); where images were mixed, the target is
        ``batch["target"]``; ``model.label_smoothing`` s makes of a target q (1 - s) q + s / K over the K classes seen
        (arXiv 1512.00567, section 7). With weights w it is the mean over b of -sum_c w_c q_bc log p_bc: divided by the
        number of images, not by the sum of their weights, so that several processes give the same gradient as one.

        Args:
            network: Knows the classes seen and their weights.
            logits: (B, C) of the batch's images.
            batch: Has their labels.
            classes: (C,) bool, to have it over these classes, all labels of the batch among them, in place of those seen.
        """
        among = network.seen if classes is None else classes
        masked = logits.masked_fill(~among, -torch.inf)
        weights, target = network.class_weights, batch.get("target")
        weights = None if weights is None else weights.to(masked.dtype)
        if network.label_smoothing:
            target = F.one_hot(batch["label"], network.num_classes).to(masked.dtype) if target is None else target
            target = (1 - network.label_smoothing) * target + network.label_smoothing * among / among.sum()
        if target is None:
            losses = F.cross_entropy(masked, batch["label"], weight=weights, reduction="none")
            return losses.mean()
        shares = target if weights is None else target * weights
        # A class that is left out has -inf and a share of 0, and their product is no number.
        return -(shares * F.log_softmax(masked, dim=1).masked_fill(~among, 0.0)).sum(dim=1).mean()

    def update(self, network: Network, features: Tensor, labels: Tensor) -> None:
        """One batch of a closed-form strategy: features (N, D) and labels (N,), in the stream's order.

        Under several processes it is given the global batch, the same on each.
        """
        raise TypeError(
            f"{type(self).__name__} declares kind = 'closed_form' and has no update(network, features, labels)."
        )

    def after_backward(self, network: Network) -> None:
        """Run after each backward pass, once the gradients are there and before they are clipped."""

    def after_step(self, network: Network) -> None:
        """Run after each optimizer step."""

    def after_experience(self, network: Network, experience: Experience, batches: Iterable[Batch]) -> None:
        """Run after each experience, experience 0 too.

        Args:
            network: The trained network, its best weights restored, in evaluation mode.
            experience: What was learned.
            batches: The experience's training data with the evaluation transform, in the stream's order, striped over
                the processes; ``self.reduce`` sums over them. It is read only if it is iterated over.
        """

    def predict(self, network: Network, features: Tensor) -> Tensor | Mapping[str, Tensor]:
        """Logits (N, C) from features (N, D) at evaluation; several named variants as a mapping."""
        logits: Tensor = network.head(features)
        return logits

    def select_variant(self, network: Network, variant: str) -> None:
        """Take up the variant of ``predict`` that was best on validation data after an experience."""

    def variant_facts(self, network: Network) -> Mapping[str, Mapping[str, Sequence[float]]]:
        """Per variant, named figures per class (C,) that belong in the record."""
        return {}

    def notes(self, network: Network) -> Sequence[str]:
        """What a user should be told after an experience; printed and kept in the record."""
        return ()

    def memory(self) -> Tensor | None:
        """Sample indices (M,) int64 from which each batch is given ``memory_batch_size`` images."""
        return None

    def memory_bytes(self) -> int:
        """Bytes of the state that it carries from one experience to the next, for the record.

        The default counts what a checkpoint keeps of it: its parameters and persistent buffers. Images that it replays count
        by what is kept of them: eight bytes where that is an index (int64) into the sample table.
        """
        return sum(value.nbytes for value in self.state_dict().values() if isinstance(value, Tensor))

    def draw_seed(self, name: str, pinned: int | None = None) -> int:
        """The seed of something that the strategy draws with a generator of its own.

        It follows the run's seed, so that what is drawn is part of the spread over seeds, and it is the same on every
        process. What the hooks draw from the generators of torch, NumPy and Python's ``random`` follows the run's seed
        anyway; but ``loss`` and ``update`` then draw other numbers on each process.

        Args:
            name: What is drawn, after the strategy: two draws must not share a name, or they share their numbers.
            pinned: The user's own seed, the same in all runs; None: none. The constructor's argument is to be called
                ``seed`` and to be None by default: a report then says where it was pinned.

        Returns:
            A seed from 0 to 2^63 - 1, or the pinned one.
        """
        return derive_seed(self.run_seed, "strategy", name) if pinned is None else pinned

    def reduce(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        return sum_over_processes(tensor)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Give own buffers the shape that the checkpoint has for them before it is loaded."""
        for name in self.LATER_BUFFERS:
            state_dict.setdefault(prefix + name, torch.empty(0, dtype=getattr(self, name).dtype))
        for name, buffer in list(self._buffers.items()):
            saved = state_dict.get(prefix + name)
            if saved is not None and (buffer is None or buffer.shape != saved.shape):
                self._buffers[name] = torch.empty_like(saved, device=buffer.device if buffer is not None else None)
        super()._load_from_state_dict(state_dict, prefix, *args)


def trainable(groups: Iterable[nn.Parameter] | Iterable[dict[str, Any]]) -> tuple[list[Any], list[nn.Parameter]]:
    """What ``parameters_to_train`` returned, as a list to build an optimizer on, and flat."""
    listed: list[Any] = list(groups)
    flat: list[nn.Parameter] = []
    for group in listed:
        if isinstance(group, dict):
            group["params"] = list(group["params"])
            flat.extend(group["params"])
        else:
            flat.append(group)
    return listed, flat


def grouped(groups: Iterable[Any]) -> list[dict[str, Any]]:
    """What ``trainable`` listed as groups of an optimizer: single parameters make one together."""
    listed = list(groups)
    if any(isinstance(group, dict) for group in listed):
        return listed
    return [{"params": listed}]


def frozen_children(network: Network) -> Iterator[nn.Module]:
    """The modules without a parameter to train among their own: their statistics must not move either."""
    for module in network.modules():
        own = [*module.parameters(recurse=True)]
        if own and not any(parameter.requires_grad for parameter in own):
            yield module
