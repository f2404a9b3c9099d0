"""How two sets of images differ, and whether test images are too similar to the training images to measure anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.spatial.distance import cdist

from lightning_vision.data.image_facts import SMALLEST_SIDE
from lightning_vision.data.inspection import Inspection
from lightning_vision.data.leaks import find_leaks
from lightning_vision.data.shooting_times import sessions
from lightning_vision.seeding import derive_seed
from lightning_vision.terminal.wording import plural
from lightning_vision.trust.appearance import BACKGROUND, LIGHT, STATISTICS, thumbnail_border
from lightning_vision.trust.capture_sessions import (
    Shots,
    common_times,
    share_near_in_place,
    share_near_in_time,
)
from lightning_vision.trust.outputs import Gathered
from lightning_vision.trust.report import Finding
from lightning_vision.trust.two_sample import TwoSample, chance_of_larger, classifier_two_sample_test

MOST_COMPARED = 500
"""Images of the second set whose nearest neighbour in the first is searched, drawn by seed."""
ALIKE_BITS = 10
"""Perceptual hashes of 64 bits that differ in at most so many: of 10,000 unrelated images the nearest differs in 13 or more."""
ALIKE_BORDER = 8.0
"""Grey levels by which the borders of two thumbnails differ on average if the background is the same."""
MOSTLY, OFTEN = 0.5, 0.25
"""Shares from which times and backgrounds, and hashes, are a sign of the same session."""
MANY_COPIES = 0.01
"""Share of copies, near copies included, from which there is a warning."""
SKEWED = 0.75
"""Probability that a random image of one set has a larger value than one of the other, from which the sets differ."""
APART, SURE = 0.7, 0.01
"""Area under the ROC curve, and p-value, from which features differ."""
KINDS = {"brightness": ("darker", "brighter"), "contrast": ("lower in contrast", "higher in contrast"), "sharpness": ("more blurred", "sharper")}  # fmt: skip


@dataclass(frozen=True)
class ImageSet:
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
class SetComparison:
    """The result of comparing two sets."""

    findings: list[Finding]
    signs: dict[str, float]
    """Shares of the second set that suggest the same session, by what was compared; only the large ones."""
    told: TwoSample | None
    """The result of the test on features."""


def compare(first: ImageSet, second: ImageSet, seed: int, beside: str = "") -> SetComparison:
    """Compare a second set of images with the first, the training images.

    Args:
        first: Training images.
        second: New ones, or test images.
        seed: Of what is drawn.
        beside: A sentence to read the features' figure by.
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
    return SetComparison(findings, signs, told)


def same_session(signs: dict[str, float]) -> Finding:
    """Whether training and test images seem to come from the same session: two signs of three are needed.

    Args:
        signs: Of ``SetComparison``.
    """
    warning = len(signs) >= 2
    listed = "; ".join(f"{100 * share:.0f} % of the test images {what}" for what, share in signs.items())
    if warning:
        words = (
            f"Training and test images seem to come from the same capture session: {listed}. The test accuracy then applies to "
            "these scenes and may not hold for other images. Test on images from other days and places, or give data.metadata "
            "with a column group, so that no scene is in both splits."
        )
    elif signs:
        words = f"One sign of three that training and test images come from the same capture session: {listed}. It may have other reasons."
    else:
        words = "There is no sign that training and test images come from the same capture session."
    return Finding(about="same session", words=words, warning=warning, figures=dict(signs))


def _copies(first: ImageSet, second: ImageSet, seed: int, signs: dict[str, float]) -> Finding:
    table = pd.DataFrame({"label": 0, "split": ["train"] * len(first.inspection) + ["test"] * len(second.inspection)})
    leaks = find_leaks(table, Inspection.joined([first.inspection, second.inspection]))
    if leaks.undecoded:
        unknown: dict[str, float | None] = {"exact": None, "near": None, "alike": None}
        return Finding(about="copies", words=leaks.limits(), warning=False, figures=unknown)
    count = leaks.found()
    alike = _share_with_like_hash(first.inspection, second.inspection, seed)
    if alike is not None and alike >= OFTEN:
        signs["look similar to a training image"] = alike
    total = len(second.inspection)
    words = (
        f"{count['exact']} of {plural(total, second.name.removesuffix('s'))} are copies of {first.name}, {count['near']} more are "
        "near copies."
    )
    if limits := leaks.limits():
        words += f" {limits}"
    if alike is None:
        words += f" The images are smaller than {SMALLEST_SIDE} pixels: too small to compare how they look."
    else:
        words += (
            f" {100 * alike:.0f} % look similar to one (at most {ALIKE_BITS} of 64 bits of the perceptual hash differ)."
        )
    warning = count["exact"] + count["near"] >= MANY_COPIES * total
    return Finding(
        about="copies", words=words, warning=warning,
        figures={"exact": count["exact"], "near": count["near"], "alike": alike},
    )  # fmt: skip


def _times_and_places(first: ImageSet, second: ImageSet, signs: dict[str, float]) -> list[Finding]:
    one, two, clock = common_times(first.shots, second.shots)
    findings = []
    if clock:
        number = sessions(np.concatenate([one, two]))
        mine, its = set(number[: len(one)].tolist()), set(number[len(one) :].tolist())
        near = share_near_in_time(one, two)
        if near >= MOSTLY:
            signs["were taken within ten minutes of a training image"] = near
        source = "EXIF times" if clock == "EXIF" else "file times, which copying may change"
        words = (
            f"According to {source}, {first.name} come from {plural(len(mine), 'session')} and {second.name} from {len(its)}, "
            f"{len(mine & its)} of them shared (a pause of half an hour ends a session). {100 * near:.0f} % of the "
            f"{second.name} were taken within ten minutes of one of the {first.name}."
        )
        figures: dict[str, float | None] = {
            "sessions_first": len(mine), "sessions_second": len(its), "sessions_shared": len(mine & its), "near": near,
        }  # fmt: skip
        findings.append(Finding(about="times", words=words, warning=near >= MOSTLY, figures=figures))
    else:
        words = "Times are not known: EXIF times are missing in one of the sets, and file times are missing or those of a copy."
        findings.append(Finding(about="times", words=words, warning=False, figures={}))
    place = share_near_in_place(first.shots, second.shots)
    if place is None:
        words = "Places are not known: one of the sets has no GPS positions."
    else:
        words = f"{100 * place:.0f} % of the {second.name} with a GPS position were taken within 100 m of one of the {first.name}."
    findings.append(
        Finding(about="places", words=words, warning=False, figures={} if place is None else {"near": place})
    )
    return findings


def _background(first: ImageSet, second: ImageSet, seed: int, signs: dict[str, float]) -> Finding:
    if first.inspection.undecoded or second.inspection.undecoded:
        words = "Backgrounds were not compared, because images were not decoded (data.inspect)."
        return Finding(about="background", words=words, warning=False, figures={})
    same = _share_with_same_border(first.inspection, second.inspection, seed)
    if same >= MOSTLY:
        signs["have the background of a training image"] = same
    skew = _chances(first, second, BACKGROUND)
    worst = max(skew, key=lambda name: abs(skew[name] - 0.5))
    differs = _skewed(skew[worst])
    more = "more" if skew[worst] > 0.5 else "less"
    kind = worst.removeprefix("border ")
    words = f"{100 * same:.0f} % of the {second.name} have a border similar to that of one of the {first.name}. " + (
        f"Their background differs: in {100 * max(skew[worst], 1 - skew[worst]):.0f} % of random pairs it has {more} {kind}."
        if differs
        else "The colour and texture of their borders are similar to those of the training images."
    )
    return Finding(about="background", words=words, warning=differs, figures={"same": same, **skew})


def _light(first: ImageSet, second: ImageSet) -> Finding:
    skew = _chances(first, second, LIGHT)
    sentences = []
    for name, chance in skew.items():
        if _skewed(chance):
            column = STATISTICS.index(name)
            medians = [np.median(side.gathered.appearance[:, column]) for side in (second, first)]
            sentences.append(
                f"{second.name.capitalize()} are {KINDS[name][chance > 0.5]}: {name} median {medians[0]:.0f} against {medians[1]:.0f} grey "
                "levels."
            )
    words = " ".join(sentences) or f"Brightness, contrast and sharpness are similar to those of the {first.name}."
    return Finding(about="light", words=words, warning=bool(sentences), figures=dict(skew))


def _features(first: ImageSet, second: ImageSet, told: TwoSample | None, beside: str) -> Finding:
    if told is None:
        least = min(len(first.gathered.label), len(second.gathered.label))
        words = f"Too few images ({least}) to compare their features."
        return Finding(about="features", words=words, warning=False, figures={})
    warning = told.auc >= APART and told.p_value <= SURE
    chance = f"area under the ROC curve {told.auc:.2f}, p = {told.p_value:.3f}"
    words = (
        f"The network's features of {second.name} differ from those of {first.name}: a simple classifier separates them "
        f"({chance})."
        if warning
        else f"The network's features of {second.name} hardly differ from those of {first.name} ({chance})."
    )
    figures: dict[str, float | None] = {"auc": told.auc, "p_value": told.p_value}
    return Finding(about="features", words=" ".join([words, beside]).strip(), warning=warning, figures=figures)


def _chances(first: ImageSet, second: ImageSet, names: Sequence[str]) -> dict[str, float]:
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
    """Share of the second's images whose hash is like one of the first's; None if the images are too small for hashes."""
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
