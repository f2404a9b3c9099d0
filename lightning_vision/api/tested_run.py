"""The result of evaluating a run on its test set."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from lightning_vision.results.schema import Scores
from lightning_vision.terminal.html_view import html_view
from lightning_vision.terminal.wording import printable
from lightning_vision.trust.report import TrustReport
from lightning_vision.trust.verdict import Assessed, print_verdict


@dataclass(frozen=True, repr=False)
class RunTest:
    """The result of ``Run.test``."""

    scores: Scores
    """Scores on the whole test set, from 0 to 1."""
    lines: list[str]
    """The text of the terminal about the scores and the files that were rewritten."""
    assessed: Assessed | None
    """The assessment of trust and its files; None if no option asked for it."""

    @property
    def trust(self) -> TrustReport | None:
        """The fields of trust.json as attributes."""
        return None if self.assessed is None else self.assessed.report

    def __repr__(self) -> str:
        return "\n".join(self.lines)

    def _repr_html_(self) -> str:
        def draw(console: Console) -> None:
            for line in self.lines:
                console.print(printable(line), markup=False, soft_wrap=True)
            if self.assessed is not None:
                print_verdict(self.assessed, console)

        return html_view(draw)
