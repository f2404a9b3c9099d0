"""The options of a subcommand that has a parser of its own."""

from __future__ import annotations

import argparse
from typing import NoReturn

from lightning_vision.errors import ConfigError


class WordsParser(argparse.ArgumentParser):
    """A parser of a subcommand's own options that raises instead of exiting."""

    def error(self, message: str) -> NoReturn:
        """Raise.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"{self.prog.split()[-1]}: {message}. {self.prog} --help shows its options.")
