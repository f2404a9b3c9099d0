"""Replay: what is kept is a uniform or balanced sample, and the loss is that of batch and memory."""

from pathlib import Path

import numpy as np
import pytest
import torch
from coloured_squares import ColouredSquares
from command_line import fit, weights_of
from scipy.stats import chi2
from tiny_network import part_of, recorder, tiny_batch, tiny_experience, tiny_network
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision.data.scenarios import ClassIncremental
from lightning_vision.errors import ConfigError
from lightning_vision.results.schema import read_results
from lightning_vision.seeding import sample_keys
from strategies.replay import Replay, bottom_k

ROWS = np.arange(60)


class TestKeys:
    def test_they_are_the_outputs_of_splitmix64(self) -> None:
        """The first three for the seed 1234567, as its reference implementation gives them."""
        published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
        assert sample_keys(np.arange(3), 1234567).tolist() == published

    def test_they_differ_and_depend_on_nothing_but_index_and_seed(self) -> None:
        keys = sample_keys(np.arange(100_000), 5)
        assert len(np.unique(keys)) == len(keys)
        assert np.array_equal(sample_keys(np.array([70, 3]), 5), keys[[70, 3]])
        assert not np.array_equal(sample_keys(np.arange(10), 6), keys[:10])


class TestReservoir:
    @pytest.mark.parametrize("size", [1, 10, 45])
    def test_each_sample_is_kept_as_often_as_any_other(self, size: int) -> None:
        """Chi-square over 4,000 seeds. Draws without replacement spread less, which the factor puts right."""
        n, seeds = len(ROWS), 4000
        generator = np.random.default_rng(0)
        kept = np.zeros(n)
        for seed in generator.integers(0, 2**62, seeds):
            kept[bottom_k(ROWS, ROWS, int(seed), size=size)] += 1
        expected = seeds * size / n
        statistic = ((kept - expected) ** 2 / expected).sum() * (n - 1) / (n - size)
        assert chi2.ppf(0.001, n - 1) < statistic < chi2.ppf(0.999, n - 1)

    def test_each_pair_is_kept_as_often_as_any_other(self) -> None:
        """Neighbours in the table are no likelier to be kept together than others."""
        n, size, seeds = 12, 4, 4000
        together = np.zeros((n, n))
        for seed in np.random.default_rng(1).integers(0, 2**62, seeds):
            chosen = bottom_k(ROWS[:n], ROWS[:n], int(seed), size=size)
            together[np.ix_(chosen, chosen)] += 1
        pairs = together[np.triu_indices(n, 1)] / seeds
        share = size * (size - 1) / (n * (n - 1))
        assert np.abs(pairs - share).max() < 4.5 * (share * (1 - share) / seeds) ** 0.5

    def test_neither_the_order_nor_the_parts_matter(self) -> None:
        whole = bottom_k(ROWS, ROWS, 7, size=13)
        order = np.random.default_rng(2).permutation(ROWS)
        assert order[bottom_k(order, order, 7, size=13)].tolist() == whole.tolist()
        kept = ROWS[:0]
        for part in np.array_split(order, 7):
            index = np.concatenate([kept, part])
            kept = index[bottom_k(index, index, 7, size=13)]
        assert kept.tolist() == whole.tolist()

    def test_fewer_samples_than_places_are_all_kept(self) -> None:
        assert bottom_k(ROWS[:5], ROWS[:5], 7, size=13).tolist() == [0, 1, 2, 3, 4]


class TestBalanced:
    label = np.repeat([0, 1, 3], [40, 5, 15])  # class 2 was not seen yet

    def counts(self, size: int | None, per_class: int | None = None) -> list[int]:
        chosen = bottom_k(ROWS, self.label, 7, size=size, balanced=True, per_class=per_class)
        counts: list[int] = np.bincount(self.label[chosen], minlength=4).tolist()
        return counts

    def test_classes_are_kept_alike_as_far_as_they_have_samples(self) -> None:
        assert self.counts(12) == [4, 4, 0, 4]
        assert self.counts(25) == [10, 5, 0, 10]
        assert self.counts(45) == [25, 5, 0, 15]
        assert sorted(self.counts(13)) == [0, 4, 4, 5]
        assert self.counts(None, per_class=6) == [6, 5, 0, 6]

    def test_within_a_class_those_with_the_smallest_keys_are_kept(self) -> None:
        chosen = bottom_k(ROWS, self.label, 7, size=12, balanced=True)
        keys = sample_keys(ROWS, 7)
        for c in (0, 1, 3):
            own = ROWS[self.label == c]
            assert set(chosen) & set(own) == set(own[np.argsort(keys[own])[:4]])

    @pytest.mark.parametrize("size", [3, 13, 25, 44])
    def test_neither_the_order_nor_the_parts_matter(self, size: int) -> None:
        whole = bottom_k(ROWS, self.label, 7, size=size, balanced=True)
        for seed in range(5):
            order = np.random.default_rng(seed).permutation(ROWS)
            kept = ROWS[:0]
            for part in np.array_split(order, 6):
                index = np.concatenate([kept, part])
                kept = index[bottom_k(index, self.label[index], 7, size=size, balanced=True)]
            assert kept.tolist() == whole.tolist()


class TestLoss:
    def test_by_hand(self) -> None:
        network, strategy = tiny_network(seen=(0, 1, 3)), Replay(memory_weight=0.25)
        batch, memory = tiny_batch([0, 1, 1, 3]), tiny_batch([3, 0], seed=2)

        def mean(image: Tensor, label: Tensor) -> Tensor:
            p = network(image)[:, [0, 1, 3]].softmax(dim=1)
            columns = torch.tensor([0, 1, -1, 2])[label]
            loss: Tensor = -p[torch.arange(len(label)), columns].log().mean()
            return loss

        alone = mean(batch["image"], batch["label"])
        torch.testing.assert_close(strategy.loss(network, batch), alone)
        batch["memory"] = memory
        both = 0.75 * alone + 0.25 * mean(memory["image"], memory["label"])
        torch.testing.assert_close(strategy.loss(network, batch), both)

    def test_halves_of_equal_size_are_the_mean_over_both_in_one_batch(self) -> None:
        """In training mode too: batch norm takes its statistics from batch and memory together."""
        network = tiny_network(norm=True).train()
        network.backbone[3].eval()  # type: ignore[index]  # the dropout, which would draw twice
        batch, memory = tiny_batch([0, 1, 1, 3]), tiny_batch([3, 0, 2, 2], seed=2)
        logits = network(torch.cat([batch["image"], memory["image"]]))
        wanted = F.cross_entropy(logits, torch.cat([batch["label"], memory["label"]]))
        batch["memory"] = memory
        torch.testing.assert_close(Replay().loss(network, batch), wanted)


class TestMemory:
    def test_without_one_nothing_is_served(self) -> None:
        assert Replay().memory() is None

    @pytest.mark.parametrize("selection", ["reservoir", "class_balanced"])
    def test_it_is_what_would_be_chosen_from_all_that_was_seen(self, selection: str) -> None:
        strategy, network = Replay(memory_size=7, selection=selection), tiny_network()  # type: ignore[arg-type]
        labels: list[int] = []
        for t, part in enumerate(([0, 0, 1, 0, 0, 0], [2, 2, 1, 1], [3, 0])):
            batch = tiny_batch(part, first=len(labels))
            labels += part
            strategy.before_experience(network, tiny_experience(t, batch))
            strategy.after_experience(
                network, tiny_experience(t, batch), [part_of(batch, slice(1)), part_of(batch, slice(1, None))]
            )
        index, label = np.arange(len(labels)), np.array(labels)
        balanced = selection == "class_balanced"
        wanted = bottom_k(index, label, int(strategy.seed), size=7, balanced=balanced)
        assert strategy.memory() is strategy.index
        assert strategy.index.tolist() == wanted.tolist()
        assert strategy.label.tolist() == (label[wanted].tolist() if balanced else [0] * 7)

    def test_a_reservoir_loads_no_image(self) -> None:
        batch, strategy = tiny_batch([0, 1]), Replay()

        def loaded() -> list[object]:
            raise AssertionError("the batches were gone through")

        class Batches:
            __iter__ = loaded

        strategy.after_experience(tiny_network(), tiny_experience(0, batch), Batches())  # type: ignore[arg-type]
        assert strategy.index.tolist() == [0, 1]

    def test_processes_add_up_their_labels(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What two of them give to ``reduce`` sums to what one would."""
        batch = tiny_batch([3, 1, 1, 2, 0], first=20)
        given: list[Tensor] = []
        for rows in (slice(0, None, 2), slice(1, None, 2), slice(None)):
            strategy = Replay(per_class=2)
            monkeypatch.setattr(strategy, "reduce", recorder(given))
            strategy.after_experience(tiny_network(), tiny_experience(0, batch), [part_of(batch, rows)])
        assert (given[0] + given[1]).tolist() == given[2].tolist() == batch["label"].tolist()

    def test_it_comes_back_from_a_checkpoint(self) -> None:
        batch, strategy, fresh = tiny_batch([0, 1, 2]), Replay(per_class=1), Replay(per_class=1)
        strategy.after_experience(tiny_network(), tiny_experience(0, batch), [batch])
        fresh.load_state_dict(strategy.state_dict())
        for name in ("index", "label", "seed"):
            assert torch.equal(getattr(fresh, name), getattr(strategy, name))
            assert getattr(fresh, name).dtype == torch.int64

    def test_another_runs_is_left_behind(self) -> None:
        """Its rows are those of another table: other images, or none."""
        strategy, batch = Replay(), tiny_batch([0, 1, 2])
        strategy.index, strategy.label = torch.tensor([5, 900]), torch.tensor([0, 0])
        strategy.seed = torch.tensor(7)
        strategy.before_experience(tiny_network(), tiny_experience(0, batch))
        assert strategy.memory() is None
        assert strategy.seed == -1, "the selection is drawn anew, with this run's seed"
        assert "memory of 2 image(s) was dropped" in strategy.notes(tiny_network())[0]
        assert strategy.notes(tiny_network()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"memory_size": 0}, "expected memory_size >= 1, found 0"),
        ({"per_class": 0}, "expected per_class >= 1, found 0"),
        ({"memory_batch_size": -1}, "expected memory_batch_size >= 1, found -1"),
        ({"memory_weight": 1.5}, "expected 0 <= memory_weight <= 1, found 1.5"),
        ({"selection": "newest"}, "Expected selection reservoir or class_balanced, found 'newest'"),
    ],
)
def test_impossible_options(options: dict[str, int], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Replay(**options)  # type: ignore[arg-type]


def test_a_balanced_memory_has_a_place_for_each_class() -> None:
    Replay(memory_size=3).check_network(tiny_network())
    Replay(memory_size=3, per_class=1).check_network(tiny_network())
    with pytest.raises(
        ConfigError, match=r"memory_size of 3 is smaller than the number of classes, 4\. Expected 4 or more"
    ):
        Replay(memory_size=3, selection="class_balanced").check_network(tiny_network())


def test_it_remembers(tmp_path: Path) -> None:
    """Fine-tuned on two new classes alone, the network knows neither of the first two any more."""
    options = ["--data.stream=ClassIncremental", "--data.stream.experiences=2", "--data.batch_size=8"]
    options += ["--trainer.max_epochs=4", "--keep_checkpoints=all", "--model.strategy=strategies.replay.Replay"]
    run = fit(tmp_path, "replay", *options, "--model.strategy.per_class=6", "--model.strategy.memory_batch_size=12")
    results = read_results(run / "results.json")
    assert (results.accuracy_matrix[1][0] or 0) > 0.6 and (results.accuracy_matrix[0][0] or 0) > 0.6
    assert results.memory_bytes == 24 * (3 * 16 * 16 + 8 + 8) + 8, "24 images, their rows and labels, and the seed"
    assert results.task is not None and results.task.accuracy_matrix[0] == results.accuracy_matrix[0]
    both = zip(results.task.accuracy_matrix[1], results.accuracy_matrix[1], strict=True)
    assert all((within or 0) >= (among_all or 0) for within, among_all in both)
    data = ColouredSquares(stream=ClassIncremental(experiences=2))
    rows = np.concatenate([experience.indices for experience in data.stream])
    label = data.samples["label"].to_numpy()[rows]
    for t, count in ((0, 12), (1, 24)):
        state = weights_of(run, t)
        seen = slice(len(data.stream[0].indices)) if t == 0 else slice(None)
        wanted = bottom_k(rows[seen], label[seen], int(state["strategy.seed"]), size=None, balanced=True, per_class=6)
        assert state["strategy.index"].tolist() == rows[seen][wanted].tolist() and len(wanted) == count
        assert state["strategy.label"].tolist() == label[seen][wanted].tolist()


@pytest.mark.parametrize(("size", "said"), [(5, 1), (8, 0)])
def test_a_memory_smaller_than_what_is_drawn_is_said_once(tmp_path: Path, size: int, said: int) -> None:
    words = ["--model.strategy=Replay", f"--model.strategy.memory_size={size}", "--model.strategy.memory_batch_size=8"]
    notes = read_results(fit(tmp_path, "run", *words) / "results.json").notes
    assert sum("with replacement" in note for note in notes) == said
