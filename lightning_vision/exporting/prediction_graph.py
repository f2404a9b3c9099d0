"""A learning strategy's prediction as a graph of tensor operators, from the features to the logits."""

from __future__ import annotations

from collections.abc import Callable
from operator import getitem, mul
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from lightning_vision.errors import ConfigError

BATCHES = (5, 11)
"""Two numbers of images to watch a prediction with. They are primes, so that no other size is a multiple by chance."""


def record_prediction(predict: Callable[[Tensor], Tensor], num_features: int, name: str) -> fx.GraphModule:
    """Record the operators of a prediction; everything that does not depend on the features becomes a constant.

    A strategy may therefore use its state in Python, and state that is not used for prediction is not exported. The
    prediction is recorded twice, with other features and another number of them. Arguments equal to this number become
    the number of rows; any other difference means that the prediction is not a fixed graph.

    Args:
        predict: From features (N, D) to logits (N, C).
        num_features: D.
        name: Name of the strategy, for messages.

    Returns:
        A module from features (N, D) to logits (N, C), for any N.

    Raises:
        ConfigError: The prediction does not consist of tensor operators, or depends on its features in Python.
    """
    generator = torch.Generator().manual_seed(0)
    first, second = (_watch(predict, torch.rand(n, num_features, generator=generator), name) for n in BATCHES)
    _release_batch(first, second, name)
    first.graph.eliminate_dead_code()
    first.graph.lint()
    return fx.GraphModule(first.constants, first.graph)


def _watch(predict: Callable[[Tensor], Tensor], features: Tensor, name: str) -> _Recorder:
    recorder = _Recorder(features, name)
    with torch.no_grad(), recorder:
        logits = predict(features)
    recorder.finish(logits)
    return recorder


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own is not typed
    """Record each operator that depends on the features."""

    def __init__(self, features: Tensor, name: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.name = name
        self.graph, self.constants = fx.Graph(), nn.Module()
        self._nodes = {id(features): self.graph.placeholder("features")}
        self._kept = [features]  # an id is a tensor's own for as long as it lives
        self._made = {id(features)}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator, and record it if it depends on the features."""
        kwargs = kwargs or {}
        given = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        if not any(id(tensor) in self._made for tensor in given):
            return func(*args, **kwargs)
        if func is torch.ops.aten._cdist_forward.default and args[2] == 2:
            with self:
                return _distances(args[0], args[1])
        if torch.Tag.data_dependent_output in func.tags or torch.Tag.dynamic_output_shape in func.tags:
            raise _refusal(self.name, f"it reads its features in Python ({func})")
        written = [
            value
            for argument, value in zip(func._schema.arguments, args, strict=False)
            if argument.alias_info is not None and argument.alias_info.is_write
        ]
        if any(isinstance(tensor, Tensor) and id(tensor) not in self._made for tensor in written):
            raise _refusal(self.name, f"it changes its own state ({func})")
        inputs = tree_map(self._node_of, (args, kwargs))  # before it runs: a constant is kept as it is now
        outputs = func(*args, **kwargs)
        node = self.graph.call_function(func, *inputs)
        if isinstance(outputs, Tensor):
            self._note(outputs, node)
        else:
            for number, output in enumerate(outputs):
                self._note(output, self.graph.call_function(getitem, (node, number)))
        return outputs

    def finish(self, logits: Tensor) -> None:
        """End the graph.

        Raises:
            ConfigError: The logits are not computed from the features by operators.
        """
        if id(logits) not in self._made:
            raise _refusal(self.name, "its logits are not computed from its features by PyTorch operators")
        self.graph.output(self._nodes[id(logits)])

    def _note(self, tensor: Tensor, node: fx.Node) -> None:
        self._nodes[id(tensor)] = node
        self._made.add(id(tensor))
        self._kept.append(tensor)

    def _node_of(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if id(value) not in self._nodes:
            name = f"constant_{len(list(self.constants.buffers()))}"
            self.constants.register_buffer(name, value.detach().clone(memory_format=torch.contiguous_format))
            self._nodes[id(value)] = self.graph.get_attr(name)
            self._kept.append(value)
        return self._nodes[id(value)]


def _distances(one: Tensor, two: Tensor) -> Tensor:
    """Euclidean distances (N, C) of (N, D) and (C, D), because ONNX has no operator for ``torch.cdist``."""
    return (one[:, None] - two).square().sum(dim=2).sqrt()


def _release_batch(first: _Recorder, second: _Recorder, name: str) -> None:
    """Replace the number of images in the first graph by the number of rows, as the second shows where it stands.

    Raises:
        ConfigError: The graphs differ in anything else.
    """
    nodes, others = list(first.graph.nodes), list(second.graph.nodes)
    same = [(node.op, node.target) for node in nodes] == [(node.op, node.target) for node in others]
    pairs = zip(first.constants.buffers(), second.constants.buffers(), strict=False)
    if not same or not all(one.shape == two.shape and torch.equal(one, two) for one, two in pairs):
        raise _refusal(name, "its operations depend on the features or on their number")
    matching = dict(zip(others, nodes, strict=True))
    features = nodes[0]
    with first.graph.inserting_after(features):
        rows = first.graph.call_function(torch.ops.aten.sym_size.int, (features, 0))

    def released(one: Any, two: Any) -> Any:
        if isinstance(one, list | tuple) and isinstance(two, list | tuple) and len(one) == len(two):
            return type(one)(released(a, b) for a, b in zip(one, two, strict=True))
        if isinstance(one, fx.Node) and one is matching.get(two):
            return one
        if type(one) is type(two) and one == two:
            return one
        if type(one) is int and type(two) is int and one * BATCHES[1] == two * BATCHES[0]:
            with first.graph.inserting_after(rows):
                return rows if one == BATCHES[0] else first.graph.call_function(mul, (rows, one // BATCHES[0]))
        raise _refusal(name, f"its operations depend on the features ({one} and {two} for other ones)")

    for node, other in zip(nodes, others, strict=True):
        node.args = released(node.args, other.args)
        node.kwargs = {key: released(value, other.kwargs[key]) for key, value in node.kwargs.items()}


def _refusal(name: str, why: str) -> ConfigError:
    return ConfigError(
        f"The prediction of {name} cannot be exported: {why}. Expected tensor operators from the features to the logits, as in "
        "HeadOnly, FullFineTune, MoveToData, NearestMean, StreamingLDA, KLDA, RanPAC, ACIL, DSAL and FeCAM."
    )
