"""Benchmarks of Avalanche as streams, with its experiences and without its transforms."""

import inspect
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from datamodules.item_image import item_image
from lightning_vision.array_types import Rows
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.scenarios import FromColumn, Joint, Scenario
from lightning_vision.data.stratified_split import deal
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.seeding import derive_seed
from lightning_vision.terminal.wording import listed, near, plural

INSTALL = "pip install 'lightning_vision[avalanche]'"


class _Part(NamedTuple):
    """The images of one experience of one stream."""

    split: str
    experience: int
    dataset: Any
    labels: Rows
    """(N,) Avalanche's class numbers."""


class Avalanche(StreamDataModule):
    """A classification benchmark of Avalanche, or your own made with it: SplitMNIST, CORe50, nc_benchmark, ...

    Source: A. Carta et al., "Avalanche: A PyTorch Library for Deep Continual Learning", JMLR 24 (2023),
    https://avalanche.continualai.org. Experiences of the training stream keep their order (the column ``experience``,
    from 0), and so do those of a validation stream; without one, validation data is split off from each experience. The
    test stream has one experience for each, or a single one for all. An image of a single test experience belongs to
    the experience that trains its class; if several do, the class is distributed to them in equal shares. Task labels
    are not used: one head predicts all classes.

    Avalanche's transforms are not applied, except frozen ones, which define the experiences (the permutations of
    PermutedMNIST); ``train_transforms`` and ``eval_transforms`` are applied after them. Floats must be from 0 to 1.

    Args:
        benchmark: Dotted path of a function or class that creates the benchmark (``avalanche.benchmarks.SplitMNIST``),
            or of a benchmark.
        arguments: Arguments of the function. If it has no seed of its own, ``seed`` determines its random numbers.
        root: Passed as ``dataset_root`` to functions with this argument.
        stream: None keeps the experiences of the benchmark (``FromColumn("experience")``).
        options: See ``StreamDataModule``.
    """

    named_classes: ClassVar[Mapping[str, str | None]] = {
        "benchmark": None
    }  # they download, and CORe50 unpickles, what is at the root
    SPLIT_OF_STREAM: ClassVar[dict[str, str]] = {"train": "train", "valid": "val", "val": "val", "test": "test"}

    def __init__(
        self,
        benchmark: str,
        arguments: dict[str, Any] | None = None,
        root: str | Path = "",
        stream: Scenario | None = None,
        **options: Any,
    ) -> None:
        self.benchmark = benchmark
        self.arguments = dict(arguments or {})
        made = _make(benchmark, self.arguments, str(root), int(options.get("seed", 0)))
        parts, self._unused_streams = _read_streams(made, benchmark, self.SPLIT_OF_STREAM)
        self._parts = [part for part in parts if len(part.labels)]
        self._test_experiences = sum(part.split == "test" for part in parts)
        self._names = _class_names(made, self._parts)
        self._numbers_anew = bool(getattr(made, "class_ids_from_zero_in_each_exp", False))
        self._test_seed = int(options.get("seed", 0))
        if stream is None:
            several = len({part.experience for part in self._parts if part.split == "train"}) > 1
            stream = FromColumn("experience") if several else Joint()
        super().__init__(root, stream=stream, **options)

    def read_samples(self) -> tuple[pd.DataFrame, list[str]]:
        """One row an image: the streams one after another, each in the benchmark's order."""
        for part in self._parts:
            item_image(part.dataset[0], f"{self.benchmark}: {part.split} experience {part.experience}")
        self._starts = np.cumsum([0, *(len(part.labels) for part in self._parts)], dtype=np.int64)
        labels = np.concatenate([part.labels for part in self._parts])
        numbers, positions = np.unique(labels, return_inverse=True)
        sizes = [len(part.labels) for part in self._parts]
        samples = pd.DataFrame(
            {
                "path": [
                    f"{part.split}/{part.experience}/{n}" for part in self._parts for n in range(len(part.labels))
                ],
                "label": positions.astype(np.int64),
                "split": np.repeat([part.split for part in self._parts], sizes),
                "experience": np.repeat([part.experience for part in self._parts], sizes),
            }
        )
        self._deal_single_test_experience(samples)
        self._remark()
        return samples, [self._names.get(int(number), str(number)) for number in numbers]

    def load_image(self, index: int) -> Tensor:
        """uint8 (3, h, w)."""
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        part, place = self._parts[number], index - int(self._starts[number])
        return item_image(part.dataset[place], f"{self.benchmark}: {part.split}/{part.experience}/{place}")

    def _deal_single_test_experience(self, samples: pd.DataFrame) -> None:
        """Give each row of the only test experience to an experience that trains its class."""
        trained = [part for part in self._parts if part.split == "train"]
        if len(trained) == 1 or self._test_experiences != 1:
            return
        split, labels = samples["split"].to_numpy(), samples["label"].to_numpy()
        experience = samples["experience"].to_numpy(copy=True)
        train, test = split == "train", np.flatnonzero(split == "test")
        teachers = {
            label: tuple(np.unique(experience[train & (labels == label)]).tolist()) for label in np.unique(labels)
        }
        for several in sorted(set(teachers.values()) - {()}):  # a class that none trains is refused later, in words
            rows = test[np.isin(labels[test], [label for label in teachers if teachers[label] == several])]
            shares = [1 / len(several)] * len(several)
            dealt = deal(labels[rows], shares, (self._test_seed, "avalanche test", *several))
            experience[rows] = np.array(several)[dealt]
        samples["experience"] = experience
        self.findings.remark(
            f"{self.benchmark} has one test experience for {len(trained)} training experiences: each test image "
            "belongs to an experience that trains its class; if several do, the class is distributed to them in equal "
            "shares."
        )

    def _remark(self) -> None:
        if self._unused_streams:
            self.findings.remark(f"{self.benchmark}: the streams {listed(self._unused_streams)} are not used.")
        if self._numbers_anew and len({part.experience for part in self._parts}) > 1:
            self.findings.remark(
                f"{self.benchmark} numbers its classes from 0 in each experience (class_ids_from_zero_in_each_exp): "
                "equal numbers are treated as one class. This is correct only if every experience has the same "
                "classes."
            )


def _make(dotted: str, arguments: dict[str, Any], root: str, seed: int) -> Any:
    """The benchmark that an option names."""
    found = _find(dotted)
    if not callable(found):
        if arguments:
            raise ConfigError(
                f"data.arguments: {dotted} is already a benchmark and is not called. Omit the arguments, or give the "
                "function that creates it."
            )
        return found
    try:
        signature: inspect.Signature | None = inspect.signature(found)
    except ValueError:  # some classes written in C have none
        signature = None
    given = dict(arguments)
    if signature is not None:
        if root and "dataset_root" in signature.parameters:
            given.setdefault("dataset_root", str(Path(root).expanduser()))
        try:
            signature.bind(**given)
        except TypeError as error:
            raise ConfigError(
                f"data.arguments: {dotted} cannot be called with {given}: {error}. It takes {signature}."
            ) from error
    try:
        with _own_generators(seed):
            return found(**given)
    except (OSError, RuntimeError, ValueError, AssertionError) as error:  # downloads, files, what Avalanche refuses
        raise DataError(
            f"data.benchmark: {dotted} could not be created with {given}: {type(error).__name__}: {error}"
        ) from error


def _find(dotted: str) -> Any:
    """What a dotted path names."""
    words = dotted.split(".")
    for count in range(len(words) - 1, 0, -1):
        module = ".".join(words[:count])
        try:
            found: Any = import_module(module)
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if missing == "avalanche":
                raise ConfigError(
                    f"data.benchmark: {dotted} needs the package avalanche-lib, which is not installed. {INSTALL}"
                ) from error
            if module == missing or module.startswith(f"{missing}."):
                continue  # a class or an object stands before the last dot
            raise ConfigError(f"data.benchmark: {module} cannot be imported: {error}.") from error
        for word in words[count:]:
            if not hasattr(found, word):
                names = ", ".join(near(word, dir(found))) or "none"
                raise ConfigError(f"data.benchmark: {module} has no {word!r}. Similar names: {names}.")
            found = getattr(found, word)
        return found
    raise ConfigError(
        f"data.benchmark: expected a dotted path such as avalanche.benchmarks.SplitMNIST, found {dotted!r}, no part of "
        "which can be imported as a module. Your own files are searched in the working directory."
    )


@contextmanager
def _own_generators(seed: int) -> Iterator[None]:
    """Benchmarks draw from the generators of torch, NumPy and Python: set them, and put them back afterwards."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        drawn = derive_seed(seed, "avalanche")
        random.seed(drawn)
        np.random.seed(drawn % 2**32)
        torch.default_generator.manual_seed(drawn)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def _read_streams(made: Any, dotted: str, split_of: Mapping[str, str]) -> tuple[list[_Part], list[str]]:
    """Every experience of the streams that are learned or evaluated, and the names of the other streams."""
    streams = getattr(made, "streams", None)
    if not isinstance(streams, Mapping) or "train" not in streams:
        found = f"with the streams {listed(streams)}" if isinstance(streams, Mapping) else f"a {type(made).__name__}"
        raise ConfigError(
            f"data.benchmark: {dotted} returned {found}; expected an Avalanche benchmark with a stream 'train', and a "
            "stream 'test' unless test data should be split off."
        )
    parts: dict[str, list[_Part]] = {}
    for name, stream in streams.items():
        if name in split_of:
            split = split_of[name]
            parts[split] = [_read_experience(dotted, split, number, item) for number, item in enumerate(stream)]
    count = len(parts["train"])
    for split, read in parts.items():
        if len(read) not in ({1, count} if split == "test" else {count}):
            raise DataError(
                f"{dotted}: the {split} stream has {plural(len(read), 'experience')} and the training stream {count}. "
                f"Expected the same number{', or a single one for all' if split == 'test' else ''}."
            )
    if empty := [part.experience for part in parts["train"] if len(part.labels) == 0]:
        raise DataError(f"{dotted}: every experience needs training data, but {listed(empty)} of {count} has none.")
    used = [part for split in ("train", "val", "test") for part in parts.get(split, [])]
    return used, [name for name in streams if name not in split_of]


def _read_experience(dotted: str, split: str, number: int, experience: Any) -> _Part:
    dataset = getattr(experience, "dataset", None)
    targets = getattr(dataset, "targets", None)
    if dataset is None or targets is None:
        raise DataError(
            f"{dotted}: {split} experience {number} has no dataset with targets. Expected a classification benchmark, found "
            f"a {type(experience).__name__}."
        )
    values = np.array([target.item() if isinstance(target, Tensor) else target for target in targets])
    if len(values) and not np.issubdtype(values.dtype, np.integer):
        raise DataError(
            f"{dotted}: the targets of {split} experience {number} are {values.dtype}, such as {values[0]!r}; expected "
            "whole numbers, one per image."
        )
    plain = dataset.remove_current_transform_group() if hasattr(dataset, "remove_current_transform_group") else dataset
    return _Part(split, number, plain, values.astype(np.int64))


def _class_names(made: Any, parts: Sequence[_Part]) -> dict[int, str]:
    """Names by Avalanche's class number, where the benchmark or all data sets below it agree on them; else empty."""
    own = getattr(made, "class_names", None)
    if own is None:
        if getattr(made, "class_ids_from_zero_in_each_exp", False):
            return {}
        below = [getattr(leaf, "classes", None) for part in parts for leaf in _leaves(part.dataset)]
        if not below or any(names != below[0] for names in below):
            return {}
        own = below[0]
    if not isinstance(own, Sequence) or isinstance(own, str) or not all(isinstance(name, str) for name in own):
        return {}
    numbers = list(range(len(own)))
    if getattr(made, "class_ids_from_zero_from_first_exp", False):  # the names are those of the numbers before
        numbers = [int(number) for number in made.class_mapping][: len(own)]
    names = dict(zip(numbers, own, strict=False))
    used = {int(number) for part in parts for number in np.unique(part.labels)}
    return names if used <= names.keys() and len(set(own)) == len(own) and all(name.strip() for name in own) else {}


def _leaves(dataset: Any) -> list[Any]:
    """The data sets that an Avalanche data set is made of, each once."""
    from avalanche.benchmarks.utils.dataset_traversal_utils import leaf_datasets  # made with Avalanche: it is there

    return list(leaf_datasets(dataset))
