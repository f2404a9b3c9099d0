"""The model card of an exported classifier: Markdown for Hugging Face, from the run's record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from lightning_vision.class_path import init_args_of, strategy_name
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.errors import CheckpointError
from lightning_vision.exporting.card_record import (
    card_environment,
    class_rows,
    data_options,
    front_matter,
    scores_on,
    training_options,
)
from lightning_vision.exporting.check import Difference
from lightning_vision.exporting.description import Description
from lightning_vision.results.run_directory import RunDirectory
from lightning_vision.results.schema import Results, Scores, read_results
from lightning_vision.storage.atomic_write import write_text_atomically
from lightning_vision.terminal.wording import figure, plural
from lightning_vision.trust.report import TrustReport, read_trust_report


@dataclass(frozen=True, repr=False)
class Exported:
    """An exported file and the results of its check."""

    path: Path
    description: Description
    size_bytes: int
    parameters: int
    difference: Difference
    calibration_images: int
    """Number of training images for the calibration of int8; 0 for float."""
    latency_ms: float
    """For one image, on the machine that exported it."""
    torch_latency_ms: float
    threads: int
    """Of torch, and of ONNX Runtime."""
    card: Path | None = None
    """The model card; None until it is written."""
    fitted: bool = True
    """Whether the checkpoint has a temperature of its own."""
    remarks: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "\n".join(self.lines)

    @property
    def lines(self) -> list[str]:
        """What a user is told."""
        about, difference = self.description, self.difference
        opset = f", opset {about.opset}" if about.opset else ""
        arithmetic = (
            f"int8 calibrated on {plural(self.calibration_images, 'training image')}" if about.quantized else "float32"
        )
        threshold = "nothing is rejected" if about.threshold is None else f"rejects below {about.threshold:.4f}"
        trust = f"temperature {about.temperature:.4g}, {threshold}"
        unseen = len(about.seen) - sum(about.seen)
        return [
            f"Exported: {self.path} ({figure(self.size_bytes / 1e6)} MB, {figure(self.parameters / 1e6)} M parameters, "
            f"{arithmetic}{opset}, {len(about.class_names)} "
            f"classes{f', {unseen} of them never seen' if unseen else ''})",
            f"Checked with the model on {plural(difference.images, 'image')}, in batches of 1 and 7: same class for "
            f"{difference.agreement:.1%}, probabilities within {difference.probability:.1e}"
            + (f" (mean {difference.mean_probability:.1e})" if about.quantized else ""),
            f"One image takes {figure(self.latency_ms)} ms here (median of 30), PyTorch {figure(self.torch_latency_ms)} ms; "
            f"{plural(self.threads, 'thread')}",
            trust
            if self.fitted
            else f"{trust}: none was fitted (lightning-vision test --calibrate true --coverage 0.95)",
            *self.remarks,
            *([] if self.card is None else [f"Model card: {self.card}"]),
        ]


def write_model_card(
    exported: Exported, datamodule: StreamDataModule, run: Path, experience: int, *, one_view: bool = False
) -> Path:
    """Write the card beside the file.

    Args:
        exported: The file.
        datamodule: The data, with its source and licence if known.
        run: The run's directory; without a results.json the card has no scores.
        experience: The experience that the checkpoint is from.
        one_view: The run's figures use several views of each image, and the file predicts from one.

    Returns:
        The card's path, the file's with ``.md`` after it.

    Raises:
        CheckpointError: results.json or trust.json is damaged.
    """
    directory = RunDirectory(run)
    results = read_results(directory.results) if directory.results.is_file() else None
    trust_file = run / "trust" / "trust.json"
    trust = read_trust_report(trust_file) if trust_file.is_file() else None
    if trust is not None and trust.experience != experience:
        trust = None
    config = directory.read_config() if directory.config.is_file() else {}
    path = exported.path.with_name(f"{exported.path.name}.md")
    write_text_atomically(path, card_text(exported, datamodule, run.name, results, config, experience, trust, one_view))
    return path


def card_text(
    exported: Exported,
    datamodule: StreamDataModule,
    name: str,
    results: Results | None,
    config: Mapping[str, Any],
    experience: int,
    trust: TrustReport | None,
    one_view: bool,
) -> str:
    """The card.

    Args:
        exported: The file.
        datamodule: See ``write_model_card``.
        name: The run's.
        results: The run's; None: not recorded.
        config: Its options; empty if unknown.
        experience: The experience that the checkpoint is from.
        trust: What ``test`` found about calibration and out-of-distribution images, for this experience.
        one_view: See ``write_model_card``.
    """
    if results is not None and experience >= len(results.experiences):
        raise CheckpointError(
            f"results.json has {plural(len(results.experiences), 'experience')}, but the checkpoint is from experience "
            f"{experience}, so they belong to different runs. Move the checkpoint back to its run directory."
        )
    last = results is not None and experience == len(results.experiences) - 1
    scores = results.test if results is not None and last else None
    about = exported.description
    return (
        card_environment()
        .get_template("model_card.md.j2")
        .render(
            front_matter=_front_matter(exported, datamodule, name, scores),
            name=name,
            exported=exported,
            about=about,
            lines=exported.lines,
            results=results,
            experience=experience,
            scores=scores,
            classes=class_rows(about.class_names, about.seen, results, scores),
            facts={key: getattr(datamodule, key, None) for key in ("SOURCE", "LICENCE", "PAPER")},
            data_class=type(datamodule).__name__,
            cropped=datamodule.crop_to_box,
            options=[*data_options(init_args_of(datamodule, StreamDataModule)), *training_options(config)],
            picked=results.picked_variant[experience] if results is not None and results.picked_variant else None,
            trust=trust,
            one_view=one_view,
            format=exported.path.suffix.removeprefix("."),
            strategy=strategy_name(about.strategy),
        )
    )


def _front_matter(exported: Exported, datamodule: StreamDataModule, name: str, scores: Scores | None) -> Markup:
    about, data = exported.description, type(datamodule).__name__
    kind = [exported.path.suffix.removeprefix("."), *(["int8"] if about.quantized else [])]
    tags = [about.backbone, strategy_name(about.strategy), *kind]
    measured = {} if scores is None or about.quantized else {"accuracy": scores.accuracy, "f1": scores.macro_f1}
    # Figures of int8 were not measured on the whole test set.
    return front_matter(name, data, tags, scores_on(data, measured))
