"""Avalanche's plugins as oracles: what each computes on the same network and images is what ours does."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from avalanche.training.plugins import EWCPlugin, LwFPlugin, SynapticIntelligencePlugin
from tiny_network import tiny_batch, tiny_experience, tiny_network
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision.data.batch import Batch
from lightning_vision.learning.network import Network
from strategies.ewc import EWC
from strategies.lwf import LwF
from strategies.synaptic_intelligence import SynapticIntelligence

LABELS = ([0, 1, 1, 0, 0], [2, 3, 2], [0, 3, 1, 2])


class Rows(list[tuple[Tensor, int, int]]):
    """Images, labels and task labels, all of one task, with what an Avalanche dataset tells of them."""

    targets_task_labels = SimpleNamespace(uniques={0})

    @property
    def task_set(self) -> dict[int, SimpleNamespace]:
        return {0: SimpleNamespace(targets=SimpleNamespace(uniques={label for _, label, _ in self}))}


def around(network: Network, experience: int, batch: Batch) -> SimpleNamespace:
    """The attributes of an Avalanche strategy that the plugins read."""
    names = {
        "model": network,
        "device": torch.device("cpu"),
        "loss": torch.zeros(()),
        "_criterion": nn.CrossEntropyLoss(),
    }
    rows = Rows((x, int(y), 0) for x, y in zip(batch["image"], batch["label"], strict=True))
    return SimpleNamespace(
        **names,
        clock=SimpleNamespace(train_exp_counter=experience),
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        experience=SimpleNamespace(dataset=rows),
        train_mb_size=1,
        mb_x=batch["image"],
        mb_output=network(batch["image"]),
    )


def flat(values: dict[str, Any]) -> Tensor:
    return torch.cat([value.data.flatten() for value in values.values()])


@pytest.mark.parametrize(("mode", "gamma"), [("separate", None), ("online", 0.6)])
def test_ewc(mode: str, gamma: float | None) -> None:
    """At importance batches of one, because it squares a batch's gradient; its lambda is without our 1/2."""
    plugin = EWCPlugin(1.5, mode=mode, decay_factor=gamma)
    strategy = EWC(ewc_lambda=3.0, mode=mode, gamma=1.0 if gamma is None else gamma)  # type: ignore[arg-type]
    total = torch.zeros(())
    for t, labels in enumerate(LABELS):
        network, batch = tiny_network(norm=True, seed=t), tiny_batch(labels, seed=t)
        plugin.after_training_exp(around(network, t, batch))
        network.eval()  # which it leaves in training mode
        strategy.after_experience(network, tiny_experience(t, batch), [batch])
        total = total + flat(plugin.importances[t]) if mode == "separate" else flat(plugin.importances[t])
        torch.testing.assert_close(strategy.importance, total)
        now, new = tiny_network(norm=True, seed=9), tiny_batch([1, 2], seed=9)
        theirs = around(now, t + 1, new)
        plugin.before_backward(theirs)
        plain = F.cross_entropy(now(new["image"]), new["label"])
        torch.testing.assert_close(strategy.loss(now, new) - plain, theirs.loss, rtol=1e-4, atol=1e-6)


def test_lwf() -> None:
    plugin, strategy = LwFPlugin(alpha=0.7, temperature=3.0), LwF(alpha=0.7, temperature=3.0, cross_entropy="seen")
    old, batch = tiny_network(seen=(0, 1), norm=True), tiny_batch([2, 3, 2])
    plugin.after_training_exp(around(old, 0, tiny_batch([0, 1])))
    strategy.before_experience(old, tiny_experience(1, batch))
    now = tiny_network(norm=True, seed=9)
    theirs = around(now, 1, batch)
    plugin.before_backward(theirs)
    assert theirs.loss.item() > 1e-3
    plain = F.cross_entropy(now(batch["image"]), batch["label"])
    torch.testing.assert_close(strategy.loss(now, batch) - plain, theirs.loss)
    ours, wanted = (
        torch.autograd.grad(loss, list(now.parameters()), retain_graph=True)
        for loss in (strategy.loss(now, batch) - plain, theirs.loss)
    )
    torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-6)


def test_synaptic_intelligence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sign is the other way round, and what it clamps afterwards (at 0.001 above, not at 0 below) is left out.

    On a CPU the weights that it keeps from before a step are no copy but the weights themselves, so that every step
    seems to be 0 (avalanche-lib 0.6); on a GPU they are. Here they are copied.
    """
    extract = SynapticIntelligencePlugin.extract_weights

    def copied(model: nn.Module, target: dict[str, Any], excluded: set[str]) -> None:
        extract(model, target, excluded)
        for value in target.values():
            value.data = value.data.clone()

    monkeypatch.setattr(SynapticIntelligencePlugin, "extract_weights", staticmethod(copied))
    network, strategy, batch = tiny_network(), SynapticIntelligence(xi=1e-3), tiny_batch([0, 1, 3, 2])
    plugin = SynapticIntelligencePlugin(si_lambda=1.0, eps=1e-3)
    theirs: Any = around(network, 0, batch)
    strategy.before_experience(network, tiny_experience(0, batch))
    plugin.before_training_exp(theirs)
    for _ in range(20):
        theirs.optimizer.zero_grad()
        strategy.loss(network, batch).backward()  # type: ignore[no-untyped-call]
        plugin.before_training_iteration(theirs)
        strategy.after_backward(network)
        theirs.optimizer.step()
        strategy.after_step(network)
        plugin.after_training_iteration(theirs)
    plugin.after_training_exp(theirs)
    strategy.after_experience(network, tiny_experience(0, batch), [batch])
    torch.testing.assert_close(strategy.importance, -flat(plugin.syn_data["cum_trajectory"]), rtol=1e-3, atol=1e-6)
    assert float(strategy.importance.sum()) > 0.1
