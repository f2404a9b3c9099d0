"""Which images are chosen, by hand."""

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision.explanation.case_images import reduced
from lightning_vision.explanation.cases import (
    correct_ones,
    drawn_rows,
    errors_by_class,
    errors_by_pair,
    most_confident_errors,
    nearest,
    turned_wrong,
)
from lightning_vision.explanation.observations import Observations


def seen(label: list[int], predicted: list[int], confidence: list[float]) -> Observations:
    rows = np.arange(10, 10 + len(label))
    sure = np.array(confidence, dtype=np.float32)
    return Observations(rows, np.array(label), np.array(predicted), sure, 1 - sure)


SEEN = seen([0, 0, 0, 1, 1, 1, 2, 2], [1, 1, 0, 1, 0, 1, 2, 0], [0.9, 0.95, 0.5, 0.8, 0.7, 0.99, 0.6, 0.95])


def test_the_most_confident_errors_come_first() -> None:
    assert most_confident_errors(SEEN, 3).tolist() == [1, 7, 0]
    assert most_confident_errors(SEEN, 99).tolist() == [1, 7, 0, 4]
    assert most_confident_errors(seen([0], [0], [0.9]), 3).tolist() == []


def test_errors_of_each_class_that_has_most() -> None:
    found = errors_by_class(SEEN, 1, 2)
    assert {label: at.tolist() for label, at in found.items()} == {0: [1], 1: [4]}


def test_the_most_frequent_confusions() -> None:
    found = errors_by_pair(SEEN, 2, 2)
    assert {pair: at.tolist() for pair, at in found.items()} == {(0, 1): [1, 0], (1, 0): [4]}


def test_right_ones_are_of_every_class_first() -> None:
    assert correct_ones(SEEN, 3).tolist() == [5, 6, 2]
    assert correct_ones(SEEN, 4).tolist() == [5, 6, 2, 3]


def test_what_turned_wrong() -> None:
    before = seen([0, 0, 0, 1, 1, 1, 2, 2], [0, 1, 0, 1, 1, 0, 2, 2], [0.5] * 8)
    assert turned_wrong(before, SEEN, 9).tolist() == [7, 0, 4]


def test_drawn_rows_are_of_all_classes_alike() -> None:
    rows, labels = np.arange(100, 160), np.repeat([0, 1, 2], [40, 18, 2])
    drawn = drawn_rows(rows, labels, 12, seed=0)
    assert np.bincount(labels[drawn - 100]).tolist() == [5, 5, 2]
    assert drawn.tolist() == sorted(set(drawn.tolist())) == drawn_rows(rows, labels, 12, seed=0).tolist()
    assert drawn.tolist() != drawn_rows(rows, labels, 12, seed=1).tolist()
    assert drawn_rows(rows, labels, 99, seed=0).tolist() == rows.tolist()


def test_the_nearest_of_a_class_in_any_chunks() -> None:
    generator = torch.Generator().manual_seed(0)
    mine = F.normalize(torch.randn(5, 8, generator=generator), dim=1)
    others = F.normalize(torch.randn(30, 8, generator=generator), dim=1)
    labels, wanted = np.arange(30) % 3, np.array([0, 1, 2, 0, 7])
    places, cosines = nearest(mine, wanted, others, labels, chunk=7)
    for number in range(4):
        own = np.flatnonzero(labels == wanted[number])
        best = own[int((others[own] @ mine[number]).argmax())]
        assert places[number] == best and torch.isclose(cosines[number], others[best] @ mine[number])
    assert places[4] == -1


def test_large_images_are_kept_smaller() -> None:
    assert reduced(torch.zeros(3, 600, 300, dtype=torch.uint8)).shape == (3, 256, 128)
    assert reduced(torch.rand(2, 512, 512)).shape == (2, 256, 256)
    small = torch.zeros(3, 64, 40)
    assert reduced(small) is small
