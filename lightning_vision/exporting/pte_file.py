"""The classifier as an ExecuTorch program, for phones and small boards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_vision.errors import ConfigError
from lightning_vision.exporting.classifier_module import ClassifierModule
from lightning_vision.exporting.description import KEY, Description
from lightning_vision.exporting.tracing import trace


class _WithoutHead(nn.Module):
    """What depends on the image: a weight that is an output as it stands cannot be given to a phone's accelerator."""

    def __init__(self, module: ClassifierModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, C) and features (N, D) of uint8 (N, 3, S, S)."""
        outputs = self.module(image)
        return outputs["logits"], outputs["features"]


def write_pte(module: ClassifierModule, description: Description, path: Path) -> None:
    """Write the file, with convolutions and products delegated to XNNPACK.

    Its method ``forward`` takes uint8 (N, 3, S, S) and gives logits (N, C) and features (N, D). The description is what the
    method ``lightning_vision`` gives, as bytes (uint8); ``head_weight`` (C, D) and ``head_bias`` (C,) those of a linear head.

    Args:
        module: The classifier.
        description: The description for the file.
        path: The file.

    Raises:
        ConfigError: ExecuTorch is not installed, or cannot export the network.
    """
    exir, partitioner = _import_executorch()
    constants: dict[str, Any] = {KEY: torch.tensor(list(description.to_json().encode()), dtype=torch.uint8)}
    if module.linear_head:
        constants |= {"head_weight": module.weight, "head_bias": module.bias}
    program = trace(_WithoutHead(module), description.image_size)
    try:
        lowered = exir.to_edge_transform_and_lower(program, partitioner=[partitioner()], constant_methods=constants)
        content: bytes = lowered.to_executorch().buffer
    except Exception as error:  # its errors have no class in common
        reason = " ".join(str(error).split())[:400]
        raise ConfigError(
            f"ExecuTorch cannot export {description.backbone} with {description.strategy}: {reason} Export to onnx or "
            "pt2."
        ) from error
    path.write_bytes(content)


def run_pte(path: Path) -> Any:
    """The file's ``forward`` in ExecuTorch's runtime: from uint8 (N, 3, S, S) to [logits, features].

    Raises:
        ConfigError: ExecuTorch is not installed.
    """
    _import_executorch()
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(path).load_method("forward")
    return lambda image: method.execute((image,))


def _import_executorch() -> tuple[Any, Any]:
    try:
        from executorch import exir  # optional, 226 MB, and slow to import
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    except ImportError as error:
        raise ConfigError(
            f"--format pte needs ExecuTorch ({error}): pip install 'lightning_vision[executorch]'. onnx and pt2 do not "
            "need it."
        ) from error
    return exir, XnnpackPartitioner
