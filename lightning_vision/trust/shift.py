"""Why 1.0 on the test set may be useless in the hand: what two sets of images share, and in what they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.spatial.distance import cdist

from lightning_vision.data.inspection import SMALLEST_SIDE, Inspection
from lightning_vision.data.leaks import find_leaks
from lightning_vision.seeding import derive_seed
from lightning_vision.terminal.wording import plural
from lightning_vision.trust.appearance import BACKGROUND, LIGHT, STATISTICS, thumbnail_border
from lightning_vision.trust.capture_sessions import (
    Shots,
    common_times,
    sessions,
    share_near_in_place,
    share_near_in_time,
)
from lightning_vision.trust.outputs import Gathered
from lightning_vision.trust.report import Finding
from lightning_vision.trust.two_sample import TwoSample, chance_of_larger, classifier_two_sample_test

MOST_COMPARED = 500
"""Images of the second set whose nearest in the first is looked for, by seed."""
ALIKE_BITS = 10
"""Perceptual hashes of 64 bits that differ in no more: for unlike images the nearest of 10,000 differs in 13 or more."""
ALIKE_BORDER = 8.0
"""Grey levels by which the borders of two images' thumbnails differ on average, where the background is the same."""
MOSTLY, OFTEN = 0.5, 0.25
"""Shares from which on times and backgrounds, and hashes, are a sign of one shoot."""
MANY_COPIES = 0.01
"""Share of copies, near ones too, from which on they are worth a look."""
SKEWED = 0.75
"""Chance that a random image of one set has more of something than one of the other, from which on they differ."""
APART, SURE = 0.7, 0.01
"""Area under the ROC curve and chance of error from which on features are told apart."""
KINDS = {"brightness": ("darker", "brighter"), "contrast": ("lower in contrast", "higher in contrast"), "sharpness": ("more blurred", "sharper")}  # fmt: skip


@dataclass(frozen=True)
class Side:
    """One of two sets of images."""

    name: str
    """As in "training images"."""
    inspection: Inspection
    """(N,)"""
    shots: Shots
    """Of some of them, or of none."""
    gathered: Gathered
    """Of some of them."""


@dataclass(frozen=True)
class Comparison:
    """What came of it."""

    findings: list[Finding]
    signs: dict[str, float]
    """Shares of the second set that point to one shoot, by what they are of; only those that are large."""
    told: TwoSample | None
    """The outcome of the test on features."""


def compare(first: Side, second: Side, seed: int, beside: str = "") -> Comparison:
    """Compare a second set of images with the first, the training images.

    Args:
        first: Training images.
        second: New ones, or test images.
        seed: Of what is drawn.
        beside: What to hold the features' figure against, a sentence.
    """
    signs: dict[str, float] = {}
    told = classifier_two_sample_test(first.gathered.features, second.gathered.features, seed)
    findings = [
        _copies(first, second, seed, signs),
        *_times_and_places(first, second, signs),
        _background(first, second, seed, signs),
        _light(first, second),
        _features(first, second, told, beside),
    ]
    return Comparison(findings, signs, told)


def one_shoot(signs: dict[str, float]) -> Finding:
    """Whether training and test images seem to come from one shoot: two signs of three are needed.

    Args:
        signs: Of ``Comparison``.
    """
    warning = len(signs) >= 2
    listed = "; ".join(f"{100 * share:.0f} % of the test images {what}" for what, share in signs.items())
    if warning:
        words = (
            f"Training and test images seem to come from one shoot: {listed}. The test accuracy then says how well these very "
            "scenes are known, and little about images from elsewhere. Test on images of other days and places, or give "
            "data.metadata with a column group, so that no scene is on both sides."
        )
    elif signs:
        words = f"One sign of three that training and test images come from one shoot: {listed}. That alone may have other reasons."
    else:
        words = "Nothing says that training and test images come from one shoot."
    return Finding(about="one shoot", words=words, warning=warning, figures=dict(signs))


def _copies(first: Side, second: Side, seed: int, signs: dict[str, float]) -> Finding:
    table = pd.DataFrame({"label": 0, "split": ["train"] * len(first.inspection) + ["test"] * len(second.inspection)})
    leaks = find_leaks(table, Inspection.joined([first.inspection, second.inspection]))
    count = leaks.counts()
    alike = _share_with_like_hash(first.inspection, second.inspection, seed)
    if alike is not None and alike >= OFTEN:
        signs["look much like a training image"] = alike
    total = len(second.inspection)
    words = (
        f"{count['exact']} of {plural(total, second.name.removesuffix('s'))} are copies of {first.name}, {count['near']} more look "
        "the same."
    )
    if leaks.not_compared:
        words += " Near copies were not looked for: there are too many images."
    if alike is None:
        words += f" The images are smaller than {SMALLEST_SIDE} pixels: too small to tell which look alike."
    else:
        words += (
            f" {100 * alike:.0f} % look much like one ({ALIKE_BITS} of 64 bits of the perceptual hash differ at most)."
        )
    warning = count["exact"] + count["near"] >= MANY_COPIES * total
    return Finding(
        about="copies", words=words, warning=warning,
        figures={"exact": count["exact"], "near": count["near"], "alike": alike},
    )  # fmt: skip


def _times_and_places(first: Side, second: Side, signs: dict[str, float]) -> list[Finding]:
    one, two, clock = common_times(first.shots, second.shots)
    findings = []
    if clock:
        number = sessions(np.concatenate([one, two]))
        mine, its = set(number[: len(one)].tolist()), set(number[len(one) :].tolist())
        near = share_near_in_time(one, two)
        if near >= MOSTLY:
            signs["were taken within ten minutes of a training image"] = near
        source = "EXIF" if clock == "EXIF" else "the files' own times, which copying may change"
        words = (
            f"By {source}: {first.name} come from {plural(len(mine), 'shooting session')}, {second.name} from {len(its)}, "
            f"{len(mine & its)} of them shared (a session ends with a pause of half an hour). {100 * near:.0f} % of the "
            f"{second.name} were taken within ten minutes of one of the {first.name}."
        )
        figures: dict[str, float | None] = {
            "sessions_first": len(mine), "sessions_second": len(its), "sessions_shared": len(mine & its), "near": near,
        }  # fmt: skip
        findings.append(Finding(about="times", words=words, warning=near >= MOSTLY, figures=figures))
    else:
        words = "Nothing is known of when: no EXIF times on both sides, and the files' own times are those of a copy, or missing."
        findings.append(Finding(about="times", words=words, warning=False, figures={}))
    place = share_near_in_place(first.shots, second.shots)
    if place is None:
        words = "Nothing is known of where: no GPS positions on both sides."
    else:
        words = f"{100 * place:.0f} % of the {second.name} with a GPS position were taken within 100 m of one of the {first.name}."
    findings.append(
        Finding(about="places", words=words, warning=False, figures={} if place is None else {"near": place})
    )
    return findings


def _background(first: Side, second: Side, seed: int, signs: dict[str, float]) -> Finding:
    same = _share_with_same_border(first.inspection, second.inspection, seed)
    if same >= MOSTLY:
        signs["have the background of a training image"] = same
    skew = _chances(first, second, BACKGROUND)
    worst = max(skew, key=lambda name: abs(skew[name] - 0.5))
    differs = _skewed(skew[worst])
    more = "more" if skew[worst] > 0.5 else "less"
    kind = worst.removeprefix("border ")
    words = f"{100 * same:.0f} % of the {second.name} have a border like that of one of the {first.name}. " + (
        f"Their background differs: in {100 * max(skew[worst], 1 - skew[worst]):.0f} % of random pairs it has {more} {kind}."
        if differs
        else "In colour and texture their borders are those of the training images."
    )
    return Finding(about="background", words=words, warning=differs, figures={"same": same, **skew})


def _light(first: Side, second: Side) -> Finding:
    skew = _chances(first, second, LIGHT)
    sentences = []
    for name, chance in skew.items():
        if _skewed(chance):
            column = STATISTICS.index(name)
            medians = [np.median(side.gathered.appearance[:, column]) for side in (second, first)]
            sentences.append(
                f"{second.name.capitalize()} are {KINDS[name][chance > 0.5]}: {name} {medians[0]:.0f} against {medians[1]:.0f} grey "
                "levels in the median."
            )
    words = " ".join(sentences) or f"Brightness, contrast and sharpness are those of the {first.name}."
    return Finding(about="light", words=words, warning=bool(sentences), figures=dict(skew))


def _features(first: Side, second: Side, told: TwoSample | None, beside: str) -> Finding:
    if told is None:
        least = min(len(first.gathered.label), len(second.gathered.label))
        words = f"Too few images ({least}) to compare what the network makes of them."
        return Finding(about="features", words=words, warning=False, figures={})
    warning = told.auc >= APART and told.p_value <= SURE
    chance = f"area under the ROC curve {told.auc:.2f}, p = {told.p_value:.3f}"
    words = (
        f"To the network {second.name} are another kind of image than {first.name}: a simple classifier tells them apart by "
        f"their features ({chance})."
        if warning
        else f"By their features {second.name} are hardly told from {first.name} ({chance})."
    )
    figures: dict[str, float | None] = {"auc": told.auc, "p_value": told.p_value}
    return Finding(about="features", words=" ".join([words, beside]).strip(), warning=warning, figures=figures)


def _chances(first: Side, second: Side, names: Sequence[str]) -> dict[str, float]:
    one, two = first.gathered.appearance, second.gathered.appearance
    columns = {name: STATISTICS.index(name) for name in names}
    return {name: chance_of_larger(one[:, column], two[:, column]) for name, column in columns.items()}


def _skewed(chance: float) -> bool:
    return max(chance, 1 - chance) >= SKEWED


def _some(count: int, seed: int) -> npt.NDArray[np.int64]:
    if count <= MOST_COMPARED:
        return np.arange(count)
    return np.sort(np.random.default_rng(derive_seed(seed, "compared")).choice(count, MOST_COMPARED, replace=False))


def _share_with_like_hash(first: Inspection, second: Inspection, seed: int) -> float | None:
    """Share of the second's images whose hash is like one of the first's; None where images are too small for hashes."""
    one, two = (side.phash[np.minimum(side.height, side.width) >= SMALLEST_SIDE] for side in (first, second))
    if not len(one) or not len(two):
        return None
    nearest = [int(np.bitwise_count(one ^ item).min()) for item in two[_some(len(two), seed)]]
    return float(np.mean(np.array(nearest) <= ALIKE_BITS))


def _share_with_same_border(first: Inspection, second: Inspection, seed: int) -> float:
    one = thumbnail_border(first.thumbnail)
    two = thumbnail_border(second.thumbnail[_some(len(second), seed)])
    nearest = [cdist(row[None], one, "cityblock").min() / one.shape[1] for row in two]
    return float(np.mean(np.array(nearest) <= ALIKE_BORDER))
