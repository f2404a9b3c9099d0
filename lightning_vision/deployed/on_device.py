"""Learning on the device that the classifier runs on: Move-to-Data (arXiv 2006.07152) on an exported head, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from lightning_vision.deployed.head_file import head_path, write_head
from lightning_vision.deployed.model_file import DeployedModel, Prediction
from lightning_vision.deployed.preprocessing import ImageInput
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.terminal.wording import few, nearest_first, printable

MOST_NAMES = 20
"""Classes that a message lists."""


def move_to_data(
    row: npt.NDArray[np.float64], feature: npt.NDArray[np.float64], epsilon: float
) -> npt.NDArray[np.float64]:
    r"""Move one row of a linear classifier towards a feature (arXiv 2006.07152).

    .. math:: w_j \leftarrow w_j + \epsilon \left(\lVert w_j \rVert \frac{v}{\lVert v \rVert} - w_j\right)

    Args:
        row: w_j, (D,) float64.
        feature: v, (D,) float64; of length 0 it moves nothing.
        epsilon: The step, 0 to 1; 0 changes no bit.

    Returns:
        The moved row (D,); the inputs are not changed.
    """
    length = np.linalg.norm(feature)
    if length == 0 or epsilon == 0:
        return row
    return np.asarray(row + epsilon * (np.linalg.norm(row) * (feature / length) - row))


class OnDeviceClassifier:
    """An exported classifier that continues to learn on the device: each labelled image moves one row of its head.

    Features come from ONNX Runtime; backbone, bias and the rows of other classes do not change. A head that was saved
    before is loaded. Two processes that learn at the same time do not share their heads: the last one to save wins.

    Args:
        path: The ``.onnx`` file; its prediction must be a linear head.

    Raises:
        CheckpointError: The file, or the head saved beside it, cannot be used.
        ConfigError: onnxruntime is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        self.model = DeployedModel(path)
        exported = self.model.exported_head()
        self.head = self.model.learned_head() or exported
        self.model.head = self.head
        self._mean_length = float(np.linalg.norm(exported.weight[exported.seen], axis=1).mean())
        self._numbers = {name: number for number, name in enumerate(self.class_names)}

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes that can be learned."""
        return self.model.class_names

    def predict(self, image: ImageInput) -> Prediction:
        """Predict for one image, with the head as it is now: N = 1."""
        return self.model.predict([image])

    def features(self, image: ImageInput) -> npt.NDArray[np.float32]:
        """The features of one image (D,), to be learned later, or more than once."""
        vector: npt.NDArray[np.float32] = self.model.predict([image]).features[0]
        return vector

    def learn(self, image: ImageInput | npt.NDArray[np.floating], class_name: str, epsilon: float) -> bool:
        """Move the row of a class towards one image.

        A class that the run had not seen gets a new row: the image's direction, with the mean length of the exported rows
        (arXiv 1712.07136), as in training.

        Args:
            image: As for ``predict``; or its features (D,), as ``features`` gives them.
            class_name: One of ``class_names``.
            epsilon: The step, 0 to 1: the value that the run picked, see ``results.json``.

        Returns:
            Whether the row was moved: features of length 0 have no direction, and are not counted.

        Raises:
            DataError: The class is not known, the image is none, or the features do not fit.
            ConfigError: Epsilon is not within 0 and 1.
        """
        if not 0 <= epsilon <= 1:
            raise ConfigError(f"Expected an epsilon within 0 and 1, found {epsilon!r}.")
        j = self._number_of(class_name)
        v = self._vector(image)
        if not v.any():
            return False
        if not self.head.seen[j]:
            self.head.weight[j] = v / np.linalg.norm(v) * self._mean_length
            self.head.seen[j] = True
        self.head.weight[j] = move_to_data(self.head.weight[j], v, epsilon)
        self.head.counts[j] += 1
        return True

    def save(self) -> Path:
        """Save the head beside the exported file, whole or not at all.

        Returns:
            The file, ``F.head.npz``.

        Raises:
            TrainingError: It cannot be written; what was there is unchanged.
        """
        path = head_path(self.model.path)
        write_head(self.head, path)
        return path

    def _number_of(self, class_name: str) -> int:
        number = self._numbers.get(class_name)
        if number is None:
            known = few(map(printable, nearest_first(str(class_name), self.class_names)), MOST_NAMES)
            raise DataError(
                f"Expected a class that the exported classifier has, found {printable(class_name)!r}. It has, nearest first: "
                f"{known}. A new class takes a run: lightning-vision fit, then export."
            )
        return number

    def _vector(self, image: ImageInput | npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        if isinstance(image, np.ndarray) and np.issubdtype(image.dtype, np.floating):
            size = self.head.weight.shape[1]
            if image.shape != (size,) or not np.isfinite(image).all():
                raise DataError(f"Expected finite features ({size},), found {image.shape}.")
            return image.astype(np.float64)
        return self.features(cast(ImageInput, image)).astype(np.float64)
