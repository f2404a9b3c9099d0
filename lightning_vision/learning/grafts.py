"""Grafts: small modules that are set into a backbone, stay in it and are written down in the checkpoint."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from lightning_vision.errors import ConfigError
from lightning_vision.learning.graft_kinds import Adapter, LowRank, ScaleShift, Tokens
from lightning_vision.learning.graft_places import (
    BlockGrafts,
    Graft,
    LayerGrafts,
    WeightGrafts,
    places_around,
    places_over,
    take_out,
)
from lightning_vision.terminal.wording import listed, near

_KINDS: dict[str, type[Graft]] = {
    "adapter": Adapter,
    "low_rank": LowRank,
    "scale_shift": ScaleShift,
    "tokens": Tokens,
}
KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TAKEN = {*dir(BlockGrafts), *dir(WeightGrafts), *dir(LayerGrafts), "layer_class", "order", "original", "training"}
"""Names of torch's modules, under which no child can be set."""


def register_graft(name: str, kind: type[Graft]) -> None:
    """Add a kind of graft. A package does so when it is imported: a checkpoint holds names of kinds, and no code.

    Args:
        name: As ``Network.graft`` and checkpoints name it.
        kind: Its class.

    Raises:
        ConfigError: The name is taken by another class.
    """
    if _KINDS.setdefault(name, kind) is not kind:
        raise ConfigError(f"The kind of graft {name!r} is {_KINDS[name].__name__} already. Choose another name.")


def check_kind(kind: str) -> None:
    """Refuse a kind of graft that nobody has registered.

    Raises:
        ConfigError: It is unknown.
    """
    if kind not in _KINDS:
        similar = f" Similar: {', '.join(near(kind, _KINDS))}." if near(kind, _KINDS) else ""
        raise ConfigError(f"Unknown kind of graft {kind!r}: expected one of {', '.join(sorted(_KINDS))}.{similar}")


def described(kind: str, key: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint keeps of a graft: kind, key and all options, those that were left out too.

    Raises:
        ConfigError: The kind or an option is unknown, or the key cannot be used.
    """
    check_kind(kind)
    if not isinstance(key, str) or not KEY.fullmatch(key) or key in _TAKEN:
        raise ConfigError(
            f"The key of a graft: expected 1 to 64 letters, digits, '_' or '-', and no name of torch's modules; found {key!r}."
        )
    known = [each for each in inspect.signature(_KINDS[kind].set_into).parameters.values()][2:]
    if unknown := [name for name in options if name not in {each.name for each in known}]:
        raise ConfigError(
            f"{kind} has no option {unknown[0]!r}; it has {listed([each.name for each in known]) if known else 'none'}."
        )
    return {"kind": kind, "key": key, "options": {each.name: options.get(each.name, each.default) for each in known}}


def set_graft(backbone: nn.Module, graft: Mapping[str, Any]) -> Mapping[str, Graft]:
    """Set a graft into a backbone.

    Args:
        backbone: The backbone.
        graft: As ``described`` gives it.

    Returns:
        Its modules by place.

    Raises:
        ConfigError: The backbone cannot take it, or it is compiled.
    """
    if getattr(backbone, "_compiled_call_impl", None) is not None:
        raise ConfigError(
            f"model.compile is true, and a compiled backbone cannot take a graft ({graft['kind']}). Set model.compile: false."
        )
    try:
        return _KINDS[graft["kind"]].set_into(backbone, graft["key"], **graft["options"])
    except ConfigError:
        take_out(backbone, graft["key"])
        raise
    except (TypeError, ValueError) as error:
        take_out(backbone, graft["key"])
        raise ConfigError(
            f"{graft['kind']} cannot be set with the options {dict(graft['options'])}: {error}"
        ) from error


@contextmanager
def set_for_a_while(backbone: nn.Module, grafts: Iterable[Mapping[str, Any]]) -> Iterator[None]:
    """Set grafts one after the other, and remove them on exit.

    Raises:
        ConfigError: See ``set_graft``.
    """
    done = []
    try:
        for graft in grafts:
            set_graft(backbone, graft)
            done.append(graft["key"])
        yield
    finally:
        for key in done:
            take_out(backbone, key)


def modules_of(backbone: nn.Module, key: str) -> Iterator[tuple[str, Graft]]:
    """Name of the place and module of each part of a graft."""
    for place, _, held in places_around(backbone):
        if key in held:
            yield place, _as_graft(held[key])
    for place, _, _, chain in places_over(backbone):
        if key in chain:
            yield place, _as_graft(chain[key])


def why_not_folded(backbone: nn.Module, key: str) -> str:
    """Why a graft cannot be folded into the weights over which it is set; empty if it can."""
    for _, graft in modules_of(backbone, key):
        if not graft.mergeable:
            return (
                f"The graft {key!r} ({type(graft).__name__}) computes beside the backbone's weights, so it cannot be merged with "
                "them. Only low_rank and scale_shift can."
            )
    for chain in (chain for _, _, _, chain in places_over(backbone) if key in chain):
        earlier = list(chain)[: list(chain).index(key)]
        # Sums of low rank commute; a scale and what was set before it do not.
        if earlier and not all(isinstance(chain[name], LowRank) for name in [*earlier, key]):
            return f"The graft {earlier[0]!r} was set before {key!r} over the same weights. Merge {earlier[0]!r} first."
    return ""


def fold_in(backbone: nn.Module, key: str) -> None:
    """Fold a graft into the weights over which it is set, and remove it; the backbone computes the same function.

    Raises:
        ConfigError: It is beside the weights, or another one that was set before it must be merged first.
    """
    if reason := why_not_folded(backbone, key):
        raise ConfigError(reason)
    with torch.no_grad():
        for _, _, _, chain in places_over(backbone):
            if key in chain:
                chain.original.copy_(chain[key](chain.original))
    take_out(backbone, key)


def fold_all(backbone: nn.Module, grafts: Iterable[Mapping[str, Any]]) -> None:
    """Fold in each graft that can be folded in, in the order in which they were set."""
    for graft in grafts:
        if not why_not_folded(backbone, graft["key"]):
            fold_in(backbone, graft["key"])


@contextmanager
def switched_to(backbone: nn.Module, keys: Iterable[str]) -> Iterator[None]:
    """Switch all grafts off but those of these keys, and restore them on exit."""
    chosen = set(keys)
    containers = [held for _, _, held in places_around(backbone)] + [chain for _, _, _, chain in places_over(backbone)]
    parts = [(key, _as_graft(graft)) for container in containers for key, graft in container.items()]
    before = [graft.active for _, graft in parts]
    for key, part in parts:
        part.active = key in chosen
    try:
        yield
    finally:
        for (_, part), active in zip(parts, before, strict=True):
            part.active = active


def _as_graft(module: nn.Module) -> Graft:
    if not isinstance(module, Graft):
        raise TypeError(f"Expected a Graft, found {type(module).__name__}.")
    return module
