"""The figures of maps over a part of the data: how much of them lies on the object, and what the shown part is worth."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor

from lightning_vision.array_types import Rows
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.errors import DataError
from lightning_vision.explanation.maps import make_maps
from lightning_vision.explanation.observations import Observations, batches_of, scores_from
from lightning_vision.explanation.options import MapOptions
from lightning_vision.explanation.scores import (
    box_cover,
    confidence_drop,
    confidence_increase,
    pointing_hits,
    saliency_weight,
    share_inside,
)
from lightning_vision.features.checkpoint_features import CheckpointFeatures
from lightning_vision.terminal.progress_bar import progress_bar

CUT = "images are cropped to their boxes, so every map lies inside (some datamodules leave a margin with data.context)"


def why_no_annotations(datamodule: StreamDataModule) -> str:
    """Why maps cannot be compared with boxes or saliency maps; empty if they can."""
    if datamodule.prepared.decoded_side:
        return "data.cache=decoded does not store boxes and saliency maps"
    if datamodule.cache_path is None:
        return "this datamodule loads its images itself, without boxes and saliency maps"
    samples = datamodule.samples
    known = [name for name in ("box_xyxy", "saliency") if name in samples and samples[name].notna().any()]
    if not known:
        asked = "" if datamodule.annotations else "; some datasets read them with data.annotations=true"
        return f"this data has neither boxes nor saliency maps{asked}"
    if known == ["box_xyxy"] and not boxes_leave_room(datamodule):
        return CUT
    return ""


def boxes_leave_room(datamodule: StreamDataModule) -> bool:
    """Whether images extend beyond their boxes."""
    return not datamodule.crop_to_box or datamodule.box_context > 0


def check_boxes(datamodule: StreamDataModule) -> None:
    """Refuse data for which the box score cannot be computed.

    Raises:
        DataError: Its images have no usable boxes.
    """
    reason = why_no_annotations(datamodule)
    if not reason and "box_xyxy" not in datamodule.samples:
        reason = "this data has saliency maps but no boxes"
    elif not reason and not boxes_leave_room(datamodule):
        reason = CUT
    if reason:
        raise DataError(
            f"boxes=required: the share of a map inside its box cannot be computed, because {reason}. Expected the column "
            "box_xyxy in the sample table. Use boxes=if_known, or data with boxes."
        )


def measure_maps(
    features: CheckpointFeatures,
    rows: Rows,
    seen: Observations,
    options: MapOptions,
) -> pd.DataFrame:
    """Figures of the maps of the predicted class.

    Args:
        features: Of the classifier, which is not changed, and its data; boxes and saliency maps are used if available,
            transformed with the images.
        rows: (N,) ascending, among those seen.
        seen: The predictions.
        options: How maps are made.

    Returns:
        One row per image: ``row``, ``path``, ``label``, ``predicted``, ``confidence``, ``correct``, ``empty`` (the map is zero
        everywhere), ``box_share``, ``box_area`` (``box_share`` of a uniform map), ``saliency_share``,
        ``saliency_mean`` (of a uniform map), ``pointing``, ``drop`` and ``increase``; see ``scores``. NaN without a box, map or
        saliency map.
    """
    model, datamodule = features.model, features.datamodule
    annotated, boxed = not why_no_annotations(datamodule), boxes_leave_room(datamodule)
    parts = []
    with progress_bar("measuring maps", len(rows)) as advance:
        for batch in batches_of(datamodule, rows, options.batch_size, annotated):
            image = model.network.normalise(batch["image"].to(model.device))
            if annotated:
                # The whole image was decoded, so it differs a little from one that was decoded at a reduced scale.
                confidence, predicted = _scores(features, image).softmax(dim=1).max(dim=1)
            else:
                at = seen.at(batch["index"].numpy())
                confidence, predicted = (torch.from_numpy(each[at]) for each in (seen.confidence, seen.predicted))
            maps = make_maps(model, image, predicted, options)
            # The image is normalised, so regions outside of the map become the mean colour of the backbone's training data.
            explained = _scores(features, image * maps[:, None].to(image)).softmax(dim=1)
            kept = explained.gather(1, predicted[:, None])[:, 0]
            maps = maps.cpu()
            empty = maps.amax(dim=(1, 2)) == 0
            found = {
                "row": batch["index"],
                "label": batch["label"],
                "predicted": predicted,
                "confidence": confidence,
                "correct": predicted == batch["label"],
                "empty": empty,
                **_places(maps, batch.get("box_xyxy") if boxed else None, batch.get("saliency")),
                # With an empty map the image is grey, and its confidence says nothing about the map.
                "drop": confidence_drop(confidence, kept).masked_fill(empty, torch.nan),
                "increase": confidence_increase(confidence, kept).masked_fill(empty, torch.nan),
            }
            parts.append(pd.DataFrame({name: value.cpu().numpy() for name, value in found.items()}))
            for _ in range(len(image)):
                advance()
    table = pd.concat(parts, ignore_index=True)
    table.insert(1, "path", datamodule.samples["path"].to_numpy()[table["row"].to_numpy()])
    return table


def _scores(features: CheckpointFeatures, image: Tensor) -> Tensor:
    """The scores (N, C), on the CPU, for normalised images (N, 3, H, W)."""
    return scores_from(features.model, features.of_tensor(image)).cpu()


def _places(maps: Tensor, boxes: Tensor | None, saliency: Tensor | None) -> dict[str, Tensor]:
    """The figures of boxes and saliency maps; NaN if there are none."""
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
