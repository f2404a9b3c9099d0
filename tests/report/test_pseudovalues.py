"""Pseudovalues: equal to those of leaving each image out and computing the figure anew."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from lightning_vision.report.pseudovalues import forgetting_pseudovalues, macro_f1_pseudovalues
from lightning_vision.results.scores import confusion_matrix, forgetting, macro_f1

Labels = npt.NDArray[np.int64]


def one_by_one(n: int, figure: Callable[[Labels], float | None]) -> npt.NDArray[np.float64]:
    """Leave out every image; the figure itself stands where nothing is left to compute it from."""
    whole = figure(np.arange(n))
    assert whole is not None
    without = [figure(np.delete(np.arange(n), i)) for i in range(n)]
    return np.array([n * whole - (n - 1) * (whole if value is None else value) for value in without])


@pytest.mark.parametrize("n", [1, 2, 9, 60])
def test_macro_f1(n: int) -> None:
    """Among them classes with one image, classes never predicted, and classes without an image."""
    generator = np.random.default_rng(n)
    label, predicted = generator.integers(0, 6, n), generator.integers(0, 7, (3, n))
    predicted[0], predicted[1, ::2] = label, label[::2]
    found = macro_f1_pseudovalues(label, predicted, 7)
    for row, given in zip(found, predicted, strict=True):
        expected = one_by_one(n, lambda kept: macro_f1(confusion_matrix(label[kept], given[kept], 7)))  # noqa: B023
        assert row == pytest.approx(expected)


def matrix(correct: npt.NDArray[np.bool_], part: Labels, experiences: int, seen_only: bool) -> npt.NDArray[np.float64]:
    r = np.full((experiences, experiences), np.nan)
    for t in range(experiences):
        for i in range(t + 1 if seen_only else experiences):
            if (part == i).any():
                r[t, i] = correct[t, part == i].mean()
    return r


@pytest.mark.parametrize("seen_only", [True, False])
@pytest.mark.parametrize(("experiences", "n"), [(2, 12), (4, 7), (4, 40), (3, 200)])
def test_forgetting(experiences: int, n: int, seen_only: bool) -> None:
    """Among them parts with one image and without any, and images in no part."""
    generator = np.random.default_rng(n)
    part = generator.integers(-1, experiences, n)
    part[0] = 0
    correct = generator.random((experiences, n)) < 0.6
    found = forgetting_pseudovalues(correct, part, experiences, seen_only)

    def figure(kept: Labels) -> float | None:
        return forgetting(matrix(correct[:, kept], part[kept], experiences, seen_only))

    assert found == pytest.approx(one_by_one(n, figure))


def test_without_a_second_experience_nothing_is_forgotten() -> None:
    assert forgetting_pseudovalues(np.ones((1, 5), bool), np.zeros(5, np.int64), 1, True).tolist() == [0.0] * 5
