"""DarkExperienceReplay: the loss by hand, and logits that stay those of the day they were taken."""

from pathlib import Path

import pytest
import torch
from command_line import fit, weights_of
from tiny_network import part_of, recorder, tiny_batch, tiny_experience, tiny_network
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision.errors import ConfigError
from lightning_vision.results.schema import read_results
from strategies.dark_experience_replay import DarkExperienceReplay, logit_distance

INF = float("inf")


def test_the_distance_is_over_the_classes_known_then() -> None:
    h = torch.tensor([[1.0, 2.0, 9.0], [0.0, 4.0, 6.0]], requires_grad=True)
    z = torch.tensor([[2.0, 4.0, -INF], [1.0, 4.0, 3.0]])
    distance = logit_distance(h, z)
    assert distance.item() == pytest.approx(((1 + 4) / 2 + (1 + 0 + 9) / 3) / 2)
    (gradient,) = torch.autograd.grad(distance, h)
    torch.testing.assert_close(gradient, torch.tensor([[-1 / 2, -1.0, 0.0], [-1 / 3, 0.0, 1.0]]))


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_the_loss_by_hand(beta: float) -> None:
    """DER without beta, DER++ with it."""
    network, strategy = tiny_network(), DarkExperienceReplay(alpha=0.3, beta=beta)
    strategy.index = torch.tensor([10, 20, 30])
    strategy.logits = torch.tensor([[1.0, 2.0, -INF, -INF], [3.0, 1.0, -INF, -INF], [0.0, 1.0, 2.0, 3.0]])
    batch, memory = tiny_batch([2, 3, 3]), tiny_batch([3, 0], seed=2)
    assert torch.equal(strategy.loss(network, batch), F.cross_entropy(network(batch["image"]), batch["label"]))
    memory["index"] = torch.tensor([30, 10])
    batch["memory"] = memory
    h = network(memory["image"])
    first = (h[0] - torch.tensor([0.0, 1.0, 2.0, 3.0])).square().mean()
    second = (h[1, :2] - torch.tensor([1.0, 2.0])).square().mean()
    wanted = F.cross_entropy(network(batch["image"]), batch["label"])
    wanted = wanted + 0.3 * (first + second) / 2 + beta * F.cross_entropy(h, memory["label"])
    torch.testing.assert_close(strategy.loss(network, batch), wanted)


@pytest.mark.parametrize("selection", ["reservoir", "class_balanced"])
def test_what_stays_keeps_its_logits_and_what_is_new_gets_todays(selection: str) -> None:
    strategy = DarkExperienceReplay(memory_size=6, selection=selection)  # type: ignore[arg-type]
    first, second = tiny_batch([0, 1] * 4), tiny_batch([2, 3] * 4, first=8, seed=2)
    then, now = tiny_network(seen=(0, 1)), tiny_network(seed=9)
    strategy.before_experience(then, tiny_experience(0, first))
    strategy.after_experience(
        then, tiny_experience(0, first), [part_of(first, slice(3)), part_of(first, slice(3, None))]
    )
    strategy.before_experience(now, tiny_experience(1, second, before=(0, 1)))
    strategy.after_experience(now, tiny_experience(1, second, before=(0, 1)), [second])
    assert strategy.logits.shape == (6, 4) and not strategy.logits.requires_grad
    old = strategy.index < 8
    assert 0 < int(old.sum()) < 6
    wanted = then(first["image"])[strategy.index[old]]
    torch.testing.assert_close(strategy.logits[old][:, :2], wanted[:, :2].detach())
    assert (strategy.logits[old][:, 2:] == -INF).all(), "classes to come"
    torch.testing.assert_close(strategy.logits[~old], now(second["image"])[strategy.index[~old] - 8].detach())


def test_processes_add_up_their_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, network = tiny_batch([0, 1, 1, 0, 1]), tiny_network(seen=(0, 1))
    given: list[torch.Tensor] = []
    for rows in (slice(0, None, 2), slice(1, None, 2), slice(None)):
        strategy, experience = DarkExperienceReplay(), tiny_experience(0, batch)
        monkeypatch.setattr(strategy, "reduce", recorder(given))
        strategy.before_experience(network, experience)
        strategy.after_experience(network, experience, [part_of(batch, rows)])
    torch.testing.assert_close(given[0] + given[1], given[2])


@pytest.mark.parametrize("options", [{"alpha": -1.0}, {"beta": -0.1}, {"alpha": float("nan")}])
def test_impossible_options(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected alpha >= 0 and beta >= 0, found"):
        DarkExperienceReplay(**options)  # type: ignore[arg-type]


def test_it_remembers_and_its_logits_stay(tmp_path: Path) -> None:
    """Fine-tuned on two new classes alone, the network knows neither of the first two any more."""
    options = ["--data.stream=ClassIncremental", "--data.stream.experiences=2", "--data.batch_size=8"]
    options += ["--trainer.max_epochs=4", "--keep_checkpoints=all", "--model.optimizer=SGD"]
    options += ["--model.optimizer.lr=0.05", "--model.optimizer.momentum=0.9", "--model.strategy.memory_size=40"]
    strategy = "--model.strategy=strategies.dark_experience_replay.DarkExperienceReplay"
    run = fit(tmp_path, "dark", strategy, *options)
    results = read_results(run / "results.json")
    assert (results.accuracy_matrix[1][0] or 0) > 0.6 and (results.accuracy_matrix[0][0] or 0) > 0.6
    before, after = weights_of(run, 0), weights_of(run, 1)
    kept = torch.isin(after["strategy.index"], before["strategy.index"])
    stayed = torch.isin(before["strategy.index"], after["strategy.index"])
    assert 0 < int(kept.sum()) < 40 and len(after["strategy.index"]) == 40
    assert torch.equal(after["strategy.logits"][kept], before["strategy.logits"][stayed])
    assert after["strategy.logits"].isfinite().sum(dim=1).bincount().nonzero()[:, 0].tolist() == [2, 4]
