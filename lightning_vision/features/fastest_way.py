"""Chooses the fastest way through a backbone by measuring several in turn, on a machine that may be busy."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

MOST_SECONDS = 8.0
"""No measurement begins that is expected to end later: ten seconds hold all, however busy the machine is."""
ROUNDS = 9
"""Number of samples of each way that may be the fastest, if there is time."""
ROUNDS_WHEN_BUSY = 30
"""The same where other work disturbed them."""
FEWEST = 3
"""Fewer samples neither rule a way out nor determine a choice that is worth storing."""
FAR_OFF = 1.6
"""A way that takes this many times as long as another by the processor is not measured again."""
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
    seconds: float = math.inf,
) -> Choice:
    """Measure ways in turn, and choose the fastest.

    The shortest time on the wall decides if each way in question has a sample that no other work disturbed. Otherwise the
    mean time of the processor does: other work changes it less, and that of all ways alike, but it does not contain
    the time in which threads wait for each other. A larger micro-batch is tried once the next smaller one is not ruled out.

    Args:
        channels_last: The memory format that is measured first.
        sizes: The micro-batches, ascending.
        measure: Runs one micro-batch.
        clock: The present time in seconds.
        seconds: The time for it, if less than ``MOST_SECONDS``.
    """
    ends = clock() + min(MOST_SECONDS, seconds)
    samples: dict[Way, list[Sample]] = {}

    def fits(size: int, each: float) -> bool:
        return clock() + size * each <= ends

    while True:
        asked = _in_question(samples)
        for form in (channels_last, not channels_last):
            known = [way for way in samples if way.channels_last == form]
            more = sizes[len(known) : len(known) + 1]
            if known and not (known[-1] in asked and len(samples[known[-1]]) >= FEWEST):
                more = ()
            for size in more:
                if not known or fits(2 * size, samples[known[-1]][-1].wall):
                    measure(Way(size, form))  # the first is slower: it chooses kernels and allocates memory
                    samples[Way(size, form)] = [measure(Way(size, form))]
        before = sum(map(len, samples.values()))
        rounds = ROUNDS if _quiet(samples, asked) else ROUNDS_WHEN_BUSY
        if asked and all(len(samples[way]) >= rounds for way in asked):
            break
        for way in asked:
            if fits(way.micro_batch, min(each.wall for each in samples[way])):
                samples[way].append(measure(way))
        if asked and sum(map(len, samples.values())) == before:
            break  # there is no time left
    return _choice(samples)


def _own(samples: Sequence[Sample]) -> float:
    return fmean(each.own for each in samples)


def _in_question(samples: dict[Way, list[Sample]]) -> list[Way]:
    """The ways that may be the fastest."""
    sure = [found for found in samples.values() if len(found) >= FEWEST]
    if not sure:
        return list(samples)
    best_own = min(map(_own, sure))
    best_wall = min(each.wall for found in sure for each in found)
    return [
        way
        for way, found in samples.items()
        if len(found) < FEWEST
        or (
            _own(found) <= FAR_OFF * best_own
            and (_own(found) <= SLOWER * best_own or min(each.wall for each in found) <= SLOWER * best_wall)
        )
    ]


def _quiet(samples: dict[Way, list[Sample]], asked: Sequence[Way]) -> bool:
    """Whether each way in question has a sample that was not disturbed."""
    return all(any(not each.disturbed for each in samples[way]) for way in asked)


def _choice(samples: dict[Way, list[Sample]]) -> Choice:
    asked = _in_question(samples)
    quiet = _quiet(samples, asked)

    def wall(sample: Sample) -> float:
        return math.inf if sample.disturbed else sample.wall

    if quiet:
        best = min(asked, key=lambda way: min(map(wall, samples[way])))
    else:
        best = min(asked, key=lambda way: _own(samples[way]))
    # Of ways that were measured in one round, the positions from the end are equal.
    told = []
    for place in range(1, len(samples[best]) + 1):
        seconds = {
            way: wall(samples[way][-place]) if quiet else samples[way][-place].own
            for way in asked
            if len(samples[way]) >= place
        }
        if seconds[best] < math.inf:  # a round in which other work disturbed it tells nothing
            told.append(seconds[best] <= CLOSE * min(seconds.values()))
    own = min(each.own for each in samples[best])
    return Choice(best, own, len(told) >= FEWEST and 2 * sum(told) > len(told))
