"""StreamingLDA: the recursion one sample after the other, its matrix form, and singular covariances."""

import pytest
import torch
from coloured_squares import ColouredSquares
from feature_clouds import bare_network, clouds, learn, logits
from sklearn.covariance import OAS
from torch import Tensor

from lightning_vision.errors import ConfigError
from strategies import streaming_lda
from strategies.shrinkage import pick_shrinkage
from strategies.streaming_lda import StreamingLDA, cholesky_factor, discriminant, stream_covariance

C, D = 3, 12


def oracle(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Means (C, D) and covariance (D, D) as the paper writes them: one sample after the other."""
    mu, n, sigma = torch.zeros(C, D).double(), torch.zeros(C).double(), torch.zeros(D, D).double()
    for t, (z, y) in enumerate(zip(features.double(), labels.tolist(), strict=True)):
        delta = t / (t + 1) * torch.outer(z - mu[y], z - mu[y])
        sigma = (t * sigma + delta) / (t + 1)
        mu[y] = (n[y] * mu[y] + z) / (n[y] + 1)
        n[y] += 1
    return mu, sigma


def empty() -> tuple[Tensor, Tensor, Tensor]:
    return torch.zeros(D, D).double(), torch.zeros(C, D).double(), torch.zeros(C, dtype=torch.int64)


@pytest.mark.parametrize("batch_size", [1, 7, 120])
def test_any_cut_into_batches_gives_the_recursion(batch_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming_lda, "CHUNK", 50)  # the largest batch is cut again inside
    features, labels = clouds()
    mu, sigma = oracle(features, labels)
    state = empty()
    for start in range(0, len(labels), batch_size):
        batch = slice(start, start + batch_size)
        state = stream_covariance(*state, features[batch], labels[batch])
    scatter, sums, counts = state
    torch.testing.assert_close(scatter / len(labels), sigma, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(sums / counts[:, None], mu, rtol=1e-11, atol=1e-13)


def test_order_matters_and_inputs_are_not_changed() -> None:
    features, labels = clouds()
    state = empty()
    forwards = stream_covariance(*state, features, labels)
    assert not any(value.any() for value in state)
    backwards = stream_covariance(*empty(), features.flip(0), labels.flip(0))
    assert (forwards[0] - backwards[0]).norm() > 0.01 * forwards[0].norm()
    torch.testing.assert_close(forwards[1:], backwards[1:])


@pytest.mark.parametrize("shrinkage", [1e-4, 0.5, 1.0])
def test_logits(shrinkage: float) -> None:
    features, labels = clouds()
    network, strategy = bare_network(), StreamingLDA(shrinkage)
    learn(strategy, network, features, labels, ColouredSquares().stream[0])
    mu, sigma = oracle(features, labels)
    inverse = torch.linalg.inv((1 - shrinkage) * sigma + shrinkage * torch.eye(D))
    expected = features.double() @ inverse @ mu.T - 0.5 * (mu @ inverse * mu).sum(dim=1)
    found = logits(strategy, network, features)
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-5)
    assert (found.argmax(dim=1) == labels).float().mean() > 0.9


def test_fewer_images_than_features_need_shrinkage() -> None:
    features, labels = clouds(per_class=3)
    experience = ColouredSquares().stream[0]
    learn(StreamingLDA(1e-4), bare_network(), features, labels, experience)
    learn(StreamingLDA(), bare_network(), features, labels, experience)
    found = r"12 features is singular: 9 image\(s\) so far. StreamingLDA: expected a larger shrinkage .* found 0"
    with pytest.raises(ConfigError, match=found):
        learn(StreamingLDA(0.0), bare_network(), features, labels, experience)
    learn(StreamingLDA(0.0), bare_network(), *clouds(per_class=10), experience)


def test_a_nearly_singular_covariance_is_not_inverted() -> None:
    """Rounding leaves tiny positive pivots, from which an inverse of pure noise would follow."""
    rank_2 = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for matrix in (rank_2 @ rank_2.T, torch.zeros(6, 6).double(), torch.full((6, 6), torch.nan).double()):
        with pytest.raises(ConfigError, match="The covariance of 6 features is singular: do this"):
            cholesky_factor(matrix, "do this")


def test_a_class_without_a_image() -> None:
    state = stream_covariance(*empty(), *clouds(classes=2))
    weight, bias = discriminant(*state, 1e-4)
    assert not weight[2].any() and bias[2] == -torch.inf and torch.isfinite(bias[:2]).all()


def test_the_shrinkage_is_picked_and_reported() -> None:
    """With as many images as features it comes near the best that the test images would pick, from which 1e-4 is far."""
    generator, labels = torch.Generator().manual_seed(1), torch.arange(3).repeat(600)
    centres = 0.8 * torch.linspace(1, 0.3, 60) * torch.randn(3, 60, generator=generator)
    features = centres[labels] + torch.linspace(2, 0.5, 60) * torch.randn(1800, 60, generator=generator)
    train, test = slice(60), slice(60, None)
    network, found = bare_network(3, 60), {}
    for shrinkage in (None, 1e-4, 1e-2, 0.1, 0.5, 0.9):
        strategy = StreamingLDA(shrinkage)
        learn(strategy, network, features[train], labels[train], ColouredSquares().stream[0])
        right = logits(strategy, network, features[test]).argmax(dim=1) == labels[test]
        found[shrinkage] = float(right.float().mean())
        told = strategy.notes(network)
        assert told == ([] if shrinkage is not None else [f"shrinkage {float(strategy.picked):.3g} selected"])
    assert found[None] > max(found.values()) - 0.02 and found[1e-4] < found[None] - 0.3


def test_the_picked_shrinkage_is_of_the_mean_variance() -> None:
    features, labels = clouds()
    network, strategy = bare_network(), StreamingLDA()
    learn(strategy, network, features, labels, ColouredSquares().stream[0])
    mu, sigma = oracle(features, labels)
    eps, nu = float(strategy.picked), sigma.trace() / D
    assert eps == pick_shrinkage(strategy.scatter, strategy.sums, strategy.counts)
    inverse = torch.linalg.inv((1 - eps) * sigma + eps * nu * torch.eye(D))
    expected = features.double() @ inverse @ mu.T - 0.5 * (mu @ inverse * mu).sum(dim=1)
    torch.testing.assert_close(logits(strategy, network, features), expected.float(), rtol=1e-5, atol=1e-5)


def test_a_single_image_is_the_nearest_mean() -> None:
    features, labels = clouds()
    network, strategy = bare_network(), StreamingLDA()
    learn(strategy, network, features[:1], labels[:1], ColouredSquares().stream[0])
    found = logits(strategy, network, features)
    expected = features @ features[0] - features[0].square().sum() / 2
    torch.testing.assert_close(found[:, labels[0]], expected)
    assert (found.argmax(dim=1) == labels[0]).all()


def test_the_authors_form() -> None:
    """OAS of the first experience's images about their class means, then the recursion, image by image."""
    features, labels = clouds(per_class=20)
    order = torch.cat([(labels < 2).nonzero()[:, 0], (labels == 2).nonzero()[:, 0]])
    features, labels = features[order], labels[order]
    network, strategy = bare_network(), StreamingLDA(1e-4, "oas")
    first, second = ColouredSquares().stream[0], ColouredSquares().stream[1]
    learn(strategy, network, features[:40], labels[:40], first)
    z = features.double()
    mu, n = torch.zeros(C, D).double(), torch.tensor([20.0, 20.0, 0.0])
    for c in range(2):
        mu[c] = z[:40][labels[:40] == c].mean(dim=0)
    centred = (z[:40] - mu[labels[:40]]).numpy()
    sigma = torch.from_numpy(OAS(assume_centered=True).fit(centred).covariance_)
    torch.testing.assert_close(strategy.scatter / 40, sigma, rtol=1e-9, atol=1e-12)
    assert not strategy.moment.numel()
    restarted = StreamingLDA(1e-4, "oas")
    restarted.before_experience(network, first)
    restarted.load_state_dict(strategy.state_dict())
    learn(restarted, network, features[40:], labels[40:], second)
    for t, (x, y) in enumerate(zip(z[40:], labels[40:].tolist(), strict=True), start=40):
        sigma = (t * sigma + t / (t + 1) * torch.outer(x - mu[y], x - mu[y])) / (t + 1)
        mu[y] = (n[y] * mu[y] + x) / (n[y] + 1)
        n[y] += 1
    torch.testing.assert_close(restarted.scatter / 60, sigma, rtol=1e-9, atol=1e-12)
    inverse = torch.linalg.inv((1 - 1e-4) * sigma + 1e-4 * torch.eye(D))
    expected = z @ inverse @ mu.T - 0.5 * (mu @ inverse * mu).sum(dim=1)
    torch.testing.assert_close(logits(restarted, network, features), expected.float(), rtol=1e-5, atol=1e-5)


def test_within_the_first_experience_the_authors_form_predicts_from_what_came() -> None:
    features, labels = clouds(per_class=20)
    network, whole, part = bare_network(), StreamingLDA(1e-4, "oas"), StreamingLDA(1e-4, "oas")
    learn(whole, network, features[:30], labels[:30], ColouredSquares().stream[0])
    part.update(network, features[:30], labels[:30])
    part.absorb_waiting(network)
    assert part.moment.numel() and torch.equal(logits(part, network, features), logits(whole, network, features))
    part.update(network, features[30:], labels[30:])
    part.after_experience(network, ColouredSquares().stream[0], [])
    learn(whole := StreamingLDA(1e-4, "oas"), network, features, labels, ColouredSquares().stream[0])
    torch.testing.assert_close(part.scatter, whole.scatter)


def test_a_checkpoint_from_before_the_authors_form_resumes() -> None:
    features, labels = clouds()
    network, strategy, older = bare_network(), StreamingLDA(1e-4), StreamingLDA(1e-4)
    learn(strategy, network, features[:60], labels[:60], ColouredSquares().stream[0])
    state = {key: value for key, value in strategy.state_dict().items() if key not in ("moment", "picked")}
    older.load_state_dict(state)
    for each in (strategy, older):
        learn(each, network, features[60:], labels[60:], ColouredSquares().stream[1])
    assert torch.equal(logits(older, network, features), logits(strategy, network, features))
    assert older.EARLIER_DEFAULTS == {"shrinkage": 1e-4, "covariance": "stream"}


@pytest.mark.parametrize("shrinkage", [-0.1, 1.5, float("nan")])
def test_impossible_options(shrinkage: float) -> None:
    with pytest.raises(
        ConfigError, match=r"StreamingLDA: expected a shrinkage from 0 to 1 \(or null for automatic selection\), found"
    ):
        StreamingLDA(shrinkage)
    with pytest.raises(ConfigError, match="StreamingLDA: expected covariance stream or oas, found 'OAS'"):
        StreamingLDA(covariance="OAS")  # type: ignore[arg-type]
