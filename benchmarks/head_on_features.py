"""HeadOnly on served features against a bare loop over the same tensors with the same steps.

    python -m benchmarks.head_on_features

Every feature is in the cache before. Ours is the training of an increment in ``fit``, from its Trainer to the best weights
restored: validation after each epoch, checkpoints and the CSV log included. The bare loop is a linear layer, AdamW and a plain
tensor of features, in the same order of batches, with the same validation and nothing else; at the end both heads must be
equal bit by bit. Seconds of the wall clock, and of the processor, which other programs on the machine disturb less.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from benchmarks.measuring import QUIET, InMemory, fit, hold_noise, in_memory, in_turn, machine, spread, table
from lightning_vision.data.scenarios import InstanceIncremental
from lightning_vision.features.feature_cache import FeatureCache
from lightning_vision.learning.checkpoints import read_checkpoint
from lightning_vision.run.stage_training import StageTraining
from lightning_vision.seeding import derive_seed

SIZE = 32
Measured = tuple[float, float, Tensor]
"""Seconds of the clock, seconds of the processor, and the weights (C, D) of the head at the end."""


def measured(work: Callable[[], Tensor]) -> Measured:
    """What a training takes, and the weights that it gives."""
    clock, processor = time.perf_counter(), time.process_time()
    weight = work()
    return time.perf_counter() - clock, time.process_time() - processor, weight


class LastStage:
    """Stands in for ``StageTraining.train``: measures the last stage, and keeps the weights that it begins with."""

    def __init__(self) -> None:
        self.train = StageTraining.train
        self.begun: dict[str, Tensor] = {}
        self.taken: Measured | None = None
        self.seen: Tensor | None = None

    def __call__(self, training: StageTraining, *stage: Any) -> None:
        """Train a stage."""
        network = training.context.model.network
        self.begun = {name: value.clone() for name, value in network.head.state_dict().items()}
        self.seen = network.seen.clone()

        def train() -> Tensor:
            self.train(training, *stage)
            return network.classifier.weight.detach().clone()

        self.taken = measured(train)


class Served:
    """Keeps the features that the cache serves, by row."""

    def __init__(self) -> None:
        self.take = FeatureCache.take
        self.features: dict[int, Tensor] = {}

    def __call__(self, cache: FeatureCache, rows: Any, seeds: Any) -> Tensor:
        """Serve features."""
        found = self.take(cache, rows, seeds)
        self.features.update(zip(rows.tolist(), found, strict=True))
        return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--images", type=int, default=304, help="of the increment: 19 steps an epoch")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    # The increment is half of what is left for training once a tenth is cut off for validation.
    hold_noise(round(2 * options.images / 0.9), SIZE, test_count=100)
    last = LastStage()
    StageTraining.train = lambda *given: last(*given)  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)

        def run(name: str) -> None:
            """A base and one increment, both of the head alone."""
            results = fit(
                folder, name, *QUIET, *in_memory(SIZE, options.batch_size), f"--model.backbone={options.backbone}",
                "--model.strategy=HeadOnly", "--model.base_strategy=HeadOnly", "--data.views=0", "--data.val_fraction=0.1",
                "--data.stream=InstanceIncremental", "--data.stream.experiences=2", f"--data.cache_dir={folder / 'cache'}",
                f"--trainer.max_epochs={options.epochs}", "--model.restore_best=false", "--seed_everything=0",
            )  # fmt: skip
            if results.features is None or (name != "first" and results.features.computed):
                raise SystemExit(f"the features were not found: {results.features}")

        served = Served()
        FeatureCache.take = lambda *given: served(*given)  # type: ignore[method-assign]
        run("first")
        FeatureCache.take = served.take  # type: ignore[method-assign]
        data = InMemory(
            ".", image_size=SIZE, batch_size=options.batch_size, val_fraction=0.1, on_leak="warn", cache_dir=folder / "cache",
            stream=InstanceIncremental(experiences=2),
        )  # fmt: skip
        increment = data.stream[1]
        features = torch.zeros(len(data.samples), next(iter(served.features.values())).numel())
        for row, vector in served.features.items():
            features[row] = vector
        labels = torch.from_numpy(data.samples["label"].to_numpy(copy=True))
        data.enter(1, 0)
        starts = data.train_dataloader().batch_sampler.starts  # type: ignore[union-attr] # a TrainBatches
        steps = options.epochs * len(starts)

        def ours(repeat: int) -> Measured:
            """The increment in a run."""
            run(f"run-{repeat}")
            if last.taken is None:
                raise SystemExit("no stage was trained")
            return last.taken

        def bare(_: int) -> Measured:
            """The loop that anyone would write."""
            head = nn.Linear(features.shape[1], len(data.class_names))
            head.load_state_dict(last.begun)
            unseen = ~last.seen if last.seen is not None else torch.zeros(len(data.class_names), dtype=torch.bool)
            optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3)
            validation = torch.from_numpy(increment.val_indices.copy())

            def train() -> Tensor:
                for epoch in range(options.epochs):
                    order = np.random.default_rng(derive_seed(0, "order", 1, epoch)).permutation(increment.indices)
                    for rows in np.split(order, starts[1:]):
                        logits = head(features[rows]).masked_fill(unseen, -torch.inf)
                        loss = F.cross_entropy(logits, labels[rows], reduction="none").mean()
                        optimizer.zero_grad()
                        loss.backward()  # type: ignore[no-untyped-call]
                        optimizer.step()
                    with torch.no_grad():
                        logits = head(features[validation]).masked_fill(unseen, -torch.inf)
                        (logits.argmax(dim=1) == labels[validation]).float().mean().item()
                return head.weight.detach().clone()

            return measured(train)

        found = in_turn({"ours": ours, "bare": bare}, options.repeats)
        saved = read_checkpoint(folder / "run-0" / "checkpoints" / "experience=0001.ckpt")["state_dict"]
    equal = all(torch.equal(weight, saved["network.head.weight"]) for pairs in found.values() for *_, weight in pairs)
    if not equal:
        raise SystemExit("the two heads differ")
    clock = {side: [seconds for seconds, *_ in pairs] for side, pairs in found.items()}
    processor = {side: [seconds for _, seconds, _ in pairs] for side, pairs in found.items()}
    rows = [
        [
            name,
            spread(clock[side], 3),
            spread(processor[side], 3),
            spread([one / other for one, other in zip(processor[side], processor["bare"], strict=True)], 1),
            f"{2 * min(processor['bare']) + 0.5:.2f}" if side == "ours" else "",
        ]
        for side, name in (("ours", "HeadOnly in fit"), ("bare", "bare loop"))
    ]
    about = (
        f"{steps} steps of {options.batch_size} features of {features.shape[1]} in {options.epochs} epochs, {options.repeats} "
        f"repeats; the heads are equal bit by bit; {machine('timm')}"
    )
    columns = ["", "seconds: median (extremes)", "of the processor", "ratio of the processor's", "at most 2 x + 0.5"]
    table(about, columns, rows)
