"""New images, training images and test images, prepared for the comparisons in ``shift``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lightning_vision.array_types import Rows
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.features.checkpoint_features import CheckpointFeatures
from lightning_vision.seeding import derive_seed
from lightning_vision.terminal.wording import nfc
from lightning_vision.trust.capture_sessions import read_shots
from lightning_vision.trust.image_folder import ImageFolder
from lightning_vision.trust.outputs import FolderImages, gather, pass_images
from lightning_vision.trust.report import NewImages, Shift
from lightning_vision.trust.scored_images import Scored, score
from lightning_vision.trust.shift import ImageSet, SetComparison, compare, same_session
from lightning_vision.trust.two_sample import FEWEST

MOST_PASSED = 2_000
"""Images of each set whose features are compared, by seed."""
MOST_DATED = 5_000
"""Files of each set whose times and places are read, by seed."""
NOT_NAMED = -1
"""The label of an image that lies in no folder of a class."""


@dataclass(frozen=True)
class ShiftFound:
    """The findings, and example images."""

    shift: Shift
    unlike: list[int]
    """Places of the new images that are least like the training images, the least like first."""
    left: Rows
    """Rows of the training images that are least like the new images."""


def labels_by_folder(folder: ImageFolder, class_names: list[str]) -> Rows:
    """The class that each image's first sub-folder is named after, ignoring case; -1 for other folders."""
    label_of = {nfc(name).casefold(): label for label, name in enumerate(class_names)}
    return np.array([label_of.get(nfc(folder.folder_of(place)).casefold(), NOT_NAMED) for place in range(len(folder))])


def look_at_shift(
    features: CheckpointFeatures,
    folder: ImageFolder,
    experience: int,
    tested: Scored,
) -> ShiftFound:
    """Compare new images with training images and, for reference, test images with training images.

    Args:
        features: Of the classifier.
        folder: The new images.
        experience: The last that the classifier learned.
        tested: The test images of the classes seen; may be empty.
    """
    model, datamodule = features.model, features.datamodule
    seed = datamodule.seed
    label = datamodule.samples["label"].to_numpy()
    training = np.sort(np.concatenate([item.indices for item in list(datamodule.stream)[: experience + 1]]))
    named = labels_by_folder(folder, model.class_names)
    trained = _side(features, "training images", training, training)
    beside, on_test = "", None
    if len(tested):
        test = _side(features, "test images", tested.index, tested.index)
        on_test = compare(trained, test, seed)
        if on_test.told is not None:
            beside = f"For the test images of the data, that area is {on_test.told.auc:.2f}."
    chosen = training
    if (named != NOT_NAMED).any():
        chosen = _same_mix(training, label[training], named[named != NOT_NAMED], seed)
    else:
        beside += " The new images have no labels: a different mix of classes may be the reason."
    if len(chosen) < len(training):
        beside += " The training images were sampled with the class proportions of the new images."
        trained = _side(features, "training images", training, chosen)
    places = _draw(np.arange(len(folder)), MOST_PASSED, seed)
    images = FolderImages(folder, datamodule, named)
    new = ImageSet(
        "new images",
        folder.inspection,
        read_shots([folder.files.path(int(place)) for place in _draw(np.arange(len(folder)), MOST_DATED, seed)]),
        gather(model, pass_images(features, images, places, "new images", with_images=True)),
    )
    found = compare(trained, new, seed, beside.strip())
    labels = None
    if (named != NOT_NAMED).any():
        labelled = np.flatnonzero(named != NOT_NAMED)
        scored = score(pass_images(features, images, labelled, "labelled new images"), 1.0)
        labels = _accuracy(scored, tested, model.class_names)
    shift = Shift(
        folder=str(folder.root),
        images=len(folder),
        skipped=folder.skipped,
        labels=labels,
        new=found.findings,
        test=[] if on_test is None else on_test.findings,
        same_session=None if on_test is None else same_session(on_test.signs),
    )
    return ShiftFound(shift, *_examples(found, new, trained))


def _side(
    features: CheckpointFeatures,
    name: str,
    rows: Rows,
    passed: Rows,
) -> ImageSet:
    """Rows of the sample table; features are computed for a sample of ``passed``."""
    model, datamodule = features.model, features.datamodule
    rows = np.sort(rows)
    drawn = _draw(passed, MOST_PASSED, datamodule.seed)
    return ImageSet(
        name,
        datamodule.inspection.take(rows),
        read_shots([_file(datamodule, int(row)) for row in _draw(rows, MOST_DATED, datamodule.seed)]),
        gather(model, pass_images(features, datamodule, drawn, name, with_images=True)),
    )


def _file(datamodule: StreamDataModule, row: int) -> Path:
    """The file of a row."""
    sample = datamodule.samples.iloc[row]
    other = datamodule.test_data
    return (other.root if other is not None and sample["source"] else datamodule.root) / str(sample["path"])


def _draw(rows: Rows, most: int, seed: int) -> Rows:
    if len(rows) <= most:
        return np.sort(rows)
    return np.sort(np.random.default_rng(derive_seed(seed, "shift", most)).choice(rows, most, replace=False))


def _same_mix(rows: Rows, labels: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64], seed: int) -> Rows:
    """As many rows as possible with the class proportions of ``wanted``; all rows if too few would be left."""
    classes, counts = np.unique(wanted, return_counts=True)
    own = np.array([(labels == item).sum() for item in classes])
    total = int(min(MOST_PASSED, np.floor((own / (counts / counts.sum())).min())))
    if total < FEWEST:
        return rows
    generator = np.random.default_rng(derive_seed(seed, "mix of classes"))
    share = np.floor(total * counts / counts.sum()).astype(np.int64)
    drawn = [
        generator.choice(rows[labels == item], size, replace=False) for item, size in zip(classes, share, strict=True)
    ]
    return np.sort(np.concatenate(drawn))


def _accuracy(scored: Scored, tested: Scored, class_names: list[str]) -> NewImages:
    correct = scored.correct
    return NewImages(
        labelled=len(scored),
        correct=int(correct.sum()),
        accuracy=float(correct.mean()),
        test_accuracy=float(tested.correct.mean()) if len(tested) else None,
        per_class={class_names[item]: float(correct[scored.label == item].mean()) for item in np.unique(scored.label)},
    )


def _examples(found: SetComparison, new: ImageSet, trained: ImageSet) -> tuple[list[int], Rows]:
    if found.told is None:
        return [], np.empty(0, dtype=np.int64)
    unlike = new.gathered.index[np.argsort(-found.told.likeness, kind="stable")]
    left = trained.gathered.index[np.argsort(found.told.likeness_first, kind="stable")]
    return unlike.tolist(), left
