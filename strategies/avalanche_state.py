"""The state of an Avalanche plugin as bytes that are safe to load: JSON for the containers, safetensors for the tensors."""

from __future__ import annotations

import json
from collections.abc import Iterable
from operator import attrgetter
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from lightning_vision.learning.network import Network
from strategies.avalanche_host import Snapshot

TREE = "tree"


def pack(holder: object, attributes: Iterable[str]) -> Tensor:
    """The named attributes of an object as bytes (n,) uint8.

    Args:
        holder: Has them.
        attributes: Dotted names, of values made of dictionaries, lists, tuples, sets, numbers, text, tensors,
            ``Snapshot`` and Avalanche's ``ParamData``.
    """
    tensors: dict[str, Tensor] = {}
    tree = json.dumps({name: _encode(attrgetter(name)(holder), tensors) for name in attributes})
    tensors[TREE] = torch.frombuffer(bytearray(tree.encode()), dtype=torch.uint8)
    return torch.frombuffer(bytearray(safetensors.torch.save(tensors)), dtype=torch.uint8)


def unpack(data: Tensor, holder: object, network: Network, device: torch.device) -> None:
    """Put the attributes that ``pack`` kept back into an object.

    Args:
        data: (n,) uint8.
        holder: Receives them. An existing dictionary is refilled, because it may have a default.
        network: What a ``Snapshot`` runs through.
        device: Where tensors go.
    """
    tensors = {name: value.to(device) for name, value in safetensors.torch.load(data.cpu().numpy().tobytes()).items()}
    tree = json.loads(tensors.pop(TREE).cpu().numpy().tobytes())
    for dotted, kept in tree.items():
        *path, name = dotted.split(".")
        owner = attrgetter(".".join(path))(holder) if path else holder
        present, value = getattr(owner, name), _decode(kept, tensors, network)
        if isinstance(present, dict) and isinstance(value, dict):
            present.clear()
            present.update(value)
        else:
            setattr(owner, name, value)


def _encode(value: Any, tensors: dict[str, Tensor]) -> Any:
    """A value as JSON can hold it; its tensors are copied into ``tensors`` and stand there by their number."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        key = str(len(tensors))
        tensors[key] = value.detach().to("cpu", copy=True).contiguous()  # copied: Avalanche's may share memory
        return {"tensor": key}
    if isinstance(value, dict):
        return {"dict": [[key, _encode(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple | set):
        return {type(value).__name__: [_encode(item, tensors) for item in value]}
    if isinstance(value, Snapshot):
        return {"snapshot": _encode(value.state, tensors)}
    if type(value).__name__ == "ParamData":
        return {"parameter": [value.name, _encode(value.data, tensors)]}
    raise TypeError(f"A {type(value).__name__} cannot be stored in a checkpoint that is safe to load.")


def _decode(kept: Any, tensors: dict[str, Tensor], network: Network) -> Any:
    if not isinstance(kept, dict):
        return kept
    ((kind, content),) = kept.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _decode(item, tensors, network) for key, item in content}
    if kind == "snapshot":
        return Snapshot(network, _decode(content, tensors, network))
    if kind == "parameter":
        from avalanche.training.utils import ParamData  # here, for it takes seconds to import

        name, data = content[0], _decode(content[1], tensors, network)
        return ParamData(name, init_tensor=data, device=data.device)
    return {"list": list, "tuple": tuple, "set": set}[kind](_decode(item, tensors, network) for item in content)
