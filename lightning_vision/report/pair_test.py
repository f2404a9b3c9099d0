"""What comes of comparing one method with another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lightning_vision.report.proportion import Interval

Method = Literal["two-way", "groups", "mcnemar", "exact", "folds", "none"]


@dataclass(frozen=True)
class PairTest:
    """One method against another on the seeds and test images that both have."""

    difference: Interval
    """First minus second."""
    p_value: float | None
    """Two-sided; None where nothing is known of the spread."""
    seeds: int
    """S; the number of folds where the method is ``folds``."""
    images: int
    """N; 0 where the method is ``folds``: each has its own."""
    degrees_of_freedom: float | None
    """Of Student's t; None for an exact test."""
    variance: dict[str, float | None]
    """Of the difference, by source: ``seeds``, ``images`` (of one case: an image, or a group) and ``rest``; None where it cannot
    be known. With one seed, ``images`` holds the rest too."""
    method: Method
    """``two-way``: Student's t of the two-way analysis. ``groups``: the same with one seed, over groups of images.
    ``mcnemar``: McNemar's exact test, with one seed; it speaks of two trained models. ``exact``: the same where no seed changes
    which images the two differ on (with groups, of groups). ``folds``: over folds. ``none``: nothing to test with."""
    discordant: int
    """Images on which the two differ, with any seed."""
    cases: int
    """What was drawn at random beside the seeds: N images, or G groups of them."""
    p_holm: float | None = None
    """The p-value corrected for the family of tests it belongs to; whoever knows the family sets it (``dataclasses.replace``)."""
