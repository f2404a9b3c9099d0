"""What one batch holds: the keys carry the convention."""

from typing import NotRequired, TypedDict

from torch import Tensor


class Batch(TypedDict):
    """A batch of labelled images, B of them."""

    image: Tensor
    """(B, 3, H, W): uint8 from the loader, float32 and normalised once it is on the device. With a frozen backbone it may
    be the features (B, D), computed before: ``Network.features`` takes both."""
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
