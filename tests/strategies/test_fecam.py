"""FeCAM against numpy's covariances, shrinkage, normalisation and distances."""

from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch
from coloured_squares import ColouredSquares
from feature_clouds import bare_network, clouds, learn, logits
from torch.utils.flop_counter import FlopCounterMode

from lightning_vision.errors import CheckpointError, ConfigError
from strategies.fecam import FeCAM, correlation, inverse_of_triangle, lengths_after, shrink, tukey_transform

C, D = 3, 12
EXPERIENCE = ColouredSquares().stream[0]
Array = npt.NDArray[np.float64]


def unit(v: Array) -> Array:
    return np.asarray(v / np.linalg.norm(v, axis=-1, keepdims=True), dtype=np.float64)


def oracle(
    x: Array, v: Array, y: npt.NDArray[np.int64], power: float, gamma1: float, gamma2: float, mean: str = "raw"
) -> Array:
    """Minus the distances (N, C) of x, the statistics being those of v and y."""
    raw, x, v = v, x**power, v**power
    found = []
    for c in range(C):
        sigma = np.cov(v[y == c].T)
        off = ~np.eye(D, dtype=bool)
        sigma = sigma + gamma1 * np.diag(sigma).mean() * np.eye(D) + gamma2 * sigma[off].mean() * off
        sd = np.sqrt(np.diag(sigma))
        mu = raw[y == c].mean(axis=0) ** power if mean == "raw" else v[y == c].mean(axis=0)
        difference = unit(x) - unit(mu)
        found.append(-np.einsum("nd,de,ne->n", difference, np.linalg.inv(sigma / np.outer(sd, sd)), difference))
    return np.stack(found, axis=1)


@pytest.mark.parametrize("mean", ["raw", "transformed"])
@pytest.mark.parametrize(
    ("power", "gamma1", "gamma2", "per_class"),
    [(0.5, 1.0, 1.0, 40), (1.0, 1.0, 1.0, 40), (0.5, 0.0, 0.0, 40), (0.25, 3.0, 0.0, 40), (0.5, 1.0, 1.0, 4)],
)
def test_equal_to_numpy(
    power: float, gamma1: float, gamma2: float, per_class: int, mean: Literal["raw", "transformed"]
) -> None:
    """With fewer images than features too."""
    features, labels = clouds(per_class=per_class)
    features = features.abs()
    network, strategy = bare_network(), FeCAM(power, gamma1, gamma2, mean)
    learn(strategy, network, features, labels, EXPERIENCE)
    x = clouds(seed=1)[0].abs()
    expected = oracle(x.double().numpy(), features.double().numpy(), labels.numpy(), power, gamma1, gamma2, mean)
    np.testing.assert_allclose(logits(strategy, network, x).numpy(), expected, rtol=2e-5, atol=1e-6)


def test_the_default_is_the_authors_code() -> None:
    """Means transformed after they are taken, covariances shrunk twice with 1, as if once with 3."""
    features, labels = clouds()
    network, strategy = bare_network(), FeCAM()
    learn(strategy, network, features.abs(), labels, EXPERIENCE)
    x = clouds(seed=1)[0].abs()
    expected = oracle(x.double().numpy(), features.abs().double().numpy(), labels.numpy(), 0.5, 3.0, 3.0)
    np.testing.assert_allclose(logits(strategy, network, x).numpy(), expected, rtol=2e-5, atol=1e-6)


def test_double_precision() -> None:
    """As ``trainer.precision: 64-true`` makes the strategy's buffers."""
    features, labels = clouds()
    network, strategy, x = bare_network(), FeCAM(), clouds(seed=1)[0].abs()
    learn(strategy, network, features.abs(), labels, EXPERIENCE)
    before = logits(strategy, network, x)
    strategy.double()
    assert strategy.whitening.dtype == torch.float64
    np.testing.assert_allclose(logits(strategy, network, x).numpy(), before.numpy(), rtol=1e-5, atol=1e-6)


def test_scaled_first_is_the_authors_form_for_transformers() -> None:
    """Means and covariances of features of length 1, and nothing is scaled after that; features may be negative."""
    features, labels = clouds()
    network, strategy, x = bare_network(), FeCAM(1.0, 1.0, 0.0, scale_first=True), clouds(seed=1)[0]
    learn(strategy, network, features, labels, EXPERIENCE)
    v, y, expected = unit(features.double().numpy()), labels.numpy(), []
    for c in range(C):
        sigma = np.cov(v[y == c].T)
        sigma = sigma + np.diag(sigma).mean() * np.eye(D)
        sd = np.sqrt(np.diag(sigma))
        difference = unit(x.double().numpy()) - v[y == c].mean(axis=0)
        expected.append(-np.einsum("nd,de,ne->n", difference, np.linalg.inv(sigma / np.outer(sd, sd)), difference))
    np.testing.assert_allclose(logits(strategy, network, x).numpy(), np.stack(expected, axis=1), rtol=2e-5, atol=1e-6)
    assert strategy.notes(network) == []


def test_a_checkpoint_of_before_raw_means() -> None:
    """It resumes with the former values of the options; with the default it is refused with a message."""
    features, labels = clouds(negative=False)
    network = bare_network()
    strategy, older = (FeCAM(**FeCAM.EARLIER_DEFAULTS) for _ in range(2))  # type: ignore[arg-type]
    learn(strategy, network, features, labels, EXPERIENCE)
    state = {key: value for key, value in strategy.state_dict().items() if key != "raw_sums"}
    older.load_state_dict(state)
    assert torch.equal(logits(older, network, features), logits(strategy, network, features))
    assert (older.gamma1, older.gamma2, older.raw_means, older.scale_first) == (1.0, 1.0, False, False)
    with pytest.raises(CheckpointError, match=r"Use model\.strategy\.mean=transformed"):
        FeCAM().load_state_dict(state)


def test_it_tells_classes_apart_that_have_one_mean() -> None:
    """Two features rise together in the one class; in the other, one falls as the other rises."""
    generator = torch.Generator().manual_seed(0)
    v, labels = 1 + 0.1 * torch.randn(400, 6, generator=generator), torch.arange(400) % 2
    v[:, 1] = 1 + (v[:, 0] - 1) * (1 - 2 * labels) + 0.02 * torch.randn(400, generator=generator)
    network, strategy = bare_network(classes=2, dimensions=6), FeCAM(gamma1=0.01, gamma2=0.0)
    learn(strategy, network, v, labels, EXPERIENCE)
    assert (logits(strategy, network, v).argmax(dim=1) == labels).float().mean() > 0.75


def test_shrinking_twice_is_shrinking_once_with_more() -> None:
    """As the docstring has it of the authors' code."""
    sigma = torch.cov(clouds()[0].double().T)
    torch.testing.assert_close(shrink(shrink(sigma, 1.0, 2.0), 1.0, 2.0), shrink(sigma, 3.0, 8.0))


def test_correlation() -> None:
    sigma = torch.tensor([[4.0, 1.0], [1.0, 9.0]])
    torch.testing.assert_close(correlation(sigma), torch.tensor([[1.0, 1 / 6], [1 / 6, 1.0]]))


@pytest.mark.parametrize("d", [1, 160, 161, 500])
def test_the_inverse_by_halves(d: int) -> None:
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(2 * d, d, dtype=torch.float64, generator=generator)
    factor = torch.linalg.cholesky(v.T @ v / d + torch.eye(d))
    inverse = inverse_of_triangle(factor)
    assert torch.equal(inverse, inverse.tril())
    torch.testing.assert_close(inverse @ factor, torch.eye(d, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("d", [1, 256, 257, 600])
def test_zeros_above_the_blocks_of_a_triangle_are_not_multiplied(d: int) -> None:
    generator = torch.Generator().manual_seed(0)
    lower, vectors = torch.randn(d, d, generator=generator).tril(), torch.randn(7, d, generator=generator)
    with FlopCounterMode(display=False) as counter:
        found = lengths_after(lower, vectors)
    torch.testing.assert_close(found, (vectors @ lower.T).square().sum(dim=1), rtol=1e-5, atol=1e-5)
    blocks = [min(start + 256, d) for start in range(0, d, 256)]
    heights = [stop - start for start, stop in zip([0, *blocks], blocks, strict=False)]
    assert counter.get_total_flops() == 2 * 7 * sum(h * stop for h, stop in zip(heights, blocks, strict=True))


def test_tukey() -> None:
    v = torch.tensor([4.0, 0.0, -9.0])
    assert tukey_transform(v, 0.5).tolist() == [2.0, 0.0, -3.0]
    assert tukey_transform(v, 1.0) is v


def test_negative_features_are_reported() -> None:
    network, strategy = bare_network(), FeCAM()
    features, labels = clouds()
    learn(strategy, network, features, labels, EXPERIENCE)
    negative = int((features < 0).any(dim=1).sum())
    assert strategy.notes(network) == [
        f"{negative} of 120 images have negative features, for which Tukey's transform is not defined: try scale_first "
        "true, tukey 1, gamma1 1, gamma2 0"
    ]
    for other, positive in ((FeCAM(tukey=1), features), (FeCAM(), features.relu())):
        learn(other, network, positive, labels, EXPERIENCE)
        assert other.notes(network) == []


def test_one_image_or_copies_of_one_have_the_euclidean_distance() -> None:
    """What shrinkage tends to; rounding of the copies' features must not make a covariance of its own."""
    features, labels = clouds(per_class=1)
    features = features.abs()
    network, one, copies = bare_network(), FeCAM(), FeCAM()
    learn(one, network, features, labels, EXPERIENCE)
    rounded = features.repeat(3, 1) * (1 + 1e-7 * torch.randn(9, D, generator=torch.Generator().manual_seed(2)))
    learn(copies, network, rounded, labels.repeat(3), EXPERIENCE)
    x = clouds(seed=1)[0].abs()
    a, b = (torch.nn.functional.normalize(v.sqrt(), dim=1) for v in (x, features))
    expected = -torch.cdist(a, b[labels.argsort()]).square()
    torch.testing.assert_close(logits(one, network, x), expected)
    torch.testing.assert_close(logits(copies, network, x), expected)


@pytest.mark.parametrize(
    ("gamma1", "gamma2", "per_class", "dead"), [(0, 0, 4, 0), (0, 0, 1, 0), (0, 0, 40, 1), (0, 1, 40, 1)]
)
def test_without_shrinkage_a_singular_covariance_is_refused(
    gamma1: float, gamma2: float, per_class: int, dead: int
) -> None:
    features, labels = clouds(per_class=per_class)
    features[:, :dead] = 0.0
    found = rf"12 features is singular: a class has {per_class} image\(s\)\. FeCAM: expected a larger gamma1 .* found gamma1 0"
    with pytest.raises(ConfigError, match=found):
        learn(FeCAM(gamma1=gamma1, gamma2=gamma2), bare_network(), features, labels, EXPERIENCE)


def test_dead_features_are_no_harm_with_shrinkage() -> None:
    features, labels = clouds()
    features[:, :3] = 0.0
    network, strategy = bare_network(), FeCAM()
    learn(strategy, network, features, labels, EXPERIENCE)
    assert (logits(strategy, network, features).argmax(dim=1) == labels).float().mean() > 0.8


def test_only_what_changed_is_inverted_again() -> None:
    """Even if the inverses at hand were made in an evaluation, whose tensors cannot be written to later."""
    features, labels = clouds(negative=False)
    network, strategy, other = bare_network(), FeCAM(), FeCAM()
    for each in (strategy, other):
        learn(each, network, features[labels < 2], labels[labels < 2], EXPERIENCE)
    strategy.load_state_dict(other.state_dict())  # a restart: nothing is inverted yet
    with torch.inference_mode():
        strategy.predict(network, features)
    strategy.whitening[0] = 7.0
    learn(strategy, network, features[labels > 0], labels[labels > 0], EXPERIENCE)
    learn(other, network, features[labels > 0], labels[labels > 0], EXPERIENCE)
    assert (strategy.whitening[0] == 7.0).all()
    assert torch.equal(strategy.whitening[1:], other.whitening[1:])


def test_what_it_keeps_in_a_checkpoint() -> None:
    """One triangle of each covariance; what is inverted for prediction is made anew, for the state at hand."""
    features, labels = clouds(negative=False)
    network, strategy, other = bare_network(), FeCAM(), FeCAM()
    learn(strategy, network, features, labels, EXPERIENCE)
    learn(other, network, *clouds(negative=False, seed=1), EXPERIENCE)
    assert {key: tuple(value.shape) for key, value in strategy.state_dict().items()} == {
        "waiting": (0,), "waiting_labels": (0,), "negative": (), "sums": (C, D), "raw_sums": (C, D), "counts": (C,), "scatter": (C, D * (D + 1) // 2),
    }  # fmt: skip
    assert not torch.equal(logits(other, network, features), logits(strategy, network, features))
    other.load_state_dict(strategy.state_dict())
    assert torch.equal(logits(other, network, features), logits(strategy, network, features))


@pytest.mark.parametrize(
    ("tukey", "gamma1", "gamma2"), [(0, 1, 1), (1.5, 1, 1), (0.5, -1, 1), (0.5, 1, -1), (0.5, float("inf"), 1)]
)
def test_impossible_options(tukey: float, gamma1: float, gamma2: float) -> None:
    with pytest.raises(ConfigError, match=r"FeCAM: expected 0 < tukey <= 1, gamma1 >= 0, gamma2 >= 0; found "):
        FeCAM(tukey, gamma1, gamma2)
    with pytest.raises(ConfigError, match="FeCAM: expected the mean raw or transformed, found 'tukey'"):
        FeCAM(mean="tukey")  # type: ignore[arg-type]
