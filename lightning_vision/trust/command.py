"""``test --ood_data``, ``--calibrate``, ``--coverage``, ``--risk`` and ``--new_images``: how far to trust a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightning_vision.array_types import Rows
from lightning_vision.class_path import class_path
from lightning_vision.features.checkpoint_features import CheckpointFeatures
from lightning_vision.learning.earlier_checkpoints import as_it_was, earlier_checkpoints
from lightning_vision.learning.loaded_checkpoint import LoadedCheckpoint
from lightning_vision.terminal.first_rank import is_first
from lightning_vision.trust.calibration import Fitted, calibration_error, fit_temperature, reliability
from lightning_vision.trust.image_folder import ImageFolder, joined, read_image_folder, said
from lightning_vision.trust.kept_calibration import Trusted, keep_trusted, read_trusted
from lightning_vision.trust.new_images import look_at_shift
from lightning_vision.trust.options import TrustOptions
from lightning_vision.trust.out_of_distribution import Evaluated, evaluate_ood, refuse_overlap, seen_test_rows
from lightning_vision.trust.outputs import FolderImages, pass_images
from lightning_vision.trust.page import Seen, write_files
from lightning_vision.trust.rejection import (
    Chosen,
    area_under_risk_coverage,
    at_threshold,
    threshold_for_coverage,
    threshold_for_risk,
)
from lightning_vision.trust.report import Accepted, Calibration, OutOfDistribution, Rejection, TrustReport
from lightning_vision.trust.scored_images import Scored, score, score_logits
from lightning_vision.trust.verdict import Assessed

COVERAGE = 0.95
"""Of the threshold by which out-of-distribution images are accepted, if none was requested."""


@dataclass
class _Assessment:
    """What one call assesses, and what the user was told."""

    features: CheckpointFeatures
    path: Path
    experience: int
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """A sentence for the user, kept in the report."""
        self.notes.append(text)

    def validated(self, experience: int) -> tuple[Rows, Rows, Tensor]:
        """The validation images of the experiences so far: rows (N,), labels (N,) and logits (N, C)."""
        features = self.features
        rows = features.datamodule.rows_to_evaluate("val", experience)
        passed = pass_images(features, features.datamodule, rows, "validation images")
        logits = [torch.empty(0, features.model.network.num_classes), *(outputs.logits for outputs in passed)]
        return rows, features.datamodule.samples["label"].to_numpy()[rows], torch.cat(logits)

    def tested(self, temperature: float) -> Scored:
        """The test images of the classes seen."""
        features = self.features
        rows = seen_test_rows(features.model, features.datamodule)
        return score(pass_images(features, features.datamodule, rows, "test images"), temperature)


def assess(checkpoint: LoadedCheckpoint, options: TrustOptions) -> Assessed | None:
    """Assess a checkpoint and write the files. One process does it; others return at once.

    Args:
        checkpoint: What is assessed; its file is in the folder checkpoints of a run directory.
        options: What to assess.

    Returns:
        What was found; None in all processes but the first.

    Raises:
        UserError: An option, the images, or the validation data cannot be used; nothing was written then.
    """
    options.check()
    if not is_first():
        return None
    with CheckpointFeatures(checkpoint.model, checkpoint.datamodule, checkpoint.trainers.evaluation()) as features:
        return _assess(checkpoint, features, options)


def _assess(checkpoint: LoadedCheckpoint, features: CheckpointFeatures, options: TrustOptions) -> Assessed:
    model, datamodule, path, experience = (
        checkpoint.model,
        checkpoint.datamodule,
        checkpoint.path,
        checkpoint.experience,
    )
    work = _Assessment(features, path, experience)
    # What may be refused comes before what takes time.
    ood = _ood_images(options, work)
    new = None
    if options.new_images is not None:
        new = read_image_folder(options.new_images, datamodule, "--new_images")
        work.note(f"--new_images {options.new_images}: {said(new)}.")
    if model.augmented_prediction is not None:
        work.note("Each image is assessed in one view: without the test-time augmentation of the test figures.")
    trusted, fitted, chosen, validation = _fit(work, options)
    coverage = COVERAGE if options.coverage is None else options.coverage
    evaluated = [] if ood is None else _at_each_checkpoint(work, ood, coverage, trusted, validation)
    tested = evaluated[-1].in_distribution if evaluated else work.tested(trusted.temperature)
    shift = None if new is None else look_at_shift(features, new, experience, tested)
    report = TrustReport(
        checkpoint=str(path),
        experience=experience,
        backbone=model.network.facts.name,
        strategy=class_path(model.strategy),
        class_names=model.class_names,
        calibration=None if fitted is None else _calibration(fitted, validation, tested),
        rejection=None if chosen is None else _rejection(coverage, options.risk, chosen, tested, evaluated),
        out_of_distribution=None
        if ood is None
        else OutOfDistribution(
            folders=_listed(options.ood_data),
            images=len(ood),
            skipped=ood.skipped,
            coverage=coverage,
            checkpoints=[item.figures for item in evaluated],
        ),
        shift=None if shift is None else shift.shift,
        notes=work.notes,
    )
    folder = Path(options.output) if options.output else checkpoint.directory.path / "trust"
    write_files(report, folder, datamodule, Seen(tested, chosen, evaluated[-1] if evaluated else None, ood, new, shift))
    if fitted is not None:
        keep_trusted(trusted, path)
    return Assessed(report, folder, path if fitted is not None else None)


def _ood_images(options: TrustOptions, work: _Assessment) -> ImageFolder | None:
    """The out-of-distribution images, none of which may be in the data."""
    asked = _listed(options.ood_data)
    if not asked:
        return None
    datamodule = work.features.datamodule
    folders = [read_image_folder(root, datamodule, "--ood_data") for root in asked]
    for root, folder in zip(asked, folders, strict=True):
        refuse_overlap(folder, datamodule)
        work.note(f"--ood_data {root}: {said(folder)}.")
    return joined(folders)


def _listed(asked: list[str] | str | None) -> list[str]:
    return [asked] if isinstance(asked, str) else list(asked or [])


def _fit(work: _Assessment, options: TrustOptions) -> tuple[Trusted, Fitted | None, Chosen | None, Scored]:
    """Temperature and threshold, fitted or as the checkpoint keeps them; and the validation images by them."""
    kept = read_trusted(work.path) or Trusted()
    if not options.fits and not options.ood_data:
        return kept, None, None, score([], kept.temperature)
    index, label, logits = work.validated(work.experience)
    if not options.fits:
        return kept, None, None, score_logits(index, label, logits, kept.temperature)
    fitted = fit_temperature(logits, torch.from_numpy(label))
    if not fitted.determined:
        work.note(
            f"All {len(label)} validation images are classified correctly: no temperature is best, and T stays 1."
        )
    scored = score_logits(index, label, logits, fitted.temperature)
    if options.coverage is not None:
        chosen = threshold_for_coverage(scored.calibrated, scored.correct, options.coverage)
    elif options.risk is not None:
        chosen = threshold_for_risk(scored.calibrated, scored.correct, options.risk)
    else:
        if kept.threshold is not None:
            work.note(
                f"The threshold {kept.threshold:.4f} in the checkpoint belonged to the former temperature and is removed. Give "
                "--coverage or --risk for a new one."
            )
        return Trusted(fitted.temperature), fitted, None, scored
    return Trusted(fitted.temperature, chosen.threshold, chosen.coverage, chosen.risk), fitted, chosen, scored


def _at_each_checkpoint(
    work: _Assessment, ood: ImageFolder, coverage: float, trusted: Trusted, validation: Scored
) -> list[Evaluated]:
    """Out-of-distribution detection by each checkpoint that the run kept; the assessed one comes last."""
    if not len(validation):
        work.note("There are no validation images, so there is no threshold for accepting images.")

    model, datamodule = work.features.model, work.features.datamodule
    images = FolderImages(ood, datamodule, np.zeros(len(ood), dtype=np.int64))

    def now(path: Path, experience: int, validation: Scored, temperature: float) -> Evaluated:
        return evaluate_ood(
            work.features,
            images,
            validation,
            checkpoint=path.name,
            experience=experience,
            temperature=temperature,
            coverage=coverage,
        )

    evaluated = []
    for kept in earlier_checkpoints(work.path, work.experience):
        with as_it_was(model, kept.path, datamodule.stream):
            validated = score_logits(*work.validated(kept.experience), 1.0)
            evaluated.append(now(kept.path, kept.experience, validated, 1.0))
    evaluated.append(now(work.path, work.experience, validation, trusted.temperature))
    if not evaluated[-1].figures.by_head:
        work.note(
            f"{type(model.learner).__name__} predicts by scores that were not trained with cross entropy. Maximum softmax, "
            "energy and maximum logit are computed from them nevertheless; calibrate (--calibrate true) before you rely on the "
            "confidence."
        )
    return evaluated


def _calibration(fitted: Fitted, validation: Scored, tested: Scored) -> Calibration:
    return Calibration(
        temperature=fitted.temperature,
        determined=fitted.determined,
        validation_images=len(validation),
        nll_before=fitted.nll_before,
        nll_after=fitted.nll_after,
        test_images=len(tested),
        ece_before=calibration_error(reliability(tested.confidence, tested.correct)),
        ece_after=calibration_error(reliability(tested.calibrated, tested.correct)),
    )


def _rejection(
    coverage: float, risk: float | None, chosen: Chosen, tested: Scored, evaluated: list[Evaluated]
) -> Rejection:
    on_test = at_threshold(tested.calibrated, tested.correct, chosen.threshold) if len(tested) else None
    return Rejection(
        target="coverage" if risk is None else "risk",
        wanted=coverage if risk is None else risk,
        threshold=chosen.threshold,
        validation=_accepted(chosen),
        test=None if on_test is None else _accepted(on_test),
        aurc=area_under_risk_coverage(tested.calibrated, tested.correct) if len(tested) else None,
        ood_accepted=float(np.mean(evaluated[-1].ood.calibrated >= chosen.threshold)) if evaluated else None,
    )


def _accepted(chosen: Chosen) -> Accepted:
    return Accepted(
        images=chosen.images,
        accepted=chosen.accepted,
        coverage=chosen.coverage,
        risk=chosen.risk,
        risk_bound=chosen.risk_bound,
    )
