"""DualPrompt (arXiv 2204.04799)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from lightning_vision.learning.blocks import check_takes_keys, keys_beside
from lightning_vision.learning.network import Network
from strategies.prompting import Prompting, appended, cosine, uniform


class DualPrompt(Prompting):
    r"""Key and value prefixes for all images in the first blocks, and for each experience in the next ones (DualPrompt, arXiv 2204.04799).

    In the attention of the first ``general_blocks`` blocks a prefix G (2, L, D) of L keys and L values stands before those of
    the tokens; in the next ``expert_blocks`` the prefix E_t of an experience t. In training it is that of the present
    experience, in evaluation that with the key K_t (D,) nearest by cosine to the query q (D,) of each image, its features by
    the untouched backbone. E_t starts as a copy of E_(t-1). The loss is

    .. math:: L = \frac{1}{|B|} \sum_{(x,y) \in B} \left( CE(h(v), y) - \lambda \cos(q, K_t) \right)

    with CE over the classes of the experience. G, E_t, K_t and the head are trained. Each image passes the backbone twice.

    Differences from the paper's code and from PILOT:
        - Experts are chosen for each image. By default both take the one that most images of a test batch chose.
        - PILOT's and other PyTorch codes mix the axes of keys, values and images, so that one half of a batch attends to keys in
          place of values. Here, as in the paper's code, each prefix is its image's own.
        - A new experience adds an expert, where the codes draw a pool of 10 at the start and may choose untrained ones.
        - Weight decay is 0.

    Args:
        general_length: Keys, and values, of G.
        general_blocks: Blocks with G.
        expert_length: Keys, and values, of an E_t.
        expert_blocks: Blocks with an E_t, after those with G.
        pull: lambda, the weight of the cosine.
    """

    grown: ClassVar[Mapping[str, int]] = {"experts": 0, "keys": 0}
    general: nn.Parameter | None  # (blocks, 2, L, D)
    experts: nn.Parameter | None  # (T, blocks, 2, L, D); keys are (T, D)

    def __init__(
        self,
        general_length: int = 5,
        general_blocks: int = 2,
        expert_length: int = 5,
        expert_blocks: int = 3,
        pull: float = 1.0,
    ) -> None:
        super().__init__()
        self.general_shape, self.expert_shape = (general_blocks, 2, general_length), (expert_blocks, 2, expert_length)
        self.pull = pull
        sizes = (general_length, general_blocks, expert_length, expert_blocks)
        self.refuse(min(sizes) < 1, f"lengths and numbers of blocks of 1 or more, found {', '.join(map(str, sizes))}")
        self.refuse(not pull >= 0, f"a pull of 0 or more, found {pull}")
        self.register_parameter("general", None)
        self.register_parameter("experts", None)

    def check_network(self, network: Network) -> None:
        """Refuse a backbone whose attention takes no keys and values."""
        check_takes_keys(network, "DualPrompt", self.general_shape[0] + self.expert_shape[0])

    def prepare(self, network: Network) -> None:
        """Draw G once, and add an expert with its key."""
        d = network.facts.num_features
        if self.general is None:
            self.general = nn.Parameter(uniform(network, *self.general_shape, d))
        fresh = uniform(network, 1, *self.expert_shape, d)
        self.experts = appended(self.experts, fresh if self.experts is None else self.experts.detach()[-1:])
        self.keys = appended(self.keys, uniform(network, 1, d))

    def prompted(self, network: Network, image: Tensor, *, learns: bool) -> tuple[Tensor, Tensor]:
        """The backbone's features with G and with the present expert, or with the nearest one of each image."""
        if self.general is None or self.experts is None or self.keys is None:
            raise RuntimeError("DualPrompt has no prompts before its first experience.")
        near = cosine(self.query(network, image), self.keys)  # (N, T)
        chosen = torch.full_like(near[:, 0], len(self.keys) - 1, dtype=torch.int64) if learns else near.argmax(dim=1)
        general = self.general.expand(len(image), *self.general.shape)
        blocks = [*general.unbind(dim=1), *self.experts[chosen].unbind(dim=1)]  # each (N, 2, L, D)
        with keys_beside(network.backbone, {number: (p[:, 0], p[:, 1]) for number, p in enumerate(blocks)}):
            return network.features(image), near.gather(1, chosen[:, None])[:, 0]
