"""``export``: the trained classifier as one file for other programs, compared with the original."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from lightning_vision.array_types import Rows
from lightning_vision.data.batch_order import Draw
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.deployed.head_file import head_path
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.exporting.check import (
    Difference,
    Images,
    check_equal,
    compare,
    latency_ms,
    model_logits,
)
from lightning_vision.exporting.classifier_module import ClassifierModule
from lightning_vision.exporting.description import Description, describe
from lightning_vision.exporting.formats import Format, Onnx, Pt2, Pte
from lightning_vision.exporting.model_card import Exported, write_model_card
from lightning_vision.exporting.options import ExportOptions
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.hub_run import name_of, output_folder
from lightning_vision.learning.loaded_checkpoint import LoadedCheckpoint
from lightning_vision.learning.strategy_features import check_follows_backbone
from lightning_vision.recipes.test_time_augmentation import TestTimeAugmentation
from lightning_vision.storage.atomic_write import write_atomically
from lightning_vision.terminal.first_rank import is_first
from lightning_vision.terminal.wording import plural
from lightning_vision.trust.kept_calibration import Trusted, read_trusted

ENOUGH_AGREEMENT = 0.98
"""Minimum agreement of int8 with float without a warning."""


def export(checkpoint: LoadedCheckpoint, options: ExportOptions) -> Exported | None:
    """Write the classifier of a checkpoint to a file, with a model card beside it.

    The file gets its name only after its predictions were compared with the model's.

    Args:
        checkpoint: Its test images are used for the comparison, and its training images for the calibration of int8. The
            file is written and checked on the CPU.
        options: Options of the file.

    Returns:
        What was written; None in all processes but the first.

    Raises:
        ConfigError: An option, the network or the transforms cannot be exported.
        DataError: There are no images to check the file on.
        CheckpointError: The outputs of the file differ from the model's.
    """
    options.check()
    check_follows_backbone(checkpoint.model.learner, "export")
    if not is_first():
        return None
    model, datamodule, experience = checkpoint.model, checkpoint.datamodule, checkpoint.experience
    run = checkpoint.directory.path
    target = _target(options, run)
    model.cpu().eval()
    module = ClassifierModule(model)
    trusted = read_trusted(checkpoint.path)
    description = describe(
        model,
        module,
        datamodule,
        trusted or Trusted(),
        options.opset if options.format == "onnx" else None,
        options.int8,
    )
    remarks: list[str] = []
    images = _images(datamodule, _rows_to_check(datamodule, options.check_images, remarks), datamodule.image_size)
    calibration = _calibration(datamodule, experience, options, remarks) if options.int8 else ()
    made = _Making(model, module, description, _format(options, calibration), images, len(calibration))
    write_atomically(target, made.write_and_check)
    exported = made.exported(target)
    callbacks = checkpoint.trainers.options()["callbacks"]
    one_view = any(isinstance(callback, TestTimeAugmentation) for callback in callbacks)
    card = write_model_card(exported, datamodule, run, experience, one_view=one_view)
    if one_view:
        remarks.append(
            "The file predicts from one view of an image, without the test-time augmentation of the run's test figures."
        )
    if options.int8 and exported.difference.agreement < ENOUGH_AGREEMENT:
        remarks.append(
            f"WARNING: int8 and float predict different classes for {1 - exported.difference.agreement:.1%} of the images. "
            "Use more --calibration_images, or the float file."
        )
    if head_path(target).exists():
        remarks.append(
            f"{head_path(target)} was learned with the former file. Move it to another folder, or the new file cannot be used with it."
        )
    return replace(exported, card=card, fitted=trusted is not None, remarks=tuple(remarks))


class _Making:
    """A file on its way to its name."""

    def __init__(
        self,
        model: ContinualClassifier,
        module: ClassifierModule,
        description: Description,
        made_as: Format,
        images: Images,
        calibration_images: int,
    ) -> None:
        self.model, self.module, self.description = model, module, description
        self.format, self.images, self.calibration_images = made_as, images, calibration_images
        self.difference: Difference | None = None
        self.latency = 0.0

    def write_and_check(self, path: Path) -> None:
        """Write the file under a temporary name, and refuse it if it is not equal to the model.

        Raises:
            CheckpointError: It is not.
        """
        try:
            self.format.write(self.module, self.description, path)
            run = self.format.open(path)
            self.difference = compare(self.model, run, self.images)
            if not self.description.quantized:
                check_equal(self.difference, path.suffix)
            self.latency = latency_ms(run, self.images[0])
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def exported(self, path: Path) -> Exported:
        """What was found."""
        if self.difference is None:
            raise RuntimeError("The file was not written.")
        return Exported(
            path=path,
            description=self.description,
            size_bytes=path.stat().st_size,
            parameters=sum(parameter.numel() for parameter in self.model.network.parameters()),
            difference=self.difference,
            calibration_images=self.calibration_images,
            latency_ms=self.latency,
            torch_latency_ms=latency_ms(lambda batch: model_logits(self.model, batch), self.images[0]),
            threads=torch.get_num_threads(),
        )


def _target(options: ExportOptions, run: Path) -> Path:
    """The file's path, its folder made.

    Raises:
        ConfigError: It cannot be written there.
    """
    name = f"{name_of(run)}{'-int8' if options.int8 else ''}.{options.format}"
    target = output_folder(run) / "export" / name if options.output is None else Path(options.output)
    if target.is_dir():
        raise ConfigError(f"--output: expected a file, found the folder {target}.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"--output: {target.parent} cannot be created ({error.strerror}). Choose another folder."
        ) from error
    return target


def _format(options: ExportOptions, calibration: Images | tuple[()]) -> Format:
    if options.format == "onnx":
        return Onnx(options.opset, list(calibration))
    return Pt2() if options.format == "pt2" else Pte()


def _rows_to_check(datamodule: StreamDataModule, most: int, remarks: list[str]) -> Rows:
    """Rows of the test set, or without one of the validation set, spread evenly.

    Raises:
        DataError: There are neither.
    """
    rows = datamodule.rows_to_evaluate("test")
    if not len(rows):
        rows = datamodule.rows_to_evaluate("val")
        if not len(rows):
            raise DataError(
                "There are neither test nor validation images for checking the exported file. Set data.test_fraction "
                "or data.val_fraction."
            )
        remarks.append("There are no test images, so the file is checked on validation images.")
    return rows[np.unique(np.linspace(0, len(rows) - 1, most).round().astype(np.int64))]


def _calibration(datamodule: StreamDataModule, experience: int, options: ExportOptions, remarks: list[str]) -> Images:
    """Training images (N, 3, S, S) of the experiences learned so far, with the evaluation transform."""
    rows = np.concatenate([item.indices for item in list(datamodule.stream)[: experience + 1]])
    count = min(options.calibration_images, len(rows))
    if count < options.calibration_images:
        remarks.append(f"int8 is calibrated on all {plural(count, 'training image')}; there are no more.")
    drawn = np.sort(np.random.default_rng(0).choice(rows, count, replace=False))
    return _images(datamodule, drawn, datamodule.image_size)


def _images(datamodule: StreamDataModule, rows: Rows, size: int) -> Images:
    """Images (N, 3, S, S) uint8, the network's input.

    Raises:
        ConfigError: The transforms give another size.
    """
    dataset = datamodule.image_dataset()
    images = [dataset[Draw(int(row), 0, -1, True, False)]["image"] for row in rows]
    wrong = next((tuple(image.shape) for image in images if tuple(image.shape) != (3, size, size)), None)
    if wrong is not None:
        raise ConfigError(
            f"data.eval_transforms: expected images of 3 x {size} x {size}, as given by data.image_size; found "
            f"{' x '.join(map(str, wrong))}."
        )
    return np.asarray(torch.stack(images).numpy())
