"""Arithmetic in 8-bit integers, calibrated on training images."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lightning_vision.exporting.onnx_file import import_onnx

PRODUCTS = ("Conv", "MatMul", "Gemm")
BETWEEN = ("Add", "Mul", "Relu", "Clip", "Sigmoid", "AveragePool", "GlobalAveragePool", "MaxPool")
"""What stands between products in convolutional networks: left in float, each would cost a conversion there and back."""
NORMALISATION = frozenset({"scale", "shift"})
"""Constants of the first operators, whose input already has 8 bits."""


def quantize(proto: Any, images: Sequence[npt.NDArray[np.uint8]]) -> Any:
    """The same classifier with the backbone's arithmetic in 8-bit integers ("static", in ONNX's QDQ format).

    Each tensor's range is the one that it has on the calibration images; weights have a range for each output channel.
    Normalisation and prediction stay in float32: they cost little, and a head that continues to learn needs it.
    In transformers only the products are in integers: their normalisation layers have outliers that a range of 256 steps
    cannot hold.

    Args:
        proto: The ``onnx.ModelProto`` in float32; it is not changed.
        images: Each uint8 (3, S, S), as the network is given them.

    Returns:
        Another ``onnx.ModelProto``.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static  # optional, and slow to import

    transformer = any(node.op_type == "LayerNormalization" for node in proto.graph.node)
    with tempfile.TemporaryDirectory(prefix="lightning_vision-") as folder, _without_advice():
        path = Path(folder) / "int8.onnx"
        copied = type(proto)()
        copied.CopyFrom(proto)  # its shapes are inferred in place
        quantize_static(
            copied,
            path,
            _reader(images),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=list(PRODUCTS if transformer else (*PRODUCTS, *BETWEEN)),
            nodes_to_quantize=_names_before(proto, "features"),
        )
        return import_onnx().load(path)


def _names_before(proto: Any, output: str) -> list[str]:
    """The operators that compute a value, without the normalisation of images."""
    wanted, names = {output}, []
    for node in reversed(proto.graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            if not NORMALISATION.intersection(node.input):
                names.append(node.name)
    return names


def _reader(images: Sequence[npt.NDArray[np.uint8]]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class CalibrationImages(CalibrationDataReader):  # type: ignore[misc]  # the package has no types
        """One image at a time."""

        def __init__(self) -> None:
            self._left: Iterator[npt.NDArray[np.uint8]] = iter(images)

        def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
            """The next input, or None."""
            image = next(self._left, None)
            return None if image is None else {"image": image[None]}

    return CalibrationImages()


@contextmanager
def _without_advice() -> Iterator[None]:
    """Suppress the package's warnings to the root logger, which concern steps that torch's exporter has done."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
