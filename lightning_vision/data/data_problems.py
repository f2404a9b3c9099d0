"""Problems that a datamodule finds on the disk, collected so that one error reports them all."""

from collections import Counter
from dataclasses import dataclass, field

from lightning_vision.errors import DataError
from lightning_vision.images.file_kinds import NO_IMAGE
from lightning_vision.images.image_files import count_reasons
from lightning_vision.terminal.messages import print_notice
from lightning_vision.terminal.wording import few, in_lines, plural


@dataclass
class DataProblems:
    """Problems, unusable images and skipped files of one data source."""

    problems: list[str] = field(default_factory=list)
    """Problems that must be repaired before training, as whole sentences without a full stop."""
    unusable: list[tuple[str, str]] = field(default_factory=list)
    """Path and reason of images that cannot be used; ``on_bad_image`` decides whether the others are used."""
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """Path and reason of files that are not images of the data, or that an option leaves out."""
    remarks: list[str] = field(default_factory=list)
    """Whole sentences for the user."""
    left_out: Counter[str] = field(default_factory=Counter)
    """The number of annotations that are left out on purpose, by kind; ``check`` makes remarks of them."""

    def problem(self, text: str) -> None:
        """Add a problem that no option resolves: a table that contradicts itself, a list without its folder."""
        self.problems.append(text)

    def bad(self, path: str, reason: str) -> None:
        """Add an image that cannot be used. Leave its row out of the table."""
        self.unusable.append((path, reason))

    def skip(self, path: str, reason: str) -> None:
        """Add a file that is left out on purpose; it is counted."""
        self.skipped.append((path, reason))

    def leave_out(self, kind: str) -> None:
        """Add an annotation, which is no file, that is left out on purpose.

        Args:
            kind: What it is, and where, for "N annotations not used: <kind>".
        """
        self.left_out[kind] += 1

    def remark(self, text: str) -> None:
        """Add a sentence for the user, for the terminal and the data page; each is said once."""
        if text not in self.remarks:
            self.remarks.append(text)

    def add(self, others: "DataProblems") -> None:
        """Add all that was found in a part that was read apart."""
        self.problems += others.problems
        self.unusable += others.unusable
        self.skipped += others.skipped
        self.remarks += others.remarks
        self.left_out += others.left_out

    def check(self, place: object, on_bad_image: str = "error") -> None:
        """Refuse data with problems; with ``on_bad_image="skip"`` unusable images count as skipped.

        Raises:
            DataError: All problems at once: the first 20 and the count.
        """
        for kind, number in self.left_out.items():
            self.remark(f"{plural(number, 'annotation')} not used: {kind}.")
        self.left_out.clear()
        problems = list(self.problems)
        if on_bad_image == "skip":
            self.skipped += self.unusable
            self.unusable = []
        count = len(problems) + len(self.unusable)
        if not count:
            return
        paths_of: dict[str, list[str]] = {}
        for path, reason in self.unusable:  # what a file holds instead of an image is told once for all such files
            paths_of.setdefault(reason if reason.startswith(NO_IMAGE) else f"{path}: {reason}", []).append(path)
        for reason, paths in paths_of.items():
            if reason.startswith(NO_IMAGE):
                verb = "holds" if len(paths) == 1 else "hold"
                problems.append(f"{few(paths, 3)}: {verb} {reason.removeprefix('holds ')}")
            else:
                problems.append(reason)
        way_out = (
            "\nRepair or remove them, or skip and count them with data.on_bad_image=skip." if self.unusable else ""
        )
        raise DataError(f"{place}: {plural(count, 'problem')}:\n{in_lines(problems)}{way_out}")

    def counted(self) -> str:
        """The number of skipped files by reason, the most frequent first; empty if none was skipped."""
        return count_reasons(Counter(reason for _, reason in self.skipped))

    def report(self, place: object) -> None:
        """Print the skipped files and the remarks."""
        if self.skipped:
            print_notice(f"{place}: skipped {plural(len(self.skipped), 'file')} ({self.counted()}).")
        for remark in self.remarks:
            print_notice(remark)
