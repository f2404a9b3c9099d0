"""The temperature, and the bins of the reliability diagram."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from lightning_vision.errors import DataError, TrainingError
from lightning_vision.results.scores import expected_calibration_error
from lightning_vision.trust.calibration import calibration_error, fit_temperature, reliability


def drawn(count: int, classes: int, temperature: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and labels drawn from softmax(z / T): the temperature to be found."""
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(count, classes, generator=generator)
    return logits, torch.multinomial((logits / temperature).softmax(1), 1, generator=generator)[:, 0]


@pytest.mark.parametrize("temperature", [0.05, 0.5, 1.0, 3.0])
def test_finds_the_temperature_that_labels_were_drawn_by(temperature: float) -> None:
    logits, labels = drawn(20_000, 5, temperature)
    if temperature == 0.05:  # as the scores of ridge regression are
        logits, temperature = logits / 50, 0.001
        labels = drawn(20_000, 5, 0.05)[1]
    assert fit_temperature(logits, labels).temperature == pytest.approx(temperature, rel=0.05)


def test_is_the_best_of_a_grid() -> None:
    logits, labels = drawn(400, 4, 2.0)
    found = fit_temperature(logits, labels)
    grid = [float(F.cross_entropy(logits.double() / t, labels)) for t in np.geomspace(0.2, 20, 400)]
    assert found.nll_after <= min(grid) + 1e-9
    assert found.nll_before == pytest.approx(float(F.cross_entropy(logits.double(), labels)))
    assert found.nll_after < found.nll_before


def test_classes_that_were_not_seen_do_not_count() -> None:
    logits, labels = drawn(400, 4, 2.0)
    wider = torch.cat([logits, torch.full((400, 30), -torch.inf)], dim=1)
    assert fit_temperature(wider, labels).temperature == pytest.approx(fit_temperature(logits, labels).temperature)


def test_predictions_stay_and_inputs_too() -> None:
    logits, labels = drawn(200, 4, 2.0)
    before = logits.clone()
    found = fit_temperature(logits, labels)
    assert torch.equal(logits, before)
    assert torch.equal((logits / found.temperature).argmax(1), logits.argmax(1))
    assert torch.is_grad_enabled()


def test_works_where_no_gradients_are_kept() -> None:
    logits, labels = drawn(200, 4, 2.0)
    with torch.no_grad():
        found = fit_temperature(logits, labels)
    assert found == fit_temperature(logits, labels)


@pytest.mark.parametrize("size", [1e-8, 1e-5, 1e4, 1e7])
def test_scores_of_any_size_have_the_temperature_of_their_size(size: float) -> None:
    logits, labels = drawn(400, 4, 2.0)
    logits[:, 3] = -torch.inf
    labels = labels % 3
    expected, found = fit_temperature(logits, labels), fit_temperature(logits * size, labels)
    assert found.temperature == pytest.approx(expected.temperature * size, rel=1e-4) and found.determined
    assert found.nll_after == pytest.approx(expected.nll_after)


def test_where_all_is_right_none_is_best() -> None:
    labels = torch.arange(100) % 4
    found = fit_temperature(F.one_hot(labels, 4).float(), labels)
    assert (found.temperature, found.determined) == (1.0, False)
    assert found.nll_after == found.nll_before


def test_worse_than_chance() -> None:
    labels = torch.arange(100) % 2
    with pytest.raises(TrainingError, match="No temperature can be fitted: on the 100 validation images"):
        fit_temperature(F.one_hot(1 - labels, 2).float() + torch.eye(2)[labels] * 1e-3, labels)


def test_a_class_that_is_never_predicted() -> None:
    logits, labels = drawn(100, 3, 1.0)
    logits[:50, 2] = -torch.inf
    labels[:50] = 2
    with pytest.raises(TrainingError, match="classes that cannot be predicted"):
        fit_temperature(logits, labels)


@pytest.mark.parametrize(
    ("count", "classes", "needed"), [(0, 4, 50), (49, 4, 50), (119, 60, 120)], ids=["none", "few", "few a class"]
)
def test_too_few_images(count: int, classes: int, needed: int) -> None:
    logits, labels = drawn(max(count, 1), classes, 1.0)
    found = f"found {count} images? of"
    with pytest.raises(DataError, match=f"too small to fit a temperature: expected at least {needed} images.*{found}"):
        fit_temperature(logits[:count], labels[:count])


def test_one_class() -> None:
    logits, _ = drawn(80, 4, 1.0)
    with pytest.raises(DataError, match="found 80 images of 1 class"):
        fit_temperature(logits, torch.ones(80, dtype=torch.int64))


def test_the_bins_come_to_the_error_of_the_results() -> None:
    generator = np.random.default_rng(0)
    confidence = generator.uniform(0.2, 1, 1000).astype(np.float32)
    confidence[:5] = 1.0
    correct = generator.uniform(size=1000) < confidence**2
    bins = reliability(confidence, correct)
    assert [item.count for item in bins][:3] == [0, 0, 0]
    assert sum(item.count for item in bins) == 1000
    assert calibration_error(bins) == pytest.approx(expected_calibration_error(confidence, correct), abs=1e-6)


def test_the_bins_by_hand() -> None:
    """An edge belongs to the bin above it, and 1 to the last."""
    bins = reliability(np.array([0.05, 0.2, 0.21, 1.0, 0.95]), np.array([True, False, True, True, False]))
    assert [(item.count, item.accuracy) for item in bins if item.count] == [(1, 1.0), (2, 0.5), (2, 0.5)]
    assert [round(item.confidence, 3) for item in bins if item.count] == [0.05, 0.205, 0.975]
    assert calibration_error(bins) == pytest.approx((0.95 + 2 * 0.295 + 2 * 0.475) / 5)
    assert calibration_error(reliability(np.empty(0), np.empty(0, dtype=np.bool_))) is None
