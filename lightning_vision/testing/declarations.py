"""Declarations of a learning strategy compared with its behaviour."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from lightning_vision.data.stream import Experience
from lightning_vision.learning.strategy import ALL_SCENARIOS, Strategy, trainable
from lightning_vision.results.schema import Results
from lightning_vision.testing.squares import ColouredSquares
from lightning_vision.testing.trial import Run, Trial, test_batches

# A hook that is filled, and the kind of strategy that it is never called of.
NEVER_CALLED = {
    "gradient": ("update",),
    "closed_form": ("loss", "parameters_to_train", "after_backward", "stages"),
}
SOURCE = re.compile(
    r"(?i:arXiv)\W*\d{4}\.\d{4,5}|\b10\.\d{4,}/\S|ISBN\W*\d|https?://\S"
    # Robbins and Monro (1951); Robbins, 1951; Robbins et al., Annals 22, 1951
    r"|[A-Z]\w+(?: (?:and|&) [A-Z]\w+)?(?:, | \()(?:19|20)\d\d\b|[A-Z]\w+ et al\b[^\n]{1,60}\b(?:19|20)\d\d\b"
)


def untrue_of_class(strategy: Strategy) -> Iterator[str]:
    """Declarations that contradict each other or the overridden hooks."""
    cls, kind = type(strategy), strategy.kind
    if kind not in NEVER_CALLED:
        yield f"kind: expected 'gradient' or 'closed_form', found {kind!r}."
        return
    for hook in NEVER_CALLED[kind]:
        if getattr(cls, hook) is not getattr(Strategy, hook):
            yield (
                f"It overrides {hook}, which is not called for kind = {kind!r}. Declare the other kind, or remove "
                f"{hook}."
            )
    if kind == "closed_form" and cls.update is Strategy.update:
        yield "It declares kind = 'closed_form' but has no update(network, features, labels)."
    if kind == "closed_form" and not strategy.freezes_backbone:
        yield (
            "A closed form does not train the backbone. Declare freezes_backbone = True, so that features are "
            "computed once."
        )
    if kind == "gradient" and (strategy.needs_base_data or strategy.passes != 1):
        yield "needs_base_data and passes are for closed forms, but it declares kind = 'gradient'. Remove them."
    if kind == "gradient" and strategy.draws_nothing:
        yield (
            "It declares draws_nothing and kind = 'gradient', but the order of batches depends on the seed. Remove "
            "draws_nothing."
        )
    seed = inspect.signature(cls).parameters.get("seed")
    if seed is not None and seed.default is not None:
        yield (
            f"The default of its seed is {seed.default}, the same in all runs. Expected seed: int | None = None, and "
            'self.draw_seed("what is drawn", self.seed).'
        )
    if unknown := set(strategy.scenarios) - ALL_SCENARIOS:
        yield f"scenarios: expected some of {', '.join(sorted(ALL_SCENARIOS))}; found {', '.join(sorted(unknown))} too."
    if strategy.follows_base and all(
        getattr(cls, hook) is getattr(Strategy, hook) for hook in ("after_backward", "after_step")
    ):
        yield "It declares follows_base, but overrides neither after_backward nor after_step. Remove follows_base."


def untrue_of_run(trial: Trial, run: Run) -> Iterator[str]:
    """Declarations that contradict a finished run."""
    last = run.finished - 1
    model, data = trial.load(run, last)
    strategy = model.strategy
    present = data.stream[last]
    if strategy.kind == "gradient" and not strategy.freezes_backbone:
        names = trained_names(trial, run, last)
        if not any(name.startswith("backbone.") for name in names):
            yield "No stage trains the backbone. Declare freezes_backbone = True, so that features are computed once."
    yield from _untrue_memory(strategy, data.stream.experiences[: last + 1])
    yield from below_class_accuracy(run.results)
    yield from _untrue_rows(strategy, data.stream.experiences[: last + 1])
    yield from _untrue_places(strategy, data)
    predicted = [model.predict_logits(batch) for batch in test_batches(model, data)]
    several = isinstance(predicted[0], Mapping) and len(predicted[0]) > 1
    if several and not strategy.needs_validation:
        yield (
            "predict returns several variants, but needs_validation is False. Set it to True, because one variant "
            "is selected on validation data."
        )
    if strategy.needs_validation and not several:
        yield (
            "It declares needs_validation, but predict returns a single variant after the last experience. Remove "
            "needs_validation."
        )
    if not strategy.needs_base_data and strategy.kind == "closed_form" and present.index and data.stream[0].is_base:
        base = list(data.stream[0].classes)
        first = [next(iter(each.values())) if isinstance(each, Mapping) else each for each in predicted]
        if not torch.isfinite(torch.cat(first)[:, base]).all():
            yield (
                "Its logits for classes of the base are not finite. Declare needs_base_data = True, so that update "
                "receives the data of the base."
            )
    if strategy.needs_base_data and data.stream[0].is_base:
        fresh, _ = trial.load(run, 0)
        before = trial.build()
        before.before_experience(fresh.network, data.stream[0])
        if before.state_dict() and same(before.state_dict(), fresh.strategy.state_dict()):
            yield (
                "It declares needs_base_data, but its state does not depend on the data of the base. Use the data, "
                "or remove needs_base_data."
            )


def below_class_accuracy(results: Results) -> Iterator[str]:
    """The first experience after which accuracy is lower where the experience of each image is given."""
    within = [None] * len(results.seen_accuracy) if results.task is None else results.task.accuracy
    for t, (given, among_all) in enumerate(zip(within, results.seen_accuracy, strict=True)):
        if given is not None and among_all is not None and given < among_all:
            yield (
                f"After experience {t}, accuracy is {given:.3f} where the experience of each image is given, and "
                f"{among_all:.3f} among all classes. Both must be computed from the same logits."
            )
            return


def _untrue_memory(strategy: Strategy, learned: tuple[Experience, ...]) -> Iterator[str]:
    memory, size = strategy.memory(), strategy.memory_batch_size
    if memory is None or not len(memory):
        if size:
            yield f"It declares memory_batch_size = {size}, but memory() returns no rows after the last experience."
        return
    if not size and type(strategy).rows_to_learn is Strategy.rows_to_learn:
        yield (
            f"memory() returns {len(memory)} rows, but memory_batch_size is 0, so they are not served. Set "
            "memory_batch_size."
        )
    rows = {int(row) for experience in learned for row in experience.indices}
    if memory.dtype != torch.int64 or memory.dim() != 1:
        yield f"memory(): expected rows (M,) int64, found {tuple(memory.shape)} {memory.dtype}."
    elif others := set(memory.tolist()) - rows:
        yield f"memory() returns rows that are not training images of the experiences so far, such as {min(others)}."


def _untrue_rows(strategy: Strategy, learned: tuple[Experience, ...]) -> Iterator[str]:
    rows = strategy.rows_to_learn(learned[-1])
    if rows is None:
        return
    known = {int(row) for experience in learned for row in experience.indices}
    if rows.dtype != torch.int64 or rows.dim() != 1 or not len(rows):
        yield f"rows_to_learn: expected rows (N,) int64, at least one, found {tuple(rows.shape)} {rows.dtype}."
    elif others := set(rows.tolist()) - known:
        yield (
            f"rows_to_learn returns rows that are not training images of the experiences so far, such as {min(others)}. "
            "Expected rows of the experience and remembered ones."
        )


def _untrue_places(strategy: Strategy, data: ColouredSquares) -> Iterator[str]:
    """What a reservoir holds, against one that is offered each image of the same epochs."""
    held = strategy.reservoir()
    if held is None:
        return
    learned = [experience for experience in data.stream if strategy.learns_base or not experience.is_base]
    epochs, rest = divmod(held.offered, sum(len(experience.indices) for experience in learned))
    if rest or not epochs:
        yield (
            f"Its reservoir was offered {held.offered} images, which is no whole number of epochs. Count the valid images of each "
            "batch, over all processes (self.reduce), in after_step."
        )
        return
    kept = replace(held, rows=np.full_like(held.rows, -1), offered=0)
    for experience in learned:
        for epoch in range(epochs):
            data.enter(experience.index, strategy.run_seed, epoch=epoch)
            for draws in data.train_dataloader().batch_sampler:  # type: ignore[union-attr] # a TrainBatches
                kept = kept.offer(np.array([draw.index for draw in draws]))[1]
    if not np.array_equal(kept.rows, held.rows):
        apart = np.flatnonzero(kept.rows != held.rows)
        yield (
            f"Its reservoir holds other images than those that took their places, in {len(apart)} of {len(held.rows)} places. Write "
            'batch["index"] of the images with batch["place"] >= 0, in after_step.'
        )


def trained_names(trial: Trial, run: Run, experience: int) -> set[str]:
    """The network's parameters that any stage of an experience trains, by name."""
    model, data = trial.load(run, experience)
    strategy, names = model.strategy, set()
    for stage in strategy.stages(data.stream[experience]):
        strategy.stage = stage
        trained = {id(parameter) for parameter in trainable(strategy.parameters_to_train(model.network))[1]}
        names |= {name for name, parameter in model.network.named_parameters() if id(parameter) in trained}
    return names


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Bit for bit."""
    return not differing(one, other)


def differing(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> list[str]:
    """The names of tensors that only one has or that are not bit-identical; NaN equals NaN."""
    return sorted(
        name
        for name in one.keys() | other.keys()
        if name not in one or name not in other or not _identical(one[name], other[name])
    )


def _identical(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool(torch.equal(one, other)) or bool(torch.allclose(one, other, rtol=0, atol=0, equal_nan=True))
