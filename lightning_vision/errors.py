"""Errors that a user can fix: the program prints their text and no traceback."""


class UserError(Exception):
    """Something outside the program is wrong: an option, a file, the data.

    The message states what was expected, what was found, and what to do.
    """

    exit_code = 1


class ConfigError(UserError):
    """An option or a configuration file cannot be used."""

    exit_code = 2


class DataError(UserError):
    """The data on the disk does not meet the needs of the datamodule or the scenario."""


class NotEvaluatedError(DataError):
    """Test figures were asked for, and there is no test image."""

    exit_code = 3


class CheckpointError(UserError):
    """A checkpoint or a run directory does not fit this run."""


class TrainingError(UserError):
    """Training cannot continue: a loss that is not finite, a full disk."""
