"""What is done with a checkpoint after a run: validate, test, predict."""

from __future__ import annotations

import pandas as pd

from lightning_vision.drawing.figures import confusion_csv, save_confusion_figure
from lightning_vision.errors import DataError
from lightning_vision.features.feature_serving import FeatureServing
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.loaded_checkpoint import LoadedCheckpoint
from lightning_vision.results.predictions import Collector, Predictions
from lightning_vision.results.record import task_of_class
from lightning_vision.results.schema import read_results
from lightning_vision.results.scores import score_predictions
from lightning_vision.run.reevaluation import rewrite_run, why_another
from lightning_vision.storage.atomic_write import write_atomically
from lightning_vision.terminal.first_rank import is_first
from lightning_vision.terminal.messages import print_line
from lightning_vision.terminal.wording import plural


def validate(checkpoint: LoadedCheckpoint) -> None:
    """Print loss and accuracy on the validation parts of the experiences up to the checkpoint's."""
    datamodule, path, experience = checkpoint.datamodule, checkpoint.path, checkpoint.experience
    trainer = checkpoint.trainers.evaluation()
    loader = datamodule.evaluation_loader("val", experience, trainer.global_rank, trainer.world_size)
    if not len(loader):
        print_line(f"There is no validation data (data.val_fraction is {datamodule.val_fraction}).")
        return
    found = trainer.validate(checkpoint.model, dataloaders=loader, verbose=False)[0]
    figures = ", ".join(f"{key} {value:.4f}" for key, value in found.items())
    print_line(f"{path}: {figures} on the validation parts of experiences 0 to {experience}.")


def test(checkpoint: LoadedCheckpoint) -> None:
    """Evaluate on the whole test set; in a run directory rewrite all figures of the evaluation after the last experience."""
    model, datamodule, path = checkpoint.model, checkpoint.datamodule, checkpoint.path
    found = _one_pass(checkpoint, keep_probability=False)
    if not is_first():
        return
    predictions = _picked(model, found)
    scores = score_predictions(
        predictions.label, predictions.predicted[0], predictions.confidence[0], model.class_names
    )
    print_line(
        f"{path}: test accuracy {scores.accuracy:.4f}, macro F1 {scores.macro_f1:.4f}, ECE {scores.ece:.4f} on {len(predictions.index)} images."
    )
    directory, folder = checkpoint.directory, checkpoint.directory.path
    if directory.results.is_file():
        results = read_results(directory.results)
        why = why_another(directory, results, datamodule, checkpoint.trainers, checkpoint.experience)
        if why:
            print_line(f"{directory.results} is left as it is: {why}.")
        else:
            rewrite_run(directory, results, datamodule, found)
            print_line(f"Rewritten: {directory.results}, predictions.npz, and the tables and charts of both matrices")
        return
    confusion_csv(scores.confusion_matrix, model.class_names, folder / "confusion_matrix.csv")
    save_confusion_figure(
        scores.confusion_matrix,
        model.class_names,
        folder / "confusion_matrix.png",
        f"{folder.name}: confusion on the test set",
    )
    print_line(f"Rewritten: {folder / 'confusion_matrix.png'} and .csv")


def predict(checkpoint: LoadedCheckpoint) -> None:
    """Write predictions.csv: path, predicted class, probability per class, true class."""
    model, datamodule = checkpoint.model, checkpoint.datamodule
    predictions = _picked(model, _one_pass(checkpoint, keep_probability=True))
    if not is_first() or predictions.probability is None:
        return
    names = model.class_names
    table = pd.DataFrame(
        {
            "path": datamodule.samples["path"].iloc[predictions.index].to_numpy(),
            "predicted": [names[label] for label in predictions.predicted[0]],
            **{f"probability/{name}": predictions.probability[0, :, column] for column, name in enumerate(names)},
            "true": [names[label] for label in predictions.label],
        }
    )
    target = checkpoint.directory.path / "predictions.csv"
    write_atomically(target, lambda temporary: table.to_csv(temporary, index=False, errors="backslashreplace"))
    samples = plural(len(datamodule.samples), "image")
    print_line(f"{plural(len(table), 'prediction')}, for the test part of {samples} in all, written: {target}")


def _one_pass(checkpoint: LoadedCheckpoint, keep_probability: bool) -> Predictions:
    """The predictions of the network as it stands for the whole test set, all variants, on every process."""
    model, datamodule = checkpoint.model, checkpoint.datamodule
    trainer = checkpoint.trainers.evaluation()
    collector = Collector(keep_probability, task_of_class(datamodule.stream, len(model.class_names)))
    model.collectors = [collector]
    features = FeatureServing(model, datamodule, print_line)
    if trainer.world_size == 1:  # several processes do not know each other yet
        device = trainer.strategy.root_device
        model.to(device)
        features.open(trainer, device, None)
        features.for_evaluation(model.strategy)
        features.compute(datamodule.rows_to_evaluate("test"))
    loader = datamodule.evaluation_loader("test", None, trainer.global_rank, trainer.world_size)
    if not len(loader):
        raise DataError(
            f"There are no test images (data.test_fraction is {datamodule.test_fraction}). Give data.test_fraction, or a "
            "test set of its own."
        )
    trainer.test(model, dataloaders=loader, verbose=False)
    features.close()
    return collector.result(trainer.strategy.root_device)


def _picked(model: ContinualClassifier, found: Predictions) -> Predictions:
    """A sweep's checkpoint holds every variant; the network's head is the one that was picked."""
    picked = model.picked_variant
    return found.one(picked) if picked in found.variants else found
