"""What a datamodule met on disk that is not as it should be: collected, so that all of it is said at once."""

from collections import Counter
from dataclasses import dataclass, field

from lightning_vision.errors import DataError
from lightning_vision.terminal.messages import print_notice
from lightning_vision.terminal.wording import in_lines, plural


@dataclass
class DataProblems:
    """Problems, unusable images and skipped files of one data source."""

    problems: list[str] = field(default_factory=list)
    """What must be repaired before anything can be learned, in whole sentences without a full stop."""
    unusable: list[tuple[str, str]] = field(default_factory=list)
    """Path and reason of images that cannot be used; ``on_bad_image`` says whether the others are."""
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """Path and reason of files that are no images of the data, or were asked to be left out."""
    remarks: list[str] = field(default_factory=list)
    """Whole sentences that a user should read."""

    def problem(self, text: str) -> None:
        """Something that no option makes good: a table that contradicts itself, a list without its folder."""
        self.problems.append(text)

    def bad(self, path: str, reason: str) -> None:
        """An image that cannot be used. Leave its row out of the table."""
        self.unusable.append((path, reason))

    def skip(self, path: str, reason: str) -> None:
        """A file that is rightly left out; it is counted."""
        self.skipped.append((path, reason))

    def remark(self, text: str) -> None:
        """A sentence for the user, in the terminal and on the data page."""
        self.remarks.append(text)

    def check(self, place: object, on_bad_image: str = "error") -> None:
        """Refuse data with problems; with ``on_bad_image="skip"`` unusable images count as skipped.

        Raises:
            DataError: All problems at once: the first 20 and the count.
        """
        problems = list(self.problems)
        if on_bad_image == "skip":
            self.skipped += self.unusable
            self.unusable = []
        problems += [f"{path}: {reason}" for path, reason in self.unusable]
        if not problems:
            return
        way_out = (
            "\nMend or remove them, or leave them out and counted by data.on_bad_image=skip." if self.unusable else ""
        )
        raise DataError(f"{place}: {plural(len(problems), 'problem')}:\n{in_lines(problems)}{way_out}")

    def counted(self) -> str:
        """How many files were skipped for which reason, the most frequent first; empty if none was.

        What stands in brackets after a reason is about one file and left out.
        """
        reasons = Counter(reason.partition(" (")[0] for _, reason in self.skipped)
        return ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())

    def report(self, place: object) -> None:
        """Print what was left out, and the remarks."""
        if self.skipped:
            print_notice(f"{place}: skipped {plural(len(self.skipped), 'file')} ({self.counted()}).")
        for remark in self.remarks:
            print_notice(remark)
