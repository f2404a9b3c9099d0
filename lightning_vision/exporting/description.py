"""The description of an exported file: preprocessing and outputs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib import metadata

from lightning_vision.class_path import class_path
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.exporting.classifier_module import ClassifierModule
from lightning_vision.exporting.preprocessing import Operation, describe_preprocessing
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.trust.kept_calibration import Trusted

SCHEMA = 1
KEY = "lightning_vision"
"""Key of the description in the metadata of a file."""
PLACEHOLDER = "0" * 64
"""Placeholder of the digest while it is computed."""


@dataclass(frozen=True)
class Description:
    """The metadata of an exported file; docs/export.md describes each field."""

    class_names: list[str]
    seen: list[bool]
    image_size: int
    preprocessing: list[Operation]
    mean: list[float]
    std: list[float]
    temperature: float
    threshold: float | None
    backbone: str
    strategy: str
    num_features: int
    linear_head: bool
    opset: int | None
    quantized: bool
    interpolation: str = "bilinear"
    antialias: bool = True

    def to_json(self, digest: str = PLACEHOLDER) -> str:
        """The whole text, in ASCII, with a digest of 64 hexadecimal digits."""
        written_by = {"lightning_vision": metadata.version("lightning_vision"), "digest": digest}
        return json.dumps({"schema": SCHEMA, **asdict(self), **written_by})


def describe(
    model: ContinualClassifier,
    module: ClassifierModule,
    datamodule: StreamDataModule,
    trusted: Trusted,
    opset: int | None,
    quantized: bool,
) -> Description:
    """The description of a classifier.

    Args:
        model: The classifier.
        module: The exported module.
        datamodule: The data, for the preprocessing.
        trusted: Its temperature and threshold.
        opset: Version of ONNX's operators; None in other formats.
        quantized: Whether the arithmetic uses 8-bit integers.

    Raises:
        ConfigError: Other programs could not reproduce the preprocessing.
    """
    return Description(
        class_names=list(model.class_names),
        seen=[bool(value) for value in model.network.seen],
        image_size=datamodule.image_size,
        preprocessing=describe_preprocessing(datamodule.eval_transform, datamodule.image_size),
        mean=[float(value) for value in model.network.facts.mean],
        std=[float(value) for value in model.network.facts.std],
        temperature=trusted.temperature,
        threshold=trusted.threshold,
        backbone=model.network.facts.name,
        strategy=class_path(model.learner),
        num_features=module.num_features,
        linear_head=module.linear_head,
        opset=opset,
        quantized=quantized,
    )
