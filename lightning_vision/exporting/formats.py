"""The formats of exported files: writing and running."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch

from lightning_vision.deployed.model_file import DeployedModel
from lightning_vision.exporting.check import Floats, Images, Run
from lightning_vision.exporting.classifier_module import ClassifierModule
from lightning_vision.exporting.description import Description
from lightning_vision.exporting.onnx_file import make_onnx, write_onnx
from lightning_vision.exporting.pt2_file import load_pt2, write_pt2
from lightning_vision.exporting.pte_file import run_pte, write_pte
from lightning_vision.exporting.quantize import quantize
from lightning_vision.exporting.tracing import trace

Name = Literal["onnx", "pt2", "pte"]


class Format(Protocol):
    """A format of exported files."""

    def write(self, module: ClassifierModule, description: Description, path: Path) -> None:
        """Write the file."""

    def open(self, path: Path) -> Run:
        """Load it for prediction."""


class Pt2:
    """torch.export's."""

    def write(self, module: ClassifierModule, description: Description, path: Path) -> None:
        """See ``write_pt2``."""
        write_pt2(trace(module, description.image_size), description, path)

    def open(self, path: Path) -> Run:
        """By ``load_pt2``."""
        program, _ = load_pt2(path)
        module = program.module()

        def run(images: Images) -> tuple[Floats, Floats]:
            with torch.inference_mode():
                outputs = module(torch.from_numpy(images))
            return outputs["logits"].numpy(), outputs["features"].numpy()

        return run


class Pte:
    """ExecuTorch's."""

    def write(self, module: ClassifierModule, description: Description, path: Path) -> None:
        """See ``write_pte``."""
        write_pte(module, description, path)

    def open(self, path: Path) -> Run:
        """By ExecuTorch's runtime."""
        method = run_pte(path)

        def run(images: Images) -> tuple[Floats, Floats]:
            logits, features = method(torch.from_numpy(images))
            return logits.numpy(), features.numpy()

        return run


@dataclass(frozen=True)
class Onnx:
    """ONNX.

    Args:
        opset: Version of its operators.
        calibration: Images, each uint8 (3, S, S), for arithmetic in 8-bit integers; empty for float32.
    """

    opset: int
    calibration: Sequence[Images] = ()

    def write(self, module: ClassifierModule, description: Description, path: Path) -> None:
        """See ``make_onnx``, ``quantize`` and ``write_onnx``."""
        proto = make_onnx(module, description.image_size, self.opset)
        write_onnx(quantize(proto, self.calibration) if self.calibration else proto, description, path)

    def open(self, path: Path) -> Run:
        """Load it with ONNX Runtime, after the reader without torch has accepted the file."""
        DeployedModel(path)
        session = open_session(path)

        def run(images: Images) -> tuple[Floats, Floats]:
            logits, features = session.run(["logits", "features"], {"image": np.ascontiguousarray(images)})
            return logits, features

        return run


def open_session(path: Path) -> Any:
    """ONNX Runtime on the CPU, with as many threads as torch."""
    import onnxruntime  # optional

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors; warnings are of its own optimizer
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
