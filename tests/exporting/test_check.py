"""Whether a file is equal to the model: what is compared, and what is refused."""

from collections.abc import Callable

import numpy as np
import pytest
from loaded_run import SIDE, classifier

from lightning_vision.errors import CheckpointError
from lightning_vision.exporting.check import (
    Difference,
    Floats,
    Images,
    check_equal,
    compare,
    latency_ms,
    model_outputs,
)
from lightning_vision.learning.classifier import ContinualClassifier

Change = Callable[[Floats, Floats], tuple[Floats, Floats]]


@pytest.fixture(scope="module")
def model() -> ContinualClassifier:
    """Three of four classes seen."""
    made = classifier()
    made.network.see([0, 1, 3])
    return made


def images(count: int) -> Images:
    return np.random.default_rng(0).integers(0, 256, (count, 3, SIDE, SIDE), dtype=np.uint8)


def run_with(
    model: ContinualClassifier, change: Change, sizes: list[int] | None = None
) -> Callable[[Images], tuple[Floats, Floats]]:
    def run(batch: Images) -> tuple[Floats, Floats]:
        if sizes is not None:
            sizes.append(len(batch))
        logits, features = model_outputs(model, batch)
        return change(logits.copy(), features.copy())

    return run


def test_equal_outputs_in_batches_of_seven_and_one(model: ContinualClassifier) -> None:
    sizes: list[int] = []
    difference = compare(model, run_with(model, lambda a, b: (a, b), sizes), images(16))
    assert sizes == [7, 7, 2, *[1] * 7]
    assert difference == Difference(16, 0.0, 0.0, 0.0, 0.0, 1.0)
    check_equal(difference, "m.onnx")


def test_the_figures_by_hand(model: ContinualClassifier) -> None:
    """One logit of the predicted class raised by log 2: odds double."""
    logits, _ = model_outputs(model, images(1))
    top = int(logits[0].argmax())

    def raised(found: Floats, features: Floats) -> tuple[Floats, Floats]:
        found[:, top] += np.log(2)
        return found, features + 0.5

    difference = compare(model, run_with(model, raised), images(1))
    p = np.exp(logits[0].astype(float))[top] / np.exp(logits[0].astype(float)).sum()
    assert difference.mean_probability == pytest.approx(2 * p / (1 + p) - p, rel=1e-5)
    assert difference.probability == pytest.approx(difference.mean_probability, rel=1e-5)
    largest = np.abs(logits[0, [0, 1, 3]]).max()
    assert difference.logit == pytest.approx(np.log(2) / max(1, largest), rel=1e-5)
    assert difference.agreement == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda logits, features: (logits + np.array([1e-3, 0, 0, 0], dtype=np.float32), features),
        lambda logits, features: (logits, features * np.float32(1.001)),
        lambda logits, features: (logits[:, ::-1], features),
    ],
    ids=["a logit", "features", "classes in another order"],
)
def test_what_differs_is_refused(model: ContinualClassifier, change: Change) -> None:
    difference = compare(model, run_with(model, change), images(8))
    with pytest.raises(
        CheckpointError,
        match=r"predictions of m\.onnx differ from the model's on 8 test images, so the file was removed",
    ):
        check_equal(difference, "m.onnx")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda logits, features: (logits[:, :3], features),
            r"returns logits \(15, 3\); expected \(15, 4\)",
        ),
        (
            lambda logits, features: (logits, features * np.float32("nan")),
            "returns features .* with values that are not finite",
        ),
    ],
    ids=["a class less", "no numbers"],
)
def test_outputs_that_cannot_be_compared(model: ContinualClassifier, change: Change, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        compare(model, run_with(model, change), images(8))


def test_the_latency_is_a_median_of_single_images() -> None:
    shapes: list[tuple[int, ...]] = []
    assert latency_ms(lambda batch: shapes.append(batch.shape), images(1)[0]) < 100
    assert set(shapes) == {(1, 3, SIDE, SIDE)}
    assert len(shapes) == 35
