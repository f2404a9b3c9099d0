"""A bridge to the plugins of Avalanche (https://avalanche.continualai.org)."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor

from lightning_vision.data.batch import Batch
from lightning_vision.data.stream import Experience
from lightning_vision.errors import ConfigError, TrainingError
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy
from lightning_vision.terminal.wording import nearest_first
from strategies.avalanche_host import ExperienceData, PluginHost
from strategies.avalanche_state import pack, unpack

HOME = "avalanche.training.plugins"
INSTALL = "pip install 'lightning_vision[avalanche]'"


class Supported(NamedTuple):
    """Facts about a supported plugin, whose weights equal those of Avalanche's loop in the tests."""

    state: tuple[str, ...]
    """The attributes that must survive a restart."""
    ranges: Mapping[str, tuple[float, float]]
    """The numbers among its arguments, with the least and the largest value; a list may hold one for each experience."""
    on_cpu: bool = False
    """It keeps its state on the CPU, wherever the network is."""


SUPPORTED: dict[str, Supported] = {
    "EWCPlugin": Supported(("saved_params", "importances"), {"ewc_lambda": (0, math.inf), "decay_factor": (0, 1)}),
    "SynapticIntelligencePlugin": Supported(
        ("ewc_data", "syn_data"), {"si_lambda": (0, math.inf), "eps": (1e-12, math.inf)}, on_cpu=True
    ),
    "MASPlugin": Supported(("params", "importance"), {"lambda_reg": (0, math.inf), "alpha": (0, 1)}),
    "LwFPlugin": Supported(
        ("lwf.prev_model", "lwf.expcount", "lwf.prev_classes_by_task"),
        {"alpha": (0, math.inf), "temperature": (1e-6, math.inf)},
    ),
    "FeatureDistillationPlugin": Supported(("prev_model",), {"alpha": (0, math.inf)}),
}
"""By class name."""

_IMAGES = "it keeps copies of images and uses its own loader, but a strategy receives batches in order"
_BATCHES = "it changes the loader, which the datamodule owns"
_CLASSIFIER = "it needs a network with a second classifier for evaluation (eval_classifier)"
_REPLAY = "strategies.Replay and strategies.DarkExperienceReplay keep a memory"

REFUSED: dict[str, tuple[str, str]] = {
    "ReplayPlugin": (_BATCHES, _REPLAY),
    "AGEMPlugin": (_IMAGES, "strategies.AGEM keeps rows of the data"),
    "GEMPlugin": (_IMAGES, _REPLAY),
    "GSS_greedyPlugin": (_BATCHES, _REPLAY),
    "MIRPlugin": (_IMAGES, _REPLAY),
    "RARPlugin": (_BATCHES, _REPLAY),
    "GDumbPlugin": ("it replaces the network and the data of the run", "strategies.Retrain retrains from the start"),
    "FromScratchTrainingPlugin": (
        "it resets the optimizer, which Lightning owns",
        "strategies.Retrain retrains from the start",
    ),
    "GenerativeReplayPlugin": ("it trains a generator with its own strategy", _REPLAY),
    "TrainGeneratorAfterExpPlugin": ("it trains a generator with its own strategy", _REPLAY),
    "BiCPlugin": (
        "it changes the loader and trains a second stage with its own optimizer",
        "strategies.SLCA aligns the head in a second stage",
    ),
    "CWRStarPlugin": (
        "it wraps the network, and resets rows of the head that are not saved in a checkpoint",
        "strategies.NearestMean and strategies.MoveToData move each class's row",
    ),
    "CoPEPlugin": ("it replaces the head, the loss, the loader and the predictions", "strategies.NearestMean"),
    "LFLPlugin": (
        "it freezes the head itself, but each experience selects the trained parameters",
        "FeatureDistillationPlugin distils features too",
    ),
    "RWalkPlugin": (
        "it scores each step on its own batch from the first experience on, which the base strategy learns",
        "SynapticIntelligencePlugin, strategies.SynapticIntelligence and strategies.EWC penalise changes of weights",
    ),
    "EarlyStoppingPlugin": (
        "it stops the loop with Avalanche's evaluation",
        "use Lightning's EarlyStopping in trainer.callbacks",
    ),
    "LRSchedulerPlugin": ("it steps Avalanche's optimizer", "use model.lr_scheduler"),
    "EvaluationPlugin": ("it measures Avalanche's evaluation", "results.json and the loggers contain the figures"),
    "CurrentDataNCMUpdate": (_CLASSIFIER, "strategies.NearestMean"),
    "MemoryNCMUpdate": (_CLASSIFIER, "strategies.NearestMean"),
    "NCMOracle": (_CLASSIFIER, "strategies.NearestMean"),
    "CurrentDataFeCAMUpdate": (_CLASSIFIER, "strategies.FeCAM"),
    "MemoryFeCAMUpdate": (_CLASSIFIER, "strategies.FeCAM"),
    "FeCAMOracle": (_CLASSIFIER, "strategies.FeCAM"),
    "SupervisedPlugin": ("it is the base class of plugins and does nothing", "use a subclass"),
}
"""By class name: why a plugin cannot run in the Lightning loop, and what to use in its place."""


class AvalanchePlugin(Strategy):
    r"""Run a plugin of Avalanche in the Lightning loop (A. Carta et al., JMLR 24, 2023).

    .. math:: L = CE(z, y) + P(\theta)

    z (B, C) are the logits of a batch, with -1000 for classes that were not seen yet, as in Avalanche's
    ``IncrementalClassifier``. CE is that of all strategies here, and P is what the plugin adds to ``strategy.loss`` in
    ``before_backward``, with the parameters \theta (P,) of backbone and head. With the same batches, plain gradient
    descent and one process, the weights equal those of Avalanche's loop (``Naive`` with the plugin). ``EWCPlugin``,
    ``SynapticIntelligencePlugin``, ``MASPlugin``, ``LwFPlugin`` and ``FeatureDistillationPlugin`` are supported; see
    docs/avalanche.md for the others.

    The state of a plugin is a registered buffer of bytes (JSON and safetensors), filled when a checkpoint is written.

    Differences from Avalanche's loop:
        - The base strategy learns experience 0. The plugin observes its steps and data, and adds nothing to the loss,
          because its penalty would be 0.
        - The plugin is called before and after training, experience, iteration, forward, backward and update; not around
          epochs and evaluation.
        - Passes over an experience's data (EWC, MAS) use the evaluation transform and the stream's order, in batches of
          ``data.batch_size`` times the number of processes.
        - Each experience has a new optimizer and scheduler; ``strategy.optimizer`` can only clear gradients.
        - With several processes each uses all data for such passes, and the mean gradient of all processes.

    Unchanged behaviour of Avalanche: EWC squares the gradient of a batch, not of each sample. MAS runs its pass in
    training mode, which updates batch norm. The former network of LwF and FeatureDistillation stays in training mode.
    SI has no effect on a CPU, except for weights in channels-last memory (with a message).

    Args:
        plugin: Name of a class in avalanche.training.plugins, or its dotted path.
        plugin_args: Arguments of the plugin.

    Raises:
        ConfigError: Avalanche is not installed, or the plugin is unknown, not supported, or has invalid arguments.
    """

    follows_base = True
    named_classes: ClassVar[Mapping[str, str | None]] = {"plugin": "avalanche.core.BasePlugin"}
    state: Tensor  # (n,) uint8, empty except between loading and the next use

    def __init__(self, plugin: str = "EWCPlugin", plugin_args: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.plugin, self.plugin_args = plugin, dict(plugin_args or {})
        self._name = _known(plugin)
        self._plugin = _build(plugin, self._name, self.plugin_args)
        self._host = PluginHost(self._name, self._criterion)
        self._iterates = False
        self._loaded = False
        self.register_buffer("state", torch.empty(0, dtype=torch.uint8))

    def before_experience(self, network: Network, experience: Experience) -> None:
        """Tell the plugin that training begins; all parameters are to be trained."""
        network.requires_grad_(True)  # what is trained is chosen afterwards
        self._enter(network)
        self._call("before_training", "before_training_exp")

    def loss(self, network: Network, batch: Batch) -> Tensor:
        """CE + what the plugin adds."""
        host = self._enter(network)
        host.offer_batch(batch["image"], batch["label"])
        self._call("before_training_iteration", "before_forward")
        self._iterates = True
        host.mb_output = host.model(batch["image"])
        self._call("after_forward")
        host.loss = host.loss + self.cross_entropy(network, host.mb_output, batch)
        self._call("before_backward")
        return host.loss.squeeze()

    def after_backward(self, network: Network) -> None:
        """The plugin's turn before a step; a step of the base strategy begins here for it."""
        self._enter(network)
        if not self._iterates:
            self._call("before_training_iteration")
        self._call("after_backward", "before_update")

    def after_step(self, network: Network) -> None:
        """The plugin's turn after a step."""
        self._enter(network)
        self._call("after_update", "after_training_iteration")
        self._iterates = False

    def after_experience(self, network: Network, experience: Experience, batches: Iterable[Batch]) -> None:
        """Let the plugin go through the data, in training mode as in Avalanche's loop."""
        host = self._enter(network)
        host.offer_experience(ExperienceData(batches, experience))
        network.requires_grad_(True)
        network.train()
        with torch.enable_grad():
            self._call("after_training_exp", "after_training")
        host.clear()
        host.clock.train_exp_counter += 1

    def notes(self, network: Network) -> list[str]:
        """Say that not all weights are held."""
        if self._name != "SynapticIntelligencePlugin":
            return []
        importances = [held.data for held in self._plugin.ewc_data[1].values()]
        held = sum(bool(importance.any()) for importance in importances)
        if held == len(importances):
            return []
        return [
            f"SynapticIntelligencePlugin penalises {held} of {len(importances)} weight tensors. On a CPU, "
            "avalanche-lib 0.6 stores contiguous weights before a step as views of themselves, so that each step "
            "seems to be 0. strategies.SynapticIntelligence penalises all."
        ]

    def _enter(self, network: Network) -> PluginHost:
        """The host of this network; the plugin takes up what was loaded last, and follows the network to its device."""
        if self._host.enter(network) and not self._loaded:
            self.state, self._loaded = pack(self, self._kept), True
        if self._loaded:
            device = torch.device("cpu") if SUPPORTED[self._name].on_cpu else self._host.device
            unpack(self.state, self, network, device)
            self.state, self._loaded = self.state.new_empty(0), False
        return self._host

    def _criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        """CE outside of ``loss``: a scalar from logits (B, C) and labels (B,)."""
        return self.cross_entropy(self._host.model.network, logits, cast(Batch, {"label": labels}))

    def _save_to_state_dict(self, *args: Any) -> None:
        """Fill the buffer for the time that it is read."""
        if self._loaded:  # and not taken up yet
            super()._save_to_state_dict(*args)
            return
        self.state = pack(self, self._kept).to(self.state.device)
        super()._save_to_state_dict(*args)
        self.state = self.state.new_empty(0)

    def _load_from_state_dict(self, *args: Any) -> None:
        """The plugin takes up what was loaded as soon as it meets the network, which is not known here."""
        super()._load_from_state_dict(*args)
        self._loaded = len(self.state) > 0

    @property
    def _kept(self) -> list[str]:
        return ["_host.clock.train_exp_counter", *(f"_plugin.{name}" for name in SUPPORTED[self._name].state)]

    def _call(self, *callbacks: str) -> None:
        """Call the plugin.

        Raises:
            TrainingError: It fails.
        """
        for callback in callbacks:
            try:
                getattr(self._plugin, callback)(self._host)
            except (AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
                raise TrainingError(
                    f"Avalanche's {self._name} failed in {callback}: {type(error).__name__}: {error}. Check "
                    f"model.strategy.plugin_args ({self.plugin_args}). The plugin was tested with avalanche-lib 0.6."
                ) from error


def _known(plugin: str) -> str:
    """The class name of a plugin that can run here; told without importing Avalanche.

    Raises:
        ConfigError: There is none of this name, or it cannot run here.
    """
    module, _, name = plugin.rpartition(".")
    if module and module.split(".")[0] != "avalanche":
        raise ConfigError(
            f"model.strategy.plugin: {plugin} is not a plugin of Avalanche. Supported plugins: {', '.join(SUPPORTED)}. "
            "Write your own method as a learning strategy (docs/write_a_strategy.md)."
        )
    if name in REFUSED:
        reason, instead = REFUSED[name]
        raise ConfigError(
            f"model.strategy.plugin: {name} cannot run in the Lightning loop: {reason}. Alternative: {instead}."
        )
    if name not in SUPPORTED:
        raise ConfigError(
            f"model.strategy.plugin: expected a supported plugin, found {plugin!r}. Supported plugins, similar names "
            f"first: {', '.join(nearest_first(name, SUPPORTED))}."
        )
    return name


def _build(plugin: str, name: str, arguments: dict[str, Any]) -> Any:
    """A plugin with its arguments.

    Raises:
        ConfigError: Avalanche is missing, has no such class, or the arguments do not fit.
    """
    module = plugin.rpartition(".")[0] or HOME
    try:
        found = getattr(import_module(module), name)
    except ImportError as error:
        if not (error.name or "").startswith("avalanche."):
            raise ConfigError(
                f"model.strategy: AvalanchePlugin needs the package avalanche-lib: {error}. {INSTALL}"
            ) from error
        raise ConfigError(
            f"model.strategy.plugin: {plugin} cannot be imported: {error}. Use only the name {name}."
        ) from error
    except AttributeError as error:
        raise ConfigError(f"model.strategy.plugin: {module} has no {name}. Use only the name {name}.") from error
    takes = inspect.signature(found)
    try:
        takes.bind(**arguments)
    except TypeError as error:
        raise ConfigError(f"model.strategy.plugin_args: {name}: {error}. Its arguments: {takes}.") from error
    for key, (least, most) in SUPPORTED[name].ranges.items():
        value = arguments.get(key, takes.parameters[key].default)
        optional = takes.parameters[key].default is None and value is None
        numbers = value if isinstance(value, list) else [value]
        if not optional and not all(_is_number(number) and least <= number <= most for number in numbers):
            expected = f"a number from {least:g} to {most:g}" if most < math.inf else f"a number >= {least:g}"
            raise ConfigError(f"model.strategy.plugin_args.{key}: expected {expected}, found {value!r}.")
    if arguments.get("mode") == "mse":
        raise ConfigError(
            "model.strategy.plugin_args.mode: avalanche-lib 0.6 fails with mode 'mse' (mse_loss has no argument dim). "
            "Use 'cosine'."
        )
    try:
        return found(**arguments)
    except (AssertionError, TypeError, ValueError) as error:
        raise ConfigError(f"model.strategy.plugin_args: {name} cannot be built with {arguments}: {error}") from error


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
