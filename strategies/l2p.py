"""Learning to prompt (arXiv 2112.08654)."""

from __future__ import annotations

from torch import Tensor, nn

from lightning_vision.learning.blocks import check_takes_tokens, tokens_before
from lightning_vision.learning.network import Network
from strategies.prompting import Prompting, cosine, uniform


class L2P(Prompting):
    r"""Choose prompts from a pool for each image, by the image's own features (L2P, arXiv 2112.08654).

    The query q (D,) of an image are its features by the untouched backbone. Of M prompts P_m (L, D) with keys K_m (D,), the
    k whose keys have the largest cosines with q are put as tokens before the first block. The features v (D,) are the mean
    output of the backbone at these k L tokens, and the loss is

    .. math:: L = \frac{1}{|B|} \sum_{(x,y) \in B} \left( CE(h(v), y) - \lambda \sum_{m \in k(x)} \cos(q, K_m) \right)

    with CE over the classes of the experience. Prompts, keys and the head are trained. Each image passes the backbone twice.

    Differences from the paper's code and from PILOT:
        - Prompts are chosen for each image in evaluation too. By default both take those that most images of a batch chose:
          test batches sorted by class then tell the classes, worth up to 20 points (issue 28 of google-research/l2p).
        - Prompts have no position embedding. In both they have that of the class token, the same for all.
        - Weight decay is 0.

    Args:
        pool: M, the number of prompts.
        length: L, tokens of a prompt.
        top_k: k, prompts of an image.
        pull: lambda, the weight of the cosines.
    """

    prompts: nn.Parameter | None  # (M, L, D)

    def __init__(self, pool: int = 10, length: int = 10, top_k: int = 4, pull: float = 1.0) -> None:
        super().__init__()
        self.pool, self.length, self.top_k, self.pull = pool, length, top_k, pull
        self.refuse(length < 1, f"a length of 1 or more tokens, found {length}")
        self.refuse(not 1 <= top_k <= pool, f"a top_k from 1 to pool={pool}, the number of prompts, found {top_k}")
        self.refuse(not pull >= 0, f"a pull of 0 or more, found {pull}")
        self.register_parameter("prompts", None)

    def check_network(self, network: Network) -> None:
        """Refuse a backbone that takes no tokens."""
        check_takes_tokens(network, "L2P")

    def prepare(self, network: Network) -> None:
        """Draw the pool, once."""
        d = network.facts.num_features
        if self.keys is None:
            self.prompts = nn.Parameter(uniform(network, self.pool, self.length, d))
            self.keys = nn.Parameter(uniform(network, self.pool, d))

    def prompted(self, network: Network, image: Tensor, *, learns: bool) -> tuple[Tensor, Tensor]:
        """The mean output at the chosen prompts, which are chosen alike in training and evaluation."""
        if self.prompts is None or self.keys is None:
            raise RuntimeError("L2P has no prompts before its first experience.")
        near = cosine(self.query(network, image), self.keys)  # (N, M)
        chosen = near.topk(self.top_k).indices  # (N, k), of each image, never of a batch
        with tokens_before(network.backbone, self.prompts[chosen].flatten(1, 2)) as given:
            return given.mean(network.tokens(image)), near.gather(1, chosen).sum(dim=1)
