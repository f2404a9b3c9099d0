"""Images of none of the classes: how well a classifier detects them, and how that changes as it learns."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lightning_vision.array_types import Rows
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.inspection import Inspection
from lightning_vision.data.leaks import find_leaks
from lightning_vision.errors import DataError
from lightning_vision.features.checkpoint_features import CheckpointFeatures
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.seeding import derive_seed
from lightning_vision.terminal.messages import print_notice
from lightning_vision.terminal.wording import in_lines, listed, nfc, plural
from lightning_vision.trust.detectors import DETECTORS, Detectors
from lightning_vision.trust.image_folder import ImageFolder
from lightning_vision.trust.outputs import FolderImages, gather, pass_images
from lightning_vision.trust.rejection import threshold_for_coverage
from lightning_vision.trust.report import AtCheckpoint, TakenFor
from lightning_vision.trust.scored_images import Scored, score
from lightning_vision.trust.separation import separation

MOST_FEATURES = 10_000
"""Training images whose features are kept: 61 MB at 1,536 features."""
MOST_TAKEN_FOR = 5


@dataclass(frozen=True)
class Evaluated:
    """A checkpoint's figures, and the scores they were computed from."""

    figures: AtCheckpoint
    in_distribution: Scored
    ood: Scored


def refuse_overlap(ood: ImageFolder, datamodule: StreamDataModule) -> None:
    """Refuse out-of-distribution images that are in the data.

    Raises:
        DataError: A folder has the name of a class, or an image is in the data too, as a copy of the file or by its perceptual
            hash.
    """
    classes = {nfc(name).casefold() for name in datamodule.class_names}
    if named := [name for name in ood.folders() if nfc(name).casefold() in classes]:
        raise DataError(
            f"--ood_data: expected images of none of the classes, found {'a folder' if len(named) == 1 else 'folders'} in "
            f"{ood.root} with the name of a class: {listed(named)}. Remove such images, or rename the folder if it contains "
            "something else."
        )
    count = len(datamodule.samples)
    table = pd.DataFrame({"label": 0, "split": ["train"] * count + ["test"] * len(ood)})
    leaks = find_leaks(table, Inspection.joined([datamodule.inspection, ood.inspection]))
    if limits := leaks.limits():
        print_notice(f"--ood_data: whether images of {ood.root} are in the data too was not searched in full. {limits}")
    if leaks.pairs:
        paths = datamodule.samples["path"]
        words = {"exact": "is a copy of", "near": "looks like"}
        lines = [
            f"{ood.paths[pair.second - count]} {words[pair.kind]} {paths.iloc[pair.first]}" for pair in leaks.pairs
        ]
        raise DataError(
            f"--ood_data: {plural(len(leaks.pairs), 'image')} of {ood.root} {'is' if len(leaks.pairs) == 1 else 'are'} in the "
            f"data too:\n{in_lines(lines)}\nRemove them: they would be counted as out-of-distribution."
        )


def training_rows(datamodule: StreamDataModule, experience: int, most: int, seed: int) -> Rows:
    """Training rows of the experiences so far, ascending: ``most`` of them by seed where there are more."""
    rows = np.concatenate([item.indices for item in list(datamodule.stream)[: experience + 1]])
    if len(rows) > most:
        rows = np.random.default_rng(derive_seed(seed, "training features")).choice(rows, most, replace=False)
    return np.sort(rows)


def seen_test_rows(model: ContinualClassifier, datamodule: StreamDataModule) -> Rows:
    """The test images of the classes that the classifier has seen, ascending."""
    rows, seen = datamodule.rows_to_evaluate("test"), model.network.seen.cpu().numpy()
    of_seen: Rows = rows[seen[datamodule.samples["label"].to_numpy()[rows]]]
    return of_seen


def evaluate_ood(
    features: CheckpointFeatures,
    images: FolderImages,
    validation: Scored,
    *,
    checkpoint: str,
    experience: int,
    temperature: float,
    coverage: float,
) -> Evaluated:
    """Score in-distribution and out-of-distribution images, with detectors that are fitted on training images.

    A few numbers are kept of each image; features are kept of the training images only.

    Args:
        features: Of the classifier as of the checkpoint; its datamodule is the in-distribution data.
        images: Images of none of the classes.
        validation: The validation images of the experiences so far, by this checkpoint; may be empty.
        checkpoint: Its file name.
        experience: Its number.
        temperature: Of the calibrated confidences; the detectors are at T = 1.
        coverage: Share of the validation images that the threshold accepts.

    Raises:
        DataError: There are no test images.
    """
    model, datamodule = features.model, features.datamodule
    rows = training_rows(datamodule, experience, MOST_FEATURES, datamodule.seed)
    trained = gather(model, pass_images(features, datamodule, rows, "training images"))
    detectors = Detectors(trained.features, trained.label)
    test = seen_test_rows(model, datamodule)
    if not len(test):
        raise DataError(
            "--ood_data compares the images with the test images of the classes seen, and there are none. Give "
            "data.test_fraction, or a separate test set."
        )
    in_distribution = score(pass_images(features, datamodule, test, "test images"), temperature, detectors)
    places = np.arange(len(images.samples), dtype=np.int64)
    ood = score(pass_images(features, images, places, "out-of-distribution images"), temperature, detectors)
    threshold = None
    if len(validation):
        threshold = threshold_for_coverage(validation.confidence, validation.correct, coverage).threshold
    taken_for = Counter(ood.predicted.tolist()).most_common(MOST_TAKEN_FOR)
    figures = AtCheckpoint(
        checkpoint=checkpoint,
        experience=experience,
        experience_name=datamodule.stream.reached(experience).name,
        seen_classes=int(model.network.seen.sum()),
        in_distribution=len(in_distribution),
        training_features=len(rows),
        neighbours=detectors.neighbours,
        accuracy=float(in_distribution.correct.mean()),
        mean_confidence_in_distribution=float(in_distribution.confidence.mean()),
        mean_confidence_ood=float(ood.confidence.mean()),
        threshold=threshold,
        accepted_in_distribution=None if threshold is None else float(np.mean(in_distribution.confidence >= threshold)),
        accepted_ood=None if threshold is None else float(np.mean(ood.confidence >= threshold)),
        detectors={
            name: separation(in_distribution.ood_scores[:, column], ood.ood_scores[:, column])
            for column, name in enumerate(DETECTORS)
        },
        taken_for=[TakenFor(class_name=model.class_names[label], count=count) for label, count in taken_for],
        by_head=trained.by_head,
    )
    return Evaluated(figures, in_distribution, ood)
