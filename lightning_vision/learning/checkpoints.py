"""Reads checkpoints safely, and checks whether one fits a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.stream import Stream
from lightning_vision.errors import CheckpointError
from lightning_vision.former_names import present_path, with_present_paths
from lightning_vision.learning.checkpoint_file import Checkpoint, load_file
from lightning_vision.learning.checkpoint_identity import CHECKPOINT_SCHEMA, replay_grafts, shortened
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.frozen_weights import completed
from lightning_vision.learning.hub_run import with_local_run
from lightning_vision.learning.one_experience import take_data
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.results.same_options import Difference, Kept, compare_options, option_name
from lightning_vision.terminal.wording import listed


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint of this program, with the weights that it takes from another file; nothing in it is executed.

    Raises:
        CheckpointError: It is missing or damaged, holds code, or was written by another program or a later version of this
            one; or a file that it needs is missing or was changed.
    """
    path = Path(path)
    checkpoint = load_file(path)
    if not isinstance(checkpoint, dict) or "lightning_vision" not in checkpoint or "state_dict" not in checkpoint:
        raise CheckpointError(
            f"{path} was not written by lightning_vision. Weights of a bare backbone are given as model.backbone_weights."
        )
    schema = checkpoint["lightning_vision"].get("schema", 1)  # the first ones had no such key
    if schema > CHECKPOINT_SCHEMA:
        raise CheckpointError(
            f"{path} was written by a later version of lightning_vision: expected a checkpoint of schema {CHECKPOINT_SCHEMA} "
            f"or earlier, found {schema}. Update lightning_vision to read it."
        )
    return completed(checkpoint, path)


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint at a path: the file itself, or that of the newest finished experience of a run directory.

    Args:
        path: A file, a run directory, or the address of a run on the Hugging Face Hub (see ``local_run``).

    Raises:
        CheckpointError: There is none.
        ConfigError: The address is malformed.
    """
    path = with_local_run(path)
    if path.is_dir():
        finished = RunDirectory(path).all_finished()
        if not finished:
            raise CheckpointError(
                f"Expected a checkpoint or the directory of a run with at least one finished experience, found none in "
                f"{path / 'checkpoints'}."
            )
        return finished[-1]
    return path


def check_fits(checkpoint: Checkpoint, model: ContinualClassifier, path: Path, *, class_names: bool = True) -> None:
    """Check that a checkpoint fits a model.

    Raises:
        CheckpointError: They differ; the differing properties are named.
    """
    saved, here = checkpoint["lightning_vision"], model.identity()
    keys = ["backbone", "image_size", "mean", "std", *(["class_names"] if class_names else []), "head"]

    def compared(identity: dict[str, Any], key: str) -> Any:
        value = identity.get(key)
        if key == "head" and value and not class_names:  # the number of rows follows from the classes
            return value[:-2] + [shape[1:] for shape in value[-2:]]
        return value

    differing = [
        f"  {key}: {shortened(saved.get(key))} in the checkpoint, {shortened(here[key])} here"
        for key in keys
        if compared(saved, key) != compared(here, key)
    ]
    _refuse(differing, path)


def check_same_strategies(checkpoint: Checkpoint, model: ContinualClassifier, path: Path) -> None:
    """Compare the strategies whose state a checkpoint holds with those of a model.

    Raises:
        CheckpointError: Their classes or options differ.
    """
    saved, here = checkpoint["lightning_vision"], model.identity()
    options = checkpoint.get("hyper_parameters", {})
    differing = []
    for key in ("strategy", "base_strategy"):
        if present_path(saved[key]) != here[key]:
            differing.append(f"  model.{key}: {saved[key]} in the checkpoint, {here[key]} here")
        elif options.get(key) and model.hparams.get(key):  # none of the two was built in Python
            differing += [
                f"  {option_name(each.key)}: {shortened(each.before)} in the checkpoint, {shortened(each.now)} here"
                for each in _other_options(options[key], model, key)
            ]
    _refuse(differing, path)


def _other_options(saved: Mapping[str, Any], model: ContinualClassifier, key: str) -> list[Difference | Kept]:
    """The options in which a strategy of a checkpoint differs from a model's of the same class."""
    then, now = (with_present_paths(each.get("init_args") or {}) for each in (saved, model.hparams[key]))
    return list(compare_options(then, now, type(getattr(model, key)), f"model.{key}.init_args"))


def _refuse(differing: list[str], path: Path) -> None:
    if differing:
        config = path.parent.parent / "config.yaml"
        where = f" They are in {config}." if config.is_file() else ""
        raise CheckpointError(
            "\n".join([f"{path} does not fit this model:", *differing, f"Use the options it was written with.{where}"])
        )


def load_into(model: ContinualClassifier, stream: Stream, checkpoint: Checkpoint, path: Path) -> int:
    """Bring a new model to where a checkpoint was written: at the end of an experience.

    The classes must match already, and ``model.seed`` must be set: strategies prepare for each experience again.

    Args:
        model: The classifier, as it was built.
        stream: The stream of its data. It may be shorter than the one that was learned, as with new data to predict; the
            experiences beyond its end are then like its last, without new classes.
        checkpoint: What the file holds.
        path: The file, for the error.

    Returns:
        The index of the experience.

    Raises:
        CheckpointError: The weights do not fit.
    """
    identity = checkpoint["lightning_vision"]
    learned = int(identity["experience"])
    for index in range(learned + 1):
        model.begin_experience(stream.reached(index))
    replay_grafts(model.network, identity)
    try:
        model.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        raise CheckpointError(
            f"{path} does not fit this model: {' '.join(str(error).split())[:300]} Use the options and the stream it was "
            "written with."
        ) from error
    model.picked_variant = identity["picked_variant"]
    return learned


def match_classes(base: list[str], data: list[str], path: Path, *, allow: bool = False) -> list[str]:
    """The class list of a run that starts from a base: the base's classes in their order, then the new ones of the data.

    Args:
        base: The classes of the base.
        data: The classes of the data.
        path: The base, for the error.
        allow: Each may have classes that the other does not have.

    Raises:
        CheckpointError: Each has classes that the other does not have: a name is probably misspelt, or the base is wrong.
    """
    missing, new = [name for name in base if name not in data], [name for name in data if name not in base]
    if missing and new and not allow:
        raise CheckpointError(
            f"The classes of {path} and of the data differ: {shortened(missing)} only in the checkpoint, {shortened(new)} only in "
            "the data. Expected the same names, or one list within the other: rename the classes, or use another base. If "
            f"{listed(new)} {'is a new class' if len(new) == 1 else 'are new classes'} indeed, set data.new_classes to allow."
        )
    return [*base, *new]


def use_classes(model: ContinualClassifier, datamodule: StreamDataModule, names: list[str]) -> None:
    """Give data and model one class list; a head with another list is built again, and so is a network that is missing.

    Raises:
        DataError: A class of the data is not on the list.
    """
    if names != datamodule.class_names:
        datamodule.use_class_names(names)
    if not model.class_names:
        take_data(model, names, datamodule.image_size)
    if names != model.class_names:
        model.network.rearrange_classes([None] * len(names))
        model.class_names = list(names)
        model.hparams["class_names"] = list(names)


def match_base(model: ContinualClassifier, datamodule: StreamDataModule) -> tuple[Path, Checkpoint]:
    """Give data and model the class list of ``model.base_checkpoint``, extended by the new classes of the data.

    Returns:
        The base's path and what it holds.

    Raises:
        CheckpointError: It does not exist, or its classes differ from the data's.
    """
    path = find_checkpoint(str(model.base_checkpoint))
    checkpoint = read_checkpoint(path)
    saved: list[str] = checkpoint["lightning_vision"]["class_names"]
    allow = datamodule.new_classes == "allow"
    use_classes(model, datamodule, match_classes(saved, datamodule.class_names, path, allow=allow))
    if allow:
        datamodule.prepared.start_from(known_classes(checkpoint))
    return path, checkpoint


def known_classes(checkpoint: Checkpoint) -> list[str]:
    """The classes that a checkpoint's classifier has learned, of those that its head has."""
    names, seen = checkpoint["lightning_vision"]["class_names"], checkpoint["state_dict"]["network.seen"].tolist()
    return [name for name, learned in zip(names, seen, strict=True) if learned]


def load_backbone(model: ContinualClassifier, checkpoint: Checkpoint) -> None:
    """Load only the backbone of a base, with its grafts."""
    replay_grafts(model.network, checkpoint["lightning_vision"])
    prefix = "network.backbone."
    state = {
        key.removeprefix(prefix): value for key, value in checkpoint["state_dict"].items() if key.startswith(prefix)
    }
    model.network.backbone.load_state_dict(state)


def with_classes(
    state: Mapping[str, Tensor], sources: Sequence[int | None], axes: Mapping[str, int]
) -> dict[str, Tensor]:
    """The state of a strategy in another class list; entries of new classes are 0.

    Args:
        state: The state, by name.
        sources: For each class of the new list its place in the present one, or None for a new class.
        axes: The axis of the classes in each buffer that has one.
    """
    rows = torch.tensor([-1 if source is None else source for source in sources])
    found = dict(state)
    for name, axis in axes.items():
        value = state.get(name)
        if value is not None and value.numel():
            taken = value.index_select(axis, rows.clamp(min=0).to(value.device))
            found[name] = taken.index_fill(axis, (rows < 0).nonzero()[:, 0].to(value.device), 0)
    return found


def load_base(
    model: ContinualClassifier, checkpoint: Checkpoint, path: Path, *, continues: bool = False, alone: bool = False
) -> list[str]:
    """Load a base into a model that has its class list already; the head's rows are matched by class name.

    Args:
        model: The model.
        checkpoint: What the base's file holds.
        path: The file.
        continues: The learning strategy also continues with the statistics that it has of a checkpoint right after a base.
        alone: The stream has no data of the base.

    Returns:
        Notes for the user.
    """
    saved = checkpoint["lightning_vision"]
    notes = []
    check_fits(checkpoint, model, path, class_names=False)
    base_names: list[str] = saved["class_names"]
    state = {
        key.removeprefix("network."): value
        for key, value in checkpoint["state_dict"].items()
        if key.startswith("network.")
    }
    names, own = model.class_names, list(range(len(base_names)))
    model.network.rearrange_classes(own)
    replay_grafts(model.network, saved)
    model.network.load_state_dict(state)
    model.network.trained_before_run = not model.network.grafts and model.network.original is None
    same_classes = base_names == names
    rows = {name: row for row, name in enumerate(base_names)}
    sources = [rows.get(name) for name in names]
    if not same_classes:
        model.network.rearrange_classes(sources)
        added = [name for name in names if name not in rows]
        if added:
            notes.append(f"The head grew by {len(added)} class(es) that the base does not know: {shortened(added)}.")
    if not saved["is_base"]:
        notes.append(
            f"The base checkpoint {path} is not a base: it had already learned experience {saved['experience']} of its stream, "
            "so figures of forgetting start from there."
        )
    strategy_state, loaded, here = _strategy_state(checkpoint), False, model.identity()["strategy"]
    if strategy_state and (continues or not saved["is_base"]):
        axes = model.strategy.class_axes
        if _same_strategy(checkpoint, model) and (same_classes or axes is not None):
            grown = strategy_state if same_classes else with_classes(strategy_state, sources, axes or {})
            model.strategy.load_state_dict(grown)
            loaded = True
            notes.append(f"The state of {here} was loaded from the checkpoint.")
        else:
            notes.append(
                f"The learning strategy starts from the beginning: the checkpoint's state is of {saved['strategy']} with other options or classes."
            )
    if alone and not loaded and model.strategy.without_base:
        notes.append(f"{type(model.strategy).__name__} has no state of the base: {model.strategy.without_base}.")
    return notes


def has_statistics(checkpoint: Checkpoint, model: ContinualClassifier) -> bool:
    """Whether a base holds the learning strategy's own statistics of its classes, which can take further classes."""
    axes, state = model.strategy.class_axes, _strategy_state(checkpoint)
    filled = any(name in state and state[name].numel() for name in axes or ())
    return filled and _same_strategy(checkpoint, model)


def _strategy_state(checkpoint: Checkpoint) -> dict[str, Tensor]:
    prefix = "strategy."
    return {
        key.removeprefix(prefix): value for key, value in checkpoint["state_dict"].items() if key.startswith(prefix)
    }


def _same_strategy(checkpoint: Checkpoint, model: ContinualClassifier) -> bool:
    """Whether the learning strategy of a checkpoint is the model's, with the same options."""
    options, given = checkpoint.get("hyper_parameters", {}).get("strategy"), model.hparams.get("strategy")
    known = bool(options) and bool(given)
    same = not _other_options(options, model, "strategy") if known else options == given
    return bool(checkpoint["lightning_vision"]["strategy"] == model.identity()["strategy"] and same)
