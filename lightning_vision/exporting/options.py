"""The options of ``export``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from packaging.version import Version

from lightning_vision.errors import ConfigError
from lightning_vision.exporting.formats import Name
from lightning_vision.exporting.onnx_file import LOWEST_OPSET, check_opset

LOWEST_TORCH = Version("2.9")
"""Earlier ones write pt2 files in another form, and their ONNX exporter does not work with the present onnxscript."""


@dataclass
class ExportOptions:
    """Options of the exported file.

    Args:
        format: onnx (for ONNX Runtime, on phones, boards and servers), pt2 (torch.export), or pte (ExecuTorch).
        output: Path of the file. Default: export/<run name>.<format> in the run directory.
        int8: Use arithmetic in 8-bit integers, calibrated on training images; onnx only.
        calibration_images: Number of training images for the calibration, drawn at random.
        opset: Version of ONNX's operators.
        check_images: Number of test images, spread over the test set, for comparing the file with the model.
    """

    format: Name = "onnx"
    output: str | None = None
    int8: bool = False
    calibration_images: int = 200
    opset: int = LOWEST_OPSET
    check_images: int = 200

    def check(self) -> None:
        """Refuse invalid options.

        Raises:
            ConfigError: An option or a combination is invalid, or torch is too old.
        """
        if Version(torch.__version__) < LOWEST_TORCH:
            raise ConfigError(
                f"export needs torch {LOWEST_TORCH} or later, found {torch.__version__}. Run pip install --upgrade torch torchvision."
            )
        for name, value in (
            ("calibration_images", self.calibration_images),
            ("check_images", self.check_images),
        ):
            if value < 1:
                raise ConfigError(f"--{name}: expected 1 or more, found {value}.")
        if self.int8 and self.format != "onnx":
            raise ConfigError(
                f"--int8 needs --format onnx, found --format {self.format}. Use --format onnx, or omit --int8."
            )
        if self.output is not None and Path(self.output).suffix != f".{self.format}":
            raise ConfigError(f"--output: expected a file that ends in .{self.format}, found {self.output}.")
        if self.format == "onnx":
            check_opset(self.opset)
