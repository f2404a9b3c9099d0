"""Errors that a user can mend: the program prints their text and no traceback."""


class UserError(Exception):
    """Something outside the program is wrong: an option, a file, the data.

    The text says what was expected, what was found, and the ways out.
    """

    exit_code = 1


class ConfigError(UserError):
    """An option or a configuration file cannot be used as it stands."""

    exit_code = 2


class DataError(UserError):
    """The data on disk is not what the datamodule or the scenario needs."""


class CheckpointError(UserError):
    """A checkpoint or a run directory does not fit this run."""


class TrainingError(UserError):
    """Training cannot go on: a loss that is not finite, a full disk."""
