"""An exported ONNX file, checked and run by ONNX Runtime, without torch."""

from __future__ import annotations

import hashlib
import json
import mmap
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lightning_vision.deployed.head_file import LinearHead, head_path, read_head
from lightning_vision.deployed.preprocessing import ImageInput, Pixels, Preprocessing, read_preprocessing
from lightning_vision.errors import CheckpointError, ConfigError

SCHEMA = 1
"""Of the metadata that is read here."""
METADATA = "lightning_vision"
"""Its key among the file's ``metadata_props``."""
DIGEST = re.compile(rb'"digest":\s*"([0-9a-f]{64})"')
EXPORT_AGAIN = "Copy it again, or export the run again with lightning-vision export."


class Prediction(NamedTuple):
    """What is predicted for N images."""

    logits: npt.NDArray[np.float32]
    """(N, C), as the learning strategy predicts them; -1e9 for classes that it has not seen."""
    probability: npt.NDArray[np.float64]
    """(N, C), calibrated by the temperature; 0 for classes that it has not seen."""
    features: npt.NDArray[np.float32]
    """(N, D), what the last linear layer is given."""

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """(N,), the number of the most probable class."""
        return np.asarray(self.probability.argmax(axis=1))

    @property
    def confidence(self) -> npt.NDArray[np.float64]:
        """(N,), its probability."""
        return np.asarray(self.probability.max(axis=1))


@dataclass(frozen=True)
class ExportFacts:
    """The description in an exported file; the fields are documented in docs/export.md."""

    class_names: tuple[str, ...]
    seen: npt.NDArray[np.bool_]
    """(C,)"""
    preprocessing: Preprocessing
    temperature: float
    threshold: float | None
    backbone: str
    strategy: str
    num_features: int
    linear_head: bool
    quantized: bool
    digest: str


class DeployedModel:
    """An exported classifier.

    Changes in the file since it was exported are detected by its digest, before ONNX Runtime loads the file. A digest is not a
    signature: it detects damage, not forgery.

    Args:
        path: The ``.onnx`` file that ``lightning-vision export`` wrote.

    Raises:
        CheckpointError: It is missing, cut short, altered, of another schema, or not for lightning_vision.
        ConfigError: onnxruntime is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        digest = _check_digest(self.path)
        self._session = _open_session(self.path)
        self.facts = _read_facts(self.path, self._session.get_modelmeta().custom_metadata_map, digest)
        self.head: LinearHead | None = None
        """Used instead of the exported head, if given; see ``learned_head``."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the columns of a prediction."""
        return self.facts.class_names

    @property
    def temperature(self) -> float:
        """Logits are divided by it before the softmax; 1 if none was fitted."""
        return self.facts.temperature

    @property
    def threshold(self) -> float | None:
        """Images with a lower confidence are rejected; None if none was chosen."""
        return self.facts.threshold

    def predict(self, images: Sequence[ImageInput]) -> Prediction:
        """Predict for images, all at once.

        Args:
            images: Files, Pillow's images, or uint8 (h, w, 3) RGB; of any size.

        Raises:
            DataError: One of them is not an image.
        """
        if not len(images):
            raise ValueError("Expected one image or more, found none.")
        return self.predict_batch(np.stack([self.facts.preprocessing(image) for image in images]))

    def predict_batch(self, images: Pixels) -> Prediction:
        """Predict for images that went through ``facts.preprocessing``: uint8 (N, 3, S, S).

        Raises:
            CheckpointError: The network gives no numbers for one of them.
        """
        if self.head is None:
            logits, features = self._session.run(["logits", "features"], {"image": images})
        else:
            (features,) = self._session.run(["features"], {"image": images})
            logits = self.head.logits(features)
        if not (np.isfinite(logits).all() and np.isfinite(features).all()):
            raise CheckpointError(f"{self.path} returns values that are not numbers. Was the training finished?")
        return Prediction(logits, self._calibrated(logits), features)

    def rejected(self, prediction: Prediction) -> npt.NDArray[np.bool_]:
        """(N,): whether the confidence is below the threshold. Never, if there is none.

        In float32, in which the threshold was chosen: there the confidence of many images is 1, and so may the threshold be.
        """
        return prediction.confidence.astype(np.float32) < np.float32(self.threshold or 0.0)

    def exported_head(self) -> LinearHead:
        """The linear layer of the file, as it was exported.

        Raises:
            CheckpointError: The file has no linear head.
        """
        if not self.facts.linear_head:
            raise CheckpointError(
                f"{self.path} predicts with {self.facts.strategy}, which is not a linear classifier. Move-to-Data needs one: export a "
                "run of HeadOnly, FullFineTune or MoveToData, for example."
            )
        side = self.facts.preprocessing.image_size
        nothing = np.zeros((1, 3, side, side), dtype=np.uint8)
        weight, bias = self._session.run(["head_weight", "head_bias"], {"image": nothing})
        return LinearHead(
            weight.astype(np.float64),
            bias.astype(np.float64),
            self.facts.seen.copy(),
            np.zeros(len(self.class_names), dtype=np.int64),
            self.facts.digest,
        )

    def learned_head(self) -> LinearHead | None:
        """The head that was learned on this device, if there is one beside the file.

        Raises:
            CheckpointError: It is damaged, or belongs to another file.
        """
        path = head_path(self.path)
        return read_head(path, self.exported_head()) if path.exists() else None

    def _calibrated(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        seen = self.facts.seen if self.head is None else self.head.seen
        scaled = np.where(seen, logits.astype(np.float64) / self.temperature, -np.inf)
        raised = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def _check_digest(path: Path) -> str:
    """The digest that a file contains, if its bytes match it.

    It is the SHA-256 of the file in which its own 64 digits are zeros. The rule is the same for all schemas.

    Raises:
        CheckpointError: They do not match, or there is none.
    """
    if not path.is_file():
        raise CheckpointError(
            f"There is no exported classifier {path}. Create one with lightning-vision export --format onnx."
        )
    if not path.stat().st_size:
        raise CheckpointError(f"{path} is empty. {EXPORT_AGAIN}")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        stated = DIGEST.search(data)
        if stated is None:
            raise CheckpointError(
                f"{path} has no digest of lightning_vision: it is truncated, or another kind of file. {EXPORT_AGAIN}"
            )
        start, end = stated.span(1)
        computed = hashlib.sha256()
        with memoryview(data) as view:
            computed.update(view[:start])
            computed.update(b"0" * (end - start))
            computed.update(view[end:])
        text = stated[1].decode()
    if computed.hexdigest() != text:
        raise CheckpointError(
            f"{path} was altered or damaged after it was exported: expected the digest {text[:12]}..., found "
            f"{computed.hexdigest()[:12]}.... {EXPORT_AGAIN}"
        )
    return text


def _open_session(path: Path) -> Any:
    try:
        import onnxruntime  # optional, and a third of a second
    except ModuleNotFoundError as error:
        raise ConfigError(
            "Exported classifiers are run by ONNX Runtime, which is not installed: pip install onnxruntime, or "
            "'lightning_vision[export]'."
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; warnings are of its own optimizer
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class of their own
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load {path}: {reason}. A newer one may: pip install -U onnxruntime."
        ) from error


def _read_facts(path: Path, metadata: Mapping[str, str], digest: str) -> ExportFacts:
    try:
        stated = json.loads(metadata[METADATA])
        schema = stated["schema"]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} has no metadata of lightning_vision. {EXPORT_AGAIN}") from error
    if schema != SCHEMA:
        raise CheckpointError(
            f"{path} has metadata of schema {schema}, written by lightning_vision {stated.get('lightning_vision', 'unknown')}; "
            f"this version reads schema {SCHEMA}. Read it with that version of lightning_vision or a later one."
        )
    try:
        facts = ExportFacts(
            class_names=tuple(stated["class_names"]),
            seen=np.array(stated["seen"], dtype=np.bool_),
            preprocessing=read_preprocessing(stated),
            temperature=float(stated["temperature"]),
            threshold=None if stated["threshold"] is None else float(stated["threshold"]),
            backbone=stated["backbone"],
            strategy=stated["strategy"],
            num_features=int(stated["num_features"]),
            linear_head=bool(stated["linear_head"]),
            quantized=bool(stated["quantized"]),
            digest=digest,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: its metadata is incomplete ({type(error).__name__}: {error}). {EXPORT_AGAIN}"
        ) from error
    if facts.seen.shape != (len(facts.class_names),) or not facts.seen.any() or not facts.temperature > 0:
        raise CheckpointError(
            f"{path}: its metadata is inconsistent: {len(facts.class_names)} class names, seen {facts.seen.tolist()}, "
            f"temperature {facts.temperature}. {EXPORT_AGAIN}"
        )
    return facts
