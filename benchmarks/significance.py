"""The error rates of the report's tests and the coverage of its intervals on simulated runs.

    python -m benchmarks.significance

Two methods are 75 % right and equal in truth, but right on other images: on 15 % of the images just one of them is, by chance
either. *Flips* is the share of images on which two seeds of one method differ, *spread* the standard deviation in points of the
true accuracies of a method's seeds. In groups (sequences) neither the accuracy nor which method is ahead is the same for all:
standard deviations of 10 and 7 points. The peer is the rule of before: seeds alone are random, Student's paired t test over them.
"""

import argparse
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import special

from lightning_vision.report.proportion import Interval
from lightning_vision.report.statistics import ALPHA, accuracy_interval, difference_test, holm

Correct = npt.NDArray[np.bool_]
Groups = npt.NDArray[np.int64]

RIGHT, DIFFER = 0.75, 0.15


@dataclass(frozen=True)
class Cell:
    """What is simulated."""

    flips: float
    spread: float
    """Of the true accuracy between seeds, as a share."""
    seeds: int
    images: int
    groups: int = 0
    ahead: float = 0.0
    """How much more often the first is right, in truth."""

    @property
    def flip(self) -> float:
        """How often a run has a right image wrong; a wrong image right thrice as often, so that accuracy stays: 3a - 6a^2 = flips."""
        return (3 - math.sqrt(9 - 24 * self.flips)) / 12


@dataclass
class Share:
    """How often something happened."""

    times: int = 0
    of: int = 0

    def count(self, happened: bool) -> None:
        """Once more, and whether it happened."""
        self.times += happened
        self.of += 1

    @property
    def percent(self) -> float:
        """The share of all times."""
        return 100 * self.times / self.of


@dataclass(frozen=True)
class Shares:
    """The results of a cell, by the report's rule and by the peer's."""

    different: Share = field(default_factory=Share)
    holds: Share = field(default_factory=Share)
    """The interval of one method's accuracy."""
    difference_holds: Share = field(default_factory=Share)
    peer_different: Share = field(default_factory=Share)
    peer_holds: Share = field(default_factory=Share)


def runs(generator: np.random.Generator, right: Correct, cell: Cell) -> Correct:
    """The runs (S, N) of a method: ``right`` (N,) is what it classifies correctly, apart from the effect of seeds."""
    shift = generator.normal(0, cell.spread, (cell.seeds, 1)) if cell.spread else np.zeros((cell.seeds, 1))
    lost = cell.flip + np.maximum(-shift, 0) / RIGHT
    won = 3 * cell.flip + np.maximum(shift, 0) / (1 - RIGHT)
    luck = generator.random((cell.seeds, len(right)), dtype=np.float32)
    return np.where(right, luck >= lost, luck < won)


def two_methods(generator: np.random.Generator, cell: Cell) -> tuple[Correct, Correct, Groups | None]:
    """Runs of two methods on a newly drawn test set, and the group of each image."""
    kind, groups = generator.random(cell.images, dtype=np.float32), None
    both = np.full(1, RIGHT - DIFFER / 2)  # how often both have an image right
    first = np.full(1, 0.5 + cell.ahead / (2 * DIFFER))  # the first's share of those that one has
    if cell.groups:
        sizes = generator.uniform(0.5, 1.5, cell.groups)  # the longest sequence is up to three times the shortest
        groups = np.sort(generator.choice(cell.groups, cell.images, p=sizes / sizes.sum()))
        share = (RIGHT - DIFFER / 2) / (1 - DIFFER)
        both = ((1 - DIFFER) * generator.beta(10 * share, 10 * (1 - share), cell.groups))[groups]
        first = generator.beta(2, 2, cell.groups)[groups]
    one = kind < both + DIFFER * first
    other = (kind < both) | ((kind >= both + DIFFER * first) & (kind < both + DIFFER))
    return runs(generator, one, cell), runs(generator, other, cell), groups


def peer_p(first: Correct, second: Correct) -> float:
    """The p-value of before, of the paired t test over seeds.

    Where all differences are the same, their standard deviation is taken to be that of the rounding of two accuracies.
    """
    seeds, images = first.shape
    differences = first.mean(axis=1) - second.mean(axis=1)
    spread = float(differences.std(ddof=1))
    spread = spread if spread > 1e-9 else 1 / images / math.sqrt(6)
    return float(2 * special.stdtr(seeds - 1, -abs(differences.mean()) * math.sqrt(seeds) / spread))


def peer_interval(correct: Correct) -> Interval:
    """The interval of before: Student's t over the accuracies of the seeds."""
    accuracy = correct.mean(axis=1)
    half = float(special.stdtrit(len(accuracy) - 1, 1 - ALPHA / 2) * accuracy.std(ddof=1)) / math.sqrt(len(accuracy))
    return Interval(float(accuracy.mean()), float(accuracy.mean()) - half, float(accuracy.mean()) + half)


def holds(interval: Interval, truth: float) -> bool:
    """Whether the truth is within the interval, if there is one."""
    if interval.low is None or interval.high is None:
        return False
    return interval.low - 1e-9 <= truth <= interval.high + 1e-9


def simulate(cell: Cell, draws: int, seed: int) -> Shares:
    """Draw test sets and seeds repeatedly, and apply both rules to each draw."""
    generator = np.random.default_rng(seed)
    shares = Shares()
    for _ in range(draws):
        first, second, groups = two_methods(generator, cell)
        test = difference_test(first, second, groups=groups)
        shares.different.count(test.p_value is not None and test.p_value < ALPHA)
        shares.difference_holds.count(holds(test.difference, cell.ahead))
        shares.holds.count(holds(accuracy_interval(first, groups=groups), RIGHT + cell.ahead / 2))
        shares.holds.count(holds(accuracy_interval(second, groups=groups), RIGHT - cell.ahead / 2))
        shares.peer_different.count(peer_p(first, second) < ALPHA)
        shares.peer_holds.count(holds(peer_interval(first), RIGHT + cell.ahead / 2))
    return shares


def family(cell: Cell, methods: int, draws: int, seed: int) -> tuple[float, float]:
    """Percentages of draws in which at least one of some equal methods is called different from the best, ours and the peer's.

    Holm's correction is over all pairs. Any two methods differ on the same share of images as two do elsewhere.
    """
    generator = np.random.default_rng(seed)
    own = Cell(DIFFER, 0.0, 1, cell.images).flip
    ours, peers = Share(), Share()
    pairs = list(itertools.combinations(range(methods), 2))
    for _ in range(draws):
        common = generator.random(cell.images) < RIGHT
        luck = generator.random((methods, cell.images))
        correct = [runs(generator, row, cell) for row in np.where(common, luck >= own, luck < 3 * own)]
        best = int(np.argmax([one.mean() for one in correct]))
        with_best = [place for place, pair in enumerate(pairs) if best in pair]
        p = holm([difference_test(correct[a], correct[b]).p_value or 0.0 for a, b in pairs])
        ours.count(any(p[place] < ALPHA for place in with_best))
        p = holm([peer_p(correct[a], correct[b]) for a, b in pairs])
        peers.count(any(p[place] < ALPHA for place in with_best))
    return ours.percent, peers.percent


def row(name: str, seeds: int, spread: float, cells: Sequence[Shares]) -> str:
    """A line of the table: one test set, number of seeds and spread, the values of ``flips`` beside one another."""

    def values(column: str) -> str:
        return " / ".join(f"{getattr(shares, column).percent:.1f}" for shares in cells)

    columns = ("different", "holds", "difference_holds", "peer_different", "peer_holds")
    return f"| {name} | {seeds} | {100 * spread:g} | {' | '.join(values(column) for column in columns)} |"


FLIPS = (0.0, 0.01, 0.09)
SETS = ((500, 0), (1000, 0), (5000, 0), (1000, 6), (1000, 8))

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"Flips 0 / 1 / 9 %, {options.draws} draws a cell, all in percent.\n")
    print("| images | S | spread | called different | interval holds | of the difference | peer: different | peer: holds |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    left, count = [], 0
    for (images, groups), seeds, spread in itertools.product(SETS, (3, 5), (0.0, 0.01, 0.02)):
        cells = []
        for flips in FLIPS:
            count += 1
            cells.append(simulate(Cell(flips, spread, seeds, images, groups), options.draws, options.seed + count))
            if not (2.5 <= cells[-1].different.percent <= 8 and 92 <= cells[-1].holds.percent <= 97 and 92 <= cells[-1].difference_holds.percent <= 97):  # fmt: skip
                left.append(f"{images} images, {groups} groups, S = {seeds}, spread {100 * spread:g}, flips {100 * flips:g} %")  # fmt: skip
        print(row(f"{images} in {groups} groups" if groups else str(images), seeds, spread, cells), flush=True)
    print(f"\nOut of range: {'; '.join(left) or 'none'} (of {count} cells).\n")
    print("| a real difference, 1,000 images, S = 5 | found | peer |\n|---|---|---|")
    for ahead, flips, spread in ((0.04, 0.02, 0.0), (0.03, 0.09, 0.005)):
        found = simulate(Cell(flips, spread, 5, 1000, ahead=ahead), options.draws, options.seed)
        print(f"| {100 * ahead:g} points, flips {100 * flips:g} %, spread {100 * spread:g} | {found.different.percent:.1f} | {found.peer_different.percent:.1f} |")  # fmt: skip
    print(
        "\n| seven equal methods, 1,000 images, S = 5 | at least one called different from the best | peer |\n|---|---|---|"
    )
    for flips in FLIPS:
        ours, peers = family(Cell(flips, 0.0, 5, 1000), 7, options.draws, options.seed)
        print(f"| flips {100 * flips:g} % | {ours:.1f} | {peers:.1f} |", flush=True)
