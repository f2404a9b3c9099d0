"""Figures of maps: pure functions of maps, boxes, saliency maps and confidences."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

FIGURES = ("box_share", "box_area", "saliency_share", "saliency_mean", "pointing", "drop", "increase")
"""The figures of an image, which are averaged."""


def box_cover(boxes: Tensor, height: int, width: int) -> Tensor:
    """The share of each pixel that lies in a box.

    Args:
        boxes: (N, 4) x1, y1, x2, y2 in pixels from the upper left corner of the image; NaN for none.
        height: H of the images.
        width: W of the images.

    Returns:
        (N, H, W) float64 in [0, 1]; NaN without a box.
    """
    boxes = boxes.double()

    def along(low: Tensor, high: Tensor, size: int) -> Tensor:
        pixel = torch.arange(size, dtype=torch.float64, device=boxes.device)
        return (torch.minimum(high[:, None], pixel + 1) - torch.maximum(low[:, None], pixel)).clamp(0, 1)

    across, down = along(boxes[:, 0], boxes[:, 2], width), along(boxes[:, 1], boxes[:, 3], height)
    return down[:, :, None] * across[:, None, :]


def share_inside(maps: Tensor, weight: Tensor) -> Tensor:
    """Share of each map that a weight covers: sum(map * weight) / sum(map).

    With ``box_cover`` it is the share inside the box. With a saliency map divided by its maximum it is the map's mean
    saliency.

    Args:
        maps: (N, H, W), not negative.
        weight: (N, H, W) in [0, 1].

    Returns:
        (N,) float64; NaN if the map is zero everywhere or the weight is NaN.
    """
    maps = maps.double()
    return (maps * weight).sum(dim=(1, 2)) / maps.sum(dim=(1, 2))


def saliency_weight(saliency: Tensor) -> Tensor:
    """Saliency maps (N, 1, H, W), uint8, as weights (N, H, W) in [0, 1]; NaN if there is none (all zero)."""
    weight = saliency[:, 0].double()
    return weight / weight.amax(dim=(1, 2), keepdim=True)  # 0 / 0 is NaN


def pointing_hits(maps: Tensor, boxes: Tensor, tolerance: float = 0.0) -> Tensor:
    """The pointing game: whether the maximum of a map lies in the box (Zhang et al. 2016, arXiv 1608.00507).

    The paper has a tolerance of 15 pixels; the default here is 0. If several pixels have the maximum (as at the border of
    an enlarged map), the one closest to their mean position counts.

    Args:
        maps: (N, H, W).
        boxes: (N, 4) x1, y1, x2, y2 in pixels; NaN for none.
        tolerance: Allowed distance to the box in pixels.

    Returns:
        (N,) float64: 1 for a hit, 0 for a miss (including maps that are zero everywhere), NaN without a box.
    """
    height, width = maps.shape[1:]
    top = maps == maps.amax(dim=(1, 2), keepdim=True)
    y = torch.arange(height, dtype=torch.float64, device=maps.device)[:, None] + 0.5
    x = torch.arange(width, dtype=torch.float64, device=maps.device)[None, :] + 0.5
    count = top.sum(dim=(1, 2))
    middle_y, middle_x = ((top * axis).sum(dim=(1, 2)) / count for axis in (y, x))
    far = (y - middle_y[:, None, None]) ** 2 + (x - middle_x[:, None, None]) ** 2
    place = far.masked_fill(~top, torch.inf).flatten(1).argmin(dim=1)
    at_y, at_x = place // width + 0.5, place % width + 0.5
    boxes = boxes.double()
    inside = (
        (at_x >= boxes[:, 0] - tolerance)
        & (at_x <= boxes[:, 2] + tolerance)
        & (at_y >= boxes[:, 1] - tolerance)
        & (at_y <= boxes[:, 3] + tolerance)
    )
    hit = (inside & (maps.amax(dim=(1, 2)) > 0)).double()
    return hit.masked_fill(boxes.isnan().any(dim=1), torch.nan)


def confidence_drop(whole: Tensor, explained: Tensor) -> Tensor:
    """Relative drop in confidence if the image is multiplied by the map: max(0, Y - O) / Y.

    Its mean is the average drop of Grad-CAM++ (arXiv 1710.11063, section 4.1): lower is better.

    Args:
        whole: (N,) Y, the confidence in the class for the image.
        explained: (N,) O, the confidence for the image multiplied by the map.
    """
    whole, explained = whole.double(), explained.double()
    return (whole - explained).clamp(min=0) / whole


def confidence_increase(whole: Tensor, explained: Tensor) -> Tensor:
    """1 if the confidence is higher for the image multiplied by the map than for the image, else 0: (N,) float64.

    Its mean is Grad-CAM++'s increase in confidence: higher is better.
    """
    return (explained > whole).double()


def summarise(measured: pd.DataFrame, class_names: Sequence[str]) -> pd.DataFrame:
    """Means over all, correct and wrong predictions, in total and per true class.

    Args:
        measured: One row per image: ``label``, ``correct``, ``empty`` and the columns of ``FIGURES``, NaN if undefined.
        class_names: The C names.

    Returns:
        One row per group: ``class`` (None for all classes), ``answers`` (all, right or wrong), ``images``, ``empty_maps``, the means of the figures
        over the images that have them, and ``with_box``: the number of images with a box.
    """
    groups: list[tuple[str | None, pd.DataFrame]] = [(None, measured)]
    for label in sorted(set(measured["label"].tolist())):
        groups.append((class_names[label], measured[measured["label"] == label]))
    rows = []
    for name, part in groups:
        for answers, chosen in (("all", part), ("right", part[part["correct"]]), ("wrong", part[~part["correct"]])):
            facts = {
                "class": name,
                "answers": answers,
                "images": len(chosen),
                "empty_maps": int(chosen["empty"].sum()),
            }
            means = {figure: chosen[figure].mean() for figure in FIGURES}
            rows.append({**facts, **means, "with_box": int(chosen["box_share"].notna().sum())})
    return pd.DataFrame(rows)
