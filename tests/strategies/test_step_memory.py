"""ER, ERACE, DER and DERpp: the losses by hand on a few images, and what a step leaves in the memory."""

from typing import Literal, cast

import numpy as np
import pytest
import torch
from tiny_network import tiny_batch, tiny_experience, tiny_network
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision import Batch
from lightning_vision.data.reservoir import Reservoir
from lightning_vision.errors import ConfigError
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy
from strategies.der import DER, DERpp
from strategies.er import ER
from strategies.er_ace import ERACE
from strategies.step_memory import StepMemory


def placed(batch: Batch, places: list[int]) -> Batch:
    """A batch whose images take these places, or have them."""
    return cast(Batch, {**batch, "place": torch.tensor(places)})


def prepared(strategy: StepMemory, network: Network, batch: Batch) -> StepMemory:
    strategy.before_experience(network, tiny_experience(0, batch))
    return strategy


def with_memory(places: list[int], labels: list[int]) -> Batch:
    """Three new images, and remembered ones."""
    batch = placed(tiny_batch([2, 3, 3]), [-1, 4, 0])
    batch["memory"] = placed(tiny_batch(labels, first=40, seed=2), places)
    return batch


def cross_entropies(network: Network, batch: Batch) -> Tensor:
    return F.cross_entropy(network(batch["image"]), batch["label"], reduction="none")


def test_er_is_the_mean_over_both() -> None:
    network, batch = tiny_network(), with_memory([1, 3], [0, 1])
    loss = prepared(ER(10, 2), network, batch).loss(network, batch)
    each = torch.cat([cross_entropies(network, batch), cross_entropies(network, batch["memory"])])
    torch.testing.assert_close(loss, each.mean())


@pytest.mark.parametrize(("cross_entropy", "count"), [("all", 4), ("seen", 3)])
@pytest.mark.parametrize("remembers", [True, False])
def test_er_is_over_all_classes_or_those_seen(
    cross_entropy: Literal["all", "seen"], count: int, remembers: bool
) -> None:
    network, batch = tiny_network(seen=[0, 1, 2]), with_memory([1, 3], [0, 1])
    batch["label"] = torch.tensor([2, 2, 1])
    images, labels = batch["image"], batch["label"]
    if remembers:
        images, labels = torch.cat([images, batch["memory"]["image"]]), torch.tensor([2, 2, 1, 0, 1])
    else:
        del batch["memory"]
    strategy = prepared(ER(10, 2, cross_entropy), network, batch)
    torch.testing.assert_close(strategy.loss(network, batch), F.cross_entropy(network(images)[:, :count], labels))


def test_the_asymmetric_term_is_among_the_batchs_classes() -> None:
    network, batch = tiny_network(), with_memory([1, 3], [0, 1])
    loss = prepared(ERACE(10, 2), network, batch).loss(network, batch)
    own = F.cross_entropy(network(batch["image"])[:, 2:], batch["label"] - 2)
    torch.testing.assert_close(loss, own + cross_entropies(network, batch["memory"]).mean())


def test_all_processes_decide_on_the_classes_of_the_batch() -> None:
    network, batch = tiny_network(), placed(tiny_batch([2, 2]), [-1, -1])
    strategy = prepared(ERACE(10, 2), network, batch)
    strategy.reduce = lambda tensor: tensor + torch.tensor([0, 0, 0, 1])  # type: ignore[method-assign] # another has class 3
    torch.testing.assert_close(
        strategy.loss(network, batch), F.cross_entropy(network(batch["image"])[:, 2:], batch["label"] - 2)
    )


@pytest.mark.parametrize("beta", [None, 0.0, 0.7])
def test_dark_experience_by_hand(beta: float | None) -> None:
    network, batch = tiny_network(), with_memory([1, 3, 3, 0], [0, 1, 1, 3])
    strategy = DER(10, 2, alpha=0.3) if beta is None else DERpp(10, 2, alpha=0.3, beta=beta)
    prepared(strategy, network, batch)
    z = torch.randn(10, 4)
    strategy.logits = z.clone()
    memory = batch["memory"]
    h, count = network(memory["image"]), 4 if beta is None else 2
    distance = F.mse_loss(h[:count], z[[1, 3, 3, 0][:count]])
    wanted = cross_entropies(network, batch).mean() + 0.3 * distance
    wanted = wanted + (beta or 0) * cross_entropies(network, memory)[2:].mean()
    torch.testing.assert_close(strategy.loss(network, batch), wanted)


@pytest.mark.parametrize(("cross_entropy", "count"), [("all", 4), ("seen", 3)])
def test_dark_experience_replay_is_over_all_classes_or_those_seen(
    cross_entropy: Literal["all", "seen"], count: int
) -> None:
    network, batch = tiny_network(seen=[0, 1, 2]), with_memory([1, 3], [0, 1])
    batch["label"] = torch.tensor([2, 2, 1])
    strategy = prepared(DERpp(10, 1, alpha=0.0, beta=0.5, cross_entropy=cross_entropy), network, batch)
    own = F.cross_entropy(network(batch["image"])[:, :count], batch["label"])
    second = F.cross_entropy(network(batch["memory"]["image"])[1:, :count], torch.tensor([1]))
    torch.testing.assert_close(strategy.loss(network, batch), own + 0.5 * second)


def test_beta_0_is_der() -> None:
    network, batch = tiny_network(), with_memory([1, 3, 2, 0], [0, 1, 1, 3])
    one, other = (prepared(each, network, batch) for each in (DER(10, 2), DERpp(10, 2, beta=0.0)))
    half = cast(Batch, {**batch, "memory": {key: value[:2] for key, value in batch["memory"].items()}})  # type: ignore[index]
    torch.testing.assert_close(one.loss(network, half), other.loss(network, batch))


@pytest.mark.parametrize("strategy", [ER(5, 2), ERACE(5, 2), DER(5, 2), DERpp(5, 2)])
def test_a_step_writes_its_images_into_their_places(strategy: StepMemory) -> None:
    network = tiny_network()
    batch = tiny_batch([0, 1, 2, 3], first=20)
    prepared(strategy, network, batch)
    kept = strategy.reservoir()
    for _ in range(3):
        places, kept = kept.offer(batch["index"].numpy())
        given = placed(batch, places.tolist())
        logits = network(batch["image"]).detach()
        strategy.loss(network, given)
        assert strategy.offered < kept.offered, "only after the step"
        strategy.after_step(network)
        assert np.array_equal(strategy.reservoir().rows, kept.rows) and strategy.offered == kept.offered
        if isinstance(strategy, DER):
            taken = places >= 0
            assert torch.equal(strategy.logits[places[taken]], logits[taken])
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.1)


def test_accumulated_batches_draw_what_the_one_before_has_left() -> None:
    """The second batch before a step may be given images of the first, whose logits must be those of these images."""
    network, first = tiny_network(), placed(tiny_batch([0, 1, 2], first=20), [0, 1, -1])
    strategy = prepared(DER(5, 2, alpha=0.3), network, first)
    strategy.logits = torch.full((5, 4), 9.0)
    second = placed(tiny_batch([3, 3], first=30, seed=2), [2, 1])
    second["memory"] = placed(cast(Batch, {key: value[:2] for key, value in first.items()}), [0, 1])  # type: ignore[index]
    strategy.loss(network, first)
    torch.testing.assert_close(strategy.loss(network, second), cross_entropies(network, second).mean())
    strategy.after_step(network)
    assert strategy.rows.tolist() == [20, 31, 30, -1, -1] and strategy.offered == 5
    torch.testing.assert_close(strategy.logits[1:3], network(second["image"]).detach()[[1, 0]])


def test_two_processes_write_what_one_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    network, batch = tiny_network(), tiny_batch([0, 1, 2, 3, 0, 1], first=20)
    places = Reservoir(np.full(5, -1, dtype=np.int64), 0, 1).offer(batch["index"].numpy())[0]

    def run(part: slice, reduced: list[Tensor] | None) -> tuple[DER, list[Tensor]]:
        strategy, given = DER(5, 2), []

        def reduce(tensor: Tensor) -> Tensor:
            given.append(tensor.clone())
            return tensor if reduced is None else reduced[len(given) - 1]

        monkeypatch.setattr(strategy, "reduce", reduce)
        prepared(strategy, network, batch)
        strategy.loss(network, cast(Batch, {key: value[part] for key, value in placed(batch, places.tolist()).items()}))  # type: ignore[index]
        strategy.after_step(network)
        return strategy, given

    alone, _ = run(slice(None), None)
    first, second = run(slice(0, None, 2), None)[1], run(slice(1, None, 2), None)[1]
    both, _ = run(slice(0, None, 2), [one + other for one, other in zip(first, second, strict=True)])
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(value, both.state_dict()[name], msg=name)


@pytest.mark.parametrize("cls", [ER, DER])
def test_a_given_base_fills_the_memory(cls: type[StepMemory]) -> None:
    network, batch = tiny_network(), tiny_batch([0, 1] * 6, first=7)
    strategy = prepared(cls(8, 2), network, batch)
    experience = tiny_experience(0, batch)
    strategy.after_experience(network, experience, [batch])
    kept = Reservoir(np.full(8, -1, dtype=np.int64), 0, strategy.draw_seed("reservoir")).offer(experience.indices)[1]
    assert np.array_equal(strategy.reservoir().rows, kept.rows) and int(strategy.offered) == 12
    if isinstance(strategy, DER):
        torch.testing.assert_close(strategy.logits, network(batch["image"])[strategy.rows - 7].detach())
    before = strategy.rows.clone()
    strategy.after_experience(network, experience, [batch])
    assert torch.equal(strategy.rows, before), "once"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ER(5, 6), "fewer than the 6 images that each batch takes"),
        (lambda: ERACE(5, 0), "expected memory_batch_size >= 1, found 0"),
        (lambda: DER(alpha=-1.0), "DER: expected alpha >= 0, found -1.0"),
        (lambda: ER(cross_entropy="new"), "ER: expected cross_entropy all or seen, found 'new'"),  # type: ignore[arg-type]
        (lambda: DER(cross_entropy="new"), "DER: expected cross_entropy all or seen, found 'new'"),  # type: ignore[arg-type]
        (lambda: DERpp(beta=float("nan")), "expected beta >= 0, found nan"),
    ],
)
def test_impossible_options(make: type[Strategy], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()


def test_a_memory_smaller_than_the_number_of_classes_is_refused() -> None:
    with pytest.raises(ConfigError, match="a memory of 3 images is smaller than the number of classes, 4"):
        ER(3, 2).check_network(tiny_network())
