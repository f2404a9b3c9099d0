"""DS-AL against two ridge regressions with a second pass over the data, ACIL, and numbers worked out by hand."""

import math

import numpy as np
import pytest
import torch
from coloured_squares import ColouredSquares
from feature_clouds import bare_network, clouds, learn, logits
from torch import Tensor

from lightning_vision.errors import ConfigError
from strategies import queued_strategy
from strategies.acil import ACIL
from strategies.dsal import DSAL

C, D, M = 4, 12, 30
EXPERIENCE = ColouredSquares().stream[0]
NETWORK = bare_network(C, D)
Parts = list[tuple[Tensor, Tensor]]


def by_class(per_class: int = 30) -> Parts:
    """Two classes, then the third, then the fourth."""
    features, labels = clouds(C, per_class, D)
    return [(features[mine], labels[mine]) for mine in (labels < 2, labels == 2, labels == 3)]


def learned(strategy: ACIL, parts: Parts, batch_size: int = 16) -> ACIL:
    for features, labels in parts:
        learn(strategy, NETWORK, features, labels, EXPERIENCE, batch_size=batch_size)
    return strategy


def two_passes(w: Tensor, parts: Parts, gamma: float, gamma_comp: float) -> tuple[Tensor, Tensor]:
    """W_m and W_c (M, C): each experience once for the main stream, and once more for what that leaves."""
    eye = torch.eye(M).double()
    g, q, g_c, q_c = (torch.zeros(M, n).double() for n in (M, C, M, C))
    for features, labels in parts:
        expanded, y = features.double() @ w, torch.eye(C).double()[labels]
        h_m, h_c = expanded.relu(), expanded.tanh()
        g, q = g + h_m.T @ h_m, q + h_m.T @ y
        w_m = torch.linalg.solve(g + gamma * eye, q)
        residual = y - h_m @ w_m
        residual[:, [c for c in range(C) if not (labels == c).any()]] = 0
        g_c, q_c = g_c + h_c.T @ h_c, q_c + h_c.T @ residual
    return w_m, torch.linalg.solve(g_c + gamma_comp * eye, q_c)


@pytest.mark.parametrize(("gamma", "gamma_comp", "compensation"), [(0.1, 0.1, 0.6), (2.0, 0.5, 1.5)])
def test_equal_to_a_second_pass_over_each_experience(gamma: float, gamma_comp: float, compensation: float) -> None:
    parts = by_class()
    strategy = DSAL(M, gamma, compensation, gamma_comp)
    learned(strategy, parts)
    w = strategy.projection.double()
    w_m, w_c = two_passes(w, parts, gamma, gamma_comp)
    np.testing.assert_allclose(strategy.weight.T, w_m, rtol=0, atol=1e-10)
    np.testing.assert_allclose(strategy.comp_weight.T, w_c, rtol=0, atol=1e-10)
    expanded = parts[2][0].double() @ w
    expected = expanded.relu() @ w_m + compensation * (expanded.tanh() @ w_c)
    np.testing.assert_allclose(logits(strategy, NETWORK, parts[2][0]), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("queue", [1, 7, 2048])
def test_no_cut_into_batches_changes_it(queue: int, monkeypatch: pytest.MonkeyPatch) -> None:
    parts, strategy = by_class(), DSAL(M)
    learned(strategy, parts, batch_size=1000)
    monkeypatch.setattr(queued_strategy, "QUEUE", queue)
    other = DSAL(M)
    for features, labels in parts:
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(queue))
        learn(other, NETWORK, features[order], labels[order], EXPERIENCE, batch_size=5)
    np.testing.assert_allclose(other.comp_weight, strategy.comp_weight, rtol=0, atol=1e-9)


def test_without_compensation_it_is_acil() -> None:
    parts = by_class()
    dsal, acil = learned(DSAL(M, compensation=0.0), parts), learned(ACIL(M), parts)
    for features, _ in parts:
        assert torch.equal(logits(dsal, NETWORK, features), logits(acil, NETWORK, features))


def test_the_compensation_fits_what_the_main_stream_leaves() -> None:
    """A penalty that all but silences the main stream leaves the labels, and the compensation finds them again."""
    features, labels = clouds(C, 30, D)
    error = []
    for compensation in (0.0, 1.0):
        strategy = learned(DSAL(M, gamma=300.0, compensation=compensation), [(features, labels)])
        found = logits(strategy, NETWORK, features)
        error.append(float((found - torch.eye(C)[labels]).square().sum()))
    assert error[1] < 0.6 * error[0]


def test_columns_of_classes_without_an_image_are_cleansed() -> None:
    """What later experiences leave at the first classes never enters their rows."""
    first, *later = by_class()
    strategy = DSAL(M)
    learned(strategy, [first])
    before = strategy.comp_targets.clone()
    learned(strategy, later)
    assert torch.equal(strategy.comp_targets[:2], before[:2]) and before[:2].any()
    assert not before[2:].any() and strategy.comp_targets[2:].any(dim=1).all()


def test_two_experiences_by_hand() -> None:
    """One regressor: h_m = v, h_c = tanh(v). Experience 0: v = 1 of class 0; experience 1: v = 2 of class 1; gammas 1."""
    strategy, network = DSAL(1, gamma=1.0, compensation=0.5, gamma_comp=1.0), bare_network(2, 1)
    strategy.draw = lambda dimensions: torch.ones(1, 1)  # type: ignore[method-assign]
    for v, label in ((1.0, 0), (2.0, 1)):
        learn(strategy, network, torch.tensor([[v]]), torch.tensor([label]), EXPERIENCE)
    one, two = math.tanh(1), math.tanh(2)
    # W_m is 1 / 2 for class 0 after experience 0, and (1, 2) / 6 after experience 1, whose class 0 is cleansed
    main, left = np.array([1, 2]) / 6, np.array([one * (1 - 1 / 2), two * (1 - 2 * 2 / 6)])
    comp = left / (one**2 + two**2 + 1)
    np.testing.assert_allclose(strategy.weight[:, 0], main, rtol=1e-12)
    np.testing.assert_allclose(strategy.comp_weight[:, 0], comp, rtol=1e-12)
    expected = 3 * main + 0.5 * math.tanh(3) * comp
    np.testing.assert_allclose(logits(strategy, network, torch.tensor([[3.0]]))[0], expected, rtol=1e-6)


def test_what_only_the_present_experience_needs_is_not_kept() -> None:
    strategy = DSAL(M)
    learned(strategy, by_class())
    assert not any(strategy.get_buffer(name).numel() for name in ("cross", "own_targets", "own_counts"))
    assert strategy.memory_bytes() == 8 * (2 * M * M + 4 * C * M + C) + 4 * D * M


@pytest.mark.parametrize(
    ("options", "found"), [({"compensation": -1.0}, "-1.0, 0.1"), ({"gamma_comp": 0.0}, "0.6, 0.0")]
)
def test_impossible_options(options: dict[str, float], found: str) -> None:
    with pytest.raises(ConfigError, match=rf"DSAL: expected compensation >= 0 and gamma_comp > 0; found {found}\."):
        DSAL(M, **options)  # type: ignore[arg-type]


def test_a_gamma_too_small_to_solve() -> None:
    with pytest.raises(ConfigError, match=r"DSAL: gamma_comp 1e-30 is too small .* Expected \S+ or more\.$"):
        learned(DSAL(M, gamma_comp=1e-30), by_class(per_class=2))
