"""Sequential LoRA: one low-rank change of the weights, trained on through the stream (arXiv 2106.09685)."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from lightning_vision.data.batch import Batch
from lightning_vision.data.stream import Experience
from lightning_vision.learning.grafts import described
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy

KEY = "lora"


class SequentialLoRA(Strategy):
    r"""Train a low-rank change of a frozen backbone's weights through the stream (LoRA, arXiv 2106.09685).

    With the weight W (O, I) of each chosen layer, A (R, I), B (O, R), the scale s and the head h:

    .. math:: W' = W + s B A, \qquad L(A, B, h) = \text{mean}\, \text{CE}(h(f_{W'}(x)), y)

    over the classes seen. A and B are trained on from experience to experience, so nothing protects against forgetting but the low
    rank: it is the plain baseline of continual LoRA methods, such as InfLoRA (arXiv 2404.00228) and SD-LoRA (arXiv 2501.13198).

    Differences from the paper:
        - The paper has one task, and s is alpha / R.
        - With ``merge`` the next experience trains A and B from their start.

    Args:
        rank: R.
        parts: Which of queries, keys and values (q, k, v) of each attention.
        scale: s.
        layers: Other layers by name or pattern. None: the attention, or without one all linear layers and 1 x 1 convolutions.
        merge: Fold the change into the weights after each experience. The function does not change, and no memory is kept.
    """

    learns_base = True

    def __init__(
        self,
        rank: int = 10,
        parts: str = "qv",
        scale: float = 1.0,
        layers: list[str] | None = None,
        merge: bool = False,
    ) -> None:
        super().__init__()
        self.options = {"rank": rank, "parts": parts, "scale": scale, "layers": layers}
        self.merge = merge
        described("low_rank", KEY, self.options)

    def check_network(self, network: Network) -> None:
        """Refuse a backbone that cannot take the change, or in which it could not be merged."""
        network.check_graft("low_rank", KEY, to_merge=self.merge, **self.options)

    def before_experience(self, network: Network, experience: Experience) -> None:
        """Set the change over the weights."""
        network.graft("low_rank", KEY, **self.options)

    def parameters_to_train(self, network: Network) -> Iterable[nn.Parameter]:
        """A, B and the head."""
        return [*network.grafted(KEY), *network.head.parameters()]

    def after_experience(self, network: Network, experience: Experience, batches: Iterable[Batch]) -> None:
        """Fold the change in, if asked for."""
        if self.merge:
            network.merge(KEY)
