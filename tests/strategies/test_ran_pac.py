"""RanPAC against numpy's ridge regression on the same projection, and how lambda is picked."""

import numpy as np
import pytest
import torch
from coloured_squares import ColouredSquares
from feature_clouds import bare_network, clouds, learn, logits
from sklearn.linear_model import Ridge

from lightning_vision.errors import ConfigError
from strategies.ran_pac import CANDIDATES, RanPAC, held_out, pick_ridge
from strategies.ridge_strategy import ridge_regression

C, D, M = 3, 12, 40
EXPERIENCE = ColouredSquares().stream[0]


def learned(strategy: RanPAC, per_class: int = 100) -> tuple[RanPAC, torch.Tensor, torch.Tensor]:
    features, labels = clouds(per_class=per_class)
    learn(strategy, bare_network(), features, labels, EXPERIENCE)
    return strategy, features, labels


@pytest.mark.parametrize(("ridge", "per_class"), [(1.0, 100), (None, 100), (100.0, 5)])
def test_equal_to_numpy(ridge: float | None, per_class: int) -> None:
    """With fewer images than projections too."""
    strategy, features, labels = learned(RanPAC(M, ridge), per_class)
    h = np.maximum(features.double().numpy() @ strategy.projection.double().numpy(), 0)
    picked = float(strategy.picked)
    assert ridge in (None, picked)
    w = np.linalg.solve(h.T @ h + picked * np.eye(M), h.T @ np.eye(C)[labels.numpy()])
    found = logits(strategy, bare_network(), features)
    np.testing.assert_allclose(found.numpy(), h @ w, rtol=1e-4, atol=1e-6)
    assert (found.argmax(dim=1) == labels).float().mean() > 0.9


def test_lambda_is_the_one_that_numpy_finds_best_on_the_images_held_out() -> None:
    strategy, features, labels = learned(RanPAC(M))
    v, w = features.double(), strategy.projection.double()
    held = held_out(v, w[:, 0]).numpy()
    assert 0.1 < held.mean() < 0.3
    h, y = (v @ w).relu().numpy(), np.eye(C)[labels.numpy()]
    errors = {}
    for ridge in CANDIDATES[4:]:
        solution = np.linalg.solve(h[~held].T @ h[~held] + ridge * np.eye(M), h[~held].T @ y[~held])
        errors[ridge] = ((h[held] @ solution - y[held]) ** 2).sum()
    assert float(strategy.picked) == max(r for r, error in errors.items() if error <= 1.001 * min(errors.values()))
    assert CANDIDATES[4] < float(strategy.picked) < CANDIDATES[-1], "a pick at the end would prove little"
    assert strategy.notes(bare_network()) == [
        f"ridge {float(strategy.picked):g}, {int(held.sum())} of {len(held)} images held out"
    ]


class TestHeldOut:
    def test_a_fifth_of_each_class(self) -> None:
        features, labels = clouds(per_class=2000)
        held = held_out(features.double(), torch.randn(D, generator=torch.Generator().manual_seed(1)).double())
        shares = [held[labels == c].double().mean().item() for c in range(C)]
        assert shares == pytest.approx([0.2] * C, abs=0.03)  # three standard deviations

    def test_by_the_feature_alone(self) -> None:
        features, _ = clouds()
        v, r = features.double(), torch.randn(D, generator=torch.Generator().manual_seed(1)).double()
        held = held_out(v, r)
        assert torch.equal(held_out(v.flip(0), r).flip(0), held)
        assert torch.equal(torch.cat([held_out(row[None], r) for row in v]), held)
        assert torch.equal(held_out(v * 8, r), held)

    def test_rounding_of_the_features_moves_next_to_none(self) -> None:
        """The last bits of a feature depend on the batch that it was computed in."""
        features, _ = clouds(per_class=4000)
        r = torch.randn(D, generator=torch.Generator().manual_seed(1)).double()
        rounded = features * (1 + 1e-7 * torch.randn(features.shape, generator=torch.Generator().manual_seed(2)))
        assert (rounded != features).float().mean() > 0.3
        moved = held_out(features.double(), r) != held_out(rounded.double(), r)
        assert moved.double().mean() < 0.002

    def test_a_feature_of_length_0(self) -> None:
        assert held_out(torch.zeros(2, D).double(), torch.ones(D).double()).tolist() == [True, True]


def test_the_solution_does_not_hang_on_rounding_even_without_noise() -> None:
    """Fewer images than projections and labels that fit exactly: the smaller lambda, the better, down to rounding."""
    features, labels = clouds(per_class=8, dimensions=30)
    network = bare_network(dimensions=30)
    strategy = RanPAC(200)
    learn(strategy, network, features, labels, EXPERIENCE)
    for seed in range(3):
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
        other = RanPAC(200)
        learn(other, network, features[order], labels[order], EXPERIENCE, batch_size=5)
        assert float(other.picked) == float(strategy.picked)
        assert (other.weight - strategy.weight).norm() < 1e-5 * strategy.weight.norm()


def test_too_few_images_to_hold_one_out() -> None:
    strategy, network = RanPAC(M, seed=0), bare_network()
    features, labels = clouds()
    kept = (
        ~held_out(features.double(), torch.randn(D, M, generator=torch.Generator().manual_seed(0))[:, 0].double())
    ).nonzero()
    learn(strategy, network, features[kept[0]], labels[kept[0]], EXPERIENCE)
    assert float(strategy.picked) == pytest.approx(float(strategy.grams.sum(0).diagonal().mean()))
    assert logits(strategy, network, features[kept[0]]).argmax() == labels[kept[0]]


def test_features_of_nothing_but_0() -> None:
    strategy, network = RanPAC(M), bare_network()
    learn(strategy, network, torch.zeros(20, D), torch.arange(20) % C, EXPERIENCE)
    assert logits(strategy, network, torch.zeros(1, D)).tolist() == [[0.0] * C]


def test_of_equal_candidates_the_largest() -> None:
    """Nothing to fit: each lambda gives 0."""
    nothing, target = torch.zeros(M, M).double(), torch.zeros(C, M).double()
    assert pick_ridge(nothing, target, nothing, target, 5) == CANDIDATES[-1]


@pytest.mark.parametrize("ridge", [0.5, None])
def test_without_a_projection_it_is_ridge_regression_on_the_features(ridge: float | None) -> None:
    strategy, features, labels = learned(RanPAC(None, ridge))
    picked = float(strategy.picked)
    expected = Ridge(alpha=picked, fit_intercept=False).fit(features.double().numpy(), np.eye(C)[labels.numpy()])
    found = logits(strategy, bare_network(), features)
    np.testing.assert_allclose(found.numpy(), expected.predict(features.double().numpy()), rtol=1e-4, atol=1e-6)
    assert ridge in (None, picked) and (found.argmax(dim=1) == labels).float().mean() > 0.8
    assert strategy.grams.shape == (2, D, D) and 0.1 < float(strategy.counts[1].sum()) / len(labels) < 0.3
    other = RanPAC(None, ridge)
    other.load_state_dict(strategy.state_dict())
    assert torch.equal(logits(other, bare_network(), features), found)


class TestSeed:
    def drawn(self, run_seed: int, seed: int | None = None) -> torch.Tensor:
        strategy = RanPAC(M, seed=seed)
        strategy.run_seed = run_seed
        return learned(strategy)[0].projection

    def test_the_run_gives_the_projection_unless_it_is_pinned(self) -> None:
        first, other = self.drawn(0), self.drawn(1)
        assert first.shape == (D, M) and abs(float(first.std()) - 1) < 0.1
        assert torch.equal(first, self.drawn(0)) and not torch.equal(first, other)
        assert torch.equal(self.drawn(0, 3), self.drawn(1, 3))

    def test_a_pinned_one_is_that_of_earlier_versions(self) -> None:
        expected = torch.randn(D, M, generator=torch.Generator().manual_seed(0))
        assert torch.equal(self.drawn(5, 0), expected) and not torch.equal(self.drawn(0), expected)

    @pytest.mark.parametrize(("options", "nothing"), [({}, False), ({"projections": None}, False), ({"projections": None, "ridge": 1.0}, True)])  # fmt: skip
    def test_what_is_random(self, options: dict[str, float | None], nothing: bool) -> None:
        """Without a projection it is what is held out to pick lambda."""
        assert RanPAC(**options).draws_nothing == nothing  # type: ignore[arg-type]


def test_a_ridge_too_small_to_solve() -> None:
    h = torch.ones(4, M).double()
    with pytest.raises(ConfigError, match=r"RanPAC: ridge 1e-30 is too small .* Expected 2e-08 or more, or null"):
        ridge_regression(h.T @ h, torch.ones(C, M).double(), 1e-30, "RanPAC: ridge", ", or null")


@pytest.mark.parametrize(("projections", "ridge"), [(0, None), (10, 0.0), (10, -1.0), (10, float("nan"))])
def test_impossible_options(projections: int, ridge: float | None) -> None:
    with pytest.raises(ConfigError, match=r"RanPAC: expected projections >= 1 .* and ridge > 0 .*; found \d+, "):
        RanPAC(projections, ridge)
