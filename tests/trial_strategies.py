"""Learning strategies that use one hook of the interface each, as a third party would write them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision import Batch, Experience, Network, Strategy


class LastBlock(Strategy):
    """Trains the backbone's last block and the head: frozen in part."""

    def parameters_to_train(self, network: Network) -> Iterable[nn.Parameter]:
        yield from network.backbone.get_submodule("layer4").parameters()
        yield from network.head.parameters()


class SaysFrozen(LastBlock):
    """Declares what it does not keep."""

    freezes_backbone = True


class HeadThenAll(Strategy):
    """Two stages; counts the optimizer steps of each."""

    steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros(2, dtype=torch.int64))

    def stages(self, experience: Experience) -> Sequence[str]:
        return ("all",) if experience.is_base else ("head", "all")

    def parameters_to_train(self, network: Network) -> Iterable[nn.Parameter]:
        return network.head.parameters() if self.stage == "head" else network.parameters()

    def after_step(self, network: Network) -> None:
        self.steps[("head", "all").index(self.stage)] += 1


class HeadThenNotANumber(HeadThenAll):
    """The second stage of an increment fails at once."""

    def loss(self, network: Network, batch: Batch) -> Tensor:
        loss = super().loss(network, batch)
        return loss * torch.nan if self.stage == "all" and int(self.steps[0]) else loss


class Replay(Strategy):
    """Keeps the first images of each experience and learns them beside the new ones."""

    memory_batch_size = 6
    kept: Tensor  # (M,) rows of the sample table
    served: Tensor  # (M',) those that came back, in the order in which they did
    sizes: Tensor  # (S, 2) images of each batch, new and remembered

    def __init__(self, per_experience: int = 5) -> None:
        super().__init__()
        self.per_experience = per_experience
        for name, shape in (("kept", (0,)), ("served", (0,)), ("sizes", (0, 2))):
            self.register_buffer(name, torch.empty(shape, dtype=torch.int64))

    def memory(self) -> Tensor | None:
        return self.kept if len(self.kept) else None

    def loss(self, network: Network, batch: Batch) -> Tensor:
        loss = super().loss(network, batch)
        memory = batch.get("memory")
        remembered = 0 if memory is None else len(memory["label"])
        self.sizes = torch.cat([self.sizes, torch.tensor([[len(batch["label"]), remembered]])])
        if memory is None:
            return loss
        self.served = torch.cat([self.served, memory["index"]])
        return (loss + super().loss(network, memory)) / 2

    def after_experience(self, network: Network, experience: Experience, batches: Iterable[Batch]) -> None:
        index = torch.cat([batch["index"] for batch in batches])
        self.kept = torch.cat([self.kept, index[: self.per_experience]])


class ClassMeans(Strategy):
    """Nearest class mean; needs the features of the base's data too."""

    kind = "closed_form"
    freezes_backbone = True
    needs_base_data = True
    sums: Tensor  # (C, D)
    counts: Tensor  # (C,) int64

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("sums", None)
        self.register_buffer("counts", None)

    def before_experience(self, network: Network, experience: Experience) -> None:
        if self.sums is None:
            self.sums = network.classifier.weight.new_zeros(network.num_classes, network.facts.num_features)
            self.counts = torch.zeros(network.num_classes, dtype=torch.int64)

    def update(self, network: Network, features: Tensor, labels: Tensor) -> None:
        self.sums = self.sums.index_add(0, labels, features)
        self.counts += torch.bincount(labels, minlength=len(self.counts))

    def predict(self, network: Network, features: Tensor) -> Tensor:
        if self.sums is None:
            return super().predict(network, features)
        return -torch.cdist(features, self.sums / self.counts.clamp(min=1)[:, None])


class Witness(Strategy):
    """Learns nothing of its own; writes down what it is told and when."""

    calls: Tensor  # (n,) experience numbers, +100 before and +200 after
    order: Tensor  # rows that after_experience was given, twice
    evaluating: Tensor  # whether the network was in evaluation mode then

    def __init__(self) -> None:
        super().__init__()
        for name in ("calls", "order", "evaluating"):
            self.register_buffer(name, None)

    def before_experience(self, network: Network, experience: Experience) -> None:
        self._note("calls", torch.tensor([100 + experience.index]))

    def after_experience(self, network: Network, experience: Experience, batches: Iterable[Batch]) -> None:
        self._note("calls", torch.tensor([200 + experience.index]))
        for _ in range(2):  # the batches may be gone through more than once
            self._note("order", torch.cat([batch["index"] for batch in batches]))
        self._note("evaluating", torch.tensor([not any(module.training for module in network.modules())]))

    def _note(self, name: str, found: Tensor) -> None:
        before = getattr(self, name)
        setattr(self, name, found if before is None else torch.cat([before, found]))


class TurnsNotANumber(Strategy):
    """The loss of one batch of increment 1 is not a number: in the second epoch, the first being good."""

    losses: Tensor

    def __init__(self, bad: int = 4) -> None:
        super().__init__()
        self.bad = bad
        self.register_buffer("losses", torch.zeros((), dtype=torch.int64))
        self.increment = False

    def before_experience(self, network: Network, experience: Experience) -> None:
        self.increment = experience.index == 1

    def loss(self, network: Network, batch: Batch) -> Tensor:
        loss = super().loss(network, batch)
        if self.increment:
            self.losses += 1
        return loss * torch.nan if self.increment and int(self.losses) == self.bad else loss


class OnlyJoint(Strategy):
    """Can learn in one scenario."""

    scenarios = frozenset({"Joint"})


class TwoHeads(Strategy):
    """Predicts two variants, of which the second is the better one."""

    needs_validation = True

    def predict(self, network: Network, features: Tensor) -> dict[str, Tensor]:
        logits = network.head(features)
        return {"upside down": -logits, "as it is": logits}


class NothingToTrain(Strategy):
    """Returns no parameter."""

    def parameters_to_train(self, network: Network) -> Iterable[nn.Parameter]:
        return []


class ForgotUpdate(Strategy):
    """A closed form without its update."""

    kind = "closed_form"


class Distances(Strategy):
    """Keeps a frozen copy of the head for each experience, made anew from metadata before a checkpoint is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.teacher = nn.ModuleDict()

    def before_experience(self, network: Network, experience: Experience) -> None:
        if experience.index and "head" not in self.teacher:
            teacher = nn.Linear(network.facts.num_features, network.num_classes)
            teacher.load_state_dict(network.classifier.state_dict())
            self.teacher["head"] = teacher.requires_grad_(False)

    def loss(self, network: Network, batch: Batch) -> Tensor:
        loss = super().loss(network, batch)
        if "head" not in self.teacher:
            return loss
        v = network.features(batch["image"])
        return loss + F.mse_loss(network.head(v), self.teacher["head"](v))


class LaterVersion(Strategy):
    """Has options that earlier versions of it had not, or had with other defaults."""

    EARLIER_DEFAULTS: ClassVar[Mapping[str, object]] = {"seed": 0, "over": "all", "gone": 1}

    def __init__(self, seed: int | None = None, over: str = "new", added: float = 0.5) -> None:
        super().__init__()
        self.seed, self.over, self.added = seed, over, added


class Shifted(Strategy):
    """Trains the network and a shift of its features, which grows by a row with each experience; another parameter stays."""

    learns_base = True
    shift: nn.Parameter  # (T, D)

    def __init__(self) -> None:
        super().__init__()
        self.register_parameter("shift", None)
        self.untrained = nn.Parameter(torch.ones(2))

    def before_experience(self, network: Network, experience: Experience) -> None:
        row = torch.zeros(1, network.facts.num_features)
        if self.shift is None or len(self.shift) <= experience.index:
            self.shift = nn.Parameter(row if self.shift is None else torch.cat([self.shift.detach(), row]))

    def parameters_to_train(self, network: Network) -> Iterable[dict[str, Any]]:
        return [{"params": [self.shift, *network.parameters()], "weight_decay": 0.1}]

    def features(self, network: Network, image: Tensor) -> Tensor:
        v = network.features(image)
        return v if self.shift is None else v + self.shift.sum(dim=0)

    def loss(self, network: Network, batch: Batch) -> Tensor:
        return self.cross_entropy(network, network.head(self.features(network, batch["image"])), batch)


class Growing(Strategy):
    """One more graft in each experience, of each kind in turn; only the newest is trained."""

    learns_base = True
    newest = ""

    def before_experience(self, network: Network, experience: Experience) -> None:
        kind, options = (
            ("adapter", {"width": 2}),
            ("low_rank", {"rank": 2}),
            ("tokens", {"length": 1, "deep": False}),
            ("scale_shift", {}),
            ("tokens", {"length": 2}),
        )[experience.index % 5]
        self.newest = f"t{experience.index}"
        network.graft(kind, self.newest, **options)

    def parameters_to_train(self, network: Network) -> Iterable[nn.Parameter]:
        return [*network.grafted(self.newest), *network.head.parameters()]
