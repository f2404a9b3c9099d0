"""CODA-Prompt (arXiv 2211.13218)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision.data.batch import Batch
from lightning_vision.learning.blocks import check_takes_keys, keys_beside
from lightning_vision.learning.closed_form import full_precision
from lightning_vision.learning.network import Network
from strategies.prompting import Prompting, appended


class CODAPrompt(Prompting):
    r"""Key and value prefixes that are weighted sums of prompt components, by the image's own features (CODA-Prompt, arXiv 2211.13218).

    In each of the first ``blocks`` blocks there are M components P_m (L, D) with keys K_m (D,) and attentions A_m (D,). An
    image with the query q (D,), its features by the untouched backbone, gets the prefix

    .. math:: p = \sum_m \cos(q \odot A_m, K_m) P_m

    whose first half stands before the keys of the attention, and whose second half before the values. Each experience adds
    components, orthogonal to all former ones; only these are trained, with the head. The loss is cross entropy over the
    classes of the experience, and

    .. math:: \mu \sum_{X \in K, A, P} \frac{1}{M^2} \lVert X X^T - 1 \rVert^2

    for each block. Each image passes the backbone twice.

    Differences from the authors' code:
        - There a pool of fixed size is dealt to a number of experiences that is known from the start.
        - New components are orthogonal to the span of the former ones; there each one's part is subtracted, which is the same
          while they are orthogonal. Where no direction is left, they are drawn at random.
        - No batch is dropped at an epoch's end; choose a scheduler that ends at 0. Weight decay is 0.

    Args:
        components: Components that an experience adds, in each block.
        length: L, even; half are keys and half are values.
        blocks: Blocks with prefixes.
        orthogonality: mu, the weight of the penalty.
    """

    grown: ClassVar[Mapping[str, int]] = {"prompts": 1, "keys": 1, "attentions": 1}
    prompts: nn.Parameter | None  # (blocks, M, L, D)
    attentions: nn.Parameter | None  # (blocks, M, D); keys are (blocks, M, D)

    def __init__(self, components: int = 10, length: int = 8, blocks: int = 5, orthogonality: float = 0.0) -> None:
        super().__init__()
        self.added, self.length, self.blocks, self.orthogonality = components, length, blocks, orthogonality
        sizes = (components, blocks)
        self.refuse(min(sizes) < 1, f"components and blocks of 1 or more, found {', '.join(map(str, sizes))}")
        self.refuse(
            length < 2 or length % 2 > 0, f"an even length of 2 or more, half keys and half values, found {length}"
        )
        self.refuse(not orthogonality >= 0, f"an orthogonality of 0 or more, found {orthogonality}")
        self.register_parameter("prompts", None)
        self.register_parameter("attentions", None)

    def check_network(self, network: Network) -> None:
        """Refuse a backbone whose attention takes no keys and values."""
        check_takes_keys(network, "CODAPrompt", self.blocks)

    def learns_keys(self) -> bool:
        """The prefixes depend on them."""
        return True

    def prepare(self, network: Network) -> None:
        """Add the components of an experience."""
        d, weight = network.facts.num_features, network.classifier.weight
        for name, shape in (("prompts", (self.length, d)), ("keys", (d,)), ("attentions", (d,))):
            former: nn.Parameter | None = getattr(self, name)
            held = weight.new_empty(self.blocks, 0, *shape) if former is None else former.detach()
            new = torch.stack([new_directions(each.flatten(1), self.added) for each in held])
            setattr(self, name, appended(former, new.view(self.blocks, self.added, *shape).to(weight), dim=1))

    def prompted(self, network: Network, image: Tensor, *, learns: bool) -> tuple[Tensor, Tensor]:
        """The backbone's features with the weighted components; those of former experiences are constants."""
        if self.prompts is None or self.keys is None or self.attentions is None:
            raise RuntimeError("CODAPrompt has no components before its first experience.")
        q, past = self.query(network, image), self.prompts.shape[1] - self.added
        given = {}
        for block in range(self.blocks):
            p, k, a = (
                torch.cat([each[block, :past].detach(), each[block, past:]])
                for each in (self.prompts, self.keys, self.attentions)
            )
            with full_precision(q):
                weights = q @ (a * F.normalize(k, dim=1)).T / (q.square() @ a.square().T).sqrt()  # (N, M)
                prefix = torch.einsum("nm,mld->nld", weights, p)
            given[block] = (prefix[:, : self.length // 2], prefix[:, self.length // 2 :])
        with keys_beside(network.backbone, given):
            return network.features(image), q.new_zeros(len(image))

    def loss(self, network: Network, batch: Batch) -> Tensor:
        """Cross entropy over the experience's classes, and the penalty."""
        loss = super().loss(network, batch)
        return loss + self.orthogonality * self.penalty() if self.orthogonality else loss

    def penalty(self) -> Tensor:
        """The sum () over the blocks of the mean squared distance of Gram matrices (M, M) from the identity."""
        found = []
        for tensor in (self.keys, self.attentions, self.prompts):
            for x in () if tensor is None else tensor.flatten(2):
                past = len(x) - self.added
                x = torch.cat([x[:past].detach(), x[past:]])
                found.append((x @ x.T - torch.eye(len(x)).to(x)).square().mean())
        return torch.stack(found).sum()


def new_directions(former: Tensor, count: int) -> Tensor:
    """Vectors (count, X) of length 1, drawn at random and orthogonal to each other and to former ones (M, X) while there is room."""
    drawn = torch.randn(count, former.shape[1], dtype=torch.float64)
    if len(former) + count > former.shape[1]:
        return F.normalize(drawn, dim=1)
    both = torch.cat([former.double().cpu(), drawn])
    directions: Tensor = torch.linalg.qr(both.T).Q.T[len(former) :]
    return directions
