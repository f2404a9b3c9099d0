"""The argument parser, whose errors suggest similar options."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import yaml
from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from lightning_vision.errors import ConfigError
from lightning_vision.program import argument_types, parser_errors
from lightning_vision.program.former_options import use_present_keys, with_present_words
from lightning_vision.program.word_order import images_first
from lightning_vision.results.unwritten import MARK, unwritten
from lightning_vision.storage.plain_yaml import with_keys_once


class StreamArgumentParser(LightningArgumentParser):
    """A parser that raises instead of exiting, with messages for users."""

    takes_images = False
    """Words that belong to no option are images."""

    def __init__(self, *args: Any, **options: Any) -> None:
        argument_types.install()
        super().__init__(*args, **options)

    def parse_path(self, cfg_path: Any, *args: Any, **kwargs: Any) -> Namespace:
        """Parse a configuration file; errors name it.

        Raises:
            ExplainedError: It cannot be used.
        """
        try:
            _refuse_unwritten(Path(cfg_path))
            return cast(Namespace, super().parse_path(cfg_path, *args, **kwargs))
        except UnicodeDecodeError as error:
            raise parser_errors.ExplainedError(f"{cfg_path} is not a text file: expected YAML.") from error
        except ConfigError as error:
            raise parser_errors.ExplainedError(f"{cfg_path}: {self.explain(error)}") from error

    def parse_args(self, args: Any = None, *others: Any, **options: Any) -> Any:
        """Parse; options may have their former names, and images may stand between options."""
        if isinstance(args, list | tuple):
            args = with_present_words(list(args), self._option_string_actions)
            if len(args) == 1 and options.keys() == {"namespace", "defaults"}:
                # An option of an object in an object comes here as text that jsonargparse made of its value: null as None.
                args = [re.sub(r"^(--[\w.]+=)None$", r"\1null", args[0])]
            if self.takes_images:
                args = images_first(args, self._option_string_actions)
        return super().parse_args(args, *others, **options)

    def _load_config_parser_mode(self, *args: Any, **options: Any) -> Namespace:
        """Read a configuration file, in which options may have their former names. It overrides a private method; a test checks it."""
        _refuse_repeated(args[0] if args else options["content"])
        config: Namespace = super()._load_config_parser_mode(*args, **options)
        use_present_keys(config, self._option_string_actions)
        return config

    def explain(self, error: ConfigError) -> str:
        """The problem, with similar names."""
        if isinstance(error, parser_errors.ExplainedError):
            return str(error)
        defaults = self.get_defaults(skip_validation=True).keys()
        keys = [key.partition(".class_path")[0].partition(".init_args")[0] for key in defaults]
        groups = [key[:at] for key in keys for at, sign in enumerate(key) if sign == "."]
        return parser_errors.explain(str(error), [f"--{key}" for key in ("help", "print_config", *keys, *groups)])

    def error(self, message: str, ex: Exception | None = None) -> Any:
        """Raise instead of exiting.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(message) from ex


def _refuse_repeated(content: str) -> None:
    """Refuse a configuration in which an option or a section stands twice, of which only the last would count.

    Raises:
        ExplainedError: One does, or it is not YAML.
    """
    try:
        with_keys_once(content)
    except yaml.YAMLError as error:
        raise parser_errors.ExplainedError(f"it cannot be read as YAML: {error}") from error


def _refuse_unwritten(path: Path) -> None:
    """Refuse a configuration in which options could not be written.

    Raises:
        ConfigError: There are such options; each is named with the reason.
    """
    text = path.read_text(encoding="utf-8")
    if MARK in text:
        reasons = "".join(f"\n  {key}: {why}" for key, why in unwritten(yaml.safe_load(text)).items())
        raise ConfigError(
            f"This run was made from Python and cannot be repeated from its configuration:{reasons}\n"
            "Make it from Python again, or write these options in the file."
        )
