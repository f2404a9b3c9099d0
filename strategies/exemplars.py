"""A memory of the images that stand for their class best, chosen by herding (arXiv 1611.07725, algorithm 4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision.data.batch import Batch
from lightning_vision.data.stream import Experience
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import ExperienceData
from strategies.former_network import FormerNetwork
from strategies.remembered_rows import RememberedRows


def herding(features: Tensor, count: int) -> Tensor:
    """The images whose features' mean follows the mean of all best, the most important first (arXiv 1611.07725, algorithm 4).

    The k-th is the one, among those not chosen yet, that brings the mean of the k chosen closest to the mean of all. Of
    several equal ones the first is chosen.

    Args:
        features: (N, D) of one class.
        count: The number of images to choose; all if there are fewer.

    Returns:
        (M,) positions in ``features``.
    """
    features = features.double()
    mean, total = features.mean(dim=0), torch.zeros_like(features[0])
    free = torch.ones(len(features), dtype=torch.bool, device=features.device)
    chosen: list[int] = []
    for k in range(1, min(count, len(features)) + 1):
        distances = (mean - (total + features) / k).square().sum(dim=1)
        best = int(distances.masked_fill(~free, torch.inf).argmin())
        chosen.append(best)
        free[best] = False
        total = total + features[best]
    return torch.tensor(chosen, dtype=torch.int64, device=features.device)


class Exemplars(RememberedRows, FormerNetwork):
    """Learns each experience together with remembered images of the classes seen, floor(M / C) of each of C classes.

    After each experience the images of its classes are chosen by herding on the features of the trained network, and the lists
    of the other classes are cut from their ends. An experience without new images of a class keeps the class's list.

    Args:
        memory_size: M, the most images in the memory.
    """

    index: Tensor  # (M',) int64, as of ``RememberedRows``, of each class the most important first

    def rows_to_learn(self, experience: Experience) -> Tensor:
        """The experience's rows and the remembered ones that are not among them."""
        own = torch.as_tensor(experience.indices.copy(), device=self.index.device)
        return torch.cat([own, self.index[~torch.isin(self.index, own)]])

    @torch.no_grad()
    def after_experience(self, network: Network, experience: Experience, batches: Iterable[Batch]) -> None:
        """Choose the images to remember."""
        if not hasattr(batches, "of"):
            raise TypeError(f"{type(self).__name__} needs the batches of other rows too (see ExperienceData).")
        data = cast(ExperienceData, batches)
        own, labels = (
            torch.as_tensor(each.copy(), device=self.index.device) for each in (experience.indices, experience.labels)
        )
        most = self.memory_size // int(network.seen.sum())
        index, label = [], []
        for row in network.seen.nonzero().flatten().tolist():
            kept = self.index[self.label == row]
            if row in experience.classes:
                rows = torch.unique(torch.cat([kept, own[labels == row]]))
                kept = rows[herding(self.features_of(network, data, rows), most)]
            index.append(kept[:most])
            label.append(torch.full_like(index[-1], row))
        self.index, self.label = torch.cat(index), torch.cat(label)

    def features_of(self, network: Network, data: ExperienceData, rows: Tensor) -> Tensor:
        """Features (N, D) of length 1 of distinct rows (N,), in ascending order of the rows, on all processes."""
        ascending = rows.sort().values
        features = torch.zeros(len(rows), network.facts.num_features, device=rows.device)
        for batch in data.of(ascending):
            own = batch["valid"]
            found = F.normalize(network.features(batch).float(), dim=1)
            features[torch.searchsorted(ascending, batch["index"][own])] = found[own]
        return self.reduce(features)
