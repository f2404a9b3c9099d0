"""The classifier as one ONNX file, weights and description included."""

from __future__ import annotations

import hashlib
import logging
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch.export import ExportedProgram

from lightning_vision.errors import ConfigError
from lightning_vision.exporting.classifier_module import OUTPUTS, ClassifierModule
from lightning_vision.exporting.description import KEY, PLACEHOLDER, Description
from lightning_vision.exporting.tracing import module_of, trace

LOWEST_OPSET = 18
"""That torch's exporter writes."""
LARGEST = 2**31 - 2**20
"""Bytes of a protobuf message, which an ONNX file is, and some room for what is not weights."""


def import_onnx() -> ModuleType:
    """The package onnx, which is optional like onnxscript, and takes seconds to import.

    Raises:
        ConfigError: One is not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch's exporter imports it, with a less clear error
    except ImportError as error:
        raise ConfigError(
            f"Exporting to ONNX needs the packages onnx, onnxscript and onnxruntime ({error}): pip install "
            "'lightning_vision[export]'."
        ) from error
    module: ModuleType = onnx
    return module


def check_opset(opset: int) -> None:
    """Refuse an unsupported version of ONNX's operators.

    Raises:
        ConfigError: It is too low or too high.
    """
    highest = import_onnx().defs.onnx_opset_version()
    if not LOWEST_OPSET <= opset <= highest:
        raise ConfigError(f"--opset: expected a number from {LOWEST_OPSET} to {highest}, found {opset}.")


def make_onnx(module: ClassifierModule, image_size: int, opset: int) -> Any:
    """The classifier as an ``onnx.ModelProto``, without a description yet.

    The input is ``image`` (N, 3, S, S) uint8 for any N, and the outputs are those of ``ClassifierModule``.

    Args:
        module: The classifier.
        image_size: S.
        opset: Version of ONNX's operators.

    Raises:
        ConfigError: It is too large for one file, or ONNX lacks an operator; the message names it and its module.
    """
    onnx = import_onnx()
    weights = sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
    if weights > LARGEST:
        raise ConfigError(
            f"The weights take {weights / 1e9:.1f} GB, but an ONNX file can contain at most 2.1 GB. Export to pt2, or "
            "use a smaller backbone."
        )
    program = trace(module, image_size)
    names = [name for name in OUTPUTS if module.linear_head or not name.startswith("head_")]
    proto = _converted(program, names, opset)
    _name_batch(proto)
    for item in (*proto.graph.node, *proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        item.ClearField("metadata_props")  # where in the source each came from
        item.ClearField("doc_string")
    onnx.checker.check_model(proto, full_check=True)
    return proto


def write_onnx(proto: Any, description: Description, path: Path) -> None:
    """Write the file, with its description and the digest of its own bytes.

    Args:
        proto: The ``onnx.ModelProto``.
        description: The description for its metadata.
        path: The file.
    """
    import_onnx().helper.set_model_props(proto, {KEY: description.to_json()})
    data: bytes = proto.SerializeToString(deterministic=True)
    place = f'"digest": "{PLACEHOLDER}"'.encode()
    path.write_bytes(
        data.replace(place, place.replace(PLACEHOLDER.encode(), hashlib.sha256(data).hexdigest().encode()))
    )


def _converted(program: ExportedProgram, names: list[str], opset: int) -> Any:
    chatty = [logging.getLogger(name) for name in ("onnx_ir", "onnxscript", "torch.onnx")]
    before = [logger.level for logger in chatty]
    for logger in chatty:
        logger.setLevel(logging.ERROR)  # it tells of each weight that is an output too
    try:
        made = torch.onnx.export(
            program, (), input_names=["image"], output_names=names, opset_version=opset, dynamo=True, verbose=False
        )
    except torch.onnx.OnnxExporterError as error:
        raise ConfigError(_explained(error, program)) from error
    finally:
        for logger, level in zip(chatty, before, strict=True):
            logger.setLevel(level)
    if made is None:
        raise ConfigError("torch.onnx.export returned no model.")
    return made.model_proto


def _explained(error: BaseException, program: ExportedProgram) -> str:
    """The missing operator and its module."""
    cause: BaseException | None = error
    texts = []
    while cause is not None:
        texts.append(str(cause))
        cause = cause.__cause__
    text = "\n".join(texts)
    operator = re.search(r"OpOverload\(op='([\w.]+)'", text)
    node = re.search(r"translating node %(\w+)", text)
    place = module_of(program, node[1]) if node else ""
    what = (
        f"has no operator for {operator[1]}" if operator else f"cannot export the network: {text.splitlines()[0][:300]}"
    )
    where = f", used in the module {place}" if place else ""
    return f"ONNX {what}{where}. Export to pt2, or export a run with another backbone or learning strategy."


def _name_batch(proto: Any) -> None:
    """Rename the number of images to ``batch``."""
    given = proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param == given:
                dimension.dim_param = "batch"
