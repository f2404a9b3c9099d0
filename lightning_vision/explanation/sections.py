"""The sections of a gallery: their cases and images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from lightning_vision.array_types import Rows
from lightning_vision.explanation import cases
from lightning_vision.explanation.case_images import (
    Mapped,
    Neighbour,
    find_neighbours,
    map_cases,
    map_panel,
    show_case,
)
from lightning_vision.explanation.cases import Positions
from lightning_vision.explanation.gallery import Case, Panel, Section
from lightning_vision.explanation.observations import Observations, observe
from lightning_vision.explanation.options import ExplainOptions
from lightning_vision.features.checkpoint_features import CheckpointFeatures
from lightning_vision.learning.earlier_checkpoints import Kept, as_it_was, earlier_checkpoints
from lightning_vision.terminal.wording import plural

SECTIONS = ("most-confident-errors", "confused-pairs", "classes", "correct", "before-after")
"""Their names in file names and anchors."""
MOST_CLASSES = 40
"""Number of classes in the section on classes."""


class SectionMaker:
    """Makes the sections of one checkpoint.

    Args:
        features: Of the classifier, and its data.
        seen: What it predicted.
        options: How maps are made, and how many cases are shown.
    """

    def __init__(
        self,
        features: CheckpointFeatures,
        seen: Observations,
        options: ExplainOptions,
    ) -> None:
        self.features, self.seen, self.options = features, seen, options
        self.model, self.datamodule = features.model, features.datamodule
        self.notes: list[str] = []
        """Messages for the user."""

    def sections(self, training: Rows) -> list[Section]:
        """Most confident errors, confused pairs, errors by class, and correct images; empty sections are omitted.

        Args:
            training: The rows in which neighbours are searched.
        """
        options, seen, names = self.options, self.seen, self.model.class_names
        pairs = {
            f"{names[true]} classified as {names[other]}": at
            for (true, other), at in cases.errors_by_pair(seen, options.pairs, options.per_pair).items()
        }
        classes = {
            names[label]: at for label, at in cases.errors_by_class(seen, options.per_class, MOST_CLASSES).items()
        }
        chosen: dict[str, Mapping[str, Positions]] = {
            "most-confident-errors": {"": cases.most_confident_errors(seen, options.errors)},
            "confused-pairs": pairs,
            "classes": classes,
            "correct": {"": cases.correct_ones(seen, options.correct)},
        }
        at = _together(positions for groups in chosen.values() for positions in groups.values())
        mapped = map_cases(self.model, self.datamodule, seen, at, options.maps)
        empty, drawn = mapped.empty
        if empty:
            self.notes.append(f"{plural(empty, 'map')} of {drawn} without evidence for the class.")
        near: dict[int, Neighbour] = {}
        if options.neighbours and len(at):
            near = find_neighbours(self.features, seen, at, training, options.neighbours, options.seed)
        titles = {
            "most-confident-errors": ("Most confident errors", "The errors with the highest confidence."),
            "confused-pairs": (
                "Confused pairs",
                "The pairs of classes that are confused most often, with their most confident errors.",
            ),
            "classes": ("Errors by class", self._about_classes()),
            "correct": ("Correctly classified", "The most confident images of each class, for comparison."),
        }
        made = [Section(key, *titles[key], self._cases(groups, mapped, near)) for key, groups in chosen.items()]
        return [section for section in made if section.cases]

    def _about_classes(self) -> str:
        wrong = len(np.unique(self.seen.label[self.seen.wrong]))
        shown = (
            f" The {MOST_CLASSES} of {wrong} classes with the most errors are shown." if wrong > MOST_CLASSES else ""
        )
        return f"The most confident errors of each true class.{shown}"

    def _cases(
        self, groups: Mapping[str, Positions], mapped: Mapped, near: Mapping[int, Neighbour]
    ) -> tuple[Case, ...]:
        made = []
        for group, positions in groups.items():
            for position in positions.tolist():
                row = int(self.seen.row[position])
                case = show_case(self.seen, position, self._path(row), self.model.class_names, mapped, near.get(row))
                made.append(case.under(group))
        return tuple(made)

    def before_and_after(self, path: Path, experience: int) -> list[Section]:
        """Images that an earlier checkpoint of the run classified correctly and this one does not, with the maps of both.

        Args:
            path: This checkpoint.
            experience: Its experience.
        """
        if not self.options.before_after:
            return []
        found = earlier_checkpoints(path, experience)
        if self.options.earlier == "base":
            found = found[:1]
        if not found and experience:
            self.notes.append("The run kept no earlier checkpoint for the comparison (--keep_checkpoints).")
        made = [case for earlier in found for case in self._turned(earlier, experience)]
        about = "Correctly classified after an earlier experience and wrong now, with the maps of both checkpoints."
        return [Section("before-after", "Correct before, wrong now", about, tuple(made))] if made else []

    def _turned(self, earlier: Kept, experience: int) -> list[Case]:
        number = earlier.experience
        model, datamodule, now, names = self.model, self.datamodule, self.seen, self.model.class_names
        with as_it_was(model, earlier.path, datamodule.stream):
            then = observe(self.features, now.row, f"images with experience {number}")
            at = cases.turned_wrong(then, now, self.options.before_after)
            before = map_cases(model, datamodule, then, at, self.options.maps)
        after = map_cases(model, datamodule, now, at, self.options.maps)
        turned, mended = int((~then.wrong & now.wrong).sum()), int((then.wrong & ~now.wrong).sum())
        self.notes.append(
            f"From experience {number} to {experience}: {plural(turned, 'image')} changed from correct to wrong, "
            f"{mended} from wrong to correct."
        )
        made = []
        for position in at.tolist():
            row = int(now.row[position])
            true, predicted = names[now.label[position]], names[now.predicted[position]]
            image, was, doubt = (
                after.images[row],
                float(then.confidence[position]),
                float(now.true_confidence[position]),
            )
            panels = (
                Panel("image", image),
                map_panel(image, before.maps[row][0], f"before, for {true}", was),
                map_panel(image, after.maps[row][1], f"now, for {true}", doubt),
                map_panel(image, after.maps[row][0], f"now, for {predicted}", float(now.confidence[position])),
            )
            case = Case(row, self._path(row), true, predicted, float(now.confidence[position]), panels)
            made.append(case.under(f"experience {number} to {experience}"))
        return made

    def _path(self, row: int) -> str:
        return str(self.datamodule.samples["path"].iloc[row])


def _together(positions: Iterable[Positions]) -> Positions:
    return np.unique(np.concatenate([*positions, np.empty(0, dtype=np.int64)]))
