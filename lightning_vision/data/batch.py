"""What one batch holds: the keys carry the convention."""

import warnings
from typing import Any, NotRequired, TypedDict

from torch import Tensor


class Batch(TypedDict):
    """A batch of labelled images, B of them: the images themselves or, with a frozen backbone, their features.

    ``network(batch)`` takes whichever is there.
    """

    image: NotRequired[Tensor]
    """(B, 3, H, W): uint8 from the loader, float32 and normalised once it is on the device."""
    features: NotRequired[Tensor]
    """(B, D) float32, computed before, in place of ``image``."""
    label: Tensor
    """(B,) int64, the class."""
    index: Tensor
    """(B,) int64, the row in the sample table."""
    experience: Tensor
    """(B,) int64, the experience that the image belongs to."""
    valid: Tensor
    """(B,) bool. False marks a stand-in on a rank that has no image of a global batch; it counts nowhere."""
    target: NotRequired[Tensor]
    """(B, C) float32: the share of each class, where images were mixed (MixUp, CutMix)."""
    box_xyxy: NotRequired[Tensor]
    """(B, 4) float32, in pixels of ``image``; NaN without a box. With ``data.annotations`` only, as ``saliency``."""
    saliency: NotRequired[Tensor]
    """(B, 1, H, W) uint8; all 0 without a map."""
    memory: NotRequired["Batch"]
    """Images of the past that the learning strategy asked for, the same on every rank."""


class FeatureBatch(dict[str, Any]):
    """A ``Batch`` with ``features`` that answers to ``image`` too, for strategies written when that was the key of both.

    Copies of its own kind are made of it wherever a batch is moved to a device, pinned or handed to a process.
    """

    def __missing__(self, key: str) -> Any:
        """The features under their former key, until 0.3."""
        if key != "image":
            raise KeyError(key)
        warnings.warn(
            "This batch holds features, under the key 'features'; batch['image'] gives them until 0.3. Call network(batch) or "
            "network.features(batch), which take features and images alike.",
            DeprecationWarning,
            stacklevel=2,
        )
        return self["features"]
