"""The contents of a batch."""

import warnings
from typing import Any, NotRequired, TypedDict

from torch import Tensor


class Batch(TypedDict):
    """A batch of labelled images, B of them: the images themselves or, with a frozen backbone, their features.

    ``network(batch)`` takes both.
    """

    image: NotRequired[Tensor]
    """(B, 3, H, W): uint8 from the loader, float32 and normalised once it is on the device."""
    features: NotRequired[Tensor]
    """(B, D) float32, computed before; replaces ``image``."""
    label: Tensor
    """(B,) int64, the class."""
    index: Tensor
    """(B,) int64, the row in the sample table."""
    experience: Tensor
    """(B,) int64, the experience that the image belongs to."""
    valid: Tensor
    """(B,) bool. False marks a stand-in on a rank that has no image of a global batch; it is not counted."""
    target: NotRequired[Tensor]
    """(B, C) float32: the share of each class in mixed images (MixUp, CutMix)."""
    box_xyxy: NotRequired[Tensor]
    """(B, 4) float32, in pixels of ``image``; NaN without a box. Only with ``data.annotations``, like ``saliency``."""
    saliency: NotRequired[Tensor]
    """(B, 1, H, W) uint8; 0 everywhere without a map."""
    place: NotRequired[Tensor]
    """(B,) int64, the place in the strategy's reservoir that each image takes, or -1; of a remembered image, where it is. Only with
    ``Strategy.reservoir``."""
    memory: NotRequired["Batch"]
    """Images of the past for the learning strategy, the same on every rank."""


class FeatureBatch(dict[str, Any]):
    """A ``Batch`` with ``features`` that has them as ``image`` too, for strategies from before ``features`` had a key.

    Moving a batch to a device, pinning it or sending it to a process makes copies of the same type.
    """

    def __missing__(self, key: str) -> Any:
        """The features under their former key, until 0.3."""
        if key != "image":
            raise KeyError(key)
        warnings.warn(
            "This batch holds features, under the key 'features'; batch['image'] gives them until 0.3. Call network(batch) or "
            "network.features(batch), which take features and images alike, or declare needs_images = True to be given the images.",
            DeprecationWarning,
            stacklevel=2,
        )
        return self["features"]
