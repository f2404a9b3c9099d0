"""Exported files as ``lightning-vision export`` writes them, of a network that takes no time: ``onnx.helper`` makes the graph.

Backbone: mean of each of 4 x 4 fields and three colours, normalised, times a fixed random matrix, without what is negative.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, checker, helper, numpy_helper

FIELDS = 4
OPSET = 18
CROPPED = ({"op": "resize_shorter", "size": 36}, {"op": "center_crop", "size": 32})
PLACEHOLDER = "0" * 64


def head_of(classes: int, features: int, seed: int = 0) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Weight (C, D) and bias (C,) of a head."""
    generator = np.random.default_rng(seed)
    return generator.normal(size=(classes, features)).astype(np.float32), generator.normal(size=classes).astype(
        np.float32
    )


def facts_of(class_names: Sequence[str], size: int, features: int) -> dict[str, Any]:
    """Metadata of an export, all classes seen, nothing calibrated."""
    return {
        "schema": 1,
        "class_names": list(class_names),
        "seen": [True] * len(class_names),
        "image_size": size,
        "preprocessing": [dict(step) for step in CROPPED]
        if size == 32
        else [{"op": "resize", "height": size, "width": size}],
        "interpolation": "bilinear",
        "antialias": True,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "temperature": 1.0,
        "threshold": None,
        "backbone": "fields",
        "strategy": "strategies.MoveToData",
        "num_features": features,
        "linear_head": True,
        "opset": OPSET,
        "quantized": False,
        "lightning_vision": "0.1.0",
        "digest": PLACEHOLDER,
    }


def write_model(
    path: Path,
    class_names: Sequence[str] = ("birds", "cats", "dogs"),
    size: int = 32,
    features: int = 24,
    seed: int = 0,
    weight: npt.NDArray[np.float32] | None = None,
    bias: npt.NDArray[np.float32] | None = None,
    stated: Mapping[str, Any] | None = None,
    **other: Any,
) -> Path:
    """Write an exported file; ``other`` replaces facts of it, ``stated`` what its metadata says against its graph."""
    facts: Mapping[str, Any] = facts_of(class_names, size, features) | other
    made = head_of(len(class_names), features, seed)
    weight, bias = made[0] if weight is None else weight, made[1] if bias is None else bias
    inputs = 3 * FIELDS * FIELDS
    mixing = np.random.default_rng(seed + 1).normal(size=(inputs, features)).astype(np.float32) / 4
    constants: dict[str, npt.NDArray[Any]] = {
        "scale": np.array(1 / 255, dtype=np.float32),
        "mean": np.array(facts["mean"], dtype=np.float32).reshape(1, 3, 1, 1),
        "std": np.array(facts["std"], dtype=np.float32).reshape(1, 3, 1, 1),
        "mixing": mixing,
        "weight": weight,
        "bias": bias,
        "seen": np.array(facts["seen"], dtype=np.bool_),
        "never": np.array(-1e9, dtype=np.float32),
    }
    field = size // FIELDS
    nodes = [
        helper.make_node("Cast", ["image"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["cast", "scale"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["normal"]),
        helper.make_node("AveragePool", ["normal"], ["pooled"], kernel_shape=[field, field], strides=[field, field]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "mixing"], ["mixed"]),
        helper.make_node("Relu", ["mixed"], ["features"]),
        helper.make_node("Gemm", ["features", "weight", "bias"], ["scores"], transB=1),
        helper.make_node("Where", ["seen", "scores", "never"], ["logits"]),
    ]
    shapes: dict[str, list[str | int]] = {"logits": ["N", len(class_names)], "features": ["N", features]}
    if facts["linear_head"]:
        nodes += [helper.make_node("Identity", [name], [f"head_{name}"]) for name in ("weight", "bias")]
        shapes |= {"head_weight": list(weight.shape), "head_bias": list(bias.shape)}
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 3, size, size])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    helper.set_model_props(model, {"lightning_vision": json.dumps({**facts, **(stated or {})})})
    checker.check_model(model)
    path.write_bytes(with_digest(model.SerializeToString()))
    return path


def with_digest(data: bytes) -> bytes:
    """The bytes with their own digest in place of the zeros."""
    assert data.count(PLACEHOLDER.encode()) == 1
    return data.replace(PLACEHOLDER.encode(), hashlib.sha256(data).hexdigest().encode())
