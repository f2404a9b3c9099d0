"""The figures of maps, by hand."""

import math

import pandas as pd
import pytest
import torch
from torch import Tensor

from lightning_vision.explanation.scores import (
    FIGURES,
    box_cover,
    confidence_drop,
    confidence_increase,
    pointing_hits,
    saliency_weight,
    share_inside,
    summarise,
)

NAN = math.nan


def test_a_pixel_counts_by_its_share_in_the_box() -> None:
    cover = box_cover(torch.tensor([[0.5, 1.0, 2.0, 2.5], [-3.0, 0.0, 9.0, 1.0], [NAN] * 4]), 3, 4)
    assert cover[0].tolist() == [[0, 0, 0, 0], [0.5, 1, 0, 0], [0.25, 0.5, 0, 0]]
    assert cover[1].tolist() == [[1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert cover[2].isnan().all()


def test_the_share_of_a_map_inside() -> None:
    maps = torch.tensor([[[1.0, 0.0], [0.5, 0.5]], [[0.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]])
    boxes = torch.tensor([[0.0, 0.0, 1.0, 2.0], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    found = share_inside(maps, box_cover(boxes, 2, 2))
    assert found[0] == 0.75 and found[1].isnan()
    assert found[2] == 0.25 == box_cover(boxes, 2, 2)[2].mean()


def test_saliency_is_weighed_by_its_greatest_value() -> None:
    saliency = torch.tensor([[[[0, 50], [100, 0]]], [[[0, 0], [0, 0]]]], dtype=torch.uint8)
    maps = torch.tensor([[[0.0, 1.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]]])
    found = share_inside(maps, saliency_weight(saliency))
    assert found[0] == 0.75 and found[1].isnan()


def one_peak(y: int, x: int) -> Tensor:
    heat = torch.zeros(8, 8)
    heat[y, x] = 1
    return heat


@pytest.mark.parametrize(
    ("y", "x", "tolerance", "hit"),
    [(2, 2, 0, 1), (4, 4, 0, 1), (5, 4, 0, 0), (5, 4, 1, 1), (6, 4, 1, 0), (1, 4, 0, 0), (1, 4, 1, 1)],
)
def test_the_pointing_game(y: int, x: int, tolerance: int, hit: int) -> None:
    """The box holds rows and columns 2 to 4."""
    found = pointing_hits(one_peak(y, x)[None], torch.tensor([[2.0, 2.0, 5.0, 5.0]]), tolerance)
    assert found.tolist() == [hit]


def test_pointing_without_a_box_a_map_or_a_single_peak() -> None:
    rim = torch.zeros(8, 8)
    rim[0:4, 0:4] = 1  # its middle pixels are 1 and 2
    boxes = torch.tensor([[NAN] * 4, [0.0, 0.0, 8.0, 8.0], [1.0, 1.0, 3.0, 3.0]])
    found = pointing_hits(torch.stack([one_peak(0, 0), torch.zeros(8, 8), rim]), boxes)
    assert found[0].isnan() and found[1:].tolist() == [0, 1]


def test_drop_and_increase() -> None:
    whole, explained = torch.tensor([0.8, 0.5, 0.4]), torch.tensor([0.2, 0.5, 0.6])
    assert confidence_drop(whole, explained).tolist() == pytest.approx([0.75, 0, 0])
    assert confidence_increase(whole, explained).tolist() == [0, 0, 1]


def test_means_by_class_and_answer() -> None:
    measured = pd.DataFrame(
        {
            "label": [0, 0, 1],
            "correct": [True, False, True],
            "empty": [False, True, False],
            "box_share": [0.5, NAN, 1.0],
            **{name: [1.0, 2.0, 6.0] for name in FIGURES if name != "box_share"},
        }
    )
    found = summarise(measured, ["all", "bird"])
    assert found["class"].isna().tolist() == [True] * 3 + [False] * 6
    table = {
        (row["class"] if isinstance(row["class"], str) else None, row["answers"]): row
        for row in found.to_dict("records")
    }
    assert table[None, "all"]["images"] == 3 and table[None, "all"]["drop"] == 3
    assert table[None, "all"]["box_share"] == 0.75 and table[None, "all"]["with_box"] == 2
    assert table[None, "wrong"]["empty_maps"] == 1 and math.isnan(table[None, "wrong"]["box_share"])
    assert table["all", "right"]["images"] == 1 and table["all", "right"]["drop"] == 1
    assert table["bird", "wrong"]["images"] == 0 and math.isnan(table["bird", "wrong"]["drop"])
