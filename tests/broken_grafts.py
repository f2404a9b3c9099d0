"""Strategies that set something into the backbone wrongly, or let images meet, for the tests of the kit that must find it."""

from torch import Tensor, nn

from lightning_vision import Experience, Network, Strategy


class GraftsBadly(Strategy):
    """One more adapter at each call, and trains what is below them too (arXiv 2303.07338)."""

    def before_experience(self, network: Network, experience: Experience) -> None:
        network.graft("adapter", f"number-{len(network.grafts)}", width=2)


class SetsItsOwnModule(Strategy):
    """A module in the backbone of which the checkpoint does not know (arXiv 2303.07338)."""

    def before_experience(self, network: Network, experience: Experience) -> None:
        if not hasattr(network.backbone, "mine"):
            network.backbone.add_module("mine", nn.Linear(2, 2))


class LooksAtTheBatch(Strategy):
    """Adds a tenth of the batch's mean logits (arXiv 2112.08654)."""

    def predict(self, network: Network, features: Tensor) -> Tensor:
        logits: Tensor = network.head(features)
        return logits + 0.1 * logits.mean(dim=0)
