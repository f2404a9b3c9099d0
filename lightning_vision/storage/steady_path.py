"""A path that leads to the same place after the working directory has changed."""

from __future__ import annotations

from pathlib import Path


class SteadyPath:
    """A path as it was given, which may be relative to the present working directory.

    Args:
        given: The path.
    """

    def __init__(self, given: str | Path) -> None:
        self._given, self._absolute = Path(given), Path(given).absolute()

    @property
    def path(self) -> Path:
        """The path as it was given; absolute once the working directory is another one."""
        return self._given if self._given.absolute() == self._absolute else self._absolute
