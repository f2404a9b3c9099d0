"""SynapticIntelligence: the path integral against closed forms, in a run from the base on, and after a kill."""

import signal
from pathlib import Path

import pytest
import torch
from command_line import fit, start, weights_of
from interruptions import interrupt
from tiny_network import flat, saved_parameters, tiny_batch, tiny_experience, tiny_network
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision.errors import ConfigError
from lightning_vision.learning.network import Network
from strategies.synaptic_intelligence import SynapticIntelligence


def set_gradients(network: Network, gradient: Tensor) -> None:
    """Give all parameters their part of a gradient (P,)."""
    parameters = list(network.parameters())
    for p, part in zip(parameters, torch.split(gradient, [p.numel() for p in parameters]), strict=True):
        p.grad = part.view_as(p).clone()


def test_a_quadratic_by_hand() -> None:
    """L = a/2 |theta - b|^2 with gradient steps: d_k = (1 - eta a)^k d_0, so omega = eta a^2 d_0^2 sum_k (1 - eta a)^2k.

    For small steps it is the fall of L itself, a/2 (d_0^2 - d_n^2), which is what the integral stands for.
    """
    network, strategy, batch = tiny_network(), SynapticIntelligence(xi=0.1), tiny_batch([0])
    network.double()
    strategy.before_experience(network, tiny_experience(0, batch))
    d_0, b = flat(network) - 0.3, 0.3
    a, eta, n = torch.linspace(0.5, 2, len(d_0), dtype=torch.float64), 0.01, 50
    optimizer = torch.optim.SGD(network.parameters(), lr=eta)
    for _ in range(n):
        set_gradients(network, a * (flat(network) - b))
        strategy.after_backward(network)
        optimizer.step()
        strategy.after_step(network)
    shrink = 1 - eta * a
    omega = eta * a**2 * d_0**2 * (1 - shrink ** (2 * n)) / (1 - shrink**2)
    torch.testing.assert_close(strategy.path, omega)
    torch.testing.assert_close(strategy.path, a / 2 * d_0**2 * (1 - shrink ** (2 * n)), rtol=0.02, atol=0)
    strategy.after_experience(network, tiny_experience(0, batch), [])
    wanted = omega / ((d_0 * (shrink**n - 1)) ** 2 + 0.1)
    torch.testing.assert_close(strategy.importance, wanted)


def test_the_penalty_and_its_gradient_are_no_part_of_the_path() -> None:
    network, strategy, batch = tiny_network(), SynapticIntelligence(c=0.7), tiny_batch([0, 1, 3])
    strategy.before_experience(network, tiny_experience(1, batch))
    strategy.importance = torch.rand(len(flat(network)), generator=torch.Generator().manual_seed(0))
    before = flat(network)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1)
    theta = flat(network)
    cross_entropy = F.cross_entropy(network(batch["image"]), batch["label"])
    g = torch.cat([each.flatten() for each in torch.autograd.grad(cross_entropy, list(network.parameters()))])
    loss = strategy.loss(network, batch)
    penalty = 0.7 * (strategy.importance * (theta - before) ** 2).sum()
    torch.testing.assert_close(loss, cross_entropy + penalty)
    loss.backward()  # type: ignore[no-untyped-call]
    strategy.after_backward(network)
    torch.optim.SGD(network.parameters(), lr=0.1).step()
    strategy.after_step(network)
    step = -0.1 * (g + 2 * 0.7 * strategy.importance * (theta - before))
    torch.testing.assert_close(strategy.path, -g * step, rtol=1e-4, atol=1e-7)


def test_importance_adds_up_and_stays_at_0_or_more() -> None:
    network, strategy = tiny_network(), SynapticIntelligence(xi=0.5)
    experience = tiny_experience(0, tiny_batch([0]))
    strategy.before_experience(network, experience)
    ones = torch.ones(len(flat(network)))
    strategy.path = 2 * ones
    strategy.after_experience(network, experience, [])
    torch.testing.assert_close(strategy.importance, 4 * ones)
    strategy.before_experience(network, experience)
    assert not strategy.path.any()
    strategy.path, strategy.start = torch.cat([-ones[:9], -9 * ones[9:]]), flat(network) + 1
    strategy.after_experience(network, experience, [])
    torch.testing.assert_close(strategy.importance, torch.cat([4 * ones[:9] - 1 / 1.5, 0 * ones[9:]]))


def test_a_step_that_is_skipped_counts_0() -> None:
    """Mixed precision skips steps whose gradients overflowed."""
    network, strategy = tiny_network(), SynapticIntelligence()
    strategy.before_experience(network, tiny_experience(0, tiny_batch([0])))
    set_gradients(network, torch.full((len(flat(network)),), torch.inf))
    strategy.after_backward(network)
    strategy.after_step(network)
    assert not strategy.path.any()


def test_what_is_frozen_has_no_path() -> None:
    network, strategy = tiny_network(), SynapticIntelligence()
    strategy.before_experience(network, tiny_experience(0, tiny_batch([0])))
    for p in network.head.parameters():
        p.grad = torch.ones_like(p)
    strategy.after_backward(network)
    torch.optim.SGD(network.parameters(), lr=0.5).step()
    strategy.after_step(network)
    head = sum(p.numel() for p in network.head.parameters())
    torch.testing.assert_close(strategy.path[-head:], torch.full((head,), 0.5))
    assert not strategy.path[:-head].any()


def test_an_unknown_path_is_reported() -> None:
    network, strategy = tiny_network(), SynapticIntelligence()
    strategy.before_experience(network, tiny_experience(0, tiny_batch([0])))
    assert "has observed no training yet" in strategy.notes(network)[0]
    strategy.importance = strategy.importance + 1
    assert strategy.notes(network) == []


@pytest.mark.parametrize("options", [{"c": -1.0}, {"xi": 0.0}, {"xi": float("nan")}])
def test_impossible_options(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected c >= 0 and xi > 0, found c = "):
        SynapticIntelligence(**options)


def test_it_follows_the_base_and_a_kill_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two batches a step, plain gradient descent: omega is the sum of step^2 / rate, so no part of it is negative."""
    options = ["--data.stream.experiences=2", "--trainer.max_epochs=2", "--data.batch_size=8", "--model.optimizer=SGD"]
    options += ["--model.optimizer.lr=0.05", "--trainer.accumulate_grad_batches=2", "--model.restore_best=false"]
    options += ["--trainer.callbacks=interruptions.Interrupt", "--keep_checkpoints=all"]
    options += ["--model.strategy=strategies.synaptic_intelligence.SynapticIntelligence"]
    whole = fit(tmp_path, "whole", *options)
    base = weights_of(whole, 0)
    assert (base["strategy.path"] >= 0).all() and base["strategy.path"].any()
    moved = saved_parameters(base) - base["strategy.start"]
    torch.testing.assert_close(base["strategy.importance"], base["strategy.path"] / (moved**2 + 1e-3))
    for name, value in interrupt("0::1:1", signal.SIGTERM).items():
        monkeypatch.setenv(name, value)
    assert start(tmp_path, "part", *options, "--ckpt_path=last") == 128 + signal.SIGTERM
    assert start(tmp_path, "part", *options, "--ckpt_path=last") == 0
    found, wanted = weights_of(tmp_path / "part"), weights_of(whole)
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], value) for name, value in wanted.items())
