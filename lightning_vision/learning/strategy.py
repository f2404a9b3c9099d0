"""The plugin interface: the declarations of a learning strategy and the hooks that it may implement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision.class_path import BuiltWith
from lightning_vision.data.batch import Batch
from lightning_vision.data.process_group import sum_over_processes
from lightning_vision.data.reservoir import Reservoir
from lightning_vision.data.stream import Experience
from lightning_vision.learning.former_declarations import honour_former_declarations
from lightning_vision.learning.graft_places import grafted_over_frozen
from lightning_vision.learning.network import Network
from lightning_vision.learning.original_backbone import OriginalBackbone
from lightning_vision.seeding import derive_seed

ALL_SCENARIOS = frozenset({"Joint", "InstanceIncremental", "ClassIncremental", "DomainIncremental", "FromColumn"})


class ExperienceData(Protocol):
    """The batches that ``after_experience`` is given."""

    def __iter__(self) -> Iterator[Batch]: ...

    def of(self, rows: Tensor) -> Iterable[Batch]:
        """The batches of other rows (M,) of the sample table, such as remembered ones, in the same way."""


class Strategy(nn.Module, BuiltWith):
    """Defines how the network learns from one experience. The default is full fine-tuning.

    A strategy is a module, so that its buffers and parameters are saved in the checkpoint. It holds no optimizer, device,
    logger or loader: the core owns these. State that must survive a restart is a registered buffer, or a registered parameter if
    it is trained by gradient; both may be registered as None and filled later, with any shape. A parameter is frozen unless
    ``parameters_to_train`` returns it.

    Class attributes declare what the strategy needs; the core refuses a run that cannot work before it starts.
    """

    EARLIER_DEFAULTS: ClassVar[Mapping[str, object]] = {}
    """Values that options of the constructor had in earlier versions: before the option existed, or before its default
    changed, where this differs from the present default. A run of an earlier version resumes with them or is refused, and
    the option is named: no run changes its behaviour when it resumes. A removed option may be listed too, with the value
    that corresponds to the present behaviour."""
    kind: ClassVar[Literal["gradient", "closed_form"]] = "gradient"
    """``gradient``: ``loss`` is called on each batch. ``closed_form``: ``update`` is called on each batch, without
    gradients, in one pass in the stream's order."""
    freezes_backbone: ClassVar[bool] = False
    """The backbone does not change, and neither do its running statistics."""
    keeps_statistics: bool = False
    """Where it trains the backbone, batch norm uses its running statistics and leaves them as they are."""
    needs_images: ClassVar[bool] = False
    """Batches must hold images (B, 3, H, W), ``batch["image"]``, even with a frozen backbone. Otherwise they may hold
    features (B, D), ``batch["features"]``, computed once. ``network(batch)`` and ``network.features(batch)`` take both."""
    scenarios: ClassVar[frozenset[str]] = ALL_SCENARIOS
    """The scenarios that it can learn, by class name."""
    needs_base_data: ClassVar[bool] = False
    """A closed form whose ``update`` must see the data of experience 0 after the base is trained."""
    learns_all_seen: ClassVar[bool] = False
    """Each experience is trained on the data of all experiences so far, and validated on their validation parts."""
    learns_base: ClassVar[bool] = False
    """It learns experience 0 itself: without a base from a checkpoint, the stream has no base, and the options ``base_*`` are not
    used."""
    follows_base: ClassVar[bool] = False
    """Its ``after_backward`` and ``after_step`` also run while the base strategy learns experience 0."""
    FORMER_BUFFERS: ClassVar[Mapping[str, str]] = {}
    """The present name of each buffer that had another name in earlier versions, by that name: their checkpoints are loaded."""
    LATER_BUFFERS: ClassVar[frozenset[str]] = frozenset()
    """Buffers that a later version added: a checkpoint without them can be loaded and leaves them empty."""
    needs_validation: bool = False
    """It picks one of several variants, which requires validation data."""
    class_axes: ClassVar[Mapping[str, int] | None] = None
    """Its buffers that have an entry for each class, and along which axis. A run that starts from its state with further
    classes (``data.new_classes``) then continues with entries of 0 for them. None: it starts from the beginning."""
    without_base: ClassVar[str] = ""
    """What it lacks where a base is given whose data is not in the stream and of which it has no state, as a sentence for a note without
    a full stop; empty: nothing."""
    changes_classifier: ClassVar[bool] = False
    """It only changes a trained classifier, so that it cannot learn the base."""
    passes: int = 1
    """Number of passes of a closed form over the data."""
    memory_batch_size: int = 0
    """Number of images of the past in each batch, drawn from ``memory()``."""
    memory_draws: int = 1
    """Number of independent draws of ``memory_batch_size`` images from the reservoir for each batch, one behind the other."""
    draws_nothing: bool = False
    """It uses no random numbers: with the same base and stream, all seeds give the same result. This is never true of a
    gradient strategy, because the order of its batches depends on the seed."""
    variant_key: ClassVar[str] = ""
    """The parameter in which the variants of ``predict`` differ, such as ``epsilon``; results.json stores it with each
    variant's value."""
    variant_values: Mapping[str, Any] = {}
    """The value of ``variant_key``, a number or a text, in each variant of ``predict`` by its name."""
    named_classes: ClassVar[Mapping[str, str | None]] = {}
    """Arguments that name a class by dotted path. Each is given with the base class of everything that the configuration
    of a loaded run may name there; a named class must also be in the package of the base class. None: nothing."""

    stage: str = ""
    """The stage that is trained now, one of ``stages(experience)``; set by the core."""
    run_seed: int = 0
    """``seed_everything`` of the run; set by the core before it calls any hook, also after a checkpoint is read."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Apply former names of class attributes."""
        super().__init_subclass__(**options)
        honour_former_declarations(cls)

    def stages(self, experience: Experience) -> Sequence[str]:
        """The stages in which this experience is trained, each with its own Trainer, optimizer and scheduler."""
        return ("",)

    def check_network(self, network: Network) -> None:
        """Refuse a network that it cannot use; called before a run begins and anything is written.

        Raises:
            ConfigError: The network does not fit.
        """

    def before_stream(self, network: Network) -> None:
        """Called once, before training and before a given base is loaded; not when a run resumes."""

    def before_experience(self, network: Network, experience: Experience) -> None:
        """Called before each experience, including experience 0, and again before a checkpoint is loaded.

        It may depend only on the experience's metadata and on the strategy's own state.
        """

    def parameters_to_train(self, network: Network) -> Iterable[nn.Parameter] | Iterable[dict[str, Any]]:
        """The parameters, or groups of parameters with options, of the optimizer. Called once for each stage.

        Only these are trained, be they the network's or the strategy's own. The default is the whole network, or its head if the
        backbone is frozen.
        """
        return network.head.parameters() if self.freezes_backbone else network.parameters()

    def fixed_entries(self, parameter: nn.Parameter) -> int:
        """Number of entries of a trained parameter that never change in this experience, such as stacked prompts of the past.

        ``trainable_parameters`` of the record does not count them.
        """
        return 0

    def loss(self, network: Network, batch: Batch) -> Tensor:
        """The objective of a gradient strategy on one batch: a scalar, the mean over the batch's B images.

        The default is cross entropy over the classes seen so far.
        """
        return self.cross_entropy(network, network(batch), batch)

    def cross_entropy(self, network: Network, logits: Tensor, batch: Batch, classes: Tensor | None = None) -> Tensor:
        """Cross entropy over the classes seen so far: a scalar, the mean over the images.

        Each image is weighted by its class (``data.class_weights``). The target of mixed images is
        ``batch["target"]``. ``model.label_smoothing`` s changes a target q to (1 - s) q + s / K over the K classes seen
        (arXiv 1512.00567, section 7). With weights w the result is the mean over b of -sum_c w_c q_bc log p_bc: divided
        by the number of images, not by the sum of their weights, so that several processes give the same gradient as one.

        Args:
            network: Holds the classes seen and their weights.
            logits: (B, C) of the batch's images.
            batch: Holds their labels.
            classes: (C,) bool. Use these classes instead of those seen; all labels of the batch must be among them.
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
        # A class that is left out has -inf and a share of 0, and their product is NaN.
        return -(shares * F.log_softmax(masked, dim=1).masked_fill(~among, 0.0)).sum(dim=1).mean()

    def features(self, network: Network, image: Tensor) -> Tensor:
        """Features (N, D') of normalised images (N, 3, H, W): what ``predict``, ``update`` and the feature cache are given.

        The default is the network's, (N, D). D' is measured; the features of an image must not depend on the other images. It is
        called before the first experience too, and not for cached features. With ``freezes_backbone`` and without
        ``needs_images`` the result is cached, and may then depend on the frozen network and the constructor's options only.
        """
        return network.features(image)

    def update(self, network: Network, features: Tensor, labels: Tensor) -> None:
        """One batch of a closed-form strategy: features (N, D') and labels (N,), in the stream's order.

        With several processes it is given the global batch, the same on each.
        """
        raise TypeError(
            f"{type(self).__name__} declares kind = 'closed_form' and has no update(network, features, labels)."
        )

    def after_backward(self, network: Network) -> None:
        """Called after each backward pass, before the gradients are clipped."""

    def after_step(self, network: Network) -> None:
        """Called after each optimizer step."""

    def after_experience(self, network: Network, experience: Experience, batches: Iterable[Batch]) -> None:
        """Called after each experience, including experience 0.

        Args:
            network: The trained network with its best weights, in evaluation mode.
            experience: The experience that was learned.
            batches: The experience's training data with the evaluation transform, in the stream's order, striped over
                the processes; ``self.reduce`` sums over them. Data is loaded only when this is iterated over. In a run they are
                ``ExperienceData``, whose ``of(rows)`` gives the same of other rows.
        """

    def predict(self, network: Network, features: Tensor) -> Tensor | Mapping[str, Tensor]:
        """Logits (N, C) from features (N, D') at evaluation; several named variants as a mapping."""
        logits: Tensor = network.head(features)
        return logits

    def select_variant(self, network: Network, variant: str) -> None:
        """Use the variant of ``predict`` that was best on validation data after an experience."""

    def variant_facts(self, network: Network) -> Mapping[str, Mapping[str, Sequence[float]]]:
        """Named figures per class (C,) of each variant, for the record."""
        return {}

    def notes(self, network: Network) -> Sequence[str]:
        """Messages for the user after an experience; they are printed and added to the record."""
        return ()

    def rows_to_learn(self, experience: Experience) -> Tensor | None:
        """Rows (N,) int64 of the sample table on which the present stage is trained; None: the experience's own.

        They may be the experience's own training rows, and remembered rows of earlier ones. Called before each stage.
        """
        return None

    def reservoir(self) -> Reservoir | None:
        """The memory that is filled image by image, as it stands now; None: there is none.

        Each batch then says under ``"place"`` which place each of its images takes, after the batch; ``memory_batch_size`` images
        (or as many as there are) are drawn from the memory as it stands before the batch, and served with their places. The
        strategy writes the rows and what else it keeps of them into buffers in ``after_step``.
        """
        return None

    def memory(self) -> Tensor | None:
        """Sample indices (M,) int64 from which ``memory_batch_size`` images are drawn for each batch."""
        return None

    def memory_bytes(self) -> int:
        """Bytes of the state that it keeps from one experience to the next, for the record.

        The default counts what a checkpoint holds: its parameters and persistent buffers, such as indices into the sample
        table. The core adds the images of ``memory()``, and those of all experiences for ``learns_all_seen``.
        """
        return sum(value.nbytes for value in self.state_dict().values() if isinstance(value, Tensor))

    def draw_seed(self, name: str, pinned: int | None = None) -> int:
        """A seed for a generator of the strategy's own.

        It depends on the run's seed, so that the spread over seeds includes these draws, and it is the same on every
        process. Numbers that the hooks draw from the generators of torch, NumPy and Python's ``random`` depend on the
        run's seed anyway, but in ``loss`` and ``update`` they differ between processes.

        Args:
            name: What is drawn, prefixed by the strategy; draws with the same name get the same numbers.
            pinned: A seed set by the user, the same in all runs; None: not set. Call the constructor's argument ``seed``
                with default None: reports then show where it was set.

        Returns:
            A seed from 0 to 2^63 - 1, or the pinned one.
        """
        return derive_seed(self.run_seed, "strategy", name) if pinned is None else pinned

    def reduce(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        return sum_over_processes(tensor)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Give the buffers and parameters the shapes that they have in the checkpoint, before it is loaded."""
        for former, name in self.FORMER_BUFFERS.items():
            if prefix + former in state_dict:
                state_dict[prefix + name] = state_dict.pop(prefix + former)
        for name in self.LATER_BUFFERS:
            state_dict.setdefault(prefix + name, torch.empty(0, dtype=getattr(self, name).dtype))
        for name, buffer in list(self._buffers.items()):
            saved = state_dict.get(prefix + name)
            if saved is not None and (buffer is None or buffer.shape != saved.shape):
                self._buffers[name] = torch.empty_like(saved, device=buffer.device if buffer is not None else None)
        for name, parameter in list(self._parameters.items()):
            saved = state_dict.get(prefix + name)
            if saved is not None and parameter is None:
                self._parameters[name] = nn.Parameter(torch.empty_like(saved))
            elif saved is not None and parameter is not None and parameter.shape != saved.shape:
                # The object stays, because an optimizer may hold it.
                parameter.data, parameter.grad = parameter.new_empty(saved.shape), None
        super()._load_from_state_dict(state_dict, prefix, *args)


def trainable(groups: Iterable[nn.Parameter] | Iterable[dict[str, Any]]) -> tuple[list[Any], list[nn.Parameter]]:
    """The result of ``parameters_to_train``, as a list for an optimizer, and flat."""
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
    """The list of ``trainable`` as groups of an optimizer: single parameters form one group."""
    listed = list(groups)
    if any(isinstance(group, dict) for group in listed):
        return listed
    return [{"params": listed}]


def followers_of(learner: Strategy, strategy: Strategy) -> list[Strategy]:
    """The strategies whose ``after_backward`` and ``after_step`` run while the learner learns: it, and one that follows the base."""
    follows = strategy is not learner and strategy.follows_base and learner.kind == "gradient"
    return [learner, strategy] if follows else [learner]


def gathers_base_data(strategy: Strategy) -> bool:
    """Whether a strategy gathers the statistics of the base's data, once the base is trained, and predicts with them."""
    return strategy.kind == "closed_form" and strategy.needs_base_data


def frozen_children(module: nn.Module) -> Iterator[nn.Module]:
    """The outermost modules that have parameters and train none of them: their running statistics must not change either."""
    own = [*module.parameters()]
    trained = any(parameter.requires_grad for parameter in own)
    if own and (not trained or grafted_over_frozen(module)):
        yield module
    elif own:
        for child in module.children():
            yield from frozen_children(child)


BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def set_modes(network: nn.Module, training: bool, keeps_statistics: bool = False) -> None:
    """Training or evaluation mode for a network, and evaluation mode for its frozen modules.

    A module whose parts have their mode is left alone: setting it in hundreds of them takes longer than a step of a head.

    Args:
        network: The network.
        training: The mode of what is not frozen.
        keeps_statistics: Batch norm is in evaluation mode too.
    """
    frozen = list(frozen_children(network))
    if keeps_statistics:
        frozen += [module for module in network.modules() if isinstance(module, BATCH_NORMS)]
    network.training = training
    for child in network.children():
        _set_mode(child, training and all(child is not other for other in frozen))
    for module in frozen:
        _set_mode(module, False)


def _set_mode(module: nn.Module, training: bool) -> None:
    if any(part.training != training for part in module.modules()):
        module.train(training)


def moving_state(module: nn.Module) -> list[str]:
    """The names in a module's state of the parameters that are trained and of the statistics that are not frozen."""
    originals = [part for part in module.modules() if isinstance(part, OriginalBackbone)]
    still = {id(buffer) for frozen in [*frozen_children(module), *originals] for buffer in frozen.buffers()}
    return [
        name
        for name, value in module.state_dict(keep_vars=True).items()
        if (value.requires_grad if isinstance(value, nn.Parameter) else id(value) not in still)
    ]
