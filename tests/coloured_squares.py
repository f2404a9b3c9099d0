"""The kit's datamodule, by a name that is short on a command line."""

from lightning_vision.testing.squares import COLOURS as COLOURS
from lightning_vision.testing.squares import ColouredSquares as ColouredSquares
