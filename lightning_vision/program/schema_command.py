"""The subcommand ``schema``: a JSON schema of the configurations, for editors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from lightning_vision.errors import ConfigError
from lightning_vision.program.config_schema import config_schema, schema_name
from lightning_vision.program.library_errors import quieten
from lightning_vision.storage.atomic_write import write_text_atomically
from lightning_vision.terminal.messages import print_line
from lightning_vision.terminal.option_parser import WordsParser


def schema(words: Sequence[str]) -> int:
    """Run the subcommand ``schema``.

    Args:
        words: The command line after ``schema``.

    Returns:
        The exit code.

    Raises:
        UserError: The file cannot be written.
    """
    parser = WordsParser(
        prog="lightning-vision schema",
        allow_abbrev=False,
        description="Write a JSON schema of the configurations, with the classes of installed plugins, by which editors complete and "
        "check YAML files.",
    )
    parser.add_argument("--output", type=Path, help=f"the file; default: {schema_name()} in this folder")
    given = parser.parse_args(list(words))
    quieten()
    target = given.output or Path(schema_name())
    if target.is_dir():
        raise ConfigError(
            f"schema --output: expected a file, found the folder {target}. Give {target / schema_name()}."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(target, schema_text())
    print_line(f"Written: {target}")
    print_line(f"First line of a YAML file beside it: # yaml-language-server: $schema={target.name}")
    return 0


def schema_text(plugins: bool = True) -> str:
    """The content of the file; see ``config_schema``."""
    return json.dumps(config_schema(plugins), indent=1, ensure_ascii=False) + "\n"
