"""The sections of a gallery: which cases stand in it, and their images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from lightning_vision.array_types import Rows
from lightning_vision.data.datamodule import StreamDataModule
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
from lightning_vision.explanation.earlier_checkpoint import as_it_was, earlier_checkpoints
from lightning_vision.explanation.gallery import Case, Panel, Section
from lightning_vision.explanation.observations import Observations, observe
from lightning_vision.explanation.options import ExplainOptions
from lightning_vision.learning.classifier import ContinualClassifier
from lightning_vision.terminal.wording import plural

SECTIONS = ("surest-errors", "confused-pairs", "classes", "correct", "before-after")
"""What they are called in file names and anchors."""
MOST_CLASSES = 40
"""With errors of their own in the gallery."""


class SectionMaker:
    """Makes the sections of one checkpoint.

    Args:
        model: The classifier, in evaluation mode.
        datamodule: Its data.
        seen: What it predicted.
        options: How maps are made, and how many cases are shown.
    """

    def __init__(
        self,
        model: ContinualClassifier,
        datamodule: StreamDataModule,
        seen: Observations,
        options: ExplainOptions,
    ) -> None:
        self.model, self.datamodule, self.seen, self.options = model, datamodule, seen, options
        self.notes: list[str] = []
        """What the user should be told."""

    def sections(self, training: Rows) -> list[Section]:
        """The surest errors, those of confused pairs and of classes, and right ones; sections without a case are left out.

        Args:
            training: The rows that neighbours are looked for among.
        """
        options, seen, names = self.options, self.seen, self.model.class_names
        pairs = {
            f"{names[true]} taken for {names[other]}": at
            for (true, other), at in cases.errors_by_pair(seen, options.pairs, options.per_pair).items()
        }
        classes = {
            names[label]: at for label, at in cases.errors_by_class(seen, options.per_class, MOST_CLASSES).items()
        }
        chosen: dict[str, Mapping[str, Positions]] = {
            "surest-errors": {"": cases.surest_errors(seen, options.errors)},
            "confused-pairs": pairs,
            "classes": classes,
            "correct": {"": cases.correct_ones(seen, options.correct)},
        }
        at = _together(positions for groups in chosen.values() for positions in groups.values())
        mapped = map_cases(self.model, self.datamodule, seen, at, options.maps)
        empty, drawn = mapped.empty
        if empty:
            self.notes.append(f"No evidence for the class in {plural(empty, 'map')} of {drawn} drawn.")
        near: dict[int, Neighbour] = {}
        if options.neighbours and len(at):
            near = find_neighbours(self.model, self.datamodule, seen, at, training, options.neighbours, options.maps)
        titles = {
            "surest-errors": ("Surest errors", "Those that the classifier was most confident of."),
            "confused-pairs": ("Confused pairs", "The pairs that are confused most often, and their surest errors."),
            "classes": ("Errors by class", self._about_classes()),
            "correct": ("Right ones", "The surest of each class, for comparison."),
        }
        made = [Section(key, *titles[key], self._cases(groups, mapped, near)) for key, groups in chosen.items()]
        return [section for section in made if section.cases]

    def _about_classes(self) -> str:
        wrong = len(np.unique(self.seen.label[self.seen.wrong]))
        shown = (
            f" The {MOST_CLASSES} of {wrong} classes with the most errors are shown." if wrong > MOST_CLASSES else ""
        )
        return f"The surest errors of each true class.{shown}"

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
        """Images that an earlier checkpoint of the run had right and this one has wrong, with the maps of both.

        Args:
            path: This checkpoint.
            experience: Its experience.
        """
        if not self.options.before_after:
            return []
        found = earlier_checkpoints(path, experience, self.options.earlier)
        if not found and experience:
            self.notes.append("No earlier checkpoint of the run was kept to compare with (--keep_checkpoints).")
        made = [case for number, earlier in found for case in self._turned(number, earlier, experience)]
        about = (
            "Right after an earlier experience, wrong now: what the classifier looked at then and what it looks at now."
        )
        return [Section("before-after", "Right before, wrong now", about, tuple(made))] if made else []

    def _turned(self, number: int, earlier: Path, experience: int) -> list[Case]:
        model, datamodule, now, names = self.model, self.datamodule, self.seen, self.model.class_names
        with as_it_was(model, earlier, datamodule.stream):
            then = observe(model, datamodule, now.row, self.options.batch_size, f"predicting as of experience {number}")
            at = cases.turned_wrong(then, now, self.options.before_after)
            before = map_cases(model, datamodule, then, at, self.options.maps)
        after = map_cases(model, datamodule, now, at, self.options.maps)
        turned, mended = int((~then.wrong & now.wrong).sum()), int((then.wrong & ~now.wrong).sum())
        self.notes.append(
            f"From experience {number} to {experience}: {plural(turned, 'image')} turned from right to wrong, "
            f"{mended} from wrong to right."
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
                map_panel(image, before.maps[row][0], f"then, why {true}", was),
                map_panel(image, after.maps[row][1], f"now, why {true}", doubt),
                map_panel(image, after.maps[row][0], f"now, why {predicted}", float(now.confidence[position])),
            )
            case = Case(row, self._path(row), true, predicted, float(now.confidence[position]), panels)
            made.append(case.under(f"experience {number} to {experience}"))
        return made

    def _path(self, row: int) -> str:
        return str(self.datamodule.samples["path"].iloc[row])


def _together(positions: Iterable[Positions]) -> Positions:
    return np.unique(np.concatenate([*positions, np.empty(0, dtype=np.int64)]))
