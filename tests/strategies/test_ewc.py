"""EWC: Fisher information and penalty by hand, and weights that are held."""

from pathlib import Path

import pytest
import torch
from command_line import fit, weights_of
from tiny_network import flat, part_of, recorder, saved_parameters, tiny_batch, tiny_experience, tiny_network
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision.data.batch import Batch
from lightning_vision.errors import ConfigError
from lightning_vision.learning.network import Network
from strategies.ewc import EWC, add_penalty, squared_gradients


def fisher_by_backward(network: Network, batch: Batch) -> Tensor:
    """The mean of the squared gradients, one backward pass a sample."""
    total = torch.zeros_like(flat(network))
    for n in range(len(batch["label"])):
        network.zero_grad()
        logits = network.mask_unseen(network(batch["image"][n : n + 1]))
        F.cross_entropy(logits, batch["label"][n : n + 1]).backward()  # type: ignore[no-untyped-call]
        gradients = [p.new_zeros(p.shape) if p.grad is None else p.grad for p in network.parameters()]
        total += torch.cat([gradient.flatten() for gradient in gradients]).square()
    network.zero_grad()
    return total / len(batch["label"])


class TestFisher:
    def test_of_a_linear_softmax_by_hand(self) -> None:
        """d log p_y / dW = (e_y - p) v^T and d log p_y / db = e_y - p, of each sample alone."""
        network, batch = tiny_network(features=12, seen=(0, 1, 3)), tiny_batch([0, 3, 1, 1, 0])
        network.backbone = nn.Flatten()
        v = batch["image"].flatten(1)
        logits = v @ network.classifier.weight.T + network.classifier.bias
        logits[:, 2] = -torch.inf
        residual = F.one_hot(batch["label"], 4) - logits.softmax(dim=1)
        weight = torch.einsum("nc,nd->cd", residual.square(), v.square())
        wanted = torch.cat([weight.flatten(), residual.square().sum(dim=0)]).detach()
        found = squared_gradients(network, batch["image"], batch["label"])
        torch.testing.assert_close(found, wanted)
        assert (found.view(-1)[24:36] == 0).all(), "the row of a class that was not seen"

    def test_of_a_whole_network(self) -> None:
        network, batch = tiny_network(norm=True), tiny_batch([0, 3, 1, 1, 2, 0])
        found = squared_gradients(network, batch["image"], batch["label"]) / 6
        torch.testing.assert_close(found, fisher_by_backward(network, batch))
        together = F.cross_entropy(network(batch["image"]), batch["label"])
        squared = torch.cat([g.flatten() for g in torch.autograd.grad(together, list(network.parameters()))]).square()
        assert not torch.allclose(found, squared, rtol=0.5), "the square of the batch's gradient is another thing"

    def test_it_leaves_the_network_as_it_is_and_looks_into_what_is_frozen(self) -> None:
        network, batch = tiny_network(norm=True), tiny_batch([0, 3, 1])
        wanted = squared_gradients(network, batch["image"], batch["label"])
        before = {name: value.clone() for name, value in network.state_dict().items()}
        network.requires_grad_(False)
        with torch.no_grad():
            found = squared_gradients(network, batch["image"], batch["label"])
        assert torch.equal(found, wanted)
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
        assert all(p.grad is None and not p.requires_grad for p in network.parameters())

    def test_no_sample_no_information(self) -> None:
        network, batch = tiny_network(), tiny_batch([])
        assert not squared_gradients(network, batch["image"], batch["label"]).any()


def test_two_penalties_are_one() -> None:
    generator = torch.Generator().manual_seed(0)
    A, m, F_, t, theta = torch.rand(5, 200, generator=generator, dtype=torch.float64)  # noqa: N806 - the formula's
    A[:50] = 0
    F_[25:75] = 0
    K = torch.tensor(0.7, dtype=torch.float64)  # noqa: N806
    A1, m1, K1 = add_penalty(A, m, K, F_, t)  # noqa: N806
    wanted = (A * (theta - m) ** 2).sum() + K + (F_ * (theta - t) ** 2).sum()
    torch.testing.assert_close((A1 * (theta - m1) ** 2).sum() + K1, wanted)
    assert m1.isfinite().all() and torch.equal(A1, A + F_)


class TestPenalty:
    @pytest.fixture
    def parts(self) -> list[tuple[Network, Batch]]:
        """Three networks, as if trained one after the other, and what each was trained on."""
        labels = ([0, 1, 1, 0], [2, 3, 2], [0, 3, 1, 2, 2])
        return [
            (tiny_network(norm=True, seed=t), tiny_batch(part, first=10 * t, seed=t)) for t, part in enumerate(labels)
        ]

    def strategy(self, parts: list[tuple[Network, Batch]], strategy: EWC) -> EWC:
        for t, (network, batch) in enumerate(parts):
            strategy.before_experience(network, tiny_experience(t, batch))
            halves = [part_of(batch, slice(2)), part_of(batch, slice(2, None))]
            strategy.after_experience(network, tiny_experience(t, batch), halves)
        return strategy

    def test_separate_is_the_sum_over_the_experiences(self, parts: list[tuple[Network, Batch]]) -> None:
        strategy, now, batch = (
            self.strategy(parts, EWC(ewc_lambda=3.0)),
            tiny_network(norm=True, seed=7),
            tiny_batch([1, 2]),
        )
        penalty = sum((fisher_by_backward(n, b) * (flat(now) - flat(n)) ** 2).sum() for n, b in parts)
        wanted = F.cross_entropy(now(batch["image"]), batch["label"]) + 3.0 / 2 * penalty
        torch.testing.assert_close(strategy.loss(now, batch), wanted)
        assert sum(value.numel() for value in strategy.buffers()) == 2 * len(flat(now)) + 1, "for any number of them"

    def test_its_gradient_too(self, parts: list[tuple[Network, Batch]]) -> None:
        strategy, now, batch = (
            self.strategy(parts, EWC(ewc_lambda=3.0)),
            tiny_network(norm=True, seed=7),
            tiny_batch([1, 2]),
        )
        ways = []
        for loss in (strategy.loss(now, batch), EWC().loss(now, batch)):
            ways.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(now.parameters()))]))
        pull = sum(3.0 * fisher_by_backward(n, b) * (flat(now) - flat(n)) for n, b in parts)
        torch.testing.assert_close(ways[0], ways[1] + pull)

    def test_online_decays_and_holds_to_the_newest_weights(self, parts: list[tuple[Network, Batch]]) -> None:
        strategy = self.strategy(parts, EWC(ewc_lambda=3.0, mode="online", gamma=0.5))
        now, batch = tiny_network(norm=True, seed=7), tiny_batch([1, 2])
        fishers = [fisher_by_backward(n, b) for n, b in parts]
        importance = 0.25 * fishers[0] + 0.5 * fishers[1] + fishers[2]
        penalty = (importance * (flat(now) - flat(parts[2][0])) ** 2).sum()
        wanted = F.cross_entropy(now(batch["image"]), batch["label"]) + 3.0 / 2 * penalty
        torch.testing.assert_close(strategy.loss(now, batch), wanted)

    def test_before_the_first_experience_there_is_none(self) -> None:
        network, batch = tiny_network(), tiny_batch([0, 1])
        assert torch.equal(EWC().loss(network, batch), F.cross_entropy(network(batch["image"]), batch["label"]))

    def test_of_a_part_of_the_samples(self, parts: list[tuple[Network, Batch]]) -> None:
        """The first in the stream's order, for any batches."""
        network, batch = parts[2]
        strategy = EWC(fisher_samples=3)
        pieces = [part_of(batch, slice(1, None, 2)), part_of(batch, slice(0, None, 2))]
        strategy.after_experience(network, tiny_experience(0, batch), pieces)
        torch.testing.assert_close(strategy.importance, fisher_by_backward(network, part_of(batch, slice(3))))

    def test_processes_add_up(self, parts: list[tuple[Network, Batch]], monkeypatch: pytest.MonkeyPatch) -> None:
        network, batch = parts[2]
        given: list[Tensor] = []
        for rows in (slice(0, None, 2), slice(1, None, 2), slice(None)):
            strategy = EWC()
            monkeypatch.setattr(strategy, "reduce", recorder(given))
            strategy.after_experience(network, tiny_experience(0, batch), [part_of(batch, rows)])
        torch.testing.assert_close(given[0] + given[1], given[2])
        torch.testing.assert_close(strategy.importance, given[2] / 5)

    def test_it_comes_back_from_a_checkpoint(self, parts: list[tuple[Network, Batch]]) -> None:
        strategy, fresh = self.strategy(parts, EWC()), EWC()
        fresh.load_state_dict(strategy.state_dict())
        now, batch = tiny_network(norm=True, seed=7), tiny_batch([1, 2])
        assert torch.equal(fresh.loss(now, batch), strategy.loss(now, batch))


def test_the_old_loss_rises_less() -> None:
    """Steps on new labels for the same images: held, the network forgets the old ones less."""
    old, new = tiny_batch([0, 1, 2, 3] * 4), tiny_batch([1, 0, 3, 2] * 4)
    rise = {}
    for strength in (0.0, 30.0):
        network, strategy = tiny_network(), EWC(ewc_lambda=strength)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
        for batch in [old] * 200 + [new] * 60:
            if batch is new and not len(strategy.importance):
                strategy.after_experience(network, tiny_experience(0, old), [old])
                before = strategy.cross_entropy(network, network(old["image"]), old).item()
            optimizer.zero_grad()
            strategy.loss(network, batch).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        rise[strength] = strategy.cross_entropy(network, network(old["image"]), old).item() - before
    assert rise[30.0] < 0.5 * rise[0.0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ewc_lambda": -1.0}, r"expected ewc_lambda >= 0, found -1\.0"),
        ({"mode": "both"}, "found 'both' with gamma 1"),
        ({"mode": "online", "gamma": 1.5}, r"expected mode separate, or online with 0 <= gamma <= 1; .* gamma 1\.5"),
        ({"gamma": 0.5}, r"found 'separate' with gamma 0\.5"),
        ({"fisher_samples": 0}, "expected fisher_samples >= 1 or null, found 0"),
    ],
)
def test_impossible_options(options: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        EWC(**options)  # type: ignore[arg-type]


def test_in_a_run(tmp_path: Path) -> None:
    """The base is held from the first increment on, and what the increment brought is added."""
    options = ["--data.stream.experiences=2", "--trainer.max_epochs=2", "--keep_checkpoints=all"]
    run = fit(tmp_path, "ewc", *options, "--model.strategy=strategies.ewc.EWC", "--model.strategy.ewc_lambda=10")
    base, end = weights_of(run, 0), weights_of(run, 1)
    assert torch.equal(base["strategy.center"], saved_parameters(base)) and base["strategy.constant"] == 0
    assert (base["strategy.importance"] >= 0).all() and base["strategy.importance"].any()
    added = end["strategy.importance"] - base["strategy.importance"]
    assert (added >= 0).all() and added.any() and end["strategy.constant"] > 0
    share = torch.where(added > 0, added / end["strategy.importance"], 0)
    center = base["strategy.center"].lerp(saved_parameters(end), share)
    torch.testing.assert_close(end["strategy.center"], center)
