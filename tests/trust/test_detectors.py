"""The five scores against their formulas in numpy."""

import numpy as np
import pytest
import torch

from lightning_vision.errors import TrainingError
from lightning_vision.trust.detectors import DETECTORS, Detectors, Mahalanobis

C, D = 3, 6


@pytest.fixture(scope="module")
def training() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = np.arange(2400) % C
    means = generator.normal(0, 3, (C, D))
    mixing = generator.normal(size=(D, D))
    return (means[labels] + generator.normal(size=(2400, D)) @ mixing).astype(np.float32), labels


@pytest.fixture(scope="module")
def images() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(40, C + 1, generator=generator) * 3
    logits[:, C] = -torch.inf  # a class that was never seen
    return torch.randn(40, D, generator=generator) * 3, logits


def column(scores: np.ndarray, name: str) -> np.ndarray:
    found: np.ndarray = scores[:, DETECTORS.index(name)]
    return found


def test_the_scores_of_logits(
    training: tuple[np.ndarray, np.ndarray], images: tuple[torch.Tensor, torch.Tensor]
) -> None:
    scores = Detectors(*training).scores(*images)
    z = images[1].numpy().astype(np.float64)[:, :C]
    exponential = np.exp(z)
    assert scores.shape == (40, 5)
    assert column(scores, "maximum softmax") == pytest.approx(-(exponential.max(1) / exponential.sum(1)), rel=1e-5)
    assert column(scores, "energy") == pytest.approx(-np.log(exponential.sum(1)), rel=1e-5)
    assert column(scores, "maximum logit") == pytest.approx(-z.max(1), rel=1e-6)


def test_the_distance_to_the_nearest_mean(
    training: tuple[np.ndarray, np.ndarray], images: tuple[torch.Tensor, torch.Tensor]
) -> None:
    features, labels = training
    v = features.astype(np.float64)
    mu = np.stack([v[labels == c].mean(0) for c in range(C)])
    covariance = sum((v[labels == c] - mu[c]).T @ (v[labels == c] - mu[c]) for c in range(C)) / len(v)
    inverse = np.linalg.inv(covariance)
    x = images[0].numpy().astype(np.float64)
    expected = np.min([np.einsum("nd,de,ne->n", x - m, inverse, x - m) for m in mu], axis=0)
    assert column(Detectors(*training).scores(*images), "Mahalanobis") == pytest.approx(expected, rel=1e-5)
    from pytorch_ood.detector import Mahalanobis as Theirs

    theirs = Theirs(None).fit_features(torch.from_numpy(features), torch.from_numpy(labels))
    # Half the distance, and the covariance not divided by the number of images.
    assert theirs.predict_features(images[0]).numpy() * 2 * len(v) == pytest.approx(expected, rel=1e-3)


def test_the_distance_to_the_kth_neighbour(
    training: tuple[np.ndarray, np.ndarray], images: tuple[torch.Tensor, torch.Tensor]
) -> None:
    detectors = Detectors(*training)
    assert detectors.neighbours == 2, "a thousandth of 2,400, rounded"
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (training[0], images[0].numpy())]
    distances = np.linalg.norm(unit[1][:, None] - unit[0][None], axis=2)
    assert column(detectors.scores(*images), "nearest neighbours") == pytest.approx(
        np.sort(distances, axis=1)[:, 1], rel=1e-3
    )


def test_in_batches_as_one_by_one(
    training: tuple[np.ndarray, np.ndarray], images: tuple[torch.Tensor, torch.Tensor]
) -> None:
    detectors = Detectors(*training)
    one_by_one = [detectors.scores(f[None], z[None]) for f, z in zip(*images, strict=True)]
    assert np.concatenate(one_by_one) == pytest.approx(detectors.scores(*images), rel=1e-4)


def test_fewer_images_than_features_and_features_that_are_always_0() -> None:
    """No inverse is there; pytorch-ood's in float32 then gives negative distances."""
    generator = np.random.default_rng(2)
    labels = np.arange(60) % 2
    features = np.zeros((60, 100), dtype=np.float32)
    features[:, :80] = generator.normal(size=(60, 80)) + 4 * labels[:, None]
    near, far = features[:20] + generator.normal(0, 0.1, (20, 100)), features[:20] + 30
    found = Mahalanobis(features, labels)
    assert (found.distance(features) >= 0).all()
    assert found.distance(near.astype(np.float32)).max() < found.distance(far.astype(np.float32)).min()
    dead = features[:5].copy()
    dead[:, 99] = 1.0
    assert found.distance(dead) == pytest.approx(found.distance(features[:5])), (
        "training says nothing of that direction"
    )


def test_inputs_are_left_alone(
    training: tuple[np.ndarray, np.ndarray], images: tuple[torch.Tensor, torch.Tensor]
) -> None:
    before = [each.copy() for each in training], [each.clone() for each in images]
    Detectors(*training).scores(*images)
    assert all(np.array_equal(one, two) for one, two in zip(before[0], training, strict=True))
    assert all(torch.equal(one, two) for one, two in zip(before[1], images, strict=True))


def test_what_cannot_be_fitted() -> None:
    with pytest.raises(TrainingError, match="finite features of training images; found 2, some of them not finite"):
        Detectors(np.array([[1.0, np.nan], [0, 0]], dtype=np.float32), np.array([0, 1]))
    with pytest.raises(TrainingError, match="found 0"):
        Detectors(np.empty((0, 2), dtype=np.float32), np.empty(0, dtype=np.int64))
