"""Chooses the fastest way through a backbone by measuring several in turn, on a machine that may be busy."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MOST_SECONDS = 10.0
"""The measurement ends after this time, however busy the machine is."""
ROUNDS = 9
"""Maximum number of rounds in which all ways in question are measured."""
FEWEST_ROUNDS = 3
"""Fewer rounds determine nothing that is worth storing."""
FAR_OFF = 1.6
"""A way that takes this many times as long as another is not measured again, and no larger micro-batch is tried."""
SLOWER = 1.25
"""Neither is a way that takes this many times as long by both clocks."""
CLOSE = 1.1
"""Ways whose times differ by no more than this factor count as equal."""


@dataclass(frozen=True)
class Way:
    """A way to run images through the backbone; the features depend on it only by rounding."""

    micro_batch: int
    channels_last: bool


@dataclass(frozen=True)
class Sample:
    """The time of one micro-batch, in seconds per image."""

    wall: float
    own: float
    """Time of the processor, spent by the thread that calls: it takes part in each step, and other work does not count."""
    disturbed: bool = False
    """Other work has taken the processor away, so that ``wall`` is too long."""


@dataclass(frozen=True)
class Choice:
    """The fastest way."""

    way: Way
    own: float
    """Its shortest time of the processor, in seconds per image."""
    agreed: bool
    """Most rounds, of which there were enough, found it fastest or equal to the fastest."""


def choose_way(
    channels_last: bool,
    sizes: Sequence[int],
    measure: Callable[[Way], Sample],
    clock: Callable[[], float] = time.monotonic,
) -> Choice:
    """Measure ways in turn, and choose the fastest.

    Other work slows neighbouring measurements, and seldom all of one way, so the fastest sample of each counts. By the
    clock on the wall, if each way in question has a sample that was not disturbed; otherwise by the time of the
    processor, which other work hardly changes but which does not contain the time in which threads wait for each other.

    Args:
        channels_last: The memory format that is measured first.
        sizes: The micro-batches, ascending.
        measure: Runs one micro-batch.
        clock: The present time in seconds.
    """
    ends = clock() + MOST_SECONDS
    samples: dict[Way, list[Sample]] = {}
    too_slow: set[bool] = set()
    for size in sizes:
        for form in (channels_last, not channels_last):
            way = Way(size, form)
            if form in too_slow or clock() + 2 * size * _wall(samples, form) > ends:
                continue
            measure(way)  # the first is slower: it chooses kernels and allocates memory
            samples[way] = [measure(way)]
            if _own(samples[way]) > FAR_OFF * min(map(_own, samples.values())):
                too_slow.add(form)  # larger ones exceed the cache too
    for _ in range(ROUNDS - 1):
        for way in _in_question(samples):
            if clock() + way.micro_batch * min(each.wall for each in samples[way]) <= ends:
                samples[way].append(measure(way))
    return _choice(samples)


def _own(samples: Sequence[Sample]) -> float:
    return min(each.own for each in samples)


def _wall(samples: dict[Way, list[Sample]], channels_last: bool) -> float:
    """The newest time of a format on the wall; 0 if there is none."""
    found = [each[-1].wall for way, each in samples.items() if way.channels_last == channels_last]
    return found[-1] if found else 0.0


def _in_question(samples: dict[Way, list[Sample]]) -> list[Way]:
    """The ways that may be the fastest."""
    best_own = min(map(_own, samples.values()))
    best_wall = min(each.wall for found in samples.values() for each in found)
    return [
        way
        for way, found in samples.items()
        if _own(found) <= FAR_OFF * best_own
        and (_own(found) <= SLOWER * best_own or min(each.wall for each in found) <= SLOWER * best_wall)
    ]


def _choice(samples: dict[Way, list[Sample]]) -> Choice:
    asked = _in_question(samples)
    quiet = all(any(not each.disturbed for each in samples[way]) for way in asked)

    def seconds(sample: Sample) -> float:
        return sample.own if not quiet else float("inf") if sample.disturbed else sample.wall

    best = min(asked, key=lambda way: min(map(seconds, samples[way])))
    rounds = [
        (seconds(sample), min(seconds(samples[way][number]) for way in asked if len(samples[way]) > number))
        for number, sample in enumerate(samples[best])
    ]
    # A round in which other work disturbed the chosen way tells nothing about it.
    told = [mine <= CLOSE * fastest for mine, fastest in rounds if mine != float("inf")]
    return Choice(best, _own(samples[best]), len(told) >= FEWEST_ROUNDS and 2 * sum(told) > len(told))
