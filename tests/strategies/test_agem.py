"""A-GEM: the projection by hand and by its properties, and what it does to a network's gradients."""

import pytest
import torch
from tiny_network import HALF, recorder, tiny_batch, tiny_network
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision import Batch, Network
from lightning_vision.learning.backbones import BackboneFacts
from strategies.agem import AGEM, flat, project


class TestProjection:
    def test_by_hand(self) -> None:
        """g^T g_ref = -3 and |g_ref|^2 = 5: g + 3/5 g_ref, which is at a right angle to g_ref."""
        g, g_ref = torch.tensor([1.0, -2.0, 4.0]).double(), torch.tensor([1.0, 2.0, 0.0]).double()
        torch.testing.assert_close(project(g, g_ref), torch.tensor([1.6, -0.8, 4.0]).double())
        assert float(project(g, g_ref) @ g_ref) == pytest.approx(0, abs=1e-12)
        assert g.tolist() == [1.0, -2.0, 4.0] and g_ref.tolist() == [1.0, 2.0, 0.0]

    def test_gradients_that_agree_stay(self) -> None:
        g, g_ref = torch.tensor([1.0, 2.0]), torch.tensor([2.0, -1.0])
        assert project(g, g_ref) is g and project(g, torch.zeros(2)) is g and project(g, g) is g

    @pytest.mark.parametrize("seed", range(20))
    def test_the_memorys_loss_does_not_increase(self, seed: int) -> None:
        """g_ref's length does not matter, and no other gradient that agrees with it is nearer to g."""
        generator = torch.Generator().manual_seed(seed)
        g, g_ref, other = torch.randn(3, 50, generator=generator).double()
        found = project(g, g_ref)
        assert float(found @ g_ref) >= -1e-12
        torch.testing.assert_close(project(g, 7 * g_ref), found, rtol=1e-12, atol=1e-12)
        near = found + 0.1 * (other if float(other @ g_ref) > 0 else -other)
        assert float((near - g).norm()) > float((found - g).norm())


def gradients(network: Network, batch: Batch) -> Tensor:
    """Of the cross entropy (P,), over classes that are all seen."""
    loss = F.cross_entropy(network(batch["image"]), batch["label"])
    return flat(torch.autograd.grad(loss, list(network.parameters()), materialize_grads=True))


def convolutional(memory_format: torch.memory_format) -> Network:
    """A network with a convolution, its weights in a memory format."""
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 4, 2), nn.Tanh(), nn.Flatten())
    network = Network(backbone, BackboneFacts("none", 4, HALF, HALF), 4)
    network.see(range(4))
    return network.eval().to(memory_format=memory_format)


def opposed() -> tuple[Batch, Batch]:
    """The same images with other labels in the memory: what helps one harms the other."""
    batch, memory = tiny_batch([0, 1, 1, 0]), tiny_batch([2, 3, 3, 2])
    memory["image"] = batch["image"].clone()
    batch["memory"] = memory
    return batch, memory


def step(network: Network, strategy: AGEM, batch: Batch) -> Tensor:
    """What the optimizer is given (P,)."""
    network.zero_grad()
    strategy.loss(network, batch).backward()  # type: ignore[no-untyped-call]
    strategy.after_backward(network)
    return flat([p.grad for p in network.parameters() if p.grad is not None])


def test_opposed_gradients_are_projected() -> None:
    network = tiny_network()
    batch, memory = opposed()
    g, g_ref = gradients(network, batch), gradients(network, memory)
    assert float(g @ g_ref) < 0
    found = step(network, AGEM(), batch)
    torch.testing.assert_close(found, g - (g @ g_ref) / (g_ref @ g_ref) * g_ref)
    assert float(found @ g_ref) == pytest.approx(0, abs=1e-5 * float(g.norm() * g_ref.norm()))


def test_gradients_in_another_memory_format() -> None:
    """Those of weights that are kept channels last, as a run keeps them."""
    plain, last = (convolutional(memory_format) for memory_format in (torch.contiguous_format, torch.channels_last))
    assert not last.backbone[0].weight.is_contiguous()  # type: ignore[index]
    batch, _ = opposed()
    torch.testing.assert_close(step(last, AGEM(), batch), step(plain, AGEM(), batch))
    assert not torch.equal(step(plain, AGEM(), batch), gradients(plain, batch))


def test_gradients_that_agree_are_left_alone() -> None:
    network, batch = tiny_network(), tiny_batch([0, 1, 2, 3])
    g = step(network, AGEM(), batch)
    batch["memory"] = tiny_batch([0, 1, 2, 3])
    assert torch.equal(step(network, AGEM(), batch), g)


def test_without_a_memory_it_is_the_gradient_of_the_batch() -> None:
    network, batch, strategy = tiny_network(), tiny_batch([0, 1, 1, 0]), AGEM()
    torch.testing.assert_close(step(network, strategy, batch), gradients(network, batch))
    with_memory, _ = opposed()
    step(network, strategy, with_memory)
    torch.testing.assert_close(step(network, strategy, batch), gradients(network, batch))


def test_what_is_not_trained_has_no_gradient() -> None:
    network, (batch, memory) = tiny_network(), opposed()
    network.backbone.requires_grad_(False)
    found = step(network, AGEM(), batch)
    assert all(p.grad is None for p in network.backbone.parameters())
    assert len(found) == sum(p.numel() for p in network.head.parameters())
    loss = F.cross_entropy(network(memory["image"]), memory["label"])
    g_ref = flat(torch.autograd.grad(loss, list(network.head.parameters())))
    assert float(found @ g_ref) > -1e-6


def test_processes_use_one_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout and the like differ between them; a gradient that is projected by its own would let their weights drift apart."""
    given: list[Tensor] = []
    network, strategy, (batch, memory) = tiny_network(), AGEM(), opposed()
    monkeypatch.setattr(strategy, "reduce", recorder(given))
    step(network, strategy, batch)
    assert len(given) == 1
    torch.testing.assert_close(given[0], gradients(network, memory))
