"""Fitted scikit-learn estimators as bytes that are safe to load."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import numpy as np

from lightning_vision.errors import CheckpointError, ConfigError

# Parts of estimators that skops leaves to its user to judge. All but the first are plain Python objects that hold arrays and
# options; of a tree the nodes are looked at before they are used, see ``check_trees``.
TRUSTED = [
    "sklearn.tree._tree.Tree",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
]
KNOWN_TO_WORK = (
    "sklearn.ensemble.RandomForestClassifier, sklearn.linear_model.LogisticRegression, sklearn.linear_model.SGDClassifier "
    "with loss: log_loss"
)


def skops_io() -> Any:
    """The module skops.io. Late, for it is optional, and imports the whole of scikit-learn.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return import_module("skops.io")
    except ModuleNotFoundError as error:
        if error.name != "skops":
            raise
        raise ConfigError(
            "SklearnHead stores its estimator with skops, which is not installed. Run pip install "
            "'lightning_vision[sklearn]'."
        ) from error


def pack(estimator: Any) -> bytes:
    """An estimator as a skops archive: the same bytes for what was fitted alike, in any process.

    skops numbers objects and names arrays by their addresses in memory, and dates its files. Here they are numbered in
    their order, and not dated. Plain values go without a number: whether two equal ones are one object says nothing.

    Raises:
        ConfigError: There are parts that skops cannot keep, or does not trust.
    """
    name = type(estimator).__name__
    skops = skops_io()
    try:
        data = skops.dumps(estimator)
    except TypeError as error:
        raise ConfigError(f"SklearnHead: skops cannot store {name}: {error} Use {KNOWN_TO_WORK}.") from error
    untrusted = sorted(set(skops.get_untrusted_types(data=data)) - set(TRUSTED))
    if untrusted:
        raise ConfigError(
            f"SklearnHead: {name} has parts that skops does not trust, so a checkpoint would not be safe to load: "
            f"{', '.join(untrusted)}. Other estimator_args may avoid them (algorithm: brute for KNeighborsClassifier); "
            f"otherwise use {KNOWN_TO_WORK}."
        )
    numbers: dict[int, int] = {}
    files: dict[str, str] = {}

    def in_order(node: dict[str, Any]) -> dict[str, Any]:
        if node.get("__loader__") in ("JsonNode", "TypeNode"):
            node.pop("__id__", None)
        elif isinstance(node.get("__id__"), int):
            node["__id__"] = numbers.setdefault(node["__id__"], len(numbers) + 1)
        if isinstance(node.get("file"), str):
            suffix = node["file"].rpartition(".")[2]
            node["file"] = files.setdefault(node["file"], f"{len(files)}.{suffix}")
        return node

    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as ordered:
        schema = json.loads(archive.read("schema.json"), object_hook=in_order)
        for old, new in files.items():
            ordered.writestr(zipfile.ZipInfo(new), archive.read(old), zipfile.ZIP_DEFLATED)
        ordered.writestr(zipfile.ZipInfo("schema.json"), json.dumps(schema), zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def unpack(data: bytes, expected: type, dimensions: int) -> Any:
    """The estimator of a skops archive. Nothing in it is executed.

    Args:
        data: What ``pack`` returned, or what somebody put in its place.
        expected: The class that it should be of; or it is scikit-learn's DummyClassifier.
        dimensions: D, of the features that it will be given.

    Raises:
        CheckpointError: It is damaged, of another class, or has parts that are not trusted.
    """
    from sklearn.dummy import DummyClassifier

    skops = skops_io()
    try:
        estimator = skops.loads(data, trusted=TRUSTED)
        check_trees(estimator, dimensions)
    except Exception as error:  # foreign bytes can go wrong in any way
        raise CheckpointError(
            "SklearnHead: the estimator in the checkpoint is damaged, or has untrusted parts, so it was not used: "
            f"{' '.join(str(error).split())[:300]} Use checkpoints written by lightning_vision."
        ) from error
    if type(estimator) not in (expected, DummyClassifier):
        raise CheckpointError(
            f"SklearnHead: expected an estimator of the class {expected.__name__} in the checkpoint, found "
            f"{type(estimator).__name__}. Use the options of the run that wrote it."
        )
    return estimator


def check_trees(estimator: Any, dimensions: int) -> None:
    """Look at the nodes of all decision trees: scikit-learn follows them without looking, out of memory if need be.

    Raises:
        ValueError: A child or a feature does not exist, or a tree goes in circles.
    """
    for tree in trees_in(estimator):
        count = tree.node_count
        if not 0 < count <= tree.capacity:
            raise ValueError(f"A decision tree declares {count} nodes but has {tree.capacity}.")
        inner = np.flatnonzero(tree.children_left != -1)
        children = np.stack([tree.children_left, tree.children_right])[:, inner]
        # Nodes are numbered as the tree grew: a child comes after its parent.
        if (children <= inner).any() or (children >= count).any():
            raise ValueError("A decision tree has a node with children that do not exist.")
        if (tree.feature[inner] < 0).any() or (tree.feature[inner] >= dimensions).any():
            raise ValueError(f"A decision tree uses features beyond the {dimensions} available ones.")


def trees_in(thing: Any) -> Iterator[Any]:
    """All scikit-learn trees within an object, wherever they are."""
    from sklearn.tree._tree import Tree

    waiting, met = [thing], set()
    while waiting:
        thing = waiting.pop()
        if id(thing) in met:
            continue
        met.add(id(thing))
        if isinstance(thing, Tree):
            yield thing
        elif isinstance(thing, np.ndarray):
            waiting.extend(thing.flat if thing.dtype == object else ())
        elif isinstance(thing, Mapping):
            waiting.extend(thing.values())
        elif isinstance(thing, list | tuple | set):
            waiting.extend(thing)
        elif hasattr(thing, "__dict__"):
            waiting.extend(vars(thing).values())
