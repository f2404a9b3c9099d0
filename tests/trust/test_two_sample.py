"""Two sets of features: whether they differ significantly, and by how much."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lightning_vision.trust.two_sample import chance_of_larger, classifier_two_sample_test


def cloud(count: int, seed: int, shift: float = 0.0, dimensions: int = 64) -> np.ndarray:
    features = np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)
    features[:, :5] += shift
    features[:, -3:] = 0  # features that are always 0
    return features


def test_equal_sets_are_not_significantly_different() -> None:
    """Of twenty tests one may come to 5 % by chance, and few to less."""
    found = [classifier_two_sample_test(cloud(80, seed), cloud(60, 100 + seed), seed) for seed in range(20)]
    chances = [each.p_value for each in found if each is not None]
    assert len(chances) == 20
    assert 0.3 < np.mean(chances) < 0.7
    assert sum(chance <= 0.05 for chance in chances) <= 4


def test_shifted_sets_are() -> None:
    found = classifier_two_sample_test(cloud(200, 0), cloud(100, 1, shift=1.5), 0)
    assert found is not None
    assert found.auc > 0.85
    assert found.p_value == 1 / 1000, "none of 999 exchanges comes near"
    assert found.likeness.shape == (100,) and found.likeness_first.shape == (200,)
    assert chance_of_larger(found.likeness_first, found.likeness) > 0.85


def test_the_same_seed_gives_the_same_and_leaves_the_features() -> None:
    one, two = cloud(50, 0), cloud(40, 1, shift=0.5)
    before = one.copy(), two.copy()
    first, second = (classifier_two_sample_test(one, two, 3) for _ in range(2))
    assert first is not None and second is not None
    assert (first.auc, first.p_value) == (second.auc, second.p_value)
    assert np.array_equal(one, before[0]) and np.array_equal(two, before[1])


def test_too_few_say_nothing() -> None:
    assert classifier_two_sample_test(cloud(9, 0), cloud(50, 1), 0) is None
    assert classifier_two_sample_test(cloud(10, 0), cloud(10, 1), 0) is not None


def test_the_chance_is_the_area_under_the_roc_curve() -> None:
    generator = np.random.default_rng(0)
    one, two = generator.normal(size=70).round(1), generator.normal(0.4, 1, 50).round(1)
    expected = roc_auc_score([0] * 70 + [1] * 50, np.concatenate([one, two]))
    assert chance_of_larger(one, two) == pytest.approx(expected)
