"""Any scikit-learn classifier on the features of a frozen backbone."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision.data.batch import Batch
from lightning_vision.data.stream import Experience
from lightning_vision.errors import ConfigError, TrainingError
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy
from lightning_vision.terminal.wording import near
from strategies.nearest_mean import classes_without_data
from strategies.skops_archive import KNOWN_TO_WORK, pack, skops_io, unpack

SMALLEST = float(np.finfo(np.float32).tiny)  # of a probability, so that its logarithm is a number


def find_classifier(path: str) -> type:
    """The class that a dotted path names.

    Raises:
        ConfigError: It names nothing, no class, or no classifier.
    """
    from sklearn.base import ClassifierMixin  # scikit-learn takes a second to import, and few runs need it

    module, _, name = path.rpartition(".")
    expected = "SklearnHead: expected estimator to be the dotted path of a scikit-learn classifier"
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        near = ", ".join(near_classifiers(name)) or KNOWN_TO_WORK
        raise ConfigError(
            f"{expected}, found {path!r}, which cannot be imported ({error}). Similar classifiers: {near}."
        ) from error
    if not inspect.isclass(found):
        raise ConfigError(f"{expected}, found {path!r}, which is not a class but {found!r:.80}. Use {KNOWN_TO_WORK}.")
    if not issubclass(found, ClassifierMixin):
        near = ", ".join(near_classifiers(name.replace("Regressor", "Classifier")))
        raise ConfigError(f"{expected}, found {path!r}, a class that is not a classifier. Use {near or KNOWN_TO_WORK}.")
    return found


def near_classifiers(name: str) -> list[str]:
    """Dotted paths of scikit-learn's classifiers with similar names, the most similar first."""
    from sklearn.utils import all_estimators  # slow, and for an error only

    paths = {short: cls.__module__.split("._")[0] + f".{short}" for short, cls in all_estimators("classifier")}
    return [paths[short] for short in near(name, paths)]


class SklearnHead(Strategy):
    r"""Any scikit-learn classifier on features of a frozen backbone (Pedregosa et al., 2011); default: a random forest.

    With the penultimate feature v (D,) and the estimator's probabilities p (C,):

    .. math:: \text{logit}_c = \log p_c(v)

    An estimator with ``partial_fit`` (SGDClassifier, MLPClassifier, GaussianNB) gets each batch once, in the stream's
    order, and stores no past data. Any other estimator is fitted again after each experience to the features of all
    images so far. These features are saved in the checkpoint: 4 P D bytes for P images, which is 256 MB for 50,000
    images of 1,280 features. There is no gradient, and the data of the base is included. A class without an image has
    the logit -inf, and a probability of 0 counts as 1e-38. If there is only one class, it is predicted.

    Every process fits the same estimator to the same features, so its random numbers are seeded: ``random_state``
    follows the run's seed, unless ``seed`` or estimator_args fixes it.

    The fitted estimator is stored by skops as bytes in a uint8 buffer: a checkpoint contains no pickled object, and
    loading it executes nothing. An estimator with parts that skops does not trust is refused before training. The only
    exceptions are decision trees, whose nodes are checked after loading, and a few plain parts of scikit-learn.

    Differences from scikit-learn:
        - ``partial_fit`` gets all C classes at its first call. Classes without an image are excluded from predictions,
          regardless of the estimator's probability.

    Args:
        estimator: Dotted path of a classifier with ``predict_proba``.
        estimator_args: Arguments of the estimator.
        seed: ``random_state`` of the estimator and its parts. None: the run's seed; a number fixes it in all runs.
    """

    without_base = "the estimator is fitted to the images of this run alone"
    kind = "closed_form"
    freezes_backbone = True
    needs_base_data = True
    EARLIER_DEFAULTS: ClassVar[Mapping[str, object]] = {"seed": 0}
    named_classes: ClassVar[Mapping[str, str | None]] = {"estimator": "sklearn.base.BaseEstimator"}
    FORMER_BUFFERS: ClassVar[Mapping[str, str]] = {"features": "past"}
    past: Tensor  # (P, D) float32, of all images so far; empty with partial_fit, as the labels are
    labels: Tensor  # (P,) int64
    counts: Tensor  # (C,) int64, images so far; empty before the first
    fitted: Tensor  # (B,) uint8, the estimator as a skops archive; empty before it is fitted

    def __init__(
        self,
        estimator: str = "sklearn.ensemble.RandomForestClassifier",
        estimator_args: dict[str, Any] | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.estimator, self.estimator_args, self.seed = estimator, dict(estimator_args or {}), seed
        self.register_buffer("past", torch.empty(0))
        for name in ("labels", "counts"):
            self.register_buffer(name, torch.empty(0, dtype=torch.int64))
        self.register_buffer("fitted", torch.empty(0, dtype=torch.uint8))
        # The buffers are brought up to date when the state is asked for: to do so at each batch would take longer than to learn.
        self._fitted: Any = None
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self._packed = True
        self._tried = False
        skops_io()
        self._class = find_classifier(estimator)
        made = self._make()
        self._in_parts = hasattr(made, "partial_fit")
        self.draws_nothing = not any(_is_random_state(name) for name in made.get_params())
        if not hasattr(made, "predict_proba"):
            raise ConfigError(
                f"SklearnHead: {estimator} has no predict_proba with the estimator_args {self.estimator_args}, which "
                f"is needed for logits. Use {KNOWN_TO_WORK}, or, for a linear support vector machine, "
                "sklearn.calibration.CalibratedClassifierCV."
            )
        self._try_out(2, TypeError)  # scikit-learn's own, of options that are out of range

    def before_experience(self, network: Network, experience: Experience) -> None:
        """Refuse options that do not go with this number of classes, before anything is trained."""
        if not self._tried:
            self._try_out(network.num_classes, Exception)
            self._tried = True

    def update(self, network: Network, features: Tensor, labels: Tensor) -> None:
        """Learn a batch, or keep it for later."""
        if not len(labels):
            return
        v, c = network.penultimate(features).detach().float(), network.num_classes
        counts = F.one_hot(labels, c).sum(dim=0)
        self.counts = F.pad(self.counts.to(labels.device), (0, c - len(self.counts))) + counts
        if self._in_parts:
            self._fit(self._current(v.shape[1]), v, labels, c)
        else:
            self._waiting.append((v.clone(), labels.clone()))

    def after_experience(self, network: Network, experience: Experience, batches: Iterable[Batch]) -> None:
        """Fit the estimator again, unless it learns batch by batch."""
        self._settle()
        if len(self.labels):
            self._fit(None, self.past, self.labels, network.num_classes)

    def predict(self, network: Network, features: Tensor) -> Tensor | Mapping[str, Tensor]:
        """Logits (N, C) as fitted last; the network's own before that."""
        v = network.penultimate(features)
        estimator = self._current(v.shape[1])
        if estimator is None:
            return super().predict(network, features)
        logits = np.full((len(v), network.num_classes), -np.inf)
        if len(v):
            logits[:, estimator.classes_] = self._log_probabilities(estimator, v)
        logits[:, np.flatnonzero(self.counts.cpu().numpy() == 0)] = -np.inf
        if np.isnan(logits).any():
            raise TrainingError(
                f"SklearnHead: {self.estimator} returns probabilities that are not finite. Some estimators do so if a "
                "class has a single image, or if the features carry no information. Use other estimator_args, or "
                f"{KNOWN_TO_WORK}."
            )
        return torch.from_numpy(logits).to(features)

    def notes(self, network: Network) -> Sequence[str]:
        """Say which classes cannot be predicted."""
        return classes_without_data(network, self.counts)

    def _make(self) -> Any:
        """The estimator, before it has learned anything."""
        try:
            made = self._class(**self.estimator_args)
        except TypeError as error:
            known = ", ".join(inspect.signature(self._class).parameters)
            raise ConfigError(
                f"SklearnHead: {self.estimator} cannot be created with the estimator_args {self.estimator_args}: "
                f"{error}. Its arguments: {known}."
            ) from error
        if kept := [
            key for key, value in made.get_params().items() if key.split("__")[-1] == "memory" and value is not None
        ]:
            raise ConfigError(
                f"SklearnHead: estimator_args.{kept[0]} makes scikit-learn store pickled objects in a folder and load "
                "them. Omit it."
            )
        seed = self.draw_seed("SklearnHead", self.seed)
        seed = seed % 2**32 if self.seed is None else seed  # the largest that scikit-learn takes
        free = [name for name, value in made.get_params().items() if value is None and _is_random_state(name)]
        return made.set_params(**dict.fromkeys(free, seed))

    def _try_out(self, classes: int, refused: type[Exception]) -> None:
        """Fit it to a few random features and pack it.

        Raises:
            ConfigError: Fitting ends in an error that is to be refused, or what comes out cannot be kept.
        """
        x = np.random.default_rng(0).random((10 * classes, 8), dtype=np.float32)
        y = np.arange(len(x)) % classes
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # random features are not worth a word
                tried = self._learn(self._make(), x, y, classes)
        except Exception as error:  # an estimator of any package, in any way
            if not isinstance(error, refused):
                return  # perhaps of the number of classes: before the first experience it is tried with the right one
            raise ConfigError(
                f"SklearnHead: {self.estimator} with the estimator_args {self.estimator_args} cannot be fitted to "
                f"{len(x)} random features of {classes} classes: {error}"
            ) from error
        pack(tried)

    def _learn(self, estimator: Any, x: npt.NDArray[np.float32], y: npt.NDArray[np.int64], classes: int) -> Any:
        if not self._in_parts:
            return estimator.fit(x, y)
        told = {} if hasattr(estimator, "classes_") else {"classes": np.arange(classes)}
        return estimator.partial_fit(x, y, **told)

    def _fit(self, estimator: Any, v: Tensor, labels: Tensor, classes: int) -> None:
        """Let the estimator learn, or a new one if it is None."""
        from sklearn.dummy import DummyClassifier

        x, y = v.float().cpu().numpy(), labels.cpu().numpy()
        if estimator is None:
            # Many estimators refuse to be fitted to a single class.
            estimator = self._make() if self._in_parts or len(np.unique(y)) > 1 else DummyClassifier()
        try:
            self._fitted = self._learn(estimator, x, y, classes)
        except Exception as error:  # an estimator of any package, in any way
            raise TrainingError(
                f"SklearnHead: {self.estimator} could not be fitted to {len(y)} image(s) of {len(np.unique(y))} "
                f"class(es): {error}. The checkpoint of the last experience is kept. Use other estimator_args, fewer "
                f"and larger experiences, or {KNOWN_TO_WORK}."
            ) from error
        self._packed = False

    def _current(self, dimensions: int) -> Any:
        """The estimator as fitted last, None before that."""
        if self._fitted is None and self.fitted.numel():
            self._fitted = unpack(self.fitted.cpu().numpy().tobytes(), self._class, dimensions)
        return self._fitted

    def _log_probabilities(self, estimator: Any, v: Tensor) -> npt.NDArray[np.float64]:
        """Logarithms of the probabilities (N, K) of the K classes that the estimator knows."""
        x = v.detach().float().cpu().numpy()
        if not np.isfinite(x).all():
            raise TrainingError("SklearnHead: some features are not finite. Use trainer.precision=32-true.")
        if hasattr(estimator, "predict_joint_log_proba"):
            # Naive Bayes: log p up to a constant. Its probabilities are not finite while a class has no image.
            with np.errstate(divide="ignore", invalid="ignore"):
                joint: npt.NDArray[np.float64] = estimator.predict_joint_log_proba(x)
            return joint
        p: npt.NDArray[np.float64] = estimator.predict_proba(x)
        return np.log(np.maximum(p, SMALLEST))

    @torch.inference_mode(False)  # its results are used after an evaluation
    def _settle(self) -> None:
        """Bring the buffers up to date."""
        if self._waiting:
            v, labels = (torch.cat(parts) for parts in zip(*self._waiting, strict=True))
            self.past = torch.cat([self.past.to(v.device), v])
            self.labels = torch.cat([self.labels.to(v.device), labels])
            self._waiting = []
        if not self._packed:
            data = torch.frombuffer(bytearray(pack(self._fitted)), dtype=torch.uint8)
            self.fitted, self._packed = data.to(self.counts.device), True

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        """Bring the state up to date first."""
        self._settle()
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Forget what was made of the former state."""
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._fitted, self._waiting, self._packed = None, [], True


def _is_random_state(name: str) -> bool:
    """Whether a parameter of an estimator, or of one of its parts (``part__name``), is the seed of what it draws."""
    return name.split("__")[-1] == "random_state"
