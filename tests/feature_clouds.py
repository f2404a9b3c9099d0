"""Features without images, for strategies that see nothing else: one cloud a class, and a network without a backbone."""

import torch
from torch import Tensor, nn

from lightning_vision import Experience, Network, Strategy
from lightning_vision.learning.backbones import BackboneFacts


def clouds(
    classes: int = 3, per_class: int = 40, dimensions: int = 12, *, negative: bool = True, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Correlated features (N, D) around one centre a class, and labels (N,), in mixed order."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat_interleave(per_class)[
        torch.randperm(classes * per_class, generator=generator)
    ]
    centres = torch.randn(classes, dimensions, generator=generator) + 1
    shape = torch.randn(dimensions, dimensions, generator=generator) / dimensions**0.5
    features = centres[labels] + torch.randn(len(labels), dimensions, generator=generator) @ shape
    return (features if negative else features.relu()), labels


def bare_network(classes: int = 3, dimensions: int = 12, head_hidden: int = 0) -> Network:
    """A network whose features are given, in evaluation mode, all classes seen."""
    torch.manual_seed(0)
    facts = BackboneFacts("none", dimensions, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    network = Network(nn.Flatten(), facts, classes, head_hidden=head_hidden)
    network.see(range(classes))
    return network.eval()


def learn(
    strategy: Strategy, network: Network, features: Tensor, labels: Tensor, experience: Experience, batch_size: int = 16
) -> None:
    """One experience of a closed form, as the core does it."""
    strategy.before_experience(network, experience)
    with torch.no_grad():
        for start in range(0, len(labels), batch_size):
            strategy.update(network, features[start : start + batch_size], labels[start : start + batch_size])
    strategy.after_experience(network, experience, [])


def logits(strategy: Strategy, network: Network, features: Tensor) -> Tensor:
    """What a strategy of one variant predicts."""
    with torch.no_grad():
        found = strategy.predict(network, features)
    if not isinstance(found, Tensor):
        raise TypeError(f"Expected one variant, found {sorted(found)}.")
    return found
