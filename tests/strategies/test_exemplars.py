"""Herding, iCaRL, WA and GDumb by hand on a few images."""

from collections.abc import Iterable, Iterator
from typing import cast

import numpy as np
import pytest
import torch
from tiny_network import part_of, tiny_batch, tiny_experience, tiny_network
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision import Batch
from lightning_vision.errors import ConfigError
from strategies.exemplars import Exemplars, herding
from strategies.gdumb import GDumb, greedily_balanced
from strategies.icarl import ICaRL
from strategies.wa import WA, aligned


class Data:
    """Batches of a few images, two at a time, and of any rows of a table."""

    def __init__(self, table: Batch, own: Tensor) -> None:
        self.table, self.rows = table, own

    def of(self, rows: Tensor) -> Iterable[Batch]:
        return Data(self.table, rows)

    def __iter__(self) -> Iterator[Batch]:
        for rows in torch.split(self.rows, 2):
            yield cast(Batch, {key: value[rows] for key, value in self.table.items()})  # type: ignore[index]


def test_herding_by_hand() -> None:
    """The mean is (1, 0): first the image at (1, 0.1), then (1, -0.2), whose mean with it is nearest to (1, 0)."""
    features = torch.tensor([[0.0, 1.0], [1.0, 0.1], [2.0, -0.9], [1.0, -0.2]])
    assert herding(features, 2).tolist() == [1, 3]
    assert sorted(herding(features, 9).tolist()) == [0, 1, 2, 3], "all, each once"


def test_herding_against_every_order() -> None:
    """Each choice is the best one, given those before."""
    features = torch.randn(12, 3, generator=torch.Generator().manual_seed(0)).double()
    mean, chosen = features.mean(dim=0), herding(features, 6).tolist()
    for k in range(6):
        distances = {
            i: float((features[[*chosen[:k], i]].mean(dim=0) - mean).norm()) for i in range(12) if i not in chosen[:k]
        }
        assert chosen[k] == min(distances, key=distances.__getitem__)


@pytest.mark.parametrize("make", [ICaRL, WA])
def test_old_lists_are_cut_from_their_ends(make: type[Exemplars]) -> None:
    network = tiny_network(seen=(0, 1))
    table = tiny_batch([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2])
    strategy = make(8)
    first, second = part_of(table, slice(8)), part_of(table, slice(8, None))
    strategy.before_experience(network, tiny_experience(0, first))
    strategy.after_experience(network, tiny_experience(0, first), Data(table, torch.arange(8)))
    assert strategy.label.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    before = strategy.index.clone()
    network.see([2])
    experience = tiny_experience(1, second, before=(0, 1))
    strategy.before_experience(network, experience)
    assert sorted(strategy.rows_to_learn(experience).tolist()) == list(range(12))
    strategy.after_experience(network, experience, Data(table, torch.arange(8, 12)))
    assert strategy.label.tolist() == [0, 0, 1, 1, 2, 2]
    assert torch.equal(strategy.index[:4], before[[0, 1, 4, 5]])
    features = F.normalize(network.features(table), dim=1)[8:]
    assert torch.equal(strategy.index[4:] - 8, herding(features, 2))


def test_icarl_by_hand() -> None:
    network, table = tiny_network(seen=(0, 1)), tiny_batch([0, 1, 0, 1, 2, 2])
    strategy = ICaRL(4)
    base, new = part_of(table, slice(4)), part_of(table, slice(4, None))
    strategy.before_experience(network, tiny_experience(0, base))
    z = network(base)
    wanted = F.binary_cross_entropy_with_logits(z[:, :2], F.one_hot(base["label"], 2).float(), reduction="sum") / 4 / 4
    torch.testing.assert_close(strategy.loss(network, base), wanted)
    strategy.after_experience(network, tiny_experience(0, base), Data(table, torch.arange(4)))
    experience = tiny_experience(1, new, before=(0, 1))
    strategy.before_experience(network, experience)
    network.see([2])
    then = network(table).sigmoid().detach()
    with torch.no_grad():
        network.classifier.weight.add_(0.3)
    target = torch.cat([then[:, :2], torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0, 1.0]).unsqueeze(1)], dim=1)
    wanted = F.binary_cross_entropy_with_logits(network(table)[:, :3], target, reduction="sum") / 6 / 4
    torch.testing.assert_close(strategy.loss(network, table), wanted)


def test_icarl_weights_images_by_their_class() -> None:
    """Mixed images by the shares of their classes."""
    network, batch = tiny_network(seen=(0, 1)), tiny_batch([0, 1, 1])
    strategy = ICaRL(4)
    strategy.before_experience(network, tiny_experience(0, batch))
    each = torch.stack([strategy.loss(network, part_of(batch, slice(n, n + 1))) for n in range(3)])
    network.class_weights = torch.tensor([3.0, 0.5, 1.0, 1.0])
    wanted = (each * torch.tensor([3.0, 0.5, 0.5])).mean()
    torch.testing.assert_close(strategy.loss(network, batch), wanted)
    one = part_of(batch, slice(1))
    one["target"] = torch.tensor([[0.25, 0.75, 0.0, 0.0]])
    weighted = strategy.loss(network, one)
    network.class_weights = None
    torch.testing.assert_close(weighted, (0.25 * 3.0 + 0.75 * 0.5) * strategy.loss(network, one))


def test_the_nearest_mean_of_exemplars() -> None:
    network, table = tiny_network(seen=(0, 1)), tiny_batch([0, 1, 0, 1, 0, 1])
    strategy, experience = ICaRL(6), tiny_experience(0, tiny_batch([0, 1, 0, 1, 0, 1]))
    strategy.before_experience(network, experience)
    features = network.features(table)
    assert torch.equal(strategy.predict(network, features), network.head(features)), "no exemplars yet"
    strategy.after_experience(network, experience, Data(table, torch.arange(6)))
    units = F.normalize(features, dim=1)
    means = torch.stack([F.normalize(units[row::2].mean(dim=0), dim=0) for row in (0, 1)])
    wanted = -(units.unsqueeze(1) - means).square().sum(dim=2)
    torch.testing.assert_close(strategy.predict(network, features)[:, :2], wanted)


def test_aligned_rows_have_the_old_ones_mean_length() -> None:
    weight = torch.tensor([[3.0, 4.0], [0.0, 1.0], [6.0, 8.0], [0.0, 2.0]])
    old, new = torch.tensor([True, True, False, False]), torch.tensor([False, False, True, True])
    found = aligned(weight, old, new)
    assert torch.equal(found[:2], weight[:2])
    torch.testing.assert_close(found[2:], weight[2:] * (3.0 / 6.0))


def test_wa_by_hand() -> None:
    network, table = tiny_network(seen=(0, 1, 3)), tiny_batch([2, 2, 0, 1])
    strategy, experience = WA(4, temperature=2.0), tiny_experience(1, part_of(table, slice(2)), before=(0, 1, 3))
    strategy.before_experience(network, experience)
    network.see([2])
    then = network(table)[:, [0, 1, 3]].detach()
    with torch.no_grad():
        network.classifier.weight.sub_(0.2)
    z = network(table)
    p, q = F.log_softmax(z[:, [0, 1, 3]] / 2, dim=1), F.softmax(then / 2, dim=1)
    wanted = 0.25 * F.cross_entropy(z, table["label"]) + 0.75 * (q * (q.log() - p)).sum(dim=1).mean()
    torch.testing.assert_close(strategy.loss(network, table), wanted)
    strategy.after_step(network)
    assert (network.classifier.weight >= 0).all()


def test_wa_learns_new_images_of_old_classes() -> None:
    """Lambda is the share of old classes without new images: 1 would leave out the labels."""
    network, table = tiny_network(seen=(0, 1, 3)), tiny_batch([0, 1, 3, 0])
    strategy = WA(4)
    strategy.before_experience(network, tiny_experience(1, table, before=(0, 1, 3)))
    torch.testing.assert_close(
        strategy.loss(network, table), F.cross_entropy(network(table)[:, [0, 1, 3]], torch.tensor([0, 1, 2, 0]))
    )
    strategy.before_experience(network, tiny_experience(2, part_of(table, slice(1)), before=(0, 1, 3)))
    assert strategy.share == pytest.approx(2 / 3)


@pytest.mark.parametrize("known", [(0, 1, 2), (0, 1)])
def test_wa_scales_no_row_that_the_base_knows(known: tuple[int, ...]) -> None:
    """Class 2 is new in the stream; a base of other data may have learned it."""
    network, table = tiny_network(seen=known), tiny_batch([0, 1, 2, 2])
    strategy, experience = WA(4), tiny_experience(1, part_of(table, slice(2, None)), before=(0, 1))
    strategy.before_experience(network, experience)
    network.see([2])
    before = network.classifier.weight.detach().clone()
    strategy.after_experience(network, experience, Data(table, torch.arange(2, 4)))
    changed = (network.classifier.weight != before).any(dim=1)
    assert changed.tolist() == [False, False, 2 not in known, False]


def test_a_strategy_with_exemplars_needs_the_batches_of_other_rows() -> None:
    network, batch = tiny_network(), tiny_batch([0, 1])
    with pytest.raises(TypeError, match="needs the batches of other rows"):
        WA(4).after_experience(network, tiny_experience(0, batch), [batch])


def test_the_greedy_memory_is_balanced() -> None:
    rows, labels = np.arange(60), np.repeat([0, 1, 2], 20)
    kept: tuple[np.ndarray, np.ndarray] = (rows[:0], rows[:0])
    generator = np.random.default_rng(0)
    for part, counts in ((slice(0, 20), [12]), (slice(20, 40), [6, 6]), (slice(40, 60), [4, 4, 4])):
        kept = greedily_balanced(*kept, rows[part], labels[part], 12, generator)
        assert np.bincount(kept[1]).tolist() == counts
    assert np.array_equal(labels[kept[0]], kept[1]) and len(set(kept[0].tolist())) == 12


def test_gdumb_learns_its_memory_from_the_initial_weights() -> None:
    network, batch = tiny_network(seen=()), tiny_batch([0, 1] * 4)
    strategy = GDumb(4)
    start = network.classifier.weight.clone()
    strategy.before_stream(network)
    strategy.before_experience(network, tiny_experience(0, batch))
    assert sorted(strategy.label.tolist()) == [0, 0, 1, 1]
    again = GDumb(4)
    again.before_stream(network)
    again.before_experience(network, tiny_experience(0, batch))
    assert torch.equal(again.index, strategy.index), "a function of the seed and the stream"
    network.see([0, 1])
    with torch.no_grad():
        network.classifier.weight.add_(1)
    later = tiny_batch([2, 3] * 4, first=8)
    strategy.before_experience(network, tiny_experience(1, later, before=(0, 1)))
    assert torch.equal(network.classifier.weight, start)
    assert sorted(strategy.label.tolist()) == [0, 1, 2, 3]
    assert torch.equal(strategy.rows_to_learn(tiny_experience(1, later)), strategy.index)


@pytest.mark.parametrize("make", [ICaRL, WA, GDumb])
def test_impossible_sizes(make: type[Exemplars]) -> None:
    with pytest.raises(ConfigError, match="expected memory_size >= 1, found 0"):
        make(0)
    with pytest.raises(ConfigError, match="a memory of 3 images is smaller than the number of classes, 4"):
        make(3).check_network(tiny_network(seen=()))
