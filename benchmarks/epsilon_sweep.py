"""The cost of a sweep of epsilons against one epsilon: only Move-to-Data's update, with given features.

    python benchmarks/epsilon_sweep.py

The peer is the update as it is usually written: one image and one epsilon at a time, in a loop.
"""

import argparse
import os
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from lightning_vision.data.stream import Experience
from lightning_vision.learning.backbones import BackboneFacts
from lightning_vision.learning.network import Network
from strategies.move_to_data import MoveToData


def by_hand(weight: torch.Tensor, features: torch.Tensor, labels: torch.Tensor, epsilon: float) -> torch.Tensor:
    """The equation, sample by sample, float64."""
    w = weight.double().clone()
    for v, j in zip(features.double(), labels.tolist(), strict=True):
        w[j] += epsilon * (w[j].norm() * v / v.norm() - w[j])
    return w.to(weight.dtype)


def seconds(repeats: int, work: Callable[[], None]) -> float:
    """Median time of a call."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return float(np.median(times))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.manual_seed(0)
    print(f"{os.cpu_count()} cores, torch {torch.__version__}, {options.repeats} repeats, batches of 32, D = 1536")
    print("| samples | classes | epsilons | one pass, s | loop by hand, s | ratio |\n|---|---|---|---|---|---|")
    for n, c, e in ((4500, 9, 1), (4500, 9, 32), (4500, 196, 32)):
        weight, features, labels = torch.randn(c, 1536), torch.randn(n, 1536), torch.randint(0, c, (n,))
        epsilons = torch.logspace(-6, -1, e, dtype=torch.float64)

        network = Network(nn.Identity(), BackboneFacts("given", 1536, (0.5,) * 3, (0.5,) * 3), c)
        network.see(range(c))
        nothing = np.arange(0)
        increment = Experience(0, "increment", False, (), (), (), nothing, nothing, nothing)

        def sweep() -> None:
            strategy = MoveToData(epsilons.tolist())  # noqa: B023 - called within the round
            strategy.before_experience(network, increment)  # noqa: B023
            for start in range(0, n, 32):  # noqa: B023
                part = slice(start, start + 32)
                strategy.update(network, features[part], labels[part])  # noqa: B023

        def loop() -> None:
            for epsilon in epsilons.tolist()[:2]:  # noqa: B023 - two of them, scaled below
                by_hand(weight, features, labels, epsilon)  # noqa: B023

        one_pass = seconds(options.repeats, sweep)
        hand = seconds(max(1, options.repeats // 2), loop) * e / min(e, 2)
        print(f"| {n} | {c} | {e} | {one_pass:.2f} | {hand:.2f} | {hand / one_pass:.1f} |")
