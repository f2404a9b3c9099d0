"""RanPAC and FeCAM, learning and evaluating, against bare torch versions of the same equations.

    OMP_NUM_THREADS=1 python -m benchmarks.closed_forms

A stream of five experiences, half of the training features in the first, with all test features predicted after each. Ours gets
batches as a run serves them: ``--batch_size`` features for learning, and those of an evaluation together. The bare versions get an
experience's features at once, keep what they need in plain tensors, and check nothing. Both must predict the same. Seconds of the
processor, which other programs on the machine disturb less than the clock.
"""

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from benchmarks.measuring import in_turn, machine, ratios, spread, table
from lightning_vision.data.stream import Experience
from lightning_vision.data.stream_loaders import FEATURES_AT_ONCE
from lightning_vision.learning.backbones import BackboneFacts
from lightning_vision.learning.network import Network
from strategies.fecam import FeCAM
from strategies.queued_strategy import QueuedStrategy
from strategies.ran_pac import CANDIDATES, TOLERANCE, RanPAC, held_out
from strategies.ridge_strategy import SOLVABLE

Learn = Callable[[Tensor, Tensor], Callable[[Tensor], Tensor]]
"""Takes an experience's features (N, D) and labels (N,); returns a function from features (N, D) to logits (N, C)."""
Measured = tuple[float, float, Tensor]
"""Seconds of learning and of evaluation, and the logits after each experience (T, N, C)."""
ROWS = np.zeros(0, dtype=np.int64)


def make_features(count: int, dimensions: int, classes: int) -> tuple[Tensor, Tensor]:
    """Correlated features (N, D) that are not negative, around one centre a class, and their labels (N,)."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % classes
    centres = torch.randn(classes, dimensions, generator=generator)
    shape = torch.randn(dimensions, dimensions, generator=generator) / dimensions**0.5
    noise = torch.randn(count, dimensions, generator=generator) @ shape
    return (0.3 * centres[labels] + noise).relu(), labels


class Ours:
    """A strategy, given batches as in a run."""

    def __init__(self, strategy: QueuedStrategy, dimensions: int, classes: int, batch_size: int, at_once: int) -> None:
        self.strategy, self.batch_size, self.at_once = strategy, batch_size, at_once
        facts = BackboneFacts("none", dimensions, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        self.network = Network(nn.Flatten(), facts, classes).eval()
        self.network.see(range(classes))

    def __call__(self, features: Tensor, labels: Tensor) -> Callable[[Tensor], Tensor]:
        """Learn an experience."""
        experience = Experience(0, "", False, (), (), (), ROWS, ROWS, ROWS)
        self.strategy.before_experience(self.network, experience)
        for start in range(0, len(labels), self.batch_size):
            some = slice(start, start + self.batch_size)
            self.strategy.update(self.network, features[some], labels[some])
        self.strategy.after_experience(self.network, experience, [])
        return self.predict

    def predict(self, features: Tensor) -> Tensor:
        """Logits of all features."""
        starts = range(0, len(features), self.at_once)
        found = [self.strategy.predict(self.network, features[start : start + self.at_once]) for start in starts]
        return torch.cat([logits for logits in found if isinstance(logits, Tensor)])


def bare_ran_pac(projection: Tensor, classes: int) -> Learn:
    """RanPAC with the projection W (D, M)."""
    w, m = projection.double(), projection.shape[1]
    grams, targets = torch.zeros(2, m, m).double(), torch.zeros(2, m, classes).double()
    counts = [0, 0]

    def solve(gram: Tensor, target: Tensor, ridge: float) -> Tensor:
        regularised = gram.clone()
        regularised.diagonal().add_(ridge)
        return torch.cholesky_solve(target, torch.linalg.cholesky(regularised))

    def learn(features: Tensor, labels: Tensor) -> Callable[[Tensor], Tensor]:
        v = features.double()
        h, y, held = (v @ w).relu(), F.one_hot(labels, classes).double(), held_out(v, w[:, 0])
        for part, mine in enumerate((~held, held)):
            grams[part] += h[mine].T @ h[mine]
            targets[part] += h[mine].T @ y[mine]
            counts[part] += int(mine.sum())
        gram, target = grams.sum(dim=0), targets.sum(dim=0)
        errors = {}
        for ridge in CANDIDATES:
            if ridge >= SOLVABLE * float(gram.norm()):
                x = solve(grams[0], targets[0], ridge)
                error = (x * (grams[1] @ x)).sum() - 2 * (x * targets[1]).sum() + counts[1]
                errors[ridge] = float(error) / counts[1]
        least = min(errors.values())
        ridge = max(ridge for ridge, error in errors.items() if error <= least * (1 + TOLERANCE) + 1e-6)
        head = solve(gram, target, ridge)
        return lambda test: (test.double() @ w).relu() @ head

    return learn


def bare_fecam(classes: int, power: float = 0.5, gamma: float = 3.0) -> Learn:
    """FeCAM with the options of the strategy's default."""
    seen: list[list[Tensor]] = [[] for _ in range(classes)]

    def learn(features: Tensor, labels: Tensor) -> Callable[[Tensor], Tensor]:
        means, factors = [], []
        for c in range(classes):
            seen[c].append(features[labels == c].double())
            v = torch.cat(seen[c])
            sigma, d = v.pow(power).T.cov(), v.shape[1]
            eye = torch.eye(d).double()
            v1 = sigma.diagonal().mean()
            v2 = (sigma.sum() - sigma.trace()) / (d * (d - 1))
            sigma = sigma + gamma * v1 * eye + gamma * v2 * (1 - eye)
            sd = sigma.diagonal().sqrt()
            factor = torch.linalg.cholesky(sigma / (sd[:, None] * sd))
            factors.append(torch.linalg.solve_triangular(factor, eye, upper=False).float())
            means.append(F.normalize(v.mean(dim=0).pow(power), dim=0))

        def predict(test: Tensor) -> Tensor:
            x = F.normalize(test.double().pow(power), dim=1)
            pairs = zip(means, factors, strict=True)
            return torch.stack([-((x - mu).float() @ a.T).square().sum(dim=1) for mu, a in pairs], dim=1)

        return predict

    return learn


@torch.no_grad()
def measured(learn: Learn, parts: Sequence[tuple[Tensor, Tensor]], test: Tensor) -> Measured:
    """A stream, evaluated after each experience."""
    learning, evaluation, found = 0.0, 0.0, []
    for features, labels in parts:
        begun = time.process_time()
        predict = learn(features, labels)
        learned = time.process_time()
        found.append(predict(test))
        learning, evaluation = learning + learned - begun, evaluation + time.process_time() - learned
    return learning, evaluation, torch.stack(found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=4000, help="a quarter of them for testing")
    parser.add_argument("--dimensions", type=int, default=1280)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--projections", type=int, default=2000)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--at_once", type=int, default=FEATURES_AT_ONCE, help="features of a batch in ours' evaluation")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=["RanPAC", "FeCAM"])
    options = parser.parse_args()
    features, labels = make_features(options.features, options.dimensions, options.classes)
    test, v, y = features[: options.features // 4], features[options.features // 4 :], labels[options.features // 4 :]
    starts = [0, *(len(v) // 2 + part * len(v) // 8 for part in range(4))]
    stream = [(v[start:stop], y[start:stop]) for start, stop in zip(starts, [*starts[1:], len(v)], strict=True)]
    d, c = options.dimensions, options.classes

    def projection() -> Tensor:
        """The one that the strategy draws."""
        return torch.randn(d, options.projections, generator=torch.Generator().manual_seed(0))

    def ours(strategy: QueuedStrategy) -> Learn:
        """The strategy in batches."""
        return Ours(strategy, d, c, options.batch_size, options.at_once)

    def measure(make: Callable[[], Learn]) -> Callable[[int], Measured]:
        """A repeat of one side."""
        return lambda _: measured(make(), stream, test)

    sides = {
        "RanPAC": {
            "ours": measure(lambda: ours(RanPAC(options.projections, seed=0))),
            "bare": measure(lambda: bare_ran_pac(projection(), c)),
        },
        "FeCAM": {"ours": measure(lambda: ours(FeCAM())), "bare": measure(lambda: bare_fecam(c))},
    }
    rows = []
    for name in sides if options.only is None else [options.only]:
        found = in_turn(sides[name], options.repeats)
        mine, theirs = (found[side][0][2] for side in ("ours", "bare"))
        if not torch.equal(mine.argmax(dim=2), theirs.argmax(dim=2)):
            raise SystemExit(f"{name}: the two predict different classes")
        totals = {side: [learning + evaluation for learning, evaluation, _ in runs] for side, runs in found.items()}
        for side, runs in found.items():
            rows.append(
                [
                    f"{name}, {side}",
                    spread([learning for learning, *_ in runs]),
                    spread([evaluation for _, evaluation, _ in runs]),
                    spread(totals[side]),
                    spread(ratios(totals["ours"], totals["bare"])) if side == "ours" else "",
                    f"{float((mine - theirs).abs().max()):.0e}" if side == "ours" else "",
                ]
            )
    about = (
        f"{options.features} features of {d} in {c} classes, {len(v)} for learning in 5 experiences, M = {options.projections}, "
        f"{options.repeats} repeats, seconds of the processor, {torch.get_num_threads()} thread(s); {machine()}"
    )
    table(
        about, ["", "learning", "evaluation", "together", "ratio, at most 1.5", "largest difference of a logit"], rows
    )
