"""``explain``: class-activation maps of a checkpoint's errors, and figures of the maps."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from lightning_vision.array_types import Rows
from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.drawing.lazy_figures import LazyFigures
from lightning_vision.errors import ConfigError, DataError
from lightning_vision.explanation.cases import drawn_rows
from lightning_vision.explanation.gallery import Section, save_section_figure, section_figure
from lightning_vision.explanation.measuring import check_boxes, measure_maps, why_no_annotations
from lightning_vision.explanation.methods import check_method
from lightning_vision.explanation.observations import Observations, observe
from lightning_vision.explanation.options import ExplainOptions as ExplainOptions
from lightning_vision.explanation.page import Facts, write_page
from lightning_vision.explanation.scores import summarise
from lightning_vision.explanation.sections import SECTIONS, SectionMaker
from lightning_vision.explanation.target_layers import find_target_layer
from lightning_vision.features.checkpoint_features import CheckpointFeatures
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.learning.hub_run import output_folder
from lightning_vision.learning.loaded_checkpoint import LoadedCheckpoint
from lightning_vision.learning.strategy_features import check_follows_backbone
from lightning_vision.storage.atomic_write import write_atomically
from lightning_vision.terminal.wording import plural
from lightning_vision.tracking.loggers import close_loggers, log_experience
from lightning_vision.tracking.stream_position import StreamPosition
from lightning_vision.tracking.wandb_logger import make_wandb_logger

FORMER_SECTION = "surest-errors"
"""The name of the most confident errors in files of version 0.1."""
PART_NAMES = {"test": "test set", "val": "validation set", "train": "training set"}


@dataclass(frozen=True, repr=False)
class Explained:
    """What ``explain`` wrote and found."""

    page: Path
    galleries: dict[str, Path]
    """The PNG of each section, by its key."""
    sections: list[Section]
    """The images that are shown, with their maps."""
    measured: pd.DataFrame | None
    """The figures of the maps, a row a measured image; None where none was measured."""
    scores: pd.DataFrame | None
    """Their means."""
    lines: list[str]
    """What the terminal says."""

    @property
    def figures(self) -> LazyFigures:
        """The galleries as matplotlib Figures, drawn when they are asked for."""
        return LazyFigures({section.key: partial(section_figure, section) for section in self.sections})

    def __repr__(self) -> str:
        return "\n".join(self.lines)


def explain(checkpoint: LoadedCheckpoint, options: ExplainOptions) -> Explained:
    """Write galleries, a page and figures of a checkpoint's maps.

    Args:
        checkpoint: The checkpoint with its model and data.
        options: What is shown and measured.

    Raises:
        ConfigError: An option cannot be used with this classifier.
        DataError: There are no images, or no boxes where they are required.
    """
    _check(options)
    check_follows_backbone(checkpoint.model.learner, "explain")
    model, datamodule = checkpoint.model, checkpoint.datamodule
    if options.boxes == "required":
        check_boxes(datamodule)
    trainer = checkpoint.trainers.evaluation()
    if trainer.world_size > 1:
        raise ConfigError("explain runs in one process. Use --trainer.devices=1.")
    with CheckpointFeatures(model, datamodule, trainer) as features:
        return _explain(checkpoint, features, options)


def _explain(checkpoint: LoadedCheckpoint, features: CheckpointFeatures, options: ExplainOptions) -> Explained:
    model, datamodule, path, experience = (
        checkpoint.model,
        checkpoint.datamodule,
        checkpoint.path,
        checkpoint.experience,
    )
    target = find_target_layer(model.network.backbone, model.image_size, options.layer)
    rows, others = _rows(model, datamodule, options.split, experience)
    folder = Path(options.output) if options.output else output_folder(checkpoint.directory.path) / "explain"
    _make(folder)
    lines = [
        f"{path}: {options.method} of {target}, for {plural(len(rows), 'image')} of the {PART_NAMES[options.split]}."
    ]
    if others:
        lines.append(f"Left out: {plural(others, 'image')} of classes that this checkpoint has not seen.")
    seen = observe(features, rows, f"the {PART_NAMES[options.split]}")
    measured, figures = _measure(features, seen, options)
    training = _training_rows(datamodule, experience)
    maker = SectionMaker(features, seen, options)
    sections = [*maker.sections(training), *maker.before_and_after(path, experience)]
    galleries = _write(folder, sections, measured, figures)
    right = int((~seen.wrong).sum())
    missing = why_no_annotations(datamodule)
    notes = [*([f"{missing[0].upper()}{missing[1:]}."] if missing else []), *maker.notes]
    facts = Facts(str(path), PART_NAMES[options.split], len(rows), right, others, options.method, str(target), notes)
    write_page(facts, sections, figures, folder / "explain.html")
    lines += _told(folder, sections, figures, len(rows) - right, len(rows), notes)
    if options.log_galleries:
        lines.append(_send(folder, checkpoint, options, galleries, figures))
    return Explained(folder / "explain.html", galleries, sections, measured, figures, lines)


def _make(folder: Path) -> None:
    """Make the folder.

    Raises:
        ConfigError: It cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"output: cannot create the folder {folder}: {error.strerror or error}. Choose another folder."
        ) from error


def _check(options: ExplainOptions) -> None:
    """Refuse options that no classifier can use.

    Raises:
        ConfigError: An option is invalid.
    """
    check_method(options.method)
    for name, value in asdict(options).items():
        least = 1 if name == "batch_size" else 0
        if isinstance(value, int) and value < least:
            raise ConfigError(f"{name}: expected {least} or more, found {value}.")


def _rows(model: ContinualClassifier, datamodule: StreamDataModule, split: str, experience: int) -> tuple[Rows, int]:
    """The rows of a split whose classes were seen, ascending, and the number of other rows.

    Raises:
        DataError: There are none.
    """
    if split == "train":
        rows = _training_rows(datamodule, experience)
    else:
        rows = datamodule.rows_to_evaluate("val" if split == "val" else "test")
    known = model.network.seen.cpu().numpy()[datamodule.samples["label"].to_numpy()[rows]]
    if not known.any():
        raise DataError(
            f"There are no {split} images of the classes that this checkpoint has seen. Set data.{split}_fraction, or use another "
            "--split."
            if split != "train"
            else "There are no training images of the classes that this checkpoint has seen. Choose another --split."
        )
    return rows[known], int((~known).sum())


def _training_rows(datamodule: StreamDataModule, experience: int) -> Rows:
    """The training rows up to an experience, ascending."""
    return np.sort(np.concatenate([item.indices for item in datamodule.stream.experiences[: experience + 1]]))


def _measure(
    features: CheckpointFeatures, seen: Observations, options: ExplainOptions
) -> tuple[pd.DataFrame | None, pd.DataFrame | None]:
    """Figures of each measured image, and their means."""
    if not options.measured:
        return None, None
    few = drawn_rows(seen.row, seen.label, options.measured, options.seed)
    measured = measure_maps(features, few, seen, options.maps)
    return measured, summarise(measured, features.model.class_names)


def _write(
    folder: Path, sections: list[Section], measured: pd.DataFrame | None, figures: pd.DataFrame | None
) -> dict[str, Path]:
    """Write the PNG of each section and the tables; files of an earlier call are deleted."""
    for name in (*(f"{key}.png" for key in (*SECTIONS, FORMER_SECTION)), "maps.csv", "scores.csv"):
        (folder / name).unlink(missing_ok=True)
    galleries = {}
    for section in sections:
        galleries[section.key] = folder / f"{section.key}.png"
        save_section_figure(section, galleries[section.key])
    for name, table in (("maps", measured), ("scores", figures)):
        if table is not None:
            _write_table(table, folder / f"{name}.csv")
    return galleries


def _write_table(table: pd.DataFrame, path: Path) -> None:
    # Names from disks may hold what UTF-8 cannot.
    write_atomically(path, lambda temporary: table.to_csv(temporary, index=False, errors="backslashreplace"))


def _told(
    folder: Path, sections: list[Section], figures: pd.DataFrame | None, wrong: int, count: int, notes: list[str]
) -> list[str]:
    """The results and the paths, a line each."""
    lines = [f"{plural(wrong, 'error')} among {plural(count, 'image')}; shown: " + _counted(sections), *notes]
    if figures is not None:
        for answers in ("all", "right", "wrong"):
            lines.append(_sentence(figures[figures["class"].isna() & (figures["answers"] == answers)].iloc[0]))
    tables = ", scores.csv and maps.csv" if figures is not None else ""
    lines.append(
        f"Written: {folder / 'explain.html'}, {plural(len(sections), 'PNG gallery').replace('gallerys', 'galleries')}{tables} in the same folder."
    )
    return lines


def _counted(sections: list[Section]) -> str:
    return ", ".join(f"{section.title.lower()} {len(section.cases)}" for section in sections) + "."


def _sentence(row: pd.Series) -> str:
    """One line with the figures of a group."""
    words = {
        "box_share": "in the box",
        "box_area": "area of the box",
        "pointing": "pointing game",
        "saliency_share": "mean saliency",
        "saliency_mean": "of a uniform map",
        "drop": "average drop",
        "increase": "confidence increased",
    }
    found = [f"{text} {100 * row[name]:.1f} %" for name, text in words.items() if pd.notna(row[name])]
    empty = f"{plural(int(row['empty_maps']), 'empty map')}"
    return f"Maps of {row['answers']} predictions: {plural(int(row['images']), 'image')}, {empty}" + "".join(
        f", {text}" for text in found
    )


def _send(
    folder: Path,
    checkpoint: LoadedCheckpoint,
    options: ExplainOptions,
    galleries: dict[str, Path],
    figures: pd.DataFrame | None,
) -> str:
    """Log the galleries to a separate W&B run; returns where it is."""
    directory = checkpoint.directory
    config = directory.read_config() if directory.config.is_file() else {}
    group = (config.get("wandb") or {}).get("group")
    logger = make_wandb_logger(
        folder,
        f"{directory.path.name}-explain",
        group,
        "explain",
        {"explain": asdict(options), "checkpoint": str(checkpoint.path)},
    )
    scalars: dict[str, float | None] = {}
    if figures is not None:
        means = figures[figures["class"].isna() & (figures["answers"] == "all")].iloc[0]
        scalars = {
            f"explain/{name}": None if pd.isna(means[name]) else float(means[name])
            for name in ("box_share", "saliency_share", "pointing", "drop", "increase")
        }
    images = {f"explain/{key}": gallery for key, gallery in galleries.items()}
    log_experience([logger], StreamPosition(checkpoint.experience), scalars, images=images)
    close_loggers([logger])
    return f"W&B: the galleries are in {folder / 'wandb'}."
