"""Strangers: how a classifier meets images of no class that it knows, and whether learning makes it more trustful."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
from lightning.pytorch import Trainer

from lightning_vision.array_types import Rows
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.data.inspection import Inspection
from lightning_vision.data.leaks import find_leaks
from lightning_vision.errors import DataError
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.seeding import derive_seed
from lightning_vision.terminal.wording import in_lines, listed, plural
from lightning_vision.trust.detectors import DETECTORS, Detectors
from lightning_vision.trust.image_folder import ImageFolder
from lightning_vision.trust.outputs import folder_loader, gather, pass_images, table_loader
from lightning_vision.trust.rejection import threshold_for_coverage
from lightning_vision.trust.report import AtCheckpoint, TakenFor
from lightning_vision.trust.scored_images import Scored, score
from lightning_vision.trust.separation import separation

MOST_FEATURES = 10_000
"""Training images whose features are kept: 61 MB at 1,536 features."""
MOST_TAKEN_FOR = 5


@dataclass(frozen=True)
class Met:
    """A checkpoint's figures, and what they were made from."""

    figures: AtCheckpoint
    known: Scored
    unknown: Scored


def refuse_overlap(strangers: ImageFolder, datamodule: StreamDataModule) -> None:
    """Refuse strangers that are none.

    Raises:
        DataError: A folder bears the name of a known class, or an image is among the known data, as a copy of the file or
            by its perceptual hash.
    """
    known = {name.casefold() for name in datamodule.class_names}
    if named := [name for name in strangers.folders() if name.casefold() in known]:
        raise DataError(
            f"--ood_data: expected images of no known class, found {'a folder' if len(named) == 1 else 'folders'} in "
            f"{strangers.root} with the name of a class: {listed(named)}. Take such images out, or rename the folder if it "
            "holds something else."
        )
    count = len(datamodule.samples)
    table = pd.DataFrame({"label": 0, "split": ["train"] * count + ["test"] * len(strangers)})
    leaks = find_leaks(table, Inspection.joined([datamodule.inspection, strangers.inspection]))
    if leaks.pairs:
        paths = datamodule.samples["path"]
        words = {"exact": "is a copy of", "near": "looks like"}
        lines = [
            f"{strangers.paths[pair.second - count]} {words[pair.kind]} {paths.iloc[pair.first]}"
            for pair in leaks.pairs
        ]
        raise DataError(
            f"--ood_data: {plural(len(leaks.pairs), 'image')} of {strangers.root} "
            f"{'is' if len(leaks.pairs) == 1 else 'are'} in the known data:\n{in_lines(lines)}\nTake them out: the figures "
            "would count them as strangers."
        )


def training_rows(datamodule: StreamDataModule, experience: int, most: int, seed: int) -> Rows:
    """Training rows of the experiences so far, ascending: ``most`` of them by seed where there are more."""
    rows = np.concatenate([item.indices for item in list(datamodule.stream)[: experience + 1]])
    if len(rows) > most:
        rows = np.random.default_rng(derive_seed(seed, "training features")).choice(rows, most, replace=False)
    return np.sort(rows)


def known_test_rows(model: ContinualClassifier, datamodule: StreamDataModule) -> Rows:
    """The test images of the classes that the classifier has seen, ascending."""
    rows, seen = datamodule.rows_to_evaluate("test"), model.network.seen.cpu().numpy()
    known: Rows = rows[seen[datamodule.samples["label"].to_numpy()[rows]]]
    return known


def meet(
    model: ContinualClassifier,
    datamodule: StreamDataModule,
    trainer: Trainer,
    strangers: ImageFolder,
    validation: Scored,
    *,
    checkpoint: str,
    experience: int,
    temperature: float,
    coverage: float,
) -> Met:
    """Let a classifier meet strangers: one pass over training features, test images and strangers each.

    Of the images some numbers each are kept; features only of the training images.

    Args:
        model: As of the checkpoint.
        datamodule: The known data.
        trainer: Knows the device and the precision.
        strangers: Images of no known class.
        validation: The validation images of the experiences so far, by this checkpoint; may be empty.
        checkpoint: Its file name.
        experience: Its number.
        temperature: Of the calibrated confidences; the detectors are at T = 1.
        coverage: Share of the validation images that the threshold accepts.

    Raises:
        DataError: There are no test images.
    """
    rows = training_rows(datamodule, experience, MOST_FEATURES, datamodule.seed)
    trained = gather(model, pass_images(model, table_loader(datamodule, rows), trainer, "training images"))
    detectors = Detectors(trained.features, trained.label)
    test = known_test_rows(model, datamodule)
    if not len(test):
        raise DataError(
            "--ood_data compares strangers with the test images of the classes seen, and there are none. Give "
            "data.test_fraction, or a test set of its own."
        )
    known = score(pass_images(model, table_loader(datamodule, test), trainer, "test images"), temperature, detectors)
    nowhere = np.zeros(len(strangers), dtype=np.int64)
    loader = folder_loader(datamodule, strangers.files, nowhere)
    unknown = score(pass_images(model, loader, trainer, "unknown images"), temperature, detectors)
    threshold = None
    if len(validation):
        threshold = threshold_for_coverage(validation.confidence, validation.correct, coverage).threshold
    taken_for = Counter(unknown.predicted.tolist()).most_common(MOST_TAKEN_FOR)
    stream = datamodule.stream
    figures = AtCheckpoint(
        checkpoint=checkpoint,
        experience=experience,
        experience_name=stream[min(experience, len(stream) - 1)].name,
        seen_classes=int(model.network.seen.sum()),
        known=len(known),
        training_features=len(rows),
        neighbours=detectors.neighbours,
        accuracy=float(known.correct.mean()),
        mean_confidence_known=float(known.confidence.mean()),
        mean_confidence_unknown=float(unknown.confidence.mean()),
        threshold=threshold,
        accepted_known=None if threshold is None else float(np.mean(known.confidence >= threshold)),
        accepted_unknown=None if threshold is None else float(np.mean(unknown.confidence >= threshold)),
        detectors={
            name: separation(known.strangeness[:, column], unknown.strangeness[:, column])
            for column, name in enumerate(DETECTORS)
        },
        taken_for=[TakenFor(class_name=model.class_names[label], count=count) for label, count in taken_for],
        by_head=trained.by_head,
    )
    return Met(figures, known, unknown)
