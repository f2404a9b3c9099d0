"""Learning strategies with one fault each, for the test of the kit that must find it."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lightning_vision import Batch, Experience, Network, Strategy
from strategies import ER


class Means(Strategy):
    """Nearest class mean (arXiv 2303.07338). It is sound."""

    kind = "closed_form"
    freezes_backbone = True
    needs_base_data = True
    draws_nothing = True
    sums: Tensor  # (C, D)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("sums", None)

    def update(self, network: Network, features: Tensor, labels: Tensor) -> None:
        added = torch.zeros(network.num_classes, features.shape[1]).index_add(0, labels, features)
        self.sums = added if self.sums is None else self.sums + added

    def predict(self, network: Network, features: Tensor) -> Tensor:
        if self.sums is None:
            logits: Tensor = network.head(features)
            return logits
        return nn.functional.normalize(features) @ nn.functional.normalize(self.sums).T * 10


# ---- what it says ----------------------------------------------------------------------------------------------------


class NoSource(Means):
    """Nearest class mean, from 3 of the 5 best rooms of 2019 and an idea of mine. In 2019 others had it too."""


class TrainsTheHeadOnly(Strategy):
    """Does not say that the backbone stays as it is (arXiv 1610.01644)."""

    def parameters_to_train(self, network: Network) -> Iterable[nn.Parameter]:
        return network.head.parameters()


class WrongKind(Strategy):
    """Has the hook of the other kind (arXiv 2303.07338)."""

    def update(self, network: Network, features: Tensor, labels: Tensor) -> None:
        network.classifier.weight.data[labels] += features


class SaysFollows(Strategy):
    """Follows the base with nothing (arXiv 1703.04200)."""

    follows_base = True


class Remembers(Strategy):
    """Keeps rows (arXiv 1902.10486), of which none is served."""

    rows: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("rows", torch.empty(0, dtype=torch.int64))

    def after_experience(self, network: Network, experience: Experience, batches: Iterable[Batch]) -> None:
        self.rows = torch.tensor(experience.indices[:4])

    def memory(self) -> Tensor | None:
        return self.rows


class RemembersNothing(Strategy):
    """Asks for a memory (arXiv 1902.10486) and names none."""

    memory_batch_size = 4


class RemembersTestImages(Remembers):
    """Keeps rows (arXiv 1902.10486) that it must not train on."""

    memory_batch_size = 4

    def after_experience(self, network: Network, experience: Experience, batches: Iterable[Batch]) -> None:
        self.rows = torch.tensor(experience.test_indices[:4])


class TwoVariants(Strategy):
    """Has two answers (arXiv 2006.07152) and does not say so."""

    def predict(self, network: Network, features: Tensor) -> Mapping[str, Tensor]:
        return {"one": network.head(features), "two": network.head(2 * features)}


class OneVariant(Strategy):
    """Has one answer (arXiv 2006.07152) and says that there are several."""

    needs_validation = True


class LeavesOutTheBase(Means):
    """Does not say that it needs the base's data (arXiv 2303.07338)."""

    needs_base_data = False

    def predict(self, network: Network, features: Tensor) -> Tensor:
        logits = super().predict(network, features)
        return logits if self.sums is None else logits.masked_fill(~self.sums.any(dim=1), -torch.inf)


class IgnoresTheBase(Strategy):
    """Asks for the base's data and leaves it unused (arXiv 2006.07152)."""

    kind = "closed_form"
    freezes_backbone = True
    needs_base_data = True
    draws_nothing = True
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.base = False

    def before_experience(self, network: Network, experience: Experience) -> None:
        self.base = experience.is_base

    def update(self, network: Network, features: Tensor, labels: Tensor) -> None:
        if not self.base:
            self.count = self.count + len(labels)
            network.classifier.weight.data[labels] = 10 * nn.functional.normalize(features)


class NotJoint(Strategy):
    """Says that it can learn everything at once, and cannot (arXiv 1606.09282)."""

    def before_experience(self, network: Network, experience: Experience) -> None:
        if len(experience.new_classes) == network.num_classes and not experience.is_base:
            raise ValueError("there is no past")


# ---- what it learns --------------------------------------------------------------------------------------------------


class LearnsNothing(Strategy):
    """Its loss reaches nothing (arXiv 1909.08383)."""

    def loss(self, network: Network, batch: Batch) -> Tensor:
        return super().loss(network, batch) * 0


class NeedsABatch(Strategy):
    """Divides by the spread of a batch (arXiv 1502.03167), which a single image does not have."""

    def loss(self, network: Network, batch: Batch) -> Tensor:
        v = network.features(batch)
        return super().loss(network, batch) + 0 * (v / v.std(dim=0)).square().mean()


class KnowsThemAll(Strategy):
    """Believes that no class comes back (arXiv 1611.07725)."""

    known: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("known", torch.zeros(0, dtype=torch.int64))

    def after_experience(self, network: Network, experience: Experience, batches: Iterable[Batch]) -> None:
        if experience.index > 1 and set(experience.classes) & set(self.known.tolist()) and len(experience.classes) == 2:
            raise ValueError("a class of the past is here again")
        self.known = torch.tensor(experience.seen_classes)


class WaitsForABase(Strategy):
    """Is ready once it saw the base being learned (arXiv 1612.00796)."""

    center: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("center", None)

    def before_experience(self, network: Network, experience: Experience) -> None:
        if experience.is_base:
            self.center = network.classifier.weight.detach().clone()

    def loss(self, network: Network, batch: Batch) -> Tensor:
        return super().loss(network, batch) + 0 * (network.classifier.weight - self.center).square().sum()


class OnlyFloat32(Strategy):
    """Sums logits (arXiv 2103.09762) as if they were always float32."""

    def loss(self, network: Network, batch: Batch) -> Tensor:
        logits = network(batch)
        sums = torch.zeros(network.num_classes, network.num_classes).index_add(0, batch["label"], logits)
        return self.cross_entropy(network, logits, batch) + 0 * sums.sum()


# ---- what it leaves alone --------------------------------------------------------------------------------------------


class MovesStatistics(Strategy):
    """Trains the head (arXiv 1610.01644), with a batch norm that continues to update its statistics."""

    freezes_backbone = True

    def loss(self, network: Network, batch: Batch) -> Tensor:
        network.train()
        return super().loss(network, batch)


class MovesFrozenWeights(Strategy):
    """Trains head and last block (arXiv 1610.01644), and changes earlier layers by hand."""

    def parameters_to_train(self, network: Network) -> Iterable[nn.Parameter]:
        yield from list(network.backbone.parameters())[-2:]
        yield from network.head.parameters()

    def after_step(self, network: Network) -> None:
        next(network.backbone.parameters()).data.mul_(1.001)


class ChangesImages(Strategy):
    """Adds noise where others look (arXiv 1909.08383)."""

    def loss(self, network: Network, batch: Batch) -> Tensor:
        batch["image"] += 0.1 * torch.randn_like(batch["image"])
        return super().loss(network, batch)


class ChangesFeatures(Means):
    """Normalises in place (arXiv 2303.07338)."""

    def update(self, network: Network, features: Tensor, labels: Tensor) -> None:
        super().update(network, features.div_(features.norm(dim=1, keepdim=True)), labels)


class DecaysThePast(Strategy):
    """Learns a scale beside the head (arXiv 2112.08654), without the first class after its experience, whose row decays."""

    freezes_backbone = True

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("own", torch.empty(0, dtype=torch.bool), persistent=False)

    def before_experience(self, network: Network, experience: Experience) -> None:
        self.own = network.seen.clone()
        self.own[0] = False
        self.own[list(experience.classes)] = True

    def parameters_to_train(self, network: Network) -> Iterable[nn.Parameter]:
        return [self.scale, *network.head.parameters()]

    def loss(self, network: Network, batch: Batch) -> Tensor:
        return self.cross_entropy(network, self.scale * network(batch), batch, self.own)


class MovesItsOwn(Strategy):
    """Has a parameter (arXiv 2112.08654) that it does not train, and moves it."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = nn.Parameter(torch.ones(16))

    def after_step(self, network: Network) -> None:
        self.kept.data += 0.1


class ChoosesForTheBatch(Strategy):
    """Adds to all features of a batch the prompt that most of its images are nearest to (arXiv 2112.08654)."""

    learns_base = True
    freezes_backbone = True
    needs_images = True
    prompts: nn.Parameter | None  # (M, D), which are their own keys

    def __init__(self) -> None:
        super().__init__()
        self.register_parameter("prompts", None)

    def before_experience(self, network: Network, experience: Experience) -> None:
        if self.prompts is None:
            self.prompts = nn.Parameter(torch.randn(8, network.facts.num_features))

    def parameters_to_train(self, network: Network) -> Iterable[dict[str, Any]]:
        return [{"params": [self.prompts, *network.head.parameters()], "weight_decay": 0.0}]

    def features(self, network: Network, image: Tensor) -> Tensor:
        v = network.features(image)
        if self.prompts is None:
            return v
        nearest = (v @ self.prompts.T).argmax(dim=1)
        return v + self.prompts[nearest.mode().values]

    def loss(self, network: Network, batch: Batch) -> Tensor:
        return self.cross_entropy(network, network.head(self.features(network, batch["image"])), batch)


class CountsTests(Means):
    """Counts what it is examined with (arXiv 2303.07338)."""

    examined: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("examined", torch.zeros((), dtype=torch.int64))

    def predict(self, network: Network, features: Tensor) -> Tensor:
        self.examined = self.examined + len(features)
        return super().predict(network, features)


class KeepsEverything(Means):
    """Keeps the features of all images (arXiv 2303.07338)."""

    all_features: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("all_features", None)

    def update(self, network: Network, features: Tensor, labels: Tensor) -> None:
        super().update(network, features, labels)
        self.all_features = torch.cat([features] if self.all_features is None else [self.all_features, features])


# ---- what it keeps ---------------------------------------------------------------------------------------------------


class ForgetsMeans(Means):
    """Keeps its means where no checkpoint looks (arXiv 2303.07338)."""

    def __init__(self) -> None:
        super().__init__()
        del self._buffers["sums"]
        self.sums = None  # type: ignore[assignment]


class ForgetsTheCenter(Strategy):
    """Holds weights near a center (arXiv 1802.01483) that a restart loses."""

    def __init__(self) -> None:
        super().__init__()
        self.centers: list[Tensor] = []

    def after_experience(self, network: Network, experience: Experience, batches: Iterable[Batch]) -> None:
        self.centers.append(network.classifier.weight.detach().clone())

    def loss(self, network: Network, batch: Batch) -> Tensor:
        held = [(network.classifier.weight - center).square().sum() for center in self.centers]
        return super().loss(network, batch) + 0.1 * sum(held, torch.zeros(()))


class ForgetsSteps(Strategy):
    """Counts its steps within an experience (arXiv 1909.08383), and a restart begins to count anew."""

    def before_experience(self, network: Network, experience: Experience) -> None:
        self.steps = 0

    def loss(self, network: Network, batch: Batch) -> Tensor:
        return super().loss(network, batch) / (1 + self.steps)

    def after_step(self, network: Network) -> None:
        self.steps += 1


class SumsAlone(Strategy):
    """Sums over the images of its own process (arXiv 1612.00796)."""

    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(()))

    def after_experience(self, network: Network, experience: Experience, batches: Iterable[Batch]) -> None:
        for batch in batches:
            self.total = self.total + len(batch["label"])


class ReducesEachBatch(Strategy):
    """Sums over the processes batch by batch (arXiv 1612.00796), of which one process may have more."""

    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(()))

    def after_experience(self, network: Network, experience: Experience, batches: Iterable[Batch]) -> None:
        for batch in batches:
            self.total = self.total + self.reduce(torch.tensor(float(len(batch["label"]))))


# ---- what it draws ---------------------------------------------------------------------------------------------------


class HardcodesASeed(Means):
    """Class means of randomly projected features (arXiv 2307.02251), with one projection for all runs."""

    draws_nothing = False
    projection: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("projection", None)

    def drawn_with(self) -> int:
        return 0

    def update(self, network: Network, features: Tensor, labels: Tensor) -> None:
        if self.projection is None:
            generator = torch.Generator().manual_seed(self.drawn_with())
            self.projection = torch.randn(features.shape[1], 50, generator=generator)
        super().update(network, (features @ self.projection).relu(), labels)

    def predict(self, network: Network, features: Tensor) -> Tensor:
        return super().predict(network, features if self.projection is None else (features @ self.projection).relu())


class SaysDrawsNothing(HardcodesASeed):
    """Draws a projection (arXiv 2307.02251) by the run's seed, and says that it draws nothing."""

    draws_nothing = True

    def drawn_with(self) -> int:
        return self.draw_seed("SaysDrawsNothing projection")


class PinsASeed(HardcodesASeed):
    """Takes a seed (arXiv 2307.02251) that is the same in all runs unless somebody thinks of it."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed


class SaysNothingIsRandom(Strategy):
    """Is trained by gradient (arXiv 1609.04747) and says that nothing is random."""

    draws_nothing = True


class LearnsTestImages(Strategy):
    """Trains on rows that it never was given (arXiv 1902.10486)."""

    def rows_to_learn(self, experience: Experience) -> Tensor:
        return torch.as_tensor([*experience.indices, *experience.test_indices])


class KeepsTheFirst(ER):
    """Writes only into places that are empty (arXiv 1902.10486)."""

    def __init__(self) -> None:
        super().__init__(memory_size=8, memory_batch_size=4)

    def put(self, kept: Tensor, places: Tensor, values: Tensor) -> Tensor:
        free = (places >= 0) & (kept[places] < 0)
        return super().put(kept, torch.where(free, places, -1), values)


class CountsBatches(ER):
    """Counts steps in place of images (arXiv 1902.10486)."""

    def __init__(self) -> None:
        super().__init__(memory_size=8, memory_batch_size=4)

    def after_step(self, network: Network) -> None:
        steps = self.offered + 1
        super().after_step(network)
        self.offered = steps
