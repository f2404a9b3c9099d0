"""SLCA: statistics of the classes, and the alignment of the head, by hand."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command_line import fit, weights_of
from tiny_network import part_of, tiny_batch, tiny_experience, tiny_network
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision.errors import ConfigError
from lightning_vision.learning.network import Network
from lightning_vision.results.schema import read_results
from strategies.slca import SAMPLES, SLCA, align, alignment_loss, pool, square_root


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class TestLoss:
    def test_logits_by_hand(self) -> None:
        """One experience: |l| = 5. Two, one class each: the mean of 3 and 4."""
        logits, y = torch.tensor([[3.0, 4.0]]), torch.tensor([1])
        for arrival, length in (([0, 0], 5.0), ([0, 2], 3.5)):
            wanted = (1 + torch.tensor(-1 / (0.1 * length)).exp()).log()
            torch.testing.assert_close(alignment_loss(logits, y, torch.tensor(arrival), 0.1), wanted)

    def test_the_length_of_the_logits_does_not_count(self) -> None:
        logits, y, arrival = noise(7, 4), torch.tensor([0, 1, 2, 3, 0, 1, 2]), torch.tensor([0, 0, 1, 1])
        torch.testing.assert_close(alignment_loss(9 * logits, y, arrival, 0.1), alignment_loss(logits, y, arrival, 0.1))

    def test_of_a_batch_it_is_over_the_classes_of_the_experience(self) -> None:
        network, strategy, batch = tiny_network(), SLCA(), tiny_batch([2, 3, 3])
        strategy.before_experience(network, tiny_experience(1, batch, before=(0, 1)))
        logits = network(batch["image"])
        loss = strategy.loss(network, batch)
        torch.testing.assert_close(loss, F.cross_entropy(logits[:, 2:], batch["label"] - 2))
        gradient = torch.autograd.grad(loss, network.classifier.weight)[0]
        assert not gradient[:2].any() and gradient[2:].any(), "the rows of the others are not pushed down"

    def test_smoothed_labels_are_over_the_classes_of_the_experience(self) -> None:
        """The classes that are left out take no share of a target: the loss stays a number of its usual size."""
        network, strategy, batch = tiny_network(), SLCA(), tiny_batch([2, 3, 3])
        network.label_smoothing = 0.1
        strategy.before_experience(network, tiny_experience(1, batch, before=(0, 1)))
        wanted = F.cross_entropy(network(batch["image"])[:, 2:], batch["label"] - 2, label_smoothing=0.1)
        torch.testing.assert_close(strategy.loss(network, batch), wanted)

    def test_mixed_images_leave_it_a_number(self) -> None:
        network, strategy, batch = tiny_network(), SLCA(), tiny_batch([2, 3])
        strategy.before_experience(network, tiny_experience(1, batch, before=(0, 1)))
        batch["target"] = torch.tensor([[0.0, 0.0, 0.7, 0.3], [0.0, 0.0, 0.2, 0.8]])
        wanted = F.cross_entropy(network(batch["image"])[:, 2:], batch["target"][:, 2:])
        torch.testing.assert_close(strategy.loss(network, batch), wanted)


class TestStatistics:
    def test_two_sets_together(self) -> None:
        v = noise(9, 4)
        for count in (0, 1, 6, 8):
            first, second = v[:count], v[count:]
            mean = first.mean(dim=0) if count else torch.full((4,), 7.0, dtype=torch.float64)
            covariance = torch.cov(first.T) if count > 1 else torch.zeros(4, 4, dtype=torch.float64)
            gap = second - second.mean(dim=0)
            found = pool(count, mean, covariance, 9 - count, second.mean(dim=0), gap.T @ gap)
            torch.testing.assert_close(found, (v.mean(dim=0), torch.cov(v.T)))

    def test_a_root_of_any_covariance(self) -> None:
        full, flat = torch.cov(noise(50, 6).T), torch.cov(noise(3, 6).T)
        for sigma in (full, flat, torch.zeros(6, 6, dtype=torch.float64)):
            root = square_root(sigma)
            ridge = 1e-4 * sigma.diagonal().mean() + 1e-12
            torch.testing.assert_close(root @ root.T, sigma + ridge * torch.eye(6))
            root = square_root(sigma, 1e-4)  # as the authors' code
            torch.testing.assert_close(root @ root.T, sigma + 1e-4 * torch.eye(6))
            root = square_root(
                1e6 * sigma, 1e-4
            )  # what float32 cannot tell from a singular one is lifted to what it can
            assert (root.diagonal() > 0).all()

    def test_of_experiences(self) -> None:
        """A class that returns pools its images of both, for any batches and processes."""
        network, strategy = tiny_network(norm=True), SLCA(alignment_epochs=0)
        first, second = tiny_batch([0, 1, 0, 0, 1]), tiny_batch([1, 2, 2, 2, 1, 3], seed=2)
        for t, batch in enumerate((first, second)):
            strategy.before_experience(network, tiny_experience(t, batch))
            strategy.after_experience(
                network, tiny_experience(t, batch), [part_of(batch, slice(2)), part_of(batch, slice(2, None))]
            )
        assert strategy.counts.tolist() == [3, 4, 3, 1] and strategy.arrival.tolist() == [0, 0, 1, 1]
        labels = torch.cat([first["label"], second["label"]])
        features = network.features(torch.cat([first["image"], second["image"]])).detach()
        for c in range(4):
            v = features[labels == c]
            torch.testing.assert_close(strategy.means[c], v.mean(dim=0))
            wanted = torch.cov(v.T) if len(v) > 1 else torch.zeros(5, 5)
            torch.testing.assert_close(strategy.covariances[c], wanted)


class TestAlignment:
    mean, known, arrival = noise(2, 3).float(), torch.tensor([0, 2]), torch.tensor([0, 1])
    root = torch.stack([square_root(torch.cov(noise(9, 3, seed=s).T)) for s in (1, 2)]).float()

    def aligned(self, head: nn.Module, epochs: int = 1, seed: int = 3) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        options = {"epochs": epochs, "lr": 0.5, "tau": 0.1}
        return align(head, self.mean, self.root, self.known, self.arrival, **options, generator=generator)  # type: ignore[arg-type]

    def test_its_steps_by_hand(self) -> None:
        """Two classes: two batches an epoch, so two steps with momentum. Each brought by an experience of its own.

        With two logits l of lengths |l_0| and |l_1|, n = (|l_0| + |l_1|) / 2 and u = l / (tau n):
        dL/dl_i = (p_i - y_i) / (tau n) - sum_j (p_j - y_j) l_j / (tau n^2) sign(l_i) / 2.
        """
        torch.manual_seed(0)
        head = nn.Linear(3, 4)
        weight, bias = (value.detach().double().clone() for value in (head.weight, head.bias))
        generator = torch.Generator().manual_seed(3)
        drawn = torch.randn(2, SAMPLES, 3, generator=generator)
        v = torch.cat([self.mean[c] + drawn[c] @ self.root[c].T for c in range(2)]).double()
        y = F.one_hot(torch.arange(2).repeat_interleave(SAMPLES), 2).double()
        order = torch.randperm(len(v), generator=generator)
        speed = [torch.zeros_like(weight), torch.zeros_like(bias)]
        for chosen in (order[:SAMPLES], order[SAMPLES:]):
            logits = (v[chosen] @ weight.T + bias)[:, self.known]
            n = logits.abs().mean(dim=1, keepdim=True)
            residual = (logits / (0.1 * n)).softmax(dim=1) - y[chosen]
            along = (residual * logits).sum(dim=1, keepdim=True)
            gradient = (residual / (0.1 * n) - along / (0.1 * n**2) * logits.sign() / 2) / SAMPLES
            to_weight, to_bias = torch.zeros_like(weight), torch.zeros_like(bias)
            to_weight[self.known], to_bias[self.known] = gradient.T @ v[chosen], gradient.sum(dim=0)
            speed = [0.9 * speed[0] + to_weight, 0.9 * speed[1] + to_bias]
            weight, bias = weight - 0.5 * speed[0], bias - 0.5 * speed[1]
        found = self.aligned(head)
        torch.testing.assert_close(found["weight"].double(), weight, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found["bias"].double(), bias, rtol=1e-4, atol=1e-5)

    def test_it_is_seeded_and_changes_neither_the_head_nor_other_rows(self) -> None:
        torch.manual_seed(0)
        head = nn.Linear(3, 4)
        before = head.weight.detach().clone()
        first, second, other = self.aligned(head), self.aligned(head), self.aligned(head, seed=4)
        assert torch.equal(first["weight"], second["weight"]) and not torch.equal(first["weight"], other["weight"])
        assert torch.equal(head.weight, before) and head.weight.grad is None
        assert torch.equal(first["weight"][[1, 3]], before[[1, 3]])
        assert not torch.equal(first["weight"][[0, 2]], before[[0, 2]])

    def test_it_learns_to_tell_the_classes_apart(self) -> None:
        """As well as the line between two Gaussians that are alike, and far apart, can be found."""
        torch.manual_seed(0)
        head, generator = nn.Linear(3, 4), torch.Generator().manual_seed(3)
        mean, root = torch.tensor([[1.0, 1.0, 0.0], [-1.0, 1.0, 0.0]]), torch.eye(3).expand(2, 3, 3) / 3
        theta = align(head, mean, root, self.known, self.arrival, epochs=10, lr=0.01, tau=0.1, generator=generator)
        v = (mean[:, None] + noise(2, 200, 3, seed=8).float() / 3).flatten(0, 1)
        found = F.linear(v, theta["weight"], theta["bias"])[:, self.known].argmax(dim=1)
        assert (found == torch.arange(2).repeat_interleave(200)).float().mean() > 0.97

    def test_the_base_is_not_aligned_and_what_follows_is(self) -> None:
        network, strategy = tiny_network(seen=(0, 1)), SLCA()
        backbone = [p.detach().clone() for p in network.backbone.parameters()]
        for t, labels in enumerate(([0, 1] * 5, [2, 3] * 5)):
            batch, before = tiny_batch(labels, seed=t), network.classifier.weight.detach().clone()
            experience = tiny_experience(t, batch)
            strategy.before_experience(network, experience)
            network.see(experience.classes)
            torch.manual_seed(5)
            strategy.after_experience(network, experience, [batch])
            assert torch.equal(network.classifier.weight, before) == (t == 0)
        assert all(torch.equal(p, q) for p, q in zip(network.backbone.parameters(), backbone, strict=True))
        assert network.classifier.weight.requires_grad and network.classifier.weight.is_leaf


class TestUndoing:
    """The alignment serves prediction; the next experience starts from the rows as they were trained."""

    def aligned(self, strategy: SLCA) -> tuple[Network, list[Tensor]]:
        """A network after two experiences, and its head's parameters before the alignment."""
        network = tiny_network(seen=(0, 1))
        for t, labels in enumerate(([0, 1] * 5, [2, 3] * 5)):
            batch = tiny_batch(labels, seed=t)
            experience = tiny_experience(t, batch)
            strategy.before_experience(network, experience)
            network.see(experience.classes)
            trained = [p.detach().clone() for p in network.head.parameters()]
            strategy.after_experience(network, experience, [batch])
        return network, trained

    def test_before_the_next_experience(self) -> None:
        for undo in (True, False):
            strategy = SLCA(undo_alignment=undo)
            network, trained = self.aligned(strategy)
            after = [p.detach().clone() for p in network.head.parameters()]
            assert not any(torch.equal(p, q) for p, q in zip(after, trained, strict=True))
            strategy.before_experience(network, tiny_experience(2, tiny_batch([0, 1])))
            expected = trained if undo else after
            assert all(torch.equal(p, q) for p, q in zip(network.head.parameters(), expected, strict=True))
            assert all(p.requires_grad and p.is_leaf for p in network.head.parameters())

    def test_after_a_restart(self) -> None:
        """As a run resumes: the hooks of what was learned are called, then the checkpoint is loaded."""
        strategy = SLCA()
        network, trained = self.aligned(strategy)
        other, fresh = tiny_network(seed=8), SLCA()
        for t, labels in enumerate(([0, 1], [2, 3])):
            fresh.before_experience(other, tiny_experience(t, tiny_batch(labels)))
        other.load_state_dict(network.state_dict())
        fresh.load_state_dict(strategy.state_dict())
        fresh.before_experience(other, tiny_experience(2, tiny_batch([0, 1])))
        assert all(torch.equal(p, q) for p, q in zip(other.head.parameters(), trained, strict=True))

    def test_a_given_base_keeps_its_head(self) -> None:
        """What was loaded as the base of another stream is predicted with as it is."""
        strategy = SLCA()
        network, _ = self.aligned(strategy)
        after = network.classifier.weight.detach().clone()
        strategy.before_experience(network, tiny_experience(0, tiny_batch([0, 1, 2, 3])))
        assert torch.equal(network.classifier.weight, after)

    @pytest.mark.parametrize("labels", [[0, 1, 2, 3] * 3, [2, 3] * 5])
    def test_the_first_increment_of_a_run_that_goes_on_is_aligned(self, labels: list[int]) -> None:
        """The run has the statistics of the one that it starts from, whose alignment was undone."""
        strategy = SLCA()
        network, trained = self.aligned(strategy)
        strategy.arrival[3] = -1  # as a class that this run brings
        experience = replace(tiny_experience(0, tiny_batch(labels)), is_base=False)
        strategy.before_experience(network, experience)
        assert torch.equal(network.classifier.weight, trained[0])
        strategy.after_experience(network, experience, [tiny_batch(labels)])
        assert not torch.equal(network.classifier.weight, trained[0])
        assert strategy.arrival.tolist() == [0, 0, 1, 2], "no experience of the former run brought class 3"

    def test_a_checkpoint_of_before_has_nothing_to_undo(self) -> None:
        strategy, older = SLCA(undo_alignment=False, ridge=None), SLCA(undo_alignment=False, ridge=None)
        self.aligned(strategy)
        state = {key: value for key, value in strategy.state_dict().items() if key != "unaligned"}
        older.load_state_dict(state)
        assert not len(older.unaligned) and torch.equal(older.means, strategy.means)
        assert SLCA.EARLIER_DEFAULTS == {"undo_alignment": False, "ridge": None}


def test_the_backbone_is_slow() -> None:
    groups = SLCA(backbone_lr=1e-5).parameters_to_train(tiny_network())
    assert [group["lr"] for group in torch.optim.SGD(groups, lr=0.1).param_groups] == [1e-5, 0.1]


@pytest.mark.parametrize(
    "options", [{"backbone_lr": -1.0}, {"alignment_epochs": -1}, {"alignment_lr": 0.0}, {"tau": 0.0}]
)
def test_impossible_options(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="SLCA: expected backbone_lr >= 0, alignment_epochs >= 0"):
        SLCA(**options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="SLCA: expected a ridge of 0 or more"):
        SLCA(ridge=-1.0)


def test_it_remembers(tmp_path: Path) -> None:
    """Fine-tuned on two new classes alone, the network knows neither of the first two any more."""
    options = ["--data.stream=ClassIncremental", "--data.stream.experiences=2", "--data.batch_size=8"]
    options += ["--trainer.max_epochs=4", "--keep_checkpoints=all", "--model.strategy=strategies.slca.SLCA"]
    options += ["--model.optimizer=SGD", "--model.optimizer.lr=0.05", "--model.optimizer.momentum=0.9"]
    run = fit(tmp_path, "slca", *options)
    results = read_results(run / "results.json")
    assert min(results.accuracy_matrix[1][0] or 0, results.accuracy_matrix[1][1] or 0) > 0.6
    base, end = weights_of(run, 0), weights_of(run, 1)
    assert end["strategy.counts"].sum() == sum(e.train_samples for e in results.experiences)
    assert torch.equal(end["strategy.means"][:2], base["strategy.means"][:2]), "no image of them came again"
    assert end["strategy.arrival"].tolist() == [0, 0, 1, 1]
