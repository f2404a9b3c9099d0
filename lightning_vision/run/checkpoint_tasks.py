"""The tasks of a checkpoint after a run: validate, test, predict."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lightning_vision.data.sample_table import names_of_files
from lightning_vision.drawing import canvas
from lightning_vision.drawing.figures import confusion_csv, confusion_figure
from lightning_vision.errors import DataError, NotEvaluatedError
from lightning_vision.features.feature_serving import FeatureServing
from lightning_vision.learning.hub_run import is_from_hub, output_folder
from lightning_vision.learning.loaded_checkpoint import LoadedCheckpoint
from lightning_vision.results.predictions import Collector, Predictions
from lightning_vision.results.record import task_of_class
from lightning_vision.results.schema import Scores, read_results
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


@dataclass(frozen=True)
class Tested:
    """The result of ``test``, and the files that it wrote."""

    checkpoint: Path
    scores: Scores
    written: str
    """The files that were rewritten, or the reason why none was."""

    @property
    def lines(self) -> list[str]:
        """The text for the terminal."""
        scores, images = self.scores, sum(row["support"] for row in self.scores.per_class.values())
        return [
            f"{self.checkpoint}: test accuracy {scores.accuracy:.4f}, macro F1 {scores.macro_f1:.4f}, ECE {scores.ece:.4f} on {images} images.",
            self.written,
        ]


def test(checkpoint: LoadedCheckpoint) -> Tested:
    """Evaluate on the whole test set; in a run directory rewrite all figures of the evaluation after the last experience.

    Only the first process writes.
    """
    model = checkpoint.model
    found = _one_pass(checkpoint, keep_probability=False)
    predictions = found.picked(model.picked_variant)
    scores = score_predictions(
        predictions.label, predictions.predicted[0], predictions.confidence[0], model.class_names
    )
    return Tested(checkpoint.path, scores, _write_test(checkpoint, found, scores) if is_first() else "")


def _write_test(checkpoint: LoadedCheckpoint, found: Predictions, scores: Scores) -> str:
    """Rewrite the files of a run's last evaluation, and return a message."""
    model, datamodule = checkpoint.model, checkpoint.datamodule
    directory, folder = checkpoint.directory, checkpoint.directory.path
    if is_from_hub(folder):
        return f"{directory.results} is not changed: it is a copy of the run as it was pushed."
    if directory.results.is_file():
        results = read_results(directory.results)
        why = why_another(directory, results, datamodule, checkpoint.trainers, checkpoint.experience)
        if why:
            return f"{directory.results} is not changed: {why}."
        rewrite_run(directory, results, datamodule, found)
        return f"Rewritten: {directory.results}, predictions.npz, and the tables and charts of both matrices"
    confusion_csv(scores.confusion_matrix, model.class_names, folder / "confusion_matrix.csv")
    title = f"{folder.name}: confusion on the test set"
    canvas.save(confusion_figure(scores.confusion_matrix, model.class_names, title), folder / "confusion_matrix.png")
    return f"Rewritten: {folder / 'confusion_matrix.png'} and .csv"


def predict(checkpoint: LoadedCheckpoint) -> None:
    """Write predictions.csv: path, predicted class, probability per class, true class."""
    model, datamodule = checkpoint.model, checkpoint.datamodule
    predictions = _one_pass(checkpoint, keep_probability=True).picked(model.picked_variant)
    if not is_first() or predictions.probability is None:
        return
    names = model.class_names
    table = pd.DataFrame(
        {
            "path": names_of_files(datamodule.samples["path"].iloc[predictions.index]),
            "predicted": [names[label] for label in predictions.predicted[0]],
            **{f"probability/{name}": predictions.probability[0, :, column] for column, name in enumerate(names)},
            "true": [names[label] for label in predictions.label],
        }
    )
    target = output_folder(checkpoint.directory.path) / "predictions.csv"
    write_atomically(target, lambda temporary: table.to_csv(temporary, index=False, errors="backslashreplace"))
    samples = plural(len(datamodule.samples), "image")
    print_line(f"{plural(len(table), 'prediction')}, for the test part of {samples} in all, written: {target}")


def _one_pass(checkpoint: LoadedCheckpoint, keep_probability: bool) -> Predictions:
    """The predictions of the network for the whole test set, all variants, on every process."""
    model, datamodule = checkpoint.model, checkpoint.datamodule
    trainer = checkpoint.trainers.evaluation()
    tasks = task_of_class(datamodule.stream, len(model.class_names))
    collector = Collector(keep_probability, tasks, keep_logits=model.keep_logits and not keep_probability)
    model.collectors = [collector]
    features = FeatureServing(model, datamodule, print_line)
    if trainer.world_size == 1:  # several processes have no process group yet
        device = trainer.strategy.root_device
        model.to(device)
        features.open(trainer, device, None)
        features.for_evaluation(model.strategy)
        features.compute(datamodule.rows_to_evaluate("test"))
    loader = datamodule.evaluation_loader("test", None, trainer.global_rank, trainer.world_size)
    if not len(loader):
        error = DataError if keep_probability else NotEvaluatedError
        raise error(
            f"There are no test images (data.test_fraction is {datamodule.test_fraction}). Give data.test_fraction, or a "
            "test set of its own."
        )
    trainer.test(model, dataloaders=loader, verbose=False)
    features.close()
    return collector.result(trainer.strategy.root_device)
