"""The keyword arguments of Lightning's Trainer from the options of a run, which builds many Trainers."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import Any, cast

from jsonargparse import Namespace
from lightning.pytorch import Trainer

from lightning_vision.learning.classifier_options import is_plain
from lightning_vision.program.argument_parser import StreamArgumentParser


@cache
def _trainer_parser() -> StreamArgumentParser:
    """A parser of the section ``trainer``; reading the signature of Trainer takes as long as several Trainers."""
    parser = StreamArgumentParser()
    parser.add_lightning_class_args(Trainer, "trainer")
    return parser


class TrainerArguments:
    """Keyword arguments of a Trainer: objects such as callbacks are built anew each time, plain values once.

    Args:
        options: The section ``trainer``, parsed. Later changes of it are not seen.
    """

    def __init__(self, options: Namespace) -> None:
        self._options = options.clone()
        self._plain = {key: value for key, value in vars(self._options).items() if is_plain(value)}

    def build(self) -> dict[str, Any]:
        """The arguments, with new objects."""
        asked = {key: value for key, value in vars(self._options).items() if key not in self._plain}
        built = self._instantiate(asked) if asked else {}
        self._plain |= {key: value for key, value in built.items() if is_plain(value)}
        return {key: deepcopy(self._plain[key]) if key in self._plain else built[key] for key in vars(self._options)}

    def _instantiate(self, options: dict[str, Any]) -> dict[str, Any]:
        asked = cast(Any, Namespace)(trainer=cast(Any, Namespace)(**options).clone())
        built = _trainer_parser().instantiate_classes(asked).trainer
        return dict(vars(built)) if isinstance(built, Namespace) else dict(built)
