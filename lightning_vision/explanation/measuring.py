"""The figures of maps over a part of the data: how much of them lies on the object, and what the shown part is worth."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor

from lightning_vision.array_types import Rows
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.errors import DataError
from lightning_vision.explanation.maps import class_scores, make_maps
from lightning_vision.explanation.observations import batches_of
from lightning_vision.explanation.options import MapOptions
from lightning_vision.explanation.scores import (
    box_cover,
    confidence_drop,
    confidence_increase,
    pointing_hits,
    saliency_weight,
    share_inside,
)
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.terminal.progress_bar import progress_bar

CUT = "images are cut to their boxes, so every map lies inside (data.context leaves a margin, where the datamodule has it)"


def why_no_annotations(datamodule: StreamDataModule) -> str:
    """Why maps cannot be compared with boxes or saliency maps; empty if they can."""
    if datamodule.prepared.decoded_side:
        return "data.cache=decoded keeps no boxes and saliency maps"
    if datamodule.cache_path is None:
        return "this datamodule loads its images itself, without boxes and saliency maps"
    samples = datamodule.samples
    known = [name for name in ("box_xyxy", "saliency") if name in samples and samples[name].notna().any()]
    if not known:
        asked = "" if datamodule.annotations else "; a dataset that has some may read them by data.annotations=true"
        return f"this data has neither boxes nor saliency maps{asked}"
    if known == ["box_xyxy"] and not boxes_leave_room(datamodule):
        return CUT
    return ""


def boxes_leave_room(datamodule: StreamDataModule) -> bool:
    """Whether a part of the images lies outside their boxes."""
    return not datamodule.crop_to_box or datamodule.box_context > 0


def check_boxes(datamodule: StreamDataModule) -> None:
    """Refuse data that the box score cannot be computed on.

    Raises:
        DataError: Its images have no boxes that could be compared with.
    """
    reason = why_no_annotations(datamodule)
    if not reason and "box_xyxy" not in datamodule.samples:
        reason = "this data has saliency maps and no boxes"
    elif not reason and not boxes_leave_room(datamodule):
        reason = CUT
    if reason:
        raise DataError(
            f"boxes=required: the share of a map inside its box cannot be measured, since {reason}. Expected the column "
            "box_xyxy in the sample table. Leave boxes at if_known, or use data with boxes."
        )


def measure_maps(
    model: ContinualClassifier,
    datamodule: StreamDataModule,
    rows: Rows,
    options: MapOptions,
) -> pd.DataFrame:
    """Figures of the maps of the predicted class.

    Args:
        model: The classifier; left as it was.
        datamodule: Its data; boxes and saliency maps are used where it has them, moved along with the images.
        rows: (N,) ascending.
        options: How maps are made.

    Returns:
        One row an image: ``row``, ``path``, ``label``, ``predicted``, ``confidence``, ``correct``, ``empty`` (the map is zero
        everywhere), ``box_share``, ``box_area`` (what a map that is the same everywhere would have), ``saliency_share``,
        ``saliency_mean`` (of that map), ``pointing``, ``drop`` and ``increase``; see ``scores``. NaN where there is no box, map or
        saliency map.
    """
    annotated, boxed = not why_no_annotations(datamodule), boxes_leave_room(datamodule)
    parts = []
    with progress_bar("measuring maps", len(rows)) as advance:
        for batch in batches_of(datamodule, rows, options.batch_size, annotated):
            image = model.network.normalise(batch["image"].to(model.device))
            probability = class_scores(model, image).softmax(dim=1)
            confidence, predicted = probability.max(dim=1)
            maps = make_maps(model, image, predicted, options)
            # Of a normalised image: what the map leaves out becomes the mean colour of the backbone's training data.
            explained = class_scores(model, image * maps[:, None].to(image)).softmax(dim=1)
            kept = explained.gather(1, predicted[:, None])[:, 0]
            empty = maps.amax(dim=(1, 2)) == 0
            found = {
                "row": batch["index"],
                "label": batch["label"],
                "predicted": predicted,
                "confidence": confidence,
                "correct": predicted.cpu() == batch["label"],
                "empty": empty,
                **_places(maps.cpu(), batch.get("box_xyxy") if boxed else None, batch.get("saliency")),
                # A map that shows nothing leaves a grey image, whose confidence says nothing about the map.
                "drop": confidence_drop(confidence, kept).masked_fill(empty, torch.nan),
                "increase": confidence_increase(confidence, kept).masked_fill(empty, torch.nan),
            }
            parts.append(pd.DataFrame({name: value.cpu().numpy() for name, value in found.items()}))
            for _ in range(len(image)):
                advance()
    table = pd.concat(parts, ignore_index=True)
    table.insert(1, "path", datamodule.samples["path"].to_numpy()[table["row"].to_numpy()])
    return table


def _places(maps: Tensor, boxes: Tensor | None, saliency: Tensor | None) -> dict[str, Tensor]:
    """The figures of boxes and saliency maps; NaN without."""
    n, height, width = maps.shape
    boxes = torch.full((n, 4), torch.nan) if boxes is None else boxes
    saliency = torch.zeros(n, 1, height, width, dtype=torch.uint8) if saliency is None else saliency
    cover, weight = box_cover(boxes, height, width), saliency_weight(saliency)
    return {
        "box_share": share_inside(maps, cover),
        "box_area": cover.mean(dim=(1, 2)),
        "saliency_share": share_inside(maps, weight),
        "saliency_mean": weight.mean(dim=(1, 2)),
        "pointing": pointing_hits(maps, boxes),
    }
